"""What is printed of a patient, each on one page of A4: the preparation sheet, dates to take home, the dose letter."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from titrator.security.permissions import Permission
from titrator.store.records import Patient
from titrator.titration.due import FOLLOW_UP_WEEKS
from titrator.titration.preparation import UNDILUTED, WATER_ONLY
from titrator.titration.protocol import Protocol, Status, WeeklyProtocol, WeightBasis
from titrator.titration.quantities import HUNDREDTH, rounded, tidy
from titrator.titration.wording import side
from titrator.web.frame import Context, Pages
from titrator.web.language import gettext as _
from titrator.web.language import lazy_gettext as _l
from titrator.web.who import who
from titrator.workflow import sheets
from titrator.workflow.delivery import last_dose
from titrator.workflow.reminders.days import WEEKDAYS, plus, weekday
from titrator.workflow.reminders.plan import Kind
from titrator.workflow.sheets import Dates
from titrator.workflow.visit import Visit

pages = Pages("sheets")

WEEKS: Final = 8
_A_WEEK: Final = 7
#: So many of the newest counts stand in a letter: more would not fit its page.
_COUNTS: Final = 6
_STATUS: Final[Mapping[Status, Any]] = {
    Status.LABEL: "",
    Status.CASE_REPORT: _l("Off label: the protocol comes from a case report."),
    Status.LOCAL: _l("The protocol is one of this hospital, not of a label."),
}
#: What a patient comes for, in words that name no medicine and no illness.
_VISITS: Final[Mapping[Kind, Any]] = {
    Kind.DOSE_DUE: _l("Injection"),
    Kind.DOSE_OVERDUE: _l("Injection"),
    Kind.COUNT_DUE: _l("Blood test"),
    Kind.MONTHLY_COUNT: _l("Blood test"),
    Kind.FOLLOW_UP_COUNT: _l("Blood test"),
    Kind.HOLD_RE_CHECK: _l("Blood test"),
    Kind.COUNT_OVERDUE: _l("Blood test"),
    Kind.WEIGHT_DUE: _l("Weighing"),
}


class OfDay(NamedTuple):
    """A day of the calendar: what a patient comes for, whether it has passed, and whether the clinic is closed."""

    day: str
    visits: list[Any]
    passed: bool
    closed: bool


def links(visit: Visit, patient: Patient) -> Context:
    """What sheets_links.html needs, as `sheets`: the decision that has a preparation sheet, or why none has."""
    decision, why = sheets.to_prepare(visit, patient)
    return {"decision": decision, "why": why}


@pages.page(
    "/patients/<patient_id>/decisions/<fact:decision_id>/preparation", Permission.READ_PATIENTS, "preparation.html"
)
def preparation(visit: Visit, patient_id: str, decision_id: int) -> Context:
    """What the pharmacy prepares a dose from; refused of all but a decision that is in force."""
    sheet = sheets.preparation(visit, patient_id, decision_id)
    evidence = sheet.decided.answer["evidence"]
    return {
        "who": who(visit, patient_id),
        "sheet": sheet,
        "exact_kg": evidence["dosing_weight_kg"],
        "kg": tidy(rounded(evidence["dosing_weight_kg"], HUNDREDTH)),
        "weighed_on": evidence["dosing_weight_on"],
        "provenance": _STATUS[sheet.protocol.status],
        "undiluted": UNDILUTED,
        "water_only": WATER_ONLY,
    }


@pages.page("/patients/<patient_id>/calendar", Permission.READ_PATIENTS, "calendar.html")
def calendar(visit: Visit, patient_id: str) -> Context:
    """Dates to take home: the weeks to come, with what has been decided or scheduled."""
    about = who(visit, patient_id)
    dates = sheets.dates(visit, patient_id)
    return {
        "who": about,
        "weeks": list(_weeks(dates, about.today)),
        "later": [(one, _VISITS[one.kind]) for one in dates.planned if one.remind_on > _last_day(about.today)],
        "outstanding": [(one, _VISITS[one.kind]) for one in dates.outstanding],
    }


@pages.page("/patients/<patient_id>/letter", Permission.READ_PATIENTS, "letter.html")
def letter(visit: Visit, patient_id: str) -> Context:
    """The course, for who referred the patient."""
    found = sheets.letter(visit, patient_id)
    about = who(visit, patient_id)
    return {
        "who": about,
        "letter": found,
        "counts": found.counts[:_COUNTS],
        "last_dose": last_dose(visit, about.patient),
        "provenance": "" if found.protocol is None else _STATUS[found.protocol.status],
        "watch": list(_to_watch(found.protocol)),
    }


def _monday(day: str) -> str:
    return plus(day, -WEEKDAYS.index(weekday(day)))


def _last_day(today: str) -> str:
    return plus(_monday(today), WEEKS * _A_WEEK - 1)


def _weeks(dates: Dates, today: str) -> Iterable[list[OfDay]]:
    """The weeks from that of today on, from Monday to Sunday."""
    monday = _monday(today)
    for week in range(WEEKS):
        yield [_of_day(dates, plus(monday, week * _A_WEEK + ahead), today) for ahead in range(_A_WEEK)]


def _of_day(dates: Dates, day: str, today: str) -> OfDay:
    visits = dict.fromkeys(str(_VISITS[one.kind]) for one in dates.planned if one.remind_on == day)
    return OfDay(day, list(visits), day < today, day in dates.open_days.holidays)


def _to_watch(protocol: Protocol | None) -> Iterable[str]:
    """What who looks after the patient elsewhere is asked to watch for, by the protocol of the course."""
    if isinstance(protocol, WeeklyProtocol):
        yield _(
            "Platelets, in ×10⁹/L: by this protocol a dose is raised with a count %(low)s, lowered with one "
            "%(high)s and withheld with one %(hold)s. Please send us every count that is taken elsewhere.",
            low=side(protocol.increase),
            high=side(protocol.reduce),
            hold=side(protocol.hold),
        )
    yield _("Thrombosis, or signs of a marrow disorder: please call at once. No dose is proposed until it is answered.")
    yield _("Bleeding, a transfusion, rescue therapy, a planned procedure: please tell us, with the day.")
    if protocol is not None and protocol.weight_basis is WeightBasis.CURRENT:
        yield _("Weight: doses follow the newest weight. Please send us weights that are measured elsewhere.")
    yield _(
        "When the medicine has been stopped: blood counts every week for %(weeks)s weeks more.", weeks=FOLLOW_UP_WEEKS
    )
