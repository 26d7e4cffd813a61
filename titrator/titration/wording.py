"""The sentences of an answer: one function a code, and where the rule behind it is printed.

Wording is free to improve; codes are not. Sentences name the numbers, units and days that they rest on, spell out
"micrograms", and say what to do. A rule that the source does not print is cited as ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Final, NamedTuple, cast

from titrator.titration.codes import Alert, Reason
from titrator.titration.course import Count, Event, Weight
from titrator.titration.preparation import DoseToGive
from titrator.titration.protocol import Limit
from titrator.titration.quantities import EXACT, TENTH, completed_years, iso, plain, ratio_rounded, tidy, times
from titrator.titration.recommend import COUNT_KEEPS, LAPSED_ON_HOLD_AFTER, STARTING_WEIGHT_KEEPS, Recommendation
from titrator.titration.terms import SETTLES_AFTER, Terms

#: How an answer cites a rule that its source does not print.
HOUSE_RULE: Final = "Rule of this program: docs/titration-rules.md, section"


class Statement(NamedTuple):
    """A code, in words, with where its rule is printed."""

    code: Reason | Alert
    text: str
    citation: str


def reasons(answer: Recommendation) -> list[Statement]:
    """The reasons of an answer in words, in the order of its codes."""
    return [_statement(answer, code, _REASONS[code]) for code in answer.reasons]


def alerts(answer: Recommendation) -> list[Statement]:
    """The alerts of an answer in words, in the order of its codes."""
    return [_statement(answer, code, _ALERTS[code]) for code in answer.alerts]


class _Words(NamedTuple):
    """How a code is said, the rule of the source that it applies, our section, and whether the rule is ours anyway."""

    say: Callable[[Recommendation], str]
    rule: str
    section: str
    ours: bool = False


def _statement(answer: Recommendation, code: Reason | Alert, words: _Words) -> Statement:
    printed, ours = answer.protocol.citation(words.rule), f"{HOUSE_RULE} {words.section}"
    if printed is None:
        return Statement(code, words.say(answer), ours)
    return Statement(code, words.say(answer), f"{ours}; related: {printed}" if words.ours else printed)


def _terms(answer: Recommendation) -> Terms:
    """The facts of an answer of a weekly protocol."""
    return cast(Terms, answer.facts)


def _dose(answer: Recommendation) -> DoseToGive:
    return cast(DoseToGive, answer.dose)


def side(limit: Limit) -> str:
    """A limit in words: below 50, 50 or below, above 200, 200 or above."""
    number = plain(limit.value)
    return {"<": f"below {number}", "<=": f"{number} or below", ">": f"above {number}", ">=": f"{number} or above"}[
        limit.comparator
    ]


def between(low: Limit, high: Limit) -> str:
    """The counts that meet both a lower and an upper limit, in words: 50 to 200, above 50 to below 200."""
    start = plain(low.value) if low.comparator == ">=" else side(low)
    return f"{start} to {plain(high.value) if high.comparator == '<=' else side(high)}"


def _days(days: int) -> str:
    return f"{days} day{'' if days == 1 else 's'}"


def level_text(level: Decimal | None) -> str:
    """A level with its unit: 1 microgram/kg, 2.5 micrograms/kg."""
    if level is None:
        return "unknown level"
    return f"{plain(level)} microgram{'' if level == 1 else 's'}/kg"


def _platelets(count: Count) -> str:
    return f"Platelets {plain(count.platelets)} ×10⁹/L on {iso(count.day)}"


def _weighed(weight: Weight) -> str:
    return f"{plain(weight.kg)} kg of {iso(weight.day)}"


def _events(events: list[Event]) -> str:
    return ", ".join(f"{event.kind.replace('_', ' ')} of {iso(event.day)}" for event in events)


def _raisers(answer: Recommendation, *counts: Count) -> str:
    """What may have raised some counts, each event once."""
    events = dict.fromkeys(event for count in counts for event in _terms(answer).confounders(count))
    return " and ".join(f"the {_events([event])}" for event in events)


def _step_from(t: Terms) -> str:
    """The level that a step down starts from, and how it came about where the maximum in micrograms made it."""
    level = t.highest_step()
    if level == t.level:
        return level_text(level)
    most, kg = cast(Decimal, t.rules.maximum_micrograms), cast(Weight, t.dosing_weight).kg
    return f"{level_text(level)} ({plain(most)} micrograms at {plain(kg)} kg; the level on record is {plain(t.level)})"


def _below_minimum(t: Terms) -> str:
    return (
        f"one step below {_step_from(t)} is less than {level_text(t.rules.minimum)}, the lowest dose here, and "
        "the source "
        "prints nothing for it: a prescriber decides whether to withhold or to keep the dose."
    )


def _newest(answer: Recommendation) -> str:
    return _platelets(_terms(answer).newest)


def _outside_population(answer: Recommendation) -> str:
    protocol, facts = answer.protocol, answer.facts
    born = cast(int, facts.course.born)
    if born > answer.on:
        return f"The date of birth, {iso(born)}, is after the day asked about: check it."
    ages = (
        f"from {protocol.minimum_age}"
        if protocol.maximum_age is None
        else f"{protocol.minimum_age} to {protocol.maximum_age}"
    )
    return f"Age {completed_years(born, answer.on)} on {iso(answer.on)}; this protocol serves ages {ages} years."


def _start(answer: Recommendation) -> str:
    dose = _dose(answer)
    if not isinstance(answer.facts, Terms):
        return f"No dose given yet: one single dose of {level_text(dose.level)}."
    return (
        f"{_newest(answer)} are {side(answer.facts.rules.increase)} and no dose was given yet: start at "
        f"{level_text(dose.level)}."
    )


def _single_dose_given(answer: Recommendation) -> str:
    dose, kg = answer.facts.doses[-1], answer.facts.weight_of(answer.facts.doses[-1].day)
    given = f"The single dose was given on {iso(dose.day)} ({plain(dose.micrograms)} micrograms"
    if kg is not None:
        given += f" at {plain(kg)} kg, about {level_text(tidy(ratio_rounded(dose.micrograms, kg, TENTH)))}"
    return f"{given}; the protocol's dose is {level_text(answer.protocol.start)}): this protocol has no further dose."


def _eligibility_unconfirmed(answer: Recommendation) -> str:
    missing = [item for item in answer.protocol.eligibility if item not in answer.facts.course.eligibility]
    return f"Not confirmed before the first dose: {', '.join(missing)}. A prescriber confirms or refers."


def _start_not_indicated(answer: Recommendation) -> str:
    return (
        f"{_newest(answer)} are not {side(_terms(answer).rules.increase)}: this protocol does not start "
        "therapy at this count."
    )


def _weight_missing(answer: Recommendation) -> str:
    return "No body weight is known on this day: a weight in kg is needed to compute the dose."


def _weight_stale(answer: Recommendation) -> str:
    facts = answer.facts
    weight = cast(Weight, facts.dosing_weight)
    keeps = facts.protocol.weight_maximum_age if facts.doses else STARTING_WEIGHT_KEEPS
    return (
        f"The weight to dose by, {_weighed(weight)}, is {_days(facts.age(weight))} old, more than {keeps} days: "
        "weigh again "
        "before dosing."
    )


def _weight_disparate(answer: Recommendation) -> str:
    facts = answer.facts
    return (
        f"The newest weight, {_weighed(facts.weights[-1])}, is 30 % or more away from the baseline, "
        f"{_weighed(cast(Weight, facts.dosing_weight))}: check the weight and its unit (kg or lb); if it is right, a "
        "prescriber decides whether to take a new baseline."
    )


def _count_missing(answer: Recommendation) -> str:
    return "No platelet count is known on this day: a count is needed before dosing."


def _count_unreliable(answer: Recommendation) -> str:
    count = answer.facts.counts[-1]
    return f"{_platelets(count)} are marked unreliable (clumped or preliminary): repeat the count before dosing."


def _count_stale(answer: Recommendation) -> str:
    return (
        f"{_newest(answer)} are {_days(answer.facts.age(_terms(answer).newest))} old: a new count is "
        "needed before dosing."
    )


def _count_needed(answer: Recommendation) -> str:
    t = _terms(answer)
    return (
        f"{_newest(answer)} do not show the dose of {iso(t.last.day)}: a count from "
        f"{iso(t.last.day + SETTLES_AFTER)} on "
        "is needed before the next dose."
    )


def _above_hold_limit(answer: Recommendation) -> str:
    return f"{_newest(answer)} are {side(_terms(answer).rules.hold)}: do not dose, count every week."


def _awaiting_resume_count(answer: Recommendation) -> str:
    t = _terms(answer)
    held = f"On hold: platelets were {side(t.rules.hold)} on {iso(t.over_hold_limit()[-1].day)}"
    resume = "" if t.rules.resume is None else f" {side(t.rules.resume)}"
    if t.counts[-1].unreliable:
        return (
            f"{held}. {_platelets(t.counts[-1])} are marked unreliable: repeat the count; dosing resumes"
            f"{resume or ' by decision of a prescriber'}."
        )
    if t.age(t.newest) > COUNT_KEEPS:
        return f"{held}. {_newest(answer)} are {_days(t.age(t.newest))} old: a new count{resume} is needed to resume."
    return f"{held}. {_newest(answer)} are not{resume} yet: do not dose, count every week."


def _resume_unspecified(answer: Recommendation) -> str:
    return (
        f"{_newest(answer)} are no longer {side(_terms(answer).rules.hold)}, but the source prints no "
        "count at which to resume."
    )


def _resume_confounded(answer: Recommendation) -> str:
    return (
        f"{_newest(answer)} would resume dosing, but each count over the hold limit followed "
        f"{_raisers(answer, *_terms(answer).over_hold_limit())}: a prescriber decides at which dose."
    )


def _resume_after_hold(answer: Recommendation) -> str:
    t = _terms(answer)
    limit = cast(Limit, t.rules.resume)
    return f"{_newest(answer)} are {side(limit)} after a hold: resume one step below {_step_from(t)}."


def _resume_below_minimum(answer: Recommendation) -> str:
    return f"{_newest(answer)} allow dosing again, but {_below_minimum(_terms(answer))}"


def _therapy_lapsed(answer: Recommendation) -> str:
    t = _terms(answer)
    longest = f"{LAPSED_ON_HOLD_AFTER} days, the longest hold" if answer.evidence.step == 6 else "28 days"
    return (
        f"The last dose was on {iso(t.last.day)}, {_days(t.age(t.last))} ago, more than {longest}: a "
        "prescriber decides how to start again."
    )


def _dose_above_maximum(answer: Recommendation) -> str:
    t = _terms(answer)
    most = t.rules.maximum_micrograms
    allowed = level_text(t.rules.maximum) + ("" if most is None else f" and {plain(most)} micrograms")
    return f"The last dose, {_given(t)}, is above the maximum of {allowed}."


def _given(t: Terms) -> str:
    return f"{plain(t.last.micrograms)} micrograms ({level_text(t.last_level)}) on {iso(t.last.day)}"


def _dose_mismatch(answer: Recommendation) -> str:
    t = _terms(answer)
    kg = cast(Decimal, t.weight_of(t.last.day))
    return (
        f"The last dose, {_given(t)}, does not fit its weight: {level_text(t.last_level)} × {plain(kg)} kg = "
        f"{plain(times(t.level, kg))} micrograms. Check dose, level and weight."
    )


def _stable(answer: Recommendation) -> str:
    return (
        f"Stable for four weeks or more. {_newest(answer)} are in range: keep the level of "
        f"{level_text(_terms(answer).level)}, count monthly."
    )


def _low_after_missed_dose(answer: Recommendation) -> str:
    t = _terms(answer)
    return (
        f"{_newest(answer)} are {side(t.rules.increase)}, but the last dose was {_days(t.age(t.last))} ago, on "
        f"{iso(t.last.day)}: the count may be low because a dose was missed. A prescriber decides whether to "
        "repeat or raise."
    )


def _at_maximum(answer: Recommendation) -> str:
    t = _terms(answer)
    reached = level_text(t.level)
    if t.level < t.rules.maximum:
        reached += f", which is cut to {plain(cast(Decimal, t.rules.maximum_micrograms))} micrograms,"
    return f"{_newest(answer)} are {side(t.rules.increase)}, but {reached} cannot be raised: keep the level."


def _no_response_at_maximum(answer: Recommendation) -> str:
    t = _terms(answer)
    row = t.doses_at_maximum()
    return (
        f"{_newest(answer)} are {side(t.rules.increase)} after {len(row)} doses at the maximum since "
        f"{iso(row[-1].day)}: a "
        "prescriber decides whether to stop. Labels stop when four weeks at the maximum have not raised the "
        "count enough "
        "to avoid clinically important bleeding, and print no number; after stopping, count weekly for two weeks."
    )


def _below_target(answer: Recommendation) -> str:
    t, dose = _terms(answer), _dose(answer)
    step = EXACT.subtract(dose.level, t.level)
    return f"{_newest(answer)} are {side(t.rules.increase)}: raise by {level_text(step)} to {level_text(dose.level)}."


def _above_range_confounded(answer: Recommendation) -> str:
    t = _terms(answer)
    return (
        f"{_newest(answer)} are {side(t.rules.reduce)}, but followed {_raisers(answer, t.newest)}: keep the level of "
        f"{level_text(t.level)}."
    )


def _above_range_unconfirmed(answer: Recommendation) -> str:
    t = _terms(answer)
    return (
        f"{_newest(answer)} are {side(t.rules.reduce)}, not yet for {t.rules.reduce_weeks} weeks in a row: keep "
        "the level of "
        f"{level_text(t.level)}. It takes unconfounded counts {side(t.rules.reduce)} each week, 4 to 10 days "
        "apart, the first 4 days or "
        f"more after the last change of dose on {iso(t.last_change)}."
    )


def _above_range(answer: Recommendation) -> str:
    t = _terms(answer)
    weeks = t.rules.reduce_weeks
    lasted = "" if weeks == 1 else f" for {weeks} weeks in a row"
    return f"{_newest(answer)} are {side(t.rules.reduce)}{lasted}: lower one step from {_step_from(t)}."


def _reduction_below_minimum(answer: Recommendation) -> str:
    return f"{_newest(answer)} call for a reduction, but {_below_minimum(_terms(answer))}"


def _in_range(answer: Recommendation) -> str:
    t = _terms(answer)
    return f"{_newest(answer)} are in range ({between(*t.rules.maintain)}): keep the level of {level_text(t.level)}."


def _dose_too_small(answer: Recommendation) -> str:
    weight = cast(Weight, answer.facts.dosing_weight)
    return f"For {_weighed(weight)} the dose is less than the 0.01 mL that a syringe shows: a prescriber decides."


def _safety_event(answer: Recommendation) -> str:
    return f"Not resolved: {_events(answer.facts.unresolved_safety_events())}. No dose without a prescriber's decision."


def _count_confounded(answer: Recommendation) -> str:
    return (
        f"{_newest(answer)} followed {_raisers(answer, _terms(answer).newest)}: the patient's own count may be lower."
    )


def _large_fall(answer: Recommendation) -> str:
    t = _terms(answer)
    before = t.reliable[-2]
    return f"{_newest(answer)} are less than half of {plain(before.platelets)} ×10⁹/L on {iso(before.day)}."


def _weight_changed(answer: Recommendation) -> str:
    facts = answer.facts
    return (
        f"The newest weight, {_weighed(facts.weights[-1])}, is 10 % or more away from the baseline that doses are "
        f"computed from, {_weighed(cast(Weight, facts.dosing_weight))}."
    )


def _doses_too_close(answer: Recommendation) -> str:
    before, last = answer.facts.doses[-2:]
    return f"The last two doses, on {iso(before.day)} and {iso(last.day)}, are {_days(last.day - before.day)} apart."


def _dose_jump(answer: Recommendation) -> str:
    t = _terms(answer)
    before, last = t.doses[-2:]
    return (
        f"The level went from {level_text(t.level_of(before))} on {iso(before.day)} to "
        f"{level_text(t.last_level)} on {iso(last.day)}."
    )


def _loss_of_response(answer: Recommendation) -> str:
    t = _terms(answer)
    return (
        f"The newest two counts are {side(t.rules.increase)} after a response: look for a cause "
        "(antibodies against the drug, marrow changes)."
    )


def _off_protocol_dose(answer: Recommendation) -> str:
    return f"The last dose, {_given(_terms(answer))}, is no level that this protocol's steps reach."


def _below_target_on_hold(answer: Recommendation) -> str:
    t = _terms(answer)
    return (
        f"{_newest(answer)} are {side(t.rules.increase)} while on hold: the label's step down may not be what a "
        "prescriber wants now."
    )


def _dose_missed(answer: Recommendation) -> str:
    t = _terms(answer)
    return (
        f"No dose is recorded since {iso(t.last.day)}, {_days(t.age(t.last))} ago: missed, withheld, or given and not "
        "recorded?"
    )


def _dose_capped(answer: Recommendation) -> str:
    dose = _dose(answer)
    weight = cast(Weight, answer.facts.dosing_weight)
    return (
        f"{level_text(dose.level)} × {plain(weight.kg)} kg = {plain(times(dose.level, weight.kg))} micrograms is "
        "above the "
        f"maximum: cut to {plain(dose.micrograms)} micrograms."
    )


_REASONS: Final[Mapping[Reason, _Words]] = {
    Reason.ABOVE_HOLD_LIMIT: _Words(_above_hold_limit, "hold", "4, step 6"),
    Reason.ABOVE_RANGE: _Words(_above_range, "reduce", "4, step 12"),
    Reason.ABOVE_RANGE_CONFOUNDED: _Words(_above_range_confounded, "", "4, step 12"),
    Reason.ABOVE_RANGE_UNCONFIRMED: _Words(_above_range_unconfirmed, "reduce", "4, step 12"),
    Reason.AT_MAXIMUM: _Words(_at_maximum, "maximum", "4, step 11"),
    Reason.AWAITING_RESUME_COUNT: _Words(_awaiting_resume_count, "resume", "4, step 6"),
    Reason.BELOW_TARGET: _Words(_below_target, "increase", "4, step 11"),
    Reason.COUNT_MISSING: _Words(_count_missing, "monitoring", "4, steps 4 and 5"),
    Reason.COUNT_NEEDED: _Words(_count_needed, "", "4, step 10"),
    Reason.COUNT_STALE: _Words(_count_stale, "monitoring", "4, steps 4 and 10", ours=True),
    Reason.COUNT_UNRELIABLE: _Words(_count_unreliable, "", "4, steps 4 and 9"),
    Reason.DOSE_ABOVE_MAXIMUM: _Words(_dose_above_maximum, "maximum", "3"),
    Reason.DOSE_MISMATCH: _Words(_dose_mismatch, "", "3"),
    Reason.DOSE_TOO_SMALL: _Words(_dose_too_small, "preparation", "5", ours=True),
    Reason.ELIGIBILITY_UNCONFIRMED: _Words(_eligibility_unconfirmed, "warnings", "4, step 4", ours=True),
    Reason.IN_RANGE: _Words(_in_range, "maintain", "4, step 13"),
    Reason.LOW_AFTER_MISSED_DOSE: _Words(_low_after_missed_dose, "missed_dose", "4, step 11"),
    Reason.NO_RESPONSE_AT_MAXIMUM: _Words(_no_response_at_maximum, "no_response", "4, step 11", ours=True),
    Reason.OUTSIDE_POPULATION: _Words(_outside_population, "population", "4, step 1"),
    Reason.REDUCTION_BELOW_MINIMUM: _Words(_reduction_below_minimum, "minimum", "4, step 12"),
    Reason.RESUME_AFTER_HOLD: _Words(_resume_after_hold, "resume", "4, step 6"),
    Reason.RESUME_BELOW_MINIMUM: _Words(_resume_below_minimum, "minimum", "4, step 6"),
    Reason.RESUME_CONFOUNDED: _Words(_resume_confounded, "", "4, step 6"),
    Reason.RESUME_UNSPECIFIED: _Words(_resume_unspecified, "", "4, step 6"),
    Reason.SAFETY_EVENT: _Words(_safety_event, "warnings", "4, step 2", ours=True),
    Reason.SINGLE_DOSE_GIVEN: _Words(_single_dose_given, "start", "4, step 3"),
    Reason.STABLE: _Words(_stable, "monitoring", "4, step 10"),
    Reason.START: _Words(_start, "start", "4, steps 3 and 4"),
    Reason.START_NOT_INDICATED: _Words(_start_not_indicated, "", "4, step 4"),
    Reason.THERAPY_LAPSED: _Words(_therapy_lapsed, "missed_dose", "4, steps 6 and 7"),
    Reason.WEIGHT_DISPARATE: _Words(_weight_disparate, "", "4, after the steps"),
    Reason.WEIGHT_MISSING: _Words(_weight_missing, "weight", "3"),
    Reason.WEIGHT_STALE: _Words(_weight_stale, "weight", "3", ours=True),
}
_ALERTS: Final[Mapping[Alert, _Words]] = {
    Alert.BELOW_TARGET_ON_HOLD: _Words(_below_target_on_hold, "", "6"),
    Alert.COUNT_CONFOUNDED: _Words(_count_confounded, "", "3"),
    Alert.COUNT_STALE: _Words(_count_stale, "monitoring", "6", ours=True),
    Alert.DOSE_CAPPED: _Words(_dose_capped, "maximum", "5"),
    Alert.DOSE_JUMP: _Words(_dose_jump, "", "6"),
    Alert.DOSE_MISSED: _Words(_dose_missed, "missed_dose", "6"),
    Alert.DOSES_TOO_CLOSE: _Words(_doses_too_close, "", "6"),
    Alert.LARGE_FALL: _Words(_large_fall, "", "6"),
    Alert.LOSS_OF_RESPONSE: _Words(_loss_of_response, "warnings", "6", ours=True),
    Alert.OFF_PROTOCOL_DOSE: _Words(_off_protocol_dose, "", "6"),
    Alert.WEIGHT_CHANGED: _Words(_weight_changed, "", "6"),
}
