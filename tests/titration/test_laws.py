"""Laws that hold for every course, whatever a week brings. Each docstring states the law."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import CATALOGUE
from titrator.titration.answer import to_text
from titrator.titration.codes import Action
from titrator.titration.course import read_document, read_text
from titrator.titration.documents import decode, encode, exact
from titrator.titration.errors import InvalidDocument
from titrator.titration.preparation import DILUTED
from titrator.titration.protocol import WeeklyProtocol
from titrator.titration.recommend import Recommendation, recommend

START = date(2024, 1, 15)
LIMITS = [
    0,
    20,
    38,
    49.9,
    50,
    50.1,
    100,
    149.9,
    150,
    150.1,
    199.9,
    200,
    200.1,
    249.9,
    250,
    250.1,
    399.9,
    400,
    400.1,
    600,
]
DATES = ("on", "born_on", "baseline_on", "measured_on", "collected_on", "given_on", "occurred_on", "resolved_on")

Document = dict[str, Any]


def days(last: int = 200) -> st.SearchStrategy[str]:
    return st.integers(0, last).map(lambda offset: (START + timedelta(days=offset)).isoformat())


def listed(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Document]]:
    return st.lists(st.fixed_dictionaries(fields), max_size=6)


@st.composite
def courses(draw: st.DrawFn) -> Document:
    """A weekly course that more or less follows a protocol, asked about on its last day, with things gone wrong."""
    protocol = draw(st.sampled_from(CATALOGUE.ids()))
    weeks = draw(st.integers(0, 12))
    kg = draw(st.sampled_from([0.7, 4.2, 10, 22.9, 23, 58.1, 75, 100, 130.5]))
    level = draw(st.integers(1, 10))
    change = draw(st.integers(0, 1))
    starts, doses, counts = START + timedelta(days=draw(st.integers(30, 60))), [], []
    for week in range(weeks):
        given_on = starts + timedelta(days=7 * week + draw(st.sampled_from([0, 0, 0, 0, 1, -3, 4])))
        stated = min(level + change * week, 10)
        dose: Document = {"given_on": given_on.isoformat(), "micrograms": round(stated * kg, 2)}
        doses.append(dose | draw(st.sampled_from([{}, {"micrograms_per_kg": stated}])))
        counts.append(
            {
                "collected_on": (given_on + timedelta(days=draw(st.sampled_from([0, 0, 4, 6, 7])))).isoformat(),
                "value": draw(st.sampled_from(LIMITS)),
                "unit": "10*9/L",
                "unreliable": draw(st.sampled_from([False, False, False, True])),
            }
        )
    on = starts + timedelta(days=7 * weeks + draw(st.sampled_from([0, 0, 0, 3, 4, 8, 40])))
    newest = {"collected_on": on.isoformat(), "value": draw(st.sampled_from(LIMITS)), "unit": "K/uL"}
    counts += draw(st.sampled_from([[], [newest]]))
    document: Document = {
        "protocol": protocol,
        "on": on.isoformat(),
        "weights": [
            {
                "measured_on": (starts - timedelta(days=draw(st.sampled_from([0, 7, 29])))).isoformat(),
                "value": kg,
                "unit": "kg",
            }
        ],
        "platelet_counts": counts,
        "doses": doses,
        "eligibility": draw(st.sampled_from([[], ["mds-excluded", "marrow-infiltration-excluded"]])),
        "events": draw(
            listed(
                kind=st.sampled_from(["platelet_transfusion", "rescue_therapy", "thrombosis", "adverse_event"]),
                occurred_on=days(),
            )
        )
        if draw(st.booleans())
        else [],
    }
    document["weights"] += draw(
        st.sampled_from([[], [{"measured_on": on.isoformat(), "value": round(kg * 1.2, 2), "unit": "kg"}]])
    )
    return document | draw(st.sampled_from([{}, {"baseline_on": starts.isoformat()}]))


def ask(document: Document) -> Recommendation:
    request = read_document(exact(document), CATALOGUE.fault)
    return recommend(CATALOGUE.get(request.protocol), request.course, request.on)


def each_day(document: Document, change: Callable[[str], str]) -> Document:
    """The document with each of its dates changed."""
    return {
        key: change(value)
        if key in DATES
        else [{k: change(v) if k in DATES else v for k, v in entry.items()} for entry in value]
        if isinstance(value, list) and value and isinstance(value[0], dict)
        else value
        for key, value in document.items()
    }


def without_texts(answer: Document) -> Document:
    kept = {key: value for key, value in answer.items() if key != "input_sha256"}
    return kept | {key: [statement["code"] for statement in answer[key]] for key in ("reasons", "alerts")}


@given(courses())
def test_the_same_input_gives_the_same_bytes(document: Document) -> None:
    assert to_text(ask(document)) == to_text(ask(json.loads(json.dumps(document))))


@given(courses(), st.integers(-40, 400))
def test_whole_weeks_shift_only_dates_texts_and_the_digest(document: Document, weeks: int) -> None:
    """Nothing but a birth date ties a course to the calendar."""

    def later(day: str) -> str:
        return (date.fromisoformat(day) + timedelta(weeks=weeks)).isoformat()

    before, after = (json.loads(to_text(ask(each_day(document, move)))) for move in (str, later))
    shifted = each_day(before, lambda day: day)
    for key in ("on", "due_on", "next_count_on"):
        shifted[key] = before[key] and later(before[key])
    evidence = before["evidence"]
    shifted["evidence"] = evidence | {
        key: [later(day) for day in evidence[key]] for key in ("counts_used", "doses_used")
    }
    shifted["evidence"]["dosing_weight_on"] = evidence["dosing_weight_on"] and later(evidence["dosing_weight_on"])
    assert without_texts(after) == without_texts(shifted)


@given(courses(), courses())
def test_facts_after_the_day_change_nothing(document: Document, other: Document) -> None:
    """A past day can be replayed: what came later is ignored, to the last byte of the digest."""
    shift = timedelta(days=1 + (date.fromisoformat(document["on"]) - START).days)

    def later(day: str) -> str:
        return (date.fromisoformat(day) + shift).isoformat()

    after = each_day(other, later)
    both = document | {key: document[key] + after[key] for key in ("weights", "platelet_counts", "doses", "events")}
    assert to_text(ask(both)) == to_text(ask(document))
    assert to_text(ask({"baseline_on": later(document["on"])} | both)) == to_text(ask(document))


@given(courses(), st.randoms(use_true_random=False))
def test_the_order_of_entries_of_different_days_changes_nothing(document: Document, random: Any) -> None:
    shuffled = dict(document)
    for key, dated in (
        ("weights", "measured_on"),
        ("platelet_counts", "collected_on"),
        ("doses", "given_on"),
        ("events", "occurred_on"),
    ):
        by_day: dict[str, list[Document]] = {}
        for entry in document[key]:
            by_day.setdefault(entry[dated], []).append(entry)
        order = list(by_day)
        random.shuffle(order)
        shuffled[key] = [entry for day in order for entry in by_day[day]]
    assert to_text(ask(shuffled)) == to_text(ask(document))


@given(courses())
def test_no_dose_exceeds_the_maximum_by_more_than_half_a_graduation(document: Document) -> None:
    """On any path: neither in µg/kg nor in µg, beyond what rounding to 0.01 mL adds."""
    answer = ask(document)
    dose, protocol = answer.dose, answer.protocol
    if dose is None:
        assert answer.action in (Action.HOLD, Action.REFER, Action.INCOMPLETE, Action.COMPLETE)
        return
    assert answer.evidence.dosing_weight_kg is not None
    most = protocol.maximum * answer.evidence.dosing_weight_kg
    if protocol.maximum_micrograms is not None:
        most = min(most, protocol.maximum_micrograms)
    graduation = Decimal("0.625") if dose.concentration == DILUTED else Decimal("2.5")
    assert dose.micrograms <= most
    assert dose.delivered <= most + graduation
    assert dose.level <= protocol.maximum
    assert sum(size * number for size, number in dose.vials) == dose.delivered + dose.waste


@given(courses())
def test_every_answer_has_a_reason_with_a_citation(document: Document) -> None:
    answer = json.loads(to_text(ask(document)))
    assert answer["reasons"]
    for statement in answer["reasons"] + answer["alerts"]:
        assert statement["text"]
        assert statement["citation"]
    assert [s["code"] for s in answer["alerts"]] == sorted(s["code"] for s in answer["alerts"])


@given(courses())
def test_no_dose_while_the_newest_reliable_count_is_over_the_hold_limit(document: Document) -> None:
    """Nor with an unresolved safety event. Counts from the day of the last dose on; none are over it before a dose."""
    answer = ask(document)
    if answer.dose is None or not isinstance(answer.protocol, WeeklyProtocol):
        return
    facts = answer.facts
    last = facts.doses[-1].day if facts.doses else 0
    newest = facts.reliable[-1] if facts.reliable else None
    assert newest is None or newest.day < last or not answer.protocol.hold.holds(newest.platelets)
    assert not facts.unresolved_safety_events()


@given(courses())
def test_a_course_reads_back_from_its_canonical_document(document: Document) -> None:
    """Encode and decode are inverse, and the digest of the canonical document is its own."""
    request = read_document(exact(document), CATALOGUE.fault)
    known = request.course.until(request.on)
    text = request.course.document(request.protocol, request.on)
    again = read_text(text, CATALOGUE.fault)
    assert (again.protocol, again.on, again.course) == (request.protocol, request.on, known)
    assert again.course.document(again.protocol, again.on) == text


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.decimals(-(10**6), 10**6, places=6),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
    max_leaves=20,
)


@given(VALUES)
def test_json_decodes_to_what_was_encoded(value: Any) -> None:
    assert decode(encode(value)) == value


@given(st.text() | st.binary())
def test_no_text_at_all_breaks_the_reader(text: str | bytes) -> None:
    """Whatever stands in a file is refused with at least one fault; by chance it is never a course document."""
    with pytest.raises(InvalidDocument) as caught:
        read_text(text, CATALOGUE.fault)
    assert caught.value.faults
