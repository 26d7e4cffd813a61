"""The weekly round for all twelve patients, over real HTTP, from count to dose given, each role doing its part.

And the published case, entered week by week from nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any, NamedTuple, cast

import httpx

from tests.api.live import Server, server
from tests.support import CATALOGUE
from titrator.titration.answer import to_text
from titrator.titration.course import read_document
from titrator.titration.documents import decode, exact
from titrator.titration.quantities import iso, plain
from titrator.workflow import trail
from titrator.workflow.demonstration import case_document
from titrator.workflow.evidence import replay_decisions
from titrator.workflow.replay import replay

__all__ = ["server"]

NEEDED = "incomplete COUNT-NEEDED"
STABLE = "maintain STABLE"
# What was proposed a week ago, and given if it was a dose; today's count; what is proposed by it; what is answered once
# that has been given, too.
WEEK = {
    "Avocet, Carina": ("maintain IN-RANGE 8.6 500", 62, "maintain IN-RANGE 8.6 495", f"{STABLE} 8.6 495"),
    "Wren, Mira": ("increase BELOW-TARGET 6 135", 56, "maintain IN-RANGE 6 140", NEEDED),
    "Toki, Subaru": ("reduce ABOVE-RANGE 2 105", 150, "maintain IN-RANGE 2 105", NEEDED),
    "Heron, Castor": ("hold ABOVE-HOLD-LIMIT", 140, "resume RESUME-AFTER-HOLD 2 165", NEEDED),
    "Petrel, Rigel": ("complete SINGLE-DOSE-GIVEN", 70, "complete SINGLE-DOSE-GIVEN", "complete SINGLE-DOSE-GIVEN"),
    "Dunlin, Alya": ("incomplete COUNT-UNRELIABLE", 61, "maintain IN-RANGE 2 135 | DOSE-MISSED", NEEDED),
    "Plover, Lyra": ("refer SAFETY-EVENT", 90, "maintain IN-RANGE 2 150 | DOSE-MISSED", NEEDED),
    "Swift, Altair": ("COURSE-NOT-ACTIVE", 68, "maintain IN-RANGE 1 90 | DOSE-MISSED", f"{STABLE} 1 90"),
    "Knot, Electra": ("maintain IN-RANGE 2 120", 84, "maintain IN-RANGE 2 120", NEEDED),
    "Siskin, Nova": ("start START 1 70", 24, "increase BELOW-TARGET 2 140", NEEDED),
    "Curlew, Orion": ("resume RESUME-AFTER-HOLD 2 170", 120, "maintain IN-RANGE 2 170", NEEDED),
    "Suzume, Vega": (f"{STABLE} 2 100", 97, "maintain IN-RANGE 2 100", f"{STABLE} 2 100"),
}
#: Whose count of today a technician types; those of the others come from the feed.
TYPED = {"Petrel, Rigel", "Plover, Lyra", "Knot, Electra", "Siskin, Nova", "Suzume, Vega"}
MISMATCH = "DOSE-MISMATCH-DECISION"
#: Whose course began on the day of last week's dose, here: that should have been decided upon. Before, it is history.
BEGUN = {"Siskin, Nova"}
#: Weights of today, in kg, of those who are weighed.
WEIGHED = {"Avocet, Carina": "57.6", "Wren, Mira": "23.1"}


def told(response: httpx.Response) -> str:
    """An answer in short, as the tests of the engine have it, with the micrograms; of a refusal its code."""
    answer = cast("dict[str, Any]", decode(response.content))
    if "code" in answer:
        return str(answer["code"])
    assert response.status_code == 200
    words = [answer["action"], *(one["code"] for one in answer["reasons"])]
    if answer["dose"]:
        words += [plain(answer["dose"]["micrograms_per_kg"]), plain(answer["dose"]["delivered_micrograms"])]
    return " ".join([*words, *(["|", *(one["code"] for one in answer["alerts"])] if answer["alerts"] else [])])


class Round(NamedTuple):
    """The round of a patient: where the record is, and the days of last week's dose and of this week's."""

    server: Server
    path: str
    before: str
    today: str

    def ask(self, role: str, method: str, path: str, body: object = None, **headers: str) -> httpx.Response:
        return self.server.ask(role, method, self.path + path, body, **headers)

    def next_dose(self, on: str) -> httpx.Response:
        return self.ask("pharmacist", "GET", f"/next-dose?on={on}")

    def give(self, on: str, answer: httpx.Response) -> list[str]:
        """Record a dose proposed or decided: sent twice by a technician, once more by the ward's system; its flags."""
        dose = cast("dict[str, Any]", decode(answer.content))["dose"]
        given = {
            "given_on": on,
            "micrograms": dose["delivered_micrograms"],
            "micrograms_per_kg": dose["micrograms_per_kg"],
        }
        key = f"{self.path}-{on}"
        first = self.ask("technician", "POST", "/doses", given, Idempotency_Key=key)
        again = self.ask("technician", "POST", "/doses", given, Idempotency_Key=key)
        assert (first.status_code, again.status_code) == (201, 201), first.text
        assert (again.content, again.headers["Idempotency-Replayed"]) == (first.content, "true")
        linked = self.ask("ehr", "POST", "/doses", {**given, "external_id": {"system": "urn:ward", "value": key}})
        assert (linked.status_code, linked.json()["id"]) == (200, first.json()["id"])
        return cast("list[str]", first.json()["flags"])

    def decide(self, role: str, answer: httpx.Response, kind: str = "accept", **body: object) -> httpx.Response:
        """Decide upon a proposal as it was read, its alerts acknowledged."""
        told = answer.json()
        known = {} if kind == "refer" else {"acknowledge": [one["code"] for one in told["alerts"]]}
        named = {"decision": kind, "proposal_sha256": told["proposal_sha256"]}
        return self.ask(role, "POST", "/decisions", named | known | body)

    def tasks(self) -> list[str]:
        """What waits of the patient."""
        lines = self.server.ask("pharmacist", "GET", "/worklist").json()["items"]
        return [task for line in lines if self.path.endswith(line["patient"]) for task in line["tasks"]]

    def last(self, collection: str) -> dict[str, Any]:
        return cast("dict[str, Any]", self.ask("technician", "GET", f"/{collection}").json()["items"][-1])


def repeat_the_count(here: Round) -> None:
    """The pharmacist finds the feed's count on the worklist; the tube was clotted, so it never counted."""
    (line,) = here.server.ask("pharmacist", "GET", "/worklist?task=to-verify").json()["items"]
    assert f"/patients/{line['patient']}" == here.path
    (waiting,) = line["to_verify"]
    place, reason = f"/platelet-counts/{waiting['id']}/entered-in-error", {"reason": "The tube was clotted."}
    assert here.ask("technician", "POST", place, reason, If_Match='"1"').status_code == 403, "who may not verify"
    assert here.ask("pharmacist", "POST", place, reason, If_Match='"1"').status_code == 200
    assert here.server.ask("pharmacist", "GET", "/worklist?task=to-verify").json()["items"] == []


def resolve_the_thrombosis(here: Round) -> None:
    """Only a prescriber may."""
    event = here.last("events")
    body = {"resolved_on": here.today, "reason": "Anticoagulated; therapy may go on."}
    place = f"/events/{event['id']}/resolution"
    assert here.ask("pharmacist", "POST", place, body, If_Match='"1"').status_code == 403
    assert here.ask("prescriber", "POST", place, body, If_Match='"1"').status_code == 200


def go_on_with_the_course(here: Round) -> None:
    course = here.ask("pharmacist", "GET", "/course")
    changed = here.ask(
        "pharmacist", "POST", "/course/continuation", {"reason": "Is back."}, If_Match=course.headers["ETag"]
    )
    assert (changed.status_code, changed.json()["status"]) == (200, "active")


#: What must be done before there can be a dose this week.
FIRST: dict[str, Callable[[Round], None]] = {
    "Dunlin, Alya": repeat_the_count,
    "Plover, Lyra": resolve_the_thrombosis,
    "Swift, Altair": go_on_with_the_course,
}


# How each is decided


def accepted(here: Round, answer: httpx.Response) -> httpx.Response:
    """By the pharmacist, who sees each alert."""
    return here.decide("pharmacist", answer)


def accepted_among_several(here: Round, answer: httpx.Response) -> httpx.Response:
    """The same again, and nothing to look at."""
    item = {"patient": here.path.rpartition("/")[2], "proposal_sha256": answer.json()["proposal_sha256"]}
    for role in NEVER:
        assert here.server.ask(role, "POST", "/decisions", {"items": [item]}).status_code == 403
    (one,) = here.server.ask("pharmacist", "POST", "/decisions", {"items": [item]}).json()["items"]
    return here.ask("pharmacist", "GET", f"/decisions/{one['decision']['id']}")


def overridden(here: Round, answer: httpx.Response) -> httpx.Response:
    """By the prescriber, with the dose that was proposed; then it is a prescriber's to change."""
    level = answer.json()["dose"]["micrograms_per_kg"]
    beyond = {"micrograms_per_kg": 11, "reason_code": "bleeding", "comment": "Nose bleeds."}
    assert here.decide("pharmacist", answer, "override", **beyond).status_code == 403, "over the maximum"
    within = beyond | {"micrograms_per_kg": level}
    made = here.decide("prescriber", answer, "override", **within)
    assert here.decide("pharmacist", answer).status_code == 403
    return made


def referred_and_answered(here: Round, answer: httpx.Response) -> httpx.Response:
    """The pharmacist would rather that the prescriber looked at it, who accepts."""
    says = {"reason_code": "adverse-event", "comment": "The first dose after the thrombosis."}
    assert here.decide("pharmacist", answer, "refer", **says).json()["status"] == "referred"
    assert "referred" in here.tasks()
    return here.decide("prescriber", answer)


def decided_by_two(here: Round, answer: httpx.Response) -> httpx.Response:
    """The protocol has no dose left to give; after a second exposure prescriber and pharmacist decide together."""
    says = {"micrograms_per_kg": 10, "reason_code": "other", "comment": "Exposed a second time."}
    assert here.decide("pharmacist", answer).json()["code"] == "NOTHING-TO-ACCEPT"
    assert here.decide("pharmacist", answer, "override", **says).status_code == 403
    made = here.decide("prescriber", answer, "override", **says)
    assert (made.json()["status"], here.tasks()) == ("awaiting-second", ["awaiting-second"])
    place = f"/decisions/{made.json()['id']}/second-signature"
    for role, status in (("prescriber", 409), *((role, 403) for role in NEVER), ("pharmacist", 200)):
        answered = here.ask(role, "POST", place, If_Match='"1"')
        assert answered.status_code == status, answered.text
    return here.ask("pharmacist", "GET", place.removesuffix("/second-signature"))


#: Who may record, and never decides.
NEVER = ("technician", "ehr")
#: How it is decided, if not accepted by the pharmacist.
DECIDED: dict[str, Callable[[Round, httpx.Response], httpx.Response]] = {
    "Toki, Subaru": accepted_among_several,
    "Heron, Castor": overridden,
    "Petrel, Rigel": decided_by_two,
    "Plover, Lyra": referred_and_answered,
    "Knot, Electra": accepted_among_several,
}


def signed(here: Round, name: str, answer: httpx.Response) -> httpx.Response:
    """The decision upon what is proposed today, which must be in force: refused to the technician and the feed."""
    for role in NEVER:
        assert here.decide(role, answer).status_code == 403
    made = DECIDED.get(name, accepted)(here, answer)
    assert (made.status_code in (200, 201), made.json()["status"]) == (True, "in-force"), made.text
    assert here.tasks() == ["dose-due"]
    return made


def explained(here: Round, answer: httpx.Response) -> None:
    """A dose that nobody had decided upon wants a reason, and nothing is decided until it has one."""
    assert here.decide("pharmacist", answer).json()["code"] == MISMATCH
    place, why = f"/dose-mismatches/{here.before}/reason", {"reason": "The service was down; decided on paper."}
    assert here.ask("technician", "POST", place, why).status_code == 403
    assert here.ask("pharmacist", "POST", place, why).status_code == 200


def round_of(server: Server, name: str) -> Round:
    patient = next(one.id for one in server.furnished.patients if one.name == name)
    clinic = server.ask("technician", "GET", f"/patients/{patient}").json()["clinic"]
    zone = server.ask("technician", "GET", f"/clinics/{clinic}").json()["time_zone"]
    today = server.today(zone)
    return Round(server, f"/patients/{patient}", (today - timedelta(weeks=1)).isoformat(), today.isoformat())


def week_of(server: Server, name: str) -> tuple[str, int, str, str]:
    """The week of a patient, as it went: what the table has."""
    count = WEEK[name][1]
    here = round_of(server, name)
    before = here.next_dose(here.before)
    flags = here.give(here.before, before) if has_dose(before) else []
    assert flags == ([MISMATCH] if name in BEGUN else [])
    if name in FIRST:
        FIRST[name](here)
    if name in WEIGHED:
        weight = {"measured_on": here.today, "value": Decimal(WEIGHED[name]), "unit": "kg"}
        assert here.ask("technician", "POST", "/weights", weight).status_code == 201
    counted = {"collected_on": here.today, "value": count, "unit": "10*9/L"}
    recorded = here.ask("technician" if name in TYPED else "ehr", "POST", "/platelet-counts", counted)
    assert (recorded.status_code, recorded.json()["status"]) == (201, "final")
    now = here.next_dose(here.today)
    if flags:
        explained(here, now)
    assert here.give(here.today, signed(here, name, now)) == []
    return told(before), count, told(now), told(here.next_dose(here.today))


def has_dose(answer: httpx.Response) -> bool:
    return answer.status_code == 200 and answer.json()["dose"] is not None


def unsound(server: Server) -> list[str]:
    """What is wrong with the database and its trail while the server runs."""
    trail.gather(server.services)
    with server.services.store.reading() as session:
        entries, faults = trail.verify(session, server.services.audit_key, server.settings.seals)
    assert entries > 0
    return [*faults, *server.services.store.check()]


def test_a_week_for_all_twelve_patients(server: Server) -> None:
    assert [patient.name for patient in server.furnished.patients] == list(WEEK)
    assert {name: week_of(server, name) for name in WEEK} == WEEK
    for name in WEEK:
        here = round_of(server, name)
        found = here.ask("pharmacist", "GET", "/decisions").json()["items"]
        assert {one["status"] for one in found} <= {"delivered", "superseded"}, name
        assert [one["given_on"] for one in found if one["status"] == "delivered"] == [here.today], name
    tallies = server.ask("pharmacist", "GET", "/worklist").json()["tallies"]
    assert [task for task, many in tallies.items() if many] == []
    assert [one for one in replay_decisions(server.services) if one.differs] == []
    assert unsound(server) == []


def test_the_case_entered_week_by_week_is_answered_as_it_is_replayed(server: Server) -> None:
    """Each answer to the last word, the digest of the course included."""
    today = server.today("Europe/Berlin")
    case = cast("dict[str, Any]", exact(case_document(today)))
    request = read_document(case, CATALOGUE.fault)
    replayed = list(replay(CATALOGUE.get(request.protocol), request.course, request.on))
    path = case_without_facts(server, case)
    for week, expected in enumerate(replayed):
        on = iso(expected.answer.on)
        facts = [("/weights", one) for one in case["weights"] if one["measured_on"] == on]
        facts += [("/platelet-counts", one) for one in case["platelet_counts"] if one["collected_on"] == on]
        assert [add(server, "technician", path + place, body) for place, body in facts] == [201] * len(facts)
        assert len(facts) == (1 if week % 8 else 2)
        answer = cast("dict[str, Any]", decode(server.ask("pharmacist", "GET", f"{path}/next-dose?on={on}").content))
        assert (answer.pop("unverified"), answer.pop("later")) == ([], [])
        assert f"/patients/{answer.pop('patient')}" == path
        assert (answer.pop("course")["version"], answer.pop("revision") > 0) == (2, True)
        assert (len(answer.pop("proposal_sha256")), answer.pop("decision")) == (64, None)
        assert answer == decode(to_text(expected.answer)), on
        given = [one for one in case["doses"] if one["given_on"] == on]
        assert [add(server, "technician", f"{path}/doses", one) for one in given] == [201] * len(given)
    assert len(replayed) == 24
    assert unsound(server) == []


def add(server: Server, role: str, path: str, body: object, **headers: str) -> int:
    return server.ask(role, "POST", path, body, **headers).status_code


def case_without_facts(server: Server, case: dict[str, Any]) -> str:
    """The path of a new patient with the course of the case, started on the day of its first dose, and its events."""
    patient = {
        "clinic": server.furnished.clinic,
        "family_name": "Godwit",
        "given_name": "Carina",
        "born_on": case["born_on"],
    }
    path = f"/patients/{server.ask('technician', 'POST', '/patients', patient).json()['id']}"
    start = {"protocol": case["protocol"], "started_on": case["doses"][0]["given_on"]}
    course = server.ask("pharmacist", "POST", f"{path}/course", start)
    confirmed = {"eligibility": case["eligibility"], "reason": "Marrow examined."}
    eligibility = f"{path}/course/eligibility"
    assert add(server, "pharmacist", eligibility, confirmed, If_Match=course.headers["ETag"]) == 403
    assert add(server, "prescriber", eligibility, confirmed, If_Match=course.headers["ETag"]) == 200
    assert [add(server, "technician", f"{path}/events", one) for one in case["events"]] == [201, 201]
    return path
