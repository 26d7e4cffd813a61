"""The command that brings a hospital's own table in. docs/import.md is for who does it, docs/cli.md has the options."""

from __future__ import annotations

import fcntl
import hashlib
import os
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple, cast
from zoneinfo import ZoneInfo

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from titrator import console
from titrator.bulk.intake.crew import MOST, run_by_several
from titrator.bulk.intake.fields import known_kind, might_be
from titrator.bulk.intake.files import Table, kind_of, open_table
from titrator.bulk.intake.jobs import private, write_rejected
from titrator.bulk.intake.plan import Drawn, Said, as_said, draw_up, read_said
from titrator.bulk.intake.rows import history
from titrator.bulk.intake.run import Report, Work
from titrator.bulk.intake.stage import Stage, Staged
from titrator.bulk.intake.values import visible
from titrator.fhir import intake
from titrator.local import WRONG_INPUT, opened, operator, refuse, refusing, settings, table, visiting, write_json
from titrator.security.secrets import new_id
from titrator.store.connect import open_store
from titrator.store.records import Clinic
from titrator.titration.documents import legible
from titrator.titration.errors import Fault
from titrator.titration.quantities import plain
from titrator.workflow.condition import many
from titrator.workflow.errors import Invalid
from titrator.workflow.history import Told
from titrator.workflow.record import usual_system
from titrator.workflow.visit import Services

_PAIR: Final = "FIELD=COLUMN"
_SHOWN_ROWS: Final = 10
_SHOWN_ENTRIES: Final = 9
_LOOKED_AT: Final = 100
_SHOWN_KINDS: Final = 30
_SHOWN_LETTERS: Final = 40
#: Endings of files that may have resources.
_OF_RESOURCES: Final = (".json", ".ndjson", ".jsonl")
#: How one of a kind of fact is called in a report.
_CALLED: Final = {
    "weight": "weight",
    "platelet-count": "platelet count",
    "observation": "other value",
    "dose": "dose",
    "event": "event",
}

Advance = Callable[[int, str], None]


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--dry-run", is_flag=True, help="Show how the file is read and what would come of it; change nothing.")
@click.option("--yes", is_flag=True, help="What was guessed is right: go on without asking.")
@click.option(
    "--mapping", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="A file that says it all."
)
@click.option(
    "--save-mapping", type=click.Path(path_type=Path, dir_okay=False), help="Write how the file is read to it."
)
@click.option("--map", "columns", multiple=True, metavar=_PAIR, help="Which column has a field; repeatable.")
@click.option("--unit", "units", multiple=True, metavar="FIELD=UNIT", help="The unit of a field; repeatable.")
@click.option("--source", help="A name for where the rows come from, by which they are known again.")
@click.option("--system", help="The system of the patients' numbers: urn:oid:... or a URL.")
@click.option("--clinic", help="The clinic of new patients, by name or id.")
@click.option("--protocol", help="By which protocol courses are started.")
@click.option("--no-course", is_flag=True, help="Start no courses.")
@click.option("--dates", type=click.Choice(["dmy", "mdy"]), help="The order of days such as 03/04/2025.")
@click.option("--decimal", type=click.Choice(["point", "comma"]), help="What stands in 75.5; a point unless said so.")
@click.option("--sheet", help="The sheet of a workbook that has several.")
@click.option("--encoding", help="The encoding of a CSV file; UTF-8 unless said so.")
@click.option("--delimiter", help="What stands between the cells of a CSV file, if it is not told by its header.")
@click.option("--jobs", type=click.IntRange(1, 64), help="Processes; by default one a core, three at most.")
@click.option("--json", "as_json", is_flag=True, help="Answer as one line of JSON.")
@click.pass_context
def import_command(context: click.Context, /, file: Path, **asked: Any) -> None:
    """Bring the table FILE in: .csv, .xlsx or .ndjson, a row a visit or a row a fact; or FHIR: a Bundle, or lines.

    What was guessed of its columns and units is shown, and must be confirmed. Rows that cannot be taken are written to
    FILE.rejected.csv, each with why. The same file may be imported again: what is there is left as it is.
    """
    as_json, dry = asked["as_json"], asked["dry_run"]
    with refusing():
        said = _said(asked)
        chosen = settings()
        with opened(chosen) as services:
            looked = _looked_at(services, file, said)
            drawn = looked.drawn
            if not as_json:
                _show(file, looked)
            if drawn.questions:
                refuse(WRONG_INPUT, "this has to be said first", drawn.questions)
            if asked["save_mapping"]:
                asked["save_mapping"].write_text(_mapping(as_said(drawn.plan, said)), encoding="utf-8")
            if drawn.guesses and not (asked["yes"] or dry):
                _confirm(drawn)
            with _stage(chosen.instance / "imports") as stage:
                work = _work(services, stage, file, looked)
                staged = _fill(work, file, looked.table)
                if not as_json:
                    _show_kinds(work)
                if dry and not as_json:
                    _show_first(work)
                several = (
                    partial(_reopened, services, chosen.database_url),
                    asked["jobs"] or min(os.cpu_count() or 1, MOST),
                )
                report = _imported(work, staged, several, keeps=not dry)
                delimiter = "," if looked.table is None else looked.table.delimiter
                rejected = None if dry else _keep_rejected(work, file, report, delimiter)
                if report.refused and not as_json:
                    _show_refused(work, dry=dry)
    if as_json:
        write_json({**report.as_json(), "dry_run": dry, "rejected_file": rejected and str(rejected)})
    else:
        _show_report(report, rejected, dry=dry)
    context.exit(WRONG_INPUT if report.refused else 0)


def _said(asked: Mapping[str, Any]) -> Said:
    """What the mapping file and the options say, the options before the file; raises Invalid."""
    document: dict[str, Any] = {}
    if asked["mapping"] is not None:
        try:
            document = tomllib.loads(asked["mapping"].read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise Invalid(Fault("mapping", f"is no TOML: {error}")) from None
    for key in ("source", "system", "clinic", "protocol", "dates", "decimal", "sheet", "encoding", "delimiter"):
        if asked[key] is not None:
            document[key] = asked[key]
    if asked["no_course"]:
        document["course"] = False
    for key in ("columns", "units"):
        pairs = dict(_pair(key, text) for text in asked[key])
        if pairs:
            there = document.get(key, {})
            document[key] = {**there, **pairs} if isinstance(there, dict) else there
    return read_said(document)


def _pair(key: str, text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign or not name.strip() or not value.strip():
        raise Invalid(Fault(key, f"{text}: write FIELD=COLUMN" if key == "columns" else f"{text}: write FIELD=UNIT"))
    return name.strip(), value.strip()


class _Looked(NamedTuple):
    """A file as it was looked at: its table, or None where it has resources; the clinics by id; how it is read."""

    table: Table | None
    clinics: dict[str, Clinic]
    drawn: Drawn


def _looked_at(services: Services, file: Path, said: Said) -> _Looked:
    kind, resources = kind_of(file.name), file.suffix.lower() in _OF_RESOURCES and intake.is_fhir(file)
    if kind is None and not resources:
        ending = file.suffix or "no ending"
        raise Invalid(Fault("file", f"{ending} is not read: it may be .csv, .xlsx, .ndjson, or .json with a Bundle"))
    table = None
    if not resources:
        how = {"sheet": said.sheet, "encoding": said.encoding, "delimiter": said.delimiter}
        table = open_table(file, cast(str, kind), **how)
    with visiting(services) as visit:
        clinics = {clinic.id: clinic for clinic in visit.session.find(Clinic)}
        system = usual_system(visit)
    named = {clinic.name: clinic.id for clinic in clinics.values()} | {ident: ident for ident in clinics}
    if said.protocol is not None and (wrong := services.catalogue.fault(said.protocol)):
        raise Invalid(Fault("protocol", wrong))
    header = intake.HEADER if table is None else table.header
    drawn = draw_up(header, said, name=file.name, systems=system, clinics=named, of_columns=table is not None)
    return _Looked(table, clinics, drawn)


def _show(file: Path, looked: _Looked) -> None:
    """How a file is read."""
    if looked.table is None:
        console.out().print(f"{file.name}: FHIR resources.")
    else:
        _show_plan(file, looked.table, looked.drawn)
    for guess in looked.drawn.guesses:
        if not guess.what.startswith("column"):
            console.out().print(f"Guessed: {guess.what} is {guess.taken}.")


def _show_plan(file: Path, found: Table, drawn: Drawn) -> None:
    screen = console.out()
    shape = "a row a fact" if drawn.plan.is_long else "a row a visit"
    screen.print(f"{file.name}: {found.how}; {shape}.")
    rows = table("Column", "Field", "Unit", "How that is known")
    taken = {column.at: (name, column) for name, column in drawn.plan.columns.items()}
    units = {column.unit_at: name for name, column in drawn.plan.columns.items() if column.unit_at is not None}
    for at, header in enumerate(found.header):
        if at in taken:
            name, column = taken[at]
            unit = column.unit or ("in its own column" if column.unit_at is not None else "")
            rows.add_row(header, name, unit, "guessed: " + ", ".join(column.guessed) if column.guessed else "said")
        elif at in units:
            rows.add_row(header, f"{units[at]}_unit", "", "")
        else:
            may = " or ".join(might_be(header))
            rows.add_row(header, "left out", "", f"is it {may}? Then --map it" if may else "")
    screen.print(rows)


def _confirm(drawn: Drawn) -> None:
    """Have what was guessed confirmed by somebody who sits there; raises Invalid where nobody does."""
    if sys.stdin.isatty() and sys.stderr.isatty():
        click.confirm("Is what was guessed right?", abort=True, err=True)
        return
    faults = [Fault(guess.what, f"guessed to be {guess.taken}") for guess in drawn.guesses]
    refuse(WRONG_INPUT, "guessed and not confirmed: look at --dry-run, then say --yes, or say it in a mapping", faults)


@contextmanager
def _stage(folder: Path) -> Iterator[Stage]:
    """A stage of our own, for the time of the import; those of processes that have died are removed."""
    folder.mkdir(mode=0o700, exist_ok=True)
    for left in folder.glob("cli-*.stage"):
        with left.open("rb") as held:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                continue
            left.unlink(missing_ok=True)
    made = folder / f"cli-{new_id()}.stage"
    with made.open("xb") as mine:
        fcntl.flock(mine, fcntl.LOCK_EX)
        stage = Stage(made)
        try:
            yield stage
        finally:
            stage.remove()


def _work(services: Services, stage: Stage, file: Path, looked: _Looked) -> Work:
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    plan, clinics = looked.drawn.plan, looked.clinics
    about: dict[str, object] = {"source": plan.source, "file_sha256": digest}
    zones = {ident: ZoneInfo(clinic.time_zone) for ident, clinic in clinics.items()}
    read = intake.reader(plan, zones) if looked.table is None else None
    return Work(services, operator()._replace(clinics=frozenset(clinics)), plan, stage, about, clinics, read=read)


def _reopened(services: Services, database: str) -> Services:
    """The same services, with a store that another process has opened."""
    return replace(services, store=open_store(database))


def _fill(work: Work, file: Path, found: Table | None) -> Staged:
    """Put the rows of a file by."""
    if found is None:
        return work.stage.put(intake.rows(file, work.plan.system))
    with _progress("reading", found.size) as advance:
        read = 0

        def step(_: int) -> None:
            nonlocal read
            now = found.place()
            advance(now - read, "reading")
            read = now

        return work.stage.fill(work.plan, found, step)


def _imported(work: Work, staged: Staged, several: tuple[Callable[[], Services], int], *, keeps: bool) -> Report:
    report = Report()
    if keeps:
        _note(work, "begin-import", rows=staged.rows, patients=staged.patients)
    with _progress("recording", staged.rows) as advance:
        for done in run_by_several(work, *several, rows=staged.rows, keeps=keeps):
            report.add(done)
            advance(done.rows, f"{report.patients} patients, {report.refused} rows refused")
    report.refused = work.stage.count_refused()
    report.rows = staged.rows
    if keeps:
        told = {key: value for key, value in report.as_json().items() if key != "to_verify"}
        _note(work, "end-import", **told)
    return report


def _note(work: Work, did: str, **detail: Any) -> None:
    with visiting(work.services) as visit:
        visit.note(did, f"import/{work.plan.source}", patient=None, **work.about, **detail)


@contextmanager
def _progress(doing: str, total: int) -> Iterator[Advance]:
    """A progress bar on standard error, if that is a terminal: how far it is, rows a second, the time that is left."""
    if not sys.stderr.isatty():
        yield lambda advance, said: None
        return
    columns = (BarColumn(), TextColumn("{task.description}"), _Rate(), TimeRemainingColumn())
    # Without a thread of its own: other processes are forked while it is shown.
    terminal = Console(stderr=True)
    with Progress(
        *columns, console=terminal, transient=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
    ) as bar:
        task = bar.add_task(doing, total=total)
        yield lambda advance, said: bar.update(task, advance=advance, description=said, refresh=True)


class _Rate(TextColumn):
    """Rows a second; nothing while bytes are read."""

    def __init__(self) -> None:
        super().__init__("")

    def render(self, task: Any) -> Any:
        """The rate of a task."""
        rows = task.speed if task.speed and task.description != "reading" else 0
        self.text_format = f"{rows:,.0f} rows/s" if rows else ""
        return super().render(task)


def _show_kinds(work: Work) -> None:
    """What rows of one fact are taken to tell of, by what stands there."""
    column = work.plan.columns.get("kind")
    if column is None:
        return
    said = [
        f"{visible(word[:_SHOWN_LETTERS]) or 'empty'} is {known_kind(word) or 'nothing that is kept'} ({found})"
        for word, found in ((word, many(rows, "row")) for word, rows in work.stage.tally(column.at, _SHOWN_KINDS))
    ]
    console.out().print(f"{column.header}: {'; '.join(said)}.")


def _show_first(work: Work) -> None:
    """What would be recorded of the first patient of whom anything would be."""
    reads = work.read or partial(history, work.plan)
    read = ((number, reads(number, rows)) for number, rows in islice(work.stage.patients(), _LOOKED_AT))
    told = next((one for one in read if one[1].person and one[1].told), None)
    if told is None:
        return
    number, first = told
    person = first.person
    screen = console.out()
    name = ", ".join(part for part in (person and person.family_name, person and person.given_name) if part)
    screen.print(
        f"\nThe first patient: {number}, {name or 'no name'}, born {(person and person.born_on) or 'unknown'}."
    )
    rows = table("Line", "Day", "What", "Value")
    for one in first.told[:_SHOWN_ENTRIES]:
        day = next(str(value) for key, value in one.body.items() if key.endswith("_on"))
        rows.add_row(str(one.place), day, _what(one), _value(one.body))
    screen.print(rows)
    if len(first.told) > _SHOWN_ENTRIES:
        screen.print(f"and {len(first.told) - _SHOWN_ENTRIES} more of this patient.\n")


def _what(told: Told) -> str:
    return str(told.body.get("code") or told.body.get("kind") or told.collection.kinds[0])


def _value(body: Mapping[str, Any]) -> str:
    if "micrograms" in body:
        level = f", {plain(body['micrograms_per_kg'])} micrograms/kg" if "micrograms_per_kg" in body else ""
        return f"{plain(body['micrograms'])} micrograms{level}"
    return f"{plain(body['value'])} {body['unit']}" if "value" in body else str(body.get("term", ""))


def _keep_rejected(work: Work, file: Path, report: Report, delimiter: str) -> Path | None:
    """Write the rows that were not taken beside the file."""
    rejected = file.with_name(f"{file.name}.rejected.csv")
    if report.refused:
        with private(rejected) as out:
            write_rejected(work.stage, work.plan, out, delimiter)
        return rejected
    rejected.unlink(missing_ok=True)
    return None


def _show_refused(work: Work, *, dry: bool) -> None:
    """Why rows are refused, each reason once."""
    screen = console.out()
    reasons = list(work.stage.reasons(_SHOWN_ROWS + 1))
    screen.print("Rows that would be refused:" if dry else "Rows that were refused:")
    for why, rows, line in reasons[:_SHOWN_ROWS]:
        more = f" and {rows - 1} more" if rows > 1 else ""
        screen.print(f"  line {line}{more}: {why}")
    if len(reasons) > _SHOWN_ROWS:
        screen.print("  and others, for other reasons.")


def _show_report(report: Report, rejected: Path | None, *, dry: bool) -> None:
    would = "would be " if dry else ""
    facts = ", ".join(many(number, _CALLED.get(kind, kind)) for kind, number in report.recorded.items()) or "none"
    click.echo(
        f"{many(report.rows, 'row')} of {many(report.patients, 'patient')}: {report.new_patients} {would}new here, "
        f"{many(report.courses, 'course')} {would}started."
    )
    click.echo(f"Facts {would}recorded: {facts}. {report.known} were there already.")
    if report.unverified:
        asked = ", ".join(f"{number} {code}" for code, number in sorted(report.unverified.items()))
        click.echo(f"To be verified before they count: {asked}.")
        for one in report.to_verify[:_SHOWN_ROWS]:
            codes = ", ".join(cast("list[str]", one["asked"]))
            click.echo(f"  line {one['line']}, patient {one['patient']}: {codes}")
    if report.refused:
        where = f"; they are in {rejected}, each with why" if rejected else ""
        click.echo(legible(f"{many(report.refused, 'row')} {would}refused{where}."))
    if dry:
        click.echo("Nothing was changed.")


def _quoted(text: object) -> str:
    """A text as TOML has it."""
    return '"' + str(text).replace("\\", "\\\\").replace('"', '\\"') + '"'


def _mapping(said: Said) -> str:
    """What was said and taken, as a mapping file."""
    lines = [
        f"{key} = {str(value).lower() if isinstance(value, bool) else _quoted(value)}"
        for key in (
            "source",
            "system",
            "clinic",
            "protocol",
            "course",
            "dates",
            "decimal",
            "sheet",
            "encoding",
            "delimiter",
        )
        if (value := getattr(said, key)) is not None and value is not True
    ]
    for key in ("columns", "units"):
        pairs = cast("Mapping[str, str]", getattr(said, key))
        if pairs:
            lines += ["", f"[{key}]", *(f"{name} = {_quoted(value)}" for name, value in pairs.items())]
    return "\n".join([*lines, ""])
