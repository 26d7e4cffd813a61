"""Results of no known patient: whose each might be, assigned or dismissed; and the feeds that have fallen silent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, cast

from flask import url_for

from schemas.course import ReasonIn
from schemas.patient import PatientQuery
from schemas.result import Assignment, WhichClinic
from titrator.security.permissions import Permission
from titrator.store.records import UnmatchedResult
from titrator.titration.documents import reread
from titrator.web import words
from titrator.web.forms import Choice, Form, ReasonForm
from titrator.web.frame import After, Context, Pages, asked
from titrator.web.language import gettext as _
from titrator.web.language import lazy_gettext as _l
from titrator.workflow import record
from titrator.workflow import results as steps
from titrator.workflow.facts import BY_KIND, show
from titrator.workflow.silence import silent_feeds
from titrator.workflow.visit import Visit

pages = Pages("results")

Body = dict[str, Any]
Shown = dict[str, Any]

_MOST_FOUND: Final = 20


class AssignForm(Form):
    """Whose a result is."""

    patient = Choice(_l("Whose it is"))


@pages.page("/results", Permission.READ_PATIENTS, "results.html")
def results(visit: Visit) -> Context:
    """The results that wait, the oldest first, and the feeds of which nothing was heard for too long."""
    clinic = cast("str | None", asked(WhichClinic).get("clinic"))
    total, rows = steps.unmatched(visit, clinic)
    clinics = {one.id: one for one in record.clinics(visit)}
    silent = silent_feeds(visit.services, visit.session, visit.clinics(clinic), visit.now)
    return {"total": total, "rows": [_shown(visit, *row) for row in rows], "clinics": clinics, "silent": silent}


def _result_page(visit: Visit, form: Form, result_id: str) -> Context:
    del form
    shown = _shown(visit, *steps.held(visit, result_id))
    return {"row": shown, "clinics": {one.id: one for one in record.clinics(visit)}}


def _assign_page(visit: Visit, form: AssignForm, result_id: str) -> Context:
    context = _result_page(visit, form, result_id)
    query = asked(PatientQuery)
    found = record.find_patients(visit, {**query, "limit": _MOST_FOUND})[0] if query else []
    named = [*(one["id"] for one in context["row"]["candidates"]), *(one.id for one in found)]
    if form.patient.data:
        named.append(form.patient.data)
    return {**context, "text": query.get("text", ""), "people": _people(visit, named), "searched": bool(query)}


@pages.form("/results/<result_id>", Permission.VERIFY_FACTS, AssignForm, Assignment, "result.html", page=_assign_page)
def assign(visit: Visit, body: Body, result_id: str) -> After:
    """Say whose result it is: it is recorded as that person's entry."""
    fact = steps.assign(visit, result_id, body).fact
    said = words.entry(BY_KIND[fact.kind].name, show(fact))
    where = url_for("web.patients.patient", patient_id=fact.patient_id)
    return After(where, _("Assigned: %(what)s, %(day)s.", what=said, day=words.day(fact.day)))


@pages.form(
    "/results/<result_id>/dismissal",
    Permission.VERIFY_FACTS,
    ReasonForm,
    ReasonIn,
    "dismiss_result.html",
    page=_result_page,
)
def dismiss(visit: Visit, body: Body, result_id: str) -> After:
    """Say that a result is nobody's of the clinic, and why."""
    steps.dismiss(visit, result_id, body["reason"])
    return After(url_for("web.results.results"), _("The result has been dismissed."))


def _shown(visit: Visit, row: UnmatchedResult, candidate: str | None) -> Shown:
    """A result that waits, in words, with the patients whose it might be."""
    said = cast("dict[str, Any]", reread(row.body))
    return {
        "row": row,
        "words": words.entry(row.collection, said),
        "day": next(said[key] for key in ("measured_on", "collected_on", "observed_on") if key in said),
        "note": said.get("note"),
        "says": row.source.get("status", "final"),
        "candidates": _people(visit, [*([candidate] if candidate else []), *row.might_be]),
        "holder": candidate,
    }


def _people(visit: Visit, idents: Iterable[str]) -> list[Shown]:
    """Patients whom the account may see, each once."""
    return [record.patient_fields(visit, visit.patient(ident)) for ident in dict.fromkeys(idents)]
