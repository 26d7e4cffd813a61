"""The worked examples of each shipped protocol pass, and they guard every single setting of it.

The second is the test of the examples: each setting is nudged once, on its own, and the nudged file must either be
refused or fail at least one of its examples. A slip of the pen in a protocol can then not go unnoticed.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace
from decimal import Decimal
from typing import Any, NamedTuple

import pytest

from titrator.protocols import SHIPPED
from titrator.protocols.examples import Example, read_examples, run
from titrator.titration.errors import InvalidProtocol
from titrator.titration.preparation import prepare
from titrator.titration.protocol import Protocol, read_protocol

IDS = sorted(path.stem for path in SHIPPED.glob("*.toml") if not path.name.endswith(".examples.toml"))
FILES: dict[str, dict[str, Any]] = {
    ident: tomllib.loads((SHIPPED / f"{ident}.toml").read_text(encoding="utf-8"), parse_float=Decimal) for ident in IDS
}
EXAMPLES = {ident: read_examples(SHIPPED / f"{ident}.examples.toml", ident) for ident in IDS}


def read(document: dict[str, Any]) -> Protocol:
    return read_protocol(document, name=document["id"], sha256="0" * 64)


PROTOCOLS = {ident: read(document) for ident, document in FILES.items()}


# The examples


@pytest.mark.parametrize(
    ("ident", "example"),
    [
        pytest.param(ident, example, id=f"{ident}: {example.name}")
        for ident, examples in EXAMPLES.items()
        for example in examples
    ],
)
def test_a_worked_example_gets_its_answer(ident: str, example: Example) -> None:
    assert run(PROTOCOLS[ident], example).wrong == ""


@pytest.mark.parametrize("ident", IDS)
def test_the_examples_of_a_protocol_have_each_a_name_of_their_own(ident: str) -> None:
    names = [example.name for example in EXAMPLES[ident]]
    assert len(set(names)) == len(names)
    assert all(example.limit for example in EXAMPLES[ident])


# The nudges

AMOUNTS = ("start_micrograms_per_kg", "step_micrograms_per_kg", "minimum_micrograms_per_kg",
           "maximum_micrograms_per_kg", "maximum_micrograms")  # fmt: skip
OTHER_COMPARATOR = {"<": "<=", "<=": "<", ">": ">=", ">=": ">"}
COMPLEMENT = {"<": ">=", "<=": ">", ">": "<=", ">=": "<"}
BY = (Decimal(-1), Decimal("-0.1"), Decimal("0.1"), Decimal(1))
MAKESHIFT_UNPRINTED = {"rule": "resume", "text": "a nudge"}


class Nudge(NamedTuple):
    """One setting changed: what it is called, and the file with the change."""

    name: str
    document: dict[str, Any]


def nudged(document: dict[str, Any], name: str, change: Callable[[dict[str, Any]], object]) -> Nudge:
    copy = deepcopy(document)
    change(copy)
    return Nudge(name, copy)


def put(table: str, key: str, value: object) -> Callable[[dict[str, Any]], object]:
    return lambda document: document[table].__setitem__(key, value)


def take(table: str, key: str) -> Callable[[dict[str, Any]], object]:
    return lambda document: document[table].pop(key)


def signed(number: Decimal | int) -> str:
    return f"{number:+}"


def nudges(document: dict[str, Any]) -> Iterator[Nudge]:
    """Every nudge of a file."""
    yield from nudges_of_the_population(document)
    yield from nudges_of_the_weight(document)
    yield from nudges_of_the_dose(document)
    once = document["schedule"] == "once"
    yield nudged(document, "schedule", lambda copy: copy.update(schedule="weekly" if once else "once"))
    if not once:
        yield from nudges_of_the_platelets(document)


def nudges_of_the_population(document: dict[str, Any]) -> Iterator[Nudge]:
    population = document["population"]
    for key in ("minimum_age_years", "maximum_age_years"):
        if key in population:
            for by in (-1, 1):
                yield nudged(document, f"{key} {signed(by)}", put("population", key, population[key] + by))
    if "maximum_age_years" in population:
        yield nudged(document, "maximum_age_years removed", take("population", "maximum_age_years"))
    else:
        yield nudged(document, "maximum_age_years 64 added", put("population", "maximum_age_years", 64))
    codes = population.get("eligibility", [])
    for code in codes:
        others = [other for other in codes if other != code]
        yield nudged(document, f"eligibility {code} removed", put("population", "eligibility", others))
    yield nudged(document, "eligibility added", put("population", "eligibility", [*codes, "something-else"]))


def nudges_of_the_weight(document: dict[str, Any]) -> Iterator[Nudge]:
    weight = document["weight"]
    # A baseline weight has no maximum age: whoever mistakes the basis leaves it out, and the file is sound.
    other = {"basis": "baseline"} if weight["basis"] == "current" else {"basis": "current"}
    yield nudged(document, "weight basis", lambda copy: copy.update(weight=other))
    if "maximum_age_days" in weight:
        for by in (-1, 1):
            days = weight["maximum_age_days"] + by
            yield nudged(document, f"maximum_age_days {signed(by)}", put("weight", "maximum_age_days", days))
        yield nudged(document, "maximum_age_days removed", take("weight", "maximum_age_days"))
    else:
        current = {"basis": "current", "maximum_age_days": 84}
        yield nudged(document, "weight of at most 84 days", lambda copy: copy.update(weight=current))
        yield nudged(document, "maximum_age_days 84 added", put("weight", "maximum_age_days", 84))


def nudges_of_the_dose(document: dict[str, Any]) -> Iterator[Nudge]:
    dose = document["dose"]
    for key in AMOUNTS:
        if key in dose:
            for by in BY:
                yield nudged(document, f"{key} {signed(by)}", put("dose", key, dose[key] + by))
    # Two settings that must not pass each other, moved together, for a file in which only one moves may be refused.
    ends = ("minimum" if "minimum_micrograms_per_kg" in dose else "maximum", "start")
    for by in BY:
        both = {f"{end}_micrograms_per_kg": dose[f"{end}_micrograms_per_kg"] + by for end in ends}
        yield nudged(document, f"{' and '.join(ends)} {signed(by)}", lambda copy, both=both: copy["dose"].update(both))
    if "maximum_micrograms" in dose:
        yield nudged(document, "maximum_micrograms removed", take("dose", "maximum_micrograms"))
    vials = dose["vials_micrograms"]
    for size in vials:
        others = [other for other in vials if other != size]
        yield nudged(document, f"vial {size} removed", put("dose", "vials_micrograms", others))
    for size in (100, 125, 250, 375, 500, 625, 750, 1000):
        if size not in vials:
            more = sorted([*vials, size])
            yield nudged(document, f"vial {size} added", put("dose", "vials_micrograms", more))


def parts(limit: str) -> tuple[str, Decimal]:
    comparator = limit.rstrip("0123456789.")
    return comparator, Decimal(limit.removeprefix(comparator))


def set_limit(key: str, comparator: str, value: Decimal) -> Callable[[dict[str, Any]], None]:
    """Set a limit; the band that keeps the dose moves with it, so that the file stays sound."""

    def change(document: dict[str, Any]) -> None:
        platelets = document["platelets"]
        platelets[key] = f"{comparator}{value}"
        if key in {"increase", "reduce"}:
            platelets["maintain"][key == "reduce"] = f"{COMPLEMENT[comparator]}{value}"

    return change


def without_resume(document: dict[str, Any]) -> None:
    del document["platelets"]["resume"]
    document["unprinted"].append(MAKESHIFT_UNPRINTED)


def nudges_of_the_platelets(document: dict[str, Any]) -> Iterator[Nudge]:
    platelets = document["platelets"]
    for by in (-1, 1):
        weeks = platelets["reduce_weeks"] + by
        yield nudged(document, f"reduce_weeks {signed(by)}", put("platelets", "reduce_weeks", weeks))
    for key in ("increase", "reduce", "hold", "resume"):
        if key in platelets:
            comparator, value = parts(platelets[key])
            for by in BY:
                yield nudged(document, f"{key} {signed(by)}", set_limit(key, comparator, value + by))
            flipped = OTHER_COMPARATOR[comparator]
            yield nudged(document, f"{key} {flipped}", set_limit(key, flipped, value))
    for index, limit in enumerate(platelets["maintain"]):
        comparator, value = parts(limit)
        for other in [f"{comparator}{value + by}" for by in BY] + [f"{OTHER_COMPARATOR[comparator]}{value}"]:
            band = [other if place == index else kept for place, kept in enumerate(platelets["maintain"])]
            yield nudged(document, f"maintain {other} for {limit}", put("platelets", "maintain", band))
    if "resume" in platelets:
        yield nudged(document, "resume removed", without_resume)
    else:
        for limit in ("<400", "<=200", "<200", "<150"):
            yield nudged(document, f"resume {limit} added", put("platelets", "resume", limit))


NUDGES = {(ident, nudge.name): nudge.document for ident, document in FILES.items() for nudge in nudges(document)}
#: Nudges that change no answer, and why.
TOO_LARGE = "no dose of this protocol is above 500 micrograms, which 125, 250 and 500 hold with less left over"
EQUIVALENT = {("cart-2021-case", f"vial {size} added"): TOO_LARGE for size in (625, 750, 1000)}


def is_noticed(ident: str, document: dict[str, Any]) -> bool:
    """Whether a nudged file is refused or fails an example."""
    try:
        protocol = read(document)
    except InvalidProtocol:
        return True
    return any(run(protocol, example).wrong for example in EXAMPLES[ident])


@pytest.mark.parametrize(
    ("ident", "name"), [pytest.param(*key, id=": ".join(key)) for key in NUDGES if key not in EQUIVALENT]
)
def test_a_nudge_of_a_single_setting_is_noticed(ident: str, name: str) -> None:
    assert NUDGES[ident, name] != FILES[ident]
    assert is_noticed(ident, NUDGES[ident, name])


@pytest.mark.parametrize(
    ("ident", "name", "reason"), [pytest.param(*key, why, id=": ".join(key)) for key, why in EQUIVALENT.items()]
)
def test_a_nudge_that_goes_unnoticed_changes_the_vials_of_no_dose(ident: str, name: str, reason: str) -> None:
    plain, changed = PROTOCOLS[ident], read(NUDGES[ident, name])
    most, sizes, other_sizes = plain.maximum_micrograms, plain.vials, changed.vials
    assert replace(changed, vials=sizes) == plain, "nothing but the vials"
    for kg in range(1, 401):
        for level in (1, 2, 3, 4, 5, 6, 7, 8, plain.maximum):
            dose = prepare(Decimal(level), Decimal(kg), most, sizes)
            assert dose == prepare(Decimal(level), Decimal(kg), most, other_sizes), reason
