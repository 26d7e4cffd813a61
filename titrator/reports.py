"""The commands that take something out of an installation: patients, evidence files, answers about all of them.

docs/cli.md describes each.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple, TextIO, TypeVar

import click
from rich.text import Text

from titrator import console
from titrator.bulk.evidence import evidence_of
from titrator.bulk.files import written_whole
from titrator.bulk.out import Wanted, document_lines, table_lines
from titrator.bulk.verifying import Verified, verify_evidence
from titrator.fhir.collecting import Names, bundle_lines
from titrator.local import moment, opened, operator, refuse_taken, refusing, settings, table, visiting, write_json
from titrator.people import clinic_named
from titrator.security.signing import public_key
from titrator.settings import Settings
from titrator.store.base import Session, Where
from titrator.store.records import Account, Clinic, Identifier, Patient
from titrator.titration.documents import legible, printable
from titrator.titration.errors import Fault
from titrator.workflow.condition import many
from titrator.workflow.errors import Invalid
from titrator.workflow.visit import Services, Visit, leave
from titrator.workflow.whole import Whole, wholes

R = TypeVar("R", Clinic, Patient)

#: The exit code of a verification that found something wrong.
_FAULTY: Final = 1
_BY_ENDING: Final = {".csv": "csv", ".ndjson": "ndjson", ".jsonl": "ndjson", ".json": "fhir"}


@click.command("export")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--format", "how", type=click.Choice(["csv", "ndjson", "fhir"]), help="By default as the name ends.")
@click.option("--clinic", help="Only the patients of this clinic, by name or id.")
@click.option("--patient", help="Only this patient, by id or by a number that only one patient has.")
@click.option("--versions", is_flag=True, help="All versions, those entered in error, too; not with fhir.")
@click.option("--decisions", is_flag=True, help="What was decided, too.")
def export_command(  # noqa: PLR0913, PLR0917 (its options)
    file: Path, how: str | None, clinic: str | None, patient: str | None, versions: bool, decisions: bool
) -> None:
    """Write patients with all that is recorded of them to the new FILE: a table, ndjson, or a FHIR Bundle.

    The file is there whole or not at all. That it was written is an entry of the audit trail.
    """
    chosen = how or _BY_ENDING.get(file.suffix.lower())
    if chosen is None:
        raise click.UsageError("say --format, or end FILE in .csv, .ndjson or .json")
    if chosen == "fhir" and versions:
        raise click.UsageError("--versions does not go with fhir: a Bundle has each resource once")
    wanted = Wanted(versions=versions, decisions=decisions)
    with refusing():
        refuse_taken(file)
        configured = settings()
        with opened(configured) as services, written_whole(file) as output:
            with services.store.reading() as session:
                visit = Visit(services=services, session=session, actor=operator(), now=services.clock())
                scope = _scope(visit, clinic, patient)
                count = session.count(Patient, *scope.where)
                with console.progress(count, "patients") as advance:
                    told = _told(wholes(session, *scope.where), advance)
                    for text in _writer(chosen, configured, services, session)(told, wanted):
                        output.write(text)
            with visiting(services) as visit:
                visit.note(
                    "export",
                    scope.subject,
                    patient=scope.patient,
                    file=str(file.absolute()),
                    format=chosen,
                    patients=count,
                    versions=versions,
                    decisions=decisions,
                    sha256=output.sha256,
                )
    click.echo(legible(f"{file}: {count} {'patient' if count == 1 else 'patients'}, {output.size} bytes."))


class _Scope(NamedTuple):
    """Which patients are meant: as the trail names them, as conditions, and who it is where it is one."""

    subject: str
    where: tuple[Where, ...]
    patient: Patient | None


def _scope(visit: Visit, clinic: str | None, patient: str | None) -> _Scope:
    """The patients who are asked for; raises Invalid with every fault."""
    faults: list[Fault] = []

    def asked(find: Callable[[Visit, str], R], named: str | None) -> R | None:
        try:
            return None if named is None else find(visit, named)
        except Invalid as refusal:
            faults.extend(refusal.faults)
            return None

    at, who = asked(clinic_named, clinic), asked(patient_named, patient)
    if at and who and who.clinic_id != at.id:
        faults.append(Fault("--patient", f"is not of {at.name}"))
    if faults:
        raise Invalid(*faults)
    where = [Where("clinic_id", "=", at.id)] if at else []
    if who:
        return _Scope(f"patient/{who.id}", (*where, Where("id", "=", who.id)), who)
    return _Scope(f"clinic/{at.id}/patients" if at else "patients", tuple(where), None)


def patient_named(visit: Visit, named: str) -> Patient:
    """A patient by the id, or by a number that only one patient has; raises Invalid."""
    if (found := visit.session.get(Patient, named)) is not None:
        return found
    numbers = visit.session.find(Identifier, Where("value", "=", named), limit=2)
    if len(numbers) == 1 and (found := visit.session.get(Patient, numbers[0].patient_id)) is not None:
        return found
    wrong = "several patients have that number: name one by id" if numbers else "no patient of that id or number"
    raise Invalid(Fault("--patient", f"{wrong}: {named}"))


def _told(patients: Iterator[Whole], advance: Callable[[int], None], at_once: int = 50) -> Iterator[Whole]:
    """The same patients; of every so many that have been taken it is told."""
    done = 0
    for one in patients:
        yield one
        done += 1
        if done == at_once:
            advance(done)
            done = 0
    advance(done)


def _writer(
    how: str, configured: Settings, services: Services, session: Session
) -> Callable[[Iterator[Whole], Wanted], Iterator[str]]:
    if how == "csv":
        return table_lines
    if how == "ndjson":
        return document_lines

    def look(ident: str) -> str | None:
        account = session.get(Account, ident)
        return None if account is None else account.display_name

    base = f"{configured.base_url}/fhir"
    return lambda patients, wanted: bundle_lines(base, services.catalogue, Names(look), patients, wanted)


@click.group("evidence")
def evidence_group() -> None:
    """Evidence files: all that is kept of a patient, signed, with every decision to be derived again from it."""


@evidence_group.command("export")
@click.argument("patient")
@click.option("-o", "--output", "file", type=click.Path(path_type=Path, dir_okay=False), required=True, metavar="FILE")
def export_evidence_command(patient: str, file: Path) -> None:
    """Write the evidence file of PATIENT, by id or number, to the new FILE; that it was is in the trail."""
    with refusing():
        refuse_taken(file)
        with opened(settings()) as services, written_whole(file) as output:
            with services.store.reading() as session:
                visit = Visit(services=services, session=session, actor=operator(), now=services.clock())
                output.write(evidence_of(visit, patient_named(visit, patient)).text)
            with services.store.writing() as session:
                leave(visit, session, visit.entries)
            key = public_key(services.audit_key)
    click.echo(legible(f"{file}: {output.size} bytes, signed with the key {key}"))


@evidence_group.command("key")
def key_command() -> None:
    """Print the public key of this installation, which `evidence verify --key` takes. It is no secret."""
    with refusing(), opened(settings()) as services:
        click.echo(public_key(services.audit_key))


@evidence_group.command("verify")
@click.argument("file", type=click.File("rb"))
@click.option("--key", "public", metavar="PUBLIC", help="The public key that the file must be signed with.")
@click.option("--audit-key", type=click.File("r"), metavar="FILE", help="The audit key: entries are held against it.")
@click.option("--json", "as_json", is_flag=True, help="Answer as one line of JSON.")
def verify_evidence_command(file: BinaryIO, public: str | None, audit_key: TextIO | None, as_json: bool) -> None:
    """Verify an evidence file without any database: nothing changed or missing, every decision comes out again.

    Exit code 1 if anything is wrong. Without --key a file that somebody made and signed by himself is in order, too.
    """
    if public is not None and not re.fullmatch("[0-9a-fA-F]{64}", public):
        raise click.BadParameter("must be 64 hexadecimal digits, as `titrator evidence key` prints", param_hint="--key")
    key = None if audit_key is None else _audit_key(audit_key)
    found = verify_evidence(file, public, key)
    if as_json:
        write_json({**_as_json(found), "key_asked": public is not None})
    else:
        _show(found, asked=public is not None)
    raise click.exceptions.Exit(0 if found.sound else _FAULTY)


def _audit_key(file: TextIO) -> bytes:
    try:
        return bytes.fromhex(file.read(1000).strip())
    except ValueError:
        raise click.BadParameter(
            "must be an audit key, written in hexadecimal digits", param_hint="--audit-key"
        ) from None


def _as_json(found: Verified) -> dict[str, object]:
    return {
        "patient": found.patient,
        "name": found.name,
        "made_at": found.made_at,
        "public_key": found.public_key,
        "entries": found.entries,
        "audit_key": found.chained,
        "decisions": [
            {
                "id": made.id,
                "on": made.day,
                "decision": made.kind,
                "status": made.status,
                "differs": list(one.differs),
                "older_engine": one.older_engine,
            }
            for made, one in found.decisions
        ],
        "faults": list(found.faults),
    }


def _show(found: Verified, *, asked: bool) -> None:
    screen = console.out()
    who, ident = (printable(text or "?")[1:-1] for text in (found.name, found.patient))
    screen.print(f"Evidence of {who} ({ident}), made {moment(found.made_at)}")
    if found.public_key is not None:
        said = "the key asked for" if asked else "compare it with `titrator evidence key` of the installation"
        screen.print(f"Signed with {found.public_key}: {said}")
    macs = "held against the audit key" if found.chained else "their MACs not checked, which takes --audit-key"
    screen.print(f"{many(found.entries, 'entry', 'entries')} of the trail, {macs}")
    if found.decisions:
        rows = table("Decision", "On", "What", "Status", "Derived again")
        for made, one in found.decisions:
            older = f" (it was made by the older engine {made.engine_version})" if one.older_engine else ""
            told = "; ".join(one.differs) or f"the same answer{older}"
            rows.add_row(str(made.id), made.day, made.kind, made.status, printable(told)[1:-1])
        screen.print(rows)
    else:
        screen.print("No decisions are in it.")
    differ = sum(bool(one.differs) for _, one in found.decisions)
    if found.sound:
        without = "" if asked else ", if that is the key of the installation: --key PUBLIC tells"
        screen.print(Text(f"In order{without}.", style="green"))
        return
    lines = [printable(fault)[1:-1] for fault in found.faults]
    lines += [f"{differ} of {len(found.decisions)} decisions do not come out again"] if differ else []
    screen.print(Text("\n  ".join([f"NOT IN ORDER, {many(len(lines), 'fault')}", *lines]), style="bold red"))
