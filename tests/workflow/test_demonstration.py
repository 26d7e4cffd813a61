"""The demonstration shows every action on whatever day it is made, and is written as real entries are."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.backends import new_store
from tests.support import CATALOGUE, said
from titrator.security.permissions import PERMISSIONS, Permission, Role
from titrator.store.base import Unusable, Where
from titrator.store.records import RECORDS, Account, AuditRow, Clinic, Fact, Patient
from titrator.titration.codes import Action
from titrator.titration.course import read_document
from titrator.titration.documents import exact
from titrator.titration.quantities import iso
from titrator.titration.recommend import Recommendation
from titrator.workflow import accounts, courses, record, trail
from titrator.workflow.demonstration import HAEMATOLOGY, ISLAND, Furnished, case_document, furnish
from titrator.workflow.errors import Code, Conflict, Unready
from titrator.workflow.facts import PLATELET_COUNTS, WEIGHTS
from titrator.workflow.propose import course_document, open_course, propose_dose
from titrator.workflow.record import Which
from titrator.workflow.replay import replay
from titrator.workflow.visit import Services, Visit, leave

MONDAY = datetime(2026, 3, 9, 8, 0, tzinfo=UTC)
# What day it is when, here and there: Berlin is an hour or two ahead of UTC, Tokyo nine.
DAYS = {
    "a Monday": (MONDAY, "2026-03-09", "2026-03-09"),
    "a Sunday": (datetime(2026, 3, 8, 8, 0, tzinfo=UTC), "2026-03-08", "2026-03-08"),
    "29 February": (datetime(2028, 2, 29, 12, 0, tzinfo=UTC), "2028-02-29", "2028-02-29"),
    "New Year there, not yet here": (datetime(2026, 12, 31, 16, 0, tzinfo=UTC), "2026-12-31", "2027-01-01"),
    "New Year here, not yet in UTC": (datetime(2026, 12, 31, 23, 30, tzinfo=UTC), "2027-01-01", "2027-01-01"),
    "the clock goes forward": (datetime(2026, 3, 29, 1, 0, tzinfo=UTC), "2026-03-29", "2026-03-29"),
    "the clock goes back": (datetime(2026, 10, 25, 0, 30, tzinfo=UTC), "2026-10-25", "2026-10-25"),
    "half past midnight here, in summer": (datetime(2026, 7, 1, 22, 30, tzinfo=UTC), "2026-07-02", "2026-07-02"),
}

# Each patient, and what is proposed on the day of the demonstration.
PATIENTS = {
    "Avocet, Carina": "maintain IN-RANGE 8.6",
    "Wren, Mira": "increase BELOW-TARGET 6",
    "Toki, Subaru": "reduce ABOVE-RANGE 2",
    "Heron, Castor": "hold ABOVE-HOLD-LIMIT",
    "Petrel, Rigel": "complete SINGLE-DOSE-GIVEN",
    "Dunlin, Alya": "incomplete COUNT-UNRELIABLE",
    "Plover, Lyra": "refer SAFETY-EVENT",
    "Swift, Altair": "COURSE-NOT-ACTIVE",
    "Knot, Electra": "maintain IN-RANGE 2",
    "Siskin, Nova": "start START 1",
    "Curlew, Orion": "resume RESUME-AFTER-HOLD 2",
    "Suzume, Vega": "maintain STABLE 2",
}


class House(NamedTuple):
    """A furnished installation."""

    services: Services
    furnished: Furnished

    @contextmanager
    def visit(self, role: str) -> Iterator[Visit]:
        token = next(login.token for login in self.furnished.logins if login.role == role)
        actor = accounts.authenticate(self.services, token)
        with self.services.store.writing() as session:
            visit = Visit(services=self.services, session=session, actor=actor, now=self.services.clock())
            yield visit
            leave(visit, session, visit.entries)

    def proposed(self, patient_id: str) -> Recommendation | Code:
        with self.visit("pharmacist") as visit:
            try:
                patient = visit.patient(patient_id)
                return propose_dose(visit, patient, visit.today(patient), visit.today(patient)).answer
            except Conflict as refusal:
                return refusal.code

    def named(self, name: str) -> str:
        return next(patient.id for patient in self.furnished.patients if patient.name == name)


def services_at(moment: datetime, folder: Path) -> Services:
    store = new_store(folder)
    return Services(store=store, catalogue=CATALOGUE, audit_key=b"k" * 32, clock=lambda: moment)


def furnished_at(moment: datetime, folder: Path) -> House:
    services = services_at(moment, folder)
    return House(services, furnish(services))


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    made = furnished_at(MONDAY, tmp_path_factory.mktemp("house"))
    yield made
    made.services.store.close()


def rows(house: House, chain: str) -> list[AuditRow]:
    with house.services.store.reading() as session:
        return session.find(AuditRow, Where("chain", "=", chain), order=("seq",))


# On any day


@pytest.mark.parametrize(("moment", "here", "there"), DAYS.values(), ids=DAYS)
def test_every_action_is_shown_on_any_day(tmp_path: Path, moment: datetime, here: str, there: str) -> None:
    made = furnished_at(moment, tmp_path)
    proposed = {patient.name: made.proposed(patient.id) for patient in made.furnished.patients}
    answers = [answer for answer in proposed.values() if isinstance(answer, Recommendation)]
    assert {name: said(one) if isinstance(one, Recommendation) else one for name, one in proposed.items()} == PATIENTS
    assert {answer.action for answer in answers} == set(Action)
    assert {iso(answer.on) for answer in answers} == {here, there}
    with made.services.store.reading() as session:
        clinics = {clinic.id: clinic.name for clinic in session.find(Clinic)}
        newest = {HAEMATOLOGY: "", ISLAND: ""}
        for patient in session.find(Patient):
            days = [fact.day for fact in session.find(Fact, Where("patient_id", "=", patient.id))]
            newest[clinics[patient.clinic_id]] = max(newest[clinics[patient.clinic_id]], *days)
        assert newest == {HAEMATOLOGY: here, ISLAND: there}
        entries, faults = trail.verify(session, made.services.audit_key, tmp_path / "seals")
    assert (entries > 300, faults, made.services.store.check()) == (True, [], [])
    made.services.store.close()


# What is there


def test_what_is_told_of_a_patient_is_what_is_proposed(house: House) -> None:
    for patient in house.furnished.patients:
        proposed = house.proposed(patient.id)
        told = patient.shows.partition(":")[0]
        assert told == (proposed.action if isinstance(proposed, Recommendation) else "no next dose")
        assert patient.id in house.furnished.summary
        assert patient.shows in house.furnished.summary


def test_each_role_comes_in_by_its_token_and_each_person_by_a_password_of_chance(house: House) -> None:
    logins = {login.role: login for login in house.furnished.logins}
    assert set(logins) == set(Role)
    assert [role for role, login in logins.items() if login.password is None] == [Role.EHR]
    assert len({login.password for login in logins.values()} | {login.token for login in logins.values()}) == 12
    for role, login in logins.items():
        assert accounts.authenticate(house.services, login.token).role == role
        if login.password is not None:
            proof = accounts.prove(house.services, login.username, login.password)
            with house.services.store.writing() as session:
                visit = Visit(services=house.services, session=session, actor=None, now=house.services.clock())
                entered = accounts.login(visit, login.username, proof)
                leave(visit, session, visit.entries)
            assert entered.issued is not None
            assert entered.account.role == role


def test_the_prescriber_belongs_to_one_clinic_and_the_others_to_both(house: House) -> None:
    with house.services.store.reading() as session:
        clinics = {account.role: set(account.clinics) for account in session.find(Account)}
        island = next(clinic.id for clinic in session.find(Clinic) if clinic.name == ISLAND)
    both = {house.furnished.clinic, island}
    assert clinics == {
        "technician": both,
        "pharmacist": both,
        "prescriber": {house.furnished.clinic},
        "ehr": both,
        "auditor": both,
        "admin": set(),
    }


def test_the_child_grows(house: House) -> None:
    with house.visit("technician") as visit:
        weights = [fact.value for fact in record.list_facts(visit, house.named("Wren, Mira"), WEIGHTS)]
    assert None not in weights
    assert weights == sorted(set(weights), key=lambda kg: kg or 0)
    assert len(weights) == 3


def test_the_count_of_the_feed_waits_on_the_worklist_alone(house: House) -> None:
    with house.visit("pharmacist") as visit:
        found = visit.session.find(Fact, Where("current", "=", 1), Where("status", "=", "unverified"))
    waiting = [(fact.patient_id, fact.kind, str(fact.value), fact.asked) for fact in found]
    assert waiting == [(house.named("Dunlin, Alya"), "platelet-count", "5.2", ("COUNT-FAR-FROM-LAST",))]


def test_a_count_was_corrected_and_both_versions_are_kept(house: House) -> None:
    patient = house.named("Knot, Electra")
    with house.visit("technician") as visit:
        last = record.list_facts(visit, patient, PLATELET_COUNTS)[-1]
        both = record.versions(visit, Which(patient, PLATELET_COUNTS, last.id))
    assert [(str(one.value), one.version, one.current) for one in both] == [("28", 1, False), ("82", 2, True)]
    assert both[-1].reason
    actions = [json.loads(row.detail).get("action") for row in rows(house, patient) if row.action == "next-dose"]
    assert actions[4] == Action.INCREASE, "what the wrong count would have led to"


def test_a_dose_not_given_is_recorded_for_each_week_on_hold(house: House) -> None:
    with house.services.store.reading() as session:
        found = session.find(Fact, Where("kind", "=", "dose-not-given"), order=("patient_id", "day"))
    by_patient = [(fact.patient_id, fact.code) for fact in found]
    curlew, heron = house.named("Curlew, Orion"), house.named("Heron, Castor")
    assert sorted(by_patient) == sorted([(curlew, "on-hold"), (curlew, "on-hold"), (heron, "on-hold")])


def test_one_course_is_paused_for_a_reason(house: House) -> None:
    with house.visit("pharmacist") as visit:
        course = courses.current(visit, house.named("Swift, Altair"))
    assert (course.status, course.change, bool(course.reason)) == ("paused", "pause", True)


# The case


def test_what_was_proposed_for_the_case_each_week_is_what_replay_gives(house: House) -> None:
    """To the digest of the course: of what was stored by the replay of the same facts."""
    with house.visit("pharmacist") as visit:
        patient = visit.patient(house.furnished.case_patient)
        course = open_course(visit, patient)
        assert course is not None
        stored = course_document(patient, course, visit.session.course_facts(patient.id), "2026-03-09")
    request = read_document(stored, CATALOGUE.fault)
    replayed = [
        (iso(day.answer.on), str(day.answer.action), list(day.answer.reasons), day.answer.input_sha256)
        for day in replay(CATALOGUE.get(request.protocol), request.course, request.on)
    ]
    asked = [json.loads(row.detail) for row in rows(house, patient.id) if row.action == "next-dose"][:24]
    assert [(one["on"], one["action"], one["reasons"], one["input_sha256"]) for one in asked] == replayed
    assert len(replayed) == 24


def test_the_stored_case_is_the_published_one(house: House) -> None:
    """All but the adverse event, which no rule looks at."""
    with house.visit("pharmacist") as visit:
        patient = visit.patient(house.furnished.case_patient)
        course = open_course(visit, patient)
        assert course is not None
        stored = course_document(patient, course, visit.session.course_facts(patient.id), "2026-03-09")
    told = read_document(exact(case_document(date(2026, 3, 9))), CATALOGUE.fault)
    read = read_document(stored, CATALOGUE.fault)
    kept = tuple(event for event in read.course.events if event.kind != "adverse_event")
    assert len(read.course.events) - len(kept) == 1
    assert read._replace(course=replace(read.course, events=kept)) == told


def test_the_case_is_followed_by_five_values_and_a_graded_event(house: House) -> None:
    with house.services.store.reading() as session:
        facts = session.find(Fact, Where("patient_id", "=", house.furnished.case_patient))
    assert {fact.code for fact in facts if fact.kind == "observation"} == {
        "haemoglobin",
        "neutrophils",
        "immature-platelet-fraction",
        "car-t-cells",
        "b-cells",
    }
    graded = [fact.detail for fact in facts if "grade" in fact.detail]
    assert graded == [{"term": "Cytokine release syndrome", "scale": "crs", "grade": 1}]


# How it was written

NEEDS = {
    "create": {Permission.WRITE_PATIENTS, Permission.MANAGE_ACCOUNTS},
    "start-course": {Permission.MANAGE_COURSES},
    "pause": {Permission.MANAGE_COURSES},
    "confirm-eligibility": {Permission.CONFIRM_ELIGIBILITY},
    "record": {Permission.RECORD_FACTS},
    "correct": {Permission.RECORD_FACTS},
    "next-dose": {Permission.PROPOSE},
    "read": {Permission.READ_PATIENTS},
    "invite": {Permission.MANAGE_ACCOUNTS},
    "issue-token": {Permission.MANAGE_ACCOUNTS},
}


def test_everything_was_done_by_an_account_that_may(tmp_path: Path) -> None:
    made = furnished_at(MONDAY, tmp_path)
    with made.services.store.reading() as session:
        entries = list(trail.entries(session))
        names = {account.id: account.role for account in session.find(Account)}
        patients = {patient.id: patient.clinic_id for patient in session.find(Patient)}
        clinics = {account.id: account.clinics for account in session.find(Account)}
    nobody = [row.action for row in entries if row.account_id is None]
    assert nobody == ["create", "invite", *["activate"] * 5], "the first account, and those that set their passwords"
    for row in entries:
        if row.account_id is not None:
            assert row.role == names[row.account_id]
            assert NEEDS[row.action] & PERMISSIONS[Role(row.role)], (row.action, row.role)
            if row.chain in patients:
                assert patients[row.chain] in clinics[row.account_id], (row.action, row.role)
    assert {row.action for row in entries if row.account_id is not None} == set(NEEDS)
    made.services.store.close()


def test_a_store_that_is_not_empty_is_left_as_it_is(house: House) -> None:
    def counted() -> list[int]:
        with house.services.store.reading() as session:
            return [session.count(kind) for kind in RECORDS]

    before = counted()
    with pytest.raises(Unusable, match="not empty"):
        furnish(house.services)
    assert counted() == before


def test_a_demonstration_that_cannot_be_finished_leaves_nothing(tmp_path: Path) -> None:
    services = services_at(MONDAY, tmp_path)
    with pytest.raises(Unready):
        furnish(replace(services, broken=("us-itp-adult: an example fails",)))
    with services.store.reading() as session:
        assert [session.count(kind) for kind in RECORDS] == [0] * len(RECORDS)
    furnish(services)
    services.store.close()
