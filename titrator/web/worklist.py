"""The first page: what waits for somebody, by urgency; and to sign several proposals that change nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

from flask import Response, request, url_for

from schemas.sign_off import Batch
from schemas.worklist import WorklistQuery
from titrator.security.permissions import Permission
from titrator.titration.documents import reread
from titrator.titration.errors import Fault
from titrator.web.forms import Choices, Form
from titrator.web.frame import Context, Pages, asked, rendered
from titrator.web.language import gettext as _
from titrator.workflow import sign_off
from titrator.workflow.errors import Invalid
from titrator.workflow.record import clinics
from titrator.workflow.tasks import Task
from titrator.workflow.visit import Visit, day_at
from titrator.workflow.worklist import lines_of, settle_first
from titrator.workflow.worklist import worklist as page_of

pages = Pages("worklist")

Line = dict[str, Any]


class SignForm(Form):
    """The proposals that were ticked, each as `patient:proposal`."""

    chosen = Choices()

    def body(self) -> tuple[dict[str, Any], list[Fault]]:
        """The proposals, as REST takes them."""
        pairs = [one.partition(":") for one in self.chosen.data or request.args.getlist("chosen")]
        return {"items": [{"patient": patient, "proposal_sha256": sha256} for patient, _, sha256 in pairs]}, []


@pages.page("/worklist", Permission.READ_PATIENTS, "worklist.html", before=settle_first)
def worklist(visit: Visit) -> Context:
    """What waits, with tallies, of all clinics of the account or of one; of today or of a day to come."""
    query = asked(WorklistQuery)
    page = page_of(visit, query)
    mine = clinics(visit)
    names = {clinic.id: clinic.name for clinic in mine}
    return {
        "query": query,
        "page": page,
        "lines": [cast(Line, reread(line)) for line in page.lines],
        "tasks": [str(task) for task in Task],
        "clinics": names,
        "today": {clinic.id: day_at(clinic, visit.now) for clinic in mine},
        "following": {**query, "cursor": page.next},
    }


def _to_sign(visit: Visit, form: Form) -> Context:
    """The ticked proposals as they stand now."""
    wanted = dict(_pairs(form))
    lines = [cast(Line, reread(line)) for line in lines_of(visit, wanted)]
    return {
        "lines": [one for one in lines if (one["patient"], one["proposal_sha256"]) in wanted.items()],
        "wanted": len(wanted),
    }


def _pairs(form: Form) -> Iterable[tuple[str, str]]:
    return [(one["patient"], one["proposal_sha256"]) for one in form.body()[0]["items"]]


@pages.form("/worklist/sign", Permission.SIGN_OFF, SignForm, Batch, "sign.html", page=_to_sign, before=settle_first)
def sign(visit: Visit, body: Mapping[str, list[dict[str, str]]]) -> Response:
    """Sign several proposals, each on its own; what became of each is told."""
    if not body["items"]:
        raise Invalid(Fault("chosen", _("nothing was ticked")))
    answered = sign_off.accept_several(visit, body["items"])
    told = [(one, visit.patient(one.patient_id) if one.decision else None) for one in answered]
    signed = sum(one.decision is not None for one in answered)
    return Response(rendered("signed.html", {"told": told, "signed": signed, "back": url_for("web.worklist.worklist")}))
