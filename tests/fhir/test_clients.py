"""Clients that others wrote, at a real server: fhirclient (strict models), fhirpy, and the models of fhir.resources.

Each reads all that is given here and writes all that is taken.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final, cast

import fhirpy
import pytest
from fhir.resources.R4B import get_fhir_model_class
from fhirclient.client import FHIRClient
from fhirclient.models import (
    adverseevent,
    bundle,
    capabilitystatement,
    careplan,
    guidanceresponse,
    medicationadministration,
    medicationrequest,
    observation,
    operationoutcome,
    patient,
    plandefinition,
    procedure,
    provenance,
    task,
)
from fhirclient.server import FHIRNotFoundException
from fhirpy.base.exceptions import OperationOutcome, ResourceNotFound

from tests.api.live import Server, server
from tests.fhir.resources import (
    Resource,
    entry,
    given,
    happened,
    known_as,
    person,
    platelets,
    transfused,
    weighed,
)
from tests.fhir.resources import bundle as a_bundle

__all__ = ["server"]

#: Types of which a patient of the demonstration has some, with the class of fhirclient.
SMART: Final[dict[str, Any]] = {
    "Patient": patient.Patient,
    "Observation": observation.Observation,
    "MedicationAdministration": medicationadministration.MedicationAdministration,
    "MedicationRequest": medicationrequest.MedicationRequest,
    "GuidanceResponse": guidanceresponse.GuidanceResponse,
    "Provenance": provenance.Provenance,
    "Task": task.Task,
}
WRITTEN: Final[dict[str, Any]] = {
    "Observation": observation.Observation,
    "MedicationAdministration": medicationadministration.MedicationAdministration,
    "Procedure": procedure.Procedure,
    "AdverseEvent": adverseevent.AdverseEvent,
}


class At:
    """The address of the FHIR door of a server, and a bearer token of a pharmacist."""

    def __init__(self, server: Server) -> None:
        client = server.clients["pharmacist"]
        self.client = client
        self.base = str(client.base_url).replace("/api/v1/", "/fhir").rstrip("/")
        self.token = client.headers["Authorization"]
        self.patient = server.furnished.case_patient
        self.clinic = server.furnished.clinic
        self.day = server.today("Europe/Berlin").replace(day=1).isoformat()  # some day that is over everywhere

    def get(self, path: str) -> Any:
        answer = self.client.get(f"{self.base}/{path}")
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture(scope="module")
def at(server: Server) -> Iterator[At]:
    return At(server)


@pytest.fixture(scope="module")
def smart(at: At) -> Any:
    """A client of fhirclient, which has read the CapabilityStatement."""
    client = FHIRClient(settings={"app_id": "tests", "api_base": f"{at.base}/"})
    client.server.session.trust_env = False
    client.server.session.headers["Authorization"] = at.token
    assert client.server.capabilityStatement.fhirVersion == "4.0.1"
    return client.server


@pytest.fixture(scope="module")
def sync(at: At) -> fhirpy.SyncFHIRClient:
    return fhirpy.SyncFHIRClient(at.base, authorization=at.token)


def newcomer(at: At, number: str) -> Resource:
    clinic = {"identifier": {"system": "urn:titrator:clinic", "value": at.clinic}}
    return person("Newcomer", "Nora", number, managingOrganization=clinic)


def resource_of(sync: fhirpy.SyncFHIRClient, resource: Resource) -> Any:
    """A resource as one of fhirpy's."""
    return sync.resource(resource["resourceType"], **{k: v for k, v in resource.items() if k != "resourceType"})


def facts(at: At, whose: str, name: str) -> list[Resource]:
    """A resource of each type that is a fact."""
    effective = {"effectiveDateTime": at.day}
    return [
        platelets(whose, **effective, **known_as(f"{name}-1")),
        given(whose, **effective, **known_as(f"{name}-2"), meta={"tag": [
            {"system": "urn:titrator:confirm", "code": "DOSE-WITHOUT-COURSE"}]}),
        transfused(whose, performedDateTime=at.day, **known_as(f"{name}-3")),
        happened(whose, date=at.day, identifier={"system": "urn:lab", "value": f"{name}-4"}),
    ]  # fmt: skip


# fhirclient


def moving_of(resource: Any) -> Resource:
    """What goes with the clock in an answer of today, which is computed when it is asked for."""
    return {"occurrenceDateTime": None} if str(resource.id).endswith("-next") else {}


@pytest.mark.parametrize("kind", SMART)
def test_fhirclient_reads_all_that_is_given(smart: Any, at: At, kind: str) -> None:
    """Its models are strict: an element that they do not know, or a value of another type, raises."""
    asked = {"_id": at.patient} if kind == "Patient" else {"patient": at.patient, "_count": "1000"}
    found = list(SMART[kind].where(struct=asked).perform_resources_iter(smart))
    assert found
    for one in found[:5]:
        again = SMART[kind].read(one.id, smart)
        assert {**again.as_json(), **moving_of(again)} == {**one.as_json(), **moving_of(again)}


def test_fhirclient_follows_pages(smart: Any, at: At) -> None:
    search = observation.Observation.where(struct={"patient": at.patient, "code": "777-3", "_count": "3"})
    ids = [one.id for one in search.perform_resources_iter(smart)]
    assert len(ids) == len(set(ids)) == at.get(f"Observation?patient={at.patient}&code=777-3&_summary=count")["total"]
    assert len(ids) > 3


def test_fhirclient_reads_the_statement_protocols_plans_and_refusals(smart: Any, at: At) -> None:
    capabilitystatement.CapabilityStatement(at.get("metadata"), strict=True)
    for one in plandefinition.PlanDefinition.where(struct={}).perform_resources_iter(smart):
        assert one.url == f"{at.base}/PlanDefinition/{one.id}"
    course = at.client.get(f"patients/{at.patient}/course").json()
    plan = at.client.get(f"{at.base}/PlanDefinition/{course['protocol']}/$apply?subject=Patient/{at.patient}")
    assert plan.status_code == 200, plan.text
    assert careplan.CarePlan(plan.json(), strict=True).status == "draft"
    refused = at.client.get(f"{at.base}/Observation?nonsense=1")
    told = operationoutcome.OperationOutcome(refused.json(), strict=True)
    assert [issue.severity for issue in told.issue] == ["error"] * len(told.issue)
    with pytest.raises(FHIRNotFoundException):
        patient.Patient.read("0" * 20, smart)


def test_fhirclient_creates_updates_and_is_refused_a_delete(smart: Any, at: At) -> None:
    made = patient.Patient(newcomer(at, "smart-1"), strict=True).create(smart)
    whose = made["id"]
    for sent in facts(at, whose, "smart"):
        kind = WRITTEN[sent["resourceType"]]
        created = kind(sent, strict=True).create(smart)
        stored = kind.read(created["id"], smart)
        assert stored.as_json() == created
        assert stored.update(smart) == created, "what is given is taken, and changes nothing"
        refused = at.client.delete(f"{at.base}/{sent['resourceType']}/{stored.id}")
        assert refused.status_code == 405
        assert kind.read(stored.id, smart).as_json() == created
    (count,) = observation.Observation.where(struct={"identifier": "urn:lab|smart-1"}).perform_resources_iter(smart)
    count.valueQuantity.value = 66
    assert count.update(smart)["meta"]["versionId"] == "2"


def test_fhirclient_sends_a_transaction(smart: Any, at: At) -> None:
    mother = "urn:uuid:4a2c0a4e-77c4-4a4f-a8d1-62b7a2f0c1aa"
    resources = [{**one, "subject": {"reference": mother}} for one in facts(at, "x", "smart-t")]
    entries = [entry(newcomer(at, "smart-2"), full_url=mother), *map(entry, resources)]
    sent = bundle.Bundle(a_bundle("transaction", *entries), strict=True)
    answer = smart.post_json("", sent.as_json())
    told = bundle.Bundle(answer.json(), strict=True)
    assert (told.type, [one.response.status for one in told.entry]) == ("transaction-response", ["201 Created"] * 5)


# fhirpy


def test_fhirpy_searches_with_pages(sync: fhirpy.SyncFHIRClient, at: At) -> None:
    for kind in SMART:
        asked = {"_id": at.patient} if kind == "Patient" else {"patient": at.patient}
        total = sync.resources(kind).search(**asked, _summary="count").fetch_raw()["total"]
        found = sync.resources(kind).search(**asked).limit(3).fetch_all()
        assert len(found) == len({one["id"] for one in found}) == total > 0, kind
    one = sync.resources("Observation").search(patient=at.patient, code="777-3").sort("-date").first()
    assert one is not None
    same = sync.reference("Observation", one["id"]).to_resource()
    assert same.serialize() == one.serialize()
    since = sync.resources("Observation").search(patient=at.patient, date__ge=at.day).fetch_all()
    assert all(one["effectiveDateTime"][:10] >= at.day for one in since)


def test_fhirpy_writes_conditionally_too(sync: fhirpy.SyncFHIRClient, at: At) -> None:
    unless = {"If-None-Exist": "identifier=urn:mrn|fhirpy-1"}
    careful = fhirpy.SyncFHIRClient(at.base, authorization=at.token, extra_headers=unless)
    made, same = (resource_of(careful, newcomer(at, "fhirpy-1")) for _ in range(2))
    made.save()
    same.save()
    assert (made["id"], made["meta"]["versionId"]) == (same["id"], "1")
    with pytest.raises(OperationOutcome):  # that asks by the address, which is not FHIR's way to create
        sync.resources("Patient").search(identifier="urn:mrn|fhirpy-1").get_or_create(
            resource_of(sync, newcomer(at, "fhirpy-1"))
        )
    for sent in facts(at, made["id"], "fhirpy"):
        resource = resource_of(sync, sent)
        resource.save()
        assert resource["meta"]["versionId"] == "1"
        name = sent["identifier"] if sent["resourceType"] == "AdverseEvent" else sent["identifier"][0]
        by_name = {"identifier": f"{name['system']}|{name['value']}"}
        query = sync.resources(sent["resourceType"]).search(**by_name)
        if sent["resourceType"] != "AdverseEvent":
            assert [one["id"] for one in query.fetch()] == [resource["id"]]
        changed, made_new = query.update(resource_of(sync, sent))
        assert (made_new, changed["id"], changed["meta"]["versionId"]) == (False, resource["id"], "1")
    with pytest.raises(OperationOutcome):
        sync.resource("Observation", status="final").save()
    with pytest.raises(ResourceNotFound):
        sync.reference("Observation", f"{made['id']}-99").to_resource()
    with pytest.raises(OperationOutcome):
        sync.reference("Patient", made["id"]).delete()
    assert sync.reference("Patient", made["id"]).to_resource()["active"] is True


def test_fhirpy_runs_the_operation_and_sends_bundles(sync: fhirpy.SyncFHIRClient, at: At) -> None:
    course = at.client.get(f"patients/{at.patient}/course").json()
    plan = sync.execute(
        f"PlanDefinition/{course['protocol']}/$apply", method="get", params={"subject": f"Patient/{at.patient}"}
    )
    assert plan["resourceType"] == "CarePlan"
    sent = a_bundle("batch", entry(weighed(at.patient, unit="stone")), entry(newcomer(at, "fhirpy-2")))
    told = cast("dict[str, Any]", sync.execute("", method="post", data=sent))
    assert [one["response"]["status"][:3] for one in told["entry"]] == ["422", "201"]


# fhir.resources


@pytest.mark.parametrize(
    "kind", [*SMART, "Condition", "Procedure", "AdverseEvent", "PlanDefinition", "CapabilityStatement"]
)
def test_the_models_of_fhir_resources_read_and_write_all(at: At, kind: str) -> None:
    """What is read is written by the model as it was, element by element."""
    if kind == "CapabilityStatement":
        found = [at.get("metadata")]
    else:
        asked = {"Patient": "", "PlanDefinition": ""}.get(kind, f"?patient={at.patient}")
        found = [one["resource"] for one in at.get(f"{kind}{asked}").get("entry", [])]
    if kind in ("Procedure", "AdverseEvent"):
        sent = next(one for one in facts(at, at.patient, "models") if one["resourceType"] == kind)
        written = get_fhir_model_class(kind).model_validate(sent).model_dump_json()
        headers = {"Content-Type": "application/fhir+json"}
        answer = at.client.post(f"{at.base}/{kind}", content=written, headers=headers)
        assert answer.status_code in (200, 201), answer.text
        found = [answer.json()]
    assert found
    for one in found:
        model = get_fhir_model_class(kind).model_validate(one)
        again = json.loads(model.model_dump_json())
        assert again.keys() == one.keys()
        assert len(json.dumps(again)) > 0.9 * len(json.dumps(one)), "instants and numbers are written in other ways"
