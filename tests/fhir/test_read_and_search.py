"""What is given: each resource in each state, found faultless by judges that others wrote; and found by searching.

The states are made by the steps that everybody takes: recorded, decided, given, corrected. A search is a table of what
is asked and what is found.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

import pytest

from tests.api.deciding import SAYS, act, decide, decided, dosed, give, override, referred_by_rule
from tests.api.support import (
    NOON,
    TODAY,
    WHY,
    Answer,
    House,
    build,
    count,
    day,
    dose,
    event,
    named,
    observation,
    weight,
)
from tests.fhir.judges.judge import faults
from tests.fhir.resources import (
    FHIR,
    Resource,
    bundle,
    create,
    created,
    entry,
    given,
    happened,
    ids,
    issues,
    known_as,
    matches,
    not_given,
    observed,
    places,
    platelets,
    put,
    read,
    search,
    send,
    transfused,
    updated,
    weighed,
)
from tests.support import IDS
from titrator.app import create_app
from titrator.fhir.capability import capability_statement
from titrator.fhir.kinds import KINDS
from titrator.settings import Settings

OF_A_PATIENT: Final = (
    "Observation", "MedicationAdministration", "Procedure", "AdverseEvent", "MedicationRequest", "GuidanceResponse",
    "Condition", "Provenance", "Task",
)  # fmt: skip


# Each state of each resource


def in_force(house: House) -> str:
    patient = dosed(house)
    decided(house, patient)
    return patient


def awaiting_second(house: House) -> str:
    patient = dosed(house)
    assert override(house, patient, "prescriber", micrograms_per_kg=10.5).json["status"] == "awaiting-second"
    return patient


def lapsed(house: House) -> str:
    """Decided four days ago, and nothing since."""
    house.clock.now = NOON - timedelta(days=4)
    patient = house.on_course()
    for ago in (18, 11):
        house.post(f"/patients/{patient}/doses", dose(ago, 150))
    house.post(f"/patients/{patient}/platelet-counts", count(4, 90))
    decided(house, patient)
    house.clock.now = NOON
    return patient


def delivered(house: House) -> str:
    patient = in_force(house)
    give(house, patient)
    return patient


def not_delivered(house: House) -> str:
    patient = in_force(house)
    house.post(f"/patients/{patient}/doses", {"not_given_on": TODAY, "reason_not_given": "absent"})
    return patient


def superseded(house: House) -> str:
    """Accepted, and then overridden with another dose of the protocol's."""
    patient = in_force(house)
    assert override(house, patient, micrograms_per_kg=3).status == 201
    return patient


def withdrawn(house: House) -> str:
    patient = in_force(house)
    assert act(house, patient, 1, "withdrawal").status == 200
    return patient


def void(house: House) -> str:
    patient = in_force(house)
    assert house.call("pharmacist", "POST", f"/patients/{patient}/course/pause", WHY, version="*").status == 200
    return patient


def re_opened(house: House) -> str:
    """Decided upon a count that was corrected since."""
    patient = in_force(house)
    fact = house.get(f"/patients/{patient}/platelet-counts")["items"][-1]["id"]
    sent = count(0, 420, **WHY)
    assert house.call("pharmacist", "PUT", f"/patients/{patient}/platelet-counts/{fact}", sent, version=1).status == 200
    return patient


def referred_by_hand(house: House) -> str:
    patient = dosed(house)
    assert decide(house, patient, "refer", **SAYS).status == 201
    return patient


def incomplete(house: House) -> str:
    return house.begun()


def ineligible(house: House) -> str:
    """By a protocol that asks for what nobody has confirmed."""
    patient = house.on_course(0, protocol="cart-2021-case")
    house.post(f"/patients/{patient}/platelet-counts", count(0, 20))
    return patient


def of_no_course(house: House) -> str:
    return house.patient(born_on=None)


def ended(house: House) -> str:
    """Two courses: one entered in error, one discontinued."""
    patient = house.begun(14)
    path = f"/patients/{patient}/course"
    assert house.call("prescriber", "POST", f"{path}/entered-in-error", WHY, version="*").status == 200
    house.post(path, {"protocol": "eu-itp-adult", "started_on": day(7)})
    assert house.call("prescriber", "POST", f"{path}/discontinuation", WHY, version="*").status == 200
    return patient


def with_every_fact(house: House) -> str:
    """Each kind of fact in each state that it can have: final, corrected, unverified, preliminary, in error."""
    patient = house.on_course(60)
    path = f"/patients/{patient}"
    post: Callable[[str, dict[str, object]], Any] = lambda name, body: house.post(f"{path}/{name}", body)  # noqa: E731
    post("platelet-counts", count(30, 60, note="clumped", unreliable=True))
    post("platelet-counts", count(23, 60.125, "K/uL") | named("c-1"))
    post("observations", observation(23, 9, "haemoglobin", "g/dL", lower_limit_of_normal=12))
    post("observations", observation(23, 1.2, "neutrophils", "10*9/L"))
    post("observations", observation(23, 7, "immature-platelet-fraction", "%"))
    post("observations", observation(23, 40, "ferritin", "ug/L"))
    post("weights", weight(20, 165, "lb"))
    post("doses", dose(28, 75, micrograms_per_kg=1))
    post("doses", dose(21, 75) | named("d-1"))
    post("doses", {"not_given_on": day(14), "reason_not_given": "no-supply", "note": "none in the house"})
    post("events", event(20, "platelet_transfusion"))
    post("events", event(20, "red_cell_transfusion") | named("e-1"))
    post("events", event(19, "rescue_therapy", note="IVIG"))
    post("events", event(18, "thrombosis", resolved_on=day(10)))
    post("events", event(17, "marrow_disorder"))
    post("events", event(16, "adverse_event", term="headache", scale="ctcae-5.0", grade=2, resolved_on=day(15)))
    post("events", event(16, "adverse_event", scale="icans", grade=0) | named("e-2"))
    wrong = [
        ("platelet-counts", count(22, 61)),
        ("weights", weight(19, 76)),
        ("doses", dose(2, 75)),
        ("events", event(12, "platelet_transfusion")),
        ("events", event(12, "adverse_event", term="a slip")),
    ]
    for name, body in wrong:
        fact = post(name, body)["id"]
        assert house.call("pharmacist", "POST", f"{path}/{name}/{fact}/entered-in-error", WHY, version=1).status == 200
    created(house, platelets(patient, 1, 600, **known_as("f-1")), "ehr")  # ten times the count before: unverified
    created(house, given(patient, 0, 900, **known_as("f-2")), "ehr")
    created(house, platelets(patient, 0, 55, status="preliminary", effectiveDateTime=f"{TODAY}T08:15:00.5+01:00"))
    final = created(house, platelets(patient, 9, 70, **known_as("f-3")))
    amended = platelets(patient, 9, 72, status="amended", id=final["id"], **known_as("f-3"))
    updated(house, amended)
    return patient


#: How each state is made, by name.
STATES: Final[dict[str, Callable[[House], str]]] = {
    "lapsed": lapsed,
    "proposed": dosed,
    "in force": in_force,
    "awaiting second": awaiting_second,
    "delivered": delivered,
    "not given": not_delivered,
    "superseded": superseded,
    "withdrawn": withdrawn,
    "void": void,
    "re-opened": re_opened,
    "referred by rule": referred_by_rule,
    "referred by hand": referred_by_hand,
    "incomplete": incomplete,
    "ineligible": ineligible,
    "of no course": of_no_course,
    "ended": ended,
    "every fact": with_every_fact,
}


class Shown(NamedTuple):
    """An installation with a patient in each state, by its name."""

    house: House
    patients: dict[str, str]


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    house = build(tmp_path_factory.mktemp("shown"))
    made = {}
    for name, make in STATES.items():
        made[name] = make(house)
    search(house, "Task")  # settles all
    yield Shown(house, made)
    house.services.store.close()


#: By state: the MedicationRequests and GuidanceResponses, each as the end of its id, its status and intent.
ORDERS: Final[dict[str, list[str]]] = {
    "lapsed": ["d1 stopped order", "next draft proposal"],
    "proposed": ["next draft proposal"],
    "in force": ["d1 active order"],
    "awaiting second": ["d1 draft plan"],
    "delivered": ["d1 completed order"],
    "not given": ["d1 stopped order", "next draft proposal"],
    "superseded": ["d1 cancelled order", "d3 active order"],
    "withdrawn": ["d1 cancelled order", "next draft proposal"],
    "void": ["d1 cancelled order"],
    "re-opened": ["d1 on-hold order"],
    "referred by rule": [],
    "referred by hand": [],
    "incomplete": [],
    "ineligible": [],
    "of no course": [],
    "ended": [],
    "every fact": [],
}
ANSWERS: Final[dict[str, list[str]]] = {
    "lapsed": ["d1 success", "next success"],
    "proposed": ["next success"],
    "in force": ["d1 success", "next success"],
    "awaiting second": ["d1 success", "next success"],
    "delivered": ["d1 success", "next data-required"],
    "not given": ["d1 success", "next success"],
    "superseded": ["d1 success", "d3 success", "next success"],
    "withdrawn": ["d1 success", "next success"],
    "void": ["d1 success"],
    "re-opened": ["d1 success", "next success"],
    "referred by rule": ["next success"],
    "referred by hand": ["d1 success", "next success"],
    "incomplete": ["next data-required"],
    "ineligible": ["next success"],
    "of no course": [],
    "ended": [],
    "every fact": [],
}


def short(resource: Resource) -> str:
    words = [resource["id"].partition("-")[2], resource["status"], resource.get("intent", "")]
    return " ".join(word for word in words if word)


#: By state: what the answer of today and the one that was decided upon say of the decision.
DECIDED: Final[dict[str, tuple[str | None, str | None]]] = {
    "proposed": (None, None),
    "in force": ("It is in-force.", "It is in-force."),
    "awaiting second": ("it awaits a second signature. It is awaiting-second.", "It is awaiting-second."),
    "delivered": (None, "It is delivered."),
    "withdrawn": (None, "It is withdrawn."),
    "re-opened": ("Do not give it until somebody has looked at it.", "Do not give it until somebody has looked at it."),
    "referred by hand": ("refer to a prescriber, because of", "It is referred."),
}


@pytest.mark.parametrize("state", DECIDED)
def test_an_answer_says_what_was_decided_upon_it(shown: Shown, state: str) -> None:
    found = {
        one["id"].partition("-")[2]: one
        for one in matches(search(shown.house, "GuidanceResponse", patient=shown.patients[state]))
    }
    for ident, said in zip(("next", "d1"), DECIDED[state], strict=True):
        first = found[ident]["note"][0]["text"] if ident in found else ""
        assert first.startswith("Decided on ") == (said is not None), first
        assert (said or "") in first


def test_a_decision_without_a_dose_is_told_wherever_the_answer_is(house: House) -> None:
    """Who reads the answer alone must not take it for what was decided."""
    ident = dosed(house)
    proposal = house.get(f"/patients/{ident}/next-dose")
    body = {
        "decision": "override",
        "proposal_sha256": proposal["proposal_sha256"],
        "acknowledge": [one["code"] for one in proposal["alerts"]],
        "no_dose": True,
        "reason_code": "adverse-event",
        "comment": "calf pain, doppler pending",
    }
    house.post(f"/patients/{ident}/decisions", body, "prescriber")
    said = "no dose, because of adverse-event: calf pain, doppler pending. Signed by Prescriber (prescriber)"
    plan = house.call("pharmacist", "GET", f"/fhir/PlanDefinition/us-itp-adult/$apply?subject=Patient/{ident}").json
    assert said in plan["note"][0]["text"]
    assert said in plan["contained"][-1]["note"][0]["text"]
    (next_one,) = [one for one in matches(search(house, "GuidanceResponse", patient=ident)) if "-next" in one["id"]]
    assert said in next_one["note"][0]["text"]


@pytest.mark.parametrize("state", STATES)
def test_each_state_of_a_decision_has_its_status(shown: Shown, state: str) -> None:
    found = {
        kind: sorted(short(one) for one in matches(search(shown.house, kind, patient=shown.patients[state])))
        for kind in ("MedicationRequest", "GuidanceResponse")
    }
    assert found == {"MedicationRequest": ORDERS[state], "GuidanceResponse": ANSWERS[state]}


def test_what_is_missing_is_named_by_a_code(shown: Shown) -> None:
    (answer,) = matches(search(shown.house, "GuidanceResponse", patient=shown.patients["incomplete"]))
    wanted = [one["codeFilter"][0]["code"][0]["code"] for one in answer["dataRequirement"]]
    assert sorted(wanted) == ["29463-7", "777-3"]


def test_each_state_of_a_fact_has_its_status(shown: Shown) -> None:
    patient = shown.patients["every fact"]
    found = {
        kind: sorted({one["status"] for one in matches(search(shown.house, kind, patient=patient))})
        for kind in ("Observation", "MedicationAdministration", "Procedure")
    }
    assert found == {
        "Observation": ["corrected", "entered-in-error", "final", "preliminary"],
        "MedicationAdministration": ["completed", "entered-in-error", "not-done"],
        "Procedure": ["completed", "entered-in-error"],
    }
    events = matches(search(shown.house, "AdverseEvent", patient=patient))
    assert sorted(one["event"].get("text") for one in events) == sorted(
        ["headache", "Adverse event", "Thrombosis", "Marrow disorder, suspected or proven"]
    ), "it has no status to say that it was entered in error, so that one is not given"


def test_an_adverse_event_that_was_entered_in_error_is_gone(shared: House) -> None:
    patient = shared.patient()
    made = created(shared, happened(patient, 3, "thrombosis", identifier={"system": "urn:lab", "value": "a-1"}))
    path, fact = f"/AdverseEvent/{made['id']}", made["id"].partition("-")[2]
    assert read(shared, path) == made
    wrong = f"/patients/{patient}/events/{fact}/entered-in-error"
    assert shared.call("prescriber", "POST", wrong, WHY, version=1).status == 200
    gone = send(shared, "GET", path)
    assert (gone.status, issues(gone)) == (410, [("deleted", "")])
    assert read(shared, f"{path}/_history/1") == made
    assert send(shared, "GET", f"{path}/_history/2").status == 410
    assert search(shared, "AdverseEvent", patient=patient)["total"] == 0
    assert send(shared, "PUT", path, made).status == 410
    assert send(shared, "PUT", "/AdverseEvent?identifier=urn:lab|a-1", made).status == 410
    assert faults([gone.json]) == []


@pytest.mark.parametrize("kind", OF_A_PATIENT)
def test_what_is_given_of_a_patient_is_faultless_and_read_as_it_is_found(shown: Shown, kind: str) -> None:
    bundles = [search(shown.house, kind, patient=patient) for patient in shown.patients.values()]
    found = [one for each in bundles for one in matches(each)]
    assert len(found) > 3
    assert faults(bundles) == []
    for one in found:
        answer = send(shown.house, "GET", f"/{kind}/{one['id']}")
        assert (answer.status, answer.json) == (200, one)
        version = one.get("meta", {}).get("versionId")
        assert answer.headers.get("ETag") == (f'W/"{version}"' if version else None)


def test_versions_of_facts_are_given_and_faultless(shown: Shown) -> None:
    versions = []
    for one in matches(search(shown.house, "Observation", patient=shown.patients["every fact"])):
        for version in range(1, int(one["meta"]["versionId"]) + 1):
            versions.append(read(shown.house, f"/Observation/{one['id']}/_history/{version}"))
        assert versions[-1] == one
        assert send(shown.house, "GET", f"/Observation/{one['id']}/_history/{version + 1}").status == 404
        assert send(shown.house, "GET", f"/Observation/{one['id']}/_history/0").status == 404
    assert len(versions) > len({one["id"] for one in versions})
    assert faults(versions) == []


def test_patients_protocols_and_the_statement_are_faultless(shown: Shown) -> None:
    plans = search(shown.house, "PlanDefinition", _sort="_id")
    assert ids(matches(plans)) == IDS
    statement = send(shown.house, "GET", "/metadata", who=None)
    assert statement.status == 200
    everything = [plans, search(shown.house, "Patient", _count=100), statement.json]
    everything += [read(shown.house, f"/PlanDefinition/{ident}") for ident in IDS]
    assert faults(everything) == []


def test_the_trail_is_faultless(shown: Shown) -> None:
    patient = shown.patients["superseded"]
    bundles = [search(shown.house, "AuditEvent", "auditor", **asked) for asked in ({}, {"patient": patient})]
    assert all(len(matches(each)) > 5 for each in bundles)
    assert {one["outcome"] for each in bundles for one in matches(each)} >= {"0"}
    assert faults(bundles) == []
    one = matches(bundles[1])[0]
    assert read(shown.house, f"/AuditEvent/{one['id']}", "auditor") == one


def test_who_made_each_version_is_told(shared: House) -> None:
    patient = shared.patient()
    made = created(shared, platelets(patient, 1, 60))
    updated(shared, platelets(patient, 1, 62, id=made["id"]), who="technician")
    found = matches(search(shared, "Provenance", target=f"Observation/{made['id']}", patient=patient))
    told = {one["target"][0]["reference"]: one["agent"][0]["who"]["identifier"]["value"] for one in found}
    assert told == {
        f"Observation/{made['id']}/_history/1": shared.ids["pharmacist"],
        f"Observation/{made['id']}/_history/2": shared.ids["technician"],
    }
    ident = made["id"]
    for one in (ident, f"http://localhost/fhir/Observation/{ident}", f"Observation/{ident}"):
        assert len(matches(search(shared, "Provenance", target=one, patient=patient))) == 2, one
    for one in (f"Observation/{ident}/_history/2", f"http://localhost/fhir/Observation/{ident}/_history/2"):
        assert len(matches(search(shared, "Provenance", target=one, patient=patient))) == 1, one
    for one in (f"http://elsewhere.example/fhir/Observation/{ident}", f"Procedure/{ident}"):
        assert matches(search(shared, "Provenance", target=one, patient=patient)) == [], one
    for target, who in told.items():
        assert who
        assert read(shared, f"/{target}")["meta"]["versionId"] == target[-1]


# Refusals


def refusals(house: House) -> Iterator[tuple[int, Answer]]:
    """A request that is refused with each status, and what came of it."""
    patient = house.patient()
    made = created(house, platelets(patient, 1, 60, **known_as("a")))
    path = f"/Observation/{made['id']}"
    yield 400, send(house, "GET", "/Observation?patient=x&nonsense=1")
    yield 400, house.call("pharmacist", "POST", "/fhir/Observation", raw="{", Content_Type=FHIR)
    yield 401, send(house, "GET", path, who=None)
    yield 401, send(house, "GET", path, who="titr_nobody")
    yield 403, send(house, "GET", path, who="auditor")
    yield 404, send(house, "GET", f"/Observation/{patient}-999")
    yield 404, send(house, "GET", "/Basic/1")
    yield 405, send(house, "DELETE", path)
    yield 406, send(house, "GET", path, Accept="text/html")
    yield 409, create(house, platelets(patient, 1, 61, **known_as("a")))
    yield 412, send(house, "PUT", path, {**made, "status": "corrected"}, If_Match='W/"9"')
    yield 413, house.call("pharmacist", "POST", "/fhir/Observation", raw=" " * 40_000_000, Content_Type=FHIR)
    yield 415, send(house, "POST", "/Observation", platelets(patient), Content_Type="text/xml")
    yield 422, create(house, {"resourceType": "Observation", "nonsense": 1})
    yield 422, send(house, "POST", "/", bundle("transaction", entry(platelets("x")), entry(given("y"))))
    broken = house.with_services(broken=("the self-test",))
    yield 503, send(broken, "GET", f"/PlanDefinition/us-itp-adult/$apply?subject={patient}")
    hurried = Settings(instance=Path(house.app.instance_path), requests_per_minute=1, workers=1)
    slow = House(**{**vars(house), "app": create_app(hurried, house.services)})
    send(slow, "GET", path)
    yield 429, send(slow, "GET", path)


def test_each_refusal_is_a_faultless_operation_outcome(house: House) -> None:
    seen, told = [], []
    for status, answer in refusals(house):
        assert (answer.status, answer.headers["Content-Type"]) == (status, f"{FHIR}; charset=utf-8"), answer.text[:300]
        assert {one["severity"] for one in answer.json["issue"]} == {"error"}
        seen.append(status)
        told.append(answer.json)
    assert set(seen) == {400, 401, 403, 404, 405, 406, 409, 412, 413, 415, 422, 429, 503}
    assert faults(told) == []


def test_bundles_of_what_was_written_are_faultless(shared: House) -> None:
    patient = shared.patient()
    mixed = [entry(platelets(patient, 1)), entry(platelets(patient, 1, unit="g")), entry(weighed(patient, 1))]
    answers = [
        send(shared, "POST", "/", bundle(kind, *entries), Prefer=f"return={how}")
        for kind, entries in (("transaction", mixed[::2]), ("batch", mixed))
        for how in ("minimal", "representation")
    ]
    assert [answer.status for answer in answers] == [200] * 4
    assert [answer.json["type"] for answer in answers] == ["transaction-response"] * 2 + ["batch-response"] * 2
    empty = send(shared, "POST", "/", {"resourceType": "Bundle", "type": "transaction"})
    assert (empty.status, "entry" in empty.json) == (200, False)
    lenient = send(shared, "GET", f"/Observation?patient={patient}&x=1", Prefer="handling=lenient")
    assert faults([answer.json for answer in [*answers, empty, lenient]]) == []


# Media types


@pytest.mark.parametrize(
    ("accept", "status", "kind"),
    [
        (None, 200, FHIR),
        ("*/*", 200, FHIR),
        (FHIR, 200, FHIR),
        (f"{FHIR}; fhirVersion=4.0", 200, FHIR),
        ("application/json", 200, FHIR),
        ("application/json+fhir", 200, "application/json+fhir"),
        ("text/html, application/fhir+json;q=0.5", 200, FHIR),
        ("text/html", 406, FHIR),
        ("application/fhir+xml", 406, FHIR),
        ("text/turtle", 406, FHIR),
    ],
)
def test_only_json_is_given_by_each_of_its_names(shared: House, accept: str | None, status: int, kind: str) -> None:
    patient = shared.patient()
    headers = {} if accept is None else {"Accept": accept}
    for path in (f"/Patient/{patient}", f"/Observation?patient={patient}"):
        answer = send(shared, "GET", path, **headers)
        assert (answer.status, answer.headers["Content-Type"]) == (status, f"{kind}; charset=utf-8")


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (FHIR, 201),
        ("application/json", 201),
        ("application/json+fhir", 201),
        (f"{FHIR}; charset=utf-8; fhirVersion=4.0", 201),
        ("application/fhir+xml", 415),
        ("application/x-www-form-urlencoded", 415),
        ("text/plain", 415),
    ],
)
def test_only_json_is_taken_by_each_of_its_names(shared: House, kind: str, status: int) -> None:
    patient = shared.patient()
    before = shared.everything()
    answer = create(shared, platelets(patient), Content_Type=kind)
    assert answer.status == status
    assert (shared.everything() == before) == (status == 415)


@pytest.mark.parametrize(
    ("format_", "status"),
    [
        ("json", 200),
        ("application/fhir+json", 200),
        ("application/json", 200),
        ("xml", 406),
        ("html", 406),
        ("application/fhir+json; charset=utf-8", 200),
        ("text/xml", 406),
    ],
)
def test_a_format_may_be_asked_for(shared: House, format_: str, status: int) -> None:
    patient = shared.patient()
    for path in (f"/Observation?patient={patient}&", f"/Patient/{patient}?", "/metadata?"):
        answer = send(shared, "GET", path + urlencode({"_format": format_}))
        assert answer.status == status, path
        assert send(shared, "GET", path + urlencode({"_format": format_}), Accept="text/html").status == status, path
    form = urlencode({"patient": patient, "_format": format_})
    kind = "application/x-www-form-urlencoded"
    by_form = shared.call("pharmacist", "POST", "/fhir/Observation/_search", raw=form, Content_Type=kind)
    assert by_form.status == status


def test_what_says_how_an_answer_is_written_goes_with_any_request(shared: House) -> None:
    patient = shared.patient()
    for asked in ("_pretty=true", "_format=", "_format=JSON&_pretty=false"):
        made = send(shared, "POST", f"/Observation?{asked}", platelets(patient, 1))
        assert made.status == 201
        assert send(shared, "GET", f"/Observation?patient={patient}&{asked}").status == 200
        by_name = f"/Observation?identifier=urn:lab|p&{asked}"
        assert send(shared, "PUT", by_name, platelets(patient, 1, **known_as("p"))).status in (200, 201)


# Searching


@pytest.fixture(scope="module")
def searchable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    """A patient with observations of three kinds, doses and events, each recorded an hour after the one before."""
    house = build(tmp_path_factory.mktemp("searchable"))
    patient, other = house.patient(family_name="Müller", given_name="Zoë Anna"), house.patient("stranger")
    house.post(f"/patients/{patient}/course", {"protocol": "us-itp-adult", "started_on": day(60)})
    sent = [
        ("w1", weighed(patient, 20, 75, **known_as("w1"))),
        ("p1", platelets(patient, 5, 50, **known_as("p1"))),
        ("p2", platelets(patient, 4, 60, **known_as("p2"))),
        ("p3", platelets(patient, 3, 70, **known_as("p3", "urn:other"))),
        ("h1", observed(patient, "718-7", 120, "g/L", day(4), **known_as("h1"))),
        ("d1", given(patient, 12, 75, **known_as("d1"))),
        ("d2", given(patient, 5, 75, **known_as("d2"))),
        ("n1", not_given(patient, 1, **known_as("n1"))),
        ("t1", transfused(patient, 9, **known_as("t1"))),
        ("a1", happened(patient, 9, identifier={"system": "urn:lab", "value": "a1"})),
    ]
    made = {"patient": patient, "other": other}
    for name, resource in sent:
        made[name] = created(house, resource)["id"]
        house.clock.on(hours=1)
    created(house, {**platelets(patient, 2, 80, **known_as("p4")), "status": "preliminary"})
    yield Shown(house, made)
    house.services.store.close()


def found_names(found: Any) -> list[str]:
    """What was found, by the names that other systems have for it, in order of names."""
    return sorted(
        (one["identifier"] if isinstance(one["identifier"], dict) else one["identifier"][0])["value"]
        for one in matches(found)
    )


L, ATC = "http://loinc.org", "http://www.whocc.no/atc"
CATEGORY = "http://terminology.hl7.org/CodeSystem/observation-category"
COUNTS: Final = ["p1", "p2", "p3", "p4"]
ALL: Final = ["h1", *COUNTS, "w1"]
#: What is asked of which type beside the patient, and what is found.
FOUND: Final[list[tuple[str, dict[str, Any], list[str]]]] = [
    ("Observation", {}, ALL),
    ("Observation", {"code": "777-3"}, COUNTS),
    ("Observation", {"code": f"{L}|777-3"}, COUNTS),
    ("Observation", {"code": "26515-7"}, COUNTS),
    ("Observation", {"code": f"{L}|26515-7,{L}|718-7"}, ["h1", *COUNTS]),
    ("Observation", {"code": "|777-3"}, []),
    ("Observation", {"code": "urn:x|777-3"}, []),
    ("Observation", {"code": "777-4"}, []),
    ("Observation", {"code": f"{L}|"}, ALL),
    ("Observation", {"code": f"777-3,{L}|"}, ALL),
    ("Observation", {"code": "777-3,29463-7"}, [*COUNTS, "w1"]),
    ("Observation", {"code": "777-3,718-7"}, ["h1", *COUNTS]),
    ("Observation", {"code": "718-7,x"}, ["h1"]),
    ("Observation", {"code": ["777-3", "29463-7"]}, []),
    ("Observation", {"code": ["777-3,29463-7", "29463-7"]}, ["w1"]),
    ("Observation", {"category": "laboratory"}, ["h1", *COUNTS]),
    ("Observation", {"category": f"{CATEGORY}|vital-signs"}, ["w1"]),
    ("Observation", {"category": "imaging"}, []),
    ("Observation", {"category": "laboratory", "code": "777-3", "date": f"ge{day(4)}"}, ["p2", "p3", "p4"]),
    ("Observation", {"status": "final"}, ["h1", "p1", "p2", "p3", "w1"]),
    ("Observation", {"status": "preliminary"}, ["p4"]),
    ("Observation", {"status": "final,preliminary"}, ALL),
    ("Observation", {"status": "amended"}, []),
    ("Observation", {"identifier": "urn:lab|p1"}, ["p1"]),
    ("Observation", {"identifier": "p1"}, ["p1"]),
    ("Observation", {"identifier": "urn:lab|p3"}, []),
    ("Observation", {"identifier": "urn:other|p3,urn:lab|p1"}, ["p1", "p3"]),
    ("Observation", {"identifier": "urn:lab|"}, ["h1", "p1", "p2", "p4", "w1"]),
    ("MedicationAdministration", {}, ["d1", "d2", "n1"]),
    ("MedicationAdministration", {"code": f"{ATC}|B02BX04"}, ["d1", "d2", "n1"]),
    ("MedicationAdministration", {"code": "B02BX05"}, []),
    ("MedicationAdministration", {"status": "not-done"}, ["n1"]),
    ("MedicationAdministration", {"effective_time": f"lt{day(5)}"}, ["d1"]),
    ("Procedure", {}, ["t1"]),
    ("Procedure", {"code": "12719002"}, ["t1"]),
    ("Procedure", {"code": "116863004"}, []),
    ("Procedure", {"date": day(9)}, ["t1"]),
    ("AdverseEvent", {}, ["a1"]),
    ("AdverseEvent", {"event": "urn:titrator:event|adverse_event"}, ["a1"]),
    ("AdverseEvent", {"event": "thrombosis"}, []),
    ("AdverseEvent", {"date": f"gt{day(9)}"}, []),
]


def encoded(asked: dict[str, Any]) -> str:
    pairs = [(key, one) for key, some in asked.items() for one in (some if isinstance(some, list) else [some])]
    return urlencode([(key if key.startswith("_") else key.replace("_", "-"), one) for key, one in pairs])


@pytest.mark.parametrize(("kind", "asked", "expected"), FOUND, ids=lambda value: str(value)[:60])
def test_what_is_asked_is_found_by_get_and_by_post(
    searchable: Shown, kind: str, asked: dict[str, Any], expected: list[str]
) -> None:
    house, patient = searchable.house, searchable.patients["patient"]
    for name, value in (("patient", patient), ("patient", f"Patient/{patient}"), ("subject", f"Patient/{patient}")):
        if name not in KINDS[kind].parameters:
            continue
        query = encoded({name: value, **asked})
        by_get = read(house, f"/{kind}?{query}")
        by_post = house.call(
            "pharmacist",
            "POST",
            f"/fhir/{kind}/_search",
            raw=query,
            Content_Type="application/x-www-form-urlencoded",
        )
        assert by_post.status == 200, by_post.text
        assert (by_get["total"], found_names(by_get)) == (len(expected), expected)
        assert (by_post.json["total"], found_names(by_post.json)) == (len(expected), expected)


#: Days of counts: p1 on the 4th, p2 on the 5th, p3 on the 6th, p4 on the 7th of March; the clinic is in Berlin.
DATES: Final[list[tuple[str, str]]] = [
    ("2026-03-03", ""), ("2026-03-04", "p1"), ("2026-03-08", ""),
    ("eq2026-03-05", "p2"), ("ne2026-03-05", "p1 p3 p4"),
    ("gt2026-03-04", "p2 p3 p4"), ("gt2026-03-05", "p3 p4"), ("gt2026-03-06", "p4"), ("gt2026-03-07", ""),
    ("sa2026-03-05", "p3 p4"), ("sa2026-03-07", ""),
    ("ge2026-03-04", "p1 p2 p3 p4"), ("ge2026-03-05", "p2 p3 p4"), ("ge2026-03-07", "p4"), ("ge2026-03-08", ""),
    ("lt2026-03-04", ""), ("lt2026-03-05", "p1"), ("lt2026-03-08", "p1 p2 p3 p4"),
    ("eb2026-03-05", "p1"), ("eb2026-03-04", ""),
    ("le2026-03-03", ""), ("le2026-03-04", "p1"), ("le2026-03-05", "p1 p2"), ("le2026-03-07", "p1 p2 p3 p4"),
    ("2026-03", "p1 p2 p3 p4"), ("2026-02", ""), ("2026", "p1 p2 p3 p4"), ("2025", ""),
    ("ne2026-03", ""), ("gt2026-02", "p1 p2 p3 p4"), ("gt2026-03", ""), ("ge2026-03", "p1 p2 p3 p4"), ("ge2026-04", ""),
    ("lt2026-03", ""), ("lt2026-04", "p1 p2 p3 p4"), ("le2026-03", "p1 p2 p3 p4"), ("le2026-02", ""),
    ("sa2025", "p1 p2 p3 p4"), ("eb2027", "p1 p2 p3 p4"),
    ("2026-03-04,2026-03-06", "p1 p3"), ("lt2026-03-05,gt2026-03-06", "p1 p4"),
    # In Berlin the 5th lasts from 23:00 to 23:00 UTC. Of a day nothing is equal to an instant of it, or to no part.
    ("2026-03-04T22:59:59Z", ""), ("2026-03-05T12:00:00Z", ""), ("2026-03-05T12:00Z", ""),
    ("ne2026-03-05T12:00:00Z", "p1 p2 p3 p4"),
    # Part of it is before an instant of it, and part after.
    ("gt2026-03-05T12:00:00Z", "p2 p3 p4"), ("ge2026-03-05T12:00:00Z", "p2 p3 p4"), ("sa2026-03-05T12:00:00Z", "p3 p4"),
    ("lt2026-03-05T12:00:00Z", "p1 p2"), ("le2026-03-05T12:00:00Z", "p1 p2"), ("eb2026-03-05T12:00:00Z", "p1"),
    ("gt2026-03-05T23:00:00Z", "p3 p4"), ("lt2026-03-05T22:59:59Z", "p1 p2"), ("eb2026-03-05T23:00:00Z", "p1 p2"),
    ("sa2026-03-04T22:59:59Z", "p2 p3 p4"), ("sa2026-03-04T23:00:00Z", "p3 p4"), ("ge2026-03-05T22:59:59Z", "p3 p4"),
    ("ge2026-03-05T23:59:58+01:00", "p2 p3 p4"), ("le2026-03-05T00:00:01+01:00", "p1 p2"),
    ("le2026-03-04T23:59:59+01:00", "p1"),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "expected"), DATES)
def test_dates_are_compared(searchable: Shown, asked: str, expected: str) -> None:
    found = search(searchable.house, "Observation", patient=searchable.patients["patient"], code="777-3", date=asked)
    assert " ".join(found_names(found)) == expected
    more = search(
        searchable.house, "Observation", patient=searchable.patients["patient"], category="laboratory", date=asked
    )
    assert " ".join(name for name in found_names(more) if name != "h1") == expected, (
        "whoever looks, the database or not"
    )


#: What was taken at an instant: 08:10:00 of the 6th in Berlin; 23:30 UTC of the 5th, which is of the 6th there; and
#: 11:00 in New York.
INSTANTS: Final[list[tuple[str, str]]] = [
    ("2026-03-06", "i1 i2 i3"), ("2026-03-05", ""), ("2026-03-06T07:10:00Z", "i1"), ("2026-03-06T08:10+01:00", "i1"),
    ("2026-03-06T07:10:01Z", ""), ("ge2026-03-06T07:10:00Z", "i1 i3"), ("gt2026-03-06T07:10:00Z", "i3"),
    ("lt2026-03-06T07:10:00Z", "i2"), ("le2026-03-06T08:10:00+01:00", "i1 i2"), ("sa2026-03-05T23:30:00Z", "i1 i3"),
    ("eb2026-03-06T07:10:00Z", "i2"), ("ne2026-03-06T07:10:00Z", "i2 i3"), ("ge2026-03-06T12:00:00-05:00", ""),
    ("2026-03-06T07:10:00.000Z", ""), ("ge2026-03-05T18:30:00-05:00", "i1 i2 i3"),
    ("gt2026-03-06T07:10:00.5Z", "i1 i3"),
    ("ge2026-03-06T07:10:00Z,lt2026-03-06T00:00:00Z", "i1 i2 i3"), ("gt2026-03-05", "i1 i2 i3"), ("gt2026-03-06", ""),
]  # fmt: skip


@pytest.fixture(scope="module")
def timed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    """A patient with counts that were taken at an instant; the last one was recorded first."""
    house = build(tmp_path_factory.mktemp("timed"))
    patient = house.patient()
    taken = {"i3": "2026-03-06T11:00:00-05:00", "i1": "2026-03-06T08:10:00+01:00", "i2": "2026-03-05T23:30:00Z"}
    for name, at in taken.items():
        created(house, platelets(patient, 3, 60, effectiveDateTime=at, **known_as(name)))
    yield Shown(house, {"patient": patient})
    house.services.store.close()


@pytest.mark.parametrize(("asked", "expected"), INSTANTS)
def test_instants_are_compared(timed: Shown, asked: str, expected: str) -> None:
    patient = timed.patients["patient"]
    queries: list[dict[str, str]] = [{"patient": patient}, {"identifier": "urn:lab|i1,urn:lab|i2,urn:lab|i3"}]
    for query in queries:
        found = search(timed.house, "Observation", **query, code="777-3", date=asked)
        assert " ".join(found_names(found)) == expected, query


def test_what_is_of_a_day_comes_in_order_of_its_instants(timed: Shown) -> None:
    for sort, expected in (("date", ["i2", "i1", "i3"]), ("-date", ["i3", "i1", "i2"])):
        pages = [
            matches(search(timed.house, "Observation", patient=timed.patients["patient"], _sort=sort)),
            following(timed.house, timed.patients["patient"], sort),
        ]
        assert [[one["identifier"][0]["value"] for one in page] for page in pages] == [expected, expected], sort


@pytest.mark.parametrize("sort", ["date", "-date"])
def test_what_comes_in_of_the_day_between_pages_loses_nothing(house: House, sort: str) -> None:
    patient = house.patient()
    for name, hour in (("i3", 11), ("i1", 7), ("i2", 9)):
        at = f"{day(1)}T{hour:02}:00:00Z"
        created(house, platelets(patient, 1, 60, effectiveDateTime=at, **known_as(name)))
    found = search(house, "Observation", patient=patient, _sort=sort, _count="1")
    names = [matches(found)[0]["identifier"][0]["value"]]
    created(house, platelets(patient, 1, 60, **known_as("new")))
    while following := [one["url"] for one in found["link"] if one["relation"] == "next"]:
        found = house.call("pharmacist", "GET", following[0].removeprefix("http://localhost")).json
        names += [one["identifier"][0]["value"] for one in matches(found)]
    assert names == (["i1", "i2", "i3"] if sort == "date" else ["i3", "i2", "i1", "new"])


def test_an_instant_is_found_after_the_clinic_has_another_time_zone(house: House) -> None:
    patient = house.patient()
    created(house, platelets(patient, 4, effectiveDateTime=f"{day(4)}T00:30:00+01:00"))
    west = {"name": "C", "time_zone": "America/New_York"}
    assert house.call("admin", "PUT", f"/clinics/{house.clinic}", west, version=1).status == 200
    for asked in (f"{day(5)}T23:30:00Z", f"lt{day(4)}T00:00:00Z", f"ge{day(5)}T23:30:00Z"):
        assert search(house, "Observation", patient=patient, date=asked)["total"] == 1, asked


def test_what_was_made_comes_in_order_of_its_instants(house: House) -> None:
    patient = house.patient()
    for number in range(12):
        created(house, platelets(patient, 20 - number, 60))
        house.clock.on(minutes=1)
    for sort in ("recorded", "-recorded"):
        found = matches(search(house, "Provenance", patient=patient, _sort=sort))
        at = [one["recorded"] for one in found]
        assert at == sorted(at, reverse=sort.startswith("-")), sort


def following(house: House, patient: str, sort: str) -> list[Resource]:
    """What is found by pages of one."""
    found = search(house, "Observation", patient=patient, _sort=sort, _count="1")
    all_of = matches(found)
    while following := [one["url"] for one in found["link"] if one["relation"] == "next"]:
        found = house.call("pharmacist", "GET", following[0].removeprefix("http://localhost")).json
        all_of += matches(found)
    return all_of


@pytest.mark.parametrize("asked", [[f"ge{day(4)}", f"le{day(3)}"], [f"gt{day(5)}", f"lt{day(2)}"]])
def test_two_comparisons_are_both_met(searchable: Shown, asked: list[str]) -> None:
    found = search(searchable.house, "Observation", patient=searchable.patients["patient"], code="777-3", date=asked)
    assert found_names(found) == ["p2", "p3"]


@pytest.mark.parametrize(
    "asked",
    [
        "",
        "yesterday",
        "2026-3-5",
        "2026-02-30",
        "2026-13",
        "xx2026-03-05",
        "ap2026-03-05",
        "2026-03-05T12:00:00",
        "ge",
        "2026-W10-4",
        "20260305",
        "2026-03-05 12:00:00Z",
        "2026-03-05T12Z",
        "2026-03-05T12:00:00+0100",
    ],
)
def test_what_is_no_date_is_refused(searchable: Shown, asked: str) -> None:
    query = urlencode({"patient": searchable.patients["patient"], "date": asked})
    answer = send(searchable.house, "GET", f"/Observation?{query}")
    assert (answer.status, issues(answer)) == (400, [("invalid", "date")])


#: Recorded at 12:00 (w1), 13:00 (p1), 14:00 (p2), 15:00 (p3), 16:00 (h1), 22:00 (p4) in UTC.
UPDATED: Final[list[tuple[str, str]]] = [
    ("gt2026-03-09T14:00:00Z", "h1 p3 p4"),
    ("ge2026-03-09T14:00:00Z", "h1 p2 p3 p4"),
    ("ge2026-03-09T15:00:00+01:00", "h1 p2 p3 p4"),
    ("lt2026-03-09T14:00:00Z", "p1 w1"),
    ("le2026-03-09T14:00:00Z", "p1 p2 w1"),
    ("2026-03-09T14:00:00Z", "p2"),
    ("ne2026-03-09T14:00:00Z", "h1 p1 p3 p4 w1"),
    ("2026-03-09", "h1 p1 p2 p3 p4 w1"),
    ("gt2026-03-09", ""),
    ("lt2026-03-09", ""),
    ("2026-03-09T14:00:00.000001Z", ""),
    ("gt2026-03-09T13:59:59.999999Z", "h1 p2 p3 p4"),
]


@pytest.mark.parametrize(("asked", "expected"), UPDATED)
def test_the_last_update_is_an_instant(searchable: Shown, asked: str, expected: str) -> None:
    found = search(searchable.house, "Observation", patient=searchable.patients["patient"], _lastUpdated=asked)
    assert " ".join(found_names(found)) == expected


SORTED: Final[list[tuple[str | None, str]]] = [
    (None, "p4 h1 p3 p2 p1 w1"),
    ("_lastUpdated", "w1 p1 p2 p3 h1 p4"),
    ("-_lastUpdated", "p4 h1 p3 p2 p1 w1"),
    ("date", "w1 p1 p2 h1 p3 p4"),
    ("-date", "p4 p3 h1 p2 p1 w1"),
    ("date,-_lastUpdated", "w1 p1 h1 p2 p3 p4"),
    ("-date,_lastUpdated", "p4 p3 p2 h1 p1 w1"),
    ("_id", "w1 p1 p2 p3 h1 p4"),
    ("-_id", "p4 h1 p3 p2 p1 w1"),
]


@pytest.mark.parametrize(("sort", "expected"), SORTED)
@pytest.mark.parametrize("most", [1, 2, 5, 6, 7])
def test_pages_followed_to_the_end_give_each_match_once_in_order(
    searchable: Shown, sort: str | None, expected: str, most: int
) -> None:
    house, patient = searchable.house, searchable.patients["patient"]
    asked = {"patient": patient, "_count": most, **({} if sort is None else {"_sort": sort})}
    pages = list(followed(house, search(house, "Observation", **asked)))
    assert [len(matches(page)) for page in pages[:-1]] == [most] * (len(pages) - 1)
    assert len(pages) == -(-6 // most)
    assert {page["total"] for page in pages} == {6}
    names = [one["identifier"][0]["value"] for page in pages for one in matches(page)]
    assert " ".join(names) == expected
    if len(pages) > 1:
        again = house.call("pharmacist", "GET", address(pages[1], "self"))
        assert matches(again.json) == matches(pages[1]), "the link to itself is that of this page"


def address(page: Any, relation: str) -> str | None:
    """A link of a Bundle, without the name of the server."""
    links = {one["relation"]: one["url"] for one in page["link"]}
    return links[relation].removeprefix("http://localhost") if relation in links else None


def followed(house: House, page: Any, who: str = "pharmacist") -> Iterator[Any]:
    """A page, and all that follow it."""
    yield page
    while following := address(page, "next"):
        answer = house.call(who, "GET", following)
        assert answer.status == 200, answer.text
        page = answer.json
        yield page


@pytest.mark.parametrize("sort", ["_lastUpdated", "-_lastUpdated", "date", "-date", "_id", "-_id"])
@pytest.mark.parametrize("moving", [False, True])
def test_what_is_recorded_between_pages_moves_no_other(shared: House, sort: str, moving: bool) -> None:
    """With a clock that goes on or stands still: what was there when one began to read is given once."""
    patient = shared.patient()
    there = []
    for ago in range(9, 1, -1):
        there.append(created(shared, platelets(patient, ago, 60))["id"])
        shared.clock.on(seconds=moving)
    page = search(shared, "Observation", patient=patient, _count=3, _sort=sort)
    seen = ids(matches(page))
    for ago in (12, 0):
        shared.clock.on(seconds=moving)
        created(shared, platelets(patient, ago, 61))
        page = shared.call("pharmacist", "GET", address(page, "next")).json
        seen += ids(matches(page))
    seen += [one for rest in list(followed(shared, page))[1:] for one in ids(matches(rest))]
    assert sorted(set(seen) & set(there)) == sorted(there)
    assert len(seen) == len(set(seen))


def test_a_correction_between_pages_loses_nothing_that_was_not_given_yet(shared: House) -> None:
    """The resource at the end of a page moves to the top, and the next page is still the next."""
    patient = shared.patient()
    for ago in range(9, 1, -1):
        created(shared, platelets(patient, ago, 60))
        shared.clock.on(seconds=1)
    first = search(shared, "Observation", patient=patient, _count=3)
    last = matches(first)[-1]
    updated(shared, {**last, "valueQuantity": {**last["valueQuantity"], "value": 66}})
    rest = [one for page in list(followed(shared, first))[1:] for one in ids(matches(page))]
    assert len(rest) == 5
    assert set(rest).isdisjoint(ids(matches(first)))


def test_pages_of_patients_and_of_the_trail(house: House) -> None:
    made = sorted(house.patient() for _ in range(5))
    pages = list(followed(house, search(house, "Patient", _count=2)))
    assert [ids(matches(page)) for page in pages] == [made[:2], made[2:4], made[4:]]
    assert {page["total"] for page in pages} == {5}
    narrow = list(followed(house, search(house, "Patient", _count=2, birthdate="1960-05-01", family="patient")))
    assert [ids(matches(page)) for page in narrow] == [made[:2], made[2:4], made[4:]]
    assert {page["total"] for page in narrow} == {5}
    read(house, f"/Patient/{made[0]}")
    trail = list(followed(house, search(house, "AuditEvent", "auditor", patient=made[0], _count=1), "auditor"))
    seqs = [int(one["id"].partition("-")[2]) for page in trail for one in matches(page)]
    assert seqs == list(range(1, len(seqs) + 1))
    assert len(seqs) > 1


def test_a_page_of_nothing_and_a_count_of_all(searchable: Shown) -> None:
    house, patient = searchable.house, searchable.patients["patient"]
    for asked in ({"_count": 0}, {"_summary": "count"}, {"_summary": "count", "_count": 2}):
        found = search(house, "Observation", patient=patient, **asked)
        assert (found["total"], "entry" in found, address(found, "next")) == (6, False, None)
        assert faults([found]) == []
    whole = search(house, "Observation", patient=patient, _summary="false", _total="accurate")
    assert (whole["total"], len(matches(whole))) == (6, 6)


#: What a search may not ask, and where its fault is.
REFUSED: Final[list[tuple[str, list[str]]]] = [
    ("nonsense=1", ["nonsense"]),
    ("nonsense=1&_include=Observation:subject", ["_include", "nonsense"]),
    ("code:text=platelets", ["code:text"]),
    ("code:not=777-3", ["code:not"]),
    ("date:missing=true", ["date:missing"]),
    ("patient:identifier=urn:mrn|1", ["patient:identifier"]),
    ("_count=-1", ["_count"]),
    ("_count=many", ["_count"]),
    ("_count=1&_count=2", ["_count"]),
    ("_sort=value", ["_sort"]),
    ("_page=nonsense", ["_page"]),
    ("_summary=true", ["_summary"]),
    ("_total=some", ["_total"]),
    ("code=", ["code"]),
    ("code=777-3&date=x&status:not=final", ["date", "status:not"]),
    ("patient=0123456789abcdef0123", ["patient"]),
]


@pytest.mark.parametrize(("query", "where"), REFUSED)
def test_what_a_search_cannot_be_asked_is_named(searchable: Shown, query: str, where: list[str]) -> None:
    answer = send(searchable.house, "GET", f"/Observation?patient={searchable.patients['patient']}&{query}")
    assert (answer.status, places(answer)) == (400, where)


def test_a_search_names_its_patient(searchable: Shown) -> None:
    for kind in set(OF_A_PATIENT) - {"Task"}:
        answer = send(searchable.house, "GET", f"/{kind}")
        assert (answer.status, places(answer)) == (400, ["patient"]), kind
    assert send(searchable.house, "GET", "/Observation?identifier=p1").status == 400
    found = search(searchable.house, "Observation", identifier="urn:lab|p1")
    assert found_names(found) == ["p1"]
    by_id = search(searchable.house, "Observation", _id=searchable.patients["p2"])
    assert found_names(by_id) == ["p2"]


def test_a_parameter_that_is_not_known_is_passed_over_where_that_is_wished(searchable: Shown) -> None:
    query = f"/Observation?patient={searchable.patients['patient']}&code=777-3&nonsense=1&_include=x"
    answer = send(searchable.house, "GET", query, Prefer="handling=lenient")
    assert answer.status == 200
    (told,) = [one["resource"] for one in answer.json["entry"] if one["search"]["mode"] == "outcome"]
    assert [one["severity"] for one in told["issue"]] == ["warning"]
    assert "nonsense, _include" in told["issue"][0]["diagnostics"]
    assert found_names(answer.json) == COUNTS
    assert answer.json["total"] == 4
    assert "nonsense" not in answer.json["link"][0]["url"], "what was passed over was not asked"
    assert faults([answer.json]) == []
    assert send(searchable.house, "GET", query, Prefer="handling=strict").status == 400
    wrong = send(searchable.house, "GET", f"{query}&code:text=x", Prefer="handling=lenient")
    assert (wrong.status, places(wrong)) == (400, ["code:text"]), "a modifier changes what is found"


#: What is asked of patients, and whether Zoë Müller, born in 1960, is found; the number of all is told apart.
PEOPLE: Final[list[tuple[dict[str, Any], bool]]] = [
    ({"family": "Müller"}, True),
    ({"family": "muller"}, True),
    ({"family": "Mül"}, True),
    ({"family": "üller"}, False),
    ({"family": "Schmidt,Müller"}, True),
    ({"family": "Schmidt\\,Müller"}, False),
    ({"given": "zoe"}, True),
    ({"given": "Müller"}, False),
    ({"given": "anna"}, True),
    ({"given": "nna"}, False),
    ({"family": "zoe"}, False),
    ({"name": "zoe muller"}, True),
    ({"name": "ulle"}, True),
    ({"name": "Schmidt,zoe"}, True),
    ({"name": "Schmidt zoe"}, False),
    ({"name": "zoe", "family": "Schmidt"}, False),
    ({"birthdate": "1960-05-01"}, True),
    ({"birthdate": "1960-05-02"}, False),
    ({"birthdate": "1960"}, True),
    ({"birthdate": ["gt1960-04-30", "lt1960-05-02"]}, True),
    ({"active": "true"}, True),
    ({"active": "false"}, False),
    ({"identifier": "urn:mrn|pharmacist-1"}, True),
    ({"identifier": "pharmacist-1"}, True),
    ({"identifier": "urn:x|pharmacist-1"}, False),
    ({"identifier": "urn:mrn|"}, True),
    ({"identifier": "urn:x|"}, False),
    ({"identifier": ["urn:mrn|", "urn:mrn|pharmacist-1"]}, True),
    ({"identifier": "|pharmacist-1"}, False),
    ({"identifier": "urn:x|y,urn:mrn|pharmacist-1"}, True),
    ({"_lastUpdated": "ge2026-03-09"}, True),
    ({"_lastUpdated": "lt2026-03-09"}, False),
]


@pytest.mark.parametrize(("asked", "there"), PEOPLE, ids=str)
def test_patients_are_found_by_what_they_are(searchable: Shown, asked: dict[str, Any], there: bool) -> None:
    found = search(searchable.house, "Patient", **asked)
    assert ids(matches(found)) == ([searchable.patients["patient"]] if there else [])
    assert found["total"] == there


def test_patients_have_one_order(searchable: Shown) -> None:
    assert search(searchable.house, "Patient", _sort="_id")["total"] == 1
    for sort in ("-birthdate", "birthdate", "-_id", "_id,_id"):
        answer = send(searchable.house, "GET", f"/Patient?_sort={sort}")
        assert (answer.status, places(answer)) == (400, ["_sort"])
        assert "birthdate," not in answer.text


def test_a_patient_is_named_by_a_reference_to_this_server(searchable: Shown) -> None:
    patient = searchable.patients["patient"]
    here = (patient, f"Patient/{patient}", f"http://localhost/fhir/Patient/{patient}", f"Patient/{patient}/_history/1")
    here += (f"http://LOCALHOST:80/fhir/Patient/{patient}", f"https://localhost/fhir/Patient/{patient}")
    for one in here:
        assert search(searchable.house, "Observation", patient=one, code="777-3")["total"] == 4, one
    elsewhere = f"http://elsewhere.example/fhir/Patient/{patient}", f"Group/{patient}", f"urn:uuid:{patient}"
    for one in elsewhere:
        for kind in OF_A_PATIENT:
            assert search(searchable.house, kind, patient=one)["total"] == 0, one


def test_another_clinics_patient_is_not_there(searchable: Shown) -> None:
    house, other = searchable.house, searchable.patients["other"]
    created(house, platelets(other, 1, 60, **known_as("o1")), "stranger")
    for kind in OF_A_PATIENT:
        assert search(house, kind, patient=other)["total"] == 0, kind
    assert search(house, "Observation", identifier="urn:lab|o1")["total"] == 0
    assert search(house, "Observation", _id=f"{other}-1")["total"] == 0
    assert search(house, "Patient", identifier="urn:mrn|stranger-2")["total"] == 0
    assert search(house, "Patient", _id=other)["total"] == 0
    there = matches(search(house, "Observation", "stranger", patient=other))
    for path in (f"/Patient/{other}", f"/Observation/{there[0]['id']}", f"/Observation/{there[0]['id']}/_history/1"):
        theirs, nobodys = send(house, "GET", path), send(house, "GET", path.replace(other, "0" * 20))
        assert (theirs.status, theirs.text) == (404, nobodys.text), "nor told from one who does not exist"


def test_tasks_of_ones_clinics_are_found_without_a_patient(shown: Shown) -> None:
    found = matches(search(shown.house, "Task", _count=200))
    of = {one["for"]["reference"].partition("/")[2] for one in found}
    assert shown.patients["proposed"] in of
    assert of <= set(shown.patients.values())
    assert search(shown.house, "Task", "stranger")["total"] == 0
    codes = {one["code"]["coding"][0]["code"] for one in found}
    assert {"awaiting-sign-off", "awaiting-second", "re-opened", "referred", "to-verify", "dose-due"} <= codes
    some = matches(search(shown.house, "Task", code="urn:titrator:task|awaiting-second"))
    assert {one["for"]["reference"] for one in some} == {f"Patient/{shown.patients['awaiting second']}"}


def test_protocols_are_found_by_what_they_are_called(shown: Shown) -> None:
    plan = read(shown.house, "/PlanDefinition/us-itp-adult")
    asked = [
        {"url": plan["url"]}, {"name": plan["name"]}, {"title": plan["title"]}, {"version": plan["version"]},
        {"_id": "us-itp-adult"},
    ]  # fmt: skip
    for one in asked:
        assert "us-itp-adult" in ids(matches(search(shown.house, "PlanDefinition", **one))), one
    assert matches(search(shown.house, "PlanDefinition", url="x")) == []


def test_a_read_that_changed_nothing_is_not_sent_again(house: House) -> None:
    patient = house.patient()
    made = created(house, platelets(patient, 1))
    path = f"/Observation/{made['id']}"
    first = send(house, "GET", path)
    assert (first.headers["ETag"], first.headers["Last-Modified"]) == ('W/"1"', "Mon, 09 Mar 2026 12:00:00 GMT")
    headers = {"Authorization": f"Bearer {house.tokens['pharmacist']}", "If-None-Match": first.headers["ETag"]}
    same = house.app.test_client().get(f"/fhir{path}", headers=headers)
    assert (same.status_code, same.data) == (304, b"")
    assert put(house, {**made, "valueQuantity": {**made["valueQuantity"], "value": 61}}).status == 200
    assert send(house, "GET", path, If_None_Match=first.headers["ETag"]).status == 200
    for tags, status in (('W/"1", W/"2"', 304), ('"2"', 304), ("*", 304), ('W/"1", W/"3"', 200)):
        headers["If-None-Match"] = tags
        assert house.app.test_client().get(f"/fhir{path}", headers=headers).status_code == status, tags


def test_a_read_stands_in_the_trail(shared: House) -> None:
    patient = shared.patient()
    made = created(shared, platelets(patient, 1))
    read(shared, f"/Observation/{made['id']}")
    search(shared, "Observation", patient=patient)
    search(shared, "Patient", family="Patient")
    found = search(shared, "AuditEvent", "auditor", patient=patient)
    told = [(one["subtype"][0]["code"], one["entity"][0]["name"]) for one in matches(found)]
    assert ("read", f"patient/{patient}/platelet-count/1") in told
    assert ("search", f"patient/{patient}/fhir/Observation") in told


# The statement


#: A value of each search parameter that nothing here has, by its type; where that is not enough, by name.
NOTHING: Final = {"token": "urn:x|nothing", "date": "gt2199", "string": "nothing", "uri": "urn:x", "reference": "X/1"}
#: What FHIR has for these types beside what is stated here.
UNSTATED: Final = (
    "/_history", "/{kind}/_history", "/{kind}/{id}/_history", "/{kind}/{id}/$everything", "/{kind}/$lastn",
    "/{kind}/{id}/$meta", "/{kind}/$validate", "/$convert", "/$versions", "/Subscription", "/metadata/x",
    "/Patient/{id}/Observation",
)  # fmt: skip


def statement_of_all() -> Any:
    return capability_statement("http://localhost/fhir", "http://127.0.0.1:8000/auth/token", cors=False)


def stated() -> list[Any]:
    """The resources of the statement."""
    return list(statement_of_all()["rest"][0]["resource"])


def one_of_each(shown: Shown) -> dict[str, str]:
    """The id of a resource of each type."""
    patients = [shown.patients["every fact"], shown.patients["superseded"]]
    found = {"Patient": patients[0], "PlanDefinition": "us-itp-adult"}
    for kind in OF_A_PATIENT:
        some = [one for patient in patients for one in matches(search(shown.house, kind, patient=patient))]
        found[kind] = some[-1]["id"] if kind != "MedicationRequest" else next(o["id"] for o in some if "meta" in o)
    found["AuditEvent"] = matches(search(shown.house, "AuditEvent", "auditor"))[0]["id"]
    reminders = [one for one in matches(search(shown.house, "Task", patient=patients[1])) if "meta" in one]
    answers = [one for one in matches(search(shown.house, "GuidanceResponse", patient=patients[1])) if "meta" in one]
    return {**found, "Task": reminders[0]["id"], "GuidanceResponse": answers[0]["id"]}


def who_reads(kind: str) -> str:
    return "auditor" if kind == "AuditEvent" else "pharmacist"


def test_the_statement_is_given_as_it_is_made(shown: Shown) -> None:
    assert read(shown.house, "/metadata") == statement_of_all()
    assert [one["type"] for one in stated()] == list(KINDS)
    assert {one["code"] for one in statement_of_all()["rest"][0]["interaction"]} == {"transaction", "batch"}


@pytest.mark.parametrize("kind", KINDS)
def test_each_interaction_that_is_stated_works_and_no_other(shown: Shown, kind: str) -> None:
    house, who = shown.house, who_reads(kind)
    statement = next(one for one in stated() if one["type"] == kind)
    codes = {one["code"] for one in statement["interaction"]}
    path = f"/{kind}/{one_of_each(shown)[kind]}"
    one = send(house, "GET", path, None, who)
    assert (one.status, "read" in codes) == (200, True)
    version = one.json.get("meta", {}).get("versionId")
    vread = send(house, "GET", f"{path}/_history/{version or 1}", None, who)
    assert (vread.status == 200) == ("vread" in codes) == (statement["versioning"] == "versioned")
    assert ("ETag" in one.headers) == ("vread" in codes) == ("conditionalRead" in statement)
    if statement["readHistory"]:
        assert send(house, "GET", f"{path}/_history/1", None, who).status == 200
    elif version is not None and version != "1":
        assert send(house, "GET", f"{path}/_history/1", None, who).status == 404
    assert (
        send(house, "GET", f"/{kind}?_count=1&patient=x" if kind in OF_A_PATIENT else f"/{kind}", None, who).status
        == 200
    )
    before = house.everything()
    found = {
        "create": send(house, "POST", f"/{kind}", {}, who).status != 405,
        "update": send(house, "PUT", path, {}, who).status != 405,
        "conditionalCreate": send(house, "POST", f"/{kind}", {}, who, If_None_Exist="identifier=a|b").status != 405,
        "conditionalUpdate": send(house, "PUT", f"/{kind}?identifier=a|b", {}, who).status != 405,
        "patch": send(house, "PATCH", path, [], who).status != 405,
        "delete": send(house, "DELETE", path, None, who).status != 405,
        "conditionalDelete": send(house, "DELETE", f"/{kind}?identifier=a|b", None, who).status != 405,
    }
    assert found == {
        "create": "create" in codes,
        "update": "update" in codes,
        "conditionalCreate": statement.get("conditionalCreate", False),
        "conditionalUpdate": statement.get("conditionalUpdate", False),
        "patch": False,
        "delete": False,
        "conditionalDelete": False,
    }
    assert house.everything() == before


@pytest.mark.parametrize("kind", KINDS)
def test_each_search_parameter_that_is_stated_narrows_and_no_other_is_taken(shown: Shown, kind: str) -> None:
    house, who = shown.house, who_reads(kind)
    statement = next(one for one in stated() if one["type"] == kind)
    whose = f"patient={shown.patients['superseded']}&" if kind in OF_A_PATIENT else ""
    everything = read(house, f"/{kind}?{whose}_summary=count", who)["total"]
    of_events = kind in ("Procedure", "AdverseEvent")
    assert (everything > 0) != of_events
    for parameter in statement["searchParam"]:
        name, value = parameter["name"], NOTHING[parameter["type"]]
        asked = f"{name}={value}" if name in ("patient", "subject") else f"{whose}{name}={value}"
        found = read(house, f"/{kind}?{asked}&_summary=count", who)
        assert found["total"] == 0, name
    for name in ("_content", "_has", "_text", "_profile", "_tag", "_security", "_include", "_revinclude", "_elements"):
        refused = send(house, "GET", f"/{kind}?{whose}{name}=x", None, who)
        assert (refused.status, places(refused)) == (400, [name])


def test_nothing_that_is_not_stated_is_there(shown: Shown) -> None:
    there = one_of_each(shown)
    for kind, ident in there.items():
        for pattern in UNSTATED:
            for method in ("GET", "POST"):
                path = pattern.format(kind=kind, id=ident)
                answer = send(shown.house, method, path, None if method == "GET" else {}, who_reads(kind))
                assert answer.status in (404, 405), (method, path)


def test_operations_are_those_that_are_stated(shown: Shown) -> None:
    found = {one["type"]: [op["name"] for op in one["operation"]] for one in stated() if "operation" in one}
    assert found == {"PlanDefinition": ["apply"]}
    subject_of = shown.patients["proposed"]
    for path in (
        f"/PlanDefinition/us-itp-adult/$apply?subject={subject_of}",
        f"/PlanDefinition/$apply?subject={subject_of}&planDefinition=us-itp-adult",
    ):
        assert read(shown.house, path)["resourceType"] == "CarePlan"


def test_each_route_is_stated(shown: Shown) -> None:
    """The routes of the application, each as what of the statement it is."""
    interactions = {one["type"]: {each["code"] for each in one["interaction"]} for one in stated()}
    explained = {("GET", "/fhir/metadata"), ("GET", "/fhir/.well-known/smart-configuration")}
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):  # all are refused, but for the POST of a Bundle
        explained |= {(method, "/fhir/<path:rest>"), (method, "/fhir"), (method, "/fhir/")}
        for path in ("", "/"):
            answer = send(shown.house, method, path, None if method in ("GET", "DELETE") else {})
            assert answer.status == (400 if method == "POST" else 405)
            assert issues(answer) != []
    for kind, codes in interactions.items():
        explained |= {
            ("GET", f"/fhir/{kind}"),
            ("POST", f"/fhir/{kind}/_search"),
            ("GET", f"/fhir/{kind}/<resource_id>"),
        }
        explained.add(("GET", f"/fhir/{kind}/<resource_id>/_history/<version>"))
        if "create" in codes:
            explained.add(("POST", f"/fhir/{kind}"))
        if "update" in codes:
            explained |= {("PUT", f"/fhir/{kind}"), ("PUT", f"/fhir/{kind}/<resource_id>")}
    for method in ("GET", "POST"):
        explained |= {(method, "/fhir/PlanDefinition/$apply"), (method, "/fhir/PlanDefinition/<resource_id>/$apply")}
    found = {
        (method, rule.rule)
        for rule in shown.house.app.url_map.iter_rules()
        if rule.rule.startswith("/fhir")
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert found == explained


def test_each_condition_on_an_identifier_must_be_met(house: House) -> None:
    both = house.patient(identifiers=[{"system": "urn:a", "value": "1"}, {"system": "urn:b", "value": "2"}])
    house.patient(identifiers=[{"system": "urn:a", "value": "3"}])

    def ids(query: str) -> list[str]:
        return [one["id"] for one in matches(house.call("pharmacist", "GET", f"/fhir/Patient?{query}").json)]

    assert ids("identifier=urn:a|1&identifier=urn:b|2") == [both]
    assert ids("identifier=urn:a|3&identifier=urn:b|2") == []
    assert len(ids("identifier=urn:a|1,urn:a|3")) == 2


def test_an_identifier_of_facts_of_two_patients_needs_the_patient(house: House) -> None:
    for patient in (house.patient(), house.patient()):
        created(house, platelets(patient, 1, **known_as("both")))
        assert len(matches(search(house, "Observation", patient=patient, identifier="urn:lab|both"))) == 1
    assert house.call("pharmacist", "GET", "/fhir/Observation?identifier=urn:lab|both").status == 400
    assert house.call("pharmacist", "GET", "/fhir/Observation?identifier=urn:lab|").status == 400
    assert len(matches(search(house, "Observation", patient=patient, identifier="urn:lab|"))) == 1


def test_a_status_is_found_with_its_system_too(house: House) -> None:
    patient = house.patient()
    created(house, platelets(patient, 1))
    system = "http://hl7.org/fhir/observation-status"
    for asked, many in (("final", 1), (f"{system}|final", 1), (f"{system}|x", 0)):
        assert len(matches(search(house, "Observation", patient=patient, status=asked))) == many


@pytest.mark.parametrize("place", ["x-1", "x", "\u00b2", "1" * 30])
def test_a_page_that_is_none_is_refused(house: House, place: str) -> None:
    page = urlsafe_b64encode(f"\0system-{place}".encode()).decode()
    assert house.call("auditor", "GET", f"/fhir/AuditEvent?_page={page}").status == (200 if place == "x-1" else 400)


def test_days_of_what_was_made_are_those_of_the_clinic(house: House) -> None:
    house.clock.on(hours=11, minutes=30)  # 23:30 in UTC, of the next day in Berlin
    patient = house.on_course()
    created(house, platelets(patient, 1))
    for kind, name in (("Condition", "recorded-date"), ("Provenance", "recorded")):
        for asked, there in (("2026-03-10", True), ("2026-03-09", False), ("2026-03-09T23:30:00Z", True)):
            found = matches(search(house, kind, patient=patient, **{name: asked}))
            assert bool(found) == there, (kind, asked)
