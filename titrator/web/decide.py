"""To decide upon a proposal: accept, override, refer; to agree as the second person, to take back, to explain."""

from __future__ import annotations

from typing import Any, Final

from flask import url_for

from schemas.course import ReasonIn
from schemas.sign_off import REASONS, DecisionIn
from titrator.security.permissions import Permission
from titrator.store.records import Decision
from titrator.titration.errors import Fault
from titrator.titration.override import CEILING
from titrator.titration.quantities import read_day
from titrator.web.facts import Row, week_rows
from titrator.web.forms import Choice, Choices, Day, Form, Hidden, Lines, Number, ReasonForm, options
from titrator.web.frame import After, Context, Filled, Pages, version
from titrator.web.language import gettext as _
from titrator.web.language import lazy_gettext as _l
from titrator.web.who import who
from titrator.web.words import DECISIONS, OVERRIDES, STATUSES, day, micrograms, readable
from titrator.workflow import sign_off
from titrator.workflow.errors import Unknown
from titrator.workflow.glance import Glance, glance, names_of
from titrator.workflow.tasks import ACCEPTED
from titrator.workflow.timeline import timeline
from titrator.workflow.visit import Visit

pages = Pages("decide")

#: So many of the newest days on record stand beside a proposal.
LAST_DAYS: Final = 5
_REASON_CHOICES = [("", _l("Choose a reason")), *((code, OVERRIDES[code]) for code in REASONS)]


class DecideForm(Form):
    """What is decided upon the proposal that is in view."""

    KIND = ""

    proposal_sha256 = Hidden()
    acknowledge = Choices(_l("Alerts: tick each that you have looked at"))

    def body(self) -> tuple[dict[str, Any], list[Fault]]:
        """The decision, as REST takes it."""
        body, faults = super().body()
        return {**body, "decision": self.KIND}, faults


class AcceptForm(DecideForm):
    """The proposal as it is."""

    KIND = "accept"

    comment = Lines(_l("Comment"), render_kw={"rows": 2, "maxlength": 1000})


class OverrideForm(DecideForm):
    """Another dose, or none."""

    KIND = "override"
    SHOWN_AT = {"micrograms_per_kg": "amount", "micrograms": "amount", "no_dose": "amount"}  # noqa: RUF012

    what = Choice(
        _l("Give"),
        choices=[
            ("micrograms_per_kg", _l("a dose in micrograms/kg")),
            ("micrograms", _l("a dose in micrograms")),
            ("no_dose", _l("no dose")),
        ],
    )
    amount = Number(_l("Amount"))
    due_on = Day(_l("Due on, if not as proposed"))
    reason_code = Choice(_l("Reason"), choices=_REASON_CHOICES)
    comment = Lines(_l("Comment"), render_kw={"rows": 2, "maxlength": 1000})

    def body(self) -> tuple[dict[str, Any], list[Fault]]:
        """The decision, as REST takes it: just one of the three is there."""
        body, faults = super().body()
        what, amount = body.pop("what", None), body.pop("amount", None)
        if what == "no_dose":
            if amount is not None:
                faults.append(Fault("amount", _("does not go with no dose: leave it empty")))
            return {**body, "no_dose": True}, faults
        if amount is not None and what in ("micrograms", "micrograms_per_kg"):
            body[what] = amount
        elif amount is None and not faults:
            faults.append(Fault("amount", _("required")))
        return body, faults


class ReferForm(Form):
    """To a prescriber."""

    proposal_sha256 = Hidden()
    reason_code = Choice(_l("Reason"), choices=_REASON_CHOICES)
    comment = Lines(_l("What the prescriber should look at"), render_kw={"rows": 3, "maxlength": 1000})

    def body(self) -> tuple[dict[str, Any], list[Fault]]:
        """The decision, as REST takes it."""
        body, faults = super().body()
        return {**body, "decision": "refer"}, faults


class CoSignForm(Form):
    """To agree."""

    version = Hidden()


class DecisionReasonForm(ReasonForm):
    """Why, of a decision in a version."""

    version = Hidden()


def accepting(seen: Glance) -> Filled | None:
    """The form that accepts what a glance proposes, for a page that shows it; None where there is nothing to accept."""
    if seen.answer is None or seen.answer["action"] not in ACCEPTED:
        return None
    form = AcceptForm(formdata=None)
    form.acknowledge.choices = options(_alerts(seen))
    return Filled(form, {})


def _alerts(seen: Glance) -> list[tuple[str, str]]:
    alerts = seen.answer["alerts"] if seen.answer else []
    return [(one["code"], f"{one['code']}: {readable(one['text'])}") for one in alerts]


def _deciding(visit: Visit, form: Form, patient_id: str) -> Context:
    """The proposal as it is now. One that has changed since the form was opened has to be looked at anew."""
    seen = glance(visit, patient_id)
    changed = bool(form.proposal_sha256.data) and form.proposal_sha256.data != seen.proposal_sha256
    form.proposal_sha256.data = seen.proposal_sha256
    if "acknowledge" in form:
        form.acknowledge.choices = options(_alerts(seen))
        if changed:
            form.acknowledge.data = []
    return {
        "who": who(visit, patient_id),
        "seen": seen,
        "changed": changed,
        "ceiling": CEILING,
        "rows": _last_days(visit, patient_id),
    }


def _last_days(visit: Visit, patient_id: str) -> list[Row]:
    """The newest days on record, for whoever decides."""
    return week_rows(timeline(visit, patient_id, None))[:LAST_DAYS]


def _decided(visit: Visit, patient_id: str, body: dict[str, Any]) -> After:
    decision = sign_off.decide(visit, patient_id, body)
    return After(url_for("web.patients.patient", patient_id=patient_id), _told(decision))


def _told(decision: Decision) -> str:
    what = f"{DECISIONS[decision.kind]}: {STATUSES[decision.status]}"
    if decision.micrograms is None or decision.due_on is None:
        return what
    return f"{what}; {micrograms(decision.micrograms)}, {day(decision.due_on)}"


@pages.form("/patients/<patient_id>/accept", Permission.SIGN_OFF, AcceptForm, DecisionIn, "accept.html", page=_deciding)
def accept(visit: Visit, body: dict[str, Any], patient_id: str) -> After:
    """Accept the proposal in view."""
    return _decided(visit, patient_id, body)


@pages.form(
    "/patients/<patient_id>/override", Permission.SIGN_OFF, OverrideForm, DecisionIn, "override.html", page=_deciding
)
def override(visit: Visit, body: dict[str, Any], patient_id: str) -> After:
    """Decide upon another dose than the one in view, or none; one far from the last one is asked about first."""
    return _decided(visit, patient_id, body)


@pages.form("/patients/<patient_id>/refer", Permission.SIGN_OFF, ReferForm, DecisionIn, "refer.html", page=_deciding)
def refer(visit: Visit, body: dict[str, Any], patient_id: str) -> After:
    """Refer what is in view to a prescriber."""
    return _decided(visit, patient_id, body)


def _of_decision(visit: Visit, form: Form, patient_id: str, decision_id: int) -> Context:
    found = sign_off.versions(visit, patient_id, decision_id)[1]
    if not form.is_submitted():
        form.version.data = str(found[-1].version)
    seen: Glance = glance(visit, patient_id)
    seen = seen._replace(names=seen.names | names_of(visit, found))
    return {
        "who": who(visit, patient_id),
        "seen": seen,
        "decision": found[-1],
        "versions": found,
        "rows": _last_days(visit, patient_id),
    }


@pages.form(
    "/patients/<patient_id>/decisions/<fact:decision_id>/second-signature",
    Permission.SIGN_OFF,
    CoSignForm,
    None,
    "second.html",
    page=_of_decision,
)
def co_sign(visit: Visit, body: dict[str, Any], patient_id: str, decision_id: int) -> After:
    """Agree as the second person."""
    del body
    decision = sign_off.co_sign(visit, patient_id, decision_id, version())
    return After(url_for("web.patients.patient", patient_id=patient_id), _told(decision))


@pages.form(
    "/patients/<patient_id>/decisions/<fact:decision_id>/withdrawal",
    Permission.SIGN_OFF,
    DecisionReasonForm,
    ReasonIn,
    "withdraw.html",
    page=_of_decision,
)
def withdraw(visit: Visit, body: dict[str, Any], patient_id: str, decision_id: int) -> After:
    """Take back what has not been carried out."""
    decision = sign_off.withdraw(visit, patient_id, decision_id, body["reason"], version())
    return After(url_for("web.patients.patient", patient_id=patient_id), _told(decision))


@pages.form(
    "/patients/<patient_id>/decisions/<fact:decision_id>/review",
    Permission.SIGN_OFF,
    DecisionReasonForm,
    ReasonIn,
    "review.html",
    page=_of_decision,
)
def review(visit: Visit, body: dict[str, Any], patient_id: str, decision_id: int) -> After:
    """Say what comes of a decision that was carried out before a fact was corrected."""
    sign_off.review(visit, patient_id, decision_id, body["reason"], version())
    return After(url_for("web.patients.patient", patient_id=patient_id), _("Reviewed."))


@pages.page("/patients/<patient_id>/decisions/<fact:decision_id>", Permission.READ_PATIENTS, "decision.html")
def decision(visit: Visit, patient_id: str, decision_id: int) -> Context:
    """A decision in all its versions, with the answer upon which it was made."""
    return _of_decision(visit, DecisionReasonForm(formdata=None), patient_id, decision_id)


def _of_mismatch(visit: Visit, form: Form, patient_id: str, on: str) -> Context:
    del form
    if read_day(on) is None:
        raise Unknown("mismatch on that day")
    return {"who": who(visit, patient_id), "seen": glance(visit, patient_id), "on": on}


@pages.form(
    "/patients/<patient_id>/dose-mismatches/<on>",
    Permission.SIGN_OFF,
    ReasonForm,
    ReasonIn,
    "mismatch.html",
    page=_of_mismatch,
)
def explain(visit: Visit, body: dict[str, str], patient_id: str, on: str) -> After:
    """Say why the doses of a day depart from what was decided."""
    sign_off.explain_mismatch(visit, patient_id, on, body["reason"])
    return After(url_for("web.patients.patient", patient_id=patient_id), _("Written down."))
