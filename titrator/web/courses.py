"""The course of a patient: started by a protocol, changed for a reason, paused, ended; with all its versions."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

import marshmallow as ma
from flask import redirect, request, url_for

from schemas.course import CourseStart, Discontinuation, EligibilityIn, NewBaseline, ProtocolSwitch, ReasonIn
from titrator.protocols import Catalogue
from titrator.security.permissions import Permission
from titrator.store.records import CourseVersion
from titrator.titration.errors import Fault
from titrator.titration.protocol import Protocol, WeightBasis
from titrator.web.forms import ChangeForm, Choice, Choices, Day, Form, Hidden, Lines, options
from titrator.web.frame import After, Context, Pages, version
from titrator.web.language import gettext as _
from titrator.web.language import lazy_gettext as _l
from titrator.web.who import Who, who
from titrator.web.words import ELIGIBILITY
from titrator.workflow import courses
from titrator.workflow.accounts import names
from titrator.workflow.errors import Unknown
from titrator.workflow.visit import Visit

pages = Pages("courses")

Body = dict[str, Any]
Step = Callable[[Visit, str, Body, int | None], CourseVersion]

_RULE: Final = "/patients/<patient_id>/course"


class StartForm(Form):
    """A course by the protocol that was chosen first."""

    protocol = Hidden()
    started_on = Day(_l("Started on"))
    eligibility = Choices(_l("Confirmed before the first dose"))
    reason = Lines(_l("Reason"), render_kw={"maxlength": 1000, "rows": 2})

    def body(self) -> tuple[dict[str, Any], list[Fault]]:
        """The start, as REST takes it."""
        body, faults = super().body()
        return {"protocol": str(self.protocol.data or ""), **body}, faults


class EligibilityForm(ChangeForm):
    """What has been confirmed, all of it: what is not ticked is not confirmed any more."""

    eligibility = Choices(_l("Confirmed before the first dose"))

    def body(self) -> tuple[dict[str, Any], list[Fault]]:
        """What is ticked, none of it if nothing is."""
        body, faults = super().body()
        return {"eligibility": [], **body}, faults


class SwitchForm(ChangeForm):
    """Another protocol."""

    protocol = Choice(_l("Protocol"), render_kw={"lang": "en"})  # the words of the protocols


class BaselineForm(ChangeForm):
    """From which day doses follow a new baseline weight."""

    baseline_on = Day(_l("Baseline weight of"))


class EndForm(ChangeForm):
    """The end of a course."""

    ended_on = Day(_l("Ended on"))


class Change(NamedTuple):
    """A change of a course: its path, who may, the statuses in which it can be, its form and step, and its words."""

    path: str
    permission: Permission
    statuses: tuple[str, ...]
    form: type[ChangeForm]
    schema: type[ma.Schema]
    step: Step
    title: Any
    says: Any
    style: str = "btn-outline-primary"

    @property
    def name(self) -> str:
        """Of its page."""
        return self.path.replace("-", "_")

    @property
    def endpoint(self) -> str:
        """Of its page."""
        return f"web.courses.{self.name}"


_OPEN: Final = ("active", "paused")
CHANGES: Final = (
    Change(
        "eligibility",
        Permission.CONFIRM_ELIGIBILITY,
        _OPEN,
        EligibilityForm,
        EligibilityIn,
        courses.confirm_eligibility,
        _l("Confirm eligibility"),
        _l("What the protocol asks for before the first dose."),
    ),
    Change(
        "protocol",
        Permission.MANAGE_COURSES,
        _OPEN,
        SwitchForm,
        ProtocolSwitch,
        courses.switch_protocol,
        _l("Switch protocol"),
        _l("From now on doses follow the other label."),
    ),
    Change(
        "baseline",
        Permission.NEW_BASELINE,
        _OPEN,
        BaselineForm,
        NewBaseline,
        courses.new_baseline,
        _l("New baseline weight"),
        _l("Of protocols that dose by a baseline: doses follow the weight of that day from now on."),
    ),
    Change(
        "pause",
        Permission.MANAGE_COURSES,
        ("active",),
        ChangeForm,
        ReasonIn,
        courses.pause,
        _l("Pause"),
        _l("There is no next dose and no reminder until it goes on."),
    ),
    Change(
        "continuation",
        Permission.MANAGE_COURSES,
        ("paused",),
        ChangeForm,
        ReasonIn,
        courses.go_on,
        _l("Go on"),
        _l("The next dose is told again."),
    ),
    Change(
        "discontinuation",
        Permission.DISCONTINUE,
        _OPEN,
        EndForm,
        Discontinuation,
        courses.discontinue,
        _l("Discontinue"),
        _l("The course ends; another one may be started."),
        "btn-outline-danger",
    ),
    Change(
        "entered-in-error",
        Permission.DISCONTINUE,
        _OPEN,
        ChangeForm,
        ReasonIn,
        courses.enter_in_error,
        _l("Entered in error"),
        _l("For a wrong day of start, or a wrong patient: the course never was. What was recorded stays."),
        "btn-outline-danger",
    ),
)


@pages.page(_RULE, Permission.READ_PATIENTS, "course.html")
def course(visit: Visit, patient_id: str) -> Context:
    """The course that is open, what this account may do with it, and all versions of all courses."""
    of = who(visit, patient_id)
    versions = courses.courses(visit, patient_id)
    return {
        "who": of,
        "protocol": None if of.course is None else _usable(visit.services.catalogue, of.course.protocol),
        "changes": [one for one in CHANGES if _is_open_to(visit, of, one)],
        "versions": versions[::-1],
        "by": names(visit, (one.changed_by for one in versions)),
    }


def _is_open_to(visit: Visit, of: Who, change: Change) -> bool:
    if of.course is None or of.course.status not in change.statuses or change.permission not in visit.who.permissions:
        return False
    if change.form is BaselineForm:
        protocol = _usable(visit.services.catalogue, of.course.protocol)
        return protocol is not None and protocol.weight_basis is WeightBasis.BASELINE
    return change.form is not EligibilityForm or bool(_asked_for(visit, of.course))


# The start: first the protocol is chosen, then it says what it asks for


@pages.page(f"{_RULE}/protocols", Permission.MANAGE_COURSES, "choose_protocol.html")
def choose(visit: Visit, patient_id: str) -> Context:
    """The protocols, each with what it is for."""
    return {"who": who(visit, patient_id), "protocols": _protocols(visit.services.catalogue)}


def _start_page(visit: Visit, form: StartForm, patient_id: str) -> Any:
    of = who(visit, patient_id)
    ident = str(form.protocol.data or request.args.get("protocol", ""))
    protocol = _usable(visit.services.catalogue, ident)
    if protocol is None and request.method == "GET":
        return redirect(url_for("web.courses.choose", patient_id=patient_id))
    if protocol is None:
        raise Unknown("protocol")
    form.fill([("protocol", ident), ("started_on", of.today)])
    form.eligibility.choices = options(_ticks(protocol.eligibility))
    return {"who": of, "protocol": protocol}


@pages.form(f"{_RULE}/start", Permission.MANAGE_COURSES, StartForm, CourseStart, "start_course.html", page=_start_page)
def start(visit: Visit, body: Body, patient_id: str) -> After:
    """Start a course."""
    started = courses.start(visit, patient_id, body)
    return After(_to_patient(patient_id), _("The course by %(protocol)s has started.", protocol=started.protocol))


# Changes


def _change(change: Change) -> None:
    def page(visit: Visit, form: Form, patient_id: str) -> Context:
        of = who(visit, patient_id)
        if of.course is None:
            raise Unknown("course")
        catalogue = visit.services.catalogue
        form.fill([("version", str(of.course.version))])
        if isinstance(form, EligibilityForm):
            form.eligibility.choices = options(_ticks(_asked_for(visit, of.course)))
            form.fill([("eligibility", list(of.course.eligibility))])
        elif isinstance(form, SwitchForm):
            form.protocol.choices = [
                (one.id, one.title) for one in _protocols(catalogue) if one.id != of.course.protocol
            ]
        elif isinstance(form, BaselineForm):
            form.fill([("baseline_on", of.today)])
        elif isinstance(form, EndForm):
            form.fill([("ended_on", of.today)])
        protocols = _protocols(catalogue) if isinstance(form, SwitchForm) else []
        return {"who": of, "change": change, "protocols": protocols}

    @pages.form(
        f"{_RULE}/{change.path}",
        change.permission,
        change.form,
        change.schema,
        "change_course.html",
        page=page,
        name=change.name,
    )
    def carry_out(visit: Visit, body: Body, patient_id: str) -> After:
        change.step(visit, patient_id, body, version())
        return After(url_for("web.courses.course", patient_id=patient_id), _("Done: %(what)s.", what=change.title))


for _one in CHANGES:
    _change(_one)


def _asked_for(visit: Visit, of: CourseVersion) -> tuple[str, ...]:
    """What the protocol of a course asks for, and what has been confirmed beside it."""
    protocol = _usable(visit.services.catalogue, of.protocol)
    return tuple(dict.fromkeys((*(protocol.eligibility if protocol else ()), *of.eligibility)))


def _ticks(codes: Iterable[str]) -> list[tuple[str, Any]]:
    return [(code, ELIGIBILITY.get(code, code.replace("-", " "))) for code in codes]


def _usable(catalogue: Catalogue, ident: str) -> Protocol | None:
    return None if catalogue.fault(ident) else catalogue.get(ident)


def _protocols(catalogue: Catalogue) -> list[Protocol]:
    """Those that can be used: labels first."""
    usable = (one for one in (_usable(catalogue, ident) for ident in catalogue.ids()) if one is not None)
    return sorted(usable, key=lambda one: (one.status != "label", one.title))


def _to_patient(patient_id: str) -> str:
    return url_for("web.patients.patient", patient_id=patient_id)
