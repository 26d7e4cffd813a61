"""An installation, and the short way from a table to what was recorded of it."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests.api.support import House
from titrator.bulk.intake.files import open_table
from titrator.bulk.intake.plan import Plan, draw_up, read_said
from titrator.bulk.intake.run import Report, Work, run
from titrator.bulk.intake.stage import Stage
from titrator.security.permissions import PERMISSIONS, Role
from titrator.store.base import Where
from titrator.store.records import Clinic, Fact, Identifier, Patient
from titrator.workflow.visit import Actor

SYSTEM = "urn:mrn"
VISITS = ("MRN", "Last name", "First name", "DOB", "Date", "Weight kg", "Platelets (10^9/L)", "Dose mcg")
SAID: dict[str, Any] = {"source": "ward", "system": SYSTEM, "protocol": "us-itp-adult"}


def visit(number: str, day: str, weight: object = "", platelets: object = "", dose: object = "") -> list[str]:
    """A row of a table of visits."""
    return [number, "Berg", "Anna", "1960-05-01", day, str(weight), str(platelets), str(dose)]


def write_csv(file: Path, header: Sequence[str], rows: Iterable[Sequence[object]], delimiter: str = ",") -> Path:
    with file.open("w", encoding="utf-8", newline="") as out:
        csv.writer(out, delimiter=delimiter).writerows([header, *rows])
    return file


class Imported(NamedTuple):
    """What came of an import."""

    report: Report
    refused: list[tuple[int, str]]
    plan: Plan


def imports(house: House, file: Path, kind: str = "csv", *, keeps: bool = True, **said: Any) -> Imported:
    """Import a file as a pharmacist of clinic A; what is None is not said."""
    with staged(house, file, kind, **said) as work:
        report = Report()
        for _ in run(work, report, keeps=keeps):
            pass
        return Imported(report, [(line, why) for line, _, why in work.stage.refused()], work.plan)


@contextmanager
def staged(house: House, file: Path, kind: str = "csv", **said: Any) -> Iterator[Work]:
    """What is to be done with a file, its rows put by."""
    asked = read_said({key: value for key, value in {**SAID, **said}.items() if value is not None})
    table = open_table(file, kind, sheet=asked.sheet, encoding=asked.encoding, delimiter=asked.delimiter)
    drawn = draw_up(table.header, asked, name=file.name, systems=None, clinics={"A": house.clinic})
    assert not drawn.questions, drawn.questions
    stage = Stage(file.with_suffix(".stage"))
    actor = Actor("0" * 20, "anna", Role.PHARMACIST, frozenset([house.clinic]), PERMISSIONS[Role.PHARMACIST])
    with house.services.store.reading() as session:
        clinics = {clinic.id: clinic for clinic in session.find(Clinic)}
    try:
        stage.fill(drawn.plan, table)
        yield Work(house.services, actor, drawn.plan, stage, {"source": "ward"}, clinics)
    finally:
        stage.remove()


def patient(house: House, number: str) -> Patient | None:
    with house.services.store.reading() as session:
        found = session.get(Identifier, SYSTEM, number)
        return None if found is None else session.get(Patient, found.patient_id)


def facts(house: House, number: str) -> list[Fact]:
    """All versions of all facts of a patient, in order."""
    found = patient(house, number)
    assert found is not None
    with house.services.store.reading() as session:
        return session.find(Fact, Where("patient_id", "=", found.id), order=("id", "version"))


def told(house: House, number: str) -> list[str]:
    """The current facts of a patient in short: day, kind, value, unit, and what waits."""
    return [
        " ".join([fact.day, fact.code or fact.kind, str(fact.value), str(fact.unit), *fact.asked])
        for fact in facts(house, number)
        if fact.current
    ]
