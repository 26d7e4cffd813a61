"""Records to store: one of each class, with other values where a test says so, and any by hypothesis."""

from __future__ import annotations

from dataclasses import fields, replace
from decimal import Decimal
from typing import Any, TypeVar

from hypothesis import strategies as st

from titrator.store.base import Session
from titrator.store.records import (
    RECORDS,
    Account,
    ApiClient,
    AuditHead,
    AuditRow,
    CalendarFeed,
    CdsFeedback,
    ChangeCount,
    ChannelRow,
    Clinic,
    Contact,
    CourseVersion,
    Decision,
    Delivery,
    DoseMismatch,
    ExternalId,
    Fact,
    GlassBreak,
    Identifier,
    Job,
    KeptAnswer,
    Patient,
    ProtocolEdition,
    ReceivedMessage,
    Record,
    Reminder,
    ReminderSettings,
    SecondFactor,
    SpoolPlace,
    Standing,
    Token,
    UnmatchedResult,
    UsedAssertion,
    Waiting,
)

R = TypeVar("R", bound=Record)
NOON = "2026-03-09T12:00:00.000000Z"

_SAMPLES: dict[type[Record], Record] = {
    type(one): one
    for one in (
        Clinic(
            id="c",
            version=1,
            name="Haematology",
            time_zone="Europe/Berlin",
            holidays=("2026-12-25",),
            injection_days=("monday", "thursday"),
        ),
        Patient(
            id="p",
            version=1,
            revision=0,
            clinic_id="c",
            family_name="Müller",
            given_name="Eva",
            search_name="muller eva",
            born_on="1960-05-01",
            active=True,
            created_at=NOON,
            changed_at=NOON,
            settled=False,
            decided=0,
            decision_id=None,
        ),
        Identifier(system="urn:oid:1.2", value="17", patient_id="p"),
        CourseVersion(
            patient_id="p",
            id=1,
            version=1,
            current=True,
            protocol="us-itp-adult",
            status="active",
            started_on="2026-03-02",
            ended_on=None,
            baseline_on=None,
            eligibility=(),
            change="start",
            reason=None,
            changed_by="a",
            changed_at=NOON,
        ),
        Fact(
            patient_id="p",
            id=1,
            version=1,
            revision=1,
            current=True,
            kind="platelet-count",
            day="2026-03-09",
            taken_at=None,
            code=None,
            value=Decimal(38),
            unit="10*9/L",
            level=None,
            until=None,
            unreliable=False,
            status="final",
            detail={},
            asked=(),
            confirmed_by=None,
            change="record",
            reason=None,
            recorded_by="a",
            recorded_at=NOON,
        ),
        Standing(
            patient_id="p",
            clinic_id="c",
            day="2026-03-09",
            revision=0,
            patient_version=1,
            program="0" * 64,
            course_id=1,
            course_version=1,
            protocol="us-itp-adult",
            protocol_sha256="0" * 64,
            action="increase",
            reasons=("BELOW-TARGET",),
            input_sha256="0" * 64,
            unverified=("platelet-counts/1",),
            proposal_sha256="0" * 64,
            dose_due_on="2026-03-09",
            count_due_on="2026-03-09",
            dues=("dose-due 2026-03-09 1 0",),
            answer="{}",
        ),
        Waiting(
            patient_id="p",
            clinic_id="c",
            day="2026-03-09",
            program="0" * 64,
            search_name="doe jane",
            rank=10,
            tasks=("dose-due",),
            line="{}",
        ),
        ProtocolEdition(sha256="0" * 64, protocol="us-itp-adult", text="# nothing", kept_at=NOON),
        Decision(
            patient_id="p",
            id=1,
            version=1,
            current=True,
            kind="override",
            status="in-force",
            day="2026-03-09",
            due_on="2026-03-09",
            level=Decimal("2.5"),
            micrograms=Decimal("187.5"),
            dose="{}",
            answer="{}",
            proposal_sha256="0" * 64,
            input_sha256="0" * 64,
            protocol="us-itp-adult",
            protocol_sha256="0" * 64,
            engine_version="1.0.0",
            revision=0,
            course_id=1,
            course_version=1,
            born_on="1960-05-01",
            acknowledged=("LARGE-FALL",),
            reason_code="clinical-judgement",
            comment="half a step",
            signed_by="a",
            signed_role="prescriber",
            signed_at=NOON,
            second_by="b",
            second_role="pharmacist",
            second_at=NOON,
            given_on="2026-03-09",
            reopened_answer="{}",
            reopened_at=NOON,
            reopened_by="a",
            reviewed=False,
            change="override",
            change_reason="why",
            changed_by="a",
            changed_at=NOON,
        ),
        DoseMismatch(
            patient_id="p",
            day="2026-03-02",
            version=1,
            decision_id=1,
            micrograms=Decimal(140),
            departs=("amount",),
            reason="two vials broke",
            reason_by="a",
            reason_at=NOON,
        ),
        ExternalId(patient_id="p", system="urn:lab", value="9", fact_id=1),
        UnmatchedResult(
            id="r",
            version=1,
            clinic_id="c",
            system="urn:mrn",
            value="17",
            collection="platelet-counts",
            body="{}",
            external_system="urn:lab",
            external_value="9",
            why="no-patient",
            might_be=("p",),
            source={"status": "final"},
            received_by="a",
            received_at=NOON,
            status="assigned",
            patient_id="p",
            fact_id=1,
            reason="new number",
            settled_by="a",
            settled_at=NOON,
        ),
        ReceivedMessage(
            feed="laboratory", control_id="1", sha256="0" * 64, at=NOON, code="AA", acknowledgement="MSH|^~\\&|\r"
        ),
        Account(
            id="a",
            version=1,
            username="eva",
            display_name="Eva Meyer",
            role="pharmacist",
            clinics=("c",),
            active=True,
            password_hash=None,
            failed_logins=0,
            locked_until=None,
            created_at=NOON,
        ),
        SecondFactor(
            account_id="a",
            secret="gAAAA",
            made_at=NOON,
            confirmed_at=NOON,
            last_step=59_102_640,
            recovery_codes=("0" * 64, "f" * 64),
        ),
        ApiClient(
            id="cl",
            account_id="a",
            label="engine",
            jwks=None,
            jwks_url="https://ehr.example.org/jwks.json",
            scopes=("system/Observation.cu", "system/Patient.rs"),
            created_at=NOON,
            revoked_at=None,
        ),
        UsedAssertion(client_id="cl", ident="0" * 64, ends_at=NOON),
        Token(
            sha256="0" * 64,
            id="t",
            account_id="a",
            kind="api",
            label="script",
            permissions=None,
            client_id=None,
            scopes=None,
            created_at=NOON,
            expires_at=NOON,
            idle_seconds=None,
            used_at=None,
            revoked_at=None,
        ),
        GlassBreak(patient_id="p", id="g", account_id="a", reason="bleeding", at=NOON, until=NOON),
        KeptAnswer(account_id="a", key="k", request_sha256="0" * 64, status=201, headers={}, body="{}", at=NOON),
        AuditRow(
            chain="p",
            seq=1,
            at=NOON,
            account_id="a",
            role="pharmacist",
            action="read",
            subject="patient/p",
            clinic_id="c",
            request_id="r",
            detail="{}",
            mac="0" * 64,
        ),
        AuditHead(chain="p", seq=1, mac="0" * 64, signature="0" * 64),
        SpoolPlace(name="0123456789abcdef.spool", offset_bytes=4096),
        ReminderSettings(clinic_id="c", version=1, settings={"language": "en"}),
        ChannelRow(
            id="ch",
            version=1,
            clinic_id="c",
            audience="gateway",
            kind="apprise",
            label="mail",
            address="mailto://localhost?to={to}",
            secret=None,
            active=True,
            per_minute=60,
            minute="",
            in_minute=0,
            failures=0,
            rests_until="",
            error=None,
        ),
        Contact(owner="patient/p", channel_id="ch", address="eva@example.org", changed_by="a", changed_at=NOON),
        Reminder(
            patient_id="p",
            kind="dose-due",
            due_on="2026-03-09",
            version=1,
            clinic_id="c",
            remind_on="2026-03-09",
            status="open",
            event="dose/1",
            sequence=0,
            round=0,
            step=0,
            next_at=NOON,
            made_at=NOON,
            changed_at=NOON,
            changed_by=None,
            reason=None,
        ),
        Delivery(
            about="p",
            kind="dose-due",
            due_on="2026-03-09",
            step=0,
            recipient="patient",
            channel_id="ch",
            id="msg_1",
            clinic_id="c",
            rank=0,
            status="waiting",
            send_at=NOON,
            attempts=0,
            leased_until="",
            leased_by="",
            error=None,
            made_at=NOON,
            sent_at=None,
        ),
        CalendarFeed(
            sha256="0" * 64,
            id="f",
            about="clinic/c",
            clinic_id="c",
            label="ward",
            created_by="a",
            created_at=NOON,
            revoked_at=None,
        ),
        CdsFeedback(
            account_id="a",
            card="00000000-0000-4000-8000-000000000000",
            service="romiplostim-us-itp-adult-patient-view",
            patient_id="p",
            outcome="overridden",
            reason_code="bleeding",
            reason_display="Bleeding",
            comment="nose bleed",
            suggestions=(),
            at=NOON,
            received_at=NOON,
        ),
        Job(name="seal", version=1, at=NOON),
        ChangeCount(name="sample", number=3),
    )
}
#: What others refer to, in the order in which it can be added.
REFERRED_TO = (Clinic, Patient, Account, ApiClient, ProtocolEdition, ChannelRow)


def sample(kind: type[R], /, **values: Any) -> R:
    """A record of a class, with other values for some of its fields."""
    found = _SAMPLES[kind]
    assert isinstance(found, kind)
    return replace(found, **values)


def add_referred_to(session: Session, by: type[Record] | None = None) -> None:
    """Add what the samples refer to: the clinic, the patient, the account, its client, the protocol, the channel.

    For a record of one of these classes only those before it: there may be one of that name already.
    """
    many = REFERRED_TO.index(by) if by in REFERRED_TO else len(REFERRED_TO)
    session.add(*(sample(kind) for kind in REFERRED_TO[:many]))


# Any record

#: Any text that a database can hold: no halves of characters, no NUL (PostgreSQL knows none).
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
WHOLE = st.integers(-(2**63), 2**63 - 1)
AMOUNTS = st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**12), max_value=10**12) | st.builds(
    lambda digits, places: Decimal(digits).scaleb(-places), st.integers(0, 10**36), st.integers(0, 24)
)
_LISTS = st.lists(TEXTS, max_size=4).map(tuple)
_BY_TYPE: dict[str, st.SearchStrategy[Any]] = {
    "str": TEXTS,
    "str | None": st.none() | TEXTS,
    "int": WHOLE,
    "int | None": st.none() | WHOLE,
    "bool": st.booleans(),
    "Decimal | None": st.none() | AMOUNTS,
    "tuple[str, ...]": _LISTS,
    "tuple[str, ...] | None": st.none() | _LISTS,
    "dict[str, object]": st.dictionaries(TEXTS, st.none() | st.booleans() | WHOLE | TEXTS, max_size=4),
}
#: Values that a table leaves no choice about.
_BOUND: dict[type[Record], dict[str, st.SearchStrategy[Any]]] = {
    CourseVersion: {"status": st.sampled_from(("active", "paused", "discontinued", "entered-in-error"))},
    Fact: {
        "kind": st.sampled_from(("weight", "platelet-count", "observation", "dose", "dose-not-given", "event")),
        "status": st.sampled_from(("final", "unverified", "entered-in-error")),
    },
    Decision: {
        "kind": st.sampled_from(("accept", "override", "refer")),
        "status": st.sampled_from(("awaiting-second", "in-force", "delivered", "withdrawn", "void")),
        "protocol_sha256": st.just("0" * 64),
        "second_by": st.none(),
    },
    ReceivedMessage: {"code": st.sampled_from(("AA", "AE"))},
    UnmatchedResult: {"status": st.sampled_from(("open", "assigned", "dismissed"))},
    ChannelRow: {
        "audience": st.sampled_from(("technician", "pharmacist", "prescriber", "ehr", "gateway")),
        "kind": st.sampled_from(("apprise", "webhook")),
    },
    Reminder: {"status": st.sampled_from(("open", "acknowledged", "cancelled", "done"))},
    Delivery: {"status": st.sampled_from(("waiting", "sent", "cancelled", "dead", "dismissed"))},
    CdsFeedback: {"outcome": st.sampled_from(("accepted", "overridden"))},
    ApiClient: {"jwks": TEXTS, "jwks_url": st.none()},
    Token: {
        "kind": st.sampled_from(("api", "session", "activation")),
        "client_id": st.none(),
        "scopes": st.none(),
    },
}


def any_of(kind: type[R]) -> st.SearchStrategy[R]:
    """Any record of a class that refers to the samples."""
    strategies = {field.name: _BY_TYPE[str(field.type)] for field in fields(kind)}
    referring = {
        "clinic_id": st.just("c"),
        "patient_id": st.just("p"),
        "account_id": st.just("a"),
        "client_id": st.just("cl"),
        "channel_id": st.just("ch"),
    }
    strategies |= {name: one for name, one in referring.items() if name in strategies and kind is not AuditRow}
    return st.builds(kind, **strategies | _BOUND.get(kind, {}))


assert set(_SAMPLES) == set(RECORDS)
