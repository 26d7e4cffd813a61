"""The threat model and the hazard log are true: each test that they name exists, and nothing lacks its control."""

from __future__ import annotations

import ast
import re
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

import pytest

ROOT: Final = Path(__file__).parents[2]
HAZARDS: Final = (ROOT / "docs/safety/hazard-log.md").read_text(encoding="utf-8")
THREATS: Final = (ROOT / "docs/safety/threat-model.md").read_text(encoding="utf-8")
#: What can go wrong where doses are titrated; more may be there, none may go.
KINDS: Final = frozenset(
    {
        *("tenfold-count", "wrong-unit", "weight-wrong-or-old", "number-changed", "unreliable-count", "wrong-patient"),
        *("confounded-count", "stale-proposal", "stale-count", "time-zone", "clinic-ambiguous", "missed-hold"),
        *("over-maximum", "double-dose", "after-discontinuation", "safety-event-not-seen", "outside-population"),
        *("unsigned-dose", "override-abuse", "preparation-error", "wrong-label-limits", "protocol-changed"),
        *("program-broken", "silent-feed", "lost-write", "damaged-data", "reminder-not-sent", "reminder-doubled"),
        *("not-available", "access", "audit-tampering", "correction-lost", "unverified-value", "bulk-import"),
        "automation-bias",
    }
)
DOORS: Final = (
    *("REST", "FHIR", "CDS Hooks", "SMART Backend Services", "HL7 v2", "Pages", "Calendars"),
    *("Reminders and webhooks", "Command line and files", "Imports"),
)
SEVERITIES: Final = ("minor", "significant", "considerable", "major", "catastrophic")


class Line(NamedTuple):
    """A control, or a threat: its number, what it says, and the tests that it names."""

    number: str
    text: str
    tests: list[str]


class Hazard(NamedTuple):
    """A hazard as the log has it."""

    number: str
    fields: dict[str, str]
    controls: list[Line]


def lines(text: str) -> list[Line]:
    """The lines that have a number."""
    found = []
    for part in re.split(r"^- (?=\*\*)|^(?=- )|^#.*$", text, flags=re.MULTILINE):
        if match := re.match(r"\*\*([CT]-[\w-]+)\*\* (.*)", part, re.DOTALL):
            said = match[2].split("\n\n")[0]
            found.append(Line(match[1], said.split("`tests/")[0].strip(), re.findall(r"`(tests/[^`]+)`", said)))
    return found


def hazards() -> list[Hazard]:
    """All hazards, in order."""
    found = []
    for section in re.split(r"^## (?=H-)", HAZARDS, flags=re.MULTILINE)[1:]:
        number = section.split()[0]
        told = " ".join(section.split("\n- **")[0].split())
        fields = {
            name: re.split(r" - [A-Z]\w+: ", rest)[0]
            for name, rest in re.findall(r"- (Kind|Cause|Harm|Severity): (.*?)(?= - [A-Z]\w+: |$)", told)
        }
        found.append(Hazard(number, fields, lines(section)))
    return found


LOG: Final = hazards()
NAMED: Final = [*(control for one in LOG for control in one.controls), *lines(THREATS)]


@cache
def known(file: str) -> frozenset[str]:
    """The tests that a file defines, read and not run."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return frozenset(node.name for node in functions if node.name.startswith("test_"))


@pytest.mark.parametrize("line", NAMED, ids=lambda line: line.number)
def test_each_control_and_each_threat_names_tests_that_exist(line: Line) -> None:
    assert line.tests, "a control that no test shows is none: tell it as open"
    for named in line.tests:
        file, _, name = named.partition("::")
        assert name in known(file), named


def test_no_number_is_given_twice() -> None:
    numbers = Counter([one.number for one in LOG] + [line.number for line in NAMED])
    assert {number for number, times in numbers.items() if times > 1} == set()


def test_every_reference_of_the_pages_stands_with_a_control() -> None:
    """Or it would be checked by nobody."""
    counted = sum(len(line.tests) for line in NAMED)
    assert counted == sum(len(re.findall(r"`tests/[^`]+::[^`]+`", page)) for page in (HAZARDS, THREATS))


@pytest.mark.parametrize("hazard", LOG, ids=lambda hazard: hazard.number)
def test_each_hazard_is_told_whole_and_has_controls_of_its_own(hazard: Hazard) -> None:
    assert set(hazard.fields) == {"Kind", "Cause", "Harm", "Severity"}
    assert hazard.controls
    assert {control.number.rsplit("-", 1)[0] for control in hazard.controls} == {f"C-{hazard.number[2:]}"}


def test_every_hazard_of_the_work_is_there() -> None:
    assert Counter(one.fields["Kind"].strip("`") for one in LOG) == Counter(KINDS)


def risks() -> dict[str, list[int]]:
    """The table of risks: by likelihood, in order of severity."""
    table = HAZARDS.split("| Likelihood |")[1].split("\n\n")[0].split("\n")[2:]
    rows = ([cell.strip() for cell in row.strip("| ").split("|")] for row in table)
    return {likelihood.lower(): list(map(int, cells)) for likelihood, *cells in rows}


@pytest.mark.parametrize("hazard", LOG, ids=lambda hazard: hazard.number)
def test_the_risks_are_those_of_the_table_and_none_must_not_be_unless_it_is_open(hazard: Hazard) -> None:
    said = re.fullmatch(
        r"(\w+)\. Likelihood: ([a-z ]+), with the controls ([a-z ]+)\. Risk: (\d), with the controls (\d)\.",
        hazard.fields["Severity"],
    )
    assert said, hazard.fields["Severity"]
    column = SEVERITIES.index(said[1])
    before, after = (risks()[likelihood][column] for likelihood in (said[2], said[3]))
    assert (before, after) == (int(said[4]), int(said[5]))
    assert after <= before
    if after > 3:
        assert "**Open**" in HAZARDS.split(f"## {hazard.number} ")[1].split("\n## ")[0]


def test_each_door_has_its_threats() -> None:
    for door in DOORS:
        assert lines(THREATS.split(f"\n## {door}\n")[1].split("\n## ")[0]), door


def test_a_reference_to_nothing_would_be_found() -> None:
    (line,) = lines("- **C-99-1** Something.\n  `tests/contract/test_safety_page.py::test_that_is_none`\n")
    with pytest.raises(AssertionError):
        test_each_control_and_each_threat_names_tests_that_exist(line)
