"""Facts: recorded, read, corrected, verified, resolved; what is asked, what feeds do, and what is refused."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any, Final
from urllib.parse import quote

import pytest

from tests.api.support import (
    COLLECTIONS,
    ENTRY,
    TODAY,
    WHY,
    Answer,
    House,
    count,
    day,
    dose,
    event,
    named,
    observation,
    weight,
)
from titrator.security.permissions import Role


def fact_path(patient: str, collection: str, answer: Answer | dict[str, Any], action: str = "") -> str:
    body = answer.json if isinstance(answer, Answer) else answer
    return f"/patients/{patient}/{collection}/{body['id']}" + (f"/{action}" if action else "")


# The life of a fact


@pytest.mark.parametrize("collection", COLLECTIONS)
def test_the_life_of_a_fact(house: House, collection: str) -> None:
    patient = house.begun()
    body = ENTRY[collection](3, note="said by telephone")
    made = house.record(patient, collection, body, "technician")
    assert (made.status, made.etag) == (201, '"1"')
    path = fact_path(patient, collection, made)
    assert made.headers["Location"].endswith(path)
    assert made.json.pop("flags", None) == ([] if collection == "doses" else None), "of the recording, not of the fact"
    shown = {key: made.json[key] for key in body}
    assert shown == body
    assert made.json["recorded_by"] == house.ids["technician"]
    assert made.json["recorded_at"] == "2026-03-09T12:00:00.000000Z"

    house.clock.on(hours=1)
    corrected = house.call("pharmacist", "PUT", path, ENTRY[collection](4, reason="a day early"), version=1)
    assert (corrected.status, corrected.etag) == (200, '"2"'), corrected.text
    assert corrected.json["recorded_by"] == house.ids["pharmacist"]
    assert corrected.json["reason"] == "a day early"
    assert corrected.json["note"] is None
    assert house.get(path) == corrected.json
    assert house.call("pharmacist", "GET", path).etag == '"2"'
    assert house.get(f"{path}/versions")["items"] == [made.json, corrected.json]
    assert house.get(f"/patients/{patient}/{collection}")["items"] == [corrected.json]

    gone = house.call("pharmacist", "POST", f"{path}/entered-in-error", {"reason": "another patient's"}, version=2)
    assert (gone.json["status"], gone.json["version"]) == ("entered-in-error", 3)
    assert house.get(f"/patients/{patient}/{collection}")["items"] == []
    assert house.get(path) == gone.json
    for action, method, again in (
        ("", "PUT", ENTRY[collection](4, reason="no")),
        ("entered-in-error", "POST", WHY),
        ("verification", "POST", WHY),
    ):
        answer = house.call("pharmacist", method, fact_path(patient, collection, made, action), again, version=3)
        assert (answer.status, answer.code) == (409, "ENTERED-IN-ERROR")
    assert len(house.get(f"{path}/versions")["items"]) == 3


def test_a_fact_is_found_in_its_own_collection_only(house: House) -> None:
    patient = house.patient()
    made = house.record(patient, "weights", weight(3))
    for other in ("doses", "events", "observations", "platelet-counts"):
        for method, action, body in (
            ("GET", "", None),
            ("GET", "versions", None),
            ("PUT", "", ENTRY[other](1, **WHY)),
            ("POST", "entered-in-error", WHY),
        ):
            answer = house.call("pharmacist", method, fact_path(patient, other, made, action), body, version="*")
            assert answer.status == 404, (method, other)


@pytest.mark.parametrize(
    "ident",
    [
        "0",
        "-1",
        "2",
        "9007199254740991",
        "9007199254740992",
        "99999999999999999999999",
        "1.0",
        "01",
        "\u0661",
        "a",
        "1e3",
    ],
)
def test_ids_that_name_nothing(house: House, ident: str) -> None:
    patient = house.patient()
    house.record(patient, "weights", weight(3))
    for tail in ("", "/versions"):
        answer = house.call("pharmacist", "GET", f"/patients/{patient}/weights/{ident}{tail}")
        assert (answer.status, answer.code) == (404, "NOT-FOUND")


def test_a_dose_not_given_does_not_become_one_that_was(house: House) -> None:
    patient = house.begun()
    body = {"not_given_on": day(3), "reason_not_given": "absent"}
    made = house.record(patient, "doses", body)
    assert made.json["reason_not_given"] == "absent"
    answer = house.call("pharmacist", "PUT", fact_path(patient, "doses", made), dose(3, **WHY), version=1)
    assert answer.status == 422
    assert house.record(patient, "doses", dose(2)).status == 201, "which is no second dose"


# What is refused: all faults at once, and nothing stored


REFUSED: Final[list[tuple[str, object, list[str]]]] = [
    ("weights", [], [""]),
    ("weights", "x", [""]),
    ("weights", {}, ["measured_on", "unit", "value"]),
    (
        "weights",
        {"x": 1, "value": "75", "unit": "stone", "measured_on": "9.3.2026"},
        ["measured_on", "unit", "value", "x"],
    ),
    ("weights", weight(0, None), ["value"]),
    ("weights", weight(0, True), ["value"]),
    ("weights", weight(0, [75]), ["value"]),
    ("weights", weight(0, -1), ["value"]),
    ("weights", weight(0, Decimal("0.29")), ["value"]),
    ("weights", weight(0, 401), ["value"]),
    ("weights", weight(0, 400_001, "g"), ["value"]),
    ("weights", weight(-1, 500), ["measured_on", "value"]),
    ("weights", weight(0) | {"measured_on": "1899-12-31"}, ["measured_on"]),
    ("weights", weight(0) | {"measured_on": "2026-02-29"}, ["measured_on"]),
    ("weights", weight(0) | {"measured_on": "1960-04-30"}, ["measured_on"]),
    ("weights", weight(0, note="a\x07b"), ["note"]),
    ("weights", weight(0, note=" "), ["note"]),
    ("weights", weight(0, note="n" * 1001), ["note"]),
    ("weights", weight(0, confirm="WEIGHT-UNUSUAL"), ["confirm"]),
    ("weights", weight(0, confirm=["x"] * 101), ["confirm"]),
    ("weights", weight(0, external_id={"system": 1}), ["external_id.system", "external_id.value"]),
    ("weights", weight(0, external_id="urn:x|1"), ["external_id"]),
    ("platelet-counts", count(0, 5001), ["value"]),
    ("platelet-counts", count(0, 5_000_001, "/uL"), ["value"]),
    ("platelet-counts", count(0, -1), ["value"]),
    ("platelet-counts", count(0, unit="10^9/L"), ["unit"]),
    ("platelet-counts", count(0, unreliable="yes"), ["unreliable"]),
    ("platelet-counts", count(0, unreliable=1), ["unreliable"]),
    ("platelet-counts", count(-1), ["collected_on"]),
    ("observations", observation(0, code="a b", unit=""), ["code", "unit"]),
    ("observations", observation(-1, lower_limit_of_normal="120"), ["lower_limit_of_normal"]),
    ("observations", observation(-1), ["observed_on"]),
    ("doses", {}, ["given_on"]),
    ("doses", dose(0, 0), ["micrograms"]),
    ("doses", dose(0, 5001), ["micrograms"]),
    ("doses", dose(0, 75, micrograms_per_kg=0), ["micrograms_per_kg"]),
    ("doses", {"given_on": TODAY}, ["micrograms"]),
    ("doses", {"given_on": "yesterday", "micrograms": 75}, ["given_on"]),
    ("doses", {"given_on": "yesterday", "micrograms": "75"}, ["given_on", "micrograms"]),
    ("doses", dose(0) | {"not_given_on": TODAY}, ["given_on"]),
    ("doses", dose(0) | {"reason_not_given": "absent"}, ["reason_not_given"]),
    ("doses", {"not_given_on": TODAY}, ["reason_not_given"]),
    ("doses", {"not_given_on": TODAY, "reason_not_given": "other", "micrograms": 75}, ["micrograms"]),
    ("doses", {"not_given_on": TODAY, "reason_not_given": "lost"}, ["reason_not_given"]),
    ("doses", {"not_given_on": day(-1), "reason_not_given": "absent"}, ["not_given_on"]),
    ("doses", dose(-1), ["given_on"]),
    ("events", event(0, "stroke"), ["kind"]),
    ("events", event(0, resolved_on=day(1)), ["resolved_on"]),
    ("events", event(0, resolved_on=day(-1)), ["resolved_on"]),
    ("events", event(-1, "thrombosis", resolved_on=day(-1)), ["occurred_on", "resolved_on"]),
    ("events", event(0, grade=2), ["scale"]),
    ("events", event(0, scale="crs"), ["grade"]),
    ("events", event(0, scale="crs", grade="2"), ["grade"]),
    ("events", event(0, scale="crs", grade=6), ["grade"]),
    ("events", event(0, scale="crs", grade=1.5), ["grade"]),
    ("events", event(0, "adverse_event"), ["term"]),
    ("events", event(0, "adverse_event", term=""), ["term"]),
]


@pytest.mark.parametrize(("collection", "body", "faults"), REFUSED, ids=lambda value: str(value)[:60])
def test_what_is_refused_is_refused_with_every_fault(
    house: House, collection: str, body: object, faults: list[str]
) -> None:
    patient = house.patient()
    before = house.everything()
    answer = house.record(patient, collection, body)
    assert (answer.status, answer.code) == (422, "INVALID"), answer.text
    assert sorted(answer.faults) == faults
    assert len(answer.json["faults"]) == len(faults)
    assert all(answer.faults.values())
    assert house.everything() == before


@pytest.mark.parametrize(("collection", "body", "faults"), REFUSED, ids=lambda value: str(value)[:60])
def test_a_correction_is_refused_the_same(house: House, collection: str, body: object, faults: list[str]) -> None:
    patient = house.begun()
    made = house.record(patient, collection, ENTRY[collection](1))
    before = house.everything()
    sent = {**body, **WHY} if isinstance(body, dict) else body
    answer = house.call("pharmacist", "PUT", fact_path(patient, collection, made), sent, version=1)
    assert (answer.status, answer.code) == (422, "INVALID"), answer.text
    if not any(path.startswith("external_id") for path in faults):
        assert sorted(answer.faults) == faults
    assert house.everything() == before


@pytest.mark.parametrize("collection", COLLECTIONS)
def test_a_correction_needs_a_reason_and_takes_no_external_id(house: House, collection: str) -> None:
    patient = house.begun()
    path = fact_path(patient, collection, house.record(patient, collection, ENTRY[collection](1)))
    answer = house.call("pharmacist", "PUT", path, ENTRY[collection](1) | named("7"), version=1)
    assert answer.faults == {"reason": "required", "external_id": "unknown key"}


RAW: Final = [
    (b"", 422),
    (b"{", 422),
    (b"nul", 422),
    (b"null", 422),
    (b'{"value": NaN, "unit": "kg", "measured_on": "2026-03-09"}', 422),
    (b'{"value": Infinity, "unit": "kg", "measured_on": "2026-03-09"}', 422),
    (b'{"value": 1e400, "unit": "kg", "measured_on": "2026-03-09"}', 422),
    (b'{"value": 1e-400, "unit": "kg", "measured_on": "2026-03-09"}', 422),
    (b'{"value": ' + b"7" * 5000 + b', "unit": "kg", "measured_on": "2026-03-09"}', 422),
    (b'{"value": 75, "value": 57, "unit": "kg", "measured_on": "2026-03-09"}', 422),
    (b'{"value": 75, "unit": "kg", "measured_on": "2026-03-09", "external_id": {"system": "a", "system": "b"}}', 422),
    (b'{"value": 75, "unit": "kg", "measured_on": "2026-03-09", "note": "\\ud83d"}', 422),
    (b'{"value": 75, "unit": "kg", "measured_on": "2026-03-09", "\\ud83d": 1}', 422),
    (b'{"value": 75, "unit": "kg", "measured_on": "2026-03-09", "note": "\\u0000"}', 422),
    (b'{"value": 75, "unit": "kg", "measured_on": "2026-03-09", "_schema": 1}', 422),
    (b'{"value": 75, "unit": "kg", "measured_on": "2026-03-09", "note": "\xff"}', 422),
    (b"[" * 100_000, 422),
    (b'{"a":' * 50_000 + b"1" + b"}" * 50_000, 422),
    ('{"value": 75, "unit": "kg", "measured_on": "2026-03-09"}'.encode("utf-16"), 422),
    (b'{"value": 75, "unit": "kg", "measured_on": "2026-03-09", "note": "' + b"n" * 1_000_000 + b'"}', 413),
    (b'\xef\xbb\xbf{"value": 75.0, "unit": "kg", "measured_on": "2026-03-09"}', 201),
    (b'{"value": 7.5e1, "unit": "kg", "measured_on": "2026-03-09", "note": "\\ud83d\\ude00"}', 201),
]


@pytest.mark.parametrize(("raw", "status"), RAW, ids=lambda value: str(value)[:50])
def test_bodies_that_are_no_plain_json(house: House, raw: bytes, status: int) -> None:
    patient = house.patient()
    before = house.everything()
    answer = house.call("pharmacist", "POST", f"/patients/{patient}/weights", raw=raw)
    assert answer.status == status, answer.text[:300]
    if status == 201:
        assert answer.json["value"] == 75
        return
    assert answer.code == ("BODY-TOO-LARGE" if status == 413 else "INVALID")
    assert house.everything() == before


@pytest.mark.parametrize("kind", ["text/plain", "application/xml", "application/x-www-form-urlencoded", "", "json"])
def test_other_media_types(house: House, kind: str) -> None:
    patient = house.patient()
    raw = json.dumps(weight(0))
    answer = house.call("pharmacist", "POST", f"/patients/{patient}/weights", raw=raw, Content_Type=kind)
    assert (answer.status, answer.code) == (415, "UNSUPPORTED-MEDIA-TYPE")
    assert house.call("pharmacist", "POST", f"/patients/{patient}/weights").status == 415


# Numbers and names


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("38.0", "38"),
        ("0.1", "0.1"),
        ("0.123456789012345678901234", "0.123456789012345678901234"),
        ("38.100", "38.1"),
        ("1e2", "100"),
        ("1E-2", "0.01"),
        ("-0", "0"),
        ("0.30000000000000004", "0.30000000000000004"),
    ],
)
def test_numbers_stay_exact(house: House, sent: str, shown: str) -> None:
    patient = house.patient()
    raw = f'{{"collected_on": "{TODAY}", "unit": "10*9/L", "value": {sent}}}'
    made = house.call("pharmacist", "POST", f"/patients/{patient}/platelet-counts", raw=raw)
    assert made.status == 201, made.text
    for text in (
        made.text,
        house.call("pharmacist", "GET", f"/patients/{patient}/platelet-counts").text,
        house.call("pharmacist", "GET", f"/patients/{patient}/timeline").text,
        house.call("auditor", "GET", f"/audit?patient={patient}").text,
    ):
        assert f'"value": {shown},' in text


@pytest.mark.parametrize(
    ("family", "given", "sought"),
    [
        ("Müller", "Zoë", ["muller", "MÜLLER", "zoe mull", "üll zoë"]),
        ("Łukasiewicz", "Jan", ["lukas", "łuka", "LUKAS jan"]),
        ("Sørensen", "Åse", ["sorensen", "ase", "ÅSE"]),
        ("Straße", "Ägidius", ["strasse", "STRASSE", "straße", "agidius"]),
        ("Nguyễn", "Thị Đào", ["nguyen", "thi dao", "đào"]),
        ("O'Brien-Ó Súilleabháin", "Aoife", ["o'brien", "suilleabhain"]),
        ("山田", "太郎", ["山田", "太"]),
        ("Ωμέγα", "Ἀριάδνη", ["ωμεγα", "αριαδνη"]),
        ("Y\u0131lmaz", "İpek", ["yilmaz", "ipek", "İPEK"]),
        ("x%", "_", ["%", "_"]),
    ],
)
def test_names_are_found_without_case_and_accents(house: House, family: str, given: str, sought: list[str]) -> None:
    house.patient()
    ident = house.patient(family_name=family, given_name=given)
    assert house.get(f"/patients/{ident}")["family_name"] == family
    for name in sought:
        found = house.call("pharmacist", "GET", "/patients?name=" + "".join(f"%{b:02x}" for b in name.encode()))
        assert [one["id"] for one in found.json["items"]] == [ident], name
    assert house.get("/patients?name=nobody")["items"] == []


def test_identifiers_find_one_patient(house: House) -> None:
    one = house.patient(identifiers=[{"system": "urn:a", "value": "7"}, {"system": "urn:b", "value": "x|7"}])
    two = house.patient(identifiers=[{"system": "urn:c", "value": "7"}])
    for text, found in (
        ("7", {one, two}),
        ("|7", {one, two}),
        ("urn:a|7", {one}),
        ("urn:c|7", {two}),
        ("urn:b|x|7", {one}),
        ("x|7", {one}),
        ("urn:b|7", set()),
        ("urn:a|", set()),
        ("URN:A|7", set()),
    ):
        items = house.get(f"/patients?identifier={text}")["items"]
        assert {item["id"] for item in items} == found, text


def test_an_identifier_names_one_patient(house: House) -> None:
    house.patient(identifiers=[{"system": "urn:a", "value": "7"}, {"system": "urn:a", "value": "8"}])
    before = house.everything()
    taken = [{"system": "urn:a", "value": value} for value in ("8", "9", "9", "7")]
    body = {"clinic": house.other_clinic, "family_name": "A", "given_name": "B", "identifiers": taken}
    answer = house.call("stranger", "POST", "/patients", body)
    assert (answer.status, answer.code) == (409, "IDENTIFIER-TAKEN")
    assert sorted(answer.faults) == ["identifiers[0]", "identifiers[2]", "identifiers[3]"]
    assert house.everything() == before


def test_one_text_is_a_number_or_words_of_a_name(house: House) -> None:
    ada = house.patient(family_name="Blum", identifiers=[{"system": "urn:a", "value": "Wren"}])
    other = house.patient(family_name="Wren", identifiers=[{"system": "urn:b|c", "value": "7 B"}])
    house.patient("stranger", family_name="Rook", identifiers=[{"system": "urn:c", "value": "Blum"}])
    for text, found in (
        ("wren", [other]),
        ("Wren", [ada]),  # a number that somebody has is a number
        ("urn:b|c|7 B", [other]),
        ("blum ADA", [ada]),
        ("Blum", [ada]),  # who has that number is of another clinic, of which nothing is told
        ("rook", []),
    ):
        page = house.get(f"/patients?text={quote(text)}")
        assert [one["id"] for one in page["items"]] == found, text
    assert house.get("/patients?text=Wren&name=nobody")["items"] == []


def test_pages_of_patients_have_no_gaps(house: House) -> None:
    made = {house.patient() for _ in range(23)}
    house.patient("stranger")
    seen: list[str] = []
    cursor = ""
    while True:
        page = house.get(f"/patients?limit=5{cursor}")
        seen += [one["id"] for one in page["items"]]
        if page["next"] is None:
            break
        assert len(page["items"]) == 5
        cursor = f"&cursor={page['next']}"
    assert (len(seen), set(seen)) == (23, made)
    assert house.get("/patients?limit=23")["next"] is None


@pytest.mark.parametrize(
    ("path", "faults"),
    [
        ("/patients?limit=0", ["limit"]),
        ("/patients?limit=201", ["limit"]),
        ("/patients?limit=5.0", ["limit"]),
        ("/patients?limit=99999999999", ["limit"]),
        ("/patients?limit=٣", ["limit"]),
        ("/patients?nmae=muller", ["nmae"]),
        ("/patients?name=", ["name"]),
        ("/patients?name=a&name=b&limit=x", ["name"]),
        ("/worklist?klinik=a", ["klinik"]),
        ("/patients/{}/next-dose?onn=2026-03-02", ["onn"]),
        ("/patients/{}/next-dose?on=2.3.2026", ["on"]),
        ("/patients/{}/next-dose?on=2026-03-02&on=2026-03-09", ["on"]),
        ("/patients/{}/timeline?on=", ["on"]),
    ],
)
def test_queries_are_read_as_strictly_as_bodies(house: House, path: str, faults: list[str]) -> None:
    answer = house.call("pharmacist", "GET", path.format(house.on_course()))
    assert (answer.status, sorted(answer.faults)) == (422, faults)


def test_nobody_is_born_after_the_first_fact_or_course(house: House) -> None:
    patient = house.on_course(started_ago=9)
    path = f"/patients/{patient}"
    old = house.record(patient, "weights", weight(20)).json
    answer = house.call("pharmacist", "PATCH", path, {"born_on": day(19), **WHY}, version=1)
    assert (answer.status, list(answer.faults)) == (422, ["born_on"])
    house.call("pharmacist", "POST", f"{path}/weights/{old['id']}/entered-in-error", WHY, version=1)
    assert house.call("pharmacist", "PATCH", path, {"born_on": day(8), **WHY}, version=1).status == 422
    assert house.call("pharmacist", "PATCH", path, {"born_on": day(9), **WHY}, version=1).status == 200
    answer = house.call("pharmacist", "PATCH", path, {"born_on": day(-1), **WHY}, version=2)
    assert (answer.status, list(answer.faults)) == (422, ["born_on"])


# Plausibility


def first_weight(value: object) -> list[tuple[str, object]]:
    return [("weights", weight(0, value))]


def then(collection: str, first: object, second: object, **more: object) -> list[tuple[str, object]]:
    """Two entries, a week apart; the second is the one that is asked about."""
    return [(collection, ENTRY[collection](7, first)), (collection, ENTRY[collection](0, second, **more))]


def doses(first: object, second: object, ago: int = 0) -> list[tuple[str, object]]:
    return [("doses", dose(7, first)), ("doses", dose(ago, second))]


#: What is recorded, the last of it with the questions that it raises: below, at and above each limit.
ASKED: Final[list[tuple[str, list[tuple[str, object]], list[str]]]] = [
    ("first weight below 30", first_weight(Decimal("29.9")), ["WEIGHT-UNUSUAL"]),
    ("first weight of 30", first_weight(30), []),
    ("first weight of 250", first_weight(250), []),
    ("first weight above 250", first_weight(Decimal("250.1")), ["WEIGHT-UNUSUAL"]),
    ("first weight in lb", [("weights", weight(0, 66, "[lb_av]"))], ["WEIGHT-UNUSUAL"]),
    ("first weight in g", [("weights", weight(0, 30_000, "g"))], []),
    ("weight up by less than 20 %", then("weights", 75, Decimal("89.9")), []),
    ("weight up by 20 %", then("weights", 75, 90), ["WEIGHT-FAR-FROM-LAST"]),
    ("weight down by less than 20 %", then("weights", 75, Decimal("60.1")), []),
    ("weight down by 20 %", then("weights", 75, 60), ["WEIGHT-FAR-FROM-LAST"]),
    ("weight in pounds taken for kg", then("weights", 75, 165), ["WEIGHT-FAR-FROM-LAST"]),
    ("weight in pounds", [("weights", weight(7)), ("weights", weight(0, 165, "lb"))], []),
    ("weight of an earlier day", [("weights", weight(0)), ("weights", weight(7, 50))], ["WEIGHT-FAR-FROM-LAST"]),
    ("count below tenfold", then("platelet-counts", 16, Decimal("159.9")), []),
    ("count tenfold", then("platelet-counts", 16, 160), ["COUNT-FAR-FROM-LAST"]),
    ("count above a tenth", then("platelet-counts", 160, Decimal("16.1")), []),
    ("count a tenth", then("platelet-counts", 160, 16), ["COUNT-FAR-FROM-LAST"]),
    ("count by another unit", [("platelet-counts", count(7, 16)), ("platelet-counts", count(0, 16_000, "/uL"))], []),
    ("count after none at all", then("platelet-counts", 0, 1), ["COUNT-FAR-FROM-LAST"]),
    ("none at all twice", then("platelet-counts", 0, 0), []),
    ("haemoglobin below tenfold", then("observations", 12, Decimal("119.9")), []),
    ("haemoglobin tenfold", then("observations", 12, 120), ["VALUE-FAR-FROM-LAST"]),
    ("haemoglobin in g/dL", [("observations", observation(7)), ("observations", observation(0, 12, unit="g/dL"))], []),
    (
        "haemoglobin, wrong unit",
        [("observations", observation(7)), ("observations", observation(0, 12))],
        ["VALUE-FAR-FROM-LAST"],
    ),
    (
        "another code",
        [("observations", observation(7)), ("observations", observation(0, 3, "neutrophils", "10*9/L"))],
        [],
    ),
    ("a value of one's own", then("observations", 1, 10, code="b-cells"), []),
    ("a dose 5 days later", [("doses", dose(5)), ("doses", dose(0))], []),
    ("a dose 4 days later", [("doses", dose(4)), ("doses", dose(0))], ["DOSES-TOO-CLOSE"]),
    ("a dose 4 days earlier", [("doses", dose(0)), ("doses", dose(4))], ["DOSES-TOO-CLOSE"]),
    ("a dose on the same day", [("doses", dose(0)), ("doses", dose(0))], ["DOSES-TOO-CLOSE"]),
    ("a first dose 2 steps above the start", [("doses", dose(0, 225))], []),
    ("a first dose beyond", [("doses", dose(0, Decimal("247.5")))], ["DOSE-FAR-FROM-LAST"]),
    ("2 steps up", doses(75, 225), []),
    ("beyond 2 steps up", doses(75, Decimal("247.5")), ["DOSE-FAR-FROM-LAST"]),
    ("2 steps down", [("doses", dose(14, 225)), ("doses", dose(0, 75))], []),
    (
        "beyond 2 steps down",
        [("doses", dose(14, 225)), ("doses", dose(7, 300)), ("doses", dose(0, 75))],
        ["DOSE-FAR-FROM-LAST"],
    ),
    ("far and close", doses(75, 600, 4), ["DOSES-TOO-CLOSE", "DOSE-FAR-FROM-LAST"]),
    ("an amount far from the level stated", [("doses", dose(0, 600, micrograms_per_kg=1))], ["DOSE-FAR-FROM-LAST"]),
    ("stated level far", [("doses", dose(0, 75, micrograms_per_kg=10))], ["DOSE-FAR-FROM-LAST"]),
]


@pytest.mark.parametrize(("entries", "asked"), [row[1:] for row in ASKED], ids=[row[0] for row in ASKED])
def test_plausibility(house: House, entries: list[tuple[str, object]], asked: list[str]) -> None:
    dosed = any(collection == "doses" for collection, _ in entries)
    patient = house.on_course() if dosed else house.patient()
    for collection, body in entries[:-1]:
        made = house.record(patient, collection, body)
        assert made.status == 201, made.text
    collection, last = entries[-1]
    assert isinstance(last, dict)
    before = house.everything()
    answer = house.record(patient, collection, last, "technician")
    if not asked:
        assert (answer.status, answer.json["asked"], answer.json["confirmed_by"]) == (201, [], None)
        return
    assert (answer.status, answer.code) == (422, asked[0]), answer.text
    assert [fault["message"].split(":")[0] for fault in answer.json["faults"]] == asked
    assert house.everything() == before
    assert answer.json["questions"] == asked
    partly = house.record(patient, collection, last | {"confirm": asked[1:]}, "technician")
    assert (partly.status, partly.code, partly.json["questions"]) == (422, asked[0], asked[:1])
    beyond = house.record(patient, collection, last | {"confirm": [*asked, "SOMETHING-ELSE"]}, "technician")
    assert (beyond.status, beyond.code, beyond.json["questions"]) == (422, "INVALID", [])
    assert beyond.faults == {f"confirm[{len(asked)}]": "was not asked; leave it out"}
    assert house.everything() == before
    sure = house.record(patient, collection, last | {"confirm": asked}, "technician")
    assert (sure.status, sure.json["status"], sorted(sure.json["asked"])) == (201, "final", sorted(asked))
    assert sure.json["confirmed_by"] == house.ids["technician"]
    assert house.get(fact_path(patient, collection, sure))["confirmed_by"] == house.ids["technician"]


def test_a_childs_weight_is_not_an_adults(house: House) -> None:
    child = house.patient(born_on="2016-03-09")
    assert house.record(child, "weights", weight(0, 14)).status == 201
    adult = house.patient(born_on="2008-03-09")
    assert house.record(adult, "weights", weight(0, 14)).code == "WEIGHT-UNUSUAL"
    assert house.record(house.patient(born_on=None), "weights", weight(0, 14)).code == "WEIGHT-UNUSUAL"


def test_a_correction_is_asked_about_too(house: House) -> None:
    patient = house.patient()
    house.record(patient, "weights", weight(7))
    path = fact_path(patient, "weights", house.record(patient, "weights", weight(0)))
    wrong = weight(0, 57, **WHY)
    assert house.call("pharmacist", "PUT", path, wrong, version=1).code == "WEIGHT-FAR-FROM-LAST"
    sure = house.call("pharmacist", "PUT", path, wrong | {"confirm": ["WEIGHT-FAR-FROM-LAST"]}, version=1)
    assert (sure.status, sure.json["confirmed_by"]) == (200, house.ids["pharmacist"])
    back = house.call("pharmacist", "PUT", path, weight(0, **WHY), version=2)
    assert (back.status, back.json["asked"], back.json["confirmed_by"]) == (200, [], None)


# Feeds


def to_verify(house: House) -> list[tuple[str, Any]]:
    """What waits on the worklist to be verified: the patient's id and the fact, of every line that has any."""
    shown = house.get("/worklist")
    found = [(line["patient"], fact) for line in shown["items"] for fact in line["to_verify"]]
    lines = [line for line in shown["items"] if "to-verify" in line["tasks"]]
    assert len(lines) == shown["tallies"]["to-verify"] == len({patient for patient, _ in found})
    return found


def test_a_feeds_implausible_value_waits_for_a_person(house: House) -> None:
    patient = house.on_course()
    house.record(patient, "weights", weight(0))
    house.record(patient, "platelet-counts", count(7, 16))
    made = house.record(patient, "platelet-counts", count(0, 3800, **named("9")), "ehr")
    assert (made.status, made.json["status"], made.json["unreliable"]) == (201, "unverified", True)
    assert [(ident, one["id"], one["asked"]) for ident, one in to_verify(house)] == [
        (patient, made.json["id"], ["COUNT-FAR-FROM-LAST"])
    ]
    answer = house.get(f"/patients/{patient}/next-dose")
    assert answer["reasons"][0]["code"] == "COUNT-UNRELIABLE"
    assert answer["unverified"] == [{"collection": "platelet-counts", "id": made.json["id"]}]
    at = fact_path(patient, "platelet-counts", made, "verification")
    assert house.call("ehr", "POST", at, WHY, version=1).status == 403
    assert house.call("technician", "POST", at, WHY, version=1).status == 403
    right = house.call("pharmacist", "POST", at, {"reason": "the laboratory says so"}, version=1)
    assert (right.json["status"], right.json["unreliable"]) == ("final", False)
    assert right.json["confirmed_by"] == house.ids["pharmacist"]
    assert house.call("pharmacist", "POST", at, WHY, version=2).code == "NOT-UNVERIFIED"
    assert to_verify(house) == []
    assert house.get(f"/patients/{patient}/next-dose")["action"] != "incomplete"


SETTLED: Final[list[tuple[str, str, dict[str, object]]]] = [
    ("POST", "verification", dict(WHY)),
    ("POST", "entered-in-error", dict(WHY)),
    ("PUT", "", count(0, 20, **WHY)),
]


@pytest.mark.parametrize(("method", "action", "body"), SETTLED, ids=["verify", "enter in error", "correct"])
@pytest.mark.parametrize("who", ["technician", "feed", "other feed", "narrow pharmacist", "pharmacist", "prescriber"])
def test_what_waits_is_settled_by_who_may_verify_or_by_the_feed_that_reported_it(
    house: House, who: str, method: str, action: str, body: dict[str, object]
) -> None:
    _, other = house.account("other-feed", Role.EHR, house.clinic)
    narrowed = {"label": "narrow", "days": 1, "permissions": ["facts:record", "patients:read"]}
    narrow = house.post(f"/accounts/{house.ids['pharmacist']}/tokens", narrowed, "admin")["secret"]
    caller = {"feed": "ehr", "other feed": other, "narrow pharmacist": narrow}.get(who, who)
    patient = house.patient()
    house.record(patient, "platelet-counts", count(7, 16))
    made = house.record(patient, "platelet-counts", count(0, 3800, **named("9")), "ehr")
    answer = house.call(caller, method, fact_path(patient, "platelet-counts", made, action), body, version=1)
    may = who in ("pharmacist", "prescriber") or (who == "feed" and action != "verification")
    assert answer.status == (200 if may else 403), answer.text
    assert len(to_verify(house)) == (0 if may else 1)


def test_a_technician_still_corrects_what_does_not_wait(house: House) -> None:
    patient = house.patient()
    made = house.record(patient, "platelet-counts", count(0, 16), "ehr")
    at = fact_path(patient, "platelet-counts", made)
    assert house.call("technician", "PUT", at, count(0, 20, **WHY), version=1).status == 200
    assert house.call("technician", "POST", f"{at}/entered-in-error", WHY, version=2).status == 200


def test_what_was_not_asked_is_not_confirmed(house: House) -> None:
    """Who sends all codes with each entry would never be asked."""
    patient = house.patient()
    every = ["WEIGHT-UNUSUAL", "WEIGHT-FAR-FROM-LAST"]
    for body, faults in (
        (weight(7, confirm=every), ["confirm[0]", "confirm[1]"]),
        (weight(7, 14, confirm=every), ["confirm[1]"]),
        (weight(7, confirm=["no-such"]), ["confirm[0]"]),
    ):
        answer = house.record(patient, "weights", body)
        assert (answer.status, answer.code, sorted(answer.faults)) == (422, "INVALID", faults)
        assert answer.json["questions"] == []
    assert house.get(f"/patients/{patient}/weights")["items"] == []
    at = fact_path(patient, "weights", house.record(patient, "weights", weight(7, confirm=[])))
    answer = house.call("pharmacist", "PUT", at, weight(7, 76, confirm=every[:1], **WHY), version=1)
    assert (answer.status, list(answer.faults)) == (422, ["confirm[0]"])


def test_what_feeds_confirm_counts_for_nothing(house: House) -> None:
    patient = house.patient()
    body = weight(0, 14, confirm=["WEIGHT-UNUSUAL"])
    assert house.record(patient, "weights", body, "ehr").json["status"] == "unverified"


def test_an_unverified_value_is_compared_with_nothing(house: House) -> None:
    patient = house.patient()
    house.record(patient, "weights", weight(8))
    house.record(patient, "weights", weight(2, 7.5), "ehr")
    assert house.record(patient, "weights", weight(1, 76)).status == 201


def test_the_same_external_id_is_one_fact(house: House) -> None:
    patient = house.patient()
    body = count(0, Decimal("38.5"), note="EDTA", **named("9"))
    first = house.record(patient, "platelet-counts", body, "ehr")
    again = house.record(patient, "platelet-counts", body, "ehr")
    assert (first.status, again.status) == (201, 200)
    assert (again.json, again.etag, again.headers["Location"]) == (first.json, first.etag, first.headers["Location"])
    assert len(house.get(f"/patients/{patient}/platelet-counts")["items"]) == 1
    for other in (
        count(0, 39, note="EDTA", **named("9")),
        count(1, Decimal("38.5"), note="EDTA", **named("9")),
        count(0, Decimal("38.5"), note="citrate", **named("9")),
        count(0, Decimal("38.5"), unreliable=True, note="EDTA", **named("9")),
    ):
        answer = house.record(patient, "platelet-counts", other, "ehr")
        assert (answer.status, answer.code) == (409, "EXTERNAL-ID-TAKEN")
        assert answer.faults == {"external_id": f"names platelet-counts/{first.json['id']}"}
    assert house.record(patient, "weights", weight(0, **named("9")), "ehr").code == "EXTERNAL-ID-TAKEN"
    elsewhere = house.record(patient, "platelet-counts", count(0, 39, **named("9", "urn:other")), "ehr")
    assert elsewhere.status == 201
    assert house.record(house.patient(), "platelet-counts", count(0, 39, **named("9")), "ehr").status == 201


def test_what_no_rule_looks_at_makes_a_difference_too(house: House) -> None:
    patient = house.patient()
    bad = event(0, "adverse_event", scale="crs", grade=1, **named("9"))
    assert house.record(patient, "events", bad, "ehr").status == 201
    assert house.record(patient, "events", bad | {"grade": 3}, "ehr").code == "EXTERNAL-ID-TAKEN"
    value = observation(0, lower_limit_of_normal=120, **named("10"))
    assert house.record(patient, "observations", value, "ehr").status == 201
    assert house.record(patient, "observations", value | {"lower_limit_of_normal": 130}, "ehr").status == 409


def test_a_message_sent_again_after_a_correction_is_no_news(house: House) -> None:
    patient = house.patient()
    house.record(patient, "platelet-counts", count(7, 38))
    sent = count(0, 3800, **named("9"))
    made = house.record(patient, "platelet-counts", sent, "ehr")
    path = fact_path(patient, "platelet-counts", made)
    house.call("pharmacist", "PUT", path, count(0, 38, reason="a slip of the unit"), version=1)
    again = house.record(patient, "platelet-counts", sent, "ehr")
    assert (again.status, again.json["value"], again.json["version"]) == (200, 38, 2)
    house.call("pharmacist", "POST", f"{path}/entered-in-error", WHY, version=2)
    gone = house.record(patient, "platelet-counts", sent, "ehr")
    assert (gone.status, gone.json["status"]) == (200, "entered-in-error")
    assert len(house.get(f"/patients/{patient}/platelet-counts")["items"]) == 1


def test_a_feed_corrects_only_what_it_said_and_nobody_has_touched(house: House) -> None:
    patient = house.patient()
    mine = house.record(patient, "weights", weight(7), "technician")
    answer = house.call("ehr", "PUT", fact_path(patient, "weights", mine), weight(7, 76, **WHY), version=1)
    assert (answer.status, answer.code) == (403, "FEED-MAY-NOT-CORRECT")
    own = fact_path(patient, "weights", house.record(patient, "weights", weight(0, **named("1")), "ehr"))
    assert house.call("ehr", "PUT", own, weight(0, 76, **WHY), version=1).status == 200
    assert house.call("ehr", "PUT", own, weight(0, 30, **WHY), version=2).json["status"] == "unverified"
    assert house.call("pharmacist", "PUT", own, weight(0, 77, **WHY), version=3).status == 200
    for method, path, body in (("PUT", own, weight(0, 78, **WHY)), ("POST", f"{own}/entered-in-error", WHY)):
        assert house.call("ehr", method, path, body, version=4).code == "FEED-MAY-NOT-CORRECT"


def test_a_reported_dose_is_the_recorded_one(house: House) -> None:
    patient = house.on_course()
    given = house.record(patient, "doses", dose(0, 75, micrograms_per_kg=1))
    reported = dose(0, 75, note="pump 3", **named("1"))
    for _ in range(2):
        linked = house.record(patient, "doses", reported, "ehr")
        assert (linked.status, linked.json) == (200, given.json)
    other_system = house.record(patient, "doses", dose(0, 75, **named("1", "urn:pharmacy")), "ehr")
    assert (other_system.status, other_system.json["id"]) == (200, given.json["id"])
    assert house.record(patient, "doses", dose(0, 75), "ehr").status == 200, "without a name"
    second = house.record(patient, "doses", dose(0, 75, **named("2")), "ehr")
    assert (second.status, second.json["asked"]) == (201, ["DOSES-TOO-CLOSE"]), "that system says that it is another"
    assert house.call("pharmacist", "GET", f"/patients/{patient}/next-dose").code == "FACTS-UNVERIFIED"


def test_a_reported_dose_that_differs_is_another(house: House) -> None:
    patient = house.on_course()
    house.record(patient, "doses", dose(0, 75, micrograms_per_kg=1))
    for number, body in enumerate((dose(0, 76), dose(1, 75), dose(0, 75, micrograms_per_kg=2))):
        answer = house.record(patient, "doses", body | named(str(number)), "ehr")
        assert (answer.status, answer.json["status"]) == (201, "unverified")


# Safety events


@pytest.mark.parametrize("kind", ["thrombosis", "marrow_disorder"])
def test_only_a_prescriber_takes_a_safety_event_back(house: House, kind: str) -> None:
    patient = house.on_course()
    path = fact_path(patient, "events", house.record(patient, "events", event(3, kind), "ehr"))
    ways: list[tuple[str, str, dict[str, object]]] = [
        ("POST", f"{path}/resolution", {"resolved_on": TODAY, **WHY}),
        ("POST", f"{path}/entered-in-error", dict(WHY)),
        ("PUT", path, event(3, kind, resolved_on=TODAY, **WHY)),
        ("PUT", path, event(3, "rescue_therapy", **WHY)),
        ("PUT", path, event(3, "adverse_event", term="pain", **WHY)),
    ]
    for who in ("technician", "pharmacist", "ehr"):
        for method, at, body in ways:
            answer = house.call(who, method, at, body, version="*")
            assert (answer.status, answer.code) == (403, "FORBIDDEN"), (who, method, at)
    assert house.call("prescriber", *ways[0], version=1).json["resolved_on"] == TODAY
    assert house.call("prescriber", *ways[0], version=2).code == "ALREADY-RESOLVED"
    reopened = event(3, kind, **WHY)
    assert house.call("prescriber", "PUT", path, reopened, version=2).json["resolved_on"] is None
    assert house.call("pharmacist", "PUT", path, event(4, kind, note="leg", **WHY), version=3).status == 200
    assert house.call("prescriber", *ways[1], version=4).json["status"] == "entered-in-error"


def test_a_resolution_lies_between_the_event_and_today(house: House) -> None:
    patient = house.patient()
    path = fact_path(patient, "events", house.record(patient, "events", event(3)), "resolution")
    for resolved in (day(4), day(-1)):
        answer = house.call("technician", "POST", path, {"resolved_on": resolved, **WHY}, version=1)
        assert (answer.status, list(answer.faults)) == (422, ["resolved_on"])
    assert house.call("technician", "POST", path, {"resolved_on": day(3), **WHY}, version=1).status == 200


# Versions


@pytest.mark.parametrize(
    ("tag", "status"),
    [
        (None, 428),
        ('"1"', 412),
        ('"3"', 412),
        ('"2"', 200),
        ('W/"2"', 200),
        ("*", 200),
        ('"1", "2"', 422),
        ('"two"', 422),
        ('"99999999999999999999"', 422),
        ('""', 422),
    ],
)
def test_a_change_names_the_version_that_it_changes(house: House, tag: str | None, status: int) -> None:
    patient = house.patient()
    path = fact_path(patient, "weights", house.record(patient, "weights", weight(0)))
    house.call("pharmacist", "PUT", path, weight(0, 76, **WHY), version=1)
    headers = {} if tag is None else {"If_Match": tag}
    answer = house.call("pharmacist", "PUT", path, weight(0, 77, **WHY), **headers)
    assert answer.status == status, answer.text
    wanted = {428: "VERSION-NEEDED", 412: "VERSION-STALE", 422: "INVALID", 200: None}
    assert answer.code == wanted[status]
    assert house.get(path)["value"] == (77 if status == 200 else 76)


def test_every_changing_route_asks_for_the_version(house: House) -> None:
    patient = house.on_course()
    facts = {name: house.record(patient, name, ENTRY[name](8)).json["id"] for name in COLLECTIONS}
    requests: list[tuple[str, str, str, object]] = [
        ("pharmacist", "PATCH", f"/patients/{patient}", {"given_name": "B"}),
        ("admin", "PATCH", f"/accounts/{house.ids['ehr']}", {"display_name": "B"}),
        ("admin", "PUT", f"/clinics/{house.clinic}", {"name": "B", "time_zone": "Europe/Berlin"}),
        ("prescriber", "POST", f"/patients/{patient}/course/eligibility", {"eligibility": [], **WHY}),
        ("prescriber", "POST", f"/patients/{patient}/course/protocol", {"protocol": "us-itp-adult", **WHY}),
        ("prescriber", "POST", f"/patients/{patient}/course/baseline", {"baseline_on": TODAY, **WHY}),
        ("prescriber", "POST", f"/patients/{patient}/course/discontinuation", WHY),
        ("prescriber", "POST", f"/patients/{patient}/course/pause", WHY),
        ("prescriber", "POST", f"/patients/{patient}/course/entered-in-error", WHY),
        (
            "prescriber",
            "POST",
            f"/patients/{patient}/events/{facts['events']}/resolution",
            {"resolved_on": TODAY, **WHY},
        ),
    ]
    for name, ident in facts.items():
        requests.append(("prescriber", "PUT", f"/patients/{patient}/{name}/{ident}", ENTRY[name](8, **WHY)))
        requests.append(("prescriber", "POST", f"/patients/{patient}/{name}/{ident}/entered-in-error", WHY))
    before = house.everything()
    for who, method, path, body in requests:
        assert house.call(who, method, path, body).status == 428, path
        assert house.call(who, method, path, body, version=77).status == 412, path
    assert house.everything() == before


# Idempotency keys


def test_the_same_request_is_done_once(house: House) -> None:
    patient = house.patient()
    path, body = f"/patients/{patient}/weights", weight(0)
    first = house.call("pharmacist", "POST", path, body, Idempotency_Key="k")
    house.clock.on(hours=5)
    again = house.call("pharmacist", "POST", path, body, Idempotency_Key="k")
    assert (again.status, again.text) == (201, first.text)
    assert [again.headers[name] for name in ("ETag", "Location", "Idempotency-Replayed")] == [
        first.etag,
        first.headers["Location"],
        "true",
    ]
    assert "Idempotency-Replayed" not in first.headers
    assert len(house.get(path)["items"]) == 1


def test_a_key_is_for_one_request_of_one_account(house: House) -> None:
    patient = house.patient()
    path = f"/patients/{patient}/weights"
    house.call("pharmacist", "POST", path, weight(0), Idempotency_Key="k")
    for at, body in ((path, weight(0, 76)), (f"/patients/{patient}/platelet-counts", weight(0))):
        answer = house.call("pharmacist", "POST", at, body, Idempotency_Key="k")
        assert answer.status in (409, 422)
        assert len(house.get(path)["items"]) == 1
    assert house.call("pharmacist", "POST", path, weight(0, 76), Idempotency_Key="k").code == "IDEMPOTENCY-KEY-REUSED"
    assert house.call("technician", "POST", path, weight(0), Idempotency_Key="k").status == 201


def test_a_refused_request_keeps_no_answer(house: House) -> None:
    patient = house.patient()
    path = f"/patients/{patient}/weights"
    assert house.call("pharmacist", "POST", path, weight(0, 14), Idempotency_Key="k").status == 422
    assert house.call("pharmacist", "POST", path, weight(0, 75), Idempotency_Key="k").status == 201


def test_a_question_that_stores_nothing_takes_a_key_too(house: House) -> None:
    path, body = "/recommend", {"protocol": "us-itp-adult", "on": TODAY, "born_on": "1960-05-01"}
    first, again = (house.call("ehr", "POST", path, body, Idempotency_Key="k") for _ in range(2))
    assert (again.text, again.headers["Idempotency-Replayed"]) == (first.text, "true")
    other = house.call("ehr", "POST", path, {**body, "born_on": "1970-05-01"}, Idempotency_Key="k")
    assert other.code == "IDEMPOTENCY-KEY-REUSED"
    assert list(house.call("ehr", "POST", path, body, Idempotency_Key="").faults) == ["Idempotency-Key"]
    before = house.everything()
    assert house.call("ehr", "POST", path, body).text == first.text
    assert house.everything() == before


@pytest.mark.parametrize("key", ["", "k" * 256])
def test_keys_that_are_none(house: House, key: str) -> None:
    answer = house.call("pharmacist", "POST", f"/patients/{house.patient()}/weights", weight(0), Idempotency_Key=key)
    assert (answer.status, list(answer.faults)) == (422, ["Idempotency-Key"])


def test_a_kept_answer_has_no_secret(house: House) -> None:
    path, body = f"/accounts/{house.ids['ehr']}/tokens", {"label": "x", "days": 1}
    first = house.call("admin", "POST", path, body, Idempotency_Key="k")
    again = house.call("admin", "POST", path, body, Idempotency_Key="k")
    assert (again.status, again.json) == (201, first.json | {"secret": None})
    assert len(house.get(path, "admin")["items"]) == 2
    body = {"username": "p", "display_name": "P", "role": "pharmacist"}
    first = house.call("admin", "POST", "/accounts", body, Idempotency_Key="l")
    again = house.call("admin", "POST", "/accounts", body, Idempotency_Key="l")
    assert (again.status, again.json) == (201, first.json | {"activation_secret": None})
    assert "titr_" not in str(house.everything())


def test_many_at_once_with_one_key_are_one(house: House) -> None:
    patient = house.patient()
    path, body = f"/patients/{patient}/weights", weight(0)
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(house.call, "pharmacist", "POST", path, body, Idempotency_Key="k") for _ in range(16)]
        answers = [one.result() for one in asked]
    assert {(answer.status, answer.text) for answer in answers} == {(201, answers[0].text)}
    assert len(house.get(path)["items"]) == 1


def test_many_changes_at_once_of_one_version_are_one(house: House) -> None:
    patient = house.patient()
    path = fact_path(patient, "weights", house.record(patient, "weights", weight(0)))
    with ThreadPoolExecutor(8) as pool:
        asked = [
            pool.submit(house.call, "pharmacist", "PUT", path, weight(0, 70 + n, **WHY), version=1) for n in range(8)
        ]
        statuses = sorted(one.result().status for one in asked)
    assert statuses == [200] + [412] * 7
    assert house.get(path)["version"] == 2
    assert house.services.store.check() == []
