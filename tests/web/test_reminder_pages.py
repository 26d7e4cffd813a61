"""Reminders as pages: seen, seen to, put off, cancelled; messages that were given up; calendars; contacts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.api import deciding
from tests.api.deciding import decided
from tests.api.support import SILENT, TODAY, House, day
from tests.api.test_channels import added, given_up, mailto
from tests.notify.servers import MailServer, mail_server
from tests.web.support import Page, Person
from titrator.assembly import open_channel
from titrator.security.permissions import Role
from titrator.web.reminders import KINDS
from titrator.workflow.reminders.plan import Kind
from titrator.workflow.reminders.summaries import SUMMARIES
from titrator.workflow.reminders.work import beat


@pytest.fixture
def house(house: House) -> House:
    """An installation that tells by real channels, at a time that stands still."""
    return house.with_services(telling=replace(SILENT, open_channel=open_channel, chance=lambda: 0.5))


@pytest.fixture
def mail() -> Iterator[MailServer]:
    with mail_server() as made:
        yield made


def dosed(house: House) -> str:
    """A patient with a dose due today, a proposal to sign and a count due in a week, of which the list has told."""
    patient = deciding.dosed(house)
    house.get("/reminders")
    return patient


def one(patient: str, how: str, kind: str = "dose-due", due_on: str = TODAY) -> str:
    return f"/patients/{patient}/reminders/{kind}/{due_on}/{how}"


def stored(house: House, patient: str, kind: str = "dose-due") -> dict[str, object]:
    """The reminder of a patient of a kind, as REST tells it."""
    (found,) = [item for item in house.get(f"/patients/{patient}/reminders")["items"] if item["kind"] == kind]
    return dict(found)


# What is to be reminded of


def test_what_is_due_by_day(house: House) -> None:
    patient = dosed(house)
    page = Person(house, "technician").get("/reminders")
    assert page.status == 200
    today, _, later = page.text.partition("Mon 9 Mar 2026 today")[2].partition("in 7 days")
    assert ("Dose due" in today, "Count due" in today, "Count due" in later) == (True, False, True)
    assert "Proposal to sign" in page.text
    assert page.links["Patient1, Ada"] == f"/patients/{patient}/reminders"
    assert "nobody yet" in page.text
    assert house.trail()[-1].action == "list-reminders"


def test_of_some_kind_and_up_to_some_day(house: House) -> None:
    dosed(house)
    somebody = Person(house)
    assert len(re.findall("<tr data-line>", somebody.get(f"/reminders?due_by={TODAY}").html)) == 2
    assert len(re.findall("<tr data-line>", somebody.get("/reminders?kind=count-due").html)) == 1
    assert "Nothing is to be reminded of here." in somebody.get("/reminders?kind=paused-review").text
    page = somebody.get("/reminders?due_by=2026-02-30&kind=x")
    assert page.status == 422
    assert "due_by: must be a date" in page.text
    assert "kind: must be one of" in page.text


def test_page_by_page(house: House) -> None:
    for _ in range(3):
        dosed(house)
    somebody = Person(house)
    page = somebody.get("/reminders?limit=2")
    rows = len(re.findall("<tr data-line>", page.html))
    while "More" in page.links:
        page = somebody.get(page.links["More"])
        rows += len(re.findall("<tr data-line>", page.html))
    assert rows == len(house.get("/reminders")["items"])


def test_each_kind_has_words() -> None:
    assert set(KINDS) == {str(kind) for kind in Kind} | set(SUMMARIES)


def test_who_was_told_when_and_by_which_way(house: House, mail: MailServer) -> None:
    added(house, "technician", mailto(mail))
    patient = dosed(house)
    decided(house, patient)
    for _ in range(2):
        beat(house.services, house.clock)
    somebody = Person(house)
    for path in ("/reminders", f"/patients/{patient}/reminders"):
        page = somebody.get(path)
        assert "✓ all of the role technician, to technician: sent, Mon 9 Mar 2026 13:00" in page.text
        assert "ward@example.org" not in page.text


def test_auditors_and_administrators_see_none(house: House) -> None:
    patient = dosed(house)
    for role in ("auditor", "admin"):
        for path in ("/reminders", "/reminders/undelivered", f"/patients/{patient}/reminders"):
            assert Person(house, role).get(path).status == 403
    assert Person(house, "stranger").get(f"/patients/{patient}/reminders").status == 404
    assert "Patient1" not in Person(house, "stranger").get("/reminders").text


# What to do about one


def test_one_sees_to_it(house: House) -> None:
    patient = dosed(house)
    somebody = Person(house, "technician")
    page = somebody.submit(somebody.get("/reminders"), one(patient, "acknowledgement"))
    assert page.path == "/reminders"
    assert "You see to it" in page.text
    assert "seen to" in page.text
    found = stored(house, patient)
    assert (found["status"], found["changed_by"], found["next_at"]) == ("acknowledged", house.ids["technician"], None)


def test_what_was_changed_meanwhile_is_not_seen_to(house: House) -> None:
    patient = dosed(house)
    somebody = Person(house)
    page = somebody.get("/reminders")
    forged = Person(house).submit(page, one(patient, "acknowledgement"))  # with the token of another login
    assert forged.status == 422
    assert stored(house, patient)["status"] == "open"
    put_off = {"until": day(-2)}
    assert house.call("pharmacist", "POST", one(patient, "postponement"), put_off, version=1).status == 200
    page = somebody.submit(page, one(patient, "acknowledgement"))
    assert page.status == 412
    assert "its version is 2 now, not 1" in page.text
    assert stored(house, patient)["status"] == "open"


def test_a_technician_does_not_see_to_what_waits_for_a_decision(house: House) -> None:
    patient = dosed(house)
    page = Person(house, "technician").get("/reminders")
    assert one(patient, "acknowledgement", "sign-off") not in [sheet.action for sheet in page.sheets]
    signer = Person(house)
    shown = signer.get("/reminders")
    fields = shown.sheet(one(patient, "acknowledgement", "sign-off")).fields
    technician = Person(house, "technician")
    own = technician.get("/reminders").sheet(one(patient, "acknowledgement")).fields
    answer = technician.post(one(patient, "acknowledgement", "sign-off"), {**fields, "csrf_token": own["csrf_token"]})
    assert answer.status == 403
    assert "only who may sign a decision" in answer.text


def filled(somebody: Person, path: str, **fields: str) -> Page:
    return somebody.submit(somebody.get(path), path, **fields)


def test_put_off(house: House) -> None:
    patient = dosed(house)
    page = filled(Person(house), one(patient, "postponement"), until=day(-2), reason="on holiday")
    assert page.path == "/reminders"
    assert "The reminder is put off." in page.text
    assert "on holiday" in page.text
    found = stored(house, patient)
    assert (found["status"], found["version"], found["reason"]) == ("open", 2, "on holiday")
    assert str(found["next_at"]).startswith(day(-2))


@pytest.mark.parametrize(
    ("until", "told"),
    [("", "required"), ("2026-02-30", "must be a date"), (TODAY, "must be after"), (day(-29), "not after 2026-04-06")],
)
def test_put_off_to_a_day_that_will_not_do(house: House, until: str, told: str) -> None:
    patient = dosed(house)
    page = filled(Person(house), one(patient, "postponement"), until=until, reason="on holiday")
    assert page.status == 422
    assert told in page.text
    assert "Patient1, Ada" in page.text
    sheet = page.sheet(one(patient, "postponement"))
    assert (sheet.fields["until"], sheet.fields["reason"]) == ([until], ["on holiday"])
    assert stored(house, patient)["version"] == 1


def test_cancelled_for_a_reason(house: House) -> None:
    patient = dosed(house)
    somebody = Person(house)
    page = filled(somebody, one(patient, "cancellation"))
    assert page.status == 422
    assert "Reason: required" in page.text
    page = filled(somebody, one(patient, "cancellation"), reason="is told by telephone")
    assert "What is due stays due." in page.text
    found = stored(house, patient)
    assert (found["status"], found["reason"]) == ("cancelled", "is told by telephone")
    assert "is told by telephone" in somebody.get(f"/patients/{patient}/reminders").text


def test_what_goes_on_until_it_is_done_is_not_cancelled(house: House) -> None:
    patient = dosed(house)
    somebody = Person(house)
    path = one(patient, "cancellation", "sign-off")
    assert path not in somebody.get("/reminders").links.values()
    page = filled(somebody, path, reason="no")
    assert page.status == 409
    assert "It goes on until it is done" in page.text


def test_a_form_that_was_opened_before_another_change(house: House) -> None:
    patient = dosed(house)
    somebody = Person(house)
    page = somebody.get(one(patient, "cancellation"))
    filled(somebody, one(patient, "postponement"), until=day(-2))
    page = somebody.submit(page, one(patient, "cancellation"), reason="late")
    assert page.status == 412
    assert "Look at it again" in page.text
    assert stored(house, patient)["status"] == "open"


def test_a_reminder_that_is_not_there(house: House) -> None:
    patient = dosed(house)
    for path in (one(patient, "cancellation", "week-plan"), one(patient, "postponement", due_on=day(1))):
        assert Person(house).get(path).status == 404


# Messages that were given up


def test_a_message_that_was_given_up_is_tried_again(house: House, mail: MailServer) -> None:
    ident = next(item["id"] for item in given_up(house, mail) if item["patient"])
    somebody = Person(house)
    page = somebody.get("/reminders/undelivered")
    assert "Patient1, Ada" in page.text
    assert "all of the role technician" in page.text
    assert "1 attempt" in page.text
    assert "ward@example.org" not in page.html
    mail.answers.clear()
    page = somebody.submit(page, f"/deliveries/{ident}/retry")
    assert "The message is tried again." in page.text
    beat(house.services, house.clock)
    assert len(mail.envelopes) == 1
    assert f"/deliveries/{ident}/retry" not in [sheet.action for sheet in somebody.get("/reminders/undelivered").sheets]


def test_all_are_seen_to(house: House, mail: MailServer) -> None:
    idents = [item["id"] for item in given_up(house, mail)]
    somebody = Person(house, "technician")
    page = somebody.get("/reminders/undelivered")
    for ident in idents:
        before = page
        page = somebody.submit(page, f"/deliveries/{ident}/dismissal")
        assert "You have seen to it." in page.text
    assert "None: every message was delivered" in page.text
    again = somebody.submit(before, f"/deliveries/{idents[-1]}/dismissal")
    assert "This has been done already." in again.text
    assert house.get("/deliveries/undelivered")["items"] == []


def test_of_another_clinic_there_are_none(house: House, mail: MailServer) -> None:
    idents = [item["id"] for item in given_up(house, mail)]
    stranger = Person(house, "stranger")
    page = stranger.get("/reminders/undelivered")
    assert "None: every message was delivered" in page.text
    token = page.sheet("/logout").fields["csrf_token"]
    for how in ("retry", "dismissal"):
        assert stranger.post(f"/deliveries/{idents[0]}/{how}", {"csrf_token": token, "once": "x"}).status == 404
    assert len(house.get("/deliveries/undelivered")["items"]) == len(idents)


def test_undelivered_of_a_clinic_that_is_not_ones_own(house: House) -> None:
    page = Person(house).get(f"/reminders/undelivered?clinic={house.other_clinic}")
    assert page.status == 422
    assert "is no clinic of this account" in page.text


# Calendars


def secret_of(page: Page) -> str:
    found = re.search(r'<textarea[^>]*id="secret"[^>]*>([^<]*)</textarea>', page.html)
    assert found is not None
    return found[1]


def test_a_calendar_is_shown_once_read_and_ended(house: House) -> None:
    dosed(house)
    house.get("/reminders")  # settles whom something was recorded of
    path = f"/clinics/{house.clinic}/calendars"
    somebody = Person(house)
    form = somebody.get(path)
    page = somebody.submit(form, path, label="Ward phone")
    address = secret_of(page)
    assert address.startswith("https://titrator.example/calendars/")
    assert page.path == path
    assert "Cache-Control" in page.headers
    assert "no-store" in page.headers["Cache-Control"]
    read = house.app.test_client().get(address.removeprefix("https://titrator.example"))
    assert (read.status_code, b"BEGIN:VEVENT" in read.data) == (200, True)
    again = somebody.submit(form, path, label="Ward phone")
    assert "This has been done already." in again.text
    assert address not in again.html
    assert "Ward phone" in again.text
    (feed,) = house.get(path)["items"]
    page = somebody.submit(again, f"{path}/{feed['id']}/revocation")
    assert "The calendar has ended." in page.text
    assert house.app.test_client().get(address.removeprefix("https://titrator.example")).status_code == 404


def test_a_calendar_needs_a_label_and_the_right(house: House) -> None:
    path = f"/clinics/{house.clinic}/calendars"
    page = filled(Person(house), path)
    assert page.status == 422
    assert "For whom, or for what: required" in page.text
    assert house.get(path)["items"] == []
    assert Person(house, "technician").get(path).status == 403
    assert Person(house, "stranger").get(path).status == 404
    assert path not in Person(house, "technician").get("/reminders").links.values()


# Where somebody is told


def test_where_a_patient_is_told(house: House, mail: MailServer) -> None:
    gateway = added(house, "gateway", mailto(mail, "{to}"))["channel"]["id"]
    patient = house.patient()
    path = f"/patients/{patient}/contacts"
    somebody = Person(house, "technician")
    page = filled(somebody, path, address="ada@example.org")
    assert "Where the patient is told has been changed." in page.text
    assert page.sheet(path).fields["address"] == ["ada@example.org"]
    assert house.get(path)["items"] == [{"gateway": gateway, "address": "ada@example.org"}]
    bad = filled(somebody, path, address="ada at home")
    assert bad.status == 422
    assert 'id="contacts-faults"' in bad.html
    assert bad.sheet(path).fields["address"] == ["ada at home"]
    assert house.get(path)["items"] == [{"gateway": gateway, "address": "ada@example.org"}]
    filled(somebody, path, address="")
    assert house.get(path)["items"] == []
    assert Person(house, "stranger").get(path).status == 404


def test_where_one_is_told_oneself(house: House, mail: MailServer) -> None:
    gateway = added(house, "gateway", mailto(mail, "{to}"))["channel"]["id"]
    somebody = Person(house)
    assert "Nowhere: you are told only what goes to all of your role." in somebody.get("/account").text
    page = filled(somebody, "/account/contacts", address="me@example.org")
    assert page.path == "/account"
    assert "to gateway: me@example.org" in page.text
    assert house.get("/me/contacts")["items"] == [{"gateway": gateway, "address": "me@example.org"}]
    assert filled(somebody, "/account/contacts", address="@").status == 422


def test_a_clinic_without_gateways(house: House) -> None:
    page = Person(house).get("/account/contacts")
    assert page.status == 200
    assert "There is no gateway" in page.text


def test_with_two_gateways_each_has_its_line(house: House, mail: MailServer) -> None:
    for _ in range(2):
        added(house, "gateway", mailto(mail, "{to}"))
    somebody = Person(house)
    page = somebody.get("/account/contacts")
    gateways = page.sheet("/account/contacts").fields["gateway"]
    somebody.submit(page, "/account/contacts", address=["", "second@example.org"])
    assert house.get("/me/contacts")["items"] == [{"gateway": gateways[1], "address": "second@example.org"}]


@pytest.mark.parametrize("role", [str(role) for role in Role if role is not Role.EHR])
def test_ones_own_account(house: House, role: str) -> None:
    page = Person(house, role).get("/account")
    assert page.status == 200
    assert f"Username{role}" in page.text
    assert ("sign decisions" in page.text) is (role in ("pharmacist", "prescriber"))
    assert ("read the audit trail" in page.text) is (role == "auditor")
    assert ("make and change accounts" in page.text) is (role == "admin")
