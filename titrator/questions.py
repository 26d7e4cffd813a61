"""The command that asks what a protocol would have said of all that was given. docs/cohort.md defines its answer."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final

import click

from titrator import console
from titrator.bulk.cohort import POINT_COLUMNS, Job, Part, audit, ranges
from titrator.bulk.files import Output, written_whole
from titrator.bulk.out import MARK
from titrator.bulk.tables import csv_lines, csv_text
from titrator.local import opened, operator, refuse_taken, refusing, settings, table, visiting, write_json
from titrator.people import clinic_named
from titrator.store.base import Store, Where
from titrator.store.connect import open_store
from titrator.titration.errors import Fault
from titrator.titration.quantities import plain
from titrator.workflow.cohort import Numbers, Question
from titrator.workflow.cohort_report import WORDS, Line, Report, asked, report, responded
from titrator.workflow.errors import Invalid
from titrator.workflow.visit import Services, Visit

COLUMNS: Final = ("section", "item", "detail", "number", "unit", "percent")
_TITLES: Final = {
    "cohort": "Who was looked at",
    "agreement": "What was given, beside what would have been proposed",
    "doses-since-last-count": "Doses since the last reliable count, at each dose given",
    "without-dose": "Points without a proposed dose, by reason (a point may have several)",
    "time-in-range": "Time of the counts, from the first dose to the last count",
    "first-response": "First response after the first dose",
    "overrides": "Overrides by reason, and the next count after each",
}
_DAY: Final = click.DateTime(["%Y-%m-%d"])


@click.command("audit-titration")
@click.option("--protocol", "ident", required=True, metavar="ID", help="What would this protocol have said?")
@click.option("--clinic", help="Only the patients of this clinic, by name or id.")
@click.option("--treated", is_flag=True, help="Only courses that were by this protocol themselves.")
@click.option("--from", "first", type=_DAY, metavar="DAY", help="Only decision points from this day on.")
@click.option("--until", "last", type=_DAY, metavar="DAY", help="Nothing later than this day; today by default.")
@click.option("--format", "how", type=click.Choice(["table", "csv", "json"]), default="table", show_default=True)
@click.option(
    "--points", type=click.Path(path_type=Path, dir_okay=False), help="Write each decision point to this CSV."
)
@click.option("--charts", type=click.Path(path_type=Path, file_okay=False), help="Write charts (SVG) to this folder.")
@click.option("--jobs", type=click.IntRange(1, 256), help="Processes; by default one a core.")
def audit_titration_command(  # noqa: PLR0913, PLR0917 (its options)
    ident: str,
    clinic: str | None,
    treated: bool,
    first: datetime | None,
    last: datetime | None,
    how: str,
    points: Path | None,
    charts: Path | None,
    jobs: int | None,
) -> None:
    """Answer every historic decision point anew by a protocol, and report how it agrees with what was given."""
    with refusing():
        if points is not None:
            refuse_taken(points)
        with opened(configured := settings()) as services:
            days = tuple(None if day is None else day.date().toordinal() for day in (first, last))
            question = _question(services, ident, days, treated=treated)
            where, subject = _whom(services, clinic)
            job = Job(question, services.clock(), where, with_points=points is not None)
            numbers = _asked(services, partial(open_store, configured.database_url), job, points, jobs)
            with visiting(services) as visit:
                file = None if points is None else str(points.absolute())
                visit.note("audit-titration", subject, asked=asked(question), patients=numbers["patients",], file=file)
        found = report(question, numbers)
        if charts is not None:
            from titrator.web.cohort_charts import CHARTS, chart  # noqa: PLC0415 (as in web/patients.py)

            charts.mkdir(parents=True, exist_ok=True)
            for name in CHARTS:
                (charts / f"{name}.svg").write_text(chart(name, found, responded(numbers)), encoding="utf-8")
    _SHOWN[how](question, found)


def _question(services: Services, ident: str, days: tuple[int | None, ...], *, treated: bool) -> Question:
    """What is asked; raises Invalid with every fault."""
    first, last = days
    faults = []
    if (wrong := services.catalogue.fault(ident)) is not None:
        faults.append(Fault("--protocol", wrong))
    if first is not None and last is not None and first > last:
        faults.append(Fault("--from", "must not be after --until"))
    if faults:
        raise Invalid(*faults)
    return Question(services.catalogue.get(ident), first, last, ident if treated else None)


def _whom(services: Services, clinic: str | None) -> tuple[tuple[Where, ...], str]:
    """Whose courses are meant, and how the trail names them; raises Invalid."""
    if clinic is None:
        return (), "patients"
    with services.store.reading() as session:
        visit = Visit(services=services, session=session, actor=operator(), now=services.clock())
        found = clinic_named(visit, clinic)
    return (Where("clinic_id", "=", found.id),), f"clinic/{found.id}/patients"


def _asked(services: Services, opens: Callable[[], Store], job: Job, points: Path | None, jobs: int | None) -> Numbers:
    """The numbers of all ranges; decision points are written as they come."""
    pieces = ranges(services.store, job.where)
    found = audit(opens, services.store, job, pieces, jobs or os.cpu_count() or 1)
    with console.progress(sum(piece.patients for piece in pieces), "patients") as advance:
        if points is None:
            return _added(found, advance)
        with written_whole(points) as output:
            return _added(_written(found, output), advance)


def _added(parts: Iterator[Part], advance: Callable[[int], None]) -> Numbers:
    numbers: Numbers = Counter()
    for part in parts:
        numbers.update(part.numbers)
        advance(part.patients)
    return numbers


def _written(parts: Iterator[Part], output: Output) -> Iterator[Part]:
    """The same parts; the rows of each have been written by then."""
    output.write(MARK + next(csv_lines(POINT_COLUMNS, ())))
    for part in parts:
        lines = csv_lines(POINT_COLUMNS, part.rows)
        next(lines)
        output.write("".join(lines))
        yield part


# How it is shown


def _show_table(question: Question, found: Report) -> None:
    screen = console.out()
    of = asked(question)
    period = f"from {of['from'] or 'the first'} to {of['until'] or 'today'}"
    only = ", of courses that were by it" if question.treated_by else ""
    screen.print(
        f"What {console.named(question.protocol)} would have said{only}, {period}; docs/cohort.md defines all of it."
    )
    for name, section in found.items():
        lines = [line for line in section if line.number or line.detail or name in ("cohort", "time-in-range")]
        screen.print(f"\n{_TITLES[name]}", style="bold")
        if not lines:
            screen.print("  none")
            continue
        rows = table("What", "", "Number", "", "%")
        for place in (2, 4):
            rows.columns[place].justify = "right"
        for line in lines:
            number = "" if line.number is None else plain(line.number)
            percent = "" if line.percent is None else plain(line.percent)
            rows.add_row(WORDS.get(line.item, line.item), line.detail, number, _of_one(line), percent)
        screen.print(rows)


def _of_one(line: Line) -> str:
    """The unit of a line, as a person says it."""
    return line.unit.removesuffix("s") if line.number == 1 else line.unit


def _write_csv(question: Question, found: Report) -> None:
    del question
    rows = ({"section": name, **line._asdict()} for name, section in found.items() for line in section)
    sys.stdout.buffer.write(csv_text(COLUMNS, rows).encode())
    sys.stdout.buffer.flush()


def _write_json(question: Question, found: Report) -> None:
    sections = {name: [line._asdict() for line in section] for name, section in found.items()}
    write_json({**asked(question), "report": sections})


_SHOWN: Final[dict[str, Callable[[Question, Report], None]]] = {
    "table": _show_table,
    "csv": _write_csv,
    "json": _write_json,
}
