"""A year of a clinic, by chance: patients come early, late or not at all, counts are high or wrong, some staff forget.

Each day all is settled, planned and delivered by the beat, under a clock that the test sets. What must always hold is
looked for each day, by means of its own: what is overdue is told from the answers and the days of the clinic, and what
was told from what came out of the channels.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from tests.workflow.reminders.ward import SAYS, START, WHY, Heard, Ward, days_of
from titrator.store.base import Where
from titrator.store.records import CourseVersion, Decision, Fact, Patient, Reminder, Standing
from titrator.titration.documents import reread
from titrator.workflow import courses, record, sign_off
from titrator.workflow.errors import Refusal
from titrator.workflow.reminders import manage
from titrator.workflow.reminders.manage import WhichReminder
from titrator.workflow.reminders.plan import DEFAULT_STEPS, INSISTENT

HOLIDAYS: Final = (
    *("2026-04-03", "2026-04-06", "2026-05-01", "2026-05-14", "2026-05-25", "2026-10-03", "2026-12-24", "2026-12-25"),
    *("2026-12-28", "2026-12-29", "2026-12-30", "2026-12-31", "2027-01-01"),
)
INJECTS: Final = ("monday", "thursday")
DUE: Final = ("dose-due", "count-due", "monthly-count", "hold-re-check", "follow-up-count", "weight-due")
LATE: Final = ("dose-overdue", "count-overdue")
#: Platelet counts, and how often there are such.
COUNTS: Final = (20, 45, 70, 100, 150, 180, 250, 450, 2000), (10, 12, 25, 30, 15, 8, 6, 5, 1)
NO_DOSE: Final = ("hold", "refer", "complete")
#: What must have happened in a year, or it shows little.
HAPPENED: Final = {
    *("start", "count", "dose", "accept", "no-dose", "refer", "second", "hold", "correct", "in-error", "unverified"),
    *("pause", "go-on", "discontinue", "thrombosis", "missed", "early", "late", "acknowledge", "put-off", "holiday"),
    *(*DUE, *LATE, "sign-off", "referral", "no-answer", "re-opened", "second-signature", "paused-review"),
}


def works(day: str, holidays: tuple[str, ...] | list[str]) -> bool:
    return date.fromisoformat(day).weekday() < 5 and day not in holidays


class Overdue(NamedTuple):
    """Something that nobody has recorded though its day at the clinic has passed."""

    patient: str
    kind: str
    due_on: str


@dataclass
class Year:
    """A clinic and its patients, day by day."""

    ward: Ward
    chance: random.Random
    holidays: list[str]
    patients: list[str] = field(default_factory=list)
    happened: Counter[str] = field(default_factory=Counter)
    seen: dict[Overdue, str] = field(default_factory=dict)
    seen_to: set[Overdue] = field(default_factory=set)
    told: set[tuple[object, ...]] = field(default_factory=set)
    told_staff: set[Overdue] = field(default_factory=set)
    checked: int = 0
    patient_days: int = 0

    # What is there

    def current(self, kind: type[Any], *where: Where) -> dict[str, Any]:
        """The current row of each patient."""
        with self.ward.services.store.reading() as session:
            return {row.patient_id: row for row in session.find(kind, *where)}

    def open_courses(self) -> dict[str, CourseVersion]:
        return self.current(CourseVersion, Where("current", "=", 1), Where("status", "in", ("active", "paused")))

    def open_reminders(self) -> dict[str, list[Reminder]]:
        found: dict[str, list[Reminder]] = {ident: [] for ident in self.patients}
        with self.ward.services.store.reading() as session:
            for row in session.find(Reminder, Where("status", "in", ("open", "acknowledged"))):
                found[row.patient_id].append(row)
        return found

    def facts(self, patient: str, *kinds: str) -> list[Fact]:
        with self.ward.services.store.reading() as session:
            mine = Where("patient_id", "=", patient), Where("current", "=", 1), Where("kind", "in", kinds)
            return session.find(Fact, *mine, Where("status", "!=", "entered-in-error"), order=("day", "id"))

    def often(self, probability: float) -> bool:
        return self.chance.random() < probability

    def tries(self, did: str, step: Callable[..., Any], *args: Any, **named: Any) -> Any:
        """What a step gives; None if it is refused."""
        with suppress(Refusal):
            given = step(*args, **named)
            self.happened[did] += 1
            return given
        return None

    # What happens on a day

    def day(self, day: str) -> None:
        ward = self.ward
        for hour, minute in ((0, 5), (7, 31), (8, 0), (8, 1)):
            ward.at(day, hour, minute)
            ward.beats()
        self.look()
        ward.at(day, 10)
        if works(day, self.holidays):
            self.work()
        elif self.often(0.3):
            self.night()
        for hour, minute in ((16, 0), (16, 1)):
            ward.at(day, hour, minute)
            ward.beats()
        ward.at(day, 21)
        if self.often(0.2):
            self.night()
        ward.beats()
        self.check()

    def work(self) -> None:
        """Who comes, and what staff see to."""
        due = self.open_reminders()
        open_courses = self.open_courses()
        for patient in self.patients:
            rows = due[patient]
            course = open_courses.get(patient)
            if course is None:
                self.begin(patient, [row for row in rows if row.kind == "follow-up-count"])
                continue
            if course.status == "paused":
                if self.often(0.03):
                    self.tries("go-on", self.ward.changes, patient, courses.go_on)
                continue
            self.settle(patient, rows)
            if self.comes(rows):
                self.visit(patient, rows)
            self.befalls(patient)
        if self.often(0.01):
            self.close_for_a_day()

    def comes(self, rows: list[Reminder]) -> bool:
        today = self.ward.today
        if any(row.kind in DUE and row.remind_on == today for row in rows):
            return self.often(0.85) or bool(self.happened.update(["missed"]))
        if any(row.kind in LATE for row in rows):
            return self.often(0.4) and not self.happened.update(["late"])
        soon = any(row.kind in DUE and today < row.remind_on <= self.ward.day(2) for row in rows)
        return soon and self.often(0.04) and not self.happened.update(["early"])

    def visit(self, patient: str, rows: list[Reminder]) -> None:
        """A count if one is due, or as well; a decision, or none; the dose, if there is any."""
        kinds = {row.kind for row in rows if row.remind_on <= self.ward.day(2)}
        if "weight-due" in kinds and self.often(0.8):
            self.tries("weight", self.ward.weigh, patient, 30)
        if kinds & {*DUE[1:5], "count-overdue"} or self.often(0.5):
            self.count(patient, "feed" if self.often(0.4) else "tom")
        self.decide(patient)
        if self.often(0.95):
            self.give(patient)

    def count(self, patient: str, who: str) -> None:
        platelets = self.chance.choices(*COUNTS)[0]
        self.happened["hold"] += platelets == 450
        if self.tries("count", self.ward.count, patient, platelets, None, who):
            last = self.facts(patient, "platelet-count")[-1]
            self.happened["unverified"] += last.status == "unverified"

    def decide(self, patient: str) -> None:
        ward, which = self.ward, self.chance.random()
        if which < 0.7:
            self.tries("accept", ward.accepts, patient)
        elif which < 0.76:
            self.tries("no-dose", ward.decides, patient, "override", no_dose=True, **SAYS)
        elif which < 0.8:
            self.tries("refer", ward.decides, patient, "refer", "eva", **SAYS)
        elif which < 0.86:
            made = self.tries("override", ward.decides, patient, "override", micrograms_per_kg=Decimal(2), **SAYS)
            if made is not None and made.status == "awaiting-second" and self.often(0.8):
                self.tries("second", ward.does, "otto", sign_off.co_sign, patient, made.id, None)

    def give(self, patient: str) -> None:
        """What was decided, or else what is proposed."""
        decision, standing = self.decided(patient), None
        with suppress(Refusal):
            standing = self.ward.does("mona", lambda visit: sign_off.proposed(visit, visit.patient(patient)))
        said: Any = None if standing is None else reread(standing.answer)
        if decision is not None and decision.status == "in-force":
            if decision.micrograms is not None:
                self.tries("dose", self.ward.give, patient, decision.micrograms)
        elif decision is None and said is not None and said["dose"] is not None:
            self.tries("dose", self.ward.give, patient, said["dose"]["delivered_micrograms"])

    def decided(self, patient: str) -> Decision | None:
        ident = self.ward.patient_row(patient).decision_id
        with self.ward.services.store.reading() as session:
            mine = Where("patient_id", "=", patient), Where("current", "=", 1), Where("id", "=", ident or -1)
            return next(iter(session.find(Decision, *mine)), None)

    def befalls(self, patient: str) -> None:
        """What may happen to anybody on any day, most of it seldom."""
        ward, chance = self.ward, self.chance.random()
        facts = self.facts(patient, "platelet-count", "dose")[-3:] if chance < 0.012 else []
        if facts and chance < 0.006:
            self.tries("in-error", ward.takes_back, patient, facts[int(chance * 1e6) % len(facts)].id)
        elif facts:
            self.correct(patient, facts[-1])
        elif chance < 0.0145:
            self.tries("pause", ward.changes, patient, courses.pause)
        elif chance < 0.017:
            self.tries("discontinue", ward.changes, patient, courses.discontinue)
        elif chance < 0.0185:
            self.tries("thrombosis", ward.befalls, patient, "thrombosis")

    def correct(self, patient: str, fact: Fact) -> None:
        """The count was another; the dose was given on another day."""
        day = (date.fromisoformat(fact.day) - timedelta(days=1)).isoformat()
        body: dict[str, object] = {"given_on": day, "micrograms": fact.value}
        if fact.kind == "platelet-count":
            body = {"collected_on": fact.day, "value": Decimal(30), "unit": "10*9/L"}
        step = self.ward.fact(patient, fact.id)
        self.tries("correct", self.ward.confirmed, "mona", record.correct, step, {**body, **WHY})

    def settle(self, patient: str, rows: list[Reminder]) -> None:
        """What waits for a person, who sees to it sooner or later."""
        ward, kinds = self.ward, {row.kind for row in rows}
        if kinds & {"no-answer", "re-opened", "referral", "second-signature"} and self.often(0.4):
            self.answer(patient)
            if "referral" in kinds and self.often(0.3):  # a prescriber decides a dose all the same
                self.tries("beyond", ward.decides, patient, "override", micrograms_per_kg=Decimal(1), **SAYS)
        if rows and self.often(0.01):
            row = self.chance.choice(rows)
            which = WhichReminder(patient, row.kind, row.due_on, None)
            self.seen_to.add(Overdue(patient, row.kind, row.due_on))
            if self.often(0.5):
                self.tries("acknowledge", ward.does, "tom", manage.acknowledge, which)
            else:
                self.tries("put-off", ward.does, "tom", manage.put_off, which, ward.day(3), None)

    def answer(self, patient: str) -> None:
        """Facts are verified or not, safety events over, decisions looked at again or withdrawn."""
        ward, does = self.ward, self.ward.does
        for fact in self.facts(patient, "platelet-count", "dose", "event"):
            if fact.status == "unverified":
                self.tries("verify", ward.takes_back, patient, fact.id)
            elif fact.code == "thrombosis" and fact.until is None and self.often(0.3):
                body = {"resolved_on": ward.today, **WHY}
                self.tries("resolve", does, "mona", record.resolve, ward.fact(patient, fact.id), body)
        decision = self.decided(patient)
        if decision is not None and decision.status in ("referred", "awaiting-second"):
            self.tries("withdraw", does, "mona", sign_off.withdraw, patient, decision.id, "seen", None)
        with ward.services.store.reading() as session:
            mine = Where("patient_id", "=", patient), Where("current", "=", 1), Where("reopened_answer", "is not null")
            reopened = session.find(Decision, *mine, Where("reviewed", "=", 0))
        for one in reopened:
            self.tries("review", does, "mona", sign_off.review, patient, one.id, "seen", None)

    def begin(self, patient: str, follow_up: list[Reminder]) -> None:
        if any(row.remind_on <= self.ward.today for row in follow_up) and self.often(0.8):
            self.count(patient, "tom")
        elif not follow_up and self.often(0.05):
            child = self.patients.index(patient) % 7 == 3
            protocol = "us-itp-paediatric" if child else "us-itp-adult"
            if self.tries("start", self.ward.starts, patient, protocol) is None and self.often(0.9):
                self.tries("weight", self.ward.weigh, patient, 30 if child else 75)
                self.tries("count", self.ward.count, patient, 20)

    def night(self) -> None:
        """A feed reports a count of somebody, whoever is there or not."""
        patient = self.chance.choice(self.patients)
        if patient in self.open_courses():
            self.count(patient, "feed")

    def close_for_a_day(self) -> None:
        """The clinic will be closed on one of the days to come."""
        day = self.ward.day(self.chance.randint(2, 9))
        if works(day, self.holidays):
            self.holidays.append(day)
            self.ward.closes(*self.holidays)
            self.happened["holiday"] += 1

    # What always holds

    def look(self) -> None:
        """What is overdue, as it is seen first; what has not been seen in the morning came up during the day."""
        now = set(self.overdue())
        for one in now - set(self.seen):
            self.seen[one] = self.ward.today
        for one in set(self.seen) - now:
            del self.seen[one]

    def check(self) -> None:
        today, ward = self.ward.today, self.ward
        for one in ward.heard[self.checked :]:
            self.heard(one)
        self.checked = len(ward.heard)
        self.nobody_is_forgotten()
        now = set(self.overdue())
        for one, since in self.seen.items():
            first = next(day for day in days_of(since, 30) if works(day, self.holidays))
            if one in now and today >= first and one not in self.seen_to:
                assert one in self.told_staff, f"{today}: nobody of the staff was told of {one}, overdue since {since}"

    def heard(self, one: Heard) -> None:
        """A message: to whom, once, of something that is open, at a time when one may be told."""
        here, delivery, row = one.at.astimezone(self.ward.here.tzinfo), one.delivery, one.reminder
        day, at = here.date().isoformat(), f"{here:%H:%M}"
        assert "07:00" <= at < "20:00", f"told at {at}"
        if delivery.recipient != "patient":
            assert works(day, self.holidays), f"{delivery.recipient} was told on {day}, when the clinic is closed"
        if row is None:
            return
        self.happened[row.kind] += 1
        self.happened["to patients" if delivery.recipient == "patient" else "to staff"] += 1
        assert row.status == "open", f"told of {row}"
        of = (delivery.about, delivery.kind, delivery.due_on, delivery.step // 100)
        key = (delivery.recipient, delivery.channel_id, *of)
        assert key not in self.told, f"told twice: {key}"
        self.told.add(key)
        # what is insistent is in its next round as soon as its last step has been planned
        assert delivery.step // 100 in ({row.round, row.round - 1} if row.kind in INSISTENT else {row.round})
        if delivery.recipient != "patient":
            self.told_staff.add(Overdue(row.patient_id, row.kind, row.due_on))
        if row.kind in ("dose-due", "dose-overdue"):
            self.may_be_given(one)

    def may_be_given(self, one: Heard) -> None:
        """Nobody is asked for a dose while it is held, or the course is paused or over, or none has been decided."""
        standing, decision = one.standing, one.decision
        assert standing is not None, f"asked for a dose: {one.reminder}"
        chosen = decision is not None and decision.status == "in-force" and decision.kind == "override"
        assert standing.action not in NO_DOSE or (chosen and decision.micrograms), f"asked for a dose: {standing}"
        if chosen and decision.micrograms is None and decision.reopened_answer is None:
            assert decision.proposal_sha256 != standing.proposal_sha256, "that none is given has been decided"

    def nobody_is_forgotten(self) -> None:
        reminders, open_courses = self.open_reminders(), self.open_courses()
        self.patient_days += len(open_courses)
        ended = self.current(CourseVersion, Where("current", "=", 1), Where("status", "=", "discontinued"))
        for patient in self.patients:
            rows = reminders[patient]
            if patient in open_courses:
                assert rows, f"{self.ward.today}: nothing is open of {patient}, who is on a course"
            elif patient in ended:
                self.is_followed_up(ended[patient], rows)
            for row in rows:
                more = row.step < len(DEFAULT_STEPS[row.kind])
                seen_to = row.status == "acknowledged"
                assert seen_to or (row.next_at is not None) == more, f"nobody will be told of {row}"
                assert row.next_at is None or row.next_at > manage.instant(self.ward.now), f"not told: {row}"

    def is_followed_up(self, course: CourseVersion, rows: list[Reminder]) -> None:
        """Two counts in the two weeks after the last day of a course with doses, or a reminder of the next one."""
        until = (date.fromisoformat(course.ended_on or "") + timedelta(days=14)).isoformat()
        given = [fact for fact in self.facts(course.patient_id, "dose") if fact.day >= course.started_on]
        counts = [fact.day for fact in self.facts(course.patient_id, "platelet-count") if fact.status == "final"]
        last = (date.fromisoformat(until) - timedelta(days=3)).isoformat()
        if given and self.ward.today <= until and not any(day >= last for day in counts):
            assert "follow-up-count" in {row.kind for row in rows}, f"{self.ward.today}: {course} is not followed up"

    def overdue(self) -> Iterator[Overdue]:
        """Told from the answers of today, what was decided, and the days of the clinic."""
        today = self.ward.today
        standings = self.current(Standing, Where("day", "=", today))
        patients = self.current_patients()
        for ident, standing in standings.items():
            if not patients[ident].settled:
                continue
            due = standing.count_due_on
            if due is not None and self.first(due) < today and standing.reasons != ("WEIGHT-STALE",):
                yield Overdue(ident, "count-overdue", due)
            if (dose := self.dose_due(ident, standing)) is not None and self.injection(*dose) < today:
                yield Overdue(ident, "dose-overdue", dose[0])

    def current_patients(self) -> dict[str, Patient]:
        with self.ward.services.store.reading() as session:
            return {row.id: row for row in session.find(Patient)}

    def dose_due(self, patient: str, standing: Standing) -> tuple[str, str | None] | None:
        """Since when a dose is due, by decision or by rule, and when the last one was given; None where none is."""
        decision, said = self.decided(patient), standing
        doses = [fact.day for fact in self.facts(patient, "dose") if fact.status == "final"]
        last = max(doses, default=None)
        if decision is not None and decision.status == "referred":
            return None  # to somebody who decides whether there is one
        if decision is not None and decision.status == "in-force" and decision.reopened_answer is None:
            if decision.due_on is None:
                return None  # that none is given; what comes of it once the facts are others has stories of its own
            if said.dose_due_on is not None or decision.kind == "override":
                return decision.due_on, None if said.action in (*NO_DOSE, "resume", "start") else last
        if decision is None and said.dose_due_on is not None and self.was_withheld(patient, said.dose_due_on, said.day):
            return None
        if said.dose_due_on is None or said.action in (*NO_DOSE, "resume", "start"):
            return None
        return said.dose_due_on, last

    def was_withheld(self, patient: str, due: str, today: str) -> bool:
        """Whether somebody has said within the week that the dose was not to be given."""
        since = max(due, (date.fromisoformat(today) - timedelta(days=6)).isoformat())
        said = [fact for fact in self.facts(patient, "dose-not-given") if fact.status == "final" and fact.day >= since]
        return any(fact.code not in ("absent", "no-supply") for fact in said)

    def first(self, day: str) -> str:
        return next(one for one in days_of(day, 60) if works(one, self.holidays))

    def injection(self, due: str, last: str | None) -> str:
        """The clinic's day of a dose: an injection day of that week, but no later than ten days after the last dose."""
        latest = "9999" if last is None else (date.fromisoformat(last) + timedelta(days=10)).isoformat()
        week = [day for day in days_of(due, 7) if works(day, self.holidays) and day <= latest]
        injects = [day for day in week if date.fromisoformat(day).strftime("%A").lower() in INJECTS]
        return injects[0] if injects else self.first(due)


def a_year(folder: Path, seed: int, patients: int, days: int = 365) -> Year:
    ward = Ward(folder, injection_days=INJECTS, holidays=HOLIDAYS)
    ward.channels("technician", "pharmacist", "prescriber", "gateway")
    year = Year(ward, random.Random(seed), list(HOLIDAYS))
    for number in range(patients):
        year.patients.append(ward.patient(born_on="2018-05-01" if number % 7 == 3 else "1960-05-01"))
        if number % 4:
            ward.reachable(year.patients[-1])
    for day in days_of(START, days):
        year.day(day)
    return year


def report(year: Year) -> str:
    weeks = year.patient_days / 7
    per_week = ", ".join(f"{year.happened[f'to {to}'] / weeks:.2f} to {to}" for to in ("staff", "patients"))
    return f"{per_week} in each of {weeks:.0f} patient-weeks; {dict(sorted(year.happened.items()))}"


def is_sane(year: Year) -> None:
    """All that may happen has, and of a patient on a course neither staff nor patient are told day after day."""
    assert {what for what in HAPPENED if not year.happened[what]} == set(), report(year)
    weeks = year.patient_days / 7
    assert 1 < year.happened["to staff"] / weeks < 3.5, report(year)
    assert 0.5 < year.happened["to patients"] / weeks < 2, report(year)


@pytest.mark.long
def test_a_year(tmp_path: Path) -> None:
    is_sane(a_year(tmp_path, seed=1, patients=18))


@pytest.mark.long
def test_a_year_of_a_large_clinic(tmp_path: Path) -> None:
    is_sane(a_year(tmp_path, seed=2, patients=500))
