"""What /openapi.json promises, judged by schemathesis with a token of each role: no 5xx, each answer as described.

Paths get a real patient and real facts more often than not, and changes the version `*`: by chance alone nothing would
get past the first 404. What is sent on purpose against the description keeps what was put in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import hypothesis
import pytest
import schemathesis
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from schemathesis.core.failures import FailureGroup
from schemathesis.core.parameters import ParameterLocation

from tests.api.support import COLLECTIONS, ENTRY, House, build
from titrator.security.permissions import Role
from titrator.workflow import accounts

pytestmark = pytest.mark.slow

#: Its checks that are not asked, and why.
NOT_ASKED: Final = {
    "positive_data_acceptance": (
        "What JSON Schema can say is less than what must hold: days not after today, a clinic and protocol that there "
        "are, one of two keys, a course to change. test_facts.py and test_courses.py have tables of what is accepted."
    ),
    "unsupported_method": (
        "It asks with methods by chance for each operation; test_problems.py asks all routes with all methods."
    ),
}
schemathesis.checks.load_all_checks()
LEFT_OUT: Final = schemathesis.checks.CHECKS.get_by_names(list(NOT_ASKED))
#: How many requests for each operation, by how they are made up.
FEW: Final = {"positive": 4, "negative": 3}
MANY: Final = {"positive": 150, "negative": 100}


@dataclass(frozen=True)
class Place:
    """An installation under test: what it promises, and what there is to ask for."""

    house: House
    schema: schemathesis.BaseSchema
    patient: str
    facts: dict[str, int]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    house = build(tmp_path_factory.mktemp("schemathesis"))
    patient = house.on_course()
    facts = {name: house.record(patient, name, ENTRY[name](8)).json["id"] for name in COLLECTIONS}
    return Place(house, schemathesis.openapi.from_wsgi("/openapi.json", house.app), patient, facts)


def steered(place: Place, case: Any, draw: Callable[[Any], Any]) -> None:
    """Put something real where the case was not made to be wrong; leave out paths that are another operation's."""

    def wrong(location: ParameterLocation) -> bool:
        part = case.meta.components.get(location)
        return part is not None and part.mode.is_negative

    path = case.path_parameters or {}
    hypothesis.assume(not any(str(value) in ("", ".", "..") or "/" in str(value) for value in path.values()))
    if path and not wrong(ParameterLocation.PATH) and draw(st.integers(0, 3)):
        collection = case.path.split("/")[5] if case.path.count("/") > 4 else ""
        known = {"patient_id": place.patient, "fact_id": place.facts.get(collection, 1), "protocol_id": "us-itp-adult"}
        known |= {"account_id": place.house.ids["technician"], "clinic_id": place.house.clinic}
        for key in path:
            path[key] = known.get(key, path[key])
    if "If-Match" in case.headers and not wrong(ParameterLocation.HEADER):
        case.headers["If-Match"] = "*"
    body = case.body
    if isinstance(body, dict) and not wrong(ParameterLocation.BODY) and draw(st.integers(0, 3)):
        real = {"clinic": place.house.clinic, "protocol": "us-itp-adult", "clinics": [place.house.clinic]}
        body.update({key: value for key, value in real.items() if key in body})
        if "confirm" in body:
            body["confirm"] = ["DOSES-TOO-CLOSE", "DOSE-FAR-FROM-LAST", "WEIGHT-FAR-FROM-LAST", "COUNT-FAR-FROM-LAST"]


def ask_all(place: Place, role: str, numbers: dict[str, int]) -> int:
    """Ask each operation as a role, in both ways; how many requests that were."""
    asked, failed = 0, []
    for operation in [found.ok() for found in place.schema.get_all_operations()]:
        for mode in schemathesis.GenerationMode:
            try:
                asked += ask_one(place, role, operation, mode, numbers[mode.value])
            except hypothesis.errors.Unsatisfiable:
                continue  # nothing can be wrong with a request without arguments
            except (Exception, FailureGroup) as failure:  # noqa: BLE001 (all of them together, at the end)
                failed.append(failure)
    if failed:
        raise BaseExceptionGroup(f"{len(failed)} operations answer as they should not", failed)
    return asked


def ask_one(place: Place, role: str, operation: Any, mode: schemathesis.GenerationMode, most: int) -> int:
    """Ask an operation so many times at most; how many times it was."""
    asked = 0
    strategy = operation.as_strategy(generation_mode=mode)

    @hypothesis.settings(max_examples=most, suppress_health_check=list(HealthCheck), deadline=None, database=None)
    @given(data=st.data())
    def ask(data: Any) -> None:
        nonlocal asked
        case = data.draw(strategy)
        steered(place, case, data.draw)
        secret = place.house.tokens[role]
        if operation.label == "DELETE /api/v1/sessions/current":
            with place.house.visit() as visit:
                secret = accounts.issue_token(visit, place.house.ids[role], {"label": "spare", "days": 1}).secret
        case.call_and_validate(headers={"Authorization": f"Bearer {secret}"}, excluded_checks=LEFT_OUT)
        asked += 1

    ask()
    return asked


@pytest.mark.parametrize("role", list(Role))
def test_every_answer_is_as_described(place: Place, role: Role) -> None:
    assert ask_all(place, str(role), FEW) > 300


@pytest.mark.long
@pytest.mark.parametrize("role", list(Role))
def test_every_answer_is_as_described_of_many(place: Place, role: Role) -> None:
    assert ask_all(place, str(role), MANY) > 10_000
    assert place.house.services.store.check() == []
