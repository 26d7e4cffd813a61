"""How a clinic wants to be reminded: its settings with their defaults, and when each step of an escalation is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, time
from enum import StrEnum
from typing import Final, NamedTuple, cast

from titrator.store.base import Session
from titrator.store.records import Clinic, ReminderSettings
from titrator.workflow.reminders.days import WEEKDAYS, OpenDays, after_quiet, injection_day, local, plus, working_day
from titrator.workflow.visit import day_at


class Kind(StrEnum):
    """What is reminded of, the most urgent first."""

    REOPENED = "re-opened"
    REFERRAL = "referral"
    NO_ANSWER = "no-answer"
    DOSE_OVERDUE = "dose-overdue"
    COUNT_OVERDUE = "count-overdue"
    SECOND_SIGNATURE = "second-signature"
    SIGN_OFF = "sign-off"
    DOSE_DUE = "dose-due"
    HOLD_RE_CHECK = "hold-re-check"
    COUNT_DUE = "count-due"
    FOLLOW_UP_COUNT = "follow-up-count"
    MONTHLY_COUNT = "monthly-count"
    WEIGHT_DUE = "weight-due"
    PAUSED_REVIEW = "paused-review"


class Step(NamedTuple):
    """A step of an escalation: who is told, so many days after the day of the reminder; before it if negative."""

    after_days: int
    to: str


PATIENT: Final = "patient"
STAFF: Final = ("technician", "pharmacist", "prescriber")
TO: Final = (PATIENT, *STAFF)
RANK: Final[Mapping[str, int]] = {str(kind): place for place, kind in enumerate(Kind)}
#: Of what patients are told, too.
OF_PATIENTS: Final = frozenset(
    {
        Kind.DOSE_DUE,
        Kind.DOSE_OVERDUE,
        Kind.HOLD_RE_CHECK,
        Kind.COUNT_DUE,
        Kind.COUNT_OVERDUE,
        Kind.FOLLOW_UP_COUNT,
        Kind.MONTHLY_COUNT,
        Kind.WEIGHT_DUE,
    }
)
#: What is told again every week once the last step has been told, and whose acknowledgement lapses.
INSISTENT: Final = frozenset({Kind.REOPENED, Kind.REFERRAL, Kind.NO_ANSWER, Kind.DOSE_OVERDUE, Kind.COUNT_OVERDUE})
INSISTS_EVERY: Final = 7
#: An acknowledgement of what is insistent holds for so many working days.
ACKNOWLEDGED_FOR: Final = 3
#: A message says the patient's number and has a link, and what of these a clinic chooses.
SHOWN: Final = ("name", "values")

_DUE: Final = (Step(-1, PATIENT), Step(0, "technician"))
#: The steps of each kind where a clinic has not chosen its own.
DEFAULT_STEPS: Final[Mapping[str, tuple[Step, ...]]] = {
    Kind.REOPENED: (Step(0, "pharmacist"), Step(1, "prescriber")),
    Kind.REFERRAL: (Step(0, "prescriber"), Step(2, "pharmacist")),
    Kind.NO_ANSWER: (Step(0, "pharmacist"), Step(3, "prescriber")),
    Kind.DOSE_OVERDUE: (Step(1, PATIENT), Step(1, "technician"), Step(2, "pharmacist"), Step(4, "prescriber")),
    Kind.COUNT_OVERDUE: (Step(1, PATIENT), Step(1, "technician"), Step(3, "pharmacist"), Step(7, "prescriber")),
    Kind.SECOND_SIGNATURE: (Step(0, "prescriber"), Step(1, "pharmacist")),
    Kind.SIGN_OFF: (Step(1, "pharmacist"), Step(2, "prescriber")),
    Kind.DOSE_DUE: _DUE,
    Kind.HOLD_RE_CHECK: _DUE,
    Kind.COUNT_DUE: _DUE,
    Kind.FOLLOW_UP_COUNT: (Step(-1, PATIENT), Step(0, "technician"), Step(7, "pharmacist")),
    Kind.MONTHLY_COUNT: (Step(-2, PATIENT), Step(0, "technician")),
    Kind.WEIGHT_DUE: (Step(-7, "technician"), Step(0, PATIENT), Step(7, "pharmacist")),
    Kind.PAUSED_REVIEW: (Step(0, "pharmacist"), Step(7, "prescriber")),
}
MOST_STEPS: Final = 8
DEFAULTS: Final[Mapping[str, object]] = {
    "language": "en",
    "send_at": "08:00",
    "quiet_from": "20:00",
    "quiet_until": "07:00",
    "working_days": ["monday", "tuesday", "wednesday", "thursday", "friday"],
    "digest_at": "07:30",
    "week_plan": True,
    "show": [],
    "give_up_hours": 72,
    "steps": {},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How a clinic is reminded. Times are those of the clinic; `version` is 0 where it has chosen nothing."""

    version: int
    clinic: Clinic
    language: str
    send_at: time
    quiet: tuple[time, time] | None
    days: OpenDays
    digest_at: time | None
    week_plan: bool
    show: frozenset[str]
    give_up_hours: int
    steps: Mapping[str, tuple[Step, ...]]
    known: dict[tuple[str, int, str], datetime | None] = field(default_factory=dict, compare=False, repr=False)
    known_soon: dict[tuple[datetime, str], datetime] = field(default_factory=dict, compare=False, repr=False)

    known_days: dict[tuple[str, str | None], str] = field(default_factory=dict, compare=False, repr=False)
    known_first: dict[tuple[str, str, datetime], tuple[int, datetime | None]] = field(
        default_factory=dict, compare=False, repr=False
    )

    def injection_day(self, due_on: str, last_dose: str | None) -> str:
        """The day of the clinic on which a dose that is due is to be given."""
        which = (due_on, last_dose)
        if which not in self.known_days:
            self.known_days[which] = injection_day(self.days, due_on, last_dose)
        return self.known_days[which]

    def told_at(self, kind: str, step: int, remind_on: str) -> datetime | None:
        """When a step is to be told, in UTC; None if there is no such step. Staff are told on working days."""
        which = (kind, step, remind_on)
        if which not in self.known:  # the same few, for all patients of a clinic
            self.known[which] = self._told_at(*which)
        return self.known[which]

    def _told_at(self, kind: str, step: int, remind_on: str) -> datetime | None:
        if step >= len(self.steps[kind]):
            return None
        after_days, to = self.steps[kind][step]
        day = plus(remind_on, after_days)
        return self.at(day if to == PATIENT else working_day(self.days, day))

    def to(self, kind: str, step: int) -> str:
        """Whom a step tells; the last one, where a clinic has chosen fewer since."""
        steps = self.steps[kind]
        return steps[min(step, len(steps) - 1)].to

    def begins(self, kind: str, step: int) -> int:
        """The first of the steps that are told on the same day as a step."""
        steps = self.steps[kind]
        day = steps[max(0, min(step, len(steps) - 1))].after_days
        return next(place for place, one in enumerate(steps) if one.after_days == day)

    def at(self, day: str, of_day: time | None = None) -> datetime:
        """A time of a day at the clinic, that of reminders if none is given, but not in its quiet hours."""
        zone = self.clinic.time_zone
        return after_quiet(local(day, of_day or self.send_at, zone), self.quiet, zone)

    def next_morning(self, moment: datetime) -> datetime:
        """The time of reminders on the working day after an instant."""
        return self.at(working_day(self.days, plus(day_at(self.clinic, moment), 1)))

    def soon(self, moment: datetime, to: str) -> datetime:
        """An instant, or the next at which somebody may be told: not in quiet hours, staff on a working day."""
        which = (moment, to)
        if which not in self.known_soon:
            self.known_soon[which] = self._soon(*which)
        return self.known_soon[which]

    def _soon(self, moment: datetime, to: str) -> datetime:
        told = self.not_quiet(moment)
        day = day_at(self.clinic, told)
        return told if to == PATIENT or self.days.works(day) else self.at(working_day(self.days, day))

    def not_quiet(self, moment: datetime) -> datetime:
        """An instant, or the end of the quiet hours that it falls in."""
        return after_quiet(moment, self.quiet, self.clinic.time_zone)


def plan_of(session: Session, clinic: Clinic) -> Plan:
    """How a clinic is reminded."""
    row = session.get(ReminderSettings, clinic.id)
    return made(clinic, 0 if row is None else row.version, {} if row is None else row.settings)


def made(clinic: Clinic, version: int, chosen: Mapping[str, object]) -> Plan:
    """A plan of what a clinic has chosen, and the defaults of the rest."""
    said = {**DEFAULTS, **chosen}
    begins, ends = _time(said["quiet_from"]), _time(said["quiet_until"])
    return Plan(
        version=version,
        clinic=clinic,
        language=cast(str, said["language"]),
        send_at=_time(said["send_at"]) or time(8),
        quiet=None if begins is None or ends is None or begins == ends else (begins, ends),
        days=OpenDays(
            frozenset(cast("list[str]", said["working_days"])),
            frozenset(clinic.injection_days),
            frozenset(clinic.holidays),
        ),
        digest_at=_time(said["digest_at"]),
        week_plan=bool(said["week_plan"]),
        show=frozenset(cast("list[str]", said["show"])),
        give_up_hours=cast(int, said["give_up_hours"]),
        steps={**DEFAULT_STEPS, **_steps(cast("Mapping[str, list[Mapping[str, object]]]", said["steps"]))},
    )


def settings_fields(plan: Plan) -> dict[str, object]:
    """A clinic's settings as they are sent, the defaults among them."""
    quiet = plan.quiet or (None, None)
    return {
        "version": plan.version,
        "language": plan.language,
        "send_at": _said(plan.send_at),
        "quiet_from": _said(quiet[0]),
        "quiet_until": _said(quiet[1]),
        "working_days": [day for day in WEEKDAYS if day in plan.days.working],
        "digest_at": _said(plan.digest_at),
        "week_plan": plan.week_plan,
        "show": sorted(plan.show),
        "give_up_hours": plan.give_up_hours,
        "steps": {str(kind): [step._asdict() for step in plan.steps[kind]] for kind in Kind},
    }


def _steps(chosen: Mapping[str, list[Mapping[str, object]]]) -> dict[str, tuple[Step, ...]]:
    return {
        kind: tuple(sorted((Step(cast(int, one["after_days"]), cast(str, one["to"])) for one in some), key=_after))
        for kind, some in chosen.items()
    }


def _after(step: Step) -> int:
    return step.after_days


def _time(text: object) -> time | None:
    return None if text is None else time.fromisoformat(cast(str, text))


def _said(moment: time | None) -> str | None:
    return None if moment is None else f"{moment:%H:%M}"
