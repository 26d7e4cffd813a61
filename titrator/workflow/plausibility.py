"""What a new entry makes one ask: is that right? A person answers; of a feed the entry is kept unverified.

A value far from the one before it is most often a slip of the keyboard or of a unit. The one before is the last by day,
else, for an entry earlier than all, the next. Values entered in error and unverified ones are compared with nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Final, cast

from titrator.store.records import Fact
from titrator.titration.course import Course, Dose, read_document
from titrator.titration.errors import Fault
from titrator.titration.protocol import Protocol, WeeklyProtocol, WeightBasis
from titrator.titration.quantities import (
    DAYS,
    GIGA_PER_LITRE_PER,
    GRAMS_PER_LITRE_PER,
    KILOGRAMS_PER,
    TENTH,
    apart,
    completed_years,
    iso,
    plain,
    rounded,
    times,
)
from titrator.titration.terms import Facts, Terms
from titrator.titration.wording import level_text
from titrator.workflow.delivery import Change, LastDose
from titrator.workflow.errors import Asked, Code, Invalid
from titrator.workflow.facts import Draft

Question = tuple[Code, str]
Document = dict[str, object]

TENFOLD: Final = Decimal(10)
WEIGHT_WITHIN: Final = Decimal("0.2")
#: Two weights of a day that are no further apart are one, in another unit or rounded otherwise.
WEIGHED_ALIKE: Final = Decimal("0.1")
ADULT_YEARS: Final = 18
ADULT_KG: Final = (Decimal(30), Decimal(250))
CLOSEST_DOSES: Final = 5
STEPS: Final = 2

#: By code: one of each unit of the values that are followed, in the base unit.
_FOLLOWED: Final = {"haemoglobin": GRAMS_PER_LITRE_PER, "neutrophils": GIGA_PER_LITRE_PER}


#: What is asked of a dose that no protocol judges: the patient is on no course, or not yet.
WITHOUT_COURSE: Final[Question] = (
    Code.DOSE_WITHOUT_COURSE,
    "The patient is on no course, so no protocol tells whether this dose is plausible.",
)


def questions(draft: Draft, others: Sequence[Fact], *, born_on: str | None) -> list[Question]:
    """The questions that an entry raises beside the other final facts of its patient."""
    same = [fact for fact in others if fact.kind == draft.kind and fact.code == draft.code and fact.status == "final"]
    match draft.kind:
        case "weight":
            return _weight(draft, same, born_on)
        case "platelet-count":
            return _tenfold(draft, _before(same, draft.day), Code.COUNT_FAR_FROM_LAST)
        case "observation":
            return _tenfold(draft, _before(same, draft.day), Code.VALUE_FAR_FROM_LAST)
        case "dose":
            return [*_close(draft, same), *_route(draft)]
        case _:
            return []


def close_override(last: LastDose, due: str) -> list[Question]:
    """The question of an override that is due within a few days of the last dose."""
    days = DAYS[due] - DAYS[last.day]
    if days >= CLOSEST_DOSES:
        return []
    text = f"{plain(last.micrograms)} micrograms were given on {last.day}, less than {CLOSEST_DOSES} days before {due}."
    return [(Code.DOSES_TOO_CLOSE, text)]


def confirmed(asked: Sequence[Question], body: Mapping[str, object]) -> tuple[str, ...]:
    """The codes of questions that a body answers, all of them and no others; raises Asked, Invalid."""
    codes = tuple(str(code) for code, _ in asked)
    answered = cast("list[str]", body.get("confirm", []))
    faults = [
        Fault(f"confirm[{index}]", "was not asked; leave it out")
        for index, code in enumerate(answered)
        if code not in codes
    ]
    if faults:
        raise Invalid(*faults)
    if open_ones := [question for question in asked if question[0] not in answered]:
        raise Asked(open_ones)
    return codes


def far_dose(draft: Draft, protocol: WeeklyProtocol, document: Document) -> list[Question]:
    """The question of a dose whose level is far from the one before it, or from the start.

    `document` is the course document without the entry, as known on the entry's day.
    """
    return far_from_last(draft, protocol, read_document(document, lambda _: None).course)


def far_from_last(draft: Draft, protocol: WeeklyProtocol, course: Course) -> list[Question]:
    """As `far_dose`, of a course that has been read."""
    if draft.value is None:
        return []
    day = DAYS[draft.day]
    before = Terms(protocol, course.until(day - 1), day)
    with_it = replace(course, doses=(Dose(day, draft.value, None),))
    weighed = Terms(protocol, with_it.until(day), day).last_level
    last = before.last_level if before.doses else protocol.start
    return far_level(draft, protocol, weighed, last, first=not before.doses)


def far_level(
    draft: Draft, protocol: WeeklyProtocol, weighed: Decimal | None, last: Decimal | None, *, first: bool
) -> list[Question]:
    """As `far_dose`, of its level by weight and the one before it, or that of the start where it is the `first`."""
    for level in (weighed, draft.level):  # a wrong amount is wrong whatever level is stated beside it
        if level is None or last is None or apart(level, last) <= times(protocol.step, Decimal(STEPS)):
            continue
        than = f"the start at {plain(last)}" if first else f"the {plain(last)} micrograms/kg before it"
        return [(Code.DOSE_FAR_FROM_LAST, f"{plain(level)} micrograms/kg is more than {STEPS} steps from {than}.")]
    return []


def far_override(change: Change, dose: Mapping[str, object]) -> list[Question]:
    """The question of an override far from the last dose: a slip of a key looks just like a decision.

    `dose` is that of a decision (JSON); the text tells all that somebody would draw up.
    """
    if not change.large:
        return []
    amount, volume, strength = (
        plain(cast(Decimal, dose[key]))
        for key in ("delivered_micrograms", "volume_ml", "concentration_micrograms_per_ml")
    )
    level = level_text(cast(Decimal, dose["micrograms_per_kg"]))
    text = (
        f"That is {amount} micrograms, {level}, {volume} mL of {strength} micrograms/mL; the last dose "
        f"was {plain(change.before.micrograms)} micrograms on {change.before.day}: "
        f"{'+' if change.micrograms > 0 else '-'}{plain(abs(change.percent))} %."
    )
    return [(Code.OVERRIDE_FAR_FROM_LAST, text)]


def moved_baseline(protocol: Protocol, before: Document, after: Document) -> list[Question]:
    """The question of an entry with which a course that has doses would be dosed by another baseline weight.

    `before` and `after` are the course document as known now, without and with the entry.
    """
    return moved_weight(protocol, *(_facts(protocol, document) for document in (before, after)))


def moved_weight(protocol: Protocol, was: Facts, becomes: Facts) -> list[Question]:
    """As `moved_baseline`, of the facts of a course without and with the entry."""
    old, new = was.dosing_weight, becomes.dosing_weight
    if protocol.weight_basis is not WeightBasis.BASELINE or not was.doses or old is None or new is None:
        return []
    if old.kg == new.kg:
        return []
    text = (
        f"The doses of this course follow the baseline weight, {plain(old.kg)} kg on {iso(old.day)}; with this entry "
        f"they would follow {plain(new.kg)} kg on {iso(new.day)}."
    )
    return [(Code.DOSING_WEIGHT_WOULD_CHANGE, text)]


def _weight(draft: Draft, same: Sequence[Fact], born_on: str | None) -> list[Question]:
    kg = _base(draft.code, draft.kind, draft.value, draft.unit)
    before = _before(same, draft.day)
    if kg is None:
        return []
    that_day = {_base(one.code, one.kind, one.value, one.unit): None for one in same if one.day == draft.day}
    if rest := [other for other in that_day if other is not None and apart(other, kg) > WEIGHED_ALIKE]:
        told = " and ".join(f"{plain(other)} kg" for other in rest)
        text = f"{told} is recorded of {draft.day}; the last said would stand."
        far = next(filter(None, (_far_weight(kg, other) for other in rest)), "")
        return [(Code.WEIGHT_FAR_FROM_LAST, f"{text} {far}".rstrip())]
    if before is None:
        low, high = ADULT_KG
        age = ADULT_YEARS if born_on is None else completed_years(DAYS[born_on], DAYS[draft.day])
        if age < ADULT_YEARS or low <= kg <= high:
            return []
        return [(Code.WEIGHT_UNUSUAL, f"A first weight of {plain(kg)} kg is outside {low} to {high} kg for an adult.")]
    last = _base(before.code, before.kind, before.value, before.unit)
    if last is None or not (far := _far_weight(kg, last, f" on {before.day}")):
        return []
    return [(Code.WEIGHT_FAR_FROM_LAST, far)]


def _far_weight(kg: Decimal, last: Decimal, when: str = "") -> str:
    """How a weight is far from another, and whether it fits in the unit that is most often mistaken; empty if near."""
    if apart(kg, last) < times(last, WEIGHT_WITHIN):
        return ""
    text = f"{plain(kg)} kg differs by 20 % or more from {plain(last)} kg{when}."
    in_pounds = times(kg, KILOGRAMS_PER["lb"] or Decimal(1))
    fits = apart(in_pounds, last) < times(last, WEIGHT_WITHIN)
    return f"{text} In lb it would be {plain(rounded(in_pounds, TENTH))} kg: is the unit right?" if fits else text


def _tenfold(draft: Draft, before: Fact | None, code: Code) -> list[Question]:
    if before is None:
        return []
    value = _base(draft.code, draft.kind, draft.value, draft.unit)
    last = _base(before.code, before.kind, before.value, before.unit)
    if value is None or last is None or draft.value is None:
        if draft.unit != before.unit or draft.value is None or before.value is None:
            return []
        value, last = draft.value, before.value
    if value == last or (value < times(last, TENFOLD) and times(value, TENFOLD) > last):
        return []
    text = f"{plain(draft.value)} {draft.unit} is ten times or a tenth of {_shown(before)} on {before.day}."
    return [(code, text)]


def _close(draft: Draft, same: Iterable[Fact]) -> list[Question]:
    near = [fact for fact in same if abs(DAYS[fact.day] - DAYS[draft.day]) < CLOSEST_DOSES]
    if not near:
        return []
    found = " and ".join(f"{_shown(fact)} on {fact.day}" for fact in near)
    return [(Code.DOSES_TOO_CLOSE, f"{found} is recorded, less than {CLOSEST_DOSES} days from {draft.day}.")]


_OTHER_ROUTES: Final = {"other": "by another route", "unknown": "by a route that was not understood"}


def _route(draft: Draft) -> list[Question]:
    """The question of a dose that was given otherwise than the labels say."""
    route = dict(draft.detail).get("route")
    if route is None:
        return []
    how = _OTHER_ROUTES.get(str(route), f"by the {route} route")
    return [(Code.DOSE_ROUTE, f"It was given {how}; the labels know romiplostim as a subcutaneous injection only.")]


def _facts(protocol: Protocol, document: Document) -> Facts:
    request = read_document(document, lambda _: None)
    return Facts(protocol, request.course.until(request.on), request.on)


def _before(same: Sequence[Fact], day: str) -> Fact | None:
    earlier = [fact for fact in same if fact.day <= day]
    if earlier:
        return max(earlier, key=lambda fact: (fact.day, fact.id))
    return min(same, key=lambda fact: (fact.day, fact.id), default=None)


def _base(code: str | None, kind: str, value: Decimal | None, unit: str | None) -> Decimal | None:
    """A value in the base unit of what it measures; None where none is known."""
    if value is None or unit is None:
        return None
    if kind == "weight":
        return times(value, KILOGRAMS_PER[unit] or Decimal(1))
    if kind == "platelet-count":
        return times(value, GIGA_PER_LITRE_PER[unit] or Decimal(1))
    factors = _FOLLOWED.get(code or "", {})
    return times(value, factors[unit] or Decimal(1)) if unit in factors else None


def _shown(fact: Fact) -> str:
    unit = "micrograms" if fact.kind == "dose" else fact.unit
    return f"{plain(fact.value)} {unit}" if fact.value is not None else "a value"
