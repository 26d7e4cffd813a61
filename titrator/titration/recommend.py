"""recommend(protocol, course, on): the one entry point, a value in and a value out.

The functions stand as docs/titration-rules.md, section 4, has its steps: `step_1` to `step_13`, of which the first
that decides wins; then the alerts of section 6, the dose of section 5, and the dates. A decision is made before any
dose is computed; what the computation then finds missing replaces it.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from hashlib import sha256
from typing import Final, NamedTuple

from titrator.titration.codes import Action, Alert, Reason
from titrator.titration.course import Count, Course, Dose, canonical
from titrator.titration.preparation import DoseToGive, prepare
from titrator.titration.protocol import Protocol, WeeklyProtocol
from titrator.titration.quantities import EXACT, apart, completed_years, times
from titrator.titration.terms import Facts, Terms

#: Raised whenever an answer to some input changes in anything but its wording.
ENGINE_VERSION: Final = "1.0.0"

COUNT_KEEPS: Final = 7
STARTING_WEIGHT_KEEPS: Final = 28
MISSED_AFTER: Final = 10
LAPSED_AFTER: Final = 28
LAPSED_ON_HOLD_AFTER: Final = 84
STABLE_COUNT_KEEPS: Final = 31
DOSES_TO_JUDGE_MAXIMUM: Final = 4
DAYS_TO_JUDGE_MAXIMUM: Final = 28
WEEK: Final = 7
WEEK_MAY_VARY_BY: Final = 3
CLOSEST_DOSES: Final = 5
TWO: Final = Decimal(2)
MONTH: Final = 28
WEIGHT_ALERTS_AT: Final = Decimal("0.1")
WEIGHT_REFERS_AT: Final = Decimal("0.3")


class Decision(NamedTuple):
    """What a step decides: the action, its reasons, the level to give if any, and the counts and doses that it read."""

    step: int
    action: Action
    reasons: tuple[Reason, ...]
    level: Decimal | None = None
    counts: tuple[Count, ...] = ()
    doses: tuple[Dose, ...] = ()


class Evidence(NamedTuple):
    """What the answer rests on: the deciding step, the weight and the facts that it read, days as ordinals."""

    step: int
    dosing_weight_kg: Decimal | None
    dosing_weight_on: int | None
    counts_used: tuple[int, ...]
    doses_used: tuple[int, ...]
    last_level: Decimal | None
    stable: bool


class Recommendation(NamedTuple):
    """The answer for one day: a proposal, never an order. Days are ordinals; `facts` is what the wording reads."""

    action: Action
    on: int
    reasons: tuple[Reason, ...]
    alerts: tuple[Alert, ...]
    dose: DoseToGive | None
    due: int | None
    next_count: int | None
    evidence: Evidence
    protocol: Protocol
    input_sha256: str
    facts: Facts


def recommend(protocol: Protocol, course: Course, on: int) -> Recommendation:
    """The next dose of a course by a protocol, as asked on a day (an ordinal); facts dated later are ignored."""
    known = course.until(on)
    facts = Terms(protocol, known, on) if isinstance(protocol, WeeklyProtocol) else Facts(protocol, known, on)
    decision, dose = compute(facts, decide(facts))
    alerts = alerts_of(facts, decision.step, dose)
    weight, last = facts.dosing_weight, facts.doses[-1] if facts.doses else None
    terms = facts if isinstance(facts, Terms) and facts.doses else None
    return Recommendation(
        action=decision.action,
        on=on,
        reasons=tuple(sorted(decision.reasons)),
        alerts=alerts,
        dose=dose,
        due=None if dose is None else due_day(facts),
        next_count=next_count_day(facts, decision, alerts),
        evidence=Evidence(
            step=decision.step,
            dosing_weight_kg=weight and weight.kg,
            dosing_weight_on=weight and weight.day,
            counts_used=tuple(sorted({count.day for count in decision.counts})),
            doses_used=tuple(sorted({given.day for given in decision.doses})),
            last_level=terms.last_level if terms else last and last.level,
            stable=terms is not None and terms.stable,
        ),
        protocol=protocol,
        input_sha256=sha256(canonical(known, protocol.id, on).encode()).hexdigest(),
        facts=facts,
    )


def decide(facts: Facts) -> Decision:
    """The decision of the first step that decides."""
    if decision := step_1(facts) or step_2(facts):
        return decision
    if not isinstance(facts, Terms):
        return step_3(facts)
    return (
        step_4(facts)
        or step_5(facts)
        or step_6(facts)
        or step_7(facts)
        or step_8(facts)
        or step_9(facts)
        or step_10(facts)
        or step_11(facts)
        or step_12(facts)
        or step_13(facts)
    )


def step_1(facts: Facts) -> Decision | None:
    """Older or younger than the protocol serves."""
    if facts.course.born is None:
        return None
    age = completed_years(facts.course.born, facts.on)
    oldest = facts.protocol.maximum_age
    if age < facts.protocol.minimum_age or (oldest is not None and age > oldest):
        return Decision(1, Action.REFER, (Reason.OUTSIDE_POPULATION,))
    return None


def step_2(facts: Facts) -> Decision | None:
    """A thrombosis or marrow disorder that is not resolved."""
    if facts.unresolved_safety_events():
        return Decision(2, Action.REFER, (Reason.SAFETY_EVENT,))
    return None


def step_3(facts: Facts) -> Decision:
    """A protocol of a single dose: given, or to be given."""
    if facts.doses:
        return Decision(3, Action.COMPLETE, (Reason.SINGLE_DOSE_GIVEN,), doses=(facts.doses[-1],))
    return Decision(3, Action.START, (Reason.START,), facts.protocol.start)


def step_4(t: Terms) -> Decision | None:
    """No dose yet: what is missing, whether therapy may start, and the start."""
    if t.doses:
        return None
    counts = tuple(t.counts[-1:])
    missing = tuple(x for x in (t.usable_weight(STARTING_WEIGHT_KEEPS), _count_fault(t)) if isinstance(x, Reason))
    if missing:
        return Decision(4, Action.INCOMPLETE, missing, counts=counts)
    if set(t.rules.eligibility) - set(t.course.eligibility):
        return Decision(4, Action.REFER, (Reason.ELIGIBILITY_UNCONFIRMED,))
    if not t.rules.increase.holds(t.newest.platelets):
        return Decision(4, Action.REFER, (Reason.START_NOT_INDICATED,), counts=counts)
    return Decision(4, Action.START, (Reason.START,), t.rules.start, counts)


def _count_fault(t: Terms) -> Reason | None:
    if not t.counts:
        return Reason.COUNT_MISSING
    if t.counts[-1].unreliable:
        return Reason.COUNT_UNRELIABLE
    return Reason.COUNT_STALE if t.age(t.newest) > COUNT_KEEPS else None


def step_5(t: Terms) -> Decision | None:
    """Doses were given, but there is no count at all."""
    return None if t.counts else Decision(5, Action.INCOMPLETE, (Reason.COUNT_MISSING,))


def step_6(t: Terms) -> Decision | None:
    """On hold: until a reliable recent count is below the resume limit, then one step down."""
    over = tuple(t.over_hold_limit())
    if not over:
        return None
    wait = Decision(6, Action.HOLD, (Reason.AWAITING_RESUME_COUNT,), counts=(*over, t.counts[-1]))
    refer = wait._replace(action=Action.REFER, doses=(t.last,))
    if t.counts[-1].unreliable:
        return wait
    if t.rules.hold.holds(t.newest.platelets):
        return wait._replace(reasons=(Reason.ABOVE_HOLD_LIMIT,))
    if t.age(t.newest) > COUNT_KEEPS:
        return wait
    if t.rules.resume is None:
        return refer._replace(reasons=(Reason.RESUME_UNSPECIFIED,))
    if not t.rules.resume.holds(t.newest.platelets):
        return wait
    return _end_of_hold(t, refer)


def _end_of_hold(t: Terms, refer: Decision) -> Decision:
    """The newest count allows dosing again: one step down, if nothing else speaks against it."""
    if all(t.confounded(count) for count in t.over_hold_limit()):
        return refer._replace(reasons=(Reason.RESUME_CONFOUNDED,))
    if t.age(t.last) > LAPSED_ON_HOLD_AFTER:
        return refer._replace(reasons=(Reason.THERAPY_LAPSED,))
    if fault := _dose_fault(t, 6):
        return fault
    if t.one_step_down() < t.rules.minimum:
        return refer._replace(reasons=(Reason.RESUME_BELOW_MINIMUM,))
    return refer._replace(action=Action.RESUME, reasons=(Reason.RESUME_AFTER_HOLD,), level=t.one_step_down())


def step_7(t: Terms) -> Decision | None:
    """No dose for so long that therapy has lapsed."""
    if t.age(t.last) > LAPSED_AFTER:
        return Decision(7, Action.REFER, (Reason.THERAPY_LAPSED,), doses=(t.last,))
    return None


def step_8(t: Terms) -> Decision | None:
    """A last dose that cannot be built on."""
    return _dose_fault(t, 8)


def _dose_fault(t: Terms, step: int) -> Decision | None:
    fault = t.dose_fault()
    if fault is None:
        return None
    action = Action.INCOMPLETE if fault is Reason.WEIGHT_MISSING else Action.REFER
    return Decision(step, action, (fault,), doses=(t.last,))


def step_9(t: Terms) -> Decision | None:
    """A newest count that no dose may rest on."""
    if t.counts[-1].unreliable:
        return Decision(9, Action.INCOMPLETE, (Reason.COUNT_UNRELIABLE,), counts=(t.counts[-1],))
    return None


def step_10(t: Terms) -> Decision | None:
    """No count that shows the last dose and is recent: the same again in a stable course, else a count first."""
    fresh = t.fresh(t.newest)
    if fresh and t.age(t.newest) <= COUNT_KEEPS:
        return None
    in_range = not t.rules.increase.holds(t.newest.platelets) and not t.rules.reduce.holds(t.newest.platelets)
    recent = t.age(t.newest) <= STABLE_COUNT_KEEPS and t.age(t.last) <= MISSED_AFTER
    if t.stable and in_range and recent:
        counts = tuple(t.stable_counts)
        return Decision(10, Action.MAINTAIN, (Reason.STABLE,), t.level, counts, (t.last,))
    reason = Reason.COUNT_STALE if fresh else Reason.COUNT_NEEDED
    return Decision(10, Action.INCOMPLETE, (reason,), counts=(t.newest,), doses=(t.last,))


def step_11(t: Terms) -> Decision | None:
    """Too few platelets: one step up, up to the maximum."""
    if not t.rules.increase.holds(t.newest.platelets):
        return None
    refer = Decision(11, Action.REFER, (Reason.LOW_AFTER_MISSED_DOSE,), counts=(t.newest,), doses=(t.last,))
    if t.age(t.last) > MISSED_AFTER:
        return refer
    if t.at_maximum():
        row = t.doses_at_maximum()
        if len(row) >= DOSES_TO_JUDGE_MAXIMUM and t.age(row[-1]) >= DAYS_TO_JUDGE_MAXIMUM:
            return refer._replace(reasons=(Reason.NO_RESPONSE_AT_MAXIMUM,), doses=tuple(row))
        return refer._replace(action=Action.MAINTAIN, reasons=(Reason.AT_MAXIMUM,), level=t.level)
    level = min(EXACT.add(t.level, t.rules.step), t.rules.maximum)
    return refer._replace(action=Action.INCREASE, reasons=(Reason.BELOW_TARGET,), level=level)


def step_12(t: Terms) -> Decision | None:
    """Too many platelets: one step down, once that has lasted as long as the protocol asks."""
    if not t.rules.reduce.holds(t.newest.platelets):
        return None
    keep = Decision(12, Action.MAINTAIN, (Reason.ABOVE_RANGE_CONFOUNDED,), t.level, (t.newest,), (t.last,))
    if t.confounded(t.newest):
        return keep
    streak = _counts_above_range(t)
    if not streak:
        return keep._replace(reasons=(Reason.ABOVE_RANGE_UNCONFIRMED,))
    level = t.one_step_down()
    if level < t.rules.minimum:
        refer = keep._replace(action=Action.REFER, reasons=(Reason.REDUCTION_BELOW_MINIMUM,), level=None)
        return refer._replace(counts=streak)
    return keep._replace(action=Action.REDUCE, reasons=(Reason.ABOVE_RANGE,), level=level, counts=streak)


def _counts_above_range(t: Terms) -> tuple[Count, ...]:
    """The counts by which the reduce condition has held for the protocol's weeks; none if it has not.

    The newest is fresh and not confounded here, and so eligible.
    """
    weeks, newest = t.rules.reduce_weeks, t.newest
    window = WEEK * (weeks - 1) + WEEK_MAY_VARY_BY if weeks > 1 else 0
    earlier = [count for count in t.reliable if newest.day - window <= count.day < newest.day and t.eligible(count)]
    each_week = all(
        any(abs(newest.day - WEEK * week - count.day) <= WEEK_MAY_VARY_BY for count in earlier)
        for week in range(1, weeks)
    )
    return (*earlier, newest) if each_week and all(t.rules.reduce.holds(count.platelets) for count in earlier) else ()


def step_13(t: Terms) -> Decision:
    """Neither too few nor too many: the same again."""
    return Decision(13, Action.MAINTAIN, (Reason.IN_RANGE,), t.level, (t.newest,), (t.last,))


def compute(facts: Facts, decision: Decision) -> tuple[Decision, DoseToGive | None]:
    """The dose of a decision that has a level; where it cannot be computed, the decision that replaces it."""
    if decision.level is None:
        return decision, None
    without = decision._replace(action=Action.REFER, level=None)
    weight = facts.usable_weight()
    if isinstance(weight, Reason):
        return without._replace(action=Action.INCOMPLETE, reasons=(weight,)), None
    if facts.weight_differs_by(WEIGHT_REFERS_AT):
        return without._replace(reasons=(Reason.WEIGHT_DISPARATE,)), None
    dose = prepare(decision.level, weight.kg, facts.protocol.maximum_micrograms, facts.protocol.vials)
    if not dose.volume:
        return without._replace(reasons=(Reason.DOSE_TOO_SMALL,)), None
    return decision, dose


def alerts_of(facts: Facts, step: int, dose: DoseToGive | None) -> tuple[Alert, ...]:
    """What to look at beside the decision of a step, in order of code."""
    alerts = [Alert.DOSE_CAPPED] if dose and dose.capped else []
    if isinstance(facts, Terms):
        alerts += [alert for first, last, alert, raised in ALERTS if first <= step <= last and raised(facts)]
    return tuple(sorted(alerts))


def _large_fall(t: Terms) -> bool:
    return len(t.reliable) > 1 and times(t.newest.platelets, TWO) < t.reliable[-2].platelets


def _loss_of_response(t: Terms) -> bool:
    if len(t.reliable) < 3 or not all(t.rules.increase.holds(count.platelets) for count in t.reliable[-2:]):
        return False
    first = t.doses[0].day
    return any(
        count.day > first and not t.rules.increase.holds(count.platelets) and not t.confounded(count)
        for count in t.reliable[:-2]
    )


def _dose_jump(t: Terms) -> bool:
    before = t.level_of(t.doses[-2]) if len(t.doses) > 1 else None
    return before is not None and t.last_level is not None and apart(before, t.last_level) > times(t.rules.step, TWO)


#: Each alert with the first and last step at whose decisions it is raised; step 6 decides exactly the courses on hold.
ALERTS: Final[tuple[tuple[int, int, Alert, Callable[[Terms], bool]], ...]] = (
    (4, 13, Alert.COUNT_CONFOUNDED, lambda t: bool(t.reliable) and t.confounded(t.newest)),
    (4, 13, Alert.LARGE_FALL, _large_fall),
    (5, 13, Alert.WEIGHT_CHANGED, lambda t: t.weight_differs_by(WEIGHT_ALERTS_AT)),
    (5, 13, Alert.DOSES_TOO_CLOSE, lambda t: len(t.doses) > 1 and t.last.day - t.doses[-2].day < CLOSEST_DOSES),
    (5, 13, Alert.DOSE_JUMP, _dose_jump),
    (5, 13, Alert.LOSS_OF_RESPONSE, _loss_of_response),
    (6, 13, Alert.OFF_PROTOCOL_DOSE, lambda t: t.last_level is not None and not t.on_grid(t.last_level)),
    (6, 6, Alert.COUNT_STALE, lambda t: not t.counts[-1].unreliable and t.age(t.newest) > COUNT_KEEPS),
    (6, 6, Alert.BELOW_TARGET_ON_HOLD, lambda t: t.rules.increase.holds(t.newest.platelets)),
    (7, 13, Alert.DOSE_MISSED, lambda t: t.age(t.last) > MISSED_AFTER),
)


def due_day(facts: Facts) -> int:
    """The day a recommended dose is due: a week after the last, but not before today."""
    return max(facts.on, facts.doses[-1].day + WEEK) if facts.doses else facts.on


def next_count_day(facts: Facts, decision: Decision, alerts: tuple[Alert, ...]) -> int | None:
    """The day the next count is due, not before today; none once a single dose was given."""
    if decision.action is Action.COMPLETE:
        return None
    if Reason.COUNT_NEEDED in decision.reasons:
        return max(facts.on, facts.doses[-1].day + WEEK)
    if decision.action is Action.INCOMPLETE or not facts.reliable:
        return facts.on
    monthly = Reason.STABLE in decision.reasons or (
        Reason.IN_RANGE in decision.reasons
        and isinstance(facts, Terms)
        and facts.stable
        and not {Alert.COUNT_CONFOUNDED, Alert.LARGE_FALL} & set(alerts)
    )
    return max(facts.on, facts.reliable[-1].day + (MONTH if monthly else WEEK))
