"""Headers in the wild, and what is shown, asked for and refused of them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from titrator.bulk.intake.fields import FIELDS, UNIT_FIELDS, guess, known_kind, known_unit, might_be
from titrator.bulk.intake.plan import Drawn, as_json, as_said, draw_up, from_json, read_said
from titrator.workflow.errors import Invalid

HEADERS: list[tuple[str, str | None, str | None]] = [
    ("MRN", "patient", None),
    ("Patient ID", "patient", None),
    ("hospital_number", "patient", None),
    ("DOB", "born_on", None),
    ("Birth date", "born_on", None),
    ("Geburtsdatum", "born_on", None),
    ("Last Name", "family_name", None),
    ("Surname", "family_name", None),
    ("Vorname", "given_name", None),
    ("Visit date", "day", None),
    ("Date of injection", "day", None),
    ("PLT", "platelets", None),
    ("Platelets (10^9/L)", "platelets", "10^9/L"),
    ("Platelet count [K/µL]", "platelets", "K/µL"),
    ("PLT x10^9/L", "platelets", "x10^9/L"),
    ("Thrombozyten (G/l)", "platelets", "G/l"),
    ("Weight kg", "weight", "kg"),
    ("weight_kg", "weight", "kg"),
    ("Weight (lbs)", "weight", "lbs"),
    ("Wt", "weight", None),
    ("Hb g/dL", "haemoglobin", "g/dL"),
    ("ANC (10*9/L)", "neutrophils", "10*9/L"),
    ("IPF %", "immature_platelet_fraction", "%"),
    ("Nplate dose mcg", "dose", "mcg"),
    ("Romiplostim (µg)", "dose", "µg"),
    ("Dose (µg/kg)", "level", "µg/kg"),
    ("dose mcg/kg", "level", "mcg/kg"),
    ("Dose", "dose", None),
    ("micrograms_per_kg", "level", None),
    ("weight unit", "weight_unit", None),
    ("Pat.-Nr.", "patient", None),
    ("Geb.-Datum", "born_on", None),
    ("Romiplostim Dosis (µg)", "dose", "µg"),
    ("Test code", "kind", None),
    ("Test name", "kind", None),
    ("Result", "value", None),
    ("Shoe size", None, None),
    ("Platelet clumps", None, None),
    ("Next dose", None, None),
    ("Mean platelet volume fL", None, None),
    ("Dose change", None, None),
]


@pytest.mark.parametrize(("header", "field", "unit"), HEADERS, ids=[case[0] for case in HEADERS])
def test_a_header_is_known(header: str, field: str | None, unit: str | None) -> None:
    assert guess(header) == (None if field is None else (field, unit))


@pytest.mark.parametrize("name", [*FIELDS, *UNIT_FIELDS])
def test_each_field_is_known_by_its_own_name(name: str) -> None:
    assert guess(name) == (name, None)


@pytest.mark.parametrize(
    ("written", "kind"),
    [
        ("PLT", "platelets"),
        ("Hb", "haemoglobin"),
        ("DVT", "thrombosis"),
        ("platelet_transfusion", "platelet_transfusion"),
        ("Nplate", "dose"),
        ("Creatinine", None),
        ("", None),
    ],
)
def test_what_a_row_tells_of(written: str, kind: str | None) -> None:
    assert known_kind(written) == kind


def drawn(*header: str, clinics: dict[str, str] | None = None, systems: str | None = "urn:s", **said: Any) -> Drawn:
    named = {"Day Unit": "a" * 20, "a" * 20: "a" * 20} if clinics is None else clinics
    asked = read_said({"protocol": "us-itp-adult", **said})
    return draw_up(header, asked, name="Ward 5 (2025).csv", systems=systems, clinics=named)


def asked(found: Drawn) -> set[str]:
    return {fault.path for fault in found.questions}


def test_what_is_not_said_is_guessed_and_shown() -> None:
    found = drawn("MRN", "Date", "Weight kg")
    assert not found.questions
    assert [guess.taken for guess in found.guesses] == [
        "the number of the patient (patient)",
        "the day of the row (day)",
        "the body weight (weight), in kg",
        "Ward-5-2025",
        "urn:s",
        "Day Unit",
    ]


def test_what_is_said_is_no_guess() -> None:
    first = drawn("MRN", "Date", "Weight kg")
    said = as_said(first.plan, read_said({"protocol": "us-itp-adult"}))
    again = draw_up(first.plan.header, said, name="x.csv", systems=None, clinics=first.plan.clinics)
    assert (again.guesses, again.questions) == ((), ())
    assert again.plan.columns["weight"].unit == "kg"


def test_a_plan_is_kept_and_read_again() -> None:
    plan = drawn("MRN", "Date", "Weight", "Weight unit", "Dose mcg", dates="dmy", units={"level": "mcg/kg"}).plan
    assert from_json(json.loads(json.dumps(as_json(plan)))) == plan
    assert plan.columns["weight"].unit_at == 3


@pytest.mark.parametrize(
    ("header", "said", "paths"),
    [
        (("Date", "Weight kg"), {}, {"columns.patient"}),
        (("MRN", "Weight kg"), {}, {"columns.day"}),
        (("MRN", "Date"), {}, {"columns"}),
        (("MRN", "Date", "Weight"), {}, {"units.weight"}),
        (("MRN", "Date", "Weight (stone)"), {}, {"units.weight"}),
        (("MRN", "Date", "Platelets (mg/L)"), {}, {"units.platelets"}),
        (("MRN", "Patient ID", "Date", "Weight kg"), {}, {"columns.patient"}),
        (("MRN", "Date", "Weight kg", "Weight kg"), {}, {"columns.weight"}),
        (("MRN", "Date", "Test", "Result"), {}, {"columns.unit"}),
        (("MRN", "Date", "Test", "Unit"), {}, {"columns.value"}),
        (("MRN", "Date", "Test", "Result", "Unit", "Weight kg"), {}, {"columns.weight"}),
        (("MRN", "Date", "Weight kg"), {"clinic": "Nowhere"}, {"clinic"}),
        (("MRN", "Date", "Weight kg"), {"columns": {"weight": "Gewicht"}}, {"columns.weight", "columns"}),
    ],
)
def test_what_cannot_be_known_is_asked_for(header: tuple[str, ...], said: dict[str, Any], paths: set[str]) -> None:
    assert asked(drawn(*header, **said)) == paths


def test_of_several_clinics_and_no_numbers_yet_both_are_asked_for() -> None:
    found = drawn("MRN", "Date", "Weight kg", clinics={"A": "1", "B": "2"}, systems=None)
    assert asked(found) == {"clinic", "system"}
    assert asked(drawn("MRN", "Date", "Ward", "Weight kg", clinics={"A": "1", "B": "2"})) == set()


def test_doses_need_a_protocol_or_that_there_is_none() -> None:
    header = ("MRN", "Date", "Dose mcg")
    clinics = {"A": "1"}

    def of(**said: Any) -> set[str]:
        return asked(draw_up(header, read_said(said), name="x", systems="s", clinics=clinics))

    assert of() == {"protocol"}
    assert of(course=False) == set()
    assert of(protocol="us-itp-adult") == set()


WRONG: list[tuple[dict[str, Any], list[str]]] = [
    ({"colour": "red", "dates": "ymd"}, ["colour", "dates"]),
    ({"decimal": "dot"}, ["decimal"]),
    ({"course": "no"}, ["course"]),
    ({"source": "a b"}, ["source"]),
    ({"system": ""}, ["system"]),
    ({"system": 7}, ["system"]),
    ({"delimiter": ";;"}, ["delimiter"]),
    ({"delimiter": '"'}, ["delimiter"]),
    ({"delimiter": "\n"}, ["delimiter"]),
    ({"system": "urn:\x1b[31m"}, ["system"]),
    ({"columns": []}, ["columns"]),
    ({"columns": {"weight": 3}}, ["columns.weight"]),
    ({"columns": {"wieght": "X"}, "units": {"wieght": "kg"}}, ["columns.wieght", "units.wieght"]),
    ({"units": {"weight": "stone", "platelets": "g"}}, ["units.weight", "units.platelets"]),
]


@pytest.mark.parametrize(("document", "paths"), WRONG)
def test_a_mapping_with_faults_is_refused_with_all(document: dict[str, Any], paths: list[str]) -> None:
    with pytest.raises(Invalid) as refused:
        read_said(document)
    assert [fault.path for fault in refused.value.faults] == paths


@pytest.mark.parametrize(
    ("header", "fields"),
    [
        ("Verordnete Dosis heute", ["dose"]),
        ("Injektion (µg)", ["dose"]),
        ("Kontrolle kg", ["weight"]),
        ("Abendwert (10^9/L)", ["platelets", "neutrophils"]),
        ("Kürzel", []),
        ("", []),
    ],
)
def test_what_is_left_out_and_may_be_something(header: str, fields: list[str]) -> None:
    assert might_be(header) == fields


def test_a_unit_in_the_header_of_a_column_that_was_said() -> None:
    said = read_said({"columns": {"dose": "Injektion (µg)"}, "system": "urn:mrn", "protocol": "us-itp-adult"})
    drawn = draw_up(("MRN", "Date", "Injektion (µg)"), said, name="a.csv", systems=None, clinics={"A": "1"})
    assert not drawn.questions
    assert drawn.plan.columns["dose"].unit == "ug"
    assert drawn.plan.columns["dose"].guessed == ("unit",)


def test_rejected_rows_are_of_the_source_of_their_file() -> None:
    for name in ("ward.csv", "ward.csv.rejected.csv", "/tmp/ward.xlsx.rejected.csv"):
        drawn = draw_up(("MRN", "Date"), read_said({}), name=name, systems=None, clinics={"A": "1"})
        assert drawn.plan.source == "ward"


@pytest.mark.parametrize(
    ("field", "written", "unit"),
    [
        ("haemoglobin", "g/l", "g/L"),
        ("haemoglobin", "10^9/L", None),
        ("haemoglobin", "Tsd/µl", None),
        ("haemoglobin", "x10E9/L", None),
        ("platelets", "G/l", "10*9/L"),
        ("platelets", "Tsd/µl", "10*9/L"),
        ("platelets", "mg/dL", None),
    ],
)
def test_g_is_grams_of_haemoglobin_and_giga_of_platelets(field: str, written: str, unit: str | None) -> None:
    assert known_unit(field, written) == unit
