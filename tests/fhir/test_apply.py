"""PlanDefinition/$apply: the answer of the engine for a stored patient, as a CarePlan that holds all it comes to.

The worked courses of both implementations are written into the store as FHIR resources, and what comes back is what the
engine answers to the course document.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from tests.api.deciding import dosed, next_dose, referred_by_rule, starting
from tests.api.support import BEFORE_COURSE, Answer, House, build, count, dose, event
from tests.fhir.judges.judge import faults
from tests.fhir.resources import (
    LEVEL,
    RESOLVED,
    Resource,
    bundle,
    confirming,
    entry,
    graded,
    issues,
    observed,
    parameters,
    person,
    places,
    problems,
    quantity,
    read,
    send,
    subject,
)
from tests.support import CATALOGUE
from titrator.fhir.codes import OWN, TRANSFUSIONS
from titrator.fhir.giving import ucum
from titrator.titration.answer import to_text
from titrator.titration.codes import Action
from titrator.titration.documents import encode
from titrator.workflow import accounts
from titrator.workflow.propose import propose

TESTS: Final = Path(__file__).parents[1]
GOLDEN: Final = TESTS / "golden" / "courses.ndjson"
GIVEN: Final = TESTS.parents[1] / "shared" / "cases" / "contract-examples.ndjson"
US: Final = "/PlanDefinition/us-itp-adult/$apply"


def apply(house: House, patient: str, protocol: str = "us-itp-adult", who: str = "pharmacist") -> Any:
    """The CarePlan of a patient today; fails unless there is one."""
    return read(house, f"/PlanDefinition/{protocol}/$apply?subject=Patient/{patient}", who)


def contained(plan: Resource, kind: str) -> list[Resource]:
    return [one for one in plan["contained"] if one["resourceType"] == kind]


class Said(NamedTuple):
    """What an answer comes to, whichever way it is told."""

    action: str
    reasons: list[str]
    alerts: list[str]
    micrograms: Decimal | None
    level: Decimal | None
    due_on: str | None
    next_count_on: str | None


def said_by_plan(plan: Resource) -> Said:
    (group,) = contained(plan, "RequestGroup")
    first, *rest = group["action"]
    orders = contained(plan, "MedicationRequest")
    instruction = orders[0]["dosageInstruction"][0] if orders else None
    return Said(
        first["code"][0]["coding"][0]["code"],
        [one["coding"][0]["code"] for one in group["reasonCode"]],
        [one["text"] for one in group.get("note", [])],
        instruction and Decimal(instruction["doseAndRate"][0]["doseQuantity"]["value"]),
        instruction and Decimal(instruction["extension"][0]["valueQuantity"]["value"]),
        first.get("timingDateTime"),
        rest[0]["timingDateTime"] if rest else None,
    )


def said_by_engine(answer: Mapping[str, Any]) -> Said:
    given = answer["dose"]
    return Said(
        answer["action"],
        [one["code"] for one in answer["reasons"]],
        [f"{one['text']} ({one['citation']})" for one in answer["alerts"]],
        given and Decimal(given["delivered_micrograms"]),
        given and Decimal(given["micrograms_per_kg"]),
        answer["due_on"],
        answer["next_count_on"],
    )


# Each action


def held(house: House) -> str:
    return dosed(house, 420)


def increased(house: House) -> str:
    return dosed(house, 30)


def reduced(house: House) -> str:
    patient = dosed(house, 250)
    house.post(f"/patients/{patient}/platelet-counts", count(7, 240))
    return patient


def resumed(house: House) -> str:
    """The dose a week ago was withheld, and the count has fallen since."""
    patient = dosed(house, 150, last=14)
    house.post(f"/patients/{patient}/platelet-counts", count(7, 450))
    return patient


def completed(house: House) -> str:
    """The single dose of a single-dose protocol has been given."""
    patient = house.on_course(3, protocol="us-hs-ars")
    house.post(f"/patients/{patient}/doses", dose(3, 750))
    return patient


def transfused_lately(house: House) -> str:
    patient = dosed(house)
    house.post(f"/patients/{patient}/events", event(2, "platelet_transfusion"))
    return patient


#: By action: how a patient comes to it, and by which protocol.
ACTIONS: Final[dict[str, tuple[Callable[[House], str], str]]] = {
    "start": (starting, "us-itp-adult"),
    "maintain": (dosed, "us-itp-adult"),
    "increase": (increased, "us-itp-adult"),
    "reduce": (reduced, "us-itp-adult"),
    "hold": (held, "us-itp-adult"),
    "resume": (resumed, "us-itp-adult"),
    "refer": (referred_by_rule, "us-itp-adult"),
    "incomplete": (House.begun, "us-itp-adult"),
    "complete": (completed, "us-hs-ars"),
}


def test_no_action_is_left_out() -> None:
    assert sorted(ACTIONS) == sorted(map(str, Action))


@pytest.mark.parametrize("action", ACTIONS)
def test_each_action_is_a_faultless_plan(shared: House, action: str) -> None:
    make, protocol = ACTIONS[action]
    patient = make(shared)
    plan = apply(shared, patient, protocol)
    answer = next_dose(shared, patient)
    assert answer["action"] == action
    assert said_by_plan(plan) == said_by_engine(answer)
    assert faults([plan]) == []
    assert (plan["resourceType"], plan["status"], plan["intent"]) == ("CarePlan", "draft", "proposal")
    assert plan["subject"] == subject(patient)
    assert plan["instantiatesCanonical"] == [f"http://localhost/fhir/PlanDefinition/{protocol}"]
    (guidance,) = contained(plan, "GuidanceResponse")
    assert (guidance["status"], "dataRequirement" in guidance) == (
        ("data-required", True) if action == "incomplete" else ("success", False)
    )
    orders = contained(plan, "MedicationRequest")
    assert len(orders) == (answer["dose"] is not None)
    assert all((one["status"], one["intent"]) == ("draft", "proposal") for one in orders)
    cited = {one["display"] for one in contained(plan, "RequestGroup")[0]["action"][0]["documentation"]}
    assert cited == {one["citation"] for one in [*answer["reasons"], *answer["alerts"]]}


def test_an_alert_stands_in_the_plan(shared: House) -> None:
    patient = transfused_lately(shared)
    plan = apply(shared, patient)
    assert said_by_plan(plan).alerts == said_by_engine(next_dose(shared, patient)).alerts != []
    assert faults([plan]) == []


def test_a_plan_stores_nothing_and_stands_in_the_trail(shared: House) -> None:
    patient = dosed(shared)
    before = shared.everything()
    apply(shared, patient)
    assert shared.everything() == before
    read(shared, f"/AuditEvent?patient={patient}", "auditor")  # takes in what was read
    assert "next-dose" in [row.action for row in shared.trail(patient)]


# Ways to ask


def asked(house: House, path: str, body: object = None, who: str = "pharmacist") -> Answer:
    return send(house, "GET" if body is None else "POST", path, body, who)


def test_it_is_asked_at_the_type_and_at_the_instance_by_get_and_by_post(shared: House) -> None:
    patient = dosed(shared)
    expected = apply(shared, patient)
    plan = read(shared, "/PlanDefinition/us-itp-adult")
    whole = "http://localhost/fhir/PlanDefinition/us-itp-adult"
    kind = "/PlanDefinition/$apply"
    ways = [
        (f"{US}?subject={patient}", None),
        (f"{US}?subject=http://localhost/fhir/Patient/{patient}&_format=json", None),
        (f"{kind}?subject={patient}&planDefinition=us-itp-adult", None),
        (f"{kind}?subject={patient}&planDefinition=PlanDefinition/us-itp-adult", None),
        (f"{kind}?subject={patient}&planDefinition={whole}", None),
        (f"{kind}?subject={patient}&planDefinition={whole}|{plan['version']}", None),
        (US, parameters(subject=f"Patient/{patient}")),
        (US, parameters(subject={"valueReference": subject(patient)})),
        (US, parameters(subject=patient, userType={"valueCodeableConcept": {"text": "pharmacist"}}, encounter="x")),
        (f"{US}?subject={patient}", {"resourceType": "Parameters"}),
        (kind, parameters(subject=patient, planDefinition={"valueCanonical": whole})),
        (kind, parameters(subject=patient, planDefinition={"resource": plan})),
    ]
    for path, body in ways:
        answer = asked(shared, path, body)
        assert (answer.status, answer.json) == (200, expected), (path, answer.text[:300])


def test_a_wrong_use_is_named(shared: House) -> None:
    patient = dosed(shared)
    kind = "/PlanDefinition/$apply"
    wrong: list[tuple[str, object, list[str]]] = [
        (US, None, ["subject"]),
        (f"{US}?subject=a&subject=b", None, ["subject"]),
        (f"{US}?subject={patient}&planDefinition=us-itp-adult", None, ["planDefinition"]),
        (f"{kind}?subject={patient}", None, ["planDefinition"]),
        (kind, None, ["planDefinition", "subject"]),
        (f"{kind}?subject={patient}&planDefinition=a&planDefinition=b", None, ["planDefinition"]),
        (f"{US}?subject={patient}&when=now", None, ["Parameters.parameter.where(name = 'when')"]),
        (US, parameters(subject=patient, when="now"), ["Parameters.parameter.where(name = 'when')"]),
        (US, parameters(subject={"valueInteger": 5}), ["Parameters.parameter[0].value"]),
        (US, parameters(subject=patient, planDefinition="us-itp-adult"), ["planDefinition"]),
        (US, {"resourceType": "Bundle"}, ["Parameters.resourceType", "subject"]),
    ]
    for path, body, where in wrong:
        answer = asked(shared, path, body)
        assert (answer.status, set(where) <= set(places(answer))) == (400, True), (path, answer.text)
        assert faults([answer.json]) == []
    for raw in ("{", '{"resourceType": "Parameters", "resourceType": "Parameters"}'):
        answer = shared.call("pharmacist", "POST", f"/fhir{US}", raw=raw, Content_Type="application/fhir+json")
        assert answer.status == 400
    assert send(shared, "POST", US, parameters(subject=patient), Content_Type="text/plain").status == 415


def test_who_or_what_is_not_there_is_not_found(shared: House) -> None:
    patient, theirs = dosed(shared), shared.patient("stranger")
    for path in (
        f"{US}?subject={theirs}",
        f"{US}?subject={'0' * 20}",
        f"/PlanDefinition/us-itp-adut/$apply?subject={patient}",
        f"/PlanDefinition/$apply?subject={patient}&planDefinition=http://elsewhere.example/PlanDefinition/us-itp-adult",
    ):
        answer = asked(shared, path)
        assert (answer.status, issues(answer)) == (404, [("not-found", "")]), path


def test_what_has_no_next_dose_says_why(shared: House) -> None:
    no_course = shared.patient()
    on_another = dosed(shared)
    unverified = shared.on_course()
    shared.post(f"/patients/{unverified}/doses", dose(7, 75))
    assert shared.record(unverified, "doses", dose(0, 900), "ehr").status == 201
    early = shared.patient()
    shared.post(f"/patients/{early}/doses", dose(9, 75, **BEFORE_COURSE))
    cases = [
        (no_course, "us-itp-adult", "COURSE-NOT-ACTIVE"),
        (on_another, "eu-itp-adult", "COURSE-NOT-ACTIVE"),
        (unverified, "us-itp-adult", "FACTS-UNVERIFIED"),
        (early, "us-itp-adult", "COURSE-NOT-ACTIVE"),
    ]
    for patient, protocol, code in cases:
        answer = asked(shared, f"/PlanDefinition/{protocol}/$apply?subject={patient}")
        assert (answer.status, problems(answer)) == (409, {code})
        assert faults([answer.json]) == []


@pytest.mark.parametrize(
    ("who", "status"),
    [("technician", 200), ("pharmacist", 200), ("prescriber", 200), ("ehr", 200), ("auditor", 403), ("admin", 403)],
)
def test_who_may_have_doses_proposed(shared: House, who: str, status: int) -> None:
    assert asked(shared, f"{US}?subject={dosed(shared)}", None, who).status == status


# The worked courses


#: The age that is given to who has no birth date in a document, by protocol: one that it serves.
AGES: Final = {"us-itp-paediatric": 10, "eu-itp-paediatric": 10}


def documents(file: Path) -> list[dict[str, Any]]:
    lines = file.read_text(encoding="utf-8").splitlines()
    return [json.loads(line, parse_float=Decimal, parse_int=Decimal)["course"] for line in lines]


def facts_of(course: Mapping[str, Any], whose: str) -> Iterator[Resource]:
    """The facts of a document as resources, in its order; those after the day asked about are left out."""
    on = course["on"]
    for one in course.get("weights", []):
        yield observed(whose, "29463-7", one["value"], ucum(one["unit"]), one["measured_on"])
    for one in course.get("platelet_counts", []):
        mark = {"interpretation": [{"coding": [{"system": f"{OWN}:reliability", "code": "unreliable"}]}]}
        more = mark if one.get("unreliable") else {}
        yield observed(whose, "777-3", one["value"], ucum(one["unit"]), one["collected_on"], **more)
    for one in course.get("doses", []):
        level = one.get("micrograms_per_kg")
        extension = {"extension": [{"url": LEVEL, "valueQuantity": quantity(level, "ug/kg")}]} if level else {}
        yield {
            "resourceType": "MedicationAdministration",
            "status": "completed",
            "medicationCodeableConcept": {"text": "Romiplostim"},
            "subject": subject(whose),
            "effectiveDateTime": one["given_on"],
            "dosage": {**extension, "dose": quantity(one["micrograms"], "ug")},
        }
    for one in course.get("events", []):
        coding = [{"system": f"{OWN}:event", "code": one["kind"]}]
        if one["kind"] in (*TRANSFUSIONS, "rescue_therapy"):
            yield {
                "resourceType": "Procedure",
                "status": "completed",
                "code": {"coding": coding},
                "subject": subject(whose),
                "performedDateTime": one["occurred_on"],
            }
            continue
        over = {"url": RESOLVED, "valueDate": one.get("resolved_on")}
        extensions = [over] if over["valueDate"] and over["valueDate"] <= on else []
        if one["kind"] == "adverse_event":
            extensions += graded()["extension"]
        yield {
            "resourceType": "AdverseEvent",
            "actuality": "actual",
            "event": {"coding": coding},
            "subject": subject(whose),
            "date": one["occurred_on"],
            **({"extension": extensions} if extensions else {}),
        }


def day_of(resource: Resource) -> str:
    for key in ("effectiveDateTime", "performedDateTime", "date"):
        if key in resource:
            return str(resource[key])
    raise AssertionError(resource)


class Store:
    """A house into which courses are written, each by a prescriber on the day that the document asks about."""

    def __init__(self, house: House) -> None:
        self.house = house

    def plan(self, course: Mapping[str, Any]) -> tuple[dict[str, Any], Resource | str]:
        """The document as stored, with a birth date, and the plan of it or why it cannot be stored."""
        on = course["on"]
        years = AGES.get(course["protocol"], 40)
        born_on = course.get("born_on") or f"{int(on[:4]) - years}{on[4:]}".replace("-02-29", "-02-28")
        document = {**course, "born_on": born_on}
        self.house.clock.now = datetime.fromisoformat(f"{on}T12:00:00+00:00")
        with self.house.visit() as visit:
            issued = accounts.issue_token(visit, self.house.ids["prescriber"], {"label": "t", "days": 1})
        self.who = issued.secret
        made = send(self.house, "POST", "/Patient", person(birthDate=born_on), self.who)
        if made.status != 201:
            return document, f"patient {problems(made)} {places(made)}"
        patient = made.json["id"]
        return document, self._begin(patient, document) or self._record(patient, document) or self._apply(
            patient, document
        )

    def _begin(self, patient: str, course: Mapping[str, Any]) -> str | None:
        days = [course["on"], *(one["given_on"] for one in course.get("doses", []))]
        if "baseline_on" in course:
            days.append(course["baseline_on"])
        body = {
            "protocol": course["protocol"],
            "started_on": min(days),
            "eligibility": list(course.get("eligibility", [])),
        }
        started = self.house.call(self.who, "POST", f"/patients/{patient}/course", body)
        if started.status != 201:
            return f"course {started.code} {sorted(started.faults)}"
        return None

    def _record(self, patient: str, course: Mapping[str, Any]) -> str | None:
        entries = [entry(one) for one in facts_of(course, patient) if day_of(one) <= course["on"]]
        for _ in range(3 * len(entries) + 1):  # each time at least the first that was refused is settled
            answer = send(self.house, "POST", "/", bundle("transaction", *entries), self.who)
            if answer.status == 200:
                return self._move_baseline(patient, course)
            if any(not place.partition(".resource.")[2].startswith("meta.tag") for place in places(answer)):
                return "facts " + " ".join(place.partition("].resource.")[2] for place in places(answer))
            self._confirm(entries, answer)
        return f"facts {problems(answer)}"

    def _confirm(self, entries: list[Resource], answer: Answer) -> None:
        """Answer each question of a refusal where it was asked."""
        for issue in answer.json["issue"]:
            index = int(issue["expression"][0].partition("[")[2].partition("]")[0])
            resource = entries[index]["resource"]
            code = issue["details"]["coding"][0]["code"]
            if code == "INVALID":  # was not asked this time: what it was compared with is there now
                entries[index]["resource"] = {key: value for key, value in resource.items() if key != "meta"}
                continue
            before = [tag["code"] for tag in resource.get("meta", {}).get("tag", [])]
            codes = [*(one for one in before if one != code), code]
            entries[index]["resource"] = {**resource, **confirming(*codes)}

    def _move_baseline(self, patient: str, course: Mapping[str, Any]) -> str | None:
        if "baseline_on" not in course:
            return None
        body = {"baseline_on": course["baseline_on"], "reason": "as the document says"}
        moved = self.house.call(self.who, "POST", f"/patients/{patient}/course/baseline", body, version="*")
        return None if moved.status == 200 else f"baseline {moved.code} {sorted(moved.faults)}"

    def _apply(self, patient: str, course: Mapping[str, Any]) -> Resource | str:
        path = f"/PlanDefinition/{course['protocol']}/$apply?subject={patient}"
        answer = send(self.house, "GET", path, None, self.who)
        return answer.json if answer.status == 200 else f"apply {problems(answer)}"


def compared(folder: Path, courses: Iterable[dict[str, Any]]) -> tuple[int, Counter[str], list[object]]:
    """How many plans say what the engine says, why others could not be compared, and which say something else."""
    store, same, others, wrong = Store(build(folder)), 0, Counter[str](), list[object]()
    for course in courses:
        document, plan = store.plan(course)
        if isinstance(plan, str):
            others[plan] += 1
            continue
        answer = json.loads(to_text(propose(CATALOGUE, encode(document).encode())), parse_float=Decimal)
        if said_by_plan(plan) == said_by_engine(answer):
            same += 1
        else:
            wrong.append((document, said_by_plan(plan), said_by_engine(answer)))
    store.house.services.store.close()
    return same, others, wrong


#: The worked courses, and of those that cannot be stored how many, each with why: one baseline is of a day after the
#: day asked about, one weight of a day before birth.
FILES: Final[dict[str, tuple[Path, dict[str, int]]]] = {
    "golden": (GOLDEN, {"baseline INVALID ['baseline_on']": 5, "facts effective": 1}),
    "given": (GIVEN, {"baseline INVALID ['baseline_on']": 1}),
}


def worked(name: str) -> list[dict[str, Any]]:
    file, _ = FILES[name]
    if not file.exists():
        pytest.skip("the courses given with the rules are not here")
    return documents(file)


@pytest.mark.parametrize("name", FILES)
def test_worked_courses_are_answered_as_by_the_engine(tmp_path: Path, name: str) -> None:
    """Every twelfth of them; all of them in the long run."""
    some = worked(name)[::12]
    same, others, wrong = compared(tmp_path, some)
    assert wrong == []
    assert set(others) <= set(FILES[name][1])
    assert same == len(some) - others.total()
    assert same > 0.9 * len(some)


@pytest.mark.long
@pytest.mark.parametrize("name", FILES)
def test_all_worked_courses_are_answered_as_by_the_engine(tmp_path: Path, name: str) -> None:
    every = worked(name)
    same, others, wrong = compared(tmp_path, every)
    assert wrong == []
    assert others == Counter(FILES[name][1])
    assert same == len(every) - others.total()
