"""Where each page is, with something on it to show, in an installation whose clock stands still."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any, NamedTuple

from werkzeug.serving import make_server

from tests.api.deciding import decided, dosed, give, override, starting
from tests.api.support import TODAY, WHY, House, count, event, observation, weight
from titrator.security.permissions import PERMISSIONS, Permission, Role
from titrator.workflow import accounts

#: What a browser saves or loads beside a page, and shows none of.
FILES = ("web.assets.asset", "web.evidence.evidence")


class Address(NamedTuple):
    """A path to a page, and a role that may see it; None is who has not logged in."""

    path: str
    role: str | None


def addresses(house: House) -> dict[str, Address]:
    """By endpoint, an address of each page that can be asked for."""
    paths = _of_patients(house) | _of_decisions(house) | _of_the_house(house)
    found = {}
    for rule in house.app.url_map.iter_rules():
        if rule.endpoint.startswith("web.") and "GET" in (rule.methods or ()) and rule.endpoint not in FILES:
            path = paths.pop(rule.endpoint) if rule.arguments else paths.pop(rule.endpoint, rule.rule)
            needed: Permission | None = getattr(house.app.view_functions[rule.endpoint], "permission", None)
            found[rule.endpoint] = Address(path, _somebody(needed))
    assert not paths, f"no page: {sorted(paths)}"
    return found


def _somebody(needed: Permission | None) -> str | None:
    """The first role that has a permission."""
    if needed is None:
        return None
    roles = (Role.PHARMACIST, Role.PRESCRIBER, Role.ADMIN, Role.AUDITOR)
    return str(next(role for role in roles if needed in PERMISSIONS[role]))


def _of_patients(house: House) -> dict[str, str]:
    """Of patients: one with facts of each kind, one with a proposal to sign, one without a course, one paused."""
    full = dosed(house, 60)
    made = {
        "weights": weight(3, 76),
        "observations": observation(3),
        "events": event(3, "thrombosis"),
        "platelet-counts": count(3, 70),
    }
    facts: dict[str, Any] = {name: house.post(f"/patients/{full}/{name}", body)["id"] for name, body in made.items()}
    facts["doses"] = house.get(f"/patients/{full}/doses")["items"][0]["id"]
    missed = house.post(f"/patients/{full}/doses", {"not_given_on": TODAY, "reason_not_given": "absent"})["id"]
    unsure = dosed(house)
    answer = house.record(unsure, "platelet-counts", count(0, 900), "ehr")
    assert answer.json["status"] == "unverified", answer.text
    fresh, paused, new = starting(house), dosed(house), house.patient()
    version = house.get(f"/patients/{paused}/course")["version"]
    assert house.call("pharmacist", "POST", f"/patients/{paused}/course/pause", WHY, version=version).status == 200
    house.get("/reminders")  # which sees to it that there are some
    told = house.get(f"/patients/{fresh}/reminders")["items"][0]
    reminder = f"/patients/{fresh}/reminders/{told['kind']}/{told['due_on']}"

    def correction(collection: str, kind: str, ident: object = None) -> str:
        return f"/patients/{full}/{collection}/{ident or facts[collection]}/correction/{kind}"

    of_fact = {
        "fact": f"/patients/{full}/platelet-counts/{facts['platelet-counts']}",
        "enter_in_error": f"/patients/{full}/events/{facts['events']}/entered-in-error",
        "verify": f"/patients/{unsure}/platelet-counts/{answer.json['id']}/verification",
        "resolve": f"/patients/{full}/events/{facts['events']}/resolution",
        "correct_weight": correction("weights", "weight"),
        "correct_platelet_count": correction("platelet-counts", "platelet-count"),
        "correct_observation": correction("observations", "observation"),
        "correct_event": correction("events", "event"),
        "correct_dose": correction("doses", "dose"),
        "correct_dose_not_given": correction("doses", "dose-not-given", missed),
    }
    of_patient = {
        "web.patients.patient": full,
        "web.patients.chart": full,
        "web.facts.history": full,
        "web.people.change": full,
        "web.sheets.calendar": fresh,
        "web.sheets.letter": full,
        "web.reminders.of_patient": fresh,
        "web.reminders.contacts": full,
        "web.courses.course": full,
        "web.courses.choose": new,
        "web.courses.continuation": paused,
    }
    endings = {"patient": "", "chart": "/chart.svg", "change": "/particulars", "of_patient": "/reminders"}
    endings |= {"choose": "/course/protocols", "course": "/course", "continuation": "/course/continuation"}
    entries = ("weight", "dose", "dose_not_given", "event", "transfusion", "observation", "count")
    collections = {
        "weight": "weights",
        "dose": "doses",
        "dose_not_given": "doses/not-given",
        "event": "events",
        "transfusion": "events/transfusions",
        "observation": "observations",
        "count": "platelet-counts",
    }
    changes = ("baseline", "discontinuation", "eligibility", "entered-in-error", "pause", "protocol")
    return {
        **{f"web.facts.{name}": path for name, path in of_fact.items()},
        **{
            endpoint: f"/patients/{patient}{endings.get(name := endpoint.rpartition('.')[2], f'/{name}')}"
            for endpoint, patient in of_patient.items()
        },
        **{f"web.facts.new_{one}": f"/patients/{full}/{collections[one]}/new" for one in entries},
        **{f"web.courses.{one.replace('-', '_')}": f"/patients/{full}/course/{one}" for one in changes},
        "web.courses.start": f"/patients/{new}/course/start?protocol=us-itp-adult",
        **{f"web.decide.{one}": f"/patients/{fresh}/{one}" for one in ("accept", "override", "refer")},
        "web.reminders.cancel": f"{reminder}/cancellation",
        "web.reminders.put_off": f"{reminder}/postponement",
    }


def _of_decisions(house: House) -> dict[str, str]:
    """Of decisions: in force, departed from, with facts corrected since, one that awaits a second person."""
    signed, corrected, departed, twofold = (dosed(house, 30) for _ in range(4))
    for patient in (signed, corrected, departed):
        decided(house, patient)
    found = house.get(f"/patients/{corrected}/platelet-counts")["items"][-1]
    path = f"/patients/{corrected}/platelet-counts/{found['id']}"
    assert house.call("pharmacist", "PUT", path, {**count(0, 210), **WHY}, version=1).status == 200
    give(house, departed, 100)
    answer = override(house, twofold, "prescriber", micrograms=800)
    assert (answer.status, answer.json["status"]) == (201, "awaiting-second"), answer.text
    return {
        "web.decide.decision": f"/patients/{corrected}/decisions/1",
        "web.sheets.preparation": f"/patients/{signed}/decisions/1/preparation",
        "web.decide.review": f"/patients/{corrected}/decisions/1/review",
        "web.decide.co_sign": f"/patients/{twofold}/decisions/1/second-signature",
        "web.decide.withdraw": f"/patients/{signed}/decisions/1/withdrawal",
        "web.decide.explain": f"/patients/{departed}/dose-mismatches/{TODAY}",
    }


def _of_the_house(house: House) -> dict[str, str]:
    """Accounts, clinics, channels, protocols, results of no known patient, a link to set a password."""
    result = {"identifier": {"system": "urn:mrn", "value": "17"}, "platelet_count": count(0)}
    unmatched = house.call("ehr", "POST", "/results", result).json["unmatched"]
    channel = {
        "audience": "gateway",
        "kind": "apprise",
        "label": "Texts",
        "address": "mailto://127.0.0.1:9/{to}?from=titrator@example.org",
    }
    made = house.post(f"/clinics/{house.clinic}/channels", channel, "admin")["channel"]["id"]
    house.post(f"/clinics/{house.clinic}/calendars", {"label": "The ward's calendar"})
    with house.visit() as visit:
        body = {"username": "newcomer", "display_name": "New Comer", "role": "technician", "clinics": [house.clinic]}
        _, invitation = accounts.add_account(visit, body)
    assert invitation is not None
    account = f"/accounts/{house.ids['technician']}"
    clinic = f"/clinics/{house.clinic}"
    return {
        "web.activation.form": f"/activate/{invitation.secret}",
        "web.staff.account": account,
        "web.staff.change": f"{account}/change",
        "web.staff.invite": f"{account}/invitation",
        "web.staff.issue_token": f"{account}/tokens/new",
        "web.staff.add_client": f"/accounts/{house.ids['ehr']}/clients/new",
        "web.clinics.change": clinic,
        "web.clinics.channels": f"{clinic}/channels",
        "web.clinics.test": f"{clinic}/channels/{made}/test",
        "web.reminders.calendars": f"{clinic}/calendars",
        "web.protocols.protocol": "/protocols/us-itp-adult",
        "web.protocols.compared": "/protocols/compare?one=us-itp-adult&other=jp-itp-adult",
        "web.results.assign": f"/results/{unmatched}?text=Patient",
        "web.results.dismiss": f"/results/{unmatched}/dismissal",
    }


@contextmanager
def served(house: House) -> Iterator[str]:
    """An installation behind a socket, in this process: its clock is that of the tests. Gives the origin."""
    server = make_server("127.0.0.1", 0, house.app, threaded=True)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        server.shutdown()
        thread.join()
