"""The page on FHIR is true: its examples are run, its tables are those of the code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from flask import Flask

from schemas import fhir
from schemas.dose import NOT_GIVEN
from schemas.event import KINDS as EVENTS
from schemas.event import SCALES
from schemas.fields import COUNT_UNITS, WEIGHT_UNITS
from tests.contract.receiver import receiving
from tests.contract.served import serving
from tests.contract.test_guides import ACCESS, DOCS, Alike, Shell, cells, compare, steps, table, ticked
from titrator.app import LARGEST_BODY, create_app
from titrator.door import STATUS
from titrator.fhir import apply, codes, elements, giving, kinds, routes, search, taking, writing
from titrator.fhir.capability import FHIR_VERSION, capability_statement
from titrator.fhir.kinds import KINDS
from titrator.fhir.outcome import _TYPES, MEDIA_TYPE
from titrator.security.permissions import Role
from titrator.settings import Settings
from titrator.titration.errors import Fault

PAGE = (DOCS / "fhir.md").read_text(encoding="utf-8")
SOURCES = Path(kinds.__file__).parent
BERLIN = ZoneInfo("Europe/Berlin")


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Flask:
    return create_app(Settings(instance=tmp_path_factory.mktemp("fhir"), log_level="error"))


def section(heading: str) -> str:
    """What stands under a heading, up to the next one of its kind."""
    level = heading.partition(" ")[0]
    return PAGE.split(f"\n{heading}\n", 1)[1].split(f"\n{level} ")[0]


def said(words: str) -> list[str]:
    """What is ticked in the sentence that begins with some words."""
    return ticked(" ".join(PAGE.split()).split(words, 1)[1].split(". ")[0])


# The examples


def test_the_examples_are_what_comes_back(tmp_path: Path) -> None:
    with receiving() as receiver, serving(tmp_path) as served:
        compare(PAGE, Shell(served, receiver))


def test_the_examples_work_with_a_demonstration(tmp_path: Path) -> None:
    rehearse(PAGE, tmp_path)


def rehearse(page: str, instance: Path) -> None:
    """Run the examples of a page as a reader would: other clinics, other patients, the same statuses."""
    with receiving() as receiver, serving(instance, demonstration=True) as served:
        shell, shown, sent = Shell(served, receiver), "", ""
        for command, printed in steps(page):
            if not command.startswith("curl"):
                name, _, ident = command.partition("=")
                shell.variables[name] = Alike.CHANCE.findall(sent)[Alike.CHANCE.findall(shown).index(ident)]
                continue
            response = shell.curl(command)
            shown, sent = printed.rpartition("\n\n")[2], response.text
            if " -si " in command:
                assert printed.startswith(f"HTTP/1.1 {response.status_code} "), (command, sent)
            else:
                assert response.is_success, (command, sent)


def test_the_commands_of_the_readme_work(tmp_path: Path) -> None:
    """Those of hospital systems."""
    commands = re.findall(r"^    (curl .*)$", (DOCS.parent / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(commands) == 2
    with receiving() as receiver, serving(tmp_path, demonstration=True) as served:
        shell = Shell(served, receiver)
        shell.variables["TOKEN"] = served.tokens[Role.EHR]
        for command in commands:
            response = shell.curl(command.replace("http://127.0.0.1:8000", served.url))
            assert response.is_success, (command, response.text)


# What there is


def test_every_type_is_told_with_who_may_read_and_write_it() -> None:
    told = {
        ticked(name)[0]: (ticked(reads)[0], None if writes == "no" else ticked(writes)[0])
        for name, _, _, reads, writes in table(PAGE, "Type | What it is here")
    }
    there = {name: (str(kind.reads), kind.writes and str(kind.writes)) for name, kind in KINDS.items()}
    assert told == there


def test_every_search_parameter_is_told_and_none_else() -> None:
    told = {ticked(name)[0]: ticked(parameters) for name, parameters in table(PAGE, "Type | Parameters")}
    assert told == {name: list(kind.parameters) for name, kind in KINDS.items()}


def test_what_steers_a_search_is_told() -> None:
    text = section("## To search")
    for name in search._CONTROLS:
        assert re.search(rf"`{name}[`=]", text), name
    assert set(said("**Dates** take")) == set(search._PREFIX.pattern.split(")")[0].strip("(").split("|"))
    assert f"`_count` is {search.PAGE} by default and {search.MOST} at most" in " ".join(text.split())
    assert f"`{search.BY_DEFAULT}`" in text
    assert f"up to {kinds._MOST_TASKS} patients" in " ".join(text.split())


def test_the_limits_are_those_of_the_code() -> None:
    assert (LARGEST_BODY, writing._MOST_ENTRIES, elements.DEEPEST) == (1_000_000, 500, 24)
    assert "a body of 1,000,000 bytes, a Bundle of 500 entries, 24 levels" in PAGE
    assert "with up to 500 entries" in PAGE


def test_media_types_are_told() -> None:
    told = {name for row in ("Sent", "Received") for name in re.findall(r"`([a-z]+/[a-z+]+)`", _row(row))}
    assert told == {name for name in search.FORMATS if "/" in name} | {MEDIA_TYPE}
    assert FHIR_VERSION in PAGE


def _row(first: str) -> str:
    return next(line for line in PAGE.split("\n") if line.startswith(f"| {first} |"))


def test_what_becomes_of_a_dose_is_told() -> None:
    told = [(ticked(intent)[0], ticked(status)[0]) for intent, status, _ in table(PAGE, "Intent")]
    assert len(told) == len(set(told))
    of_facts = {("proposal", "draft"), ("order", giving.OPEN_AGAIN)}
    assert set(told) == {*of_facts, *giving._ORDERS.values()}


# What is written


def test_every_loinc_code_is_told_with_what_it_is() -> None:
    rows = table(PAGE, "LOINC")
    told = [(ticked(loinc), kept.strip("`").replace(" ", "-").replace("weights", "weight")) for loinc, kept, _ in rows]
    there = [([code for code, _ in one.loinc], one.code or one.collection.kinds[0]) for one in codes.MEASURED]
    assert told == there
    units = {kept.strip("`"): ticked(cell) for _, kept, cell in rows}
    assert units["platelet count"] == list(COUNT_UNITS)
    assert units["weight"] == list(WEIGHT_UNITS)


def test_how_units_are_written_is_told() -> None:
    assert set(said("Common ways to write them are understood")) == set(codes.WRITTEN)
    told = re.findall(r"`([^`]+)` as `([^`]+)`", PAGE.split("by its UCUM code", 1)[1].split(")")[0])
    assert dict(told) == codes.UNIT_NAMES
    known = [unit for unit in codes.MICROGRAMS if unit.isascii()]
    assert f"`dosage.dose` in {', '.join(f'`{unit}`' for unit in known[:-1])} or `{known[-1]}`" in PAGE


def statuses(heading: str) -> dict[str, str]:
    rows = [cells(line) for line in section(heading).split("\n") if re.match(r"\| `[a-z-]+`[^|]* \|[^|]+\|$", line)]
    return {status: what for cell, what in rows for status in ticked(cell)}


@pytest.mark.parametrize(
    ("heading", "known"),
    [("### Observation", fhir.OBSERVATION_STATUS), ("### MedicationAdministration", fhir.ADMINISTRATION_STATUS)],
)
def test_every_status_is_told_and_what_is_refused_is(heading: str, known: tuple[str, ...]) -> None:
    told = statuses(heading)
    assert set(told) == set(known)
    kind = heading.removeprefix("### ")
    for status, what in told.items():
        faults: list[Fault] = []
        taking.take(resource(kind) | {"status": status}, kind, BERLIN, faults)
        assert bool(faults) is what.startswith("422"), (status, faults)


def test_a_procedure_is_done_or_never_was() -> None:
    taken = []
    for status in fhir.PROCEDURE_STATUS:
        faults: list[Fault] = []
        taking.take(resource("Procedure") | {"status": status}, "Procedure", BERLIN, faults)
        taken += [] if faults else [status]
    assert said("Of a Procedure, status")[:2] == taken == ["completed", "entered-in-error"]


def resource(kind: str) -> dict[str, Any]:
    """The least that a resource of a type may be."""
    return {
        "Observation": {
            "resourceType": "Observation",
            "code": {"coding": [{"system": codes.LOINC, "code": "777-3"}]},
            "effectiveDateTime": "2026-11-16",
            "valueQuantity": {"value": Decimal(38), "unit": "10*9/L"},
        },
        "MedicationAdministration": {
            "resourceType": "MedicationAdministration",
            "medicationCodeableConcept": {"text": "Romiplate"},
            "effectiveDateTime": "2026-11-16",
            "dosage": {"dose": {"value": Decimal("0.075"), "unit": "mg"}},
        },
        "Procedure": {
            "resourceType": "Procedure",
            "code": {"coding": [{"system": codes.SNOMED, "code": codes.PLATELET_TRANSFUSION}]},
            "performedDateTime": "2026-11-16",
        },
    }[kind]


def test_the_reasons_for_a_dose_not_given_are_told() -> None:
    assert set(said("`statusReason` has one of")) == set(NOT_GIVEN) == set(codes.NOT_GIVEN_TEXT)


def test_every_kind_of_event_is_told_with_its_codes() -> None:
    told: dict[str, set[str]] = {}
    for kind, code, _ in [row for row in _rows_of("### Procedure and AdverseEvent") if row[0] != "Type"]:
        system, *rest = ticked(code)
        for one in rest:
            told.setdefault(f"{ticked(kind)[0]} {system}", set()).add(one)
    procedures = {*codes.TRANSFUSIONS, "rescue_therapy"}
    assert told == {
        f"Procedure {codes.SNOMED}": {code for code, _ in codes.TRANSFUSIONS.values()},
        f"Procedure {codes.OWN}:event": procedures,
        f"AdverseEvent {codes.OWN}:event": set(EVENTS) - procedures,
    }
    assert f"{codes.ATC}|{codes.ROMIPLOSTIM}" in PAGE


def _rows_of(heading: str) -> Iterator[list[str]]:
    for line in section(heading).split("\n"):
        if line.startswith("| ") and "---" not in line:
            yield cells(line)


def test_every_extension_of_ours_is_told_and_none_else() -> None:
    rows = table(PAGE, "Extension")
    told = {ticked(url)[0] for url, *_ in rows}
    there = {
        value for module in (taking, giving) for name, value in vars(module).items() if name.endswith("_EXTENSION")
    }
    assert told == there
    for _, on, _, _ in rows:
        assert {name.split(".")[0] for name in ticked(on)} <= set(KINDS)
    (scales,) = [means for url, _, _, means in rows if ticked(url) == [taking.GRADE_EXTENSION]]
    assert ticked(scales) == list(SCALES)


def test_every_system_of_ours_is_told_and_none_else() -> None:
    """By what the modules write: `urn:titrator:x`, or what they make of OWN."""
    told = {url.rstrip(":").rpartition(":")[2] for system, _ in table(PAGE, "System") for url in ticked(system)}
    sources = "".join(file.read_text(encoding="utf-8") for file in SOURCES.glob("*.py"))
    there = set(re.findall(r"\{OWN\}:([a-z][a-z0-9-]*)", sources)) | set(
        re.findall(r"urn:titrator:([a-z0-9-]+)", sources)
    )
    there |= set(re.findall(r'_own\("([a-z-]+)"', sources))
    there |= set(re.findall(r'(?<!_)statements\([a-z_.]+, "([a-z]+)"\)', sources))
    extensions = {ticked(url)[0].rpartition(":")[2] for url, *_ in table(PAGE, "Extension")}
    assert told - {"protocol"} == there - extensions
    assert "protocol" in there


def test_parameters_of_apply_without_meaning_are_told() -> None:
    sentence = re.split(r"There is no other day than today\.", " ".join(PAGE.split()), maxsplit=1)[1].split(
        " are taken"
    )
    assert tuple(ticked(sentence[0])) == apply._WITHOUT_MEANING


def test_an_operation_is_offered_as_it_is_told(app: Flask) -> None:
    paths = {rule.rule for rule in app.url_map.iter_rules() if "$" in rule.rule}
    assert len(paths) == 2
    for path in paths:
        assert path.replace("<resource_id>", "{id}") in PAGE


# Refusals


def test_every_refusal_is_told_with_its_issue() -> None:
    told = {(int(status), issue) for status, issues, _ in table(PAGE, "Status | Issue") for issue in ticked(issues)}
    there = {(int(STATUS[kind]), issue) for kind, issue in _TYPES.items()}
    there -= {(428, "required")}  # no version is required over FHIR
    there |= {(status, issue) for status, issue in routes._ISSUES.items() if status != 404}
    there |= {(404, "not-supported"), (410, "deleted"), (409, "duplicate"), (412, "duplicate")}
    there |= {(422, issue) for issue in ("required", "structure", "extension")}
    assert told == there


# Who may


def test_the_permissions_of_each_interaction_are_told(app: Flask) -> None:
    """In docs/access.md; they are those that the routes ask for."""
    told = {
        (interaction, kind): ticked(permission)[0]
        for interactions, of, permission in table(ACCESS, "Interaction")
        for interaction in ticked(interactions)
        for kind in ticked(of) or [""]
    }
    there = {
        ({"search-type": "search"}.get(code, code), kind): needed(app, code, kind) for code, kind in interactions()
    }
    there |= dict.fromkeys((("transaction", ""), ("batch", "")), needed(app, "bundle", ""))
    assert told == there


def interactions() -> Iterator[tuple[str, str]]:
    """Each interaction or operation that the CapabilityStatement names, with its type."""
    statement: Any = capability_statement("", "", cors=False)
    for one in statement["rest"][0]["resource"]:
        yield from ((each["code"], one["type"]) for each in one["interaction"])
        yield from ((each["name"], one["type"]) for each in one.get("operation", []))


def needed(app: Flask, code: str, kind: str) -> str:
    """The permission that the route of an interaction asks for."""
    name = {"search-type": f"search_{kind}", "apply": "apply_GET", "bundle": "bundle"}.get(code, f"{code}_{kind}")
    return str(app.view_functions[f"fhir.{name}"].permission)  # type: ignore[attr-defined]


def test_roles_that_are_named_are_there() -> None:
    named = set(re.findall(r"of the role `([a-z]+)`", PAGE))
    assert named
    assert named <= set(map(str, Role))
