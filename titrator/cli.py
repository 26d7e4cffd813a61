"""The commands of `titrator`. docs/cli.md describes each.

Exit codes: 0 answered, 1 interrupted, 2 wrong usage, 3 wrong input, 4 answers could not be given or written.
"""

from __future__ import annotations

import io
import os
import stat
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import BinaryIO, Final

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from titrator import console
from titrator.bulk.ndjson import answer_file, error_document
from titrator.protocols import Catalogue, load
from titrator.settings import load_settings
from titrator.titration.answer import to_text
from titrator.titration.course import read_document
from titrator.titration.documents import encode, printable
from titrator.titration.errors import InvalidInput
from titrator.titration.protocol import Protocol
from titrator.titration.recommend import recommend
from titrator.workflow import demo as published
from titrator.workflow.propose import LARGEST_DOCUMENT, read_request
from titrator.workflow.replay import replay

WRONG_INPUT = 3
NOT_WRITTEN = 4


def run() -> None:
    """The command line: `main`, and no success where an answer was lost on its way out."""
    if sys.stdout is None:
        sys.exit(NOT_WRITTEN)
    sys.stdin = sys.stdin or Path(os.devnull).open()  # noqa: SIM115 (stays open, as standard input does)
    sys.stderr = sys.stderr or io.StringIO()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        try:
            main(prog_name="titrator")
        finally:
            sys.stdout.flush()
    except (OSError, BrokenExecutor) as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is still to be written must not fail again at the end
        click.echo(f"titrator: answers were lost: {error}", err=True)
        sys.exit(NOT_WRITTEN)


#: The commands on an installation: where each stands, and what it is for. They need the service, which is long to read
#: in, so that is done when one of them is called: neither a dose nor the list of commands waits for it.
SERVICE: Final[Mapping[str, tuple[str, str]]] = {
    "init": (
        "titrator.operate:init_command",
        "Make this installation: folder, database, audit key, and a one-time link for the first administrator.",
    ),
    "serve": ("titrator.serving:serve_command", "Serve the API, until Ctrl-C or SIGTERM."),
    "mllp": (
        "titrator.operate:mllp_command",
        "Receive results of laboratories over MLLP (HL7 v2), until Ctrl-C or SIGTERM.",
    ),
    "clinics": ("titrator.people:clinics_group", "The outpatient clinics of this installation."),
    "users": ("titrator.people:users_group", "The accounts of people and of systems."),
    "tokens": ("titrator.people:tokens_group", "Tokens with which programs come in, each for an account."),
    "clients": (
        "titrator.people:clients_group",
        "Programs that get tokens of an account by assertions that they sign (SMART Backend Services).",
    ),
    "channels": ("titrator.people:channels_group", "The channels by which a clinic is reminded."),
    "import": (
        "titrator.importing:import_command",
        "Bring the table FILE in: .csv, .xlsx or .ndjson, a row a visit or a row a fact; or FHIR: a Bundle, or lines.",
    ),
    "remind": ("titrator.operate:remind_command", "Remind: plan what is due, and send it."),
    "decisions": ("titrator.operate:decisions_group", "What was decided upon proposals."),
    "audit": ("titrator.operate:audit_group", "The audit trail: who did and saw what, when and why."),
    "audit-titration": (
        "titrator.questions:audit_titration_command",
        "Answer every historic decision point anew by a protocol, and report how it agrees with what was given.",
    ),
    "evidence": (
        "titrator.reports:evidence_group",
        "Evidence files: all that is kept of a patient, signed, with every decision to be derived again from it.",
    ),
    "export": (
        "titrator.reports:export_command",
        "Write patients with all that is recorded of them to the new FILE: a table, ndjson, or a FHIR Bundle.",
    ),
    "backup": (
        "titrator.operate:backup_command",
        "Write a copy of the database, as of now, to the new FILE; the service may go on.",
    ),
    "restore": (
        "titrator.operate:restore_command",
        "Put the backup FILE in the place of the database, which stays beside it.",
    ),
    "db": ("titrator.operate:db_group", "The database."),
    "doctor": (
        "titrator.operate:doctor_command",
        "Examine the installation, and say what to do about what is not in order; exit code 1 if there are faults.",
    ),
}


class Commands(click.Group):
    """All commands: those of titration, and those on an installation of the service."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Their names, in the order in which they are shown."""
        del ctx
        return [*(name for name in self.commands if name not in SERVICE), *SERVICE]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """A command by its name."""
        if cmd_name in SERVICE and cmd_name not in self.commands:
            module, _, name = SERVICE[cmd_name][0].partition(":")
            self.add_command(getattr(import_module(module), name))
        return super().get_command(ctx, cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Show them in two lists."""
        del ctx
        own = [(name, one.get_short_help_str(200)) for name, one in self.commands.items() if name not in SERVICE]
        for title, some in (("Titration", own), ("The service", [(name, told) for name, (_, told) in SERVICE.items()])):
            with formatter.section(title):
                formatter.write_dl(some)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="titrator")
def main() -> None:
    """Romiplostim titration: from a course of therapy to the next dose, with its reasons.

    Every answer is a proposal for a pharmacist or prescriber to check, never an order.
    """


def _local_protocols() -> Path:
    with _refusing("the settings"):
        return load_settings(os.environ).local_protocols


def _catalogue() -> Catalogue:
    return Catalogue(_local_protocols())


@contextmanager
def _refusing(name: str, *, as_json: bool = False) -> Iterator[None]:
    """Turn input that cannot be answered into its faults, a line each on standard error or as JSON, and exit code 3."""
    try:
        yield
    except InvalidInput as error:
        if as_json:
            _write(encode(error_document(error.faults)))
            raise click.exceptions.Exit(WRONG_INPUT) from None
        click.echo(f"{printable(name)[1:-1]}: not answered", err=True)
        for fault in error.faults:
            click.echo(f"  {fault}", err=True)
        raise click.exceptions.Exit(WRONG_INPUT) from None


def _read(file: BinaryIO) -> bytes:
    """A course document as bytes; more than any may have is not read, and refused later."""
    return file.read(LARGEST_DOCUMENT + 1)


@main.command("recommend")
@click.argument("file", type=click.File("rb"), default="-")
@click.option("--json", "as_json", is_flag=True, help="Answer as one line of JSON.")
@click.option("--ndjson", is_flag=True, help="Read one course a line, answer one line each, in order.")
@click.option("--jobs", type=click.IntRange(1, 256), help="Processes for --ndjson; by default one a core.")
@click.pass_context
def recommend_command(context: click.Context, file: BinaryIO, as_json: bool, ndjson: bool, jobs: int | None) -> None:
    """Answer the course document in FILE (- for standard input): the next dose, and why."""
    if ndjson:
        if as_json:
            raise click.UsageError("--json and --ndjson exclude each other")
        context.exit(_answer_lines(file, jobs or os.cpu_count() or 1))
    if jobs is not None:
        raise click.UsageError("--jobs goes with --ndjson")
    catalogue = _catalogue()
    with _refusing(file.name, as_json=as_json):
        request = read_request(catalogue, _read(file))
    answer = recommend(catalogue.get(request.protocol), request.course, request.on)
    if as_json:
        _write(to_text(answer))
    else:
        console.out().print(console.recommendation(answer, request.course.later(request.on)))


def _write(text: str) -> None:
    """Write a line for programs: in UTF-8, whatever the terminal's encoding."""
    sys.stdout.buffer.write(text.encode() + b"\n")


def _answer_lines(file: BinaryIO, jobs: int) -> int:
    """Answer each line and return the exit code."""
    bad = total = 0
    output = sys.stdout.buffer
    with _progress(file) as advance:
        for answers in answer_file(file, _local_protocols(), jobs):
            output.write(answers.text.encode())
            bad += answers.bad
            total += answers.lines
            advance(answers.size, f"{total} answered, {bad} refused")
    output.flush()
    if bad:
        click.echo(f"{bad} of {total} lines could not be answered; each has an error object in its place", err=True)
    return WRONG_INPUT if bad else 0


@contextmanager
def _progress(file: BinaryIO) -> Iterator[Callable[[int, str], None]]:
    """A progress bar on standard error, if it is a terminal and the answers go elsewhere; bytes tell how far it is."""
    if not sys.stderr.isatty() or sys.stdout.isatty():
        yield lambda size, text: None
        return
    columns = (BarColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
    terminal = Console(stderr=True)
    with Progress(
        *columns, console=terminal, transient=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
    ) as bar:
        task = bar.add_task("", total=_size(file))
        yield lambda size, text: bar.update(task, advance=size, description=text, refresh=True)


def _size(file: BinaryIO) -> int | None:
    status = os.fstat(file.fileno())
    return status.st_size if stat.S_ISREG(status.st_mode) else None


@main.command("replay")
@click.argument("file", type=click.File("rb"), default="-")
def replay_command(file: BinaryIO) -> None:
    """Answer the course in FILE anew for each day with a count or a dose, beside what was given that day."""
    catalogue = _catalogue()
    with _refusing(file.name):
        request = read_request(catalogue, _read(file))
    protocol = catalogue.get(request.protocol)
    days = replay(protocol, request.course, request.on)
    screen = console.out()
    screen.print(
        console.replayed(days, f"{console.named(protocol)}: what would have been proposed, before each day's dose")
    )
    screen.print(console.happened(request.course.until(request.on)))


@main.command("demo")
def demo_command() -> None:
    """Show the published case week by week, and its next dose."""
    catalogue = _catalogue()
    request = read_document(published.document(), catalogue.fault)
    protocol = catalogue.get(request.protocol)
    screen = console.out()
    screen.print(published.STORY)
    screen.print(console.replayed(replay(protocol, request.course, request.on), f"The case by {protocol.id}"))
    screen.print(console.happened(request.course))
    screen.print()
    screen.print(console.recommendation(recommend(protocol, request.course, request.on)))


@main.group("protocols")
def protocols_group() -> None:
    """The labels and reports that doses are titrated by."""


@protocols_group.command("list")
def list_command() -> None:
    """List the protocols, shipped and local."""
    catalogue = _catalogue()
    entries = [
        (ident, fault) if (fault := catalogue.fault(ident)) else catalogue.get(ident) for ident in catalogue.ids()
    ]
    console.out().print(console.protocol_list(entries))
    for path in catalogue.clashes:
        click.echo(
            f"{path}: ignored, for a shipped protocol has its id; give the new edition an id of its own", err=True
        )


def _find(catalogue: Catalogue, ident: str) -> Protocol:
    with _refusing(ident):
        return catalogue.find(ident)


@protocols_group.command("show")
@click.argument("ident", metavar="ID")
def show_command(ident: str) -> None:
    """Show a protocol as a pharmacist reads it: what it does at each count, its settings, its source."""
    console.out().print(console.protocol_page(_find(_catalogue(), ident)))


@protocols_group.command("diff")
@click.argument("one", metavar="A")
@click.argument("other", metavar="B")
def diff_command(one: str, other: str) -> None:
    """Show where two protocols part: settings, and counts that they treat differently."""
    catalogue = _catalogue()
    console.out().print(console.protocol_difference(_find(catalogue, one), _find(catalogue, other)))


@protocols_group.command("check")
@click.argument("files", nargs=-1, type=click.Path(path_type=Path), metavar="[FILE]...")
@click.pass_context
def check_command(context: click.Context, files: Sequence[Path]) -> None:
    """Check protocol files and run their worked examples; without FILE, all shipped and local ones."""
    catalogue = _catalogue()
    wrong = False
    for path in files or [catalogue.path(ident) for ident in catalogue.ids()]:
        try:
            line = console.checked(path, len(load(path)[1]))
        except InvalidInput as error:
            wrong, line = True, console.refused(path, error.faults)
        console.out().print(line)
    context.exit(WRONG_INPUT if wrong else 0)
