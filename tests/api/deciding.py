"""Patients to decide upon, each ready for an answer of one kind, and short ways to decide."""

from __future__ import annotations

from typing import Any, Final

from tests.api.support import Answer, House, count, day, dose, event, weight

#: What an override and a referral need beside what is chosen.
SAYS: Final[dict[str, Any]] = {"reason_code": "clinical-judgement", "comment": "seen on the ward"}


def starting(house: House, platelets: object = 20, kg: object = 75) -> str:
    """On a course since today, weighed and counted today; by default to start with 75 micrograms today."""
    patient = house.begun(0)
    house.post(f"/patients/{patient}/weights", weight(0, kg))
    house.post(f"/patients/{patient}/platelet-counts", count(0, platelets))
    return patient


def dosed(house: House, platelets: object = 90, last: int = 7, **more: Any) -> str:
    """On a course of five weeks, of 75 kg, 150 micrograms a week ago and one before; by default to be kept so.

    The course and its doses were recorded today: no one need have decided upon them.
    """
    patient = house.on_course()
    for ago in (last + 7, last):
        house.post(f"/patients/{patient}/doses", dose(ago, 150))
    house.post(f"/patients/{patient}/platelet-counts", count(0, platelets, **more))
    return patient


def alerted(house: House) -> str:
    """To be kept at 150 micrograms, with two alerts: a dose was missed, and the count has fallen by more than half."""
    patient = house.on_course()
    for ago in (18, 11):
        house.post(f"/patients/{patient}/doses", dose(ago, 150))
    for ago, platelets in ((7, 190), (0, 90)):
        house.post(f"/patients/{patient}/platelet-counts", count(ago, platelets))
    return patient


def referred_by_rule(house: House) -> str:
    """With a thrombosis that nobody has resolved: the answer is to refer."""
    patient = dosed(house)
    house.post(f"/patients/{patient}/events", event(1, "thrombosis"))
    return patient


def next_dose(house: House, patient: str, who: str = "pharmacist") -> Any:
    return house.get(f"/patients/{patient}/next-dose", who)


def decide(house: House, patient: str, kind: str = "accept", who: str = "pharmacist", **body: object) -> Answer:
    """The answer to a decision upon the proposal of now, unless the body names another.

    What is asked of an override is answered with yes, unless the body answers it.
    """
    named = body if "proposal_sha256" in body else {"proposal_sha256": next_dose(house, patient)["proposal_sha256"]}
    sent = {"decision": kind, **named, **body}
    answer = house.call(who, "POST", f"/patients/{patient}/decisions", sent)
    if answer.status == 422 and answer.json["questions"] and "confirm" not in body:
        sent["confirm"] = answer.json["questions"]
        answer = house.call(who, "POST", f"/patients/{patient}/decisions", sent)
    return answer


def decided(house: House, patient: str, kind: str = "accept", who: str = "pharmacist", **body: object) -> Any:
    """A decision; fails unless it could be made."""
    answer = decide(house, patient, kind, who, **body)
    assert answer.status == 201, answer.text
    return answer.json


def override(house: House, patient: str, who: str = "pharmacist", **chosen: object) -> Answer:
    return decide(house, patient, "override", who, **SAYS, **chosen)


def act(
    house: House, patient: str, ident: int, action: str, who: str = "pharmacist", version: object = "*", **body: object
) -> Answer:
    """What comes of a second signature, a withdrawal or a review."""
    sent = body or (None if action == "second-signature" else {"reason": "because of a test"})
    return house.call(who, "POST", f"/patients/{patient}/decisions/{ident}/{action}", sent, version=version)


def decision(house: House, patient: str, ident: int = 1) -> Any:
    return house.get(f"/patients/{patient}/decisions/{ident}")


def give(house: House, patient: str, micrograms: object = 150, ago: int = 0, **more: object) -> list[str]:
    """Give a dose, answering what is asked; the flags of its recording."""
    answer = house.record(patient, "doses", dose(ago, micrograms, **more), "technician")
    if answer.status == 422 and answer.json["questions"]:
        answer = house.record(
            patient, "doses", dose(ago, micrograms, confirm=answer.json["questions"], **more), "technician"
        )
    assert answer.status == 201, answer.text
    flags: list[str] = answer.json["flags"]
    return flags


def departures(house: House, patient: str) -> dict[str, list[str]]:
    """By day in what its doses depart, explained or not."""
    found = house.get(f"/patients/{patient}/dose-mismatches")["items"]
    return {one["day"]: one["departs"] for one in found}


def worklist(house: House, query: str = "", who: str = "pharmacist") -> Any:
    return house.get(f"/worklist{query}", who)


def tasks(house: House, patient: str, on: int = 0) -> list[str]:
    """What waits of a patient, on a day told by how long ago it is; of today by default of the clock."""
    lines = worklist(house, f"?on={day(on)}" if on else "")["items"]
    return [task for line in lines if line["patient"] == patient for task in line["tasks"]]
