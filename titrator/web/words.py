"""How amounts, days and codes are said on pages: with their units, spelled out, without trailing zeros.

"micrograms" and "microlitres" are never abbreviated, no number stands without its unit, none begins with a point.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final
from zoneinfo import ZoneInfo

from babel.dates import format_date
from markupsafe import Markup

from titrator.titration.override import departs
from titrator.titration.quantities import DAYS, HUNDREDTH, completed_years, plain, rounded, tidy, times
from titrator.web.language import gettext as _
from titrator.web.language import lazy_gettext as _l
from titrator.web.language import locale, ngettext

#: Romiplostim as it is written where it may be mistaken for another medicine: in tall-man letters.
DRUG: Final = "romiPLOStim"

ACTIONS: Final[Mapping[str, Any]] = {
    "start": _l("Start"),
    "increase": _l("Increase"),
    "maintain": _l("Maintain"),
    "reduce": _l("Reduce"),
    "hold": _l("Hold: no dose"),
    "resume": _l("Resume"),
    "refer": _l("Refer to a prescriber"),
    "incomplete": _l("Incomplete: no dose yet"),
    "complete": _l("Complete: no further dose"),
}
#: Beside the word a sign, so that colour is never all that tells actions apart.
SIGNS: Final[Mapping[str, str]] = {
    "start": "▶",
    "increase": "▲",
    "maintain": "●",
    "reduce": "▼",
    "hold": "■",
    "resume": "▷",
    "refer": "!",
    "incomplete": "?",
    "complete": "✓",
}
TASKS: Final[Mapping[str, Any]] = {
    "re-opened-given": _l("Given, then a fact was corrected"),
    "dose-mismatch": _l("Dose departs from the decision"),
    "re-opened": _l("Decided, then a fact was corrected"),
    "to-verify": _l("Value to verify"),
    "referred": _l("For a prescriber"),
    "hold-without-re-check": _l("On hold, count overdue"),
    "dose-overdue": _l("Dose overdue"),
    "count-overdue": _l("Count overdue"),
    "awaiting-second": _l("Awaits a second signature"),
    "awaiting-sign-off": _l("To sign"),
    "dose-due": _l("Dose due"),
    "count-due": _l("Count due"),
    "no-next-date": _l("No next date"),
    "message-undelivered": _l("Message not delivered"),
}
URGENT: Final = ("re-opened-given", "dose-mismatch", "re-opened", "to-verify", "referred", "hold-without-re-check")
LATE: Final = ("dose-overdue", "count-overdue", "awaiting-second")
TRENDS: Final[Mapping[str, tuple[str, Any]]] = {
    "up": ("↑", _l("higher than the count before")),
    "down": ("↓", _l("lower than the count before")),
    "same": ("→", _l("the same as the count before")),
}
ROLES: Final[Mapping[str, Any]] = {
    "technician": _l("technician"),
    "pharmacist": _l("pharmacist"),
    "prescriber": _l("prescriber"),
    "ehr": _l("system"),
    "auditor": _l("auditor"),
    "admin": _l("administrator"),
}
RIGHTS: Final[Mapping[str, Any]] = {
    "protocols:read": _l("read protocols"),
    "recommend": _l("ask for a recommendation without storing anything"),
    "clinics:read": _l("read the settings of clinics"),
    "clinics:manage": _l("make and change clinics, their channels and reminders"),
    "patients:read": _l("read patients, their facts and decisions"),
    "patients:write": _l("make patients, change who they are and how they are told"),
    "patients:manage": _l(
        "move patients to another clinic, change a birth date, take numbers away, make them inactive"
    ),
    "patients:import": _l("import tables of patients and what was recorded of them"),
    "facts:record": _l("record counts, weights, doses and events, correct them and take them back"),
    "facts:verify": _l("verify values that are in doubt"),
    "doses:propose": _l("see the next dose"),
    "decisions:sign": _l("sign decisions"),
    "decisions:override-beyond": _l("override with a dose that is not the protocol's; answer what was referred"),
    "reminders:see-to": _l("see to reminders"),
    "calendars:issue": _l("issue calendars to subscribe to"),
    "courses:manage": _l("start, pause and go on with courses"),
    "courses:new-baseline": _l("take a new baseline weight"),
    "courses:confirm-eligibility": _l("confirm eligibility"),
    "courses:discontinue": _l("discontinue courses"),
    "events:resolve-safety": _l("resolve safety events"),
    "glass:break": _l("open a record of another clinic in an emergency"),
    "audit:read": _l("read the audit trail"),
    "evidence:take": _l("take the evidence file of a patient"),
    "accounts:manage": _l("make and change accounts, tokens and clients"),
    "account:own": _l("see and change the own account"),
}
OVERRIDES: Final[Mapping[str, Any]] = {
    "clinical-judgement": _l("Clinical judgement"),
    "bleeding": _l("Bleeding"),
    "planned-procedure": _l("Planned procedure"),
    "transfusion-or-rescue": _l("Transfusion or rescue therapy"),
    "adverse-event": _l("Adverse event"),
    "count-in-doubt": _l("Count in doubt"),
    "weight-in-doubt": _l("Weight in doubt"),
    "supply": _l("Supply"),
    "patient-preference": _l("Patient's preference"),
    "other": _l("Other"),
}
NOT_GIVEN: Final[Mapping[str, Any]] = {
    "absent": _l("Patient was absent"),
    "refused": _l("Patient refused"),
    "on-hold": _l("On hold"),
    "adverse-event": _l("Adverse event"),
    "no-supply": _l("No supply"),
    "prescriber-decision": _l("Prescriber's decision"),
    "other": _l("Other"),
}
ROUTES: Final[Mapping[str, Any]] = {
    "subcutaneous": _l("subcutaneously"),
    "intravenous": _l("intravenously"),
    "intramuscular": _l("intramuscularly"),
    "other": _l("by another route"),
    "unknown": _l("by a route that was not understood"),
}
EVENTS: Final[Mapping[str, Any]] = {
    "platelet_transfusion": _l("Platelet transfusion"),
    "red_cell_transfusion": _l("Red cell transfusion"),
    "rescue_therapy": _l("Rescue therapy"),
    "thrombosis": _l("Thrombosis"),
    "marrow_disorder": _l("Marrow disorder"),
    "adverse_event": _l("Adverse event"),
}
SCALES: Final[Mapping[str, str]] = {"ctcae-5.0": "CTCAE 5.0", "ctcae-6.0": "CTCAE 6.0", "crs": "CRS", "icans": "ICANS"}
OBSERVATIONS: Final[Mapping[str, Any]] = {
    "haemoglobin": _l("Haemoglobin"),
    "neutrophils": _l("Neutrophils"),
    "immature-platelet-fraction": _l("Immature platelet fraction"),
}
COLLECTIONS: Final[Mapping[str, Any]] = {
    "platelet-counts": _l("Platelet counts"),
    "weights": _l("Weights"),
    "doses": _l("Doses"),
    "events": _l("Events"),
    "observations": _l("Other values"),
}
#: What a version of a fact or of a course did.
CHANGES: Final[Mapping[str, Any]] = {
    "record": _l("Recorded"),
    "correct": _l("Corrected"),
    "resolve": _l("Resolved"),
    "verify": _l("Verified"),
    "enter-in-error": _l("Entered in error"),
    "start": _l("Started"),
    "confirm-eligibility": _l("Eligibility confirmed"),
    "switch-protocol": _l("Protocol switched"),
    "new-baseline": _l("New baseline weight"),
    "pause": _l("Paused"),
    "go-on": _l("Went on"),
    "discontinue": _l("Discontinued"),
}
#: What a protocol asks to be confirmed before the first dose.
ELIGIBILITY: Final[Mapping[str, Any]] = {
    "marrow-infiltration-excluded": _l("Infiltration of the marrow has been excluded"),
    "mds-excluded": _l("A myelodysplastic syndrome has been excluded"),
}
#: What the plausibility of an entry raised, in short.
QUESTIONS: Final[Mapping[str, Any]] = {
    "COUNT-FAR-FROM-LAST": _l("ten times or a tenth of the count before it"),
    "VALUE-FAR-FROM-LAST": _l("ten times or a tenth of the value before it"),
    "WEIGHT-FAR-FROM-LAST": _l("far from the weight before it"),
    "WEIGHT-UNUSUAL": _l("an unusual first weight"),
    "DOSING-WEIGHT-WOULD-CHANGE": _l("doses would follow another weight"),
    "DOSE-FAR-FROM-LAST": _l("more than two steps from the dose before it"),
    "DOSES-TOO-CLOSE": _l("close to another dose"),
    "DOSE-ROUTE": _l("not given subcutaneously"),
    "DOSE-WITHOUT-COURSE": _l("without a course"),
    "RESULT-PRELIMINARY": _l("preliminary: the final result is still to come"),
    "EVENT-SUSPECTED": _l("suspected by the system that sent it"),
}
#: What lists are filtered by.
FILTERS: Final[Mapping[str, Any]] = {
    "text": _l("Name or number"),
    "clinic": _l("Clinic"),
    "on": _l("Clinic day"),
    "due_by": _l("Up to the day"),
    "kind": _l("Of what"),
    "task": _l("Why"),
    "patient": _l("Patient"),
}
#: Why a result is held.
HELD: Final[Mapping[str, Any]] = {
    "no-patient": _l("Nobody here has that number."),
    "several-patients": _l("Its numbers are those of several patients."),
    "birth-date-missing": _l("The birth date is missing, here or in the message."),
    "birth-date-differs": _l("The birth date of the message is not that of who has the number."),
    "patient-inactive": _l("The patient is not active."),
    "other-patient": _l("The same result was sent for another patient before."),
    "changed-here": _l("A person has changed the result here since."),
    "comes-late": _l("It says what an earlier version said, or was entered in error here."),
}
SAYS: Final[Mapping[str, Any]] = {
    "preliminary": _l("preliminary"),
    "final": _l("final"),
    "corrected": _l("corrected by the laboratory"),
    "entered-in-error": _l("taken back by the laboratory"),
}
DECISIONS: Final[Mapping[str, Any]] = {"accept": _l("Accepted"), "override": _l("Overridden"), "refer": _l("Referred")}
STATUSES: Final[Mapping[str, Any]] = {
    "awaiting-second": _l("awaits a second signature"),
    "in-force": _l("in force"),
    "referred": _l("with a prescriber"),
    "delivered": _l("given"),
    "not-given": _l("not given"),
    "superseded": _l("replaced by a later decision"),
    "withdrawn": _l("withdrawn"),
    "lapsed": _l("lapsed: not given in time"),
    "void": _l("void: the course was changed"),
}
#: Why who is on a course has no answer.
REFUSED: Final[Mapping[str, Any]] = {
    "COURSE-NOT-ACTIVE": _l("The course is paused"),
    "PROTOCOL-UNUSABLE": _l("The file of the protocol cannot be used"),
    "BIRTH-DATE-MISSING": _l("The birth date is missing"),
}
DECISION_CHANGES: Final[Mapping[str, Any]] = {
    "accept": _l("accepted"),
    "override": _l("overridden"),
    "refer": _l("referred"),
    "co-sign": _l("signed by a second person"),
    "supersede": _l("replaced"),
    "withdraw": _l("withdrawn"),
    "void": _l("made void"),
    "deliver": _l("carried out"),
    "not-given": _l("not carried out"),
    "dose-taken-back": _l("no longer carried out"),
    "reopen": _l("re-opened by a correction"),
    "same-again": _l("as before again, by a correction"),
    "review": _l("reviewed"),
}
#: In what doses depart from what was decided.
DEPARTS: Final[Mapping[str, Any]] = {
    "no-decision": _l("nothing was decided"),
    "ceiling": _l("more than anybody may give in seven days"),
    "amount": _l("another amount"),
    "early": _l("given before its time"),
    "late": _l("given after its time"),
    "re-opened": _l("decided upon facts that had been corrected"),
}
COURSE_STATES: Final[Mapping[str, Any]] = {
    "active": _l("active"),
    "paused": _l("paused"),
    "discontinued": _l("ended"),
    "entered-in-error": _l("entered in error"),
}
#: What each step of the decision asks, in their order (docs/titration-rules.md, section 4).
STEPS: Final[Mapping[int, Any]] = {
    1: _l("Is the age outside the protocol's?"),
    2: _l("Is a thrombosis or marrow disorder unresolved?"),
    3: _l("Does the protocol give a single dose?"),
    4: _l("Has no dose been given yet?"),
    5: _l("Is there no count at all?"),
    6: _l("Is dosing on hold?"),
    7: _l("Has therapy lapsed: last dose more than 28 days ago?"),
    8: _l("Is something wrong with the last dose?"),
    9: _l("Is the newest count unreliable?"),
    10: _l("Is there no recent count that shows the last dose?"),
    11: _l("Are there too few platelets?"),
    12: _l("Are there too many platelets?"),
    13: _l("Are platelets in range?"),
}
_UNITS: Final[Mapping[str, Any]] = {
    **dict.fromkeys(("10*9/L", "10*3/uL", "K/uL", "10*3/mm3", "G/L"), "×10⁹/L"),
    "/uL": _l("per microlitre"),
    "/mm3": _l("per mm³"),
    "[lb_av]": "lb",
    "ug": _l("micrograms"),
}
#: A day and a unit within a text.
_DAY_SAID: Final = re.compile(r"\b(?:19|20|21)\d\d-(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2\d|3[01])\b", re.ASCII)
_UNIT_SAID: Final = re.compile(
    rf"(?<=\d) ({'|'.join(map(re.escape, sorted(_UNITS, key=len, reverse=True)))})(?![\w*/])", re.ASCII
)


#: So many digits are read at a glance.
_UNGROUPED: Final = 4


def number(value: Decimal | int | str) -> str:
    """A number without exponent, needless zeros or a naked point."""
    return plain(value if isinstance(value, Decimal) else Decimal(str(value)))


def unit(code: str) -> str:
    """A unit as people write it."""
    return str(_UNITS.get(code, code))


def measured(value: Decimal, code: str) -> str:
    """A value with its unit; of a large one the thousands stand apart, for zeros are miscounted.

    A weight of pounds has as many decimals as its factor: kilograms are shown to a hundredth.
    """
    if code == "kg":
        value = tidy(rounded(value, HUNDREDTH))
    whole, point, decimals = number(value).partition(".")
    if len(whole) > _UNGROUPED:
        whole = f"{int(whole):,}".replace(",", "\u202f")
    return f"{whole}{point}{decimals}\u00a0{unit(code)}"


def readable(text: str) -> str:
    """What a step says, in plain text, with its days and units as people write them."""
    return _UNIT_SAID.sub(lambda found: f"\u00a0{unit(found[1])}", _DAY_SAID.sub(lambda found: day(found[0]), text))


def micrograms(value: Decimal) -> str:
    """An amount of the medicine."""
    return f"{number(value)}\u00a0{ngettext('microgram', 'micrograms', 1 if value == 1 else 2)}"


def level(value: Decimal | None) -> str:
    """A dose by weight."""
    if value is None:
        return _("level not known")
    return f"{number(value)}\u00a0{ngettext('microgram/kg', 'micrograms/kg', 1 if value == 1 else 2)}"


def uncut(level: Decimal, kg: Decimal, amount: Decimal) -> Decimal | None:
    """The amount that a level comes to by weight, of a dose that was cut to less; None of one that was not."""
    whole = times(level, kg)
    return tidy(rounded(whole, HUNDREDTH)) if whole > amount and departs(amount, whole) else None


def millilitres(value: Decimal) -> str:
    """A volume, as a syringe shows it."""
    return f"{number(value)}\u00a0mL"


def day(text: str | None) -> str:
    """A day that nobody can read as another one: Mon 9 Mar 2026."""
    return "" if text is None else _day(text, locale(), "EEE d MMM y")


def long_day(text: str) -> str:
    """A day in full: Monday 9 March 2026."""
    return _day(text, locale(), "EEEE d MMMM y")


def weekday(text: str) -> str:
    """The weekday of a day, as the head of a column: Mon."""
    return _day(text, locale(), "EEE")


def day_of_month(text: str) -> str:
    """A day in a column of its weekday, in a row of its week: 9 Mar."""
    return _day(text, locale(), "d MMM")


@lru_cache(maxsize=8192)
def _day(text: str, language: str, pattern: str) -> str:
    return str(format_date(date.fromisoformat(text), pattern, locale=language))


def moment(text: str, zone: str = "UTC") -> str:
    """An instant at a clinic: Mon 9 Mar 2026 09:05."""
    at = datetime.fromisoformat(text).astimezone(ZoneInfo(zone))
    return f"{day(at.date().isoformat())} {at:%H:%M}" + (" UTC" if zone == "UTC" else "")


def age(born_on: str, on: str) -> str:
    """The age on a day; of small children in months, too."""
    years = completed_years(DAYS[born_on], DAYS[on])
    return ngettext("%(num)d year", "%(num)d years", years)


def relative(text: str, on: str) -> str:
    """A day as seen from another one: today, in 3 days, 2 days ago."""
    ahead = DAYS[text] - DAYS[on]
    if ahead == 0:
        return _("today")
    if ahead > 0:
        return ngettext("in %(num)d day", "in %(num)d days", ahead)
    return ngettext("%(num)d day ago", "%(num)d days ago", -ahead)


def observed(code: str) -> str:
    """What an observation is of; one of a code of one's own is called by that."""
    return str(OBSERVATIONS.get(code, code))


def entry(collection: str, fields: Mapping[str, Any]) -> str:
    """What a fact says, by the fields of its collection, without its day: Platelet count 60 x 10^9/L."""
    match collection:
        case "platelet-counts":
            return _("Platelet count %(value)s", value=measured(fields["value"], fields["unit"]))
        case "weights":
            return _("Weight %(value)s", value=measured(fields["value"], fields["unit"]))
        case "observations":
            return f"{observed(fields['code'])} {measured(fields['value'], fields['unit'])}"
        case "doses" if fields.get("reason_not_given"):
            return _("Dose not given: %(reason)s", reason=NOT_GIVEN[fields["reason_not_given"]])
        case "doses":
            stated = fields.get("micrograms_per_kg")
            said = _("Dose given %(amount)s", amount=micrograms(fields["micrograms"]))
            said += "" if stated is None else f" ({level(stated)})"
            return f"{said}, {ROUTES[fields['route']]}" if "route" in fields else said
        case _:
            return _event(fields)


def _event(fields: Mapping[str, Any]) -> str:
    scale, grade = fields.get("scale"), fields.get("grade")
    graded = None if scale is None else _("%(scale)s grade %(grade)s", scale=SCALES[scale], grade=grade)
    over = None if fields.get("resolved_on") is None else _("resolved %(day)s", day=day(fields["resolved_on"]))
    more = ", ".join(str(one) for one in (fields.get("term"), graded, over) if one)
    return f"{EVENTS[fields['kind']]}: {more}" if more else str(EVENTS[fields["kind"]])


def drug() -> Markup:
    """The medicine in tall-man letters; read out as a word."""
    return Markup('<span aria-label="{}">{}</span>').format(_("romiplostim"), DRUG)


def add_to(environment: Any) -> None:
    """Give templates what is said here."""
    environment.filters |= {
        "number": number,
        "unit": unit,
        "readable": readable,
        "micrograms": micrograms,
        "level": level,
        "uncut": uncut,
        "millilitres": millilitres,
        "day": day,
        "long_day": long_day,
        "weekday": weekday,
        "day_of_month": day_of_month,
        "moment": moment,
    }
    environment.globals |= {
        "measured": measured,
        "observed": observed,
        "entry": entry,
        "age": age,
        "relative": relative,
        "drug": drug,
        "DRUG": DRUG,
        "ACTIONS": ACTIONS,
        "SIGNS": SIGNS,
        "TASKS": TASKS,
        "URGENT": URGENT,
        "LATE": LATE,
        "TRENDS": TRENDS,
        "ROLES": ROLES,
        "RIGHTS": RIGHTS,
        "OVERRIDES": OVERRIDES,
        "NOT_GIVEN": NOT_GIVEN,
        "EVENTS": EVENTS,
        "SCALES": SCALES,
        "OBSERVATIONS": OBSERVATIONS,
        "COLLECTIONS": COLLECTIONS,
        "CHANGES": CHANGES,
        "ELIGIBILITY": ELIGIBILITY,
        "QUESTIONS": QUESTIONS,
        "FILTERS": FILTERS,
        "HELD": HELD,
        "SAYS": SAYS,
        "DECISIONS": DECISIONS,
        "STATUSES": STATUSES,
        "REFUSED": REFUSED,
        "STEPS": STEPS,
        "COURSE_STATES": COURSE_STATES,
        "DEPARTS": DEPARTS,
        "DECISION_CHANGES": DECISION_CHANGES,
    }
