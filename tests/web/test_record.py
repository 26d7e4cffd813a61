"""What is recorded on pages: asked, refused and kept as over REST; nothing is overwritten."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from tests.api.support import TODAY, WHY, House, count, day, dose, event, observation, weight
from tests.web.support import Page, Person
from titrator.web.entries import SHEETS, entry_forms
from titrator.web.facts import week_rows


def said(page: Page) -> str:
    return page.text.replace("\xa0", " ")


def stored(house: House, patient: str, collection: str) -> Any:
    return house.get(f"/patients/{patient}/{collection}")["items"]


def made(house: House, patient: str, collection: str, body: object, who: str = "pharmacist") -> str:
    """The path of the page of a new fact."""
    answer = house.record(patient, collection, body, who)
    assert answer.status == 201, answer.text
    return f"/patients/{patient}/{collection}/{answer.json['id']}"


#: By form: its path, what is filled in beside the day of today, what is said then, what is stored.
ENTRIES: list[tuple[str, dict[str, str | list[str] | None], str, dict[str, object]]] = [
    ("platelet-counts/new", {"value": "60"}, "Platelet count 60 ×10⁹/L", {"value": 60, "unit": "10*9/L"}),
    (
        "platelet-counts/new",
        {"value": "9500", "unit": "/uL", "unreliable": "y", "note": "clumps"},
        "Platelet count 9500 per microlitre",
        {"value": 9500, "unit": "/uL", "unreliable": True, "note": "clumps"},
    ),
    ("weights/new", {"value": "74.50"}, "Weight 74.5 kg", {"value": Decimal("74.5"), "unit": "kg"}),
    (
        "doses/new",
        {"micrograms": "75", "micrograms_per_kg": "1"},
        "Dose given 75 micrograms (1 microgram/kg)",
        {"micrograms": 75, "micrograms_per_kg": 1, "given_on": TODAY},
    ),
    (
        "doses/not-given/new",
        {"reason_not_given": "refused"},
        "Dose not given: Patient refused",
        {"reason_not_given": "refused", "not_given_on": TODAY},
    ),
    (
        "events/transfusions/new",
        {"kind": "red_cell_transfusion", "occurred_on": day(2)},
        "Red cell transfusion",
        {"kind": "red_cell_transfusion", "occurred_on": day(2)},
    ),
    (
        "events/new",
        {"kind": "adverse_event", "term": "Headache", "scale": "ctcae-5.0", "grade": "2"},
        "Adverse event: Headache, CTCAE 5.0 grade 2",
        {"kind": "adverse_event", "term": "Headache", "scale": "ctcae-5.0", "grade": 2},
    ),
    ("events/new", {"kind": "thrombosis"}, "Thrombosis", {"kind": "thrombosis", "grade": None}),
    (
        "observations/new",
        {"measure": "haemoglobin g/dL", "value": "11.4", "lower_limit_of_normal": "13.5"},
        "Haemoglobin 11.4 g/dL",
        {"code": "haemoglobin", "unit": "g/dL", "value": Decimal("11.4"), "lower_limit_of_normal": Decimal("13.5")},
    ),
    (
        "observations/new",
        {"measure": "other", "other_code": "ldh", "other_unit": "U/L", "value": "240"},
        "ldh 240 U/L",
        {"code": "ldh", "unit": "U/L", "value": 240},
    ),
]


@pytest.mark.parametrize(("path", "filled", "told", "kept"), ENTRIES)
def test_an_entry_is_recorded_and_told(
    house: House, path: str, filled: dict[str, Any], told: str, kept: dict[str, object]
) -> None:
    patient = house.on_course()
    somebody = Person(house, "technician")
    form = f"/patients/{patient}/{path}"
    page = somebody.submit(somebody.get(form), form, **filled)
    assert (page.status, page.path) == (200, f"/patients/{patient}")
    assert f"Recorded: {told}, {'Sat 7' if filled.get('occurred_on') else 'Mon 9'} Mar 2026." in said(page)
    newest = max(stored(house, patient, path.split("/")[0]), key=lambda one: one["id"])
    assert kept.items() <= newest.items()
    assert newest["recorded_by"] == house.ids["technician"]


#: By form: what is filled in, and what is said to be wrong, each beside its field.
FAULTS: list[tuple[str, dict[str, str], list[str]]] = [
    ("platelet-counts/new", {}, ["Platelet count: required"]),
    (
        "platelet-counts/new",
        {"value": "12,5"},
        ["Platelet count: must be a number, with a point before decimals: 12.5"],
    ),
    ("platelet-counts/new", {"value": "9", "collected_on": ""}, ["Collected on: required"]),
    (
        "platelet-counts/new",
        {"value": "-9", "collected_on": "2026-02-30", "unit": "g"},
        ["Platelet count: must be a number", "Collected on: must be a date", "Unit: must be one of"],
    ),
    ("platelet-counts/new", {"value": "9", "collected_on": day(-1)}, ["Collected on: must not be after 2026-03-09"]),
    ("platelet-counts/new", {"value": "5001"}, ["Platelet count: must be from 0 to 5000"]),
    ("weights/new", {"value": "0"}, ["Weight: must be"]),
    ("doses/new", {"micrograms": "0"}, ["Dose given: must be above 0 to 5000"]),
    ("doses/not-given/new", {}, ["Why it was not given: required"]),
    ("events/new", {}, ["Event: required"]),
    ("events/new", {"kind": "adverse_event"}, ["Term: required for an adverse event without a scale"]),
    ("events/new", {"kind": "adverse_event", "term": "x", "grade": "2"}, ["Scale: required"]),
    ("events/new", {"kind": "adverse_event", "scale": "crs", "grade": "7"}, ["Grade: must be a whole number"]),
    ("observations/new", {"measure": "other", "value": "5"}, ["Code: required", "Unit: required"]),
    ("observations/new", {"other_unit": "g/L", "value": "5"}, ["Unit: leave it empty"]),
    (
        "observations/new",
        {"measure": "other", "other_code": "a b", "other_unit": "%"},
        ["Code: must match", "Value: req"],
    ),
]


@pytest.mark.parametrize(("path", "filled", "wrong"), FAULTS)
def test_what_is_wrong_is_told_beside_its_field(
    house: House, path: str, filled: dict[str, Any], wrong: list[str]
) -> None:
    patient = house.on_course()
    somebody = Person(house)
    form = f"/patients/{patient}/{path}"
    empty = somebody.get(form)
    before = house.everything()
    page = somebody.submit(empty, form, **filled)
    assert (page.status, page.path) == (422, form)
    assert "Nothing has been recorded." in said(page)
    for one in wrong:
        assert one in said(page), one
    assert page.html.count('class="fault"') == len(wrong)
    kept = page.sheet(form).fields
    assert {name: kept[name] for name in filled if name not in ("unit", "grade")} == {
        name: [value] for name, value in filled.items() if name not in ("unit", "grade")
    }
    assert house.everything() == before


def test_a_tenfold_count_is_asked_about_and_typed_twice(house: House) -> None:
    patient = house.on_course()
    house.record(patient, "platelet-counts", count(7, 60))
    somebody = Person(house)
    form = f"/patients/{patient}/platelet-counts/new"
    page = somebody.submit(somebody.get(form), form, value="600")
    assert page.status == 422
    assert "600 ×10⁹/L is ten times or a tenth of 60 ×10⁹/L on Mon 2 Mar 2026. Yes, it is right." in said(page)
    again = somebody.submit(page, form, confirm="COUNT-FAR-FROM-LAST")
    assert "must be the same value, typed once more" in said(again)
    assert again.sheet(form).fields["confirm"] == ["COUNT-FAR-FROM-LAST"], "what was answered is not asked again"
    third = somebody.submit(again, form, repeat="60")
    assert third.status == 422
    assert len(stored(house, patient, "platelet-counts")) == 1
    last = somebody.submit(third, form, repeat="600")
    assert "Recorded: Platelet count 600 ×10⁹/L" in said(last)
    newest = stored(house, patient, "platelet-counts")[-1]
    assert (newest["asked"], newest["confirmed_by"]) == (["COUNT-FAR-FROM-LAST"], house.ids["pharmacist"])


def test_a_yes_to_what_is_not_asked_any_more(house: House) -> None:
    patient = house.on_course()
    house.record(patient, "platelet-counts", count(7, 60))
    somebody = Person(house)
    form = f"/patients/{patient}/platelet-counts/new"
    asked = somebody.submit(somebody.get(form), form, value="600")
    page = somebody.submit(asked, form, value="61", confirm="COUNT-FAR-FROM-LAST", repeat="61")
    assert "What was asked before is not asked of what is filled in now." in said(page)
    assert "Recorded: Platelet count 61 ×10⁹/L" in said(somebody.submit(page, form))


def test_a_weight_far_from_the_last_is_asked_about(house: House) -> None:
    patient = house.on_course()
    somebody = Person(house)
    form = f"/patients/{patient}/weights/new"
    page = somebody.submit(somebody.get(form), form, value="55")
    assert "differs by 20 % or more" in said(page)
    assert "Recorded: Weight 55 kg" in said(somebody.submit(page, form, confirm="WEIGHT-FAR-FROM-LAST"))


def test_a_weight_in_pounds_is_asked_about_even_where_one_of_that_day_is_there(house: House) -> None:
    patient = house.on_course()
    somebody = Person(house)
    form = f"/patients/{patient}/weights/new"
    assert "Recorded: Weight 75 kg" in said(somebody.submit(somebody.get(form), form, value="75"))
    page = said(somebody.submit(somebody.get(form), form, value="165"))
    assert "75 kg is recorded of" in page
    assert "165 kg differs by 20 % or more from 75 kg. In lb it would be 74.8 kg: is the unit right?" in page


def test_counts_begin_with_the_unit_of_the_last_one(house: House) -> None:
    patient = house.on_course()
    form = f"/patients/{patient}/platelet-counts/new"
    assert Person(house).get(f"/patients/{patient}").sheet(form).fields["unit"] == ["10*9/L"]
    house.post(f"/patients/{patient}/platelet-counts", count(0, 45000, "/uL"))
    page = Person(house).get(f"/patients/{patient}")
    assert page.sheet(form).fields["unit"] == ["/uL"]
    assert "45\u202f000\xa0per microlitre" in page.html, "zeros in a row are miscounted"


def test_two_clicks_record_once(house: House) -> None:
    patient = house.on_course()
    somebody = Person(house)
    sheet = somebody.get(f"/patients/{patient}/platelet-counts/new").sheet(f"/patients/{patient}/platelet-counts/new")
    fields = {**sheet.fields, "value": ["60"]}
    for told in ("Recorded:", "This has been done already."):
        assert told in said(somebody.post(sheet.action, fields))
    assert len(stored(house, patient, "platelet-counts")) == 1


def test_nothing_is_recorded_of_who_is_not_active(house: House) -> None:
    patient = house.on_course()
    house.call("pharmacist", "PATCH", f"/patients/{patient}", {"active": False, **WHY}, version=1)
    somebody = Person(house)
    form = f"/patients/{patient}/platelet-counts/new"
    page = somebody.submit(somebody.get(form), form, value="60")
    assert page.status == 409
    assert "The patient is not active" in said(page)


def test_the_forms_are_those_of_the_panel(house: House) -> None:
    patient = house.on_course()
    with house.app.test_request_context("/"):
        from_panel = entry_forms(TODAY)
        template = house.app.jinja_env.from_string(
            "{% from 'entry.html' import quick_entry with context %}{{ quick_entry(who, forms) }}"
        )
        html = template.render(who={"patient": {"id": patient}}, forms=from_panel)
    assert set(from_panel) == {sheet.name for sheet in SHEETS}
    for sheet in SHEETS:
        assert f'action="/patients/{patient}/{sheet.collection.name}/{sheet.path}"' in html
        assert from_panel[sheet.name].form[sheet.form.DAY].data == TODAY
    ids = [part.split('"')[0] for part in html.split(' id="')[1:]]
    assert len(ids) == len(set(ids)), "seven forms stand on one page"


# Corrections, verification, errors


def test_a_correction_stands_beside_what_was_said(house: House) -> None:
    patient = house.on_course()
    where = made(house, patient, "platelet-counts", count(2, 28, note="by telephone"))
    somebody = Person(house)
    seen = somebody.get(where)
    form = seen.links["Correct"]
    opened = somebody.get(form)
    assert opened.sheet(form).fields["value"] == ["28"]
    assert opened.sheet(form).fields["note"] == ["by telephone"]
    assert "Reason: required" in said(somebody.submit(opened, form, value="82"))
    page = somebody.submit(opened, form, value="82", reason="Digits changed places")
    assert "Corrected: Platelet count 82 ×10⁹/L, Sat 7 Mar 2026." in said(page)
    assert "<del>Platelet count 28\xa0×10⁹/L</del>" in page.html
    (fact,) = stored(house, patient, "platelet-counts")
    assert (fact["value"], fact["note"], fact["reason"], fact["version"]) == (
        82,
        "by telephone",
        "Digits changed places",
        2,
    )
    history = somebody.get(f"/patients/{patient}/history")
    assert "<del>Platelet count 28\xa0×10⁹/L</del>" in history.html
    assert "Corrected Mon 9 Mar 2026 13:00, Pharmacist: Digits changed places" in said(history)


def test_a_correction_of_what_has_changed_meanwhile_is_refused(house: House) -> None:
    patient = house.on_course()
    where = made(house, patient, "platelet-counts", count(2, 28))
    one, other = Person(house), Person(house, "prescriber")
    form = one.get(where).links["Correct"]
    opened = one.get(form)
    other.submit(other.get(form), form, value="82", reason="first")
    page = one.submit(opened, form, value="83", reason="second")
    assert page.status == 412
    assert "It has been changed" in said(page)
    assert stored(house, patient, "platelet-counts")[0]["value"] == 82
    bare = {name: value for name, value in opened.sheet(form).fields.items() if name != "version"}
    assert one.post(form, {**bare, "reason": "third"}).status == 412, "a form without a version changes nothing"


@pytest.mark.parametrize(
    ("collection", "body"),
    [
        ("platelet-counts", count(2, 9500, "/mm3", unreliable=True)),
        ("weights", weight(2, 76, "[lb_av]", confirm=["WEIGHT-FAR-FROM-LAST"])),
        ("doses", dose(2, 75, micrograms_per_kg=1)),
        ("doses", dose(2, 75, route="intravenous", confirm=["DOSE-ROUTE"])),
        ("doses", {"not_given_on": day(2), "reason_not_given": "absent"}),
        ("events", event(2, "adverse_event", term="Rash", scale="crs", grade=0, resolved_on=day(1))),
        ("events", event(2, "platelet_transfusion")),
        ("observations", observation(2, 12, unit="mmol/L", lower_limit_of_normal=8)),
        ("observations", observation(2, 5, "ldh", "U/L")),
    ],
)
def test_a_correction_of_nothing_but_a_note_changes_nothing_else(
    house: House, collection: str, body: dict[str, object]
) -> None:
    """What the form shows is all that the fact says, whatever its unit or kind."""
    patient = house.on_course()
    where = made(house, patient, collection, body)
    before = house.get(where)
    somebody = Person(house)
    form = somebody.get(where).links["Correct"]
    opened = somebody.get(form)
    page = somebody.submit(opened, form, note="seen", reason="a note was missing")
    if page.status == 422:
        codes = page.sheet(form).choices["confirm"]
        page = somebody.submit(page, form, confirm=codes)
    assert page.status == 200, said(page)
    after = house.get(where)
    changed = {name for name in before if before[name] != after[name]}
    assert changed - {"confirmed_by", "asked", "recorded_at"} == {"version", "note", "reason"}


def test_the_value_of_a_feed_that_waits_is_verified(house: House) -> None:
    patient = house.on_course()
    house.record(patient, "platelet-counts", count(7, 60))
    where = made(house, patient, "platelet-counts", count(0, 600), "ehr")
    assert "Verify" not in Person(house, "technician").get(where).links
    somebody = Person(house)
    seen = somebody.get(where)
    assert "waits to be verified" in said(seen)
    assert "ten times or a tenth of the count before it" in said(seen)
    form = seen.links["Verify"]
    assert "Reason: required" in said(somebody.submit(somebody.get(form), form))
    page = somebody.submit(somebody.get(form), form, reason="The laboratory says so")
    assert (page.status, page.path) == (200, f"/patients/{patient}")
    assert "Verified: Platelet count 600 ×10⁹/L" in said(page)
    assert stored(house, patient, "platelet-counts")[-1]["status"] == "final"
    again = somebody.submit(somebody.get(form), form, reason="once more")
    assert (again.status, "It does not wait to be verified." in said(again)) == (409, True)


def test_what_was_entered_in_error_is_struck_through(house: House) -> None:
    patient = house.on_course()
    where = made(house, patient, "doses", dose(2))
    somebody = Person(house)
    form = somebody.get(where).links["Entered in error"]
    page = somebody.submit(somebody.get(form), form, reason="Another patient")
    assert "Entered in error: Dose given 75 micrograms" in said(page)
    assert stored(house, patient, "doses") == []
    seen = somebody.get(where)
    assert "<del>Dose given 75\xa0micrograms</del>" in seen.html
    assert "Correct" not in seen.links
    history = somebody.get(f"/patients/{patient}/history?collection=doses")
    assert "<del>Dose given 75\xa0micrograms</del>" in history.html
    assert "Another patient" in said(history)
    assert "Weight 75 kg" not in said(history)


def test_an_event_is_resolved_and_a_safety_event_by_a_prescriber_only(house: House) -> None:
    patient = house.on_course()
    where = made(house, patient, "events", event(5, "thrombosis"))
    pharmacist, prescriber = Person(house), Person(house, "prescriber")
    seen = pharmacist.get(where)
    assert "only a prescriber may resolve it or take it back" in said(seen)
    assert "Resolved" not in seen.links
    form = f"{where}/resolution"
    filled = {"resolved_on": day(1), "reason": "Seen on ultrasound"}
    assert pharmacist.submit(pharmacist.get(form), form, **filled).status == 403
    assert prescriber.get(where).links["Resolved"] == form
    wrong = prescriber.submit(prescriber.get(form), form, resolved_on=day(6), reason="x")
    assert "Resolved on: must not be before 2026-03-04" in said(wrong)
    page = prescriber.submit(prescriber.get(form), form, **filled)
    assert "Resolved: Thrombosis: resolved Sun 8 Mar 2026" in said(page)
    assert stored(house, patient, "events")[0]["resolved_on"] == day(1)


def test_of_what_is_not_there_or_not_of_that_kind(house: House) -> None:
    patient = house.on_course()
    where = made(house, patient, "doses", dose(2))
    ident = where.rsplit("/", 1)[1]
    somebody = Person(house)
    for path in (
        f"/patients/{patient}/weights/{ident}",
        f"/patients/{patient}/doses/{ident}/correction/dose-not-given",
        f"/patients/{patient}/doses/99",
        f"/patients/{patient}/symptoms/1",
        f"/patients/{house.patient('stranger')}/history",
        "/patients/nobody/weights/new",
    ):
        assert somebody.get(path).status == 404, path
    assert somebody.get(f"/patients/{patient}/history?collection=symptoms").status == 422


def test_the_history_has_the_newest_day_first(house: House) -> None:
    patient = house.on_course()
    for ago in (3, 9, 6):
        house.record(patient, "platelet-counts", count(ago, 60 + ago))
    told = said(Person(house).get(f"/patients/{patient}/history?collection=platelet-counts"))
    places = [told.index(f"Platelet count {60 + ago} ×10⁹/L") for ago in (3, 6, 9)]
    assert places == sorted(places)
    assert "read" in [row.action for row in house.trail(patient)]


def test_the_table_of_weeks(house: House) -> None:
    patient = house.on_course(14)
    house.record(patient, "platelet-counts", count(14, 20))
    house.record(patient, "platelet-counts", count(8, 30))
    house.record(patient, "doses", dose(8))
    house.record(patient, "platelet-counts", count(7, 40))
    house.record(patient, "events", event(20, "red_cell_transfusion"))
    house.record(patient, "observations", observation(7, 85))
    house.record(patient, "platelet-counts", count(0, 400), "ehr")
    timeline = house.get(f"/patients/{patient}/timeline")
    rows = week_rows(timeline)
    assert [(row.day, row.week, row.first_of_week) for row in rows] == [
        (day(0), 3, True),
        (day(7), 2, True),
        (day(8), 1, True),
        (day(14), 1, False),
        (day(20), None, True),
    ]
    assert [one["fact"]["value"] for one in rows[1].counts] == [40]
    with house.app.test_request_context("/"):
        template = house.app.jinja_env.from_string(
            "{% from 'history_table.html' import history_table with context %}{{ history_table(who, rows) }}"
        )
        html = template.render(who={"patient": {"id": patient}}, rows=rows).replace("\xa0", " ")
    for told in (
        "30 ×10⁹/L",
        "grade 3",
        "75 micrograms",
        "Red cell transfusion",
        "Haemoglobin 85 g/L",
        "week 2",
        "75 kg",
    ):
        assert told in html, told
    assert "waits to be verified" in html
    assert f'href="/patients/{patient}/platelet-counts/' in html
