"""Bundles: a transaction is all or nothing with every refusal named, a batch answers each entry for itself."""

from __future__ import annotations

from typing import Any, Final

import pytest

from tests.api.deciding import decided, decision, dosed
from tests.api.support import Answer, House
from tests.fhir.judges.judge import faults
from tests.fhir.resources import (
    Resource,
    bundle,
    confirming,
    created,
    entry,
    given,
    happened,
    issues,
    known_as,
    matches,
    person,
    places,
    platelets,
    problems,
    put,
    read,
    search,
    send,
    transfused,
    weighed,
)
from titrator.fhir import writing

ADA: Final = "urn:uuid:0c2f6b4e-4f0e-4d1b-9d57-8a1f6f4f7e11"


def sent(house: House, kind: str, *entries: Resource, who: str = "pharmacist", **headers: str) -> Answer:
    return send(house, "POST", "/", bundle(kind, *entries), who, **headers)


def of(resource: Resource, whose: str) -> Resource:
    """A resource of whom a reference names."""
    return {**resource, "subject": {"reference": whose}}


def statuses(answer: Answer) -> list[str]:
    assert answer.status == 200, answer.text
    return [one["response"]["status"] for one in answer.json["entry"]]


def located(answer: Answer) -> list[str]:
    """Where each entry was written, without the name of the server."""
    return [one["response"]["location"].removeprefix("http://localhost/fhir") for one in answer.json["entry"]]


# Transactions


@pytest.mark.parametrize("first", [True, False], ids=["the patient first", "the patient last"])
def test_entries_refer_to_a_patient_of_the_same_bundle(shared: House, first: bool) -> None:
    facts = [
        entry(of(make("x", 1), ADA))
        for make in (platelets, weighed, transfused, happened)
    ]  # fmt: skip
    patient = entry(person(), full_url=ADA)
    answer = sent(shared, "transaction", *([patient, *facts] if first else [*facts, patient]))
    assert answer.json["type"] == "transaction-response"
    assert statuses(answer) == ["201 Created"] * 5
    kinds = ["Patient", "Observation", "Observation", "Procedure", "AdverseEvent"]
    kinds = kinds if first else [*kinds[1:], kinds[0]]
    assert [where.split("/")[1] for where in located(answer)] == kinds, "in the order of the entries"
    made = located(answer)[kinds.index("Patient")].split("/")[2]
    for where, one in zip(located(answer), answer.json["entry"], strict=True):
        there = read(shared, where)
        assert one["response"]["etag"] == 'W/"1"'
        assert one["response"]["lastModified"] == there["meta"]["lastUpdated"]
        assert there["resourceType"] == "Patient" or there["subject"]["reference"] == f"Patient/{made}"


def test_references_by_condition_and_by_address(shared: House) -> None:
    patient = shared.patient()
    number = f"pharmacist-{shared.made}"
    whose = [f"Patient?identifier=urn:mrn|{number}", f"Patient/{patient}", f"http://localhost/fhir/Patient/{patient}"]
    answer = sent(shared, "transaction", *(entry(of(platelets("x", 1), one)) for one in whose))
    assert statuses(answer) == ["201 Created"] * 3
    assert search(shared, "Observation", patient=patient)["total"] == 3


def test_a_patient_who_is_there_already_is_met_by_a_condition(shared: House) -> None:
    patient = shared.patient()
    number = f"pharmacist-{shared.made}"
    before = read(shared, f"/Patient/{patient}")
    unless = entry(person(number=number), full_url=ADA, ifNoneExist=f"identifier=urn:mrn|{number}")
    answer = sent(shared, "transaction", unless, entry(of(platelets("x", 1), ADA)))
    assert statuses(answer) == ["200 OK", "201 Created"]
    assert located(answer)[1].split("/")[2].partition("-")[0] == patient
    assert read(shared, f"/Patient/{patient}") == before
    by_put = entry(
        person("Renamed", number=number), "PUT", f"Patient?identifier=urn:mrn|{number}", full_url=ADA
    )  # fmt: skip
    answer = sent(shared, "transaction", entry(of(weighed("x", 1), ADA)), by_put)
    assert statuses(answer) == ["201 Created", "200 OK"]
    assert read(shared, f"/Patient/{patient}")["name"][0]["family"] == "Renamed"


def test_each_way_to_write_goes_in_a_transaction(shared: House) -> None:
    patient = shared.patient()
    made = created(shared, platelets(patient, 3, 60, **known_as("t-1")))
    there = created(shared, weighed(patient, 3, **known_as("t-2")))
    other = platelets(patient, 3, 66, id=made["id"], **known_as("t-1"))
    entries = [
        entry(other, "PUT", f"Observation/{made['id']}", ifMatch='W/"1"'),
        entry(weighed(patient, 3, 76, **known_as("t-2")), "PUT", "Observation?identifier=urn:lab|t-2"),
        entry(platelets(patient, 2, **known_as("t-3")), "PUT", "Observation?identifier=urn:lab|t-3"),
        entry(platelets(patient, 1, **known_as("t-4")), ifNoneExist="identifier=urn:lab|t-4"),
        entry(platelets(patient, 1, 99, **known_as("t-3")), ifNoneExist="identifier=urn:lab|t-3"),
        entry(platelets(patient, 1, **known_as("t-4"))),
    ]
    answer = sent(shared, "transaction", *entries)
    assert statuses(answer) == ["200 OK", "200 OK", "201 Created", "201 Created", "200 OK", "200 OK"]
    assert [one["response"]["etag"] for one in answer.json["entry"]] == [f'W/"{n}"' for n in (2, 2, 1, 1, 1, 1)]
    assert located(answer)[0] == f"/Observation/{made['id']}/_history/2"
    assert located(answer)[1] == f"/Observation/{there['id']}/_history/2"
    assert located(answer)[2] == located(answer)[4]
    assert located(answer)[3] == located(answer)[5]
    assert search(shared, "Observation", patient=patient)["total"] == 4


def test_a_transaction_sent_twice_is_recorded_once(shared: House) -> None:
    patient = shared.patient()
    entries = [entry(platelets(patient, ago, **known_as(f"twice-{ago}"))) for ago in (1, 2, 3)]
    first = sent(shared, "transaction", *entries)
    before = shared.everything()
    again = sent(shared, "transaction", *entries)
    assert (statuses(first), statuses(again)) == (["201 Created"] * 3, ["200 OK"] * 3)
    assert located(again) == located(first)
    assert shared.everything() == before


#: An entry that is refused, with the status by itself and where its fault is within the entry.
REFUSED: Final[dict[str, tuple[Resource, int, str]]] = {
    "a unit": (entry(platelets("x", 1, unit="g")), 422, "resource.value.code"),
    "no day": (entry({k: v for k, v in platelets("x").items() if k != "effectiveDateTime"}), 422, "resource.effective"),
    "nobody": (entry(of(platelets("x", 1), "urn:uuid:nobody")), 422, "resource.subject"),
    "another medicine": (
        entry(given("x", 1, medicationCodeableConcept={"text": "Aspirin"})), 422, "resource.medication",
    ),
    "what was never there": (entry(weighed("x", 1), "PUT", "Observation/x-1"), 400, "resource.id"),
    "a nameless patient": (entry({k: v for k, v in person().items() if k != "name"}), 422, "resource.name[0].family"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_one_refusal_refuses_all_of_a_transaction(shared: House, name: str) -> None:
    refused, status, where = REFUSED[name]
    patient = shared.patient()
    resource = refused["resource"]
    if resource.get("subject") == {"reference": "Patient/x"}:
        refused = {**refused, "resource": of(resource, f"Patient/{patient}")}
    good = [entry(platelets(patient, ago)) for ago in (1, 2)]
    before = shared.everything()
    answer = sent(shared, "transaction", good[0], refused, good[1])
    assert (answer.status, shared.everything() == before) == (status, True)
    assert f"Bundle.entry[1].{where}" in places(answer)
    assert all(place.startswith("Bundle.entry[1].") for place in places(answer))
    assert faults([answer.json]) == []
    alone = sent(shared, "batch", good[0], refused, good[1])
    assert [one[:3] for one in statuses(alone)] == ["201", str(status), "201"]


def test_every_refusal_of_a_transaction_is_named_at_once(shared: House) -> None:
    patient = shared.on_course()
    created(shared, platelets(patient, 7, 60, **known_as("named")))
    entries = [
        entry(platelets(patient, 1, unit="g")),
        entry(platelets(patient, 1)),
        entry(platelets(patient, 1, 5001)),
        entry(platelets(patient, 0, 600)),
        entry(platelets(patient, 1, **known_as("named"))),
        entry(of(platelets(patient), ADA)),
    ]
    before = shared.everything()
    answer = sent(shared, "transaction", *entries)
    assert answer.status == 422
    assert problems(answer) == {"INVALID", "COUNT-FAR-FROM-LAST", "EXTERNAL-ID-TAKEN"}
    found = {place.split(".")[1] for place in places(answer)}
    assert found == {"entry[0]", "entry[2]", "entry[3]", "entry[4]", "entry[5]"}
    assert shared.everything() == before


def test_refusals_of_one_kind_keep_their_status(shared: House) -> None:
    patient = shared.patient()
    made = created(shared, platelets(patient, 1, **known_as("one-kind")))
    taken = sent(shared, "transaction", entry(platelets(patient, 2, **known_as("one-kind"))))
    assert (taken.status, problems(taken)) == (409, {"EXTERNAL-ID-TAKEN"})
    stale = entry(made, "PUT", f"Observation/{made['id']}", ifMatch='W/"9"')
    assert sent(shared, "transaction", stale).status == 412
    unknown = {**made, "id": f"{patient}-99"}
    assert sent(shared, "transaction", entry(unknown, "PUT", f"Observation/{patient}-99")).status == 404


def test_facts_of_a_transaction_are_judged_in_their_order(shared: House) -> None:
    """The second count is ten times the first, which is of the same Bundle; with an answer it is taken."""
    patient = shared.on_course()
    entries = [entry(platelets(patient, 7, 60)), entry(platelets(patient, 0, 600))]
    answer = sent(shared, "transaction", *entries)
    assert (answer.status, problems(answer)) == (422, {"COUNT-FAR-FROM-LAST"})
    entries[1] = entry({**platelets(patient, 0, 600), **confirming("COUNT-FAR-FROM-LAST")})
    assert statuses(sent(shared, "transaction", *entries)) == ["201 Created"] * 2


# Batches


def test_a_batch_answers_each_entry_for_itself(shared: House) -> None:
    patient, theirs = shared.patient(), shared.patient("stranger")
    made = created(shared, platelets(patient, 5, **known_as("b-0")))
    entries: list[tuple[Resource, str]] = [
        (entry(platelets(patient, 1, **known_as("b-1"))), "201 Created"),
        (entry(platelets(patient, 1, **known_as("b-1"))), "200 OK"),
        (entry(platelets(patient, 1, 70, **known_as("b-1"))), "409 Conflict"),
        (entry(platelets(patient, 1, unit="g")), "422 Unprocessable Entity"),
        (entry(platelets(theirs, 1)), "422 Unprocessable Entity"),
        (entry(made, "PUT", f"Observation/{made['id']}", ifMatch='W/"2"'), "412 Precondition Failed"),
        (entry(made, "PUT", f"Observation/{made['id']}", ifMatch='W/"1"'), "200 OK"),
        (entry({**made, "id": "x"}, "PUT", f"Observation/{made['id']}"), "400 Bad Request"),
        (entry({**made, "id": f"{patient}-99"}, "PUT", f"Observation/{patient}-99"), "404 Not Found"),
        (entry(made, "DELETE", f"Observation/{made['id']}"), "422 Unprocessable Entity"),
        ({"request": {"method": "GET", "url": f"Observation/{made['id']}"}}, "422 Unprocessable Entity"),
        (entry(made, "POST", "MedicationRequest"), "422 Unprocessable Entity"),
        (entry(weighed(patient, 1)), "201 Created"),
    ]
    answer = sent(shared, "batch", *(one for one, _ in entries))
    assert answer.json["type"] == "batch-response"
    assert statuses(answer) == [status for _, status in entries]
    for index, one in enumerate(answer.json["entry"]):
        refused = entries[index][1][0] == "4"
        assert ("outcome" in one["response"], "location" in one["response"]) == (refused, not refused)
        if refused:
            where = [place for issue in one["response"]["outcome"]["issue"] for place in issue.get("expression", [])]
            assert all(place.startswith(f"Bundle.entry[{index}].") for place in where), where
    assert search(shared, "Observation", patient=patient)["total"] == 3
    assert faults([answer.json]) == []


def test_an_entry_of_a_batch_knows_nothing_of_the_others(shared: House) -> None:
    answer = sent(shared, "batch", entry(person(), full_url=ADA), entry(of(platelets("x", 1), ADA)))
    assert statuses(answer) == ["201 Created", "422 Unprocessable Entity"]


@pytest.mark.parametrize("kind", ["transaction", "batch"])
def test_resources_come_back_where_they_are_wished(shared: House, kind: str) -> None:
    patient = shared.patient()
    entries = [entry(platelets(patient, 1)), entry(given(patient, 1, **confirming("DOSE-WITHOUT-COURSE")))]
    short = sent(shared, kind, *entries)
    assert all("resource" not in one for one in short.json["entry"])
    whole = sent(shared, kind, entry(platelets(patient, 2)), Prefer="return=representation")
    (one,) = whole.json["entry"]
    assert one["resource"] == read(shared, located(whole)[0])
    assert faults([short.json, whole.json]) == []


# Form


#: What is no Bundle that is taken: the status, and where the fault is.
NO_BUNDLE: Final[dict[str, tuple[Any, int, list[str]]]] = {
    "no list of anything": ([], 400, ["Bundle.type"]),
    "another type of resource": (platelets("x"), 400, ["Bundle.type"]),
    "no type": ({"resourceType": "Bundle"}, 400, ["Bundle.type"]),
    "a collection": (bundle("collection"), 400, ["Bundle.type"]),
    "a searchset": (bundle("searchset"), 400, ["Bundle.type"]),
    "no request": (
        bundle("transaction", {"resource": platelets("x")}),
        422,
        ["Bundle.entry[0].request.method", "Bundle.entry[0].request.url"],
    ),
    "no resource": (
        bundle("transaction", {"request": {"method": "POST", "url": "Observation"}}),
        422,
        ["Bundle.entry[0].resource"],
    ),
    **{
        name: (bundle("transaction", entry(platelets("x"), method, url)), 422, [f"Bundle.entry[0].request.{where}"])
        for name, method, url, where in (
            ("a delete", "DELETE", "Observation/1", "method"),
            ("a read", "GET", "Observation/1", "method"),
            ("a post with an id", "POST", "Observation/1", "url"),
            ("a put without an id", "PUT", "Observation", "url"),
            ("a put with both", "PUT", "Observation/1?identifier=a|b", "url"),
            ("what is only read", "POST", "Task", "url"),
            ("what is not there", "POST", "Basic", "url"),
        )
    },
    "no version": (
        bundle("transaction", entry(platelets("x"), "PUT", "Observation/1", ifMatch="new")),
        422,
        ["Bundle.entry[0].request.ifMatch"],
    ),
    "the same address twice": (
        bundle("transaction", entry(person(), full_url=ADA), entry(person(), full_url=ADA)),
        422,
        ["Bundle.entry"],
    ),
    "no entries but one": ({**bundle("transaction"), "entry": {}}, 422, ["Bundle.entry"]),
    "too many": (bundle("transaction", *[entry(platelets("x"))] * 501), 422, ["Bundle.entry"]),
    "too many in a batch": (bundle("batch", *[entry(platelets("x"))] * 501), 422, ["Bundle.entry"]),
}  # fmt: skip


@pytest.mark.parametrize("name", NO_BUNDLE)
def test_what_is_no_bundle_is_refused(shared: House, name: str) -> None:
    body, status, where = NO_BUNDLE[name]
    before = shared.everything()
    for path in ("/", ""):
        answer = send(shared, "POST", path, body)
        assert (answer.status, places(answer)) == (status, where)
        assert faults([answer.json]) == []
    assert shared.everything() == before


def test_as_many_as_may_be_are_taken(shared: House) -> None:
    patient = shared.patient()
    entries = [entry(platelets(patient, n % 300, **known_as(f"many-{n}"))) for n in range(500)]
    answer = sent(shared, "transaction", *entries)
    assert statuses(answer) == ["201 Created"] * 500
    found = search(shared, "Observation", patient=patient, _count=1000)
    assert (found["total"], len(matches(found))) == (500, 500)


@pytest.mark.parametrize(
    ("who", "status"),
    [("technician", 200), ("prescriber", 200), ("ehr", 200), ("auditor", 403), ("admin", 403), (None, 401)],
)
def test_who_may_record_may_send_bundles(shared: House, who: str | None, status: int) -> None:
    patient = shared.patient()
    for kind in ("transaction", "batch"):
        answer = send(shared, "POST", "/", bundle(kind, entry(platelets(patient, 1))), who)
        assert answer.status == status


def test_a_token_that_may_not_write_patients_writes_none_in_a_bundle(shared: House) -> None:
    few = {"label": "tests", "days": 30, "permissions": ["patients:read", "facts:record"]}
    secret = shared.post(f"/accounts/{shared.ids['ehr']}/tokens", few, "admin")["secret"]
    patient = shared.patient()
    entries = [entry(platelets(patient, 1)), entry(person())]
    before = shared.everything()
    answer = sent(shared, "transaction", *entries, who=secret)
    assert (answer.status, issues(answer)) == (403, [("forbidden", "Bundle.entry[1]")])
    assert shared.everything() == before
    assert statuses(sent(shared, "batch", *entries, who=secret)) == ["201 Created", "403 Forbidden"]


def test_a_correction_in_a_bundle_re_opens_as_any_other(shared: House) -> None:
    patient = dosed(shared)
    fact = shared.get(f"/patients/{patient}/platelet-counts")["items"][0]["id"]
    there = read(shared, f"/Observation/{patient}-{fact}")
    decided(shared, patient)
    changed = {**there, "valueQuantity": {**there["valueQuantity"], "value": 420}, "status": "corrected"}
    answer = sent(shared, "transaction", entry(changed, "PUT", f"Observation/{there['id']}"))
    assert statuses(answer) == ["200 OK"]
    assert decision(shared, patient)["reopened"] is not None
    assert put(shared, changed).json["meta"]["versionId"] == "2"


@pytest.mark.parametrize("kind", ["transaction", "batch"])
def test_what_is_refused_of_an_entry_stands_in_the_trail(house: House, kind: str) -> None:
    """Or one could ask for hundreds at once, unseen."""
    theirs = house.patient("stranger")
    sent = bundle(kind, entry({**platelets(theirs), "id": f"{theirs}-1"}, "PUT", f"Observation/{theirs}-1"))
    answer = send(house, "POST", "/", sent)
    assert answer.status == (404 if kind == "transaction" else 200)
    house.call("auditor", "GET", "/audit")  # takes what waits into the trail
    denied = [one for one in house.trail() if one.action == "denied" and one.account_id == house.ids["pharmacist"]]
    assert denied


def test_two_entries_of_a_transaction_do_not_write_the_same(house: House) -> None:
    patient = house.patient()
    one = platelets(patient, 1, 40, identifier=[{"system": "urn:lab", "value": "t"}])
    url = "Observation?identifier=urn:lab|t"
    answer = send(house, "POST", "/", bundle("transaction", entry(one, "PUT", url), entry(one, "PUT", url)))
    assert (answer.status, places(answer)) == (422, ["Bundle.entry[1].request.url"])


def test_one_resource_is_not_written_by_two_of_its_names(house: House) -> None:
    patient = house.patient()
    made = created(house, platelets(patient, 1, 40, identifier=[known("t"), known("u")]))
    one = platelets(patient, 1, 50, **known_as("t"))
    by_id = entry({**one, "id": made["id"]}, "PUT", f"Observation/{made['id']}")
    bars = (("|", 51), ("%7C", 52))
    by_name = [
        entry(platelets(patient, 1, value, **known_as("t")), "PUT", f"Observation?identifier=urn:lab{bar}t")
        for bar, value in bars
    ]
    other = entry(platelets(patient, 1, 60, **known_as("u")), "PUT", "Observation?identifier=urn:lab|u")
    before = house.everything()
    created_first = entry(platelets(patient, 1, 40, **known_as("t")), ifNoneExist="identifier=urn:lab|t")
    answer = sent(house, "transaction", created_first, by_id, by_name[0])
    assert (answer.status, "Bundle.entry[2].request.url" in places(answer)) == (422, True), answer.text
    for entries in ((by_id, by_name[0]), (by_name[0], by_name[1]), (by_name[0], other)):
        answer = sent(house, "transaction", *entries)
        assert (answer.status, "Bundle.entry[1].request.url" in places(answer)) == (422, True), answer.text
        assert house.everything() == before


def test_what_says_the_same_may_stand_twice_in_any_order(house: House) -> None:
    patient = house.patient()
    made = created(house, platelets(patient, 1, 40, identifier=[known("t"), known("u")]))
    unless = entry(platelets(patient, 1, 99, **known_as("t")), ifNoneExist="identifier=urn:lab|t")
    by_id = entry({**platelets(patient, 1, 50), "id": made["id"]}, "PUT", f"Observation/{made['id']}")
    same = entry(platelets(patient, 1, 50, **known_as("u")), "PUT", "Observation?identifier=urn:lab|u")
    for entries in ((unless, by_id), (by_id, unless), (by_id, same)):
        assert statuses(sent(house, "transaction", *entries)) == ["200 OK"] * 2
    assert read(house, f"/Observation/{made['id']}")["valueQuantity"]["value"] == 50


def known(value: str) -> Resource:
    return {"system": "urn:lab", "value": value}


def test_a_relative_reference_is_of_the_server_of_its_entry(house: House) -> None:
    """As FHIR reads references in a Bundle: beside the `fullUrl` of the entry; else they are ours."""
    here, base = house.patient(), "http://ehr.example/r4"
    foreign = entry(person(), full_url=f"{base}/Patient/77")
    entries = [
        entry(of(platelets("x", 1), "Patient/77"), full_url=f"{base}/Observation/1"),
        entry(of(platelets("x", 2), f"{base}/Patient/77/_history/4"), full_url="urn:uuid:1"),
        entry(of(platelets("x", 3), "Patient/77/_history/4"), full_url=f"{base}/Observation/3"),
        entry(of(platelets("x", 4), f"Patient/{here}"), full_url=f"{base}/Observation/4"),
        entry(of(platelets("x", 5), f"Patient/{here}/_history/1")),
    ]
    answer = sent(house, "transaction", foreign, *entries)
    assert statuses(answer) == ["201 Created"] * 6
    made = located(answer)[0].split("/")[2]
    whose = [read(house, where)["subject"]["reference"].partition("/")[2] for where in located(answer)[1:]]
    assert whose == [made, made, made, here, here]
    for whose_else in ("Patient/77", "http://other.example/r4/Patient/77", f"http://ehr.example/Patient/{here}"):
        elsewhere = entry(of(platelets("x", 1), whose_else), full_url="http://other.example/r5/Observation/1")
        answer = sent(house, "transaction", foreign, elsewhere)
        assert (answer.status, places(answer)) == (422, ["Bundle.entry[1].resource.subject"]), whose_else


def test_an_address_that_is_none_is_refused(house: House) -> None:
    patient = house.patient()
    answer = send(house, "POST", "/", bundle("batch", entry(platelets(patient), "POST", "http://[x/Observation")))
    assert answer.json["entry"][0]["response"]["status"].startswith("422")


def test_what_nobody_foresaw_in_an_entry_leaves_the_others_told(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    patient = house.patient()
    done = writing.create

    def breaking(visit: Any, context: Any, kind: Any, resource: Any, path: str | None = None) -> Any:
        if resource.get("valueQuantity", {}).get("value") == 13:
            raise RuntimeError("unforeseen")
        return done(visit, context, kind, resource, path)

    monkeypatch.setattr(writing, "create", breaking)
    sent = bundle("batch", *(entry(platelets(patient, ago, value)) for ago, value in ((3, 60), (2, 13), (1, 62))))
    told = [one["response"]["status"][:3] for one in send(house, "POST", "/", sent).json["entry"]]
    assert told == ["201", "500", "201"]
