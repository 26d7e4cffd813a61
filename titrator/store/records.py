"""What is stored: one class a table, frozen, with the fields in the order of the columns.

Days are texts `YYYY-MM-DD` at the clinic, instants texts in UTC (`2026-03-09T08:00:00.000000Z`): both sort as text.
Amounts are exact Decimals. `version` counts the changes of a record, and is what an ETag names.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import ClassVar


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A row of `TABLE`, found by the columns of `KEY`."""

    TABLE: ClassVar[str]
    KEY: ClassVar[tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Clinic(Record):
    """An outpatient clinic: its IANA time zone, its holidays as days, its injection days as `monday` to `sunday`."""

    TABLE = "clinics"
    KEY = ("id",)

    id: str
    version: int
    name: str
    time_zone: str
    holidays: tuple[str, ...]
    injection_days: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Patient(Record):
    """A patient of a clinic. `revision` counts what was recorded: facts and courses take their ids from it.

    `search_name` is the name as it is searched: without case and accents. `settled` says that nothing has been recorded
    since the patient's standing was taken down. `decided` counts the versions of decisions, which take their ids from
    it; `decision_id` is the decision that has been taken and not yet carried out, if any.
    """

    TABLE = "patients"
    KEY = ("id",)

    id: str
    version: int
    revision: int
    clinic_id: str
    family_name: str
    given_name: str
    search_name: str
    born_on: str | None
    active: bool
    created_at: str
    changed_at: str
    settled: bool
    decided: int
    decision_id: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Identifier(Record):
    """A number that a system (`urn:oid:…`, a URL) gives a patient; no two patients share one."""

    TABLE = "identifiers"
    KEY = ("system", "value")

    system: str
    value: str
    patient_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CourseVersion(Record):
    """A course of therapy as it stood after a change: who changed what, when and why. Only one version is current."""

    TABLE = "courses"
    KEY = ("patient_id", "id", "version")

    patient_id: str
    id: int
    version: int
    current: bool
    protocol: str
    status: str
    started_on: str
    ended_on: str | None
    baseline_on: str | None
    eligibility: tuple[str, ...]
    change: str
    reason: str | None
    changed_by: str
    changed_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact(Record):
    """Something that was observed of a patient or done, in one of its versions. Only one version is current.

    `id` is the patient's revision at which it was first recorded, `revision` that at which this version was: the order
    of ids is that of recording, and what was known at any revision can be told. `taken_at` is the instant of that day,
    as it was sent, where one was. What `code`, `value`, `unit`, `level` and `until` hold depends on the kind; `detail`
    has what no rule looks at. `status` is `final`, `unverified` (a feed's implausible value, that doses nothing) or
    `entered-in-error`; `asked` names the questions that its plausibility raised, `confirmed_by` who answered them.
    `change` is what made this version: `record`, `correct` (of what had been final), `resolve`, `verify` or
    `enter-in-error`.
    """

    TABLE = "facts"
    KEY = ("patient_id", "id", "version")

    patient_id: str
    id: int
    version: int
    revision: int
    current: bool
    kind: str
    day: str
    taken_at: str | None
    code: str | None
    value: Decimal | None
    unit: str | None
    level: Decimal | None
    until: str | None
    unreliable: bool
    status: str
    detail: dict[str, object]
    asked: tuple[str, ...]
    confirmed_by: str | None
    change: str
    reason: str | None
    recorded_by: str
    recorded_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing(Record):
    """Where a patient stands on a day: the answer, kept for whoever asks next; made anew whenever it does not hold.

    It holds while the patient's `revision` and `version`, the protocol's digest and the `program`, the digest of the
    code that made it, are what they were. `unverified` names facts that the answer leaves out, as `weights/12`;
    `proposal_sha256` is what a decision names, `dose_due_on` and `count_due_on` the days since which a dose and a count
    are due; `dues` has all that is due next, each as `<what> <day> <number> <floating: 0 or 1>`.
    """

    TABLE = "standings"
    KEY = ("patient_id",)

    patient_id: str
    clinic_id: str
    day: str
    revision: int
    patient_version: int
    program: str
    course_id: int
    course_version: int
    protocol: str
    protocol_sha256: str
    action: str
    reasons: tuple[str, ...]
    input_sha256: str
    unverified: tuple[str, ...]
    proposal_sha256: str
    dose_due_on: str | None
    count_due_on: str | None
    dues: tuple[str, ...]
    answer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting(Record):
    """What waits for somebody of a patient on a day: a line of the worklist, made with the standing.

    `tasks` are its kinds, the most urgent first; lines are shown in order of `rank`. `line` is the JSON that is sent,
    `search_name` what a search looks in.
    """

    TABLE = "worklist"
    KEY = ("patient_id",)

    patient_id: str
    clinic_id: str
    day: str
    program: str
    search_name: str
    rank: int
    tasks: tuple[str, ...]
    line: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision(Record):
    """What a named person decided upon a proposal, in one of its versions. Only one version is current.

    `kind` is `accept`, `override` or `refer`. What is needed to answer for it and to derive it again: the patient's
    `revision` and `born_on`, the version of the course, the `day` asked about, the engine's `answer` (JSON) with its
    digests, the digest of the protocol's file, the version of the engine. `dose` is the JSON of the dose to give, None
    if none is; `level` is in micrograms/kg, `micrograms` is what is delivered. `reopened_answer` is the answer to the
    facts as they were corrected later, `reviewed` whether somebody has looked at it.
    """

    TABLE = "decisions"
    KEY = ("patient_id", "id", "version")

    patient_id: str
    id: int
    version: int
    current: bool
    kind: str
    status: str
    day: str
    due_on: str | None
    level: Decimal | None
    micrograms: Decimal | None
    dose: str | None
    answer: str
    proposal_sha256: str
    input_sha256: str
    protocol: str
    protocol_sha256: str
    engine_version: str
    revision: int
    course_id: int
    course_version: int
    born_on: str | None
    acknowledged: tuple[str, ...]
    reason_code: str | None
    comment: str | None
    signed_by: str
    signed_role: str
    signed_at: str
    second_by: str | None
    second_role: str | None
    second_at: str | None
    given_on: str | None
    reopened_answer: str | None
    reopened_at: str | None
    reopened_by: str | None
    reviewed: bool
    change: str
    change_reason: str | None
    changed_by: str
    changed_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DoseMismatch(Record):
    """The doses of a day that depart from what was decided: how much they were, in what they depart, and the reason.

    `micrograms` is None where none are left; the reason is None until somebody has given it.
    """

    TABLE = "dose_mismatches"
    KEY = ("patient_id", "day")

    patient_id: str
    day: str
    version: int
    decision_id: int | None
    micrograms: Decimal | None
    departs: tuple[str, ...]
    reason: str | None
    reason_by: str | None
    reason_at: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProtocolEdition(Record):
    """The file of a protocol by which something was decided, to the letter, by the SHA-256 of its bytes."""

    TABLE = "protocol_editions"
    KEY = ("sha256",)

    sha256: str
    protocol: str
    text: str
    kept_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalId(Record):
    """The name that another system has for a fact of a patient."""

    TABLE = "external_ids"
    KEY = ("patient_id", "system", "value")

    patient_id: str
    system: str
    value: str
    fact_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UnmatchedResult(Record):
    """A result that was received and is nobody's yet, and what became of it.

    `body` is the JSON of the entry of a `collection`; `source` what its source says beside it; `why` it is held, and
    which patients it `might_be` of. `status` is `open`, `assigned` to a patient or `dismissed`.
    """

    TABLE = "unmatched_results"
    KEY = ("id",)

    id: str
    version: int
    clinic_id: str
    system: str
    value: str
    collection: str
    body: str
    external_system: str | None
    external_value: str | None
    why: str
    might_be: tuple[str, ...]
    source: dict[str, object]
    received_by: str
    received_at: str
    status: str
    patient_id: str | None
    fact_id: int | None
    reason: str | None
    settled_by: str | None
    settled_at: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedMessage(Record):
    """A message of a feed that was taken (`AA`), or was at fault (`AE`), with the acknowledgement that was sent.

    It is known by its control id and the SHA-256 of its bytes; nothing else of it is kept here.
    """

    TABLE = "received_messages"
    KEY = ("feed", "control_id", "sha256")

    feed: str
    control_id: str
    sha256: str
    at: str
    code: str
    acknowledgement: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Account(Record):
    """A person or system that may log in. `password_hash` is None until the account is activated, and for systems."""

    TABLE = "accounts"
    KEY = ("id",)

    id: str
    version: int
    username: str
    display_name: str
    role: str
    clinics: tuple[str, ...]
    active: bool
    password_hash: str | None
    failed_logins: int
    locked_until: str | None
    created_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SecondFactor(Record):
    """What an account proves itself with besides its password: a secret that an authenticator has, too, encrypted.

    It counts from `confirmed_at` on, the first right code. No code of `last_step` or before is taken any more.
    `recovery_codes` has the hashes of those that are not used yet.
    """

    TABLE = "second_factors"
    KEY = ("account_id",)

    account_id: str
    secret: str
    made_at: str
    confirmed_at: str | None
    last_step: int | None
    recovery_codes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiClient(Record):
    """A program that gets tokens of an account by signed assertions (SMART Backend Services); `id` is its client_id.

    Its public keys are a JWK Set: the text `jwks`, or what stands at `jwks_url`. `scopes` are the most that it gets.
    """

    TABLE = "clients"
    KEY = ("id",)

    id: str
    account_id: str
    label: str
    jwks: str | None
    jwks_url: str | None
    scopes: tuple[str, ...]
    created_at: str
    revoked_at: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class UsedAssertion(Record):
    """An assertion that has been accepted, by the SHA-256 of its id: it is not accepted again until it has ended."""

    TABLE = "used_assertions"
    KEY = ("client_id", "ident")

    client_id: str
    ident: str
    ends_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Token(Record):
    """A bearer token, known by the SHA-256 of its secret: of `api`, a `session`, an `activation` or an `access`.

    `permissions` narrows those of the account's role; None does not. A session ends after `idle_seconds` without use. A
    token of `access` was issued to a client, for the `scopes` that it lists; others have neither.
    """

    TABLE = "tokens"
    KEY = ("sha256",)

    sha256: str
    id: str
    account_id: str
    kind: str
    label: str
    permissions: tuple[str, ...] | None
    client_id: str | None
    scopes: tuple[str, ...] | None
    created_at: str
    expires_at: str
    idle_seconds: int | None
    used_at: str | None
    revoked_at: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GlassBreak(Record):
    """Access of an account to a patient of another clinic, for a reason, until an instant."""

    TABLE = "glass_breaks"
    KEY = ("patient_id", "id")

    patient_id: str
    id: str
    account_id: str
    reason: str
    at: str
    until: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptAnswer(Record):
    """The answer to a POST with an Idempotency-Key, so that the same request gets it again."""

    TABLE = "kept_answers"
    KEY = ("account_id", "key")

    account_id: str
    key: str
    request_sha256: str
    status: int
    headers: dict[str, object]
    body: str
    at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRow(Record):
    """One entry of an audit chain: a patient's (`chain` is the patient's id) or that of the system (`system`)."""

    TABLE = "audit"
    KEY = ("chain", "seq")

    chain: str
    seq: int
    at: str
    account_id: str | None
    role: str | None
    action: str
    subject: str
    clinic_id: str | None
    request_id: str | None
    detail: str
    mac: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditHead(Record):
    """The last entry of an audit chain, signed, so that a chain cannot be cut short unseen."""

    TABLE = "audit_heads"
    KEY = ("chain",)

    chain: str
    seq: int
    mac: str
    signature: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolPlace(Record):
    """How far a spool file has been taken into the audit chains, in bytes."""

    TABLE = "spool_places"
    KEY = ("name",)

    name: str
    offset_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReminderSettings(Record):
    """How a clinic wants to be reminded, as JSON; a clinic without a row has the defaults."""

    TABLE = "reminder_settings"
    KEY = ("clinic_id",)

    clinic_id: str
    version: int
    settings: dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelRow(Record):
    """A way by which a clinic tells something to an `audience`.

    The audience is a role, all whose members it reaches (a mailbox, a chat); `ehr`, a system that is told everything
    once; or `gateway`, through which single persons are told (Contact). `kind` is `apprise` or `webhook`; `secret`
    signs what a webhook is sent. At most `per_minute` messages are sent: `minute` is the last in which any was,
    `in_minute` how many they were. While a channel fails it rests until `rests_until`; `failures` counts in a row.
    """

    TABLE = "channels"
    KEY = ("id",)

    id: str
    version: int
    clinic_id: str
    audience: str
    kind: str
    label: str
    address: str
    secret: str | None
    active: bool
    per_minute: int
    minute: str
    in_minute: int
    failures: int
    rests_until: str
    error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact(Record):
    """The address of a person at a gateway; `owner` is `account/<id>` or `patient/<id>`."""

    TABLE = "contacts"
    KEY = ("owner", "channel_id")

    owner: str
    channel_id: str
    address: str
    changed_by: str
    changed_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reminder(Record):
    """Something that a clinic is to be reminded of: a patient, a kind, the day on which it is due.

    `remind_on` is the day of the clinic that it falls on. `event` names the entry in a calendar, which stays the same
    when the day moves and then has a higher `sequence`. The next `step` of the escalation is told at `next_at`, None if
    there is none; `round` counts how often somebody has put it off. `status` is `open`, `acknowledged` (nobody else is
    told), `cancelled` (by a person) or `done`.
    """

    TABLE = "reminders"
    KEY = ("patient_id", "kind", "due_on")

    patient_id: str
    kind: str
    due_on: str
    version: int
    clinic_id: str
    remind_on: str
    status: str
    event: str | None
    sequence: int
    round: int
    step: int
    next_at: str | None
    made_at: str
    changed_at: str
    changed_by: str | None
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery(Record):
    """One telling: of a reminder, or of a clinic's digest (`about` is the clinic then), to a recipient by a channel.

    `step` is that of the reminder, plus a hundred for each time that it was put off. `id` is the same whenever it is
    sent again. `status` is `waiting`, `sent`, `cancelled`, `dead` (given up) or `dismissed` (a person has seen to it).
    A worker
    holds it until `leased_until` (empty if none does); it is not sent before `send_at`. `rank` puts the urgent first.
    """

    TABLE = "deliveries"
    KEY = ("about", "kind", "due_on", "step", "recipient", "channel_id")

    about: str
    kind: str
    due_on: str
    step: int
    recipient: str
    channel_id: str
    id: str
    clinic_id: str
    rank: int
    status: str
    send_at: str
    attempts: int
    leased_until: str
    leased_by: str
    error: str | None
    made_at: str
    sent_at: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CalendarFeed(Record):
    """A calendar that may be subscribed to by who knows its secret; `about` is `clinic/<id>` or `patient/<id>`."""

    TABLE = "calendar_feeds"
    KEY = ("sha256",)

    sha256: str
    id: str
    about: str
    clinic_id: str
    label: str
    created_by: str
    created_at: str
    revoked_at: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CdsFeedback(Record):
    """What became of a card that a CDS service gave to an account, as its client said last: `at`, by its own clock.

    `outcome` is `shown` until the client has said anything, `accepted`, with the uuids of the `suggestions`, or
    `overridden`, with the reason and comment if there are any. `patient_id` is there where the course is kept here.
    """

    TABLE = "cds_feedback"
    KEY = ("account_id", "card")

    account_id: str
    card: str
    service: str
    patient_id: str | None
    outcome: str
    reason_code: str | None
    reason_display: str | None
    comment: str | None
    suggestions: tuple[str, ...]
    at: str
    received_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportJob(Record):
    """A file that an account sent to be imported, and how far that is. Its rows lie in files named by `id`.

    `clinics` are those that its patients may be of, `plan` says how it is read, both as JSON where they are no lists of
    texts. `rows` and `patients` are None until it has been looked through; patients up to `done_number` are done, and
    `report` is of those. While `leased_until` is ahead, `leased_by` works on it. `attempts` counts the claims since it
    last got on.
    """

    TABLE = "imports"
    KEY = ("id",)

    id: str
    version: int
    account_id: str
    clinics: tuple[str, ...]
    file_name: str
    kind: str
    sha256: str
    size: int
    plan: dict[str, object]
    status: str
    rows: int | None
    patients: int | None
    done_number: str | None
    report: dict[str, object]
    faults: tuple[str, ...]
    made_at: str
    ended_at: str | None
    attempts: int
    leased_until: str
    leased_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Job(Record):
    """When a job that one process does for all was last begun."""

    TABLE = "jobs"
    KEY = ("name",)

    name: str
    version: int
    at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeCount(Record):
    """How often something has been changed, by name: what was read of it still holds while the number is the same.

    The database counts by itself. `access` is of accounts, second factors and tokens.
    """

    TABLE = "change_counts"
    KEY = ("name",)

    name: str
    number: int


RECORDS: tuple[type[Record], ...] = (
    Clinic,
    Patient,
    Identifier,
    CourseVersion,
    Fact,
    Standing,
    Waiting,
    Decision,
    DoseMismatch,
    ProtocolEdition,
    ExternalId,
    UnmatchedResult,
    ReceivedMessage,
    Account,
    SecondFactor,
    ApiClient,
    UsedAssertion,
    Token,
    GlassBreak,
    KeptAnswer,
    AuditRow,
    AuditHead,
    SpoolPlace,
    ReminderSettings,
    ChannelRow,
    Contact,
    Reminder,
    Delivery,
    CalendarFeed,
    CdsFeedback,
    ImportJob,
    Job,
    ChangeCount,
)
