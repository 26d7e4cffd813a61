"""Every door answers alike: POST /recommend, the command line, and the engine itself, to the last byte."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.api.live import Server, server
from tests.support import CATALOGUE, IDS
from titrator.cli import main
from titrator.titration.answer import to_text
from titrator.titration.errors import InvalidDocument
from titrator.workflow.propose import propose

__all__ = ["server"]

TESTS = Path(__file__).parents[1]
GOLDEN = TESTS / "golden" / "courses.ndjson"
GIVEN = TESTS.parents[1] / "shared" / "cases" / "contract-examples.ndjson"
# Documents that nobody answers, each refused for faults in other places.
REFUSED = [
    "{}",
    "[]",
    "{",
    '{"protocol": "us-itp-adult", "on": "2026-03-09", "on": "2026-03-10"}',
    '{"protocol": "us-itp-adut", "on": "2026-3-9", "weights": [{"measured_on": "2026-02-14", "value": "75"}]}',
    '{"protocol": "us-itp-adult", "on": "2026-03-09", "doses": [{"given_on": "2026-03-02", "micrograms": 1e400}]}',
    '{"protocol": "us-itp-adult", "on": "2026-03-09", "platelet_counts": {"value": 38}, "note": null}',
]


def courses(file: Path) -> list[bytes]:
    """The course documents of a file, each in the very bytes that stand there."""
    texts = []
    for line in file.read_text(encoding="utf-8").splitlines():
        start = line.index(":") + 1
        _, end = json.JSONDecoder().raw_decode(line[start:].lstrip())
        texts.append(line[start:].lstrip()[:end].encode())
    assert texts
    return texts


def by_rest(server: Server, document: bytes) -> bytes:
    response = server.ask("pharmacist", "POST", "/recommend", document)
    assert response.status_code == 200, response.text
    assert response.headers["Content-Type"] == "application/json"
    return response.content


def by_command_line(folder: Path, document: bytes, *options: str) -> tuple[int, bytes]:
    file = folder / "course.json"
    file.write_bytes(document)
    result = CliRunner(env={"TITRATOR_INSTANCE": str(folder)}).invoke(main, ["recommend", str(file), *options])
    return result.exit_code, result.stdout_bytes


def different(server: Server, folder: Path, file: Path) -> list[bytes]:
    """The courses that REST, the command line and the engine do not all answer alike."""
    documents = courses(file)
    code, output = by_command_line(folder, b"\n".join(documents), "--ndjson", "--jobs", "1")
    lines = output.splitlines()
    assert (code, len(lines)) == (0, len(documents))
    wrong = []
    for document, line in zip(documents, lines, strict=True):
        if not by_rest(server, document) == line == to_text(propose(CATALOGUE, document)).encode():
            wrong.append(document)
    return wrong


def test_the_golden_courses_are_answered_alike_at_every_door(server: Server, tmp_path: Path) -> None:
    assert different(server, tmp_path, GOLDEN) == []


@pytest.mark.skipif(not GIVEN.exists(), reason="the courses given with the rules are not here")
def test_the_courses_given_with_the_rules_are_answered_alike_at_every_door(server: Server, tmp_path: Path) -> None:
    assert different(server, tmp_path, GIVEN) == []


def test_a_single_course_is_answered_alike_by_the_command_line_as_json(server: Server, tmp_path: Path) -> None:
    """The first golden course of each protocol."""
    first = {json.loads(document)["protocol"]: document for document in reversed(courses(GOLDEN))}
    assert sorted(first) == IDS
    for document in first.values():
        assert by_command_line(tmp_path, document, "--json") == (0, by_rest(server, document) + b"\n")


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_refused_is_refused_for_the_same_faults(server: Server, tmp_path: Path, text: str) -> None:
    response = server.ask("pharmacist", "POST", "/recommend", text.encode())
    assert (response.status_code, response.headers["Content-Type"]) == (422, "application/problem+json")
    code, output = by_command_line(tmp_path, text.encode(), "--json")
    assert code == 3
    told = [(fault["path"], fault["message"]) for fault in response.json()["faults"]]
    with pytest.raises(InvalidDocument) as refused:
        propose(CATALOGUE, text.encode())
    assert told == [(fault.path, fault.message) for fault in refused.value.faults]
    assert told == [(fault["path"], fault["message"]) for fault in json.loads(output)["errors"]]
