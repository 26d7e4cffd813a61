"""Decisions derived again: the same to the letter, years later, and told if anything was changed under them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.api.support import House, build, count, dose
from tests.backends import tamper, url_of
from tests.support import local_protocol, words, write_local
from titrator.cli import main
from titrator.protocols import Catalogue
from titrator.settings import NAMES
from titrator.store.records import AuditRow
from titrator.workflow import evidence
from titrator.workflow.evidence import replay_decisions


@pytest.fixture
def house(tmp_path: Path) -> House:
    return build(tmp_path)


def accept(house: House, patient: str) -> int:
    proposal = house.get(f"/patients/{patient}/next-dose")
    acknowledged = [alert["code"] for alert in proposal["alerts"]]
    body = {"decision": "accept", "proposal_sha256": proposal["proposal_sha256"], "acknowledge": acknowledged}
    return int(house.post(f"/patients/{patient}/decisions", body)["id"])


def treated(house: House, protocol: str = "us-itp-adult") -> str:
    """A patient with a decision that was carried out, and one a week later: the id."""
    patient = house.on_course(0, protocol=protocol)
    house.record(patient, "platelet-counts", count(0, 20))
    accept(house, patient)
    house.record(patient, "doses", dose(0, 75), who="technician")
    house.clock.on(days=7)
    house.record(patient, "platelet-counts", count(-7, 30))
    accept(house, patient)
    return patient


def differing(house: House) -> list[tuple[int, tuple[str, ...]]]:
    return [(one.decision_id, one.differs) for one in replay_decisions(house.services) if one.differs]


def sql(house: House, *statements: str) -> None:
    tamper(house.services.store, *statements)


def corrected(house: House, patient: str) -> None:
    """The first count is corrected, the weight entered in error and the birth date changed, after both decisions."""
    first = house.get(f"/patients/{patient}/platelet-counts")["items"][0]
    path = f"/patients/{patient}/platelet-counts/{first['id']}"
    assert house.call("pharmacist", "PUT", path, {**count(0, 45), "reason": "misread"}, version=1).status == 200
    kilograms = house.get(f"/patients/{patient}/weights")["items"][0]
    path = f"/patients/{patient}/weights/{kilograms['id']}/entered-in-error"
    assert house.call("pharmacist", "POST", path, {"reason": "another's"}, version=1).status == 200
    body = {"born_on": "1961-05-01", "reason": "misread"}
    assert house.call("pharmacist", "PATCH", f"/patients/{patient}", body, version=1).status == 200


def test_decisions_are_derived_as_they_were_whatever_was_corrected_since(house: House) -> None:
    patient = treated(house)
    assert len(list(replay_decisions(house.services))) == 2
    assert differing(house) == []
    corrected(house, patient)
    reopened = [one["reopened"] is not None for one in house.get(f"/patients/{patient}/decisions")["items"]]
    assert reopened == [True, True], "the corrections count, for what is to be done now"
    assert differing(house) == [], "and do not, for what was decided then"


TAMPERED = {
    "a count": ("update facts set value = '45' where kind = 'platelet-count' and version = 1", "facts that were known"),
    "a day": ("update facts set day = '2026-03-01' where kind = 'weight'", "facts that were known"),
    "an answer": ("update decisions set answer = replace(answer, '75', '76')", "not the one that was signed"),
    "a digest": ("update decisions set proposal_sha256 = 'f'", "not the one that was signed"),
    "a day asked about": ("update decisions set day = '2026-03-08'", "cannot be derived|facts that were known"),
    "a file": ("update protocol_editions set text = 'id = 1'", "cannot be derived"),
}


@pytest.mark.parametrize("what", TAMPERED)
def test_what_was_changed_under_a_decision_is_told(house: House, what: str) -> None:
    treated(house)
    statement, says = TAMPERED[what]
    sql(house, statement)
    found = differing(house)
    if what == "a file":  # the catalogue still has the edition, by its digest
        assert found == []
        house.services = replace(house.services, catalogue=Catalogue())
        house.services.catalogue._protocols["us-itp-adult"] = replace(
            house.services.catalogue.get("us-itp-adult"), sha256="0" * 64
        )
        found = differing(house)
    assert 1 in {ident for ident, _ in found}
    assert any(part in " ".join(words) for _, words in found for part in says.split("|"))


def test_a_decision_is_derived_by_the_edition_of_then(house: House, tmp_path: Path) -> None:
    local = tmp_path / "protocols"
    local.mkdir()
    write_local(local, "ours")
    first = house.with_services(catalogue=Catalogue(local))
    patient = treated(first, "ours")
    write_local(local, "ours", local_protocol("ours", step_micrograms_per_kg="2"))
    later = first.with_services(catalogue=Catalogue(local))
    assert later.services.catalogue.get("ours").sha256 != first.services.catalogue.get("ours").sha256
    assert differing(later) == []
    (local / "ours.toml").unlink()
    assert differing(first.with_services(catalogue=Catalogue(local))) == []
    assert len(later.get(f"/patients/{patient}/decisions")["items"]) == 2


def test_a_decision_of_an_older_engine_is_told(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    treated(house)
    monkeypatch.setattr(evidence, "ENGINE_VERSION", "2.0.0")
    assert [(one.older_engine, one.differs) for one in replay_decisions(house.services)] == [(True, ())] * 2


@pytest.fixture
def titrator(house: House, tmp_path: Path) -> Callable[..., Any]:
    (tmp_path / "audit.key").write_text(house.services.audit_key.hex(), encoding="ascii")
    environ = dict.fromkeys(f"TITRATOR_{name.upper()}" for name in NAMES)
    database = {"TITRATOR_DATABASE": url_of(house.services.store)}
    runner = CliRunner(env=environ | database | {"TITRATOR_INSTANCE": str(tmp_path), "COLUMNS": "140"})
    return lambda *words: runner.invoke(main, words, catch_exceptions=False)


def test_the_command_tells_what_differs(house: House, titrator: Callable[..., Any]) -> None:
    patient, other = treated(house), house.on_course(0)
    ran = titrator("decisions", "replay")
    assert (ran.exit_code, words(ran.stdout)) == (0, "2 decisions derived again: in order")
    ran = titrator("decisions", "replay", "--patient", other)
    assert words(ran.stdout) == "0 decisions derived again: in order"
    sql(house, "update facts set value = '45' where kind = 'platelet-count' and version = 1")
    ran = titrator("decisions", "replay", "--patient", patient)
    assert ran.exit_code == 3
    assert f"patient {patient}, decision 1: the facts that were known then" in ran.stdout
    lines = [json.loads(line) for line in titrator("decisions", "replay", "--json").stdout.splitlines()]
    assert [(line["patient_id"], line["decision_id"], bool(line["differs"])) for line in lines] == [
        (patient, 1, True),
        (patient, 3, True),
    ]
    with house.services.store.reading() as session:
        entries = [row for row in session.find(AuditRow) if row.action == "replay-decisions"]
    assert [row.subject for row in entries] == [
        "decisions/all", f"decisions/{other}", f"decisions/{patient}", "decisions/all",
    ]  # fmt: skip
