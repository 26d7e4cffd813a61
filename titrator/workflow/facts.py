"""The collections of facts, and how an entry of each is kept as a fact and shown again.

What a course document has of a fact carries the same names here as there. `docs/rest.md` lists the fields.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final, NamedTuple, cast

from titrator.store.base import CourseFact
from titrator.store.records import Fact
from titrator.titration.course import entry_faults, is_right
from titrator.titration.errors import Fault
from titrator.titration.quantities import read_amount, tidy

Body = Mapping[str, object]

#: The route of the labels; of a dose by another one that is kept.
SUBCUTANEOUS: Final = "subcutaneous"
SAFETY_EVENTS: Final = ("thrombosis", "marrow_disorder")


class Draft(NamedTuple):
    """The content of a fact: what a person or system says of it, without who and when."""

    kind: str
    day: str
    code: str | None = None
    value: Decimal | None = None
    unit: str | None = None
    level: Decimal | None = None
    until: str | None = None
    unreliable: bool = False
    taken_at: str | None = None
    detail: tuple[tuple[str, object], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """A collection of facts: its name in a path, what its facts are called, and how entries become facts and back."""

    name: str
    noun: str
    kinds: tuple[str, ...]
    draft: Callable[[Body], Draft]
    fields: Callable[[Fact], dict[str, object]]


def _weight(body: Body) -> Draft:
    return Draft("weight", _text(body, "measured_on"), value=_amount(body, "value"), unit=_text(body, "unit"))


def _weight_fields(fact: Fact) -> dict[str, object]:
    return {"measured_on": fact.day, "value": fact.value, "unit": fact.unit}


def _count(body: Body) -> Draft:
    return Draft(
        "platelet-count",
        _text(body, "collected_on"),
        value=_amount(body, "value"),
        unit=_text(body, "unit"),
        unreliable=body.get("unreliable") is True,
    )


def _count_fields(fact: Fact) -> dict[str, object]:
    unreliable = fact.unreliable or fact.status == "unverified"
    return {"collected_on": fact.day, "value": fact.value, "unit": fact.unit, "unreliable": unreliable}


def _observation(body: Body) -> Draft:
    limit = body.get("lower_limit_of_normal")
    return Draft(
        "observation",
        _text(body, "observed_on"),
        code=_text(body, "code"),
        value=_amount(body, "value"),
        unit=_text(body, "unit"),
        detail=() if limit is None else (("lower_limit_of_normal", format(cast(Decimal, limit), "f")),),
    )


def _observation_fields(fact: Fact) -> dict[str, object]:
    limit = fact.detail.get("lower_limit_of_normal")
    return {
        "code": fact.code,
        "observed_on": fact.day,
        "value": fact.value,
        "unit": fact.unit,
        "lower_limit_of_normal": None if limit is None else Decimal(str(limit)),
    }


def _dose(body: Body) -> Draft:
    if "not_given_on" in body:
        return Draft("dose-not-given", _text(body, "not_given_on"), code=_text(body, "reason_not_given"))
    level, route = body.get("micrograms_per_kg"), body.get("route", SUBCUTANEOUS)
    return Draft(
        "dose",
        _text(body, "given_on"),
        value=_amount(body, "micrograms"),
        unit="ug",
        level=None if level is None else cast(Decimal, level),
        detail=() if route == SUBCUTANEOUS else (("route", route),),
    )


def _dose_fields(fact: Fact) -> dict[str, object]:
    if fact.kind == "dose-not-given":
        return {"not_given_on": fact.day, "reason_not_given": fact.code}
    other = {"route": fact.detail["route"]} if "route" in fact.detail else {}
    return {"given_on": fact.day, "micrograms": fact.value, "micrograms_per_kg": fact.level, **other}


def _event(body: Body) -> Draft:
    detail = [(key, body[key]) for key in ("term", "scale", "grade") if body.get(key) is not None]
    return Draft(
        "event",
        _text(body, "occurred_on"),
        code=_text(body, "kind"),
        until=cast("str | None", body.get("resolved_on")),
        detail=tuple(detail),
    )


def _event_fields(fact: Fact) -> dict[str, object]:
    shown = {key: fact.detail.get(key) for key in ("term", "scale", "grade")}
    return {"kind": fact.code, "occurred_on": fact.day, "resolved_on": fact.until, **shown}


WEIGHTS: Final = Collection(name="weights", noun="weight", kinds=("weight",), draft=_weight, fields=_weight_fields)
PLATELET_COUNTS: Final = Collection(
    name="platelet-counts", noun="platelet count", kinds=("platelet-count",), draft=_count, fields=_count_fields
)
OBSERVATIONS: Final = Collection(
    name="observations",
    noun="observation",
    kinds=("observation",),
    draft=_observation,
    fields=_observation_fields,
)
DOSES: Final = Collection(name="doses", noun="dose", kinds=("dose", "dose-not-given"), draft=_dose, fields=_dose_fields)
EVENTS: Final = Collection(name="events", noun="event", kinds=("event",), draft=_event, fields=_event_fields)

COLLECTIONS: Final = (WEIGHTS, PLATELET_COUNTS, OBSERVATIONS, DOSES, EVENTS)
BY_KIND: Final = {kind: collection for collection in COLLECTIONS for kind in collection.kinds}


def read_draft(collection: Collection, body: Body) -> tuple[Draft, list[Fault]]:
    """The content of an entry; and its faults, if no course document may have it, or its days contradict."""
    draft = collection.draft(body)
    faults = list(_course_faults(draft))
    if draft.until is not None and draft.until < draft.day:
        faults.append(Fault("resolved_on", f"must not be before {draft.day}, when it occurred"))
    note = body.get("note")
    return draft if note is None else draft._replace(detail=(*draft.detail, ("note", note))), faults


def as_told(fact: Fact, body: Body) -> Body:
    """An entry in place of a fact, with the route of a dose that it does not tell: it is not another one for that."""
    route = fact.detail.get("route")
    return {**body, "route": route} if route and "given_on" in body and body.get("route") is None else body


def show(fact: Fact) -> dict[str, object]:
    """A fact as it is sent: its content, and how and by whom it came to be."""
    collection = BY_KIND[fact.kind]
    return {
        "id": fact.id,
        "version": fact.version,
        "status": fact.status,
        **collection.fields(fact),
        "note": fact.detail.get("note"),
        "asked": list(fact.asked),
        "confirmed_by": fact.confirmed_by,
        "recorded_by": fact.recorded_by,
        "recorded_at": fact.recorded_at,
        "reason": fact.reason,
    }


def course_fact(fact: Fact) -> CourseFact:
    """What the rules look at in a fact."""
    value, level = (None if one is None else format(one, "f") for one in (fact.value, fact.level))
    return CourseFact(
        fact.kind,
        fact.day,
        fact.code,
        value,
        fact.unit,
        level,
        fact.until,
        fact.unreliable,
        fact.status,
        fact.id,
        fact.taken_at,
    )


def in_order(facts: Iterable[CourseFact]) -> list[CourseFact]:
    """Facts in the order in which lists of a course document have them: of two of a day, the later one stands.

    They come in order of recording. Those of a kind and a day that all have their instant are put in its order: a
    result that comes late is not the last one for that.
    """
    found = list(facts)
    of_day: dict[tuple[str, str], list[int]] = {}
    for index, fact in enumerate(found):
        of_day.setdefault((fact.kind, fact.day), []).append(index)
    if len(of_day) == len(found):
        return found
    for places in of_day.values():
        taken = [found[index].taken_at for index in places]
        if len(places) > 1 and None not in taken:
            by_instant = sorted((found[index] for index in places), key=_instant)
            for index, fact in zip(places, by_instant, strict=True):
                found[index] = fact
    return found


def standing_counts(facts: Iterable[CourseFact]) -> dict[str, int]:
    """By day the id of the platelet count that stands for it, as in an answer: the last reliable one, else the last."""
    found: dict[str, tuple[bool, int]] = {}
    for fact in in_order(fact for fact in facts if fact.kind == "platelet-count"):
        sound = fact.status == "final" and not fact.unreliable
        if sound or not found.get(fact.day, (False,))[0]:
            found[fact.day] = sound, fact.id
    return {day: ident for day, (_, ident) in found.items()}


def _instant(fact: CourseFact) -> datetime:
    return datetime.fromisoformat(cast(str, fact.taken_at))


def draft_fact(draft: Draft, ident: int) -> CourseFact:
    """What the rules would look at in an entry, once it is a final fact of that id."""
    value, level = (None if one is None else format(one, "f") for one in (draft.value, draft.level))
    return CourseFact(
        draft.kind,
        draft.day,
        draft.code,
        value,
        draft.unit,
        level,
        draft.until,
        draft.unreliable,
        "final",
        ident,
        draft.taken_at,
    )


def _course_faults(draft: Draft) -> list[Fault]:
    """What the parser of course documents has against an entry."""
    fact = draft_fact(draft, 0)
    place = ENTRIES.get(draft.kind)
    if place is None:
        return []
    entry = place[1](fact)
    return [] if is_right(place[0], entry) else entry_faults(place[0], entry)


def _weight_entry(fact: CourseFact) -> dict[str, object]:
    return {"measured_on": fact.day, "value": read_amount(fact.value or ""), "unit": fact.unit}


def _count_entry(fact: CourseFact) -> dict[str, object]:
    entry: dict[str, object] = {
        "collected_on": fact.day,
        "value": read_amount(fact.value or ""),
        "unit": fact.unit,
    }
    return {**entry, "unreliable": True} if fact.unreliable or fact.status == "unverified" else entry


def _dose_entry(fact: CourseFact) -> dict[str, object]:
    entry: dict[str, object] = {"given_on": fact.day, "micrograms": read_amount(fact.value or "")}
    return entry if fact.level is None else {**entry, "micrograms_per_kg": read_amount(fact.level)}


def _event_entry(fact: CourseFact) -> dict[str, object]:
    entry: dict[str, object] = {"kind": fact.code, "occurred_on": fact.day}
    return entry if fact.until is None else {**entry, "resolved_on": fact.until}


#: By kind of fact: the list of a course document that has it, and how an entry of that list is made of it.
ENTRIES: Final[Mapping[str, tuple[str, Callable[[CourseFact], dict[str, object]]]]] = {
    "weight": ("weights", _weight_entry),
    "platelet-count": ("platelet_counts", _count_entry),
    "dose": ("doses", _dose_entry),
    "event": ("events", _event_entry),
}


def _text(body: Body, key: str) -> str:
    return cast(str, body[key])


def _amount(body: Body, key: str) -> Decimal:
    return tidy(cast(Decimal, body[key]))
