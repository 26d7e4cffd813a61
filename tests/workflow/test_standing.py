"""Kept answers: the same as computed ones, never given once anything has changed, and made anew by themselves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pytest

from tests.backends import database_for
from titrator.assembly import make_services
from titrator.scheduler import Stoppable
from titrator.security.permissions import PERMISSIONS, Role
from titrator.server import Housekeeper
from titrator.settings import Settings
from titrator.store.base import Where
from titrator.store.records import Patient, Standing, Waiting
from titrator.workflow import courses, record, standing
from titrator.workflow.errors import Conflict, Unready
from titrator.workflow.facts import DOSES, PLATELET_COUNTS, WEIGHTS
from titrator.workflow.housekeeping import SETTLED_EVERY, settle_now
from titrator.workflow.sign_off import explain_mismatch
from titrator.workflow.standing import next_dose, settle, settle_all
from titrator.workflow.visit import Actor, Services, Visit, leave

NOW = datetime(2026, 3, 9, 12, tzinfo=UTC)


class Ward:
    """A clinic with one patient on a course, seen at `now`."""

    def __init__(self, folder: Path) -> None:
        self.now = NOW
        made = make_services(Settings(instance=folder, database=database_for(folder)))
        self.services: Services = replace(made, clock=lambda: self.now, spool=None)
        admin = Actor("admin", "admin", Role.ADMIN, frozenset(), PERMISSIONS[Role.ADMIN])
        with self.visit(admin) as visit:
            self.clinic = record.add_clinic(visit, {"name": "c", "time_zone": "Pacific/Auckland"}).id
        self.eva = Actor("eva", "eva", Role.PRESCRIBER, frozenset({self.clinic}), PERMISSIONS[Role.PRESCRIBER])
        with self.visit(self.eva) as visit:
            body = {"clinic": self.clinic, "family_name": "A", "given_name": "B", "born_on": "1960-05-01"}
            self.patient = record.add_patient(visit, body).id
            courses.start(visit, self.patient, {"protocol": "us-itp-adult", "started_on": "2026-03-02"})
        self.records(WEIGHTS, {"measured_on": "2026-03-02", "value": Decimal(75), "unit": "kg"})
        self.count("2026-03-02", 20)
        self.records(DOSES, {"given_on": "2026-03-02", "micrograms": Decimal(75)})

    @contextmanager
    def visit(self, actor: Actor) -> Iterator[Visit]:
        with self.services.store.writing() as session:
            visit = Visit(services=self.services, session=session, actor=actor, now=self.now)
            yield visit
            leave(visit, session, visit.entries)

    def records(self, collection: Any, body: dict[str, object]) -> int:
        with self.visit(self.eva) as visit:
            return record.record(visit, self.patient, collection, body).fact.id

    def count(self, day: str, value: int) -> int:
        return self.records(PLATELET_COUNTS, {"collected_on": day, "value": Decimal(value), "unit": "10*9/L"})

    def asks(self, on: str | None = None) -> Standing:
        with self.services.store.reading() as session:
            return next_dose(
                Visit(services=self.services, session=session, actor=self.eva, now=self.now), self.patient, on
            )[0]

    @property
    def kept(self) -> Standing | None:
        with self.services.store.reading() as session:
            return session.get(Standing, self.patient)

    def settles(self) -> int:
        return settle_all(self.services, self.now)


@pytest.fixture
def ward(tmp_path: Path) -> Ward:
    return Ward(tmp_path)


def spoil(ward: Ward) -> None:
    """Mark the kept answer, so that who is given it can be told from who had it computed."""
    with ward.services.store.writing() as session:
        kept = session.get(Standing, ward.patient)
        assert kept is not None
        session.change(replace(kept, answer='{"kept": true}'))


def given_kept(ward: Ward, on: str | None = None) -> bool:
    return ward.asks(on).answer == '{"kept": true}'


def test_what_is_kept_is_what_is_computed(ward: Ward) -> None:
    ward.count("2026-03-09", 38)
    computed = ward.asks()
    assert (ward.settles(), ward.kept) == (1, computed)
    assert ward.asks() == computed
    assert ward.settles() == 0, "nothing has happened since"


def entered_in_error(ward: Ward) -> None:
    with ward.visit(ward.eva) as visit:
        count = record.list_facts(visit, ward.patient, PLATELET_COUNTS)[0]
        record.enter_in_error(visit, record.Which(ward.patient, PLATELET_COUNTS, count.id), "another patient's")


def reborn(ward: Ward) -> None:
    with ward.visit(ward.eva) as visit:
        body = {"born_on": "2010-05-01", "reason": "misread"}
        record.change_patient(visit, ward.patient, body, None)


def paused(ward: Ward) -> None:
    with ward.visit(ward.eva) as visit:
        courses.pause(visit, ward.patient, {"reason": "travels"}, None)


CHANGES: Final = {
    "a count": lambda ward: ward.count("2026-03-10", 40),
    "a fact entered in error": entered_in_error,
    "a change of the patient": reborn,
    "a change of the course": paused,
}


@pytest.mark.parametrize("change", CHANGES)
def test_nothing_kept_is_given_once_something_has_happened(ward: Ward, change: str) -> None:
    ward.settles()
    spoil(ward)
    assert given_kept(ward)
    CHANGES[change](ward)
    if change == "a change of the course":
        with pytest.raises(Conflict):
            ward.asks()
    else:
        assert not given_kept(ward)
    assert ward.settles() == 1
    assert (ward.kept is None) is (change == "a change of the course")


def test_what_is_kept_holds_for_its_day_only(ward: Ward) -> None:
    ward.count("2026-03-09", 38)
    ward.settles()
    assert ward.kept is not None
    assert ward.kept.day == "2026-03-10", "it is tomorrow already in Auckland"
    spoil(ward)
    assert [given_kept(ward, on) for on in (None, "2026-03-09", "2026-03-10", "2026-03-11")] == [
        True,
        False,
        True,
        False,
    ]
    ward.now = datetime(2026, 3, 10, 10, 59, 59, tzinfo=UTC)
    assert (given_kept(ward), ward.settles()) == (True, 0)
    ward.now += timedelta(seconds=1)
    assert not given_kept(ward)
    assert ward.settles() == 1
    assert ward.kept.day == "2026-03-11"


def test_what_other_code_or_another_edition_made_is_not_given(ward: Ward) -> None:
    ward.settles()
    spoil(ward)
    mine = ward.services
    ward.services = replace(mine, program="other")
    assert not given_kept(ward)
    ward.services = mine
    kept = ward.kept
    assert kept is not None
    with mine.store.writing() as session:
        session.change(replace(kept, protocol_sha256="0" * 64))
    assert not given_kept(ward)


def test_new_code_makes_all_of_them_anew(ward: Ward) -> None:
    ward.settles()
    ward.services = replace(ward.services, program="newer")
    assert (ward.settles(), ward.settles()) == (1, 0)


def test_a_broken_service_gives_nothing_and_keeps_nothing(ward: Ward) -> None:
    ward.settles()
    ward.count("2026-03-10", 40)
    ward.services = replace(ward.services, broken=("us-itp-adult: an example fails",))
    with pytest.raises(Unready):
        ward.asks()
    before = ward.kept
    assert (ward.settles(), ward.kept) == (0, before)


def test_an_answer_that_had_to_be_computed_is_remembered_to_be_kept(ward: Ward) -> None:
    ward.asks("2026-03-09")
    assert list(ward.services.unkept) == [], "a past day is not kept"
    ward.asks()
    assert list(ward.services.unkept) == [ward.patient]
    assert settle(ward.services, ward.services.unkept, ward.now) == 1
    spoil(ward)
    assert given_kept(ward)


def test_what_is_recorded_while_answers_are_computed_is_not_passed_over(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fact comes in between the computing and the keeping: the patient stays unsettled."""
    store = ward.services.store
    writing = store.writing

    def late(**kwargs: bool) -> Any:
        monkeypatch.setattr(store, "writing", writing)
        ward.count("2026-03-10", 40)
        return writing(**kwargs)

    monkeypatch.setattr(store, "writing", late)
    ward.settles()
    assert ward.kept is None
    with store.reading() as session:
        assert session.find(Patient, Where("settled", "=", 0)) != []
    assert ward.settles() == 1
    assert ward.kept is not None


def test_a_reason_given_while_answers_are_computed_is_not_passed_over(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Why a dose departed is told in between the computing and the keeping: the line that asks for it is not kept."""
    store = ward.services.store
    writing = store.writing
    ward.now += timedelta(days=1)
    ward.records(DOSES, {"given_on": "2026-03-11", "micrograms": Decimal(75)})

    def late(**kwargs: bool) -> Any:
        monkeypatch.setattr(store, "writing", writing)
        with ward.visit(ward.eva) as visit:
            explain_mismatch(visit, ward.patient, "2026-03-11", "not decided here")
        return writing(**kwargs)

    monkeypatch.setattr(store, "writing", late)
    ward.settles()
    ward.settles()
    with store.reading() as session:
        line = session.get(Waiting, ward.patient)
    assert line is None or "dose-mismatch" not in line.tasks


def test_one_of_many_processes_settles_and_not_too_often(ward: Ward) -> None:
    rounds = [settle_now(ward.services, NOW) for _ in range(3)]
    ward.count("2026-03-10", 40)
    early, late = SETTLED_EVERY - timedelta(seconds=1), SETTLED_EVERY
    assert [*rounds, settle_now(ward.services, NOW + early), settle_now(ward.services, NOW + late)] == [
        1, None, None, None, 1,
    ]  # fmt: skip


def test_a_visit_tells_the_day_by_the_clinic_as_it_has_changed_it(ward: Ward) -> None:
    ward.now = NOW.replace(hour=13)
    with ward.visit(ward.eva) as visit:
        patient = visit.patient(ward.patient)
        assert visit.today(patient) == "2026-03-10"
        record.change_clinic(visit, ward.clinic, {"name": "c", "time_zone": "UTC"}, None)
        assert visit.today(patient) == "2026-03-09"


def test_who_is_told_to_end_settles_no_further_page(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    """After an upgrade everybody is to be settled, which takes its time; whoever is left is settled by the next."""
    monkeypatch.setattr(standing, "_AT_ONCE", 1)
    with ward.visit(ward.eva) as visit:
        for name in ("B", "C"):
            body = {"clinic": ward.clinic, "family_name": name, "given_name": "B", "born_on": "1960-05-01"}
            added = record.add_patient(visit, body)
            courses.start(visit, added.id, {"protocol": "us-itp-adult", "started_on": "2026-03-02"})
    pages = iter([True, False])
    assert settle_all(ward.services, ward.now, lambda: next(pages)) == 1
    assert ward.settles() == 2
    assert ward.settles() == 0


def test_a_housekeeper_that_is_stopped_settles_nobody_more(ward: Ward, tmp_path: Path) -> None:
    housekeeper = Housekeeper(ward.services, tmp_path / "seals")
    assert isinstance(housekeeper, Stoppable), "so the end of the process stops it"
    housekeeper.stop()
    housekeeper()
    assert ward.settles() == 1
