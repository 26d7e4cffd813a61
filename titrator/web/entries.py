"""The forms of what is recorded of a patient: a class for each, by the names of the schema of its collection.

Sheets tell which forms there are; a correction is the same form with the reason and the version that it changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, ClassVar, Final, NamedTuple, cast

from flask_babel.speaklater import LazyString

from schemas.dose import DoseCorrection, DoseIn
from schemas.event import EventCorrection, EventIn
from schemas.fields import Schema
from schemas.observation import (
    CountCorrection,
    CountIn,
    ObservationCorrection,
    ObservationIn,
    WeightCorrection,
    WeightIn,
)
from titrator.store.records import Fact
from titrator.titration.errors import Fault
from titrator.web.forms import ChangeForm, Choice, Day, Form, Lines, Number, NumberChoice, Text, Tick
from titrator.web.frame import Filled
from titrator.web.language import gettext as _
from titrator.web.language import lazy_gettext as _l
from titrator.web.words import EVENTS, NOT_GIVEN, ROUTES, SCALES, number, observed, unit
from titrator.workflow.facts import BY_KIND, DOSES, PLATELET_COUNTS, WEIGHTS, Collection
from titrator.workflow.facts import EVENTS as EVENT_FACTS
from titrator.workflow.facts import OBSERVATIONS as OBSERVATION_FACTS

_COUNT_UNITS: Final = (
    ("10*9/L", "×10⁹/L"),
    ("10*3/uL", _l("×10³ per microlitre")),
    ("K/uL", _l("K (thousand) per microlitre")),
    ("10*3/mm3", _l("×10³ per mm³")),
    ("G/L", "G/L"),
    ("/uL", _l("per microlitre")),
    ("/mm3", _l("per mm³")),
)
_WEIGHT_UNITS: Final = (("kg", "kg"), ("g", "g"), ("lb", "lb"), ("[lb_av]", _l("lb (avoirdupois)")))
#: What is measured most often, in which units: one choice, so that no unit can be that of another value.
_MEASURED: Final = (
    ("haemoglobin", "g/dL"),
    ("haemoglobin", "g/L"),
    ("haemoglobin", "mmol/L"),
    ("neutrophils", "10*9/L"),
    ("neutrophils", "/uL"),
    ("immature-platelet-fraction", "%"),
)
_TRANSFUSIONS: Final = ("platelet_transfusion", "red_cell_transfusion")
_GRADES: Final = ("0", "1", "2", "3", "4", "5")


def _note() -> Lines:
    return Lines(_l("Note"), render_kw={"maxlength": 1000, "rows": 1})


def _named(code: str, of: str) -> str:
    return f"{observed(code)}, {unit(of)}"


class EntryForm(Form):
    """An entry: its fields in order, those that it cannot do without, what stands behind and under them."""

    #: The field of its day.
    DAY: ClassVar[str]
    FIELDS: ClassVar[tuple[str, ...]]
    REQUIRED: ClassVar[frozenset[str]]
    BESIDE: ClassVar[Mapping[str, Any]] = {}
    HINTS: ClassVar[Mapping[str, Any]] = {}

    @classmethod
    def filled_with(cls, fields: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
        """What stands in the form where a fact says these fields."""
        for name, value in fields.items():
            if name in cls.FIELDS and value is not None:
                yield name, number(value) if isinstance(value, Decimal | int) and value is not True else value


class CountForm(EntryForm):
    """A platelet count."""

    REPEATED = "value"
    DAY = "collected_on"
    FIELDS: ClassVar[tuple[str, ...]] = "value", "unit", "collected_on", "unreliable", "note"
    REQUIRED = frozenset({"value", "unit", "collected_on"})

    value = Number(_l("Platelet count"))
    unit = Choice(_l("Unit"), choices=_COUNT_UNITS)
    collected_on = Day(_l("Collected on"))
    unreliable = Tick(_l("Unreliable: clumped, or preliminary"))
    note = _note()


class WeightForm(EntryForm):
    """A body weight."""

    REPEATED = "value"
    DAY = "measured_on"
    FIELDS: ClassVar[tuple[str, ...]] = "value", "unit", "measured_on", "note"
    REQUIRED = frozenset({"value", "unit", "measured_on"})

    value = Number(_l("Weight"))
    unit = Choice(_l("Unit"), choices=_WEIGHT_UNITS)
    measured_on = Day(_l("Measured on"))
    note = _note()


class DoseForm(EntryForm):
    """A dose that was given."""

    REPEATED = "micrograms"
    DAY = "given_on"
    FIELDS: ClassVar[tuple[str, ...]] = "micrograms", "given_on", "micrograms_per_kg", "note"
    REQUIRED = frozenset({"micrograms", "given_on"})
    BESIDE: ClassVar[Mapping[str, Any]] = {"micrograms": _l("micrograms"), "micrograms_per_kg": _l("micrograms/kg")}
    HINTS: ClassVar[Mapping[str, Any]] = {"micrograms_per_kg": _l("Only where it was stated; else leave it empty.")}

    micrograms = Number(_l("Dose given"))
    given_on = Day(_l("Given on"))
    micrograms_per_kg = Number(_l("Level"))
    note = _note()


class WholeDoseForm(DoseForm):
    """A dose as it is corrected: with how it was given, which a system may have said."""

    FIELDS: ClassVar[tuple[str, ...]] = "micrograms", "given_on", "micrograms_per_kg", "route", "note"

    route = Choice(_l("Given"), choices=[*ROUTES.items()])


class DoseNotGivenForm(EntryForm):
    """A dose that was due and was not given."""

    DAY = "not_given_on"
    FIELDS: ClassVar[tuple[str, ...]] = "reason_not_given", "not_given_on", "note"
    REQUIRED = frozenset({"reason_not_given", "not_given_on"})

    reason_not_given = Choice(_l("Why it was not given"), choices=[("", _l("Choose")), *NOT_GIVEN.items()])
    not_given_on = Day(_l("Was due on"))
    note = _note()


class TransfusionForm(EntryForm):
    """A transfusion."""

    DAY = "occurred_on"
    FIELDS: ClassVar[tuple[str, ...]] = "kind", "occurred_on", "note"
    REQUIRED = frozenset({"kind", "occurred_on"})

    kind = Choice(_l("Transfusion"), choices=[(kind, EVENTS[kind]) for kind in _TRANSFUSIONS])
    occurred_on = Day(_l("Given on"))
    note = _note()


class EventForm(EntryForm):
    """Another event."""

    DAY = "occurred_on"
    FIELDS: ClassVar[tuple[str, ...]] = "kind", "occurred_on", "term", "scale", "grade", "note"
    REQUIRED = frozenset({"kind", "occurred_on"})
    HINTS: ClassVar[Mapping[str, Any]] = {"term": _l("Of an adverse event: what it was, in the words of the scale.")}
    KINDS: ClassVar = tuple(kind for kind in EVENTS if kind not in _TRANSFUSIONS)

    kind = Choice(_l("Event"), choices=[("", _l("Choose")), *((kind, EVENTS[kind]) for kind in KINDS)])
    occurred_on = Day(_l("Occurred on"))
    term = Text(_l("Term"), render_kw={"maxlength": 200, "autocomplete": "off"})
    scale = Choice(_l("Scale"), choices=[("", _l("None")), *SCALES.items()])
    grade = NumberChoice(_l("Grade"), choices=[("", _l("None")), *((one, one) for one in _GRADES)])
    note = _note()


class WholeEventForm(EventForm):
    """Any event, as it is corrected: with the day since which it is over."""

    FIELDS: ClassVar[tuple[str, ...]] = "kind", "occurred_on", "resolved_on", "term", "scale", "grade", "note"
    HINTS: ClassVar[Mapping[str, Any]] = {**EventForm.HINTS, "resolved_on": _l("Empty while it goes on.")}

    kind = Choice(_l("Event"), choices=[*EVENTS.items()])
    resolved_on = Day(_l("Resolved on"))


class ObservationForm(EntryForm):
    """Another value. What is measured most often is chosen with its unit; all else is named."""

    REPEATED = "value"
    SHOWN_AT: ClassVar[Mapping[str, str]] = {"code": "other_code", "unit": "other_unit"}
    DAY = "observed_on"
    FIELDS: ClassVar[tuple[str, ...]] = (
        "measure",
        "value",
        "observed_on",
        "lower_limit_of_normal",
        "other_code",
        "other_unit",
        "note",
    )
    REQUIRED = frozenset({"measure", "value", "observed_on"})
    HINTS: ClassVar[Mapping[str, Any]] = {
        "lower_limit_of_normal": _l("Of the laboratory, in the same unit: the CTCAE grade 1 needs it."),
        "other_code": _l("Only for another value: a code without spaces, like ldh."),
        "other_unit": _l("Only for another value, like U/L."),
    }
    OTHER: ClassVar = "other"

    measure = Choice(
        _l("What was measured"),
        choices=[
            *((f"{code} {of}", LazyString(_named, code, of)) for code, of in _MEASURED),
            (OTHER, _l("Another value, named below")),
        ],
    )
    value = Number(_l("Value"))
    observed_on = Day(_l("Collected on"))
    lower_limit_of_normal = Number(_l("Lower limit of normal"))
    other_code = Text(_l("Code"), render_kw={"maxlength": 100, "autocomplete": "off", "spellcheck": "false"})
    other_unit = Text(_l("Unit"), render_kw={"maxlength": 40, "autocomplete": "off", "spellcheck": "false"})
    note = _note()

    def body(self) -> tuple[dict[str, Any], list[Fault]]:
        """What was filled in, with what was measured as code and unit."""
        body, faults = super().body()
        measure = str(body.pop("measure", self.OTHER))
        code, of = body.pop("other_code", None), body.pop("other_unit", None)
        if measure != self.OTHER:
            for name, said in (("other_code", code), ("other_unit", of)):
                if said is not None:
                    faults.append(Fault(name, _("leave it empty, or choose another value above")))
            code, _space, of = measure.partition(" ")
        return {**body, **({"code": code} if code else {}), **({"unit": of} if of else {})}, faults

    @classmethod
    def filled_with(cls, fields: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
        """What stands in the form where a fact says these fields."""
        yield from super().filled_with(fields)
        code, of = fields["code"], fields["unit"]
        if (code, of) in _MEASURED:
            yield "measure", f"{code} {of}"
        else:
            yield from (("measure", cls.OTHER), ("other_code", code), ("other_unit", of))


class Sheet(NamedTuple):
    """A form of entries: its name, its collection, where it stands, what it is called, the schemas that it is for."""

    name: str
    form: type[EntryForm]
    collection: Collection
    path: str
    title: Any
    takes: type[Schema]
    corrects: type[Schema]
    #: The form of a correction, where it is not that of an entry.
    whole: type[EntryForm] | None = None

    @property
    def endpoint(self) -> str:
        """Of its page."""
        return f"web.facts.new_{self.name}"

    @property
    def correction(self) -> type[EntryForm]:
        """The form of a correction: that of an entry, the version that it changes, and why."""
        entry = self.whole or self.form
        fields = (*entry.FIELDS, "reason")
        return cast(
            type[EntryForm],
            type(
                f"Correct{entry.__name__}",
                (ChangeForm, entry),
                {"FIELDS": fields, "REQUIRED": entry.REQUIRED | {"reason"}},
            ),
        )


SHEETS: Final = (
    Sheet("count", CountForm, PLATELET_COUNTS, "new", _l("Platelet count"), CountIn, CountCorrection),
    Sheet("weight", WeightForm, WEIGHTS, "new", _l("Weight"), WeightIn, WeightCorrection),
    Sheet("dose", DoseForm, DOSES, "new", _l("Dose given"), DoseIn, DoseCorrection, WholeDoseForm),
    Sheet("dose_not_given", DoseNotGivenForm, DOSES, "not-given/new", _l("Dose not given"), DoseIn, DoseCorrection),
    Sheet("transfusion", TransfusionForm, EVENT_FACTS, "transfusions/new", _l("Transfusion"), EventIn, EventCorrection),
    Sheet("event", EventForm, EVENT_FACTS, "new", _l("Event"), EventIn, EventCorrection, WholeEventForm),
    Sheet(
        "observation",
        ObservationForm,
        OBSERVATION_FACTS,
        "new",
        _l("Other value"),
        ObservationIn,
        ObservationCorrection,
    ),
)
#: How a fact is corrected, by its kind: any event by one form.
BY_SHEET: Final[Mapping[str, Sheet]] = {
    "platelet-count": SHEETS[0],
    "weight": SHEETS[1],
    "dose": SHEETS[2],
    "dose-not-given": SHEETS[3],
    "event": SHEETS[5],
    "observation": SHEETS[6],
}


def entry_forms(today: str, count_unit: str | None = None) -> dict[str, Filled]:
    """An empty form of each sheet, by its name, of today at the clinic: for the panel of entry on a patient's page.

    Counts begin with the unit of the last one, if any: a laboratory keeps to one.
    """
    forms = {}
    for sheet in SHEETS:
        form = sheet.form(formdata=None)
        form[sheet.form.DAY].data = today
        if count_unit is not None and sheet.form is CountForm:
            form["unit"].data = count_unit
        forms[sheet.name] = Filled(form, {})
    return forms


def as_filled_in(form: type[EntryForm], fact: Fact) -> Iterable[tuple[str, Any]]:
    """What stands in a form of a correction: what the fact says now, and the version that it has."""
    fields = {**BY_KIND[fact.kind].fields(fact), "note": fact.detail.get("note"), "unreliable": fact.unreliable or None}
    yield "version", str(fact.version)
    yield from form.filled_with(fields)
