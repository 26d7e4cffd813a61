"""Channels over REST, against a real mail server and a real receiver: what is refused, and that no secret is shown."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import standardwebhooks

from tests.api.deciding import decided, dosed, give
from tests.api.support import SILENT, Answer, House
from tests.notify.servers import MailServer, Receiver, mail_server, receiver
from titrator.assembly import open_channel
from titrator.security.permissions import Role
from titrator.workflow.reminders.work import beat

PASSWORD = "pa55-of-the-mailbox"


@pytest.fixture
def house(house: House) -> House:
    """An installation that tells by real channels, at a time that stands still."""
    return house.with_services(telling=replace(SILENT, open_channel=open_channel, chance=lambda: 0.5))


@pytest.fixture
def mail() -> Iterator[MailServer]:
    with mail_server() as made:
        yield made


@pytest.fixture
def web() -> Iterator[Receiver]:
    with receiver() as made:
        yield made


def path(house: House, channel: str = "") -> str:
    return f"/clinics/{house.clinic}/channels" + (f"/{channel}" if channel else "")


def mailto(mail: MailServer, to: str = "ward@example.org") -> str:
    return f"mailto://127.0.0.1:{mail.port}/{to}?from=titrator@example.org"


def adds(house: House, audience: str, address: str, kind: str | None = None, **more: object) -> Answer:
    kind = kind or ("webhook" if address.startswith("http") else "apprise")
    body = {"audience": audience, "kind": kind, "label": f"to {audience}", "address": address, **more}
    return house.call("admin", "POST", path(house), body)


def added(house: House, audience: str, address: str, **more: object) -> Any:
    answer = adds(house, audience, address, **more)
    assert answer.status == 201, answer.text
    return answer.json


def changes(house: House, channel: str, version: object = "*", **body: object) -> Answer:
    return house.call("admin", "PATCH", path(house, channel), body, version=version)


# What is accepted


@pytest.mark.parametrize(
    ("audience", "kind", "address", "faults"),
    [
        ("pharmacist", "apprise", "file:///etc/passwd", {"address"}),
        ("pharmacist", "apprise", "json://127.0.0.1/hook", {"address"}),
        ("pharmacist", "apprise", "mailto://x:y@mail.example/ward@example.org?attach=/etc/passwd", {"address"}),
        ("pharmacist", "apprise", "mailto://x:y@mail.example/{to}", {"address"}),
        ("pharmacist", "apprise", "mailto://x:y@mail.example/a b", {"address"}),
        ("pharmacist", "apprise", "https://chat.example/hook", {"address"}),
        ("pharmacist", "webhook", "http://chat.example/hook", {"address"}),
        ("pharmacist", "webhook", "https://user:word@chat.example/hook", {"address"}),
        ("gateway", "apprise", "mailto://x:y@mail.example/ward@example.org", {"address"}),
        ("gateway", "apprise", "mailto://x:y@mail.example/{to}/ward@example.org", {"address"}),
        ("gateway", "apprise", "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/{to}", {"address"}),
        ("gateway", "webhook", "https://chat.example/hook", {"kind"}),
        ("gateway", "webhook", "http://chat.example/hook", {"kind", "address"}),
        ("ehr", "apprise", "mailto://x:y@mail.example/ward@example.org", {"kind"}),
        ("porter", "fax", "", {"audience", "kind", "address"}),
    ],
)
def test_addresses_that_are_refused(house: House, audience: str, kind: str, address: str, faults: set[str]) -> None:
    answer = adds(house, audience, address, kind)
    assert (answer.status, set(answer.faults)) == (422, faults)
    assert not address or address not in answer.text.replace("\\", ""), "what is said of an address does not quote it"
    assert house.get(path(house), "admin")["items"] == []


def test_all_faults_of_a_channel_at_once(house: House) -> None:
    answer = house.call("admin", "POST", path(house), {"audience": 3, "label": "", "per_minute": 0, "colour": "red"})
    assert set(answer.faults) == {"audience", "kind", "label", "address", "per_minute", "colour"}


def test_an_installation_may_take_fewer_schemes(house: House) -> None:
    fewer = house.with_services(telling=replace(SILENT, schemes=frozenset({"mailtos"})))
    for address, status in (
        ("mailto://mail.example/ward@example.org?from=a@example.org", 422),
        ("mailtos://a:b@mail.example/ward@example.org?from=a@example.org", 201),
    ):
        assert adds(fewer, "pharmacist", address).status == status


# What is shown


def test_neither_address_nor_secret_is_shown_again(house: House) -> None:
    mail = f"mailtos://clinic:{PASSWORD}@mail.example/ward-7@example.org?from=a@example.org"
    first = added(house, "pharmacist", mail)
    hook = added(house, "ehr", "https://ehr.example/hooks/t0ken-of-the-path")
    assert first["secret"] is None
    assert hook["secret"].startswith("whsec_")
    assert (first["channel"]["address"], hook["channel"]["address"]) == (
        "mailtos://mail.example/…",
        "https://ehr.example/…",
    )
    ident = first["channel"]["id"]
    said = [house.call("admin", "GET", where).text for where in (path(house), path(house, ident), "/gateways")]
    new = changes(house, ident, address=mail.replace("ward-7", "ward-8"), label="other")
    assert new.status == 200
    said += [new.text, house.call("admin", "GET", path(house, ident)).text]
    trail = [str(house.trail()), house.call("auditor", "GET", "/audit").text]
    for recipient in ("ward-7", "ward-8"):
        assert not any(recipient in one for one in said), recipient
        assert all(recipient in one for one in trail), "an auditor sees whom a mail reaches"
    for secret in (PASSWORD, "t0ken", hook["secret"], hook["secret"].removeprefix("whsec_")):
        assert not any(secret in one for one in said + trail), secret


def test_the_trail_tells_who_changed_what(house: House) -> None:
    made = added(house, "pharmacist", "mailto://mail.example/ward@example.org?from=a@example.org")
    ident = made["channel"]["id"]
    changes(house, ident, address="mailto://other.example/ward@example.org?from=a@example.org")
    changes(house, ident, label="ward")
    found = [row for row in house.trail() if row.subject == f"clinic/{house.clinic}/channels/{ident}"]
    assert [(row.action, row.account_id) for row in found] == [
        (did, house.ids["admin"]) for did in ("create", "change", "change")
    ]
    assert [json.loads(row.detail).get("address_changed") for row in found] == [None, True, False]


def test_the_trail_tells_another_recipient_from_another_password(house: House) -> None:
    """By its recipients of a mail; of any address by a code, which nobody can make or undo without the audit key."""

    def mail(word: str, to: str) -> str:
        return f"mailtos://clinic:{word}@mail.example/{to}?from=a@example.org&cc=b@example.org,c@example.org&reply=d@example.org"

    ident = added(house, "pharmacist", mail("one", "ward@example.org,desk@example.org"))["channel"]["id"]
    changes(house, ident, address=mail("two", "ward@example.org,desk@example.org"))
    changes(house, ident, address=mail("two", "stranger@example.org"))
    changes(house, ident, label="ward")
    gateway = "mailto://mail.example/{to}?from=a@example.org&reply=d@example.org"
    added(house, "gateway", gateway)
    added(house, "prescriber", "mailto://a:b@example.org")
    added(house, "technician", "ntfys://ntfy.example/topic-of-the-ward")
    details = [json.loads(row.detail) for row in house.trail() if "/channels/" in row.subject]
    assert "topic-of-the-ward" not in str(details)
    olds, news = [one["old"] for one in details if "old" in one], [one["new"] for one in details]
    assert olds == news[:3]
    others = {"cc": ["b@example.org", "c@example.org"], "bcc": [], "reply": ["d@example.org"]}
    both = {"to": ["ward@example.org", "desk@example.org"], **others}
    stranger = {"to": ["stranger@example.org"], **others}
    assert [one["recipients"] for one in news] == [
        both,
        both,
        stranger,
        stranger,
        {"to": ["{to}"], "cc": [], "bcc": [], "reply": ["d@example.org"]},
        {"to": ["a@example.org"], "cc": [], "bcc": [], "reply": []},
        None,
    ]
    first, rotated, redirected, labelled, *rest = [one["address_hmac"] for one in news]
    assert redirected == labelled
    assert len({first, rotated, redirected, *rest}) == 6
    key, said = house.services.audit_key, b"channel-address\n" + gateway.encode()
    assert rest[0] == hmac.new(key, said, hashlib.sha256).hexdigest()


def test_a_channel_is_changed_in_the_version_that_was_seen(house: House) -> None:
    answer = adds(house, "pharmacist", "https://chat.example/hook")
    ident = answer.json["channel"]["id"]
    assert (answer.etag, answer.headers["Location"]) == ('"1"', f"/api/v1{path(house, ident)}")
    assert house.call("admin", "PATCH", path(house, ident), {"label": "x"}).status == 428
    assert changes(house, ident, 2, label="x").status == 412
    assert changes(house, ident, 1, label="x", per_minute=5).etag == '"2"'
    assert set(changes(house, ident, address="file:///x", per_minute=0).faults) == {"per_minute"}
    assert set(changes(house, ident, address="file:///x").faults) == {"address"}
    assert set(changes(house, ident, audience="ehr", kind="apprise").faults) == {"audience", "kind"}
    shown = house.get(path(house, ident), "admin")
    assert (shown["label"], shown["per_minute"], shown["version"], shown["audience"]) == ("x", 5, 2, "pharmacist")


@pytest.mark.parametrize(("method", "tail", "body"), [("GET", "", None), ("PATCH", "", {}), ("POST", "/test", {})])
def test_a_channel_that_is_not_there(house: House, method: str, tail: str, body: object) -> None:
    made = added(house, "pharmacist", "https://chat.example/hook")["channel"]["id"]
    for where in (
        path(house, "f" * 20),
        f"/clinics/{house.other_clinic}/channels/{made}",
        f"/clinics/x/channels/{made}",
    ):
        answer = house.call("admin", method, where + tail, body, version="*")
        assert (answer.status, answer.code) == (404, "NOT-FOUND"), where


# Tried


def test_a_mailbox_is_tried(house: House, mail: MailServer) -> None:
    ident = added(house, "pharmacist", mailto(mail))["channel"]["id"]
    assert house.post(f"{path(house, ident)}/test", {}, "admin") == {"sent": True, "error": None}
    ((received),) = mail.mails
    assert received["To"] == "ward@example.org"
    assert "Haematology A" in received["Subject"] + received.get_content()
    mail.answers["ward@example.org"] = "550 5.1.1 no such user"
    tried = house.post(f"{path(house, ident)}/test", {}, "admin")
    assert tried["sent"] is False
    assert tried["error"]
    assert "ward" not in tried["error"]
    assert [row.action for row in house.trail() if "test" in row.action] == ["test-channel"] * 2
    answer = house.call("admin", "POST", f"{path(house, ident)}/test", {"to": "eva@example.org"})
    assert (answer.status, list(answer.faults)) == (422, ["to"])


def test_a_webhook_is_tried_and_verified_by_its_secret(house: House, web: Receiver) -> None:
    made = added(house, "ehr", web.url)
    ident = made["channel"]["id"]
    assert house.post(f"{path(house, ident)}/test", {}, "admin")["sent"] is True
    (asked,) = web.seen
    key = standardwebhooks.Webhook(made["secret"])
    sent_at = int(asked.headers["webhook-timestamp"])
    assert sent_at == int(house.clock().timestamp())
    signature = key.sign(asked.headers["webhook-id"], house.clock(), asked.body.decode())
    assert signature in asked.headers["webhook-signature"].split()
    assert json.loads(asked.body)["type"] == "reminder.test"
    web.answer = lambda asked: asked.give(500)
    assert house.post(f"{path(house, ident)}/test", {}, "admin")["sent"] is False
    shown = house.get(path(house, ident), "admin")
    assert (shown["failures"], shown["rests_until"]) == (0, None), "a test makes no channel rest"


def test_a_channel_whose_server_is_gone(house: House) -> None:
    with mail_server() as mail:
        address = mailto(mail)
    ident = added(house, "pharmacist", address)["channel"]["id"]
    tried = house.post(f"{path(house, ident)}/test", {}, "admin")
    assert (tried["sent"], bool(tried["error"])) == (False, True)


@pytest.mark.parametrize(
    ("body", "fault"),
    [({}, "to"), ({"to": "Eva <eva@example.org>"}, "to"), ({"to": "a@example.org,b@example.org"}, "to")],
)
def test_a_gateway_is_tried_with_one_person(house: House, mail: MailServer, body: object, fault: str) -> None:
    ident = added(house, "gateway", mailto(mail, "{to}"))["channel"]["id"]
    answer = house.call("admin", "POST", f"{path(house, ident)}/test", body)
    assert (answer.status, list(answer.faults)) == (422, [fault])
    assert house.post(f"{path(house, ident)}/test", {"to": "eva@example.org"}, "admin")["sent"] is True
    assert [envelope.rcpt_tos for envelope in mail.envelopes] == [["eva@example.org"]]
    assert [json.loads(row.detail) for row in house.trail() if row.action == "test-channel"][-1][
        "to"
    ] == "eva@example.org"


# Single persons


def test_accounts_and_patients_are_told_by_a_gateway(house: House, mail: MailServer) -> None:
    gateway = added(house, "gateway", mailto(mail, "{to}"))["channel"]["id"]
    patient = dosed(house)
    decided(house, patient)
    give(house, patient)
    assert house.get("/gateways", "technician")["items"] == [
        {"id": gateway, "clinic": house.clinic, "label": "to gateway", "scheme": "mailto"}
    ]
    for where, who, address in (
        ("/me/contacts", "technician", "tom@example.org"),
        (f"/patients/{patient}/contacts", "technician", "her@example.org"),
    ):
        items = [{"gateway": gateway, "address": address}]
        assert house.call(who, "PUT", where, {"items": items}).json == {"items": items}
        assert house.get(where, who) == {"items": items}
    assert house.get("/me/contacts", "pharmacist") == {"items": []}
    for days in (6, 1):
        house.clock.on(days=days)
        for _ in range(2):
            beat(house.services, house.clock)
    tos = [envelope.rcpt_tos[0] for envelope in mail.envelopes]
    assert sorted(set(tos)) == ["her@example.org", "tom@example.org"]
    told = [one for one in mail.mails if one["To"] == "her@example.org"]
    assert [one["Subject"] for one in told] == ["Your appointment at Haematology A", "Your blood test at Haematology A"]
    assert not any("pharmacist-1" in one.get_content() for one in told)
    assert any("pharmacist-1" in one.get_content() for one in mail.mails if one["To"] == "tom@example.org")
    trail = str(house.trail(patient)) + str(house.trail())
    assert '"to": "patient"' in trail
    (mine,) = [row for row in house.trail() if row.action == "change-contacts"]
    detail = json.loads(mine.detail)
    assert (detail["old"], detail["new"]) == ([], [{"gateway": gateway, "address": "tom@example.org"}])
    (changed,) = [row for row in house.trail(patient) if row.action == "change-contacts"]
    assert "her@example.org" in changed.detail, "an address of a patient is a particular of hers"


def test_who_takes_the_contact_away_is_told_no_more(house: House, mail: MailServer) -> None:
    gateway = added(house, "gateway", mailto(mail, "{to}"))["channel"]["id"]
    patient = dosed(house)
    where = f"/patients/{patient}/contacts"
    items = [{"gateway": gateway, "address": "her@example.org"}]
    assert house.call("technician", "PUT", where, {"items": items}).status == 200
    assert house.call("technician", "PUT", where, {"items": []}).json == {"items": []}
    house.clock.on(days=2)
    for _ in range(3):
        beat(house.services, house.clock)
    assert mail.envelopes == []


def test_access_in_an_emergency_has_no_patient_told_elsewhere(house: House, mail: MailServer) -> None:
    """It ends after an hour, and the messages would go on."""
    gateway = added(house, "gateway", mailto(mail, "{to}"))["channel"]["id"]
    patient = dosed(house)
    where = f"/patients/{patient}/contacts"
    hers = {"items": [{"gateway": gateway, "address": "her@example.org"}]}
    assert house.call("technician", "PUT", where, hers).status == 200
    house.post("/glass-breaks", {"patient": patient, "reason": "bleeds, in our emergency room"}, "stranger")
    assert house.get(where, "stranger") == hers
    mine = {"items": [{"gateway": gateway, "address": "mallory@example.org"}]}
    assert house.call("stranger", "PUT", where, mine).status == 404
    for days in (2, 6):
        house.clock.on(days=days)
        for _ in range(2):
            beat(house.services, house.clock)
    assert {envelope.rcpt_tos[0] for envelope in mail.envelopes} == {"her@example.org"}


@pytest.mark.parametrize("whose", ["me", "patient"])
def test_faults_of_contacts_by_their_path(house: House, mail: MailServer, whose: str) -> None:
    where = "/me/contacts" if whose == "me" else f"/patients/{dosed(house)}/contacts"
    gateway = added(house, "gateway", mailto(mail, "{to}"))["channel"]["id"]
    mailbox = added(house, "pharmacist", mailto(mail))["channel"]["id"]
    unused = added(house, "gateway", mailto(mail, "{to}"))["channel"]["id"]
    changes(house, unused, active=False)
    fine = {"gateway": gateway, "address": "eva@example.org"}
    items = [
        fine,
        {"gateway": gateway, "address": "+4915112345678"},
        {"gateway": mailbox, "address": "eva@example.org"},
        {"gateway": unused, "address": "eva@example.org"},
        {"gateway": "f" * 20, "address": "x"},
        {"gateway": gateway, "address": "a@example.org?cc=b@example.org"},
    ]
    answer = house.call("technician", "PUT", where, {"items": items})
    assert (answer.status, set(answer.faults)) == (
        422,
        {"items[1].address", *(f"items[{n}].gateway" for n in (2, 3, 4)), "items[5].address"},
    )
    answer = house.call("technician", "PUT", where, {"items": [fine, fine]})
    assert (answer.status, set(answer.faults)) == (422, {"items"})
    answer = house.call("technician", "PUT", where, {"items": [{"gateway": gateway}, {"address": 3}]})
    assert set(answer.faults) == {"items[0].address", "items[1].gateway", "items[1].address"}
    assert house.call("technician", "PUT", where, {}).status == 422
    assert house.get(where, "technician") == {"items": []}


def test_gateways_are_those_of_ones_own_clinics(house: House, mail: MailServer) -> None:
    gateway = added(house, "gateway", mailto(mail, "{to}"))["channel"]["id"]
    _, both = house.account("both", Role.TECHNICIAN, house.clinic, house.other_clinic)
    assert [one["id"] for one in house.get("/gateways", both)["items"]] == [gateway]
    assert house.get("/gateways", "stranger") == {"items": []}
    changes(house, gateway, active=False)
    assert house.get("/gateways", both) == {"items": []}


# Given up


def given_up(house: House, mail: MailServer) -> list[Any]:
    """Messages that a mailbox refuses for good."""
    added(house, "technician", mailto(mail))
    mail.answers["ward@example.org"] = "550 5.1.1 no such user"
    decided(house, dosed(house))
    for _ in range(2):
        beat(house.services, house.clock)
    items: list[Any] = house.get("/deliveries/undelivered")["items"]
    return items


def test_what_was_given_up_is_listed_tried_again_or_dismissed(house: House, mail: MailServer) -> None:
    items = given_up(house, mail)
    assert {(one["recipient"], one["status"], one["attempts"], one["sent_at"]) for one in items} == {
        ("role/technician", "dead", 1, None)
    }
    assert not any("example.org" in str(one) for one in items)
    of_patient = next(one for one in items if one["patient"])
    answer = house.call("technician", "POST", f"/deliveries/{of_patient['id']}/retry", {})
    assert (answer.status, answer.json["status"]) == (200, "waiting")
    assert of_patient["id"] not in {one["id"] for one in house.get("/deliveries/undelivered")["items"]}
    beat(house.services, house.clock)
    again = next(one for one in house.get("/deliveries/undelivered")["items"] if one["id"] == of_patient["id"])
    assert (again["attempts"], bool(again["error"])) == (1, True), "tried from the beginning, and refused once more"
    mail.answers.clear()
    house.post(f"/deliveries/{of_patient['id']}/retry", {}, "technician")
    beat(house.services, house.clock)
    assert len(mail.envelopes) == 1
    assert of_patient["id"] not in {one["id"] for one in house.get("/deliveries/undelivered")["items"]}
    for how in ("retry", "dismissal"):
        assert house.call("technician", "POST", f"/deliveries/{of_patient['id']}/{how}", {}).status == 404
        assert house.call("technician", "POST", f"/deliveries/msg_{'0' * 32}/{how}", {}).status == 404


def test_who_dismisses_a_message_has_seen_to_it(house: House, mail: MailServer) -> None:
    of_patient = next(one for one in given_up(house, mail) if one["patient"])
    assert "message-undelivered" in house.get("/worklist")["items"][0]["tasks"]
    answer = house.call("pharmacist", "POST", f"/deliveries/{of_patient['id']}/dismissal", {})
    assert answer.json["status"] == "dismissed"
    assert "message-undelivered" not in house.get("/worklist")["items"][0]["tasks"]
    assert [row.account_id for row in house.trail(of_patient["patient"]) if row.action == "dismiss-delivery"] == [
        house.ids["pharmacist"]
    ]
    mail.answers.clear()
    house.clock.on(hours=1)
    beat(house.services, house.clock)
    assert mail.envelopes == []


def test_a_message_of_who_has_moved_is_seen_to_by_the_new_clinic(house: House, mail: MailServer) -> None:
    before = given_up(house, mail)
    of_patient = next(one for one in before if one["patient"])
    ident, patient = of_patient["id"], of_patient["patient"]
    assert house.get("/deliveries/undelivered", "stranger")["items"] == []
    assert house.call("stranger", "POST", f"/deliveries/{ident}/dismissal", {}).status == 404
    _, both = house.account("both", Role.PHARMACIST, house.clinic, house.other_clinic)
    body = {"clinic": house.other_clinic, "reason": "moved"}
    assert house.call(both, "PATCH", f"/patients/{patient}", body, version="*").status == 200
    house.get("/reminders", "stranger")  # which settles what has changed

    def listed(who: str, query: str = "") -> set[str]:
        return {one["id"] for one in house.get(f"/deliveries/undelivered{query}", who)["items"]}

    rest = {one["id"] for one in before if one["patient"] != patient}
    assert listed("pharmacist") == rest
    assert ident in listed("stranger")
    assert ident in listed(both, f"?clinic={house.other_clinic}")
    assert listed(both, f"?clinic={house.clinic}") == rest
    for how in ("retry", "dismissal"):
        assert house.call("pharmacist", "POST", f"/deliveries/{ident}/{how}", {}).status == 404
    again = house.call("stranger", "POST", f"/deliveries/{ident}/retry", {})
    assert (again.status, again.code) == (409, "REMINDER-CLOSED"), "it would tell those of the old clinic"
    assert house.call("stranger", "POST", f"/deliveries/{ident}/dismissal", {}).json["status"] == "dismissed"
    assert ident not in listed("stranger")


def test_what_waits_for_a_channel_out_of_use_is_given_up_and_said(house: House, mail: MailServer) -> None:
    ident = added(house, "technician", mailto(mail))["channel"]["id"]
    mail.answers["ward@example.org"] = "451 4.3.0 later"
    decided(house, dosed(house))
    beat(house.services, house.clock)
    shown = house.get(path(house, ident), "admin")
    assert (shown["failures"], shown["rests_until"] is not None, bool(shown["error"])) == (1, True, True)
    assert house.get("/deliveries/undelivered")["items"] == []
    rested = changes(house, ident, active=False).json
    assert (rested["failures"], rested["rests_until"], rested["active"]) == (0, None, False)
    assert {one["error"] for one in house.get("/deliveries/undelivered")["items"]} == {"channel out of use"}
