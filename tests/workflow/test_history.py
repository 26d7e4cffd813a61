"""A history that is recorded at once is what comes of its entries one by one, as a feed sends them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

import pytest

from tests.api.support import House, build, day
from titrator.security.permissions import PERMISSIONS, Role
from titrator.store.base import Duplicate, Where
from titrator.store.records import CourseVersion, DoseMismatch, Fact, Identifier, Patient, Record
from titrator.workflow import courses
from titrator.workflow.facts import DOSES, EVENTS, OBSERVATIONS, PLATELET_COUNTS, WEIGHTS
from titrator.workflow.history import (
    ENDED_BEFORE,
    Outcome,
    Person,
    Told,
    import_history,
    prepare_histories,
    record_histories,
)
from titrator.workflow.record import add_patient, change_patient, record
from titrator.workflow.visit import Actor, Visit

SYSTEM = "urn:titrator:import:x"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    return build(tmp_path_factory.mktemp("history"))


def history(seed: int) -> list[Told]:
    """Weeks of somebody, with slips of keyboard and unit, doses twice in a week, gaps, and no weight to begin with."""
    chance = random.Random(seed)
    told: list[Told] = []
    kilograms, level = chance.uniform(20, 140), Decimal(chance.randint(1, 4))
    ago, place = 200, 0
    while ago >= 0:
        place += 1
        slips = [chance.random() < 0.1 for _ in range(4)]
        kg = Decimal(f"{kilograms * chance.choice([0.453, 0.1, 1.25]) if slips[0] else kilograms:.1f}")
        count = Decimal(chance.choice([3, 2000] if slips[1] else [30, 55, 120, 260]))
        if chance.random() < 0.6:
            unit, value = ("lb", Decimal(f"{kg / Decimal('0.4536'):.1f}")) if chance.random() < 0.2 else ("kg", kg)
            body: dict[str, object] = {"measured_on": day(ago), "value": value, "unit": unit}
            told += [Told(place, f"{place}/w{again}", WEIGHTS, body) for again in range(1 + (chance.random() < 0.1))]
        if chance.random() < 0.9:
            body = {"collected_on": day(ago), "value": count, "unit": "10*9/L", "unreliable": chance.random() < 0.1}
            told.append(Told(place, f"{place}/c", PLATELET_COUNTS, body))
        if chance.random() < 0.3:
            body = {
                "observed_on": day(ago),
                "code": "haemoglobin",
                "value": Decimal(9 if slips[2] else 120),
                "unit": "g/L",
            }
            told.append(Told(place, f"{place}/h", OBSERVATIONS, body))
        if chance.random() < 0.05:
            told.append(Told(place, f"{place}/e", EVENTS, {"kind": "rescue_therapy", "occurred_on": day(ago)}))
        if chance.random() < 0.8:
            level = min(max(level + chance.choice([-1, 0, 1]), Decimal(1)), Decimal(10))
            micrograms = Decimal(f"{float(level) * kilograms * (chance.choice([5, 0.2]) if slips[3] else 1):.1f}")
            body = {"given_on": day(ago), "micrograms": min(max(micrograms, Decimal(1)), Decimal(5000))}
            if chance.random() < 0.5:
                body["micrograms_per_kg"] = level
            told.append(Told(place, f"{place}/d", DOSES, body))
        kilograms += chance.uniform(-1, 1)
        ago -= chance.choice([1, 3, 7, 7, 7, 7, 35])
    chance.shuffle(told)
    return told


def in_order(told: Sequence[Told]) -> list[Told]:
    order = [WEIGHTS, PLATELET_COUNTS, OBSERVATIONS, EVENTS, DOSES]

    def key(one: Told) -> tuple[str, int, int]:
        return next(str(v) for k, v in one.body.items() if k.endswith("_on")), order.index(one.collection), one.place

    return sorted(told, key=key)


def recorded(house: House, patient_id: str) -> list[Fact]:
    with house.services.store.reading() as session:
        found = session.find(Fact, Where("patient_id", "=", patient_id), order=("id",))
    return [replace(fact, patient_id="", recorded_by="") for fact in found]


def visit(house: House, session: object, role: Role) -> Visit:
    clinics = frozenset([house.clinic])
    actor = Actor("0" * 20, "x", role, clinics, PERMISSIONS[role])
    return Visit(services=house.services, session=session, actor=actor, now=house.clock())  # type: ignore[arg-type]


def one_by_one(house: House, told: Sequence[Told], protocol: str | None, born: str) -> list[Fact]:
    with house.services.store.writing() as session:
        made = add_patient(
            visit(house, session, Role.PHARMACIST),
            {"clinic": house.clinic, "family_name": "B", "given_name": "A", "born_on": born},
        )
        if protocol is not None:
            first = next(str(one.body["given_on"]) for one in in_order(told) if one.collection is DOSES)
            courses.start(visit(house, session, Role.PHARMACIST), made.id, {"protocol": protocol, "started_on": first})
        for one in in_order(told):
            body = {**one.body, "external_id": {"system": SYSTEM, "value": one.name}}
            record(visit(house, session, Role.EHR), made.id, one.collection, body)
    return recorded(house, made.id)


def at_once(
    house: House, told: Sequence[Told], protocol: str | None, born: str, number: str
) -> tuple[Outcome, list[Fact]]:
    person = Person("urn:n", number, house.clinic, "B", "A", born, protocol)
    with house.services.store.writing() as session:
        outcome = import_history(visit(house, session, Role.PHARMACIST), person, told, SYSTEM, {})
    assert outcome.patient_id is not None, outcome.refusal
    return outcome, recorded(house, outcome.patient_id)


@pytest.mark.parametrize("protocol", [None, "us-itp-adult", "eu-itp-adult", "jp-itp-adult", "us-hs-ars"])
def test_at_once_is_one_by_one(house: House, protocol: str | None) -> None:
    waiting: set[str] = set()
    for seed in range(12):
        told = history(seed)
        born = "1960-05-01" if seed % 4 else "2020-05-01"
        outcome, facts = at_once(house, told, protocol, born, f"{protocol}-{seed}")
        assert facts == one_by_one(house, told, protocol, born), seed
        assert [fact.asked for fact in facts if fact.asked] == [codes for _, codes in outcome.unverified]
        waiting |= {code for fact in facts for code in fact.asked}
    found = {"WEIGHT-FAR-FROM-LAST", "COUNT-FAR-FROM-LAST", "VALUE-FAR-FROM-LAST"}
    found |= {"DOSE-WITHOUT-COURSE"} if protocol is None else {"DOSES-TOO-CLOSE"}
    found |= {"DOSE-FAR-FROM-LAST"} if protocol not in {None, "us-hs-ars"} else set()
    assert found <= waiting


def test_a_history_is_the_same_where_the_patient_was_here_before(house: House) -> None:
    told = in_order(history(99))
    half = len(told) // 2
    _, whole = at_once(house, told, "us-itp-adult", "1960-05-01", "whole")
    at_once(house, told[:half], "us-itp-adult", "1960-05-01", "halves")
    _, facts = at_once(house, told, "us-itp-adult", "1960-05-01", "halves")
    assert facts == whole


def test_a_weight_that_would_move_the_baseline_waits(house: House) -> None:
    """The first weight is of after the first dose: doses follow it, and an earlier one would change that."""
    told = [
        Told(1, "d", DOSES, {"given_on": day(30), "micrograms": Decimal(70)}),
        Told(2, "w", WEIGHTS, {"measured_on": day(20), "value": Decimal(70), "unit": "kg"}),
        Told(3, "v", WEIGHTS, {"measured_on": day(20), "value": Decimal(71), "unit": "kg"}),
    ]
    outcome, facts = at_once(house, told, "us-itp-adult", "1960-05-01", "moved")
    assert facts == one_by_one(house, told, "us-itp-adult", "1960-05-01")
    assert dict(outcome.unverified)[3] == ("WEIGHT-FAR-FROM-LAST", "DOSING-WEIGHT-WOULD-CHANGE")


WEIGHED = [Told(1, "w", WEIGHTS, {"measured_on": day(3), "value": Decimal(70), "unit": "kg"})]
DOSED = [*WEIGHED, Told(2, "d", DOSES, {"given_on": day(0), "micrograms": Decimal(70)})]


def kept(house: House, patient_id: str) -> list[list[Record]]:
    """The patient, the versions of courses and the doses that depart, as they are kept."""
    with house.services.store.reading() as session:
        mine = Where("patient_id", "=", patient_id)
        found: list[list[Record]] = [
            list(session.find(Patient, Where("id", "=", patient_id))),
            list(session.find(Identifier, mine)),
            list(session.find(CourseVersion, mine, order=("id", "version"))),
            list(session.find(DoseMismatch, mine)),
        ]
    return [
        [replace(one, **{"id" if isinstance(one, Patient) else "patient_id": ""}) for one in some] for some in found
    ]


@pytest.mark.parametrize("started_ago", [0, 3])
@pytest.mark.parametrize("ended", [False, True])
@pytest.mark.parametrize("told", [WEIGHED, DOSED], ids=["weighed", "dosed today"])
def test_patient_and_course_are_as_if_made_one_by_one(
    house: House, told: list[Told], ended: bool, started_ago: int
) -> None:
    number, begun = f"{len(told)}-{ended}-{started_ago}", day(started_ago)
    person = Person("urn:n", number, house.clinic, "B", "A", "1960-05-01", "us-itp-adult", begun)
    person = person._replace(ended_on=day(0)) if ended else person
    with house.services.store.writing() as session:
        outcome = import_history(visit(house, session, Role.PHARMACIST), person, told, SYSTEM, {})
    assert outcome.patient_id is not None, outcome.refusal
    at_once = kept(house, outcome.patient_id)
    with house.services.store.writing() as session:
        session.remove(Identifier, Where("value", "=", number))
        here = visit(house, session, Role.PRESCRIBER)
        body = {"clinic": house.clinic, "family_name": "B", "given_name": "A", "born_on": "1960-05-01"}
        made = add_patient(here, {**body, "identifiers": [{"system": "urn:n", "value": number}]})
        courses.start(here, made.id, {"protocol": "us-itp-adult", "started_on": begun})
        for one in told:
            record(visit(house, session, Role.EHR), made.id, one.collection, one.body)
        if ended:
            courses.discontinue(here, made.id, {"ended_on": day(0), "reason": ENDED_BEFORE}, None)
    assert at_once == kept(house, made.id)


def persons(house: House, *numbers: str) -> list[tuple[Person, list[Told]]]:
    return [(Person("urn:n", number, house.clinic, "B", "A", "1960-05-01"), WEIGHED) for number in numbers]


def test_who_has_come_since_it_was_prepared_is_recorded_onto(house: House) -> None:
    both = persons(house, "since-1", "since-2")
    with house.services.store.reading() as session:
        prepared = prepare_histories(visit(house, session, Role.PHARMACIST), both, SYSTEM)
    with house.services.store.writing() as session:
        first = import_history(visit(house, session, Role.PHARMACIST), *both[1], SYSTEM, {})
    with house.services.store.writing() as session:
        outcomes = record_histories(visit(house, session, Role.PHARMACIST), prepared, {})
    assert [(one.new, one.recorded, one.known) for one in outcomes] == [(True, {"weight": 1}, 0), (False, {}, 1)]
    assert outcomes[1].patient_id == first.patient_id


def test_who_has_gone_since_it_was_prepared_is_new(house: House) -> None:
    (one,) = persons(house, "gone")
    with house.services.store.writing() as session:
        first = import_history(visit(house, session, Role.PHARMACIST), *one, SYSTEM, {})
    with house.services.store.reading() as session:
        prepared = prepare_histories(visit(house, session, Role.PHARMACIST), [one], SYSTEM)
    with house.services.store.writing() as session:
        taken = {"identifiers": [], "reason": "of somebody else"}
        change_patient(visit(house, session, Role.PHARMACIST), str(first.patient_id), taken, None)
        (outcome,) = record_histories(visit(house, session, Role.PHARMACIST), prepared, {})
    assert outcome.new
    assert outcome.patient_id != first.patient_id


def test_of_two_who_are_the_same_neither_is_recorded(house: House) -> None:
    twice = persons(house, "twice", "twice")
    with house.services.store.reading() as session:
        prepared = prepare_histories(visit(house, session, Role.PHARMACIST), twice, SYSTEM)
    with pytest.raises(Duplicate), house.services.store.writing() as session:
        record_histories(visit(house, session, Role.PHARMACIST), prepared, {})
    with house.services.store.reading() as session:
        assert session.get(Identifier, "urn:n", "twice") is None
