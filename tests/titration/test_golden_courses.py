"""Courses answered by a second implementation, which was written from the rules by someone who had not seen this one.

`tests/golden/courses.ndjson` has about 700 of them: two for each protocol, deciding step and set of reasons that tens
of thousands of random courses reached, the shortest first. Each line has a `course` and an `answer`; texts, evidence
and digests are left out.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support import CATALOGUE
from titrator.titration.answer import to_text
from titrator.titration.course import read_text
from titrator.titration.recommend import recommend

GOLDEN = Path(__file__).parents[1] / "golden" / "courses.ndjson"
GIVEN = Path(__file__).parents[3] / "shared" / "cases" / "contract-examples.ndjson"


def comparable(course: dict[str, Any]) -> dict[str, Any]:
    """The answer to a course as the files have it: codes instead of statements, and no evidence."""
    request = read_text(json.dumps(course), CATALOGUE.fault)
    answer = json.loads(to_text(recommend(CATALOGUE.get(request.protocol), request.course, request.on)))
    kept = {key: answer[key] for key in ("action", "dose", "due_on", "next_count_on")}
    return kept | {key: [statement["code"] for statement in answer[key]] for key in ("reasons", "alerts")}


def different(file: Path) -> list[str]:
    pairs = [json.loads(line) for line in file.read_text().splitlines()]
    assert pairs
    return [json.dumps(pair) for pair in pairs if comparable(pair["course"]) != pair["answer"]]


def test_the_engine_answers_as_the_second_implementation_did() -> None:
    assert different(GOLDEN) == []


def test_the_golden_courses_reach_every_protocol_and_action() -> None:
    pairs = [json.loads(line) for line in GOLDEN.read_text().splitlines()]
    assert {pair["course"]["protocol"] for pair in pairs} == set(CATALOGUE.ids())
    assert {pair["answer"]["action"] for pair in pairs} == {
        "start", "increase", "maintain", "reduce", "hold", "resume", "refer", "incomplete", "complete",
    }  # fmt: skip


@pytest.mark.skipif(not GIVEN.exists(), reason="the courses given with the rules are not here")
def test_the_engine_answers_as_the_courses_given_with_the_rules() -> None:
    assert different(GIVEN) == []
