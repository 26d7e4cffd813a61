"""Decisions on pages: by the same rules as over REST, upon what is in view and nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.api.deciding import alerted, decided, dosed, give, referred_by_rule, starting
from tests.api.support import House, count, day, weight
from tests.fhir.resources import created
from tests.fhir.resources import platelets as counted
from tests.web.support import Page, Person
from titrator.security.permissions import Role
from titrator.store.records import Patient, Waiting


def decisions(house: House, patient: str) -> Any:
    return house.get(f"/patients/{patient}/decisions")["items"]


def test_a_patient_at_a_glance(house: House) -> None:
    patient = dosed(house, 30)
    page = Person(house).get(f"/patients/{patient}")
    assert page.status == 200
    for said in (
        "Increase",
        "romiPLOStim 225 micrograms",
        "0.45 mL of 500 micrograms/mL",
        "3 micrograms/kg × 75 kg",
        "1 × 250 micrograms",
        "150 micrograms on Mon 2 Mar 2026, now +75 micrograms (+50 %)",
        "Large change",
        "Mon 9 Mar 2026 (today)",
        "are below 50",
        "BELOW-TARGET",
        "Are there too few platelets? decides",
        "Is dosing on hold? does not decide",
        "not reviewed by a pharmacist",
    ):
        assert said in page.text.replace("\xa0", " "), said
    assert "225.0" not in page.text


def test_what_the_other_labels_would_say(house: House) -> None:
    page = Person(house).get(f"/patients/{dosed(house, 220)}?labels=1")
    assert "For comparison only" in page.text
    assert "jp-itp-adult" in page.text
    assert "Not for this age: eu-itp-paediatric, us-itp-paediatric" in page.text


def test_accepted_from_the_page_of_the_patient(house: House) -> None:
    patient = starting(house)
    somebody = Person(house)
    page = somebody.submit(somebody.get(f"/patients/{patient}"), f"/patients/{patient}/accept")
    assert (page.status, page.path) == (200, f"/patients/{patient}")
    assert "Accepted: in force; 75 micrograms, Mon 9 Mar 2026" in page.text.replace("\xa0", " ")
    assert [(one["decision"], one["status"]) for one in decisions(house, patient)] == [("accept", "in-force")]
    assert f"/patients/{patient}/accept" not in page.html


def test_two_clicks_sign_once(house: House) -> None:
    patient = starting(house)
    somebody = Person(house)
    sheet = somebody.get(f"/patients/{patient}").sheet(f"/patients/{patient}/accept")
    first, second = (somebody.post(sheet.action, sheet.fields) for _ in range(2))
    assert (first.status, second.status) == (200, 200)
    assert "done already" in second.text
    assert len(decisions(house, patient)) == 1


def test_the_form_that_was_sent_is_not_another_one(house: House) -> None:
    patient = starting(house)
    somebody = Person(house)
    page = somebody.get(f"/patients/{patient}/refer")
    sheet = page.sheet(f"/patients/{patient}/refer")
    sheet.fields |= {"reason_code": ["other"], "comment": ["once"]}
    assert somebody.post(sheet.action, sheet.fields).status == 200
    page = somebody.post(sheet.action, {**sheet.fields, "comment": ["twice"]})
    assert page.status == 409
    assert "sent already" in page.text
    assert len(decisions(house, patient)) == 1


def test_each_alert_is_ticked(house: House) -> None:
    patient = alerted(house)
    somebody = Person(house)
    page = somebody.get(f"/patients/{patient}")
    alerts = page.sheet(f"/patients/{patient}/accept").choices["acknowledge"]
    assert len(alerts) == 2
    page = somebody.submit(page, f"/patients/{patient}/accept", acknowledge=alerts[:1])
    assert page.status == 422
    assert f"the alert {alerts[1]} is not acknowledged" in page.text
    assert page.sheet(f"/patients/{patient}/accept").fields["acknowledge"] == alerts[:1]
    page = somebody.submit(page, f"/patients/{patient}/accept", acknowledge=alerts)
    assert page.status == 200
    assert decisions(house, patient)[0]["acknowledged"] == sorted(alerts)


def test_a_proposal_that_went_stale_in_an_open_tab_cannot_be_signed(house: House) -> None:
    patient = dosed(house, 30)
    somebody = Person(house)
    tab = somebody.get(f"/patients/{patient}")
    house.post(f"/patients/{patient}/platelet-counts", count(0, 120, confirm=[]))
    page = somebody.submit(tab, f"/patients/{patient}/accept")
    assert page.status == 409
    assert "has changed since you opened this page: nothing was signed" in page.text
    assert "Maintain" in page.text
    assert decisions(house, patient) == []
    page = somebody.submit(page, f"/patients/{patient}/accept")  # now that the new one has been in view
    assert page.status == 200
    assert decisions(house, patient)[0]["answer"]["action"] == "maintain"


def test_two_people_at_once_sign_once(house: House) -> None:
    patient = starting(house)
    one, other = Person(house), Person(house, "prescriber")
    mine, theirs = (who.get(f"/patients/{patient}") for who in (one, other))
    assert one.submit(mine, f"/patients/{patient}/accept").status == 200
    page = other.submit(theirs, f"/patients/{patient}/accept")
    assert page.status == 409
    assert "has been accepted already" in page.text
    assert len(decisions(house, patient)) == 1


# Overriding


def override(who: Person, patient: str, **filled: Any) -> Page:
    said = {"reason_code": "bleeding", "comment": "seen on the ward"}
    return who.submit(who.get(f"/patients/{patient}/override"), f"/patients/{patient}/override", **{**said, **filled})


def test_a_dose_within_the_protocol(house: House) -> None:
    patient = dosed(house, 30)
    page = override(Person(house), patient, what="micrograms", amount="150")
    assert page.status == 200
    assert (decisions(house, patient)[0]["dose"]["micrograms"], decisions(house, patient)[0]["reason_code"]) == (
        150,
        "bleeding",
    )


def test_no_dose(house: House) -> None:
    patient = dosed(house, 30)
    assert override(Person(house), patient, what="no_dose").status == 200
    assert decisions(house, patient)[0]["dose"] is None


def test_all_that_is_wrong_with_an_override_at_once(house: House) -> None:
    patient = dosed(house, 30)
    page = override(Person(house), patient, what="micrograms", amount="1,5", reason_code="", comment=" ", due_on="soon")
    assert page.status == 422
    for said in (
        "must be a number, with a point before decimals",
        "Reason: required",
        "Comment: required",
        "YYYY-MM-DD",
    ):
        assert said in page.text, said
    sheet = page.sheet(f"/patients/{patient}/override")
    assert (sheet.fields["amount"], sheet.fields["due_on"], sheet.fields["what"]) == (["1,5"], ["soon"], ["micrograms"])
    assert decisions(house, patient) == []


def test_an_amount_without_a_dose_is_refused(house: House) -> None:
    patient = dosed(house, 30)
    assert "does not go with no dose" in override(Person(house), patient, what="no_dose", amount="3").text
    assert "Amount: required" in override(Person(house), patient, what="micrograms", amount="").text
    assert decisions(house, patient) == []


def test_beyond_the_protocol_it_is_a_prescribers_and_a_second_persons(house: House) -> None:
    patient = referred_by_rule(house)
    page = override(Person(house), patient, what="micrograms", amount="100")
    assert (page.status, "prescriber" in page.text) == (403, True)
    prescriber = Person(house, "prescriber")
    page = override(prescriber, patient, what="micrograms", amount="100", due_on=day(0))
    assert page.status == 200, page.text
    assert "awaits a second signature" in page.text
    at = f"/patients/{patient}/decisions/1/second-signature"
    page = prescriber.submit(prescriber.get(at), at)
    assert (page.status, "another than the one who decided" in page.text) == (409, True)
    pharmacist = Person(house)
    page = pharmacist.submit(pharmacist.get(at), at)
    assert page.status == 200
    assert decisions(house, patient)[0]["status"] == "in-force"


def test_what_was_referred_is_answered_by_whom_it_concerns(house: House) -> None:
    """A prescriber, or who referred it and thinks again; no other pharmacist is offered to."""
    patient = starting(house)
    house.ids["colleague"], house.tokens["colleague"] = house.account("colleague", Role.PHARMACIST, house.clinic)
    at = f"/patients/{patient}/accept"
    pharmacist = Person(house)
    form = f"/patients/{patient}/refer"
    page = pharmacist.submit(pharmacist.get(form), form, reason_code="other", comment="please look")
    assert "Referred: with a prescriber" in page.text
    assert at in page.html
    assert at not in Person(house, "colleague").get(f"/patients/{patient}").html
    prescriber = Person(house, "prescriber")
    page = prescriber.submit(prescriber.get(f"/patients/{patient}"), at)
    assert page.status == 200, page.text
    assert [one["status"] for one in decisions(house, patient)] == ["in-force", "superseded"]


def test_more_than_anybody_may(house: House) -> None:
    patient = dosed(house, 30)
    page = override(Person(house, "prescriber"), patient, what="micrograms_per_kg", amount="21")
    assert page.status == 409
    assert "No one may decide upon more" in page.text


def test_an_amount_far_from_the_last_is_read_back_before_it_is_signed(house: House) -> None:
    patient = dosed(house, 30)  # 150 micrograms a week ago
    prescriber = Person(house, "prescriber")
    page = override(prescriber, patient, what="micrograms", amount="510")
    said = page.text.replace("\xa0", " ")
    assert page.status == 422
    assert "That is 510 micrograms, 6.8 micrograms/kg, 1.02 mL of 500 micrograms/mL" in said
    assert "the last dose was 150 micrograms on Mon 2 Mar 2026: +240 %. Yes, it is right." in said
    assert decisions(house, patient) == []
    page = prescriber.submit(page, f"/patients/{patient}/override", confirm="OVERRIDE-FAR-FROM-LAST")
    assert page.status == 200
    assert decisions(house, patient)[0]["dose"]["micrograms"] == 510


def test_what_is_a_prescribers_keeps_what_was_filled_in(house: House) -> None:
    patient = dosed(house, 30)
    page = override(Person(house), patient, what="micrograms_per_kg", amount="6")
    assert (page.status, "is a prescriber's decision: refer it" in page.text) == (403, True)
    assert page.sheet(f"/patients/{patient}/override").fields["comment"] == ["seen on the ward"]
    assert page.links["Refer it to a prescriber instead"] == f"/patients/{patient}/refer"


# Afterwards


def test_what_was_decided_stands_above_what_was_proposed(house: House) -> None:
    patient = dosed(house, 30)  # proposed: 225 micrograms
    assert "proposal, not signed" in Person(house, "technician").get(f"/patients/{patient}").text
    page = override(Person(house), patient, what="micrograms", amount="150")
    said = " ".join(page.text.replace("\xa0", " ").split())
    assert "proposal, not signed" not in said
    assert "Next dose: Overridden in force romiPLOStim 150 micrograms" in said
    assert "romiPLOStim 225 micrograms" not in said
    assert "225 micrograms, 3 micrograms/kg. Not what is to be done: it was decided otherwise." in said
    assert said.index("romiPLOStim 150 micrograms") < said.index("What was proposed: ▲ Increase")
    line = " ".join(Person(house).get("/worklist").text.replace("\xa0", " ").split())
    assert "Overridden: in force150 micrograms · 0.3 mL2 micrograms/kgproposed: Increase, 225 micrograms" in line


def test_a_dose_that_awaits_a_second_person_is_not_given_yet(house: House) -> None:
    patient = referred_by_rule(house)
    prescriber = Person(house, "prescriber")
    page = override(prescriber, patient, what="micrograms", amount="100", due_on=day(0))
    assert "Nothing is to be prepared or given before a second person has signed." in page.text
    assert "Given as decided …" not in page.links
    assert "No dose has been decided that is in force" in page.text
    page = Person(house).get(f"/patients/{patient}/decisions/1/second-signature")
    said = page.text.replace("\xa0", " ")
    for told in ("0.2 mL of 500 micrograms/mL", "150 micrograms on Mon 2 Mar 2026, now \N{MINUS SIGN}50 micrograms"):
        assert told in said, told
    assert "The last days on record" in said


def test_a_decision_that_the_facts_do_not_bear_out_any_more_is_not_in_force(house: House) -> None:
    patient = dosed(house, 30)
    decided(house, patient)
    house.post(f"/patients/{patient}/platelet-counts", count(0, 120, confirm=[]))
    page = Person(house).get(f"/patients/{patient}")
    assert "to be decided anew" in page.text
    assert "Given as decided …" not in page.links
    assert f"/patients/{patient}/accept" in page.html


def test_what_was_referred_is_the_prescribers_to_decide_from_the_page(house: House) -> None:
    patient = starting(house)
    decided(house, patient, "refer", reason_code="other", comment="a look, please")
    prescriber = Person(house, "prescriber")
    page = prescriber.get(f"/patients/{patient}")
    assert page.links["Override …"] == f"/patients/{patient}/override"
    assert "Refer …" not in page.links
    assert prescriber.submit(page, f"/patients/{patient}/accept").status == 200
    assert [one["status"] for one in decisions(house, patient)] == ["in-force", "superseded"]


def test_the_decided_amount_stands_in_the_form_of_the_dose_given(house: House) -> None:
    patient = dosed(house, 30)
    decided(house, patient)
    nurse = Person(house, "technician")
    page = nurse.get(f"/patients/{patient}")
    assert "Decided: 225 micrograms, due Mon 9 Mar 2026." in page.text.replace("\xa0", " ")
    page = nurse.get(page.links["Given as decided …"])
    form = f"/patients/{patient}/doses/new"
    filled = page.sheet(form).fields
    assert [filled[name] for name in ("micrograms", "micrograms_per_kg", "given_on")] == [["225"], ["3"], [day(0)]]
    assert nurse.submit(page, form).status == 200
    assert decisions(house, patient)[0]["status"] == "delivered"
    page = nurse.get(f"/patients/{patient}")
    assert "Not today: due" not in page.text, "there is no next dose without a count"
    assert nurse.get(f"{form}?decision=1").sheet(form).fields["micrograms"] == [""], "it has been given"


def test_the_level_of_a_dose_that_was_cut_goes_into_what_is_given(house: House) -> None:
    """Else the step up would be lost: 500 micrograms are 5 micrograms/kg for 95 kg, and 6 were decided."""
    patient = house.on_course(protocol="cart-2021-case", kg=95)
    for ago in (14, 7):
        give(house, patient, 475, ago)
    house.post(f"/patients/{patient}/platelet-counts", count(0, 30))
    decided(house, patient, acknowledge=["DOSE-CAPPED"])
    nurse = Person(house, "technician")
    said = " ".join(nurse.get(f"/patients/{patient}").text.replace("\xa0", " ").split())
    assert "6 micrograms/kg × 95 kg" in said
    assert "= 570 micrograms, cut to the maximum, 500 micrograms" in said
    form = f"/patients/{patient}/doses/new"
    assert nurse.submit(nurse.get(f"{form}?decision=1"), form).status == 200
    house.clock.on(days=7)
    house.post(f"/patients/{patient}/platelet-counts", count(-7, 60))
    found = house.get(f"/patients/{patient}/next-dose")
    assert (found["action"], found["dose"]["micrograms_per_kg"], found["dose"]["micrograms"]) == ("maintain", 6, 500)


def test_of_two_counts_of_a_day_the_one_that_decided_is_told(house: House) -> None:
    patient = dosed(house, 45)
    house.post(f"/patients/{patient}/platelet-counts", count(0, 230, unreliable=True))
    said = " ".join(Person(house).get(f"/patients/{patient}").text.replace("\xa0", " ").split())
    rests = said[said.index("What it rests on") :]
    assert "Platelets 45 ×10⁹/L on Mon 9 Mar" in rests
    assert "Platelets 230" not in rests
    (line,) = house.get("/worklist", "pharmacist")["items"]
    assert (line["last_count"]["value"], line["last_count"]["unreliable"]) == (45, False)


def test_of_two_counts_of_a_day_that_which_was_taken_later_is_told(house: House) -> None:
    """Though it was recorded first."""
    patient = house.on_course()
    give(house, patient, 150, 7)
    for value, hour in ((45, 14), (70, 8)):
        sent = counted(patient, 0, value, effectiveDateTime=f"{day(0)}T{hour:02}:00:00+01:00")
        created(house, sent)
    assert [one["code"] for one in house.get(f"/patients/{patient}/next-dose")["reasons"]] == ["BELOW-TARGET"]
    (line,) = house.get("/worklist", "pharmacist")["items"]
    assert line["last_count"]["value"] == 45
    said = " ".join(Person(house).get(f"/patients/{patient}").text.replace("\xa0", " ").split())
    assert "Platelets 45 ×10⁹/L on Mon 9 Mar" in said[said.index("What it rests on") :]


def test_a_dose_of_a_day_to_come_says_so(house: House) -> None:
    patient = dosed(house, 30, 5)
    page = Person(house).get(f"/patients/{patient}")
    assert "Not today: due Wed 11 Mar 2026 (in 2 days)" in page.text
    page = Person(house).submit(page, f"/patients/{patient}/accept")
    assert "Not today: due Wed 11 Mar 2026 (in 2 days)" in page.text


def test_what_holds_up_a_dose_leads_to_where_it_is_answered(house: House) -> None:
    referred = referred_by_rule(house)
    page = Person(house, "prescriber").get(f"/patients/{referred}")
    assert "Not resolved, so no dose without a prescriber: Thrombosis" in page.text
    assert "Resolve" in " ".join(Person(house, "prescriber").get(page.links["Look at it"]).links)
    paused = dosed(house, 30)
    somebody, pause = Person(house), f"/patients/{paused}/course/pause"
    somebody.submit(somebody.get(pause), pause, reason="travels")
    page = somebody.get(f"/patients/{paused}")
    assert page.links["Look at the course, or let it go on"] == f"/patients/{paused}/course"
    assert "The course is paused" in Person(house).get("/worklist").text


def test_a_decision_is_withdrawn_with_a_reason_and_in_its_version(house: House) -> None:
    patient = starting(house)
    decided(house, patient)
    somebody = Person(house)
    at = f"/patients/{patient}/decisions/1/withdrawal"
    page = somebody.get(at)
    assert somebody.submit(page, at, reason="").status == 422
    assert somebody.submit(page, at, reason="x", version="7").status == 412
    assert somebody.submit(page, at, reason="wrong patient in view").status == 200
    assert decisions(house, patient)[0]["status"] == "withdrawn"


def test_a_dose_that_departed_is_explained(house: House) -> None:
    patient = starting(house)
    decided(house, patient)
    give(house, patient, 150)
    somebody = Person(house)
    page = somebody.get(f"/patients/{patient}")
    assert "departs from what was decided" in page.text
    at = f"/patients/{patient}/dose-mismatches/{day(0)}"
    page = somebody.submit(somebody.get(at), at, reason="two vials were drawn up")
    assert "departs from what was decided" not in page.text
    assert house.get(f"/patients/{patient}/dose-mismatches")["items"][0]["reason"] == "two vials were drawn up"


def test_a_correction_shows_then_and_now(house: House) -> None:
    patient = dosed(house, 30)
    decided(house, patient)
    found = house.get(f"/patients/{patient}/platelet-counts")["items"][-1]
    body = {**count(0, 210), "reason": "misread"}
    assert (
        house.call("pharmacist", "PUT", f"/patients/{patient}/platelet-counts/{found['id']}", body, version=1).status
        == 200
    )
    page = Person(house).get(f"/patients/{patient}")
    assert "Facts were corrected after decision 1" in page.text
    page = Person(house).get(f"/patients/{patient}/decisions/1")
    assert "Increase" in page.text
    assert "The answer after facts were corrected" in page.text


def test_who_may_not_sign_sees_no_way_to(house: House) -> None:
    patient = starting(house)
    technician = Person(house, "technician")
    page = technician.get(f"/patients/{patient}")
    assert (page.status, f"/patients/{patient}/accept" in page.html) == (200, False)
    assert technician.get(f"/patients/{patient}/override").status == 403
    assert Person(house, "stranger").get(f"/patients/{patient}").status == 404
    assert Person(house, "admin").get(f"/patients/{patient}").status == 403


# The worklist


def test_several_are_checked_and_signed_each_on_its_own(house: House) -> None:
    same, also, other = dosed(house), dosed(house), dosed(house, 30)
    somebody = Person(house)
    page = somebody.get("/worklist")
    ticks = page.sheet("/worklist/sign").choices["chosen"]
    assert {tick.partition(":")[0] for tick in ticks} == {same, also}
    assert other in page.html
    query = "&".join(f"chosen={tick}" for tick in ticks)
    page = somebody.get(f"/worklist/sign?{query}")
    assert page.text.count("150 micrograms".replace(" ", "\xa0")) + page.text.count("150 micrograms") >= 4
    house.post(f"/patients/{also}/weights", weight(0, 76))  # moves nothing of the first
    page = somebody.submit(page, "/worklist/sign")
    assert page.status == 200
    assert len(decisions(house, same)) == 1
    assert decisions(house, other) == []
    told = len(decisions(house, also))
    assert f"{1 + told} proposal" in page.text
    assert page.text.count("✗") == 1 - told
    assert f"/patients/{same}/decisions/1/preparation" in page.html


def test_nothing_ticked_is_nothing_signed(house: House) -> None:
    dosed(house)
    somebody = Person(house)
    assert "Nothing was ticked" in somebody.get("/worklist/sign").text


def test_the_worklist_is_filtered(house: House) -> None:
    first, second = starting(house), dosed(house, 450)
    somebody = Person(house)
    page = somebody.get("/worklist?text=patient1&task=&clinic=")
    assert (first in page.html, second in page.html) == (True, False)
    page = somebody.get("/worklist?task=awaiting-sign-off&text=PHARMACIST-2")
    assert (first in page.html, second in page.html) == (False, True)
    assert somebody.get("/worklist?task=nonsense").status == 422
    assert somebody.get(f"/worklist?on={day(-7)}").status == 200


def test_a_line_says_who_why_and_what(house: House) -> None:
    patient = house.on_course()
    house.post(f"/patients/{patient}/doses", {"given_on": day(7), "micrograms": 150})
    for ago, platelets in ((7, 38), (0, 45)):
        house.post(f"/patients/{patient}/platelet-counts", count(ago, platelets))
    page = Person(house).get("/worklist")
    text = page.text.replace("\xa0", " ")
    for said in (
        "Patient1, Ada",
        "born Sun 1 May 1960",
        "us-itp-adult",
        "To sign",
        "↑",
        "45 ×10⁹/L",
        "grade 3",
        "Increase",
    ):
        assert said in text, said
    assert "150 micrograms" in text
    assert "225 micrograms · 0.45 mL" in text
    assert Person(house, "technician").get("/worklist").status == 200


def test_what_was_ticked_is_found_wherever_it_stands(house: House) -> None:
    """However many lines stand before it; and none of another clinic."""
    same = dosed(house)
    tick = Person(house).get("/worklist").sheet("/worklist/sign").choices["chosen"][0]
    with house.services.store.writing() as session:
        patient, line = session.get(Patient, same), session.get(Waiting, same)
        assert patient is not None
        assert line is not None
        for number in range(201):
            session.add(replace(patient, id=f"{number:020x}", settled=True))
            session.add(replace(line, patient_id=f"{number:020x}", rank=0))
    page = Person(house).get(f"/worklist/sign?chosen={tick}")
    assert "Sign 1 proposal as pharmacist" in page.text
    page = Person(house, "stranger").get(f"/worklist/sign?chosen={tick}")
    assert "Nothing was ticked" in page.text
    assert same not in page.html
