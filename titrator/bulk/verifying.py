"""Verify an evidence file without the database: nothing changed or missing, every decision comes out again.

1. the bytes     the digest and the signature of the last line are those of what stands before it
2. the rows      each can be read; there are as many as the first line says, all of this patient, no version missing
3. the trail     entries from 1 on without a gap up to the head; with the audit key each is held against its MAC, too
4. the editions  each protocol's file has the digest by which decisions name it
5. the decisions each is derived again, from the facts of then, by the file of then: the same answer to the letter

Whatever is wrong with one step, the others are done as far as there is something to do them with. A file is foreign
input: its size and that of its lines is bounded, and a repeated key is a fault.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from decimal import Decimal
from functools import cache
from hashlib import sha256
from typing import BinaryIO, Final, NamedTuple, TypeVar, cast

from titrator.bulk.evidence import FORMAT, TABLES, WHO, last_line
from titrator.protocols import read_edition
from titrator.security.signing import is_signed
from titrator.store.records import (
    Account,
    AuditHead,
    AuditRow,
    CourseVersion,
    Decision,
    Fact,
    Identifier,
    Patient,
    ProtocolEdition,
    Record,
)
from titrator.store.rows import Value, mapping
from titrator.titration.documents import decode, shown
from titrator.titration.errors import InvalidInput
from titrator.titration.protocol import Protocol
from titrator.workflow.delivery import subject
from titrator.workflow.evidence import Kept, Replayed, no_course, replayed
from titrator.workflow.trail import chain_faults, gaps

R = TypeVar("R", bound=Record)

LARGEST_FILE: Final = 256_000_000
LARGEST_LINE: Final = 2_000_000
#: Rows of a table: each decision is derived from the facts, so the time grows with the product of the two.
MOST_ROWS: Final[dict[type[Record], int]] = {Fact: 50_000, CourseVersion: 5_000, Decision: 10_000}
_MOST_FAULTS: Final = 1000
_ABOUT: Final = frozenset(
    ("evidence", "patient", "made_at", "made_by", "engine_version", "program", "rows", "trail_faults")
)
_SEAL: Final = frozenset(("sha256", "algorithm", "public_key", "signature"))
_VERSIONED: Final = {CourseVersion: "course", Fact: "fact", Decision: "decision"}


#: What a change of a decision may change.
_BECAME: Final = frozenset(
    (
        *("version", "current", "status", "second_by", "second_role", "second_at", "given_on"),
        *("reopened_answer", "reopened_at", "reopened_by", "reviewed"),
        *("change", "change_reason", "changed_by", "changed_at"),
    )
)


class Verified(NamedTuple):
    """What a file came to: of whom and when it says that it is, by which key it is signed, and every fault.

    `public_key` is None where the signature is not right. `chained` is whether the trail was held against a key.
    """

    patient: str | None
    name: str | None
    made_at: str | None
    public_key: str | None
    chained: bool
    entries: int
    decisions: tuple[tuple[Decision, Replayed], ...]
    faults: tuple[str, ...]

    @property
    def sound(self) -> bool:
        """Whether nothing at all is wrong."""
        return not self.faults and not any(one.differs for _, one in self.decisions)


class _Broken(ValueError):
    """A line that cannot be read, and why."""


def verify_evidence(file: BinaryIO, public: str | None = None, audit_key: bytes | None = None) -> Verified:
    """What an evidence file comes to; held against a public key (64 hexadecimal digits) and the audit key, if given."""
    found = _Found()
    found.read(file)
    found.check_seal(public)
    found.check_rows()
    found.check_trail(audit_key)
    faults = found.faults
    if len(faults) > _MOST_FAULTS:
        faults = [*faults[:_MOST_FAULTS], f"there are more faults than these {_MOST_FAULTS}"]
    return Verified(
        patient=found.text("patient"),
        name=found.name(),
        made_at=found.text("made_at"),
        public_key=found.public,
        chained=audit_key is not None,
        entries=len(found.of(AuditRow)),
        decisions=tuple(found.decisions()),
        faults=tuple(faults),
    )


class _Found:
    """What was found in a file, and what is wrong with it."""

    def __init__(self) -> None:
        self.about: Mapping[str, object] = {}
        self.seal: Mapping[str, object] = {}
        self.seal_line = b""
        self.digest = ""
        self.public: str | None = None
        self.rows: dict[type[Record], list[Record]] = {record: [] for record in TABLES.values()}
        self.accounts = 0
        self.faults: list[str] = []

    def of(self, record: type[R]) -> list[R]:
        """The rows of a table."""
        return cast("list[R]", self.rows[record])

    def text(self, name: str) -> str | None:
        """A text of the first line."""
        value = self.about.get(name)
        return value if isinstance(value, str) else None

    def name(self) -> str | None:
        """Who the patient is: name, birth date and first number."""
        for one in self.of(Patient)[:1]:
            numbers = [number.value for number in self.of(Identifier)[:1]]
            born = [] if one.born_on is None else [f"born {one.born_on}"]
            return ", ".join([one.family_name, one.given_name, *born, *numbers])
        return None

    def read(self, file: BinaryIO) -> None:
        """Read all lines; the last one is not of those that are signed."""
        digest, number, size, before = sha256(), 0, 0, b""
        for number, line in enumerate(_lines(file), start=1):
            size += len(line)
            if len(line) > LARGEST_LINE or size > LARGEST_FILE:
                self.faults.append(f"line {number}: longer than any evidence file may be; the rest was not read")
                break
            if before:
                if len(self.faults) <= _MOST_FAULTS:
                    self._take(number - 1, before)
                digest.update(before)
            before = line
        if not number:
            self.faults.append("the file is empty")
        self.digest, self.seal_line = digest.hexdigest(), before

    def _take(self, number: int, line: bytes) -> None:
        try:
            value = _object(line)
            if number == 1:
                self.about = _with(value, _ABOUT)
            else:
                self._row(value)
        except _Broken as broken:
            self.faults.append(f"line {number}: {broken}")

    def _row(self, value: Mapping[str, object]) -> None:
        said = _with(value, frozenset(("table", "row")))
        record = TABLES.get(str(said["table"]))
        if record is None or not isinstance(said["row"], dict):
            raise _Broken("is no row of a table that a file has")
        if record is Account:
            _with(said["row"], frozenset(WHO))
            self.accounts += 1
        elif len(self.rows[record]) >= MOST_ROWS.get(record, LARGEST_FILE):
            raise _Broken(f"{record.TABLE}: more rows than any evidence file may have")
        else:
            self.rows[record].append(_record(record, said["row"]))

    def check_seal(self, public: str | None) -> None:
        """The last line, to the letter: the digest of the bytes before it, signed, by the key that is asked for."""
        try:
            self.seal = _with(_object(self.seal_line), _SEAL)
        except _Broken as broken:
            self.faults.append(
                f"the last line is no signature ({broken}): the file was cut off, or is none of evidence"
            )
            return
        digest, key, signature = (str(self.seal[name]) for name in ("sha256", "public_key", "signature"))
        if self.seal_line != last_line(digest, key, signature).encode():
            self.faults.append("the last line is not written as a signature is: it was changed")
        if digest != self.digest:
            self.faults.append("the digest is not that of the lines before it: something was changed")
        if not is_signed(key, self.digest, signature):
            self.faults.append("the signature is not that of these lines by this key: something was changed")
        elif public is not None and key != public.lower():
            self.faults.append(f"it was signed with another key than the one asked for: {key}")
        else:
            self.public = key

    def check_rows(self) -> None:
        """As many rows as the first line says, all of one patient, every version from 1 on, and the editions."""
        if self.about.get("evidence") != FORMAT:
            self.faults.append(f"the first line does not begin an evidence file of format {FORMAT}")
        self._check_counts()
        self._check_whose()
        for kind, noun in _VERSIONED.items():
            self.faults += _version_faults(noun, cast("list[CourseVersion | Fact | Decision]", self.rows[kind]))
        for edition in self.of(ProtocolEdition):
            if sha256(edition.text.encode(errors="surrogatepass")).hexdigest() != edition.sha256:
                self.faults.append(f"the file of the protocol {edition.protocol} is not the one of its digest")

    def _check_counts(self) -> None:
        counts = self.about.get("rows")
        if not isinstance(counts, dict):
            return
        for table, record in TABLES.items():
            there, said = self.accounts if record is Account else len(self.rows[record]), counts.get(table)
            if there != said:
                self.faults.append(f"{table}: {there} rows, the first line says {shown(said)}")

    def _check_whose(self) -> None:
        ident, patients = self.text("patient"), self.of(Patient)
        for record, rows in self.rows.items():
            if {getattr(row, "patient_id", ident) for row in rows} - {ident}:
                self.faults.append(f"{record.TABLE}: rows of another patient")
        if [patient.id for patient in patients] != [ident]:
            self.faults.append("there is not just the one patient that the first line names")
        recorded, decided = len(self.of(Fact)) + len(self.of(CourseVersion)), len(self.of(Decision))
        for patient in patients:
            if (recorded, decided) != (patient.revision, patient.decided):
                said = f"the patient's row says {patient.revision} and {patient.decided}"
                self.faults.append(f"{recorded} versions of facts and courses and {decided} of decisions; {said}")

    def check_trail(self, audit_key: bytes | None) -> None:
        """The chain of the patient: whole, as far as that can be told without a key, and by it where there is one."""
        rows, heads, chain = self.of(AuditRow), self.of(AuditHead), self.text("patient") or ""
        head = heads[0] if heads else None
        self.faults += gaps(rows, head, chain)
        if audit_key is not None:
            self.faults += chain_faults(rows, head, audit_key, chain)
        told = self.about.get("trail_faults")
        if told:
            self.faults += [f"when it was made: {fault}" for fault in told] if isinstance(told, list) else [str(told)]

    def decisions(self) -> Iterator[tuple[Decision, Replayed]]:
        """Each decision as it stands, derived again."""
        courses = {(one.id, one.version): one for one in reversed(self.of(CourseVersion))}
        edition = cache(self._edition)  # a file may take a second to be read
        entries: dict[str, list[AuditRow]] = {}
        for row in self.of(AuditRow):
            entries.setdefault(row.subject, []).append(row)

        def find(decision: Decision) -> Kept:
            course = courses.get((decision.course_id, decision.course_version))
            patient = next(iter(self.of(Patient)), None)
            if course is None or patient is None:
                raise LookupError(no_course(decision))
            protocol = edition(decision.protocol_sha256)
            if isinstance(protocol, InvalidInput):
                raise protocol
            if protocol is None or protocol.id != decision.protocol:
                raise LookupError(f"no edition {decision.protocol_sha256} of {decision.protocol}")
            patient = replace(patient, born_on=decision.born_on)
            return Kept(patient, course, self.of(Fact), protocol, entries.get(subject(decision), []))

        for decision in self.of(Decision):
            if decision.current:
                yield decision, replayed(decision, find)

    def _edition(self, digest: str) -> Protocol | InvalidInput | None:
        """The protocol of the file of a digest, or why it is none; None where there is no such file."""
        for edition in self.of(ProtocolEdition):
            if edition.sha256 == digest:
                try:
                    protocol = read_edition(edition.protocol, edition.text)
                except InvalidInput as error:
                    return error
                if protocol.sha256 == digest:
                    return protocol
        return None


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """The lines of a file; of one that is too long only so much that this can be told."""
    while line := file.readline(LARGEST_LINE + 1):
        yield line


def _object(line: bytes) -> Mapping[str, object]:
    try:
        value = decode(line)
    except InvalidInput as error:
        raise _Broken(str(error)) from None
    if not line.endswith(b"\n") or not isinstance(value, dict):
        raise _Broken("is no object on a line of its own")
    return value


def _with(value: Mapping[str, object], keys: frozenset[str]) -> Mapping[str, object]:
    """The same object, which has just these keys."""
    if value.keys() != keys:
        raise _Broken(f"must have {', '.join(sorted(keys))} and nothing else")
    return value


def _record(record: type[R], row: Mapping[str, object]) -> R:
    """The record of a row as it is stored, each column of its type."""
    kinds = {field.name: cast(str, field.type) for field in fields(record)}
    _with(row, frozenset(kinds))
    values = tuple(_value(name, kinds[name], row[name]) for name in mapping(record).columns)
    try:
        return mapping(record).to_record(values)
    except (ValueError, TypeError, ArithmeticError, RecursionError) as error:
        raise _Broken(f"{record.TABLE}: cannot be read: {error}") from None


def _value(name: str, kind: str, value: object) -> Value:
    if value is None and kind.endswith("None"):
        return None
    if kind.startswith(("int", "bool")):
        if isinstance(value, Decimal) and value == value.to_integral_value():
            return int(value)
    elif isinstance(value, str) and (not kind.startswith("Decimal") or _AMOUNT.fullmatch(value)):
        return value
    raise _Broken(f"{name}: is not what this column holds")


_AMOUNT: Final = re.compile(r"[0-9]{1,16}(?:\.[0-9]{1,40})?", re.ASCII)


def _version_faults(noun: str, rows: Sequence[CourseVersion | Fact | Decision]) -> Iterator[str]:
    """What is wrong with the versions of each: from 1 on without a gap, in order, of which the last one is current."""
    of: dict[int, list[CourseVersion | Fact | Decision]] = {}
    for row in rows:
        of.setdefault(row.id, []).append(row)
    for ident, versions in of.items():
        if [one.version for one in versions] != list(range(1, len(versions) + 1)):
            yield f"{noun} {ident}: a version is missing or stands in another's place"
        elif [one.current for one in versions] != [False] * (len(versions) - 1) + [True]:
            yield f"{noun} {ident}: not the last version, and it alone, is current"
        if len({_lasting(one) for one in versions}) > 1:
            yield f"{noun} {ident}: its versions differ in what no change of it changes"


def _lasting(one: CourseVersion | Fact | Decision) -> tuple[object, ...]:
    """What is the same in all versions: of a decision all but what became of it since it was signed."""
    match one:
        case Fact():
            return (one.kind,)
        case Decision():
            return tuple(getattr(one, field.name) for field in fields(one) if field.name not in _BECAME)
        case _:
            return (one.started_on,)
