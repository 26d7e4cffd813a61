"""A demonstration: two clinics and twelve made-up patients, who between them show every action as of today.

What is recorded goes through the same steps as everybody's entries, by the accounts that would make them, and leaves
the same trail: the counts come from a feed, a technician weighs and gives, a pharmacist asks for each dose, and what is
given is what was proposed. Days are counted back from the clinic's today, so that the demonstration is never stale. All
of it is one transaction: it is there, or nothing is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Concatenate, Final, NamedTuple, ParamSpec, TypeVar, cast
from zoneinfo import ZoneInfo

from titrator.security.permissions import PERMISSIONS, Role
from titrator.security.secrets import new_id
from titrator.store.base import Session, Unusable
from titrator.store.records import Account, Clinic, Patient, Standing
from titrator.titration.codes import Action
from titrator.titration.documents import decode
from titrator.workflow import accounts, courses, demo, record
from titrator.workflow.facts import DOSES, EVENTS, OBSERVATIONS, PLATELET_COUNTS, WEIGHTS, Collection
from titrator.workflow.record import Which
from titrator.workflow.standing import next_dose
from titrator.workflow.visit import Actor, Services, Visit, leave

P = ParamSpec("P")
T = TypeVar("T")
E = TypeVar("E", bound="tuple[object, ...]")
Body = dict[str, object]

HAEMATOLOGY: Final = "Haematology Outpatients"
ISLAND: Final = "Island Clinic"
WEEK: Final = 7
_TOKEN_DAYS: Final = 30
_SYSTEM: Final = "urn:titrator:demonstration"


class Login(NamedTuple):
    """How to come in by a role; a system has a token only."""

    role: str
    username: str
    password: str | None
    token: str


class Shown(NamedTuple):
    """A patient of the demonstration, and what there is to see."""

    id: str
    name: str
    shows: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Furnished:
    """What was made: how to come in, the patient of the published case, the clinic of most patients, all patients."""

    logins: tuple[Login, ...]
    case_patient: str
    clinic: str
    patients: tuple[Shown, ...]
    summary: str


class _Value(NamedTuple):
    """An observation of a patient, so many days ago."""

    ago: int
    code: str
    value: str
    unit: str
    lower_limit_of_normal: str | None = None


class _Event(NamedTuple):
    """An event of a patient, so many days ago, and when it was over."""

    ago: int
    kind: str
    resolved_ago: int | None = None
    graded: tuple[str, str, int] | None = None  # term, scale, grade


@dataclass(frozen=True, slots=True, kw_only=True)
class _Story:
    """A patient as told: what was measured how many days ago; `weeks` are the days on which a dose was asked for.

    A week without a count is one of a stable course. The dose that is proposed is given, but for today's.
    """

    name: tuple[str, str]
    born: date | int  # a day, or how many days ago
    protocol: str
    shows: str
    weights: tuple[tuple[int, str], ...]
    weeks: tuple[tuple[int, str | None], ...]
    unit: str = "10*9/L"
    clinic: str = HAEMATOLOGY
    eligibility: tuple[str, ...] = ()
    values: tuple[_Value, ...] = ()
    events: tuple[_Event, ...] = ()
    typed: bool = False  # whether a technician types the counts, and no feed sends them
    then: Callable[[_Writer, _Chart], None] | None = None


class _Chart(NamedTuple):
    """A patient whose record is being written."""

    patient: Patient
    today: date

    def day(self, ago: int) -> str:
        """The day that was so many days ago at the clinic."""
        return (self.today - timedelta(days=ago)).isoformat()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Writer:
    """Does the steps of the work in one transaction, each as a visit of the account that would do it."""

    services: Services
    session: Session
    now: datetime
    actors: dict[Role, Actor]

    def does(
        self, role: Role | None, step: Callable[Concatenate[Visit, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """What a step gives that the account of a role takes; None: nobody is logged in yet."""
        actor = None if role is None else self.actors[role]
        visit = Visit(services=self.services, session=self.session, actor=actor, now=self.now)
        result = step(visit, *args, **kwargs)
        leave(visit, self.session, visit.entries)
        return result

    def records(self, role: Role, chart: _Chart, collection: Collection, body: Body) -> int:
        """The id of a new fact."""
        return self.does(role, record.record, chart.patient.id, collection, body).fact.id

    def counts(self, role: Role, chart: _Chart, ago: int, count: str, unit: str) -> int:
        """The id of a new platelet count; one of a feed has a name of the laboratory's."""
        body: Body = {"collected_on": chart.day(ago), "value": Decimal(count), "unit": unit}
        if role is Role.EHR:
            body["external_id"] = {"system": f"{_SYSTEM}:laboratory", "value": f"{chart.patient.id}-{ago}"}
        return self.records(role, chart, PLATELET_COUNTS, body)


def furnish(services: Services) -> Furnished:
    """Fill an empty store with the demonstration; raises Unusable where it is not empty, Unready, StoreError."""
    with services.store.writing() as session:
        if session.count(Account) or session.count(Clinic) or session.count(Patient):
            raise Unusable("The database is not empty: a demonstration needs one of its own.")
        writer = _Writer(services=services, session=session, now=services.clock(), actors={})
        logins, clinics = _people(writer)
        shown = [
            Shown(_write(writer, clinics[story.clinic], story, number), ", ".join(story.name), story.shows)
            for number, story in enumerate(_stories(writer.now, clinics), start=1)
        ]
    return Furnished(
        logins=logins,
        case_patient=shown[0].id,
        clinic=clinics[HAEMATOLOGY].id,
        patients=tuple(shown),
        summary=_summary(clinics.values(), shown),
    )


def case_document(today: date) -> dict[str, object]:
    """The course document of the published case, so shifted that its last count is of today."""
    document = demo.document()
    shift = today - date.fromisoformat(cast(str, document["on"]))
    return cast("dict[str, object]", _shifted(document, shift))


def _shifted(value: object, shift: timedelta) -> object:
    """The same value with each day in it moved."""
    if isinstance(value, dict):
        return {
            key: (date.fromisoformat(item) + shift).isoformat()
            if key == "on" or key.endswith("_on")
            else _shifted(item, shift)
            for key, item in value.items()
        }
    return [_shifted(item, shift) for item in value] if isinstance(value, list) else value


# The clinics and those who work there


def _people(writer: _Writer) -> tuple[tuple[Login, ...], dict[str, Clinic]]:
    """An account for each role, the administrator's first, and the clinics; the prescriber belongs to one of them."""
    admin = _person(writer, None, Role.ADMIN, ())
    year = writer.now.year
    clinics = {
        name: writer.does(
            Role.ADMIN,
            record.add_clinic,
            {"name": name, "time_zone": zone, "injection_days": list(days), "holidays": closed},
        )
        for name, zone, days, closed in (
            (HAEMATOLOGY, "Europe/Berlin", ("monday", "thursday"), [f"{year}-12-25", f"{year + 1}-01-01"]),
            (ISLAND, "Asia/Tokyo", ("wednesday",), [f"{year + 1}-01-01"]),
        )
    }
    both = tuple(clinic.id for clinic in clinics.values())
    others = (Role.TECHNICIAN, Role.PHARMACIST, Role.PRESCRIBER, Role.EHR, Role.AUDITOR)
    logins = [_person(writer, Role.ADMIN, role, both[:1] if role is Role.PRESCRIBER else both) for role in others]
    return (admin, *logins), clinics


def _person(writer: _Writer, by: Role | None, role: Role, clinics: Iterable[str]) -> Login:
    """A new account with a token and, for a person, a password: what there is to know to come in by it."""
    body: Body = {"username": str(role), "display_name": _DISPLAYED[role], "role": str(role), "clinics": list(clinics)}
    account, invitation = writer.does(by, accounts.add_account, body)
    password = None
    if invitation is not None:
        password = new_id()
        writer.does(None, accounts.activate, invitation.secret, password)
    writer.actors[role] = Actor(account.id, account.username, role, frozenset(account.clinics), PERMISSIONS[role])
    issued = writer.does(Role.ADMIN, accounts.issue_token, account.id, {"label": "demonstration", "days": _TOKEN_DAYS})
    return Login(str(role), account.username, password, issued.secret)


_DISPLAYED: Final = {
    Role.TECHNICIAN: "Tern (technician)",
    Role.PHARMACIST: "Falcon (pharmacist)",
    Role.PRESCRIBER: "Ibis (prescriber)",
    Role.EHR: "Laboratory feed",
    Role.AUDITOR: "Owl (auditor)",
    Role.ADMIN: "Crane (administrator)",
}


# The record of a patient


def _write(writer: _Writer, clinic: Clinic, story: _Story, number: int) -> str:
    """The id of a new patient with the record that a story tells."""
    today = _today(writer.now, clinic)
    born = story.born if isinstance(story.born, date) else today - timedelta(days=story.born)
    family, given = story.name
    patient = writer.does(
        Role.TECHNICIAN,
        record.add_patient,
        {
            "clinic": clinic.id,
            "family_name": family,
            "given_name": given,
            "born_on": born.isoformat(),
            "identifiers": [{"system": f"{_SYSTEM}:patients", "value": f"D-{number:02}"}],
        },
    )
    chart = _Chart(patient, today)
    first = chart.day(max(ago for ago, _ in story.weeks))
    start: Body = {"protocol": story.protocol, "started_on": first}
    course = writer.does(Role.PHARMACIST, courses.start, patient.id, start)
    if story.eligibility:
        confirmed: Body = {"eligibility": list(story.eligibility), "reason": "Marrow examined before the first dose."}
        writer.does(Role.PRESCRIBER, courses.confirm_eligibility, patient.id, confirmed, course.version)
    for ago in sorted(_days(story), reverse=True):
        _write_day(writer, chart, story, ago)
    if story.then is not None:
        story.then(writer, chart)
    return patient.id


def _days(story: _Story) -> set[int]:
    dated = (story.weights, story.weeks, story.values, story.events)
    return {entry[0] for entries in dated for entry in entries}


def _write_day(writer: _Writer, chart: _Chart, story: _Story, ago: int) -> None:
    """All that a story has of a day; the dose last, as it is then proposed."""
    for event in _of_day(story.events, ago):
        by = Role.TECHNICIAN if event.graded is None else Role.PRESCRIBER
        writer.records(by, chart, EVENTS, _event_body(chart, event))
    for _, kg in _of_day(story.weights, ago):
        body: Body = {"measured_on": chart.day(ago), "value": Decimal(kg), "unit": "kg"}
        writer.records(Role.TECHNICIAN, chart, WEIGHTS, body)
    for value in _of_day(story.values, ago):
        writer.records(Role.EHR, chart, OBSERVATIONS, _value_body(chart, value))
    for _, count in _of_day(story.weeks, ago):
        if count is not None:
            writer.counts(Role.TECHNICIAN if story.typed else Role.EHR, chart, ago, count, story.unit)
        standing = writer.does(Role.PHARMACIST, next_dose, chart.patient.id, chart.day(ago)).standing
        if ago:
            _give(writer, chart, standing)


def _of_day(entries: Iterable[E], ago: int) -> list[E]:
    """The entries of a story for one day."""
    return [entry for entry in entries if entry[0] == ago]


def _give(writer: _Writer, chart: _Chart, standing: Standing) -> None:
    """The dose that was proposed; of a hold, that none was given."""
    dose = cast("dict[str, dict[str, Decimal] | None]", decode(standing.answer))["dose"]
    if dose is not None:
        body: Body = {
            "given_on": standing.day,
            "micrograms": dose["delivered_micrograms"],
            "micrograms_per_kg": dose["micrograms_per_kg"],
        }
        writer.records(Role.TECHNICIAN, chart, DOSES, body)
    elif standing.action == Action.HOLD:
        writer.records(Role.TECHNICIAN, chart, DOSES, {"not_given_on": standing.day, "reason_not_given": "on-hold"})


def _event_body(chart: _Chart, event: _Event) -> Body:
    body: Body = {"kind": event.kind, "occurred_on": chart.day(event.ago)}
    if event.resolved_ago is not None:
        body["resolved_on"] = chart.day(event.resolved_ago)
    if event.graded is not None:
        body["term"], body["scale"], body["grade"] = event.graded
    return body


def _value_body(chart: _Chart, value: _Value) -> Body:
    body: Body = {
        "code": value.code,
        "observed_on": chart.day(value.ago),
        "value": Decimal(value.value),
        "unit": value.unit,
    }
    if value.lower_limit_of_normal is not None:
        body["lower_limit_of_normal"] = Decimal(value.lower_limit_of_normal)
    return body


def _today(now: datetime, clinic: Clinic) -> date:
    return now.astimezone(ZoneInfo(clinic.time_zone)).date()


# The patients


def _stories(now: datetime, clinics: dict[str, Clinic]) -> tuple[_Story, ...]:
    """The published case first."""
    return _case(_today(now, clinics[HAEMATOLOGY])), *_OTHERS


def _case(today: date) -> _Story:
    """The published case; what is not in demo.py (blood values, cells, adverse event) is made up to fit it."""
    document = case_document(today)
    first = WEEK * (len(demo.PLATELETS) - 1)
    values = [
        _Value(first - 28 * month, code, value, unit, limit)
        for code, unit, limit, months in (
            ("haemoglobin", "g/dL", "12", ("8.4", "8.9", "9.6", "10.3", "10.9", "11.4")),
            ("neutrophils", "10*9/L", "1.8", ("0.9", "1.1", "1.4", "1.6", "1.9", "2.1")),
            ("immature-platelet-fraction", "%", None, ("6.1", "8.8", "11.2", "9.7", "8.9", "8.2")),
            ("car-t-cells", "/uL", None, ("42", "35", "28", "24", "19", "16")),
            ("b-cells", "/uL", None, ("0", "0", "0", "0", "0", "0")),
        )
        for month, value in enumerate(months)
    ]
    transfusions = [_Event(first + before, "platelet_transfusion") for before in demo.TRANSFUSED_BEFORE]
    release = _Event(first + 88, "adverse_event", first + 85, ("Cytokine release syndrome", "crs", 1))
    return _Story(
        name=("Avocet", "Carina"),
        born=date.fromisoformat(cast(str, document["born_on"])),
        protocol=demo.PROTOCOL,
        shows="maintain: the published case after CAR-T cells, 24 weeks, off label",
        weights=tuple((first - 56 * time, str(demo.KG)) for time in range(3)),
        weeks=tuple((first - WEEK * week, str(count)) for week, count in enumerate(demo.PLATELETS)),
        eligibility=tuple(cast("list[str]", document["eligibility"])),
        values=tuple(values),
        events=(*transfusions, release),
    )


def _send_clumped(writer: _Writer, chart: _Chart) -> None:
    writer.counts(Role.EHR, chart, 0, "5.2", "10*9/L")


def _correct_last_count(writer: _Writer, chart: _Chart) -> None:
    rows = writer.does(Role.PHARMACIST, record.list_facts, chart.patient.id, PLATELET_COUNTS)
    which = Which(chart.patient.id, PLATELET_COUNTS, rows[-1].id, rows[-1].version)
    body = {
        "collected_on": chart.day(0),
        "value": Decimal(82),
        "unit": "10*9/L",
        "reason": "Digits changed places: the report says 82.",
    }
    writer.does(Role.TECHNICIAN, record.correct, which, body)


def _pause(writer: _Writer, chart: _Chart) -> None:
    course = writer.does(Role.PHARMACIST, courses.current, chart.patient.id)
    why: Body = {"reason": "Travels for three weeks; the local hospital gives nothing."}
    writer.does(Role.PHARMACIST, courses.pause, chart.patient.id, why, course.version)


_OTHERS: Final = (
    _Story(
        name=("Wren", "Mira"),
        born=2700,
        protocol="us-itp-paediatric",
        shows="increase: a child whose weight grows, and the dose with it",
        weights=((35, "21.8"), (14, "22.3"), (0, "22.9")),
        weeks=((35, "12"), (28, "18"), (21, "24"), (14, "31"), (7, "38"), (0, "43")),
    ),
    _Story(
        name=("Toki", "Subaru"),
        born=19800,
        protocol="jp-itp-adult",
        clinic=ISLAND,
        shows="reduce: a Japanese adult, whose label asks for no second week, counts per microlitre",
        weights=((28, "52.4"),),
        weeks=((28, "30000"), (21, "41000"), (14, "48000"), (7, "130000"), (0, "245000")),
        unit="/uL",
    ),
    _Story(
        name=("Heron", "Castor"),
        born=24100,
        protocol="eu-itp-adult",
        shows="hold: an EU adult above 250, for the second week",
        weights=((28, "81.5"),),
        weeks=((28, "22"), (21, "35"), (14, "44"), (7, "340"), (0, "280")),
    ),
    _Story(
        name=("Petrel", "Rigel"),
        born=15200,
        protocol="us-hs-ars",
        shows="complete: the single dose after exposure to radiation was given yesterday",
        weights=((1, "77"),),
        weeks=((1, "61"), (0, "58")),
    ),
    _Story(
        name=("Dunlin", "Alya"),
        born=17600,
        protocol="us-itp-adult",
        shows="incomplete: the feed sent a count a tenth of the last, which waits on the worklist",
        weights=((28, "68.2"),),
        weeks=((28, "33"), (21, "41"), (14, "52"), (7, "57")),
        then=_send_clumped,
    ),
    _Story(
        name=("Plover", "Lyra"),
        born=21900,
        protocol="us-itp-adult",
        shows="refer: a thrombosis three days ago, not resolved",
        weights=((21, "74"),),
        weeks=((21, "28"), (14, "39"), (7, "72"), (0, "88")),
        events=(_Event(3, "thrombosis", None, ("Thromboembolic event", "ctcae-5.0", 2)),),
    ),
    _Story(
        name=("Swift", "Altair"),
        born=12800,
        protocol="us-itp-adult",
        shows="no next dose: the course is paused",
        weights=((28, "90.3"),),
        weeks=((28, "36"), (21, "55"), (14, "63"), (7, "71")),
        then=_pause,
    ),
    _Story(
        name=("Knot", "Electra"),
        born=25500,
        protocol="us-itp-adult",
        shows="maintain: today's count was typed as 28 and corrected to 82; both versions are kept",
        weights=((28, "61"),),
        weeks=((28, "27"), (21, "44"), (14, "66"), (7, "79"), (0, "28")),
        typed=True,
        then=_correct_last_count,
    ),
    _Story(
        name=("Siskin", "Nova"),
        born=11000,
        protocol="us-itp-adult",
        shows="start: nothing given yet",
        weights=((0, "70"),),
        weeks=((0, "18"),),
    ),
    _Story(
        name=("Curlew", "Orion"),
        born=23400,
        protocol="us-itp-adult",
        shows="resume: below 200 again after two weeks on hold, one step lower",
        weights=((35, "84"),),
        weeks=((35, "25"), (28, "38"), (21, "46"), (14, "450"), (7, "260"), (0, "170")),
    ),
    _Story(
        name=("Suzume", "Vega"),
        born=22700,
        protocol="jp-itp-adult",
        clinic=ISLAND,
        shows="maintain: stable, so that four weeks may pass between counts",
        weights=((63, "49.8"),),
        weeks=(
            (63, "30"), (56, "40"), (49, "90"), (42, "100"), (35, "95"), (28, "104"), (21, "98"),
            (14, None), (7, None), (0, None),
        ),
    ),
)  # fmt: skip


def _summary(clinics: Iterable[Clinic], shown: Iterable[Shown]) -> str:
    places = " and ".join(f"{clinic.name} ({clinic.time_zone})" for clinic in clinics)
    rows = [f"{patient.id}  {patient.name:<16} {patient.shows}" for patient in shown]
    return "\n".join([f"{places}; {len(rows)} made-up patients, as of today:", *rows])
