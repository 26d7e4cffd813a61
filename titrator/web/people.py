"""Patients: found, made, changed; and seen in an emergency though they are of another clinic."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar, Final

import structlog
from flask import url_for

from schemas.account import GlassIn
from schemas.patient import PatientChange, PatientIn, PatientQuery
from titrator.security.permissions import Permission
from titrator.titration.errors import Fault
from titrator.web.forms import ChangeForm, Choice, Day, Form, Lines, Text, Tick, options
from titrator.web.frame import After, Context, Pages, asked, version
from titrator.web.language import gettext as _
from titrator.web.language import lazy_gettext as _l
from titrator.web.who import who
from titrator.web.words import moment
from titrator.workflow import accounts, record
from titrator.workflow.visit import Visit

pages = Pages("people")

Body = dict[str, Any]

#: What the first number of an installation is of, if nobody says so.
SYSTEM: Final = "urn:mrn"
#: As many numbers as the schema takes.
MOST_NUMBERS: Final = 20
_NUMBER_PATH: Final = re.compile(r"identifiers\[(\d+)\](?:\.(system|value))?", re.ASCII)
_NAMED: Final = {"maxlength": 200, "autocomplete": "off", "spellcheck": "false"}


class NumbersForm(Form):
    """A form with the numbers of a patient: a row is what a system calls the patient; one without a value is none."""

    def body(self) -> tuple[dict[str, Any], list[Fault]]:
        """What was filled in, with the rows as `identifiers`."""
        body, faults = super().body()
        said = {name: body.pop(name, None) for row in range(MOST_NUMBERS) for name in _row(row)}
        pairs = [{"system": said[f"system_{row}"], "value": said[f"value_{row}"]} for row in self._rows()]
        body["identifiers"] = [{key: text for key, text in pair.items() if text is not None} for pair in pairs]
        return body, faults

    def field_of(self, path: str) -> str | None:
        """The name of the field that shows a fault of a path; of a number its row."""
        found = _NUMBER_PATH.fullmatch(path)
        if found is None:
            return super().field_of(path)
        return f"{found[2] or 'value'}_{self._rows()[int(found[1])]}"

    def fill_numbers(self, identifiers: list[dict[str, str]], system: str) -> None:
        """Fill in the numbers that there are, and one empty row more."""
        rows = [*identifiers, {"system": system, "value": ""}][:MOST_NUMBERS]
        self.fill((f"{key}_{row}", one[key]) for row, one in enumerate(rows) for key in ("system", "value"))

    def rows(self) -> list[int]:
        """The rows to show: those with a system or a value, and one that is empty."""
        filled = [row for row in range(MOST_NUMBERS) if any(self[name].data for name in _row(row))]
        shown = max(filled, default=-1) + 1
        return list(range(min(max(shown, 1), MOST_NUMBERS)))

    def _rows(self) -> list[int]:
        return [row for row in range(MOST_NUMBERS) if str(self[f"value_{row}"].data or "").strip()]


def _row(row: int) -> tuple[str, str]:
    return f"system_{row}", f"value_{row}"


for _number in range(MOST_NUMBERS):
    setattr(NumbersForm, f"system_{_number}", Text(_l("System of the number"), render_kw=_NAMED))
    setattr(NumbersForm, f"value_{_number}", Text(_l("Number"), render_kw=_NAMED))


class NewForm(NumbersForm):
    """A new patient."""

    clinic = Choice(_l("Clinic"))
    family_name = Text(_l("Family name"), render_kw={"maxlength": 200, "autocomplete": "off"})
    given_name = Text(_l("Given name"), render_kw={"maxlength": 200, "autocomplete": "off"})
    born_on = Day(_l("Born on"))


class ChangePatientForm(ChangeForm, NewForm):
    """Other particulars of a patient."""

    active = Tick(_l("Active: is treated or followed here"))

    def body(self) -> tuple[dict[str, Any], list[Fault]]:
        """All particulars: an empty tick says that the patient is not active."""
        body, faults = super().body()
        return {**body, "active": bool(self.active.data)}, faults


class EmergencyForm(Form):
    """Whom one has to see, and why."""

    SHOWN_AT: ClassVar[Mapping[str, str]] = {"identifier": "number"}

    number = Text(_l("Number"), render_kw=_NAMED)
    system = Text(_l("System of the number"), render_kw=_NAMED)
    patient = Text(_l("Or the id of the record here"), render_kw=_NAMED)
    reason = Lines(_l("Reason"), render_kw={"maxlength": 1000, "rows": 3})

    def body(self) -> tuple[dict[str, Any], list[Fault]]:
        """The patient by one of the two, as REST takes it."""
        body, faults = super().body()
        number, system = body.pop("number", None), body.pop("system", None)
        if number is not None:
            body["identifier"] = {"value": number, **({} if system is None else {"system": system})}
        return body, faults

    def field_of(self, path: str) -> str | None:
        """The name of the field that shows a fault of a path."""
        return "system" if path == "identifier.system" else super().field_of(path)


@pages.page("/patients", Permission.READ_PATIENTS, "people.html")
def search(visit: Visit) -> Context:
    """Patients by name, number or clinic."""
    query = asked(PatientQuery)
    found, following = record.find_patients(visit, query)
    found.sort(key=lambda patient: (patient.search_name, patient.id))
    return {
        "query": query,
        "found": [record.patient_fields(visit, patient) for patient in found],
        "clinics": {clinic.id: clinic.name for clinic in record.clinics(visit)},
        "following": None if following is None else {**query, "cursor": following},
    }


def _system(visit: Visit) -> str:
    return record.usual_system(visit) or SYSTEM


def _new_page(visit: Visit, form: NewForm) -> Context:
    form.clinic.choices = options((clinic.id, clinic.name) for clinic in record.clinics(visit))
    form.fill_numbers([], _system(visit))
    return {}


@pages.form("/patients/new", Permission.WRITE_PATIENTS, NewForm, PatientIn, "new_patient.html", page=_new_page)
def new(visit: Visit, body: Body) -> After:
    """A new patient."""
    patient = record.add_patient(visit, body)
    said = _("%(family)s, %(given)s has a record now.", family=patient.family_name, given=patient.given_name)
    return After(url_for("web.patients.patient", patient_id=patient.id), said)


def _change_page(visit: Visit, form: ChangePatientForm, patient_id: str) -> Context:
    of = who(visit, patient_id)
    patient = of.patient
    mine = {clinic.id: clinic.name for clinic in record.clinics(visit)}
    form.clinic.choices = options({of.clinic.id: of.clinic.name, **mine}.items())
    form.fill(
        {
            "version": str(patient.version),
            "clinic": patient.clinic_id,
            "family_name": patient.family_name,
            "given_name": patient.given_name,
            "born_on": patient.born_on,
            "active": patient.active,
        }.items()
    )
    form.fill_numbers(of.identifiers, _system(visit))
    return {"who": of}


@pages.form(
    "/patients/<patient_id>/particulars",
    Permission.WRITE_PATIENTS,
    ChangePatientForm,
    PatientChange,
    "change_patient.html",
    page=_change_page,
)
def change(visit: Visit, body: Body, patient_id: str) -> After:
    """A patient with other particulars."""
    record.change_patient(visit, patient_id, body, version())
    return After(url_for("web.patients.patient", patient_id=patient_id), _("The particulars have been changed."))


def _emergency_page(visit: Visit, form: EmergencyForm) -> Context:
    form.fill([("system", _system(visit))])
    return {"minutes": visit.services.policy.glass_seconds // 60}


@pages.form("/emergency", Permission.BREAK_GLASS, EmergencyForm, GlassIn, "emergency.html", page=_emergency_page)
def emergency(visit: Visit, body: Body) -> After:
    """Access to a patient of another clinic for a while; it is in the trail, and reported."""
    broken = accounts.break_glass(visit, body)
    structlog.get_logger().warning("break-glass", account=visit.who.account_id)
    said = _("You have access until %(until)s. That and your reason are reported.", until=moment(broken.until))
    return After(url_for("web.patients.patient", patient_id=broken.patient_id), said)
