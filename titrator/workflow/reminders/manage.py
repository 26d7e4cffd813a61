"""What people do about reminders: see them, acknowledge, put off, cancel; settings, channels, contacts, dead letters.

Nothing of it changes what is due. Who cancels a reminder says why, and it is on the worklist all the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import replace
from datetime import date, timedelta
from typing import Final, NamedTuple, cast

from titrator.notify.address import faults, opened, recipient_faults, redacted, with_recipient
from titrator.notify.base import Faulty, InvalidTexts, NotSent
from titrator.notify.webhook import new_secret
from titrator.security.permissions import Permission
from titrator.security.secrets import fingerprint, new_id
from titrator.store.base import Duplicate, Where
from titrator.store.records import ChannelRow, Clinic, Contact, Delivery, Patient, Reminder, ReminderSettings
from titrator.store.rows import Value
from titrator.titration.errors import Fault
from titrator.titration.quantities import read_day
from titrator.workflow.errors import Code, Conflict, Forbidden, Invalid, Unknown
from titrator.workflow.reminders.days import working_day
from titrator.workflow.reminders.keep import OPEN, close, unsettle_clinic, untell
from titrator.workflow.reminders.messages import number_of, telling_of, test_message
from titrator.workflow.reminders.plan import OF_PATIENTS, PATIENT, RANK, Kind, Plan, made, plan_of, settings_fields
from titrator.workflow.reminders.tell import ROUND, give_up_unused, open_for, unsettle
from titrator.workflow.visit import Visit, instant, refuse_outdated

Body = Mapping[str, object]
PAGE: Final = 100
#: A patient has not more reminders on a day: one of a kind.
_MOST_A_DAY: Final = 16
#: Nobody puts a reminder off for longer; one that goes on until somebody decides, for less.
FURTHEST: Final = 28
FURTHEST_STANDING: Final = 3
GATEWAY: Final = "gateway"
_LONGEST_ERROR: Final = 400
#: What goes on until it is done, and has no day of its own: it may be acknowledged or put off, but not cancelled.
STANDING_KINDS: Final = frozenset({"re-opened", "referral", "no-answer", "second-signature", "sign-off"})
#: What was to be done and was not.
OVERDUE_KINDS: Final = frozenset({Kind.DOSE_OVERDUE, Kind.COUNT_OVERDUE})
#: Conditions of a statement have at most so many values.
_AT_ONCE: Final = 500
_SOMEBODY: Final = "somebody@example.org"


class Page(NamedTuple):
    """Some rows, and where the next page begins."""

    items: list[dict[str, object]]
    next: str | None


# The reminders


def list_reminders(visit: Visit, query: Body) -> Page:
    """The reminders of the account's clinics that fall on a day or before, by day."""
    scope = visit.clinics(cast("str | None", query.get("clinic")))
    conditions = [Where("clinic_id", "in", scope), Where("status", "in", OPEN)]
    if (due_by := query.get("due_by")) is not None:
        conditions.append(Where("remind_on", "<=", due_by))
    if (kind := query.get("kind")) is not None:
        conditions.append(Where("kind", "=", kind))
    limit = cast(int, query.get("limit", PAGE))
    rows = _some(visit, conditions, _place(cast("str | None", query.get("cursor"))), limit) if scope else []
    page = [row for at, row in enumerate(rows) if at < limit or _same_place(row, rows[limit - 1])]
    following = f"{page[-1].remind_on}.{page[-1].patient_id}" if len(rows) > len(page) else None
    asked = {name: value for name, value in query.items() if value is not None}
    visit.note("list-reminders", "reminders", asked=asked, found=sorted({row.patient_id for row in page}))
    return Page([reminder_fields(visit, row) for row in page], following)


def of_patient(visit: Visit, patient_id: str) -> list[dict[str, object]]:
    """The reminders of a patient, past ones among them, the latest first, each with whom it was told."""
    patient = visit.patient(patient_id)
    rows = visit.session.find(Reminder, Where("patient_id", "=", patient.id), order=("-remind_on", "kind"), limit=200)
    told = messages_of(visit, {(row.patient_id, row.kind, row.due_on) for row in rows})
    visit.note("read", f"patient/{patient.id}/reminders", patient=patient)
    return [
        {
            **reminder_fields(visit, row),
            "deliveries": [delivery_fields(one) for one in told.get((row.patient_id, row.kind, row.due_on), [])],
        }
        for row in rows
    ]


def messages_of(visit: Visit, keys: Set[tuple[str, str, str]]) -> dict[tuple[str, str, str], list[Delivery]]:
    """The messages about reminders, each named by patient, kind and due day; in order of time."""
    days = _batches({day for _, _, day in keys})
    found: dict[tuple[str, str, str], list[Delivery]] = {}
    for patients in _batches({patient for patient, _, _ in keys}):
        for some in days:
            about = Where("about", "in", patients), Where("due_on", "in", some)
            for one in visit.session.find(Delivery, *about, order=("made_at", "id")):
                if (key := (one.about, one.kind, one.due_on)) in keys:
                    found.setdefault(key, []).append(one)
    return found


def reminder(visit: Visit, patient_id: str, kind: str, due_on: str) -> Reminder:
    """A reminder of a patient; raises Unknown."""
    row = visit.session.get(Reminder, visit.patient(patient_id).id, kind, due_on)
    if row is None:
        raise Unknown("reminder")
    return row


def reminder_fields(visit: Visit, row: Reminder) -> dict[str, object]:
    """A reminder as it is sent."""
    return {
        "patient": row.patient_id,
        "number": number_of(visit, row.patient_id),
        "clinic": row.clinic_id,
        "kind": row.kind,
        "due_on": row.due_on,
        "remind_on": row.remind_on,
        "status": row.status,
        "version": row.version,
        "next_at": row.next_at,
        "changed_by": row.changed_by,
        "reason": row.reason,
    }


class WhichReminder(NamedTuple):
    """A reminder of a patient, in the version that was seen; None: any."""

    patient_id: str
    kind: str
    due_on: str
    version: int | None


def acknowledge(visit: Visit, which: WhichReminder) -> Reminder:
    """Say that one sees to it: nobody else is told. It stays until it is done."""
    patient, row = _open(visit, which, STANDING_KINDS)
    return _changed(visit, patient, row, "acknowledge-reminder", status="acknowledged", next_at=None)


def put_off(visit: Visit, which: WhichReminder, until: str, reason: str | None) -> Reminder:
    """Have the same people told again, on a day to come; staff on the first working day not before it."""
    patient, row = _open(visit, which, STANDING_KINDS)
    plan = plan_of(visit.session, visit.clinic(patient.clinic_id))
    today = visit.today(patient)
    furthest = FURTHEST_STANDING if row.kind in STANDING_KINDS else FURTHEST
    last = (date.fromisoformat(today) + timedelta(days=furthest)).isoformat()
    if not today < until <= last:
        raise Invalid(Fault("until", f"must be after {today}, today at the clinic, and not after {last}"))
    told = visit.session.count(Delivery, *_deliveries_of(row), Where("step", ">=", row.round * ROUND))
    step = plan.begins(row.kind, row.step - 1) if told else row.step
    day = until if plan.to(row.kind, step) == PATIENT else working_day(plan.days, until)
    return _changed(
        visit,
        patient,
        row,
        "put-off-reminder",
        status="open",
        next_at=instant(plan.at(day)),
        round=row.round + 1,
        step=step,
        reason=reason,
    )


def cancel(visit: Visit, which: WhichReminder, reason: str) -> Reminder:
    """Have nobody told of it any more, for a reason; what is due stays due."""
    patient, row = _open(visit, which, OVERDUE_KINDS)
    if row.kind in STANDING_KINDS:
        raise Conflict(Code.REMINDER_STANDS, "It goes on until it is done: acknowledge it, or put it off.")
    new = close(visit, row, "cancelled", visit.who.account_id, reason)
    visit.note("cancel-reminder", _subject(row), patient=patient, why=reason)
    return new


def _open(visit: Visit, which: WhichReminder, of_signers: frozenset[str]) -> tuple[Patient, Reminder]:
    """A reminder that is still to be seen to; of some kinds, only by who may sign a decision."""
    patient = visit.patient(which.patient_id)
    row = reminder(visit, patient.id, which.kind, which.due_on)
    if visit.who.is_feed and row.kind not in OF_PATIENTS - OVERDUE_KINDS:
        raise Forbidden("A system sees to no reminder that waits for a person, or that is overdue.")
    if row.kind in of_signers and Permission.SIGN_OFF not in visit.who.permissions:
        raise Forbidden(f"Of {row.kind}, only who may sign a decision may say that nobody need be told.")
    refuse_outdated(row.version, which.version)
    if row.status not in OPEN:
        raise Conflict(Code.REMINDER_CLOSED, f"It is {row.status}.")
    return patient, row


def _changed(visit: Visit, patient: Patient, row: Reminder, did: str, **changes: object) -> Reminder:
    about: dict[str, object] = {"changed_at": instant(visit.now), "changed_by": visit.who.account_id}
    new = replace(row, version=row.version + 1, **{**about, **changes})  # type: ignore[arg-type]
    visit.session.change(new, Where("version", "=", row.version))
    untell(visit, row)
    visit.note(did, _subject(row), patient=patient, until=new.next_at, why=changes.get("reason"))
    return new


def _subject(row: Reminder) -> str:
    return f"patient/{row.patient_id}/reminders/{row.kind}/{row.due_on}"


def _deliveries_of(row: Reminder) -> tuple[Where, ...]:
    return Where("about", "=", row.patient_id), Where("kind", "=", row.kind), Where("due_on", "=", row.due_on)


def _some(visit: Visit, conditions: list[Where], after: tuple[str, str], limit: int) -> list[Reminder]:
    """So many rows and some more, after a place; those of a patient and day are never parted."""
    day, patient = after
    order, most = ("remind_on", "patient_id", "kind", "due_on"), limit + _MOST_A_DAY
    same_day = Where("remind_on", "=", day), Where("patient_id", ">", patient)
    found = visit.session.find(Reminder, *conditions, *same_day, order=order, limit=most) if day else []
    later = Where("remind_on", ">", day)
    return found + visit.session.find(Reminder, *conditions, later, order=order, limit=most - len(found))


def _same_place(one: Reminder, other: Reminder) -> bool:
    return (one.remind_on, one.patient_id) == (other.remind_on, other.patient_id)


def _place(cursor: str | None) -> tuple[str, str]:
    if cursor is None:
        return "", ""
    day, dot, patient = cursor.partition(".")
    if not dot or read_day(day) is None:
        raise Invalid(Fault("cursor", "must be `next` of the page before"))
    return day, patient


# Settings


def settings(visit: Visit, clinic_id: str) -> Plan:
    """How a clinic is reminded; raises Unknown."""
    return plan_of(visit.session, clinic_of(visit, clinic_id))


def change_settings(visit: Visit, clinic_id: str, body: Body, version: int | None) -> Plan:
    """Have a clinic reminded otherwise, in all that is not told yet."""
    clinic = clinic_of(visit, clinic_id)
    old = plan_of(visit.session, clinic)
    refuse_outdated(old.version, version)
    if (telling := visit.services.telling) is not None and "language" in body:
        try:
            telling.texts(cast(str, body["language"]))
        except InvalidTexts as error:
            raise Invalid(*(Fault("language", one) for one in error.faults)) from error
    row = ReminderSettings(clinic_id=clinic.id, version=old.version + 1, settings=dict(body))
    if old.version:
        visit.session.change(row, Where("version", "=", old.version))
    else:
        visit.session.add(row)
    new = made(clinic, row.version, body)
    unsettle_clinic(visit.session, clinic.id)
    subject = f"clinic/{clinic.id}/reminder-settings"
    visit.note("change", subject, old=settings_fields(old), new=settings_fields(new))
    return new


# Channels


def channels(visit: Visit, clinic_id: str) -> list[ChannelRow]:
    """The channels of a clinic."""
    clinic = clinic_of(visit, clinic_id)
    return visit.session.find(ChannelRow, Where("clinic_id", "=", clinic.id), order=("label", "id"))


def channel_fields(row: ChannelRow) -> dict[str, object]:
    """A channel as it is sent: never its whole address, nor its secret."""
    return {
        "id": row.id,
        "version": row.version,
        "clinic": row.clinic_id,
        "audience": row.audience,
        "kind": row.kind,
        "label": row.label,
        "address": redacted(row.address),
        "active": row.active,
        "per_minute": row.per_minute,
        "failures": row.failures,
        "rests_until": row.rests_until or None,
        "error": row.error,
    }


def add_channel(visit: Visit, clinic_id: str, body: Body) -> tuple[ChannelRow, str | None]:
    """A new channel of a clinic, and the secret of a webhook, which is not shown again."""
    clinic = clinic_of(visit, clinic_id)
    kind, audience = cast(str, body["kind"]), cast(str, body["audience"])
    address = cast(str, body["address"])
    _refuse_address(visit, audience, kind, address)
    secret = new_secret() if kind == "webhook" else None
    row = ChannelRow(
        id=new_id(),
        version=1,
        clinic_id=clinic.id,
        audience=audience,
        kind=kind,
        label=cast(str, body["label"]),
        address=address,
        secret=secret,
        active=True,
        per_minute=cast(int, body.get("per_minute", 60)),
        minute="",
        in_minute=0,
        failures=0,
        rests_until="",
        error=None,
    )
    visit.session.add(row)
    visit.note("create", f"clinic/{clinic.id}/channels/{row.id}", new=_noted(visit, row))
    return row, secret


def change_channel(visit: Visit, clinic_id: str, channel_id: str, body: Body, version: int | None) -> ChannelRow:
    """A channel with another label, address, pace, or in use or not. What waits for one out of use is given up."""
    row = channel(visit, clinic_id, channel_id)
    refuse_outdated(row.version, version)
    address = cast(str, body.get("address", row.address))
    if "address" in body:
        _refuse_address(visit, row.audience, row.kind, address)
    new = replace(
        row,
        version=row.version + 1,
        label=cast(str, body.get("label", row.label)),
        address=address,
        active=cast(bool, body.get("active", row.active)),
        per_minute=cast(int, body.get("per_minute", row.per_minute)),
        failures=0,
        rests_until="",
        error=None,
    )
    visit.session.change(new, Where("version", "=", row.version))
    if not new.active:
        give_up_unused(visit.session, row.id)
    subject = f"clinic/{row.clinic_id}/channels/{row.id}"
    visit.note("change", subject, old=_noted(visit, row), new=_noted(visit, new), address_changed="address" in body)
    return new


def _noted(visit: Visit, row: ChannelRow) -> dict[str, object]:
    """A channel as it stands in the trail: whom a mail reaches, and what tells two addresses apart; no secret."""
    mac = fingerprint(visit.services.audit_key, "channel-address", row.address)
    return {**channel_fields(row), "recipients": _recipients(row), "address_hmac": mac}


def _recipients(row: ChannelRow) -> dict[str, list[str]] | None:
    """Whom the mails of a channel reach, as they are sent; None if it sends no mail, or is not understood any more."""
    if row.kind == "webhook" or not _scheme(row).startswith("mailto"):
        return None
    personal = row.audience == GATEWAY
    plugin = opened(with_recipient(row.address, _SOMEBODY) if personal else row.address)
    if plugin is None:
        return None
    parts = vars(plugin)
    to = ["{to}"] if personal else [mail for _, mail in cast("list[tuple[object, str]]", parts["targets"])]
    others = {"cc": "cc", "bcc": "bcc", "reply": "reply_to"}
    return {"to": to, **{said: sorted(cast("set[str]", parts[name])) for said, name in others.items()}}


def test_channel(visit: Visit, clinic_id: str, channel_id: str, to: str | None) -> str | None:
    """Send a message that says only that the channel works; why it could not be sent, if so."""
    row = channel(visit, clinic_id, channel_id)
    telling = telling_of(visit)
    if row.audience == GATEWAY:
        if to is None:
            raise Invalid(Fault("to", "required: to whom, by a gateway"))
        _refuse_recipient(row, to, "to")
    elif to is not None:
        raise Invalid(Fault("to", "only a gateway is told to whom"))
    visit.note("test-channel", f"clinic/{row.clinic_id}/channels/{row.id}", to=to)
    plan = plan_of(visit.session, visit.clinic(row.clinic_id))
    try:
        open_for(telling, row, to).send(test_message(visit, plan, f"msg_{new_id()}"))
    except (NotSent, Faulty) as error:  # a file of texts may have got faults, or fewer schemes be accepted now
        return str(error)[:_LONGEST_ERROR]
    return None


def _refuse_address(visit: Visit, audience: str, kind: str, address: str) -> None:
    if kind == "webhook":
        found = faults(address, "webhook")
    else:
        found = faults(address, "gateway" if audience == GATEWAY else "channel", telling_of(visit).schemes)
    wrong = [Fault("address", one) for one in found]
    if (audience == GATEWAY) and kind == "webhook":
        wrong.append(Fault("kind", "must be apprise: a webhook reaches a system, and no single persons"))
    if audience == "ehr" and kind != "webhook":
        wrong.append(Fault("kind", "must be webhook: that is how a system is told"))
    if wrong:
        raise Invalid(*wrong)


def channel(visit: Visit, clinic_id: str, channel_id: str) -> ChannelRow:
    """A channel of a clinic; raises Unknown."""
    row = visit.session.get(ChannelRow, channel_id)
    if row is None or row.clinic_id != clinic_of(visit, clinic_id).id:
        raise Unknown("channel")
    return row


# Contacts


def contacts_of_patient(visit: Visit, patient_id: str) -> list[dict[str, object]]:
    """By which gateways a patient is told, and where."""
    patient = visit.patient(patient_id)
    visit.note("read", f"patient/{patient.id}/contacts", patient=patient)
    return _contacts(visit, f"{PATIENT}/{patient.id}")


def change_contacts_of_patient(visit: Visit, patient_id: str, body: Body) -> list[dict[str, object]]:
    """Have a patient told by other gateways of the clinic, or by none.

    Raises Unknown for a patient of another clinic: access in an emergency ends, and the messages would go on.
    """
    patient = visit.own_patient(patient_id)
    owner = f"{PATIENT}/{patient.id}"
    old = _contacts(visit, owner)
    new = _set_contacts(visit, owner, {patient.clinic_id}, body)
    visit.note("change-contacts", f"patient/{patient.id}/contacts", patient=patient, old=old, new=new)
    return new


def own_contacts(visit: Visit) -> list[dict[str, object]]:
    """By which gateways the account is told, and where."""
    return _contacts(visit, f"account/{visit.who.account_id}")


def change_own_contacts(visit: Visit, body: Body) -> list[dict[str, object]]:
    """Have the account told by other gateways of its clinics, or by none."""
    owner = f"account/{visit.who.account_id}"
    old = _contacts(visit, owner)
    new = _set_contacts(visit, owner, visit.who.clinics, body)
    visit.note("change-contacts", f"{owner}/contacts", old=old, new=new)
    return new


def gateways(visit: Visit) -> list[dict[str, object]]:
    """The gateways of the account's clinics, by which single persons can be told."""
    mine = Where("clinic_id", "in", tuple(sorted(visit.who.clinics)))
    found = visit.session.find(
        ChannelRow, mine, Where("audience", "=", GATEWAY), Where("active", "=", 1), order=("label",)
    )
    return [{"id": one.id, "clinic": one.clinic_id, "label": one.label, "scheme": _scheme(one)} for one in found]


def _contacts(visit: Visit, owner: str) -> list[dict[str, object]]:
    found = visit.session.find(Contact, Where("owner", "=", owner), order=("channel_id",))
    return [{"gateway": one.channel_id, "address": one.address} for one in found]


def _set_contacts(visit: Visit, owner: str, clinics: object, body: Body) -> list[dict[str, object]]:
    wrong: list[Fault] = []
    new: list[Contact] = []
    for index, one in enumerate(cast("list[Mapping[str, str]]", body["items"])):
        row = visit.session.get(ChannelRow, one["gateway"])
        if row is None or row.audience != GATEWAY or not row.active or row.clinic_id not in cast("set[str]", clinics):
            wrong.append(Fault(f"items[{index}].gateway", "is no gateway in use of this clinic"))
            continue
        wrong += [Fault(f"items[{index}].address", said) for said in recipient_faults(_scheme(row), one["address"])]
        new.append(
            Contact(
                owner=owner,
                channel_id=row.id,
                address=one["address"],
                changed_by=visit.who.account_id,
                changed_at=instant(visit.now),
            )
        )
    if wrong:
        raise Invalid(*wrong)
    visit.session.remove(Contact, Where("owner", "=", owner))
    try:
        visit.session.add(*new)
    except Duplicate:
        raise Invalid(Fault("items", "names a gateway twice")) from None
    return _contacts(visit, owner)


def _refuse_recipient(row: ChannelRow, to: str, path: str) -> None:
    if found := recipient_faults(_scheme(row), to):
        raise Invalid(*(Fault(path, one) for one in found))


def _scheme(row: ChannelRow) -> str:
    return row.address.partition(":")[0]


# Messages that could not be delivered


def undelivered(visit: Visit, clinic: str | None) -> list[dict[str, object]]:
    """The messages of the account's clinics that were given up, the oldest first, at most a hundred.

    One about a patient is of the clinic that the patient belongs to now, whichever told it.
    """
    scope = visit.clinics(clinic)
    dead = Where("status", "=", "dead")
    found: list[Delivery] = []
    for some in _batches([*scope, *_given_up_of(visit, scope, dead)] if scope else []):
        found += visit.session.find(Delivery, dead, Where("about", "in", some), order=("made_at", "id"), limit=PAGE)
    found = sorted(found, key=lambda one: (one.made_at, one.id))[:PAGE]
    visit.note("list-undelivered", "deliveries", found=[one.id for one in found])
    return [delivery_fields(one) for one in found]


def _given_up_of(visit: Visit, scope: tuple[str, ...], dead: Where) -> list[str]:
    """The patients of some clinics of whom a message was given up."""
    abouts = map(str, visit.session.tally(Delivery, "about", dead))
    mine = Where("clinic_id", "in", scope)
    return [one.id for some in _batches(abouts) for one in visit.session.find(Patient, mine, Where("id", "in", some))]


def _batches(idents: Iterable[str]) -> list[tuple[str, ...]]:
    every = sorted(idents)
    return [tuple(every[at : at + _AT_ONCE]) for at in range(0, len(every), _AT_ONCE)]


def delivery_fields(one: Delivery) -> dict[str, object]:
    """A delivery as it is sent: to whom, never to which address."""
    of_clinic = one.about == one.clinic_id
    return {
        "id": one.id,
        "clinic": one.clinic_id,
        "patient": None if of_clinic else one.about,
        "kind": one.kind,
        "due_on": one.due_on,
        "recipient": one.recipient,
        "channel": one.channel_id,
        "status": one.status,
        "attempts": one.attempts,
        "error": one.error,
        "made_at": one.made_at,
        "sent_at": one.sent_at,
    }


def settle_delivery(visit: Visit, delivery_id: str, *, again: bool) -> Delivery:
    """Have a message that was given up tried again from the beginning, or say that one has seen to it.

    One of a reminder that is not open any more is not tried again: it would tell what no longer holds. Nor is one of a
    clinic that the patient has left since: it would tell those there.
    """
    same = Where("status", "=", "dead"), Where("id", "=", delivery_id)
    found = visit.session.find(Delivery, *same)
    if not found or _clinic_now(visit, found[0]) not in visit.who.clinics:
        raise Unknown("message that could not be delivered")
    one = found[0]
    at = instant(visit.now)
    if again and one.kind in RANK:
        row = visit.session.get(Reminder, one.about, one.kind, one.due_on)
        if row is None or row.status != "open":
            raise Conflict(Code.REMINDER_CLOSED, "Its reminder is not open any more: there is nothing to tell.")
        if one.clinic_id != row.clinic_id or one.clinic_id != _clinic_now(visit, one):
            raise Conflict(Code.REMINDER_CLOSED, "It is to those of another clinic, which the patient has left.")
    anew: dict[str, Value] = {"status": "waiting", "send_at": at, "made_at": at, "attempts": 0}
    changes: dict[str, Value] = anew if again else {"status": "dismissed"}
    claimed = visit.session.claim(Delivery, changes, *same)
    if not claimed:  # somebody else was faster
        raise Unknown("message that could not be delivered")
    new = claimed[0]
    unsettle(visit.session, [new])
    subject = f"deliveries/{one.id}"
    patient = None if one.about == one.clinic_id else visit.patient(one.about)
    visit.note("retry-delivery" if again else "dismiss-delivery", subject, patient=patient)
    return new


def _clinic_now(visit: Visit, one: Delivery) -> str | None:
    """The clinic that a message is of: of one about a patient, that of the patient."""
    if one.about == one.clinic_id:
        return one.clinic_id
    patient = visit.session.get(Patient, one.about)
    return None if patient is None else patient.clinic_id


def clinic_of(visit: Visit, clinic_id: str) -> Clinic:
    """A clinic that the account belongs to or manages; raises Unknown."""
    clinic = visit.clinic(clinic_id)
    if not (clinic.id in visit.who.clinics or Permission.MANAGE_CLINICS in visit.who.permissions):
        raise Unknown("clinic")
    return clinic
