"""Whatever a table says, what is taken of it is what the doors take: the schemas of REST judge each entry."""

from __future__ import annotations

from typing import Any, Final

import marshmallow as ma
from hypothesis import given
from hypothesis import strategies as st

from schemas.dose import DoseIn
from schemas.event import EventIn
from schemas.observation import CountIn, ObservationIn, WeightIn
from schemas.patient import IdentifierPart, PatientIn
from titrator.bulk.intake.plan import draw_up, read_said
from titrator.bulk.intake.rows import Row, history
from titrator.titration.documents import decode, encode
from titrator.workflow.record import dated_draft

SCHEMAS: Final[dict[str, type[ma.Schema]]] = {
    "weights": WeightIn,
    "platelet-counts": CountIn,
    "observations": ObservationIn,
    "doses": DoseIn,
    "events": EventIn,
}
TODAY: Final = "2026-03-09"
WIDE: Final = (
    *("MRN", "Surname", "Forename", "DOB", "Date", "Weight", "Weight unit", "PLT", "Platelets unit", "Hb g/dL"),
    *("ANC (/uL)", "IPF %", "Dose mg", "Level mcg/kg", "Comment"),
)
LONG: Final = ("MRN", "Surname", "Forename", "DOB", "Date", "Test", "Result", "Unit", "Resolved on", "Comment")
#: What stands in cells: what is meant, what is nearly so, and what nobody means.
CELLS: Final = st.sampled_from(
    [
        "0",
        "1",
        "20",
        "70.5",
        "154",
        "1e3",
        "0.07",
        "-5",
        "5000.1",
        "400.01",
        "0.29",
        "999999999999",
        "9999999999999",
        "0.0000000000000000000000001",
        "<5",
        "1,5",
        "n/a",
        "kg",
        "lbs",
        "g",
        "stone",
        "10^9/L",
        "K/µL",
        "/uL",
        "G/l",
        "mg/dL",
        "%",
        "ug",
        "mcg",
        "PLT",
        "Hb",
        "weight",
        "dose",
        "DVT",
        "IVIG",
        "adverse_event",
        "thrombosis",
        "level",
        "2025-03-03",
        "03.03.2025",
        "2026-03-09",
        "2026-03-10",
        "1899-01-01",
        "1960-05-01",
        "2025-02-30",
        "Berg",
        "Anna",
        "=1+1",
        "\u202e",
    ]
) | st.text(max_size=12)


def check(header: tuple[str, ...], rows: list[list[Any]]) -> int:
    said = read_said({"source": "x", "system": "urn:x", "protocol": "us-itp-adult", "dates": "dmy"})
    drawn = draw_up(header, said, name="x.csv", systems=None, clinics={"A": "a"})
    assert not drawn.questions, drawn.questions
    found = history(drawn.plan, "7", [Row(place, cells) for place, cells in enumerate(rows, 2)])
    assert len({line for line, _ in found.refused}) == len(found.refused)
    assert all(why for _, why in found.refused)
    if found.person is None:
        return 0
    person = found.person
    assert not IdentifierPart().validate({"system": person.system, "value": person.number})
    told = {"family_name": person.family_name, "given_name": person.given_name, "born_on": person.born_on}
    body = {"clinic": person.clinic, "family_name": "B", "given_name": "A"}
    assert not PatientIn().validate(body | {key: value for key, value in told.items() if value})
    taken = 0
    for one in found.told:
        _, faults = dated_draft(one.collection, one.body, person.born_on, TODAY)
        if not faults:
            sent = decode(encode(dict(one.body)))
            assert not SCHEMAS[one.collection.name]().validate(sent), one  # type: ignore[arg-type]
            taken += 1
    assert len({one.name for one in found.told}) == len(found.told)
    return taken


@given(st.lists(st.lists(CELLS, min_size=len(WIDE) - 1, max_size=len(WIDE) - 1), min_size=1, max_size=3))
def test_what_is_taken_of_visits_is_what_the_doors_take(rows: list[list[str]]) -> None:
    check(WIDE, [["7", *cells] for cells in rows])


@given(
    st.sampled_from(["2025-03-03", "03.03.2025"]),
    st.lists(CELLS, min_size=10, max_size=10),
    st.sampled_from([["70.5", "kg"], ["154", "lbs"], ["", ""]]),
)
def test_nor_does_it_matter_what_stands_beside_what_is_right(when: str, cells: list[str], weight: list[str]) -> None:
    check(WIDE, [["7", "B", "A", "1960-05-01", when, *weight, *cells[:8]]])


def test_some_of_it_was_taken() -> None:
    rows = [["7", "B", "A", "1960-05-01", "2025-03-03", "70", "kg", "20", "K/µL", "9", "2000", "5", "0.07", "1", "x"]]
    assert check(WIDE, rows) == 6


@given(st.lists(st.lists(CELLS, min_size=len(LONG) - 1, max_size=len(LONG) - 1), min_size=1, max_size=4))
def test_what_is_taken_of_facts_is_what_the_doors_take(rows: list[list[str]]) -> None:
    check(LONG, [["7", "B", "A", "1960-05-01", "2025-03-03", *cells[4:]] for cells in rows])
