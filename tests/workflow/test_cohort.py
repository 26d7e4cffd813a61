"""A cohort asked what a protocol would have said: small courses whose answers were worked out by hand.

The patient of `WORKED` weighs 100 kg and is titrated by the US label for adults: start at 1 microgram/kg, up a step
below 50, down a step after two weeks above 200, held above 400. What the label says stands beside each day.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.api.support import House, build, count, day, dose, event, weight
from tests.store.samples import sample
from tests.support import CATALOGUE
from titrator.store.base import Where
from titrator.store.records import CourseVersion, Decision, Patient
from titrator.titration.course import Count, Course, Dose, Event, EventKind, Weight
from titrator.titration.protocol import WeeklyProtocol
from titrator.titration.quantities import DAYS
from titrator.titration.terms import Terms
from titrator.workflow.cohort import (
    LONGEST_GAP,
    Agreement,
    Numbers,
    Question,
    Treated,
    Zone,
    audit_patients,
    days_in_zones,
    first_response,
    numbers_of,
    points,
    zone_of,
)
from titrator.workflow.cohort_report import Line, report, responded

US: Final = CATALOGUE.get("us-itp-adult")
assert isinstance(US, WeeklyProtocol)
FIRST: Final = DAYS["2026-01-05"]
ASKED: Final = Question(US)


def counts(*found: tuple[int, object]) -> tuple[Count, ...]:
    """Counts by the day after the first dose."""
    return tuple(Count(FIRST + after, Decimal(str(value)), unreliable=False) for after, value in found)


def doses(*found: tuple[int, object] | tuple[int, object, object]) -> tuple[Dose, ...]:
    """Doses by the day after the first, in micrograms, and the level that is stated, if any."""
    return tuple(
        Dose(FIRST + one[0], Decimal(str(one[1])), None if len(one) == 2 else Decimal(str(one[2]))) for one in found
    )


def treated(course: Course, until: int = 49, **more: Any) -> Treated:
    version = CourseVersion(
        patient_id="p", id=1, version=1, current=True, protocol="us-itp-adult", status="active",
        started_on=date.fromordinal(FIRST).isoformat(), ended_on=None, baseline_on=None, eligibility=(),
        change="start", reason=None, changed_by="a", changed_at="2026-01-05T08:00:00.000000Z",
    )  # fmt: skip
    rest: dict[str, Any] = {"not_given": frozenset(), "decisions": (), "unverified_since": None} | more
    return Treated(version=version, course=course, until=FIRST + until, **rest)


#: Day after the first dose, the count, what the label says, what was given in micrograms, and how that compares.
WORKED: Final = (
    (0, 20, "start 100", 100, Agreement.SAME_AMOUNT),
    (7, 30, "increase 200", 200, Agreement.SAME_AMOUNT),
    (14, 40, "increase 300", 200, Agreement.LOWER),
    (21, 60, "maintain 200", 300, Agreement.HIGHER),
    (28, 250, "maintain 300", 300, Agreement.SAME_AMOUNT),  # the first week above 200
    (35, 260, "reduce 200", None, Agreement.NOT_GIVEN),  # the second
    (42, 450, "hold", 200, Agreement.GIVEN_ON_HOLD),
    (49, 410, "hold", None, Agreement.HELD),
)
COURSE: Final = Course(
    weights=(Weight(FIRST, Decimal(100)),),
    counts=counts(*((after, value) for after, value, *_ in WORKED)),
    doses=doses(*((after, amount) for after, _, _, amount, _ in WORKED if amount is not None)),
)
WEEKS: Final = treated(COURSE, not_given=frozenset({FIRST + 35, FIRST + 49}))


def test_each_point_of_the_worked_course_compares_as_it_was_worked_out() -> None:
    found = list(points(ASKED, WEEKS))
    said = []
    for point in found:
        assert point.answer is not None
        proposed = "" if point.answer.dose is None else f" {point.answer.dose.delivered}"
        amount = point.given and int(point.given.micrograms)
        said.append((point.day - FIRST, f"{point.answer.action}{proposed}", amount, point.agreement))
    assert said == [(after, says, amount, agreed) for after, _, says, amount, agreed in WORKED]


def test_the_weeks_in_each_zone_are_those_worked_out_day_by_day() -> None:
    """Between two counts a day has the count on the line between them.

    20 → 30 → 40: below, 14 days. 40 → 60: 40, 42.9, 45.7, 48.6 are below, 51.4, 54.3, 57.1 in range: 4 and 3.
    60 → 250, 27.1 a day: 60 to 195.7 in range, 222.9 above: 6 and 1. 250 → 260: above, 7. 260 → 450: up to 395.7 above,
    422.9 over the hold limit: 6 and 1. 450 → 410: over it, 7. The day of the last count is not counted.
    """
    assert isinstance(US, WeeklyProtocol)
    days = days_in_zones(US, COURSE.counts, FIRST, FIRST + 49)
    assert days == {Zone.BELOW: 18, Zone.IN_RANGE: 9, Zone.ABOVE: 14, Zone.OVER_HOLD: 8}
    numbers = numbers_of(ASKED, WEEKS, list(points(ASKED, WEEKS)))
    assert told(numbers, "time-in-range") == {
        "below": ("2.6", "36.7"),  # 18 of 49 days
        "in-range": ("1.3", "18.4"),
        "above": ("2", "28.6"),
        "over-hold": ("1.1", "16.3"),
        "unknown": ("0", None),
        "median of the courses": ("18", None),
        "courses over the hold limit": ("1", "100"),
    }


def told(numbers: Numbers, section: str, question: Question = ASKED) -> dict[str, tuple[str | None, str | None]]:
    """The lines of a section: number and percent by item (and detail, where a section has any)."""

    def text(value: Decimal | None) -> str | None:
        return None if value is None else format(value.normalize(), "f")

    lines = report(question, numbers)[section]
    detailed = section in ("overrides", "without-dose")
    return {
        " ".join(filter(None, (line.item, line.detail))) if detailed else line.item: (
            text(line.number),
            text(line.percent),
        )
        for line in lines
    }


def test_what_agrees_is_a_part_of_what_could() -> None:
    """Of the 8 points all had a proposal or a hold; 3 were given the same amount and 1 was held: 4 of 8."""
    found = told(numbers_of(ASKED, WEEKS, list(points(ASKED, WEEKS))), "agreement")
    assert {name: number for name, number in found.items() if number[0] != "0"} == {
        "same-amount": ("3", "37.5"),
        "higher": ("1", "12.5"),
        "lower": ("1", "12.5"),
        "not-given": ("1", "12.5"),
        "held": ("1", "12.5"),
        "given-on-hold": ("1", "12.5"),
        "agreed": ("4", "50"),
    }


@pytest.mark.parametrize(
    ("given_then", "agreed"),
    [
        ((7, 200, 2), Agreement.SAME_AMOUNT),
        ((7, 202.5), Agreement.SAME_AMOUNT),  # half a graduation of the syringe: 0.005 mL of 500 micrograms/mL
        ((7, 202.6, 2), Agreement.SAME_STEP),
        ((7, 220, 2), Agreement.SAME_STEP),  # 10 % more, where the same level is stated
        ((7, 220.1, 2), Agreement.HIGHER),
        ((7, 220), Agreement.HIGHER),  # nothing is stated, and it is 2.2 micrograms/kg
        ((7, 205), Agreement.SAME_STEP),  # within 5 % of 2 micrograms/kg
        ((7, 2000, 2), Agreement.HIGHER),  # ten times as much is no slip of a step, whatever is stated
        ((7, 180, 2), Agreement.SAME_STEP),
        ((7, 179.9, 2), Agreement.LOWER),
        ((7, 100, 1), Agreement.LOWER),
        ((7, 300, 3), Agreement.HIGHER),
    ],
)
def test_the_same_dose_is_one_of_the_amount_or_of_the_step(given_then: Any, agreed: Agreement) -> None:
    """After 100 micrograms and a count of 30 the label proposes 200, 2 micrograms/kg."""
    course = replace(COURSE, doses=doses((0, 100), given_then), counts=COURSE.counts[:2])
    assert [point.agreement for point in points(ASKED, treated(course, 7))][-1] is agreed


def test_where_it_refers_or_lacks_data_nothing_agrees_and_nothing_departs() -> None:
    """Without a count: incomplete. With 60 before the first dose: not indicated. Given or not, it is told apart."""
    without = replace(COURSE, counts=(), doses=doses((0, 100)))
    found = list(points(ASKED, treated(without, not_given=frozenset({FIRST + 7}))))
    assert [point.agreement for point in found] == [Agreement.GIVEN_WITHOUT_PROPOSAL, Agreement.NONE_WITHOUT_PROPOSAL]
    numbers = numbers_of(ASKED, treated(without), found)
    assert told(numbers, "without-dose") == {"incomplete COUNT-MISSING": ("2", "100")}
    assert told(numbers, "agreement")["agreed"] == ("0", None), "there is nothing to be a part of"
    high = replace(COURSE, counts=counts((0, 60)), doses=doses((0, 100)))
    assert [point.agreement for point in points(ASKED, treated(high))] == [Agreement.GIVEN_WITHOUT_PROPOSAL]


def test_doses_since_the_last_reliable_count() -> None:
    """Counts on days 0 and 22 and an unreliable one on day 14; a count counts for the dose of its own day."""
    bad = Count(FIRST + 14, Decimal(30), unreliable=True)
    course = replace(
        COURSE,
        counts=(*counts((0, 20)), bad, *counts((22, 40))),
        doses=doses((0, 100), (7, 100), (14, 100), (21, 100), (28, 100)),
    )
    found = list(points(ASKED, treated(course)))
    assert [point.since for point in found] == [0, 1, 2, 3, 0]
    numbers = numbers_of(ASKED, treated(course), found)
    assert told(numbers, "doses-since-last-count") == {
        "0": ("2", "40"), "1": ("1", "20"), "2": ("1", "20"), "3": ("1", "20"), "4-or-more": ("0", "0"),
        "no-count": ("0", "0"),
    }  # fmt: skip


@pytest.mark.parametrize(("after", "early"), [(7, False), (6, False), (5, True)])
def test_a_dose_is_early_more_than_a_day_before_its_day(after: int, early: bool) -> None:
    course = replace(COURSE, counts=counts((0, 20), (after, 30)), doses=doses((0, 100), (after, 200)))
    assert [point.early for point in points(ASKED, treated(course))] == [False, early]


def test_a_dose_that_is_unverified_leaves_all_after_it_without_an_answer() -> None:
    found = list(points(ASKED, replace_treated(WEEKS, unverified_since=FIRST + 14)))
    assert [point.agreement for point in found] == [Agreement.SAME_AMOUNT] * 2 + [Agreement.UNVERIFIED] * 6
    numbers = numbers_of(ASKED, WEEKS, found)
    assert told(numbers, "without-dose") == {"refused FACTS-UNVERIFIED": ("6", "75")}


def replace_treated(one: Treated, **changed: Any) -> Treated:
    return one._replace(**changed)


NO_DOSE: Final = {"dose": None, "micrograms": None, "level": None, "due_on": None}
#: Decisions by what they are, and the days (after the first dose) that they make decision points.
DECIDED: Final[dict[str, tuple[list[tuple[int, str, bool]], list[int]]]] = {
    "no dose, in force": ([(56, "in-force", False)], [56]),
    "no dose, ended by the next week's": ([(56, "superseded", False), (63, "in-force", False)], [56, 63]),
    "no dose, replaced the same day": ([(56, "superseded", False), (56, "in-force", False)], [56]),
    "no dose, withdrawn": ([(56, "withdrawn", False)], []),
    "no dose, void": ([(56, "void", False)], []),
    "referred": ([(56, "referred", False)], [56]),
    "a dose that waits": ([(68, "in-force", True)], []),
    "a dose that lapsed and was not written down as such": ([(56, "in-force", True)], [56]),
    "a dose that lapsed": ([(56, "lapsed", True), (63, "in-force", False)], [56, 63]),
    "a dose that was replaced": ([(56, "superseded", True), (57, "lapsed", True)], [57]),
    "a dose that awaits a signature": ([(68, "awaiting-second", True)], []),
}


@pytest.mark.parametrize("what", DECIDED)
def test_which_decisions_are_points_on_their_own(what: str) -> None:
    """Asked on day 70. What was given, or recorded as not given, is a point by that."""
    decided, expected = DECIDED[what]
    made = []
    for ident, (after, status, with_dose) in enumerate(decided, start=1):
        on = date.fromordinal(FIRST + after).isoformat()
        fields: dict[str, Any] = {"id": ident, "day": on, "due_on": on, "status": status, "given_on": None}
        made.append(sample(Decision, **fields | ({} if with_dose else NO_DOSE)))
    assert all((one.dose is None) != with_dose for one, (_, _, with_dose) in zip(made, decided, strict=True))
    found = points(ASKED, treated(COURSE, 70, decisions=tuple(made)))
    assert [point.day - FIRST for point in found if point.day > FIRST + 49] == expected


@pytest.mark.parametrize(("first", "last", "expected"), [(7, 21, [7, 14, 21]), (None, 0, [0]), (50, None, [])])
def test_only_points_of_the_time_that_is_asked_about(first: int | None, last: int | None, expected: list[int]) -> None:
    """What was known before it is known all the same."""
    asked = Question(US, *(None if after is None else FIRST + after for after in (first, last)))
    found = list(points(asked, WEEKS))
    assert [point.day - FIRST for point in found] == expected
    whole = {point.day: point.agreement for point in points(ASKED, WEEKS)}
    assert [point.agreement for point in found] == [whole[point.day] for point in found]


@pytest.mark.parametrize(
    ("platelets", "zone"),
    [("49.999", "below"), ("50", "in-range"), ("200", "in-range"), ("200.001", "above"), ("400", "above"),
     ("400.001", "over-hold")],
)  # fmt: skip
def test_the_zones_are_bounded_as_the_label_prints(platelets: str, zone: str) -> None:
    assert isinstance(US, WeeklyProtocol)
    assert zone_of(US, Decimal(platelets)) == zone


def test_over_a_gap_that_is_too_long_nothing_is_known() -> None:
    assert isinstance(US, WeeklyProtocol)
    known = days_in_zones(US, counts((0, 100), (LONGEST_GAP, 100)), FIRST, FIRST + 100)
    assert known == {Zone.IN_RANGE: LONGEST_GAP}
    assert days_in_zones(US, counts((0, 100), (LONGEST_GAP + 1, 100)), FIRST, FIRST + 100) == {
        "unknown": LONGEST_GAP + 1
    }
    assert days_in_zones(US, counts((0, 100)), FIRST, FIRST + 100) == {}


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_days_are_as_if_each_was_looked_at(data: st.DataObject) -> None:
    """Each day between two counts is in one zone or unknown; what is asked in two parts comes to the same."""
    assert isinstance(US, WeeklyProtocol)
    days = sorted(data.draw(st.sets(st.integers(0, 120), min_size=2, max_size=12)))
    found = counts(*((after, data.draw(st.integers(0, 600))) for after in days))
    cut = data.draw(st.integers(-5, 125))
    whole = days_in_zones(US, found, FIRST - 10, FIRST + 200)
    assert sum(whole.values()) == days[-1] - days[0]
    parts = days_in_zones(US, found, FIRST - 10, FIRST + cut), days_in_zones(US, found, FIRST + cut + 1, FIRST + 200)
    assert parts[0] + parts[1] == whole


def test_the_first_response_is_one_that_nothing_else_explains() -> None:
    """55 on day 7 after a transfusion on day 5 is none; 49.9 on day 14 is none; 50 on day 21 is."""
    assert isinstance(US, WeeklyProtocol)
    course = replace(
        COURSE,
        counts=counts((0, 20), (7, 55), (14, 49.9), (21, 50)),
        events=(Event(FIRST + 5, EventKind.PLATELET_TRANSFUSION, None),),
    )

    def response(until: int, some: Course = course) -> tuple[int, bool] | None:
        return first_response(Terms(US, some.until(FIRST + until), FIRST + until), FIRST)  # type: ignore[arg-type]

    assert (response(21), response(20), response(0)) == ((21, True), (14, False), None)
    assert response(21, replace(course, events=())) == (7, True)


def test_how_many_had_responded_is_kaplan_and_meiers_estimate() -> None:
    """Four courses: one responds on day 7 (3/4 wait), one is last seen on day 14, then one of two on day 21 (3/8), and
    the last one on day 28 (none wait). Half had responded on day 21: 62.5 %."""
    numbers: Numbers = Counter(
        {
            ("response", "yes", "7"): 1,
            ("response", "not-yet", "14"): 1,
            ("response", "yes", "21"): 1,
            ("response", "yes", "28"): 1,
            ("response", "no-count"): 2,
        }
    )
    assert responded(numbers) == [(7, Decimal(25)), (21, Decimal("62.5")), (28, Decimal(100))]
    found = told(numbers, "first-response")
    assert (found["median"], found["yes"], found["not-yet"], found["no-count"]) == (
        ("21", None), ("3", "50"), ("1", "16.7"), ("2", "33.3"),
    )  # fmt: skip
    assert found["responded within 4 weeks"] == ("100", None)
    assert responded(Counter()) == []


# As it is read


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    """Five patients: the second dose of the first is overridden; one is by another label; one has no course."""
    house = build(tmp_path_factory.mktemp("cohort"))
    house.clock.on(days=-35)
    one = house.on_course(35, 100)
    house.record(one, "platelet-counts", count(35, 20))
    sign(house, one, {"decision": "accept"})
    house.record(one, "doses", dose(35, 100))
    house.clock.on(days=7)
    house.record(one, "platelet-counts", count(28, 40))
    override = {"decision": "override", "micrograms_per_kg": 1, "reason_code": "adverse-event", "comment": "headache"}
    sign(house, one, override)
    house.record(one, "doses", dose(28, 100))
    house.clock.on(days=7)
    house.record(one, "platelet-counts", count(21, 70))
    no_dose = {"decision": "override", "no_dose": True, "reason_code": "supply", "comment": "none in the house"}
    sign(house, one, no_dose)
    house.clock.on(days=7)
    house.record(one, "platelet-counts", count(14, 55))
    sign(house, one, {"decision": "accept"})
    house.record(one, "doses", dose(14, 100))
    house.clock.on(days=14)
    other = house.on_course(14, 100, "eu-itp-adult")
    house.record(other, "platelet-counts", count(14, 20))
    house.record(other, "doses", {**dose(14, 100), "confirm": []})
    house.patient()
    before = house.on_course(7, 100)
    house.record(before, "platelet-counts", count(7, 20))
    house.record(before, "doses", dose(7, 100))
    house.record(before, "doses", {"not_given_on": day(0), "reason_not_given": "other"})
    house.record(house.on_course(7, 100), "events", event(3))
    return house


def sign(house: House, patient: str, body: dict[str, object]) -> None:
    proposal = house.get(f"/patients/{patient}/next-dose")
    acknowledged = [alert["code"] for alert in proposal["alerts"]]
    told = {"acknowledge": acknowledged} if body["decision"] != "refer" else {}
    house.post(f"/patients/{patient}/decisions", {**body, **told, "proposal_sha256": proposal["proposal_sha256"]})


def asked_of(house: House, question: Question = ASKED, *where: Where) -> tuple[Numbers, list[Any]]:
    with house.services.store.reading() as session:
        return audit_patients(session, question, house.clock(), *where)


def test_the_points_of_stored_patients(house: House) -> None:
    """The dose that was withheld by decision is a point on the day of the decision, though another one followed it a
    week later; the label would have kept 1 microgram/kg on both days."""
    numbers, found = asked_of(house)
    assert numbers["patients",] == 5
    assert numbers["courses", "by-this-protocol"] == 3
    assert numbers["courses", "by-others"] == 1
    by_day = Counter((DAYS[day(0)] - of.point.day, str(of.point.agreement)) for of in found)
    assert by_day == {
        (35, "same-amount"): 1,
        (28, "lower"): 1,
        (21, "not-given"): 1,
        (14, "same-amount"): 2,
        (7, "same-amount"): 1,
        (0, "none-without-proposal"): 1,
    }
    assert told(numbers, "overrides") == {
        "adverse-event": ("1", "50"),
        "adverse-event lower": ("1", "100"),
        "adverse-event next count in-range": ("1", "100"),
        "adverse-event median of the next counts": ("70", None),
        "supply": ("1", "50"),
        "supply no-dose": ("1", "100"),
        "supply next count in-range": ("1", "100"),
        "supply median of the next counts": ("55", None),
    }


def test_only_courses_by_the_protocol_if_that_is_asked(house: House) -> None:
    numbers, found = asked_of(house, Question(US, treated_by="us-itp-adult"))
    assert (numbers["courses", "by-others"], numbers["courses", "by-this-protocol"]) == (0, 3)
    assert {of.version.protocol for of in found} == {"us-itp-adult"}


def test_nothing_later_than_the_last_day_is_looked_at(house: House) -> None:
    numbers, found = asked_of(house, Question(US, last=DAYS[day(30)]))
    assert [str(of.point.agreement) for of in found] == ["same-amount"]
    assert told(numbers, "first-response")["no-count"] == ("1", "100")
    assert told(numbers, "overrides") == {}


@pytest.mark.parametrize("cuts", [1, 2, 5])
def test_patients_asked_in_parts_come_to_the_same(house: House, cuts: int) -> None:
    with house.services.store.reading() as session:
        idents = [patient.id for patient in session.find(Patient, order=("id",))]
    parts = [asked_of(house, ASKED, Where("id", "in", tuple(idents[start::cuts]))) for start in range(cuts)]
    whole = asked_of(house)
    assert sum((numbers for numbers, _ in parts), Counter()) == +whole[0]
    assert sorted(of for _, found in parts for of in map(_key, found)) == sorted(map(_key, whole[1]))


def _key(of: Any) -> tuple[str, int, str]:
    return of.patient, of.point.day, str(of.point.agreement)


def test_a_dose_of_a_feed_that_waits_leaves_no_answer_after_it(tmp_path: Path) -> None:
    house = build(tmp_path)
    patient = house.on_course(14, 100)
    house.record(patient, "platelet-counts", count(14, 20))
    house.record(patient, "doses", dose(14, 100))
    house.record(patient, "doses", dose(7, 2000), who="ehr")
    house.record(patient, "doses", dose(0, 100))
    _, found = asked_of(house)
    assert [str(of.point.agreement) for of in found] == ["same-amount", "unverified"]


def test_doses_outside_any_course_are_counted_and_not_judged(tmp_path: Path) -> None:
    house = build(tmp_path)
    patient = house.patient()
    house.record(patient, "weights", weight(60, 100))
    confirmed = {"confirm": ["DOSE-WITHOUT-COURSE"]}
    house.record(patient, "doses", {**dose(60, 100), **confirmed})
    numbers, found = asked_of(house)
    assert (numbers["doses-outside-courses",], found) == (1, [])


def test_a_protocol_of_one_dose_is_asked_about_its_dose_alone(house: House) -> None:
    once = Question(CATALOGUE.get("us-hs-ars"))
    numbers, _ = asked_of(house, once)
    assert set(report(once, numbers)) == {"cohort", "agreement", "doses-since-last-count", "without-dose"}


def test_every_number_is_in_the_report_once(house: House) -> None:
    numbers, found = asked_of(house)
    sections: dict[str, list[Line]] = report(ASKED, numbers)
    told_of = [line.number or 0 for line in sections["agreement"] if line.unit == "points" and line.item != "agreed"]
    assert sum(told_of) == len(found)
    assert Line("decision points", "", Decimal(len(found)), "") in sections["cohort"]


def test_an_empty_cohort_has_a_report() -> None:
    assert {line.number for section in report(ASKED, Counter()).values() for line in section} == {Decimal(0), None}
