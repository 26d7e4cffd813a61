"""The commands that run an installation: made, served, its trail verified, backed up. docs/cli.md describes each."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final, cast

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from titrator import console, doctor
from titrator.assembly import audit_key, awaited_services, make_services, now
from titrator.hl7 import accepting, mllp
from titrator.hl7.accepting import Laboratory
from titrator.listening import Unbound, is_loopback, listen
from titrator.local import (
    NOT_DONE,
    WRONG_INPUT,
    must_be_there,
    opened,
    refuse,
    refusing,
    settings,
    visiting,
    write_json,
)
from titrator.logs import configure_logs
from titrator.people import link, tell_link
from titrator.protocols import Catalogue
from titrator.scheduler import forever
from titrator.settings import Settings
from titrator.store.base import Session, Store, StoreError, Unusable, Where
from titrator.store.connect import is_server, is_there, look_at_store, name_of, open_store, restore
from titrator.store.copying import Copied, Copyable, copy, rows_of
from titrator.store.records import ChannelRow, Delivery
from titrator.titration.documents import legible
from titrator.workflow import accounts, trail
from titrator.workflow.condition import Finding, Severity, fine, many, odd, wrong
from titrator.workflow.evidence import replay_decisions
from titrator.workflow.reminders import manage
from titrator.workflow.reminders.work import beat, health
from titrator.workflow.silence import know_feeds
from titrator.workflow.visit import Services

_SHOWN_FAULTS: Final = 100
#: The exit code of `doctor` where there are faults.
FAULTY: Final = 1
#: Seconds between two rounds of reminders, where the setting says that the service has none.
_REMINDS_EVERY: Final = 20


@click.command("init")
@click.option("--json", "as_json", is_flag=True, help="Answer as one line of JSON.")
def init_command(as_json: bool) -> None:
    """Make this installation: folder, database, audit key, and a one-time link for the first administrator.

    It may be repeated: what is there stays. Until an administrator is active, each time prints a new link, and the one
    before it ends.
    """
    with refusing():
        chosen = settings()
        chosen.instance.mkdir(parents=True, exist_ok=True, mode=0o700)
        with opened(chosen, anew=True) as services, visiting(services) as visit:
            issued = accounts.first_administrator(visit)
    if as_json:
        made = None if issued is None else link(issued.secret)
        write_json({"instance": str(chosen.instance), "username": accounts.FIRST, "link": made})
        return
    click.echo(f"The installation is in {chosen.instance}")
    if issued is None:
        click.echo("An administrator is active; others are added with: titrator users add")
        return
    click.echo(f"The first administrator is {accounts.FIRST}.")
    tell_link(issued.secret)
    click.echo("The link works while the service runs: titrator serve")


@click.command("mllp")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=2575, show_default=True, help="0 takes a free one.")
def mllp_command(host: str, port: int) -> None:
    """Receive results of laboratories over MLLP (HL7 v2), until Ctrl-C or SIGTERM. The feeds: docs/hl7.md."""
    with refusing():
        chosen = settings()
        configure_logs(chosen.log_level)
        laboratory = Laboratory(partial(awaited_services, chosen, _known_feeds(chosen)), chosen.hl7_feeds)
        terms = mllp.Terms.of(
            chosen.mllp_files,
            processes=chosen.mllp_processes,
            connections=chosen.mllp_connections,
            idle_seconds=chosen.mllp_idle_seconds,
            frame_seconds=chosen.mllp_frame_seconds,
            frame_bytes=chosen.mllp_frame_bytes,
        )
        try:
            beyond = not is_loopback(host)
            listener = listen(host, port)
        except Unbound as error:
            refuse(NOT_DONE, str(error))
        with listener:
            if beyond and terms.tls is None:
                click.echo("Others can reach this address, without TLS: set mllp_certificate, _key and _client_ca.")
            at = f"{host}, port {listener.getsockname()[1]}"
            tls = "with" if terms.tls else "without"
            said = f"titrator receives HL7 v2 at {at}, {tls} TLS, from {chosen.instance}. Ctrl-C ends it."
            accepting.serve(laboratory, listener, terms, lambda: click.echo(said))


def _known_feeds(chosen: Settings) -> Catalogue:
    """Look at the feeds before there are other processes, and keep since when they are known; the protocols, read."""
    with opened(chosen) as services:
        if faults := mllp.unusable(services):
            refuse(WRONG_INPUT, "the feeds of hl7_feeds cannot be received", faults)
        know_feeds(services, services.clock())
        return services.catalogue


@click.command("remind")
@click.option("--once", "often", flag_value="once", help="Do what is due, and end: for cron and systemd timers.")
@click.option("--forever", "often", flag_value="forever", help="Go on until Ctrl-C or SIGTERM.")
@click.option("--json", "as_json", is_flag=True, help="Answer as one line of JSON.")
def remind_command(often: str | None, as_json: bool) -> None:
    """Remind: plan what is due, and send it. Several may run at once, beside the service or without it.

    `titrator serve` does it, too, unless the setting reminder_seconds is 0.
    """
    if often is None or (as_json and often == "forever"):
        raise click.UsageError("say --once or --forever; --json goes with --once")
    with refusing():
        chosen = settings()
        configure_logs(chosen.log_level)
        with opened(chosen) as services:
            if often == "forever":
                click.echo(f"titrator reminds from {chosen.instance}. Ctrl-C ends it.", err=True)
                _until_stopped(services, chosen.reminder_seconds or _REMINDS_EVERY)
                return
            told = beat(services, services.clock)
            found = health(services.store, services.clock())
    if as_json:
        write_json({"done": told._asdict(), "health": found._asdict()})
        return
    click.echo(
        f"{many(told.planned, 'message')} planned, {told.sent} sent, {told.failed} failed so far, {told.dead} given up."
    )
    if found.due or found.dead:
        click.echo(f"{found.due} wait, {found.dead} were given up: GET /api/v1/deliveries/undelivered lists them.")
    if found.silent_clinics:
        click.echo(f"{many(found.silent_clinics, 'clinic')} without anybody who is told: titrator channels add")


def _until_stopped(services: Services, seconds: int) -> None:
    signals: list[object] = []

    def stop(number: object, _: object) -> None:
        signals.append(number)
        raise KeyboardInterrupt

    for one in (signal.SIGTERM, signal.SIGINT):
        signal.signal(one, stop)
    with suppress(KeyboardInterrupt, SystemExit):
        forever(services, seconds, lambda: bool(signals))


@click.group("audit")
def audit_group() -> None:
    """The audit trail: who did and saw what, when and why."""


@audit_group.command("verify")
@click.option("--json", "as_json", is_flag=True, help="Answer as one line of JSON.")
def verify_command(as_json: bool) -> None:
    """Verify every entry of the trail against the audit key and the seals; exit code 3 if anything is wrong."""
    with refusing():
        chosen = settings()
        with opened(chosen) as services, services.store.reading() as session:
            count, faults = trail.verify(session, services.audit_key, chosen.seals)
    seals = len(list(chosen.seals.glob("*.ndjson")))
    if as_json:
        write_json({"entries": count, "seals": seals, "faults": faults})
    else:
        _tell_faults(f"{many(count, 'entry', 'entries')}, {many(seals, 'seal')}", faults)
    raise click.exceptions.Exit(WRONG_INPUT if faults else 0)


@audit_group.command("export")
@click.option("--patient", metavar="ID", help="Only the entries of this patient; `system` for those of none.")
@click.option("--since", type=click.DateTime(["%Y-%m-%d"]), metavar="DAY", help="Only entries since this day, in UTC.")
def export_command(patient: str | None, since: datetime | None) -> None:
    """Write the trail as JSON lines, an entry each; that it was written is an entry, too."""
    where = []
    if patient is not None:
        where.append(Where("chain", "=", patient))
    if since is not None:
        where.append(Where("at", ">=", since.date().isoformat()))
    with refusing():
        with opened(settings()) as services:
            with visiting(services) as visit:
                day = since and since.date().isoformat()
                visit.note("export-audit", f"audit/{patient or 'all'}", since=day)
            with services.store.reading() as session:
                for row in trail.entries(session, *where):
                    write_json(trail.shown(row))
        sys.stdout.buffer.flush()


@audit_group.command("seal")
def seal_command() -> None:
    """Seal the trail as it is now, once a day; the service does it by itself while it runs."""
    with refusing():
        chosen = settings()
        with opened(chosen) as services, services.store.reading() as session:
            today = services.clock().astimezone(UTC).date().isoformat()
            file = trail.seal(session, services.audit_key, chosen.seals, today)
    click.echo("Nothing to seal: it is sealed for today, or nothing has happened since." if file is None else file)


@click.group("decisions")
def decisions_group() -> None:
    """What was decided upon proposals."""


@decisions_group.command("replay")
@click.option("--patient", metavar="ID", help="Only the decisions of this patient.")
@click.option("--json", "as_json", is_flag=True, help="A line of JSON for each decision.")
def replay_decisions_command(patient: str | None, as_json: bool) -> None:
    """Derive every decision again, from the facts and the protocol of then; exit code 3 if any differs.

    A decision that an older engine made is derived by the engine of now, and is told.
    """
    count, older, faults = 0, 0, []
    with refusing():
        with opened(settings()) as services:
            with visiting(services) as visit:
                visit.note("replay-decisions", f"decisions/{patient or 'all'}")
            for one in replay_decisions(services, patient):
                count += 1
                older += one.older_engine
                faults += [f"patient {one.patient_id}, decision {one.decision_id}: {text}" for text in one.differs]
                if as_json:
                    write_json({**one._asdict(), "differs": list(one.differs)})
        sys.stdout.buffer.flush()
    if not as_json:
        by_older = f", {older} of them made by an older engine" if older else ""
        _tell_faults(f"{many(count, 'decision')} derived again{by_older}", faults)
    raise click.exceptions.Exit(WRONG_INPUT if faults else 0)


@click.command("backup")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
def backup_command(file: Path) -> None:
    """Write a copy of the database, as of now, to the new FILE; the service may go on.

    The audit key and the seals are not in it: keep copies of both, elsewhere.
    """
    with refusing():
        if file.exists():
            refuse(WRONG_INPUT, f"{file}: is there already, and is not written over")
        with opened(settings()) as services:
            with visiting(services) as visit:
                visit.note("backup", "database", file=str(file.absolute()))
            services.store.backup(file)
    click.echo(legible(f"{file}: {file.stat().st_size} bytes. The audit key and the seals are not in it."))


@click.command("restore")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--yes", is_flag=True, help="Do not ask.")
def restore_command(file: Path, yes: bool) -> None:
    """Put the backup FILE in the place of the database, which stays beside it. Stop the service first.

    On PostgreSQL the database that the settings name must be a new and empty one: the one before stays what it is.
    """
    with refusing():
        chosen = settings()
        database = name_of(chosen.database_url)
        if not chosen.key_file.exists():
            raise Unusable(f"{chosen.key_file}: put the audit key that belongs to the backup there first")
        if not yes:
            click.confirm(legible(f"Put {file} in the place of {database}?"), abort=True, err=True)
        there = is_there(chosen.database_url)
        if not is_server(chosen.database_url) and not _fits(file, audit_key(chosen.key_file)):
            refuse(WRONG_INPUT, f"{chosen.key_file} is not its audit key: put the right one there; nothing was changed")
        restore(file, chosen.database_url)
        with opened(chosen) as services:
            with services.store.reading() as session:
                fits = trail.fits(session, services.audit_key)
            if not fits:
                refuse(WRONG_INPUT, f"restored, but {chosen.key_file} is not its audit key: put the right one there")
            with visiting(services) as visit:
                visit.note("restore", "database", file=str(file.absolute()))
                waiting = visit.session.count(Delivery, Where("status", "=", "waiting"))
                in_use = visit.session.count(ChannelRow, Where("active", "=", 1))
    click.echo(legible(f"{database}: restored from {file}."))
    if there:
        click.echo(f"What was there before is {Path(database).name}.before-restore, beside it.")
    if waiting or in_use:
        click.echo(f"Waiting: {many(waiting, 'message')}; in use: {many(in_use, 'channel')}.")
        click.echo("A copy that is served tells people again.")
        click.echo("Set reminder_seconds = 0 in a copy, and do not run `titrator remind` there.")


def _fits(file: Path, key: bytes) -> bool:
    """Whether the key is that of a backup's trail; taken to be where that cannot be told before it is restored."""
    try:
        with closing(look_at_store(str(file))) as store, store.reading() as session:
            return trail.fits(session, key)
    except StoreError:
        return True


@click.group("db")
def db_group() -> None:
    """The database."""


@db_group.command("check")
@click.option("--json", "as_json", is_flag=True, help="Answer as one line of JSON.")
def check_command(as_json: bool) -> None:
    """Check the database: whole, and without contradictions; exit code 3 if anything is wrong."""
    with refusing():
        chosen = settings()
        name = name_of(chosen.database_url)
        must_be_there(chosen.database_url)
        try:
            store = open_store(chosen.database_url)
            faults = store.check()
            store.close()
        except StoreError as error:
            faults = [str(error)]
    if as_json:
        write_json({"database": name, "faults": faults})
    else:
        _tell_faults(name, faults)
    raise click.exceptions.Exit(WRONG_INPUT if faults else 0)


@db_group.command("copy")
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@click.option("--json", "as_json", is_flag=True, help="Answer as one line of JSON.")
def copy_command(source: str, target: str, as_json: bool) -> None:
    """Copy all of the database FROM into TO, which is made if need be and must be empty. Stop the service first.

    Each is a path, or a URL as the setting `database` takes. Every row is compared and the trail verified before
    anything is kept.
    """
    with refusing():
        chosen, names = settings(), (name_of(source), name_of(target))
        must_be_there(source)
        if names[0] == names[1]:
            refuse(WRONG_INPUT, f"{names[0]}: cannot be copied into itself")
        services = make_services(replace(chosen, database=source))
        try:
            if names[0] == name_of(chosen.database_url):
                trail.gather(services)
            if faults := services.store.check():
                refuse(WRONG_INPUT, f"{names[0]}: is not in order, so it is not copied", faults)
            into = open_store(target)
            done, entries = _copied(services, into, chosen.seals)
            with visiting(replace(services, store=into)) as visit:
                visit.note("copy", "database", source=names[0], rows=sum(one.rows for one in done))
            into.close()
        finally:
            services.store.close()
    if as_json:
        write_json({"from": names[0], "to": names[1], "entries": entries, "tables": [one._asdict() for one in done]})
        return
    rows = sum(one.rows for one in done)
    compared = f"{many(rows, 'row')} of {len(done)} tables, each compared"
    click.echo(f"{names[1]}: {compared}; {many(entries, 'entry', 'entries')} of the trail verified.")
    click.echo("To serve it, let the setting database name it: TITRATOR_DATABASE or config.toml.")


def _copied(services: Services, into: Store, seals: Path) -> tuple[list[Copied], int]:
    """What was copied, and how many entries its trail has, with a progress bar."""
    count = 0

    def judge(session: Session) -> list[str]:
        nonlocal count
        count, faults = trail.verify(session, services.audit_key, seals)
        return faults

    source, target = cast(Copyable, services.store), cast(Copyable, into)
    with _progress(2 * rows_of(source)) as advance:
        done = copy(source, target, judge, lambda table, rows: advance(rows, table))
    return done, count


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int, str], None]]:
    """A progress bar on standard error, if it is a terminal: how much is done, rows a second, time left."""
    if not sys.stderr.isatty():
        yield lambda rows, table: None
        return
    terminal = Console(stderr=True)
    columns = BarColumn(), TaskProgressColumn(show_speed=True), TextColumn("{task.description}"), TimeRemainingColumn()
    with Progress(*columns, console=terminal, transient=True, redirect_stdout=False, redirect_stderr=False) as bar:
        task = bar.add_task("", total=total)
        yield lambda rows, table: bar.update(task, advance=rows, description=table)


@db_group.command("migrate")
@click.option("--contract", is_flag=True, help="Take away what only older versions need, too; none may be running.")
@click.option("--json", "as_json", is_flag=True, help="Answer as one line of JSON.")
def migrate_command(contract: bool, as_json: bool) -> None:
    """Bring the tables of the database to this version, while the service runs; docs/operations.md tells the order.

    `titrator serve` does it, too, at its start, but never --contract.
    """
    with refusing():
        chosen = settings()
        must_be_there(chosen.database_url)
        before = look_at_store(chosen.database_url)
        applied = before.pending()
        before.close()
        store = open_store(chosen.database_url)
        waiting = store.contractions()
        if contract:
            store.contract()
            applied, waiting = [*applied, *waiting], []
        store.close()
    if as_json:
        write_json({"applied": applied, "contractions": waiting})
        return
    click.echo(f"Applied: {', '.join(applied)}." if applied else "Nothing was to be applied.")
    if waiting:
        click.echo(f"To be applied once no older version runs, by --contract: {', '.join(waiting)}.")


@click.command("doctor")
@click.option("--quick", is_flag=True, help="Do not read all of the database.")
@click.option("--send", is_flag=True, help="Send a test message by each channel, too.")
@click.option("--json", "as_json", is_flag=True, help="Answer as one line of JSON.")
def doctor_command(quick: bool, send: bool, as_json: bool) -> None:
    """Examine the installation, and say what to do about what is not in order; exit code 1 if there are faults.

    Nothing is changed. With --send people get a message that says only that their channel works.
    """
    findings: list[Finding] = []
    for found in _findings(thorough=not quick, send=send):
        findings.append(found)
        if not as_json:
            console.out().print(_shown(found))
    faults, warnings = (sum(one.severity is which for one in findings) for which in (Severity.FAULT, Severity.WARNING))
    if as_json:
        told = [{**one._asdict(), "severity": str(one.severity)} for one in findings]
        write_json({"findings": told, "faults": faults, "warnings": warnings})
    else:
        click.echo(
            f"{many(faults, 'fault')}, {many(warnings, 'warning')}, {len(findings) - faults - warnings} in order."
        )
    raise click.exceptions.Exit(FAULTY if faults else 0)


def _findings(*, thorough: bool, send: bool) -> Iterator[Finding]:
    faulty = False
    for found in doctor.examine(os.environ, now, thorough=thorough):
        faulty = faulty or found.severity is Severity.FAULT
        yield found
    if send and faulty:
        yield odd("reach", "Nothing was sent, for there are faults.", "See to those first.")
    elif send:
        yield from _reach()


def _reach() -> Iterator[Finding]:
    """Whether each channel in use takes a message; a gateway is not tried, for that would need somebody's address."""
    with refusing(), opened(settings()) as services:
        with services.store.reading() as session:
            rows = session.find(ChannelRow, Where("active", "=", 1))
        for row in rows:
            named = f"Channel {row.label} ({row.id})"
            if row.audience == "gateway":
                todo = f"titrator channels test {row.id} --to ADDRESS"
                yield odd("reach", f"{named} was not tried: a gateway needs somebody's address.", todo)
                continue
            with visiting(services) as visit:
                why = manage.test_channel(visit, row.clinic_id, row.id, None)
            if why is None:
                yield fine("reach", f"{named} took a message.")
            else:
                yield wrong("reach", f"{named}: {why}.", "See to its address, and to the network: docs/reminders.md.")


_STYLES: Final = {Severity.OK: "green", Severity.WARNING: "yellow", Severity.FAULT: "bold red"}


def _shown(found: Finding) -> Table:
    """A finding: how bad, which check, what; below that, what to do."""
    shown = Table.grid(padding=(0, 2, 0, 0))
    shown.add_column(width=7)
    shown.add_column(width=16)
    shown.add_column()
    shown.add_row(Text(found.severity, _STYLES[found.severity]), found.check, Text(legible(found.what)))
    if found.todo:
        shown.add_row("", "", Text(legible(found.todo), "italic"))
    return shown


def _tell_faults(what: str, faults: list[str]) -> None:
    if not faults:
        console.out().print(Text(f"{what}: in order", style="green"))
        return
    lines = [f"{what}: {many(len(faults), 'fault')}", *(f"  {fault}" for fault in faults[:_SHOWN_FAULTS])]
    if len(faults) > _SHOWN_FAULTS:
        lines.append(f"  and {len(faults) - _SHOWN_FAULTS} more; --json tells all")
    console.out().print(Text(legible("\n".join(lines)), style="bold red"))
