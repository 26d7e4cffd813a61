"""What is recorded of a patient: entered, verified, corrected, resolved, entered in error; all versions of it.

Nothing is overwritten: what was said before stands beside what is said now, with who changed it, when and why.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, cast

from flask import request, url_for

from schemas import fields
from schemas.course import ReasonIn
from schemas.event import ResolutionIn
from schemas.fact import VerificationIn
from titrator.security.permissions import Permission
from titrator.store.records import Fact
from titrator.titration.quantities import DAYS
from titrator.web import words
from titrator.web.entries import BY_SHEET, SHEETS, DoseForm, Sheet, as_filled_in
from titrator.web.forms import ChangeForm, Day, Form
from titrator.web.frame import After, Context, Pages, asked, version
from titrator.web.language import gettext as _
from titrator.web.language import lazy_gettext as _l
from titrator.web.who import who
from titrator.workflow import record
from titrator.workflow.accounts import names
from titrator.workflow.errors import Unknown
from titrator.workflow.facts import BY_KIND, COLLECTIONS, EVENTS, SAFETY_EVENTS, show
from titrator.workflow.glance import Glance, glance
from titrator.workflow.record import Which
from titrator.workflow.visit import Visit

pages = Pages("facts")

Body = dict[str, Any]
Shown = dict[str, Any]

_BY_NAME: Final = {collection.name: collection for collection in COLLECTIONS}
_OF_PATIENT: Final = "/patients/<patient_id>"
_ONE: Final = "/patients/<patient_id>/<any({}):collection>/<fact:fact_id>".format(
    ", ".join(f"'{name}'" for name in _BY_NAME)
)
_WEEK: Final = 7


class ResolveForm(ChangeForm):
    """Since when an event is over."""

    resolved_on = Day(_l("Resolved on"))


class HistoryQuery(fields.Schema):
    """Which collection of facts; all if absent."""

    collection = fields.Choice(_BY_NAME)


# Entries


def _entry_pages(sheet: Sheet) -> None:
    def page(visit: Visit, form: Form, patient_id: str) -> Context:
        of = who(visit, patient_id)
        form.fill([(sheet.form.DAY, of.today)])
        context = {"who": of, "sheet": sheet, "title": sheet.title, "reason": None}
        if sheet.form is not DoseForm:
            return context
        seen = glance(visit, patient_id)
        form.fill(_as_decided(seen))
        return {**context, "seen": seen}

    @pages.form(
        f"{_OF_PATIENT}/{sheet.collection.name}/{sheet.path}",
        Permission.RECORD_FACTS,
        sheet.form,
        sheet.takes,
        "entry_page.html",
        page=page,
        name=f"new_{sheet.name}",
    )
    def enter(visit: Visit, body: Body, patient_id: str) -> After:
        recorded = record.record(visit, patient_id, sheet.collection, body)
        said = _("Recorded: %(what)s.", what=_said(recorded.fact))
        if recorded.departs:
            said += " " + _("It departs from what was decided: say why.")
        return After(_to_patient(patient_id), said)


def _as_decided(seen: Glance) -> Iterable[tuple[str, Any]]:
    """The dose that was decided, where the query names that decision and it is in force; somebody sends it still.

    Its level, too: an amount that was cut or rounded does not tell it, and the next dose goes by it.
    """
    one = seen.live
    if one is None or not seen.prevails or one.status != "in-force" or one.micrograms is None:
        return
    if request.args.get("decision") == str(one.id):
        yield "micrograms", words.number(one.micrograms)
        if one.level is not None:
            yield "micrograms_per_kg", words.number(one.level)


def _correction_pages(kind: str, sheet: Sheet) -> None:
    form = sheet.correction

    def page(visit: Visit, filled: Form, patient_id: str, fact_id: int) -> Context:
        found = _fact(visit, Which(patient_id, sheet.collection, fact_id))
        if found["fact"].kind != kind:
            raise Unknown(sheet.collection.noun)
        filled.fill(as_filled_in(form, found["fact"]))
        return found | {"title": _("Correct: %(what)s", what=found["now"]["words"])}

    @pages.form(
        f"{_OF_PATIENT}/{sheet.collection.name}/<fact:fact_id>/correction/{kind}",
        Permission.RECORD_FACTS,
        form,
        sheet.corrects,
        "correct.html",
        page=page,
        name=f"correct_{kind.replace('-', '_')}",
    )
    def correct(visit: Visit, body: Body, patient_id: str, fact_id: int) -> After:
        fact = record.correct(visit, Which(patient_id, sheet.collection, fact_id, version()), body)
        return After(_to_fact(fact), _("Corrected: %(what)s.", what=_said(fact)))


for _sheet in SHEETS:
    _entry_pages(_sheet)
for _kind, _sheet in BY_SHEET.items():
    _correction_pages(_kind, _sheet)


# What was recorded


@pages.page(_ONE, Permission.READ_PATIENTS, "fact.html")
def fact(visit: Visit, patient_id: str, collection: str, fact_id: int) -> Context:
    """A fact, with what may be done with it, and all its versions."""
    return _fact(visit, Which(patient_id, _BY_NAME[collection], fact_id))


def _change_page(visit: Visit, form: Form, patient_id: str, fact_id: int, collection: str = EVENTS.name) -> Context:
    found = _fact(visit, Which(patient_id, _BY_NAME[collection], fact_id))
    form.fill([("version", str(found["fact"].version))])
    return found


def _resolve_page(visit: Visit, form: Form, patient_id: str, fact_id: int) -> Context:
    found = _change_page(visit, form, patient_id, fact_id)
    form.fill([("resolved_on", found["who"].today)])
    return found


@pages.form(
    f"{_ONE}/verification", Permission.VERIFY_FACTS, ChangeForm, VerificationIn, "verify.html", page=_change_page
)
def verify(visit: Visit, body: Body, patient_id: str, collection: str, fact_id: int) -> After:
    """Say that a value of a system, that looked wrong, is right."""
    found = record.verify(visit, Which(patient_id, _BY_NAME[collection], fact_id, version()), body)
    return After(_to_patient(patient_id), _("Verified: %(what)s.", what=_said(found)))


@pages.form(
    f"{_ONE}/entered-in-error", Permission.RECORD_FACTS, ChangeForm, ReasonIn, "take_back.html", page=_change_page
)
def enter_in_error(visit: Visit, body: Body, patient_id: str, collection: str, fact_id: int) -> After:
    """Say that a fact was entered in error."""
    which = Which(patient_id, _BY_NAME[collection], fact_id, version())
    found = record.enter_in_error(visit, which, body["reason"])
    return After(_to_patient(patient_id), _("Entered in error: %(what)s.", what=_said(found)))


@pages.form(
    f"{_OF_PATIENT}/events/<fact:fact_id>/resolution",
    Permission.RECORD_FACTS,
    ResolveForm,
    ResolutionIn,
    "resolve.html",
    page=_resolve_page,
)
def resolve(visit: Visit, body: Body, patient_id: str, fact_id: int) -> After:
    """Say since when an event is over; of a thrombosis or marrow disorder only a prescriber may."""
    found = record.resolve(visit, Which(patient_id, EVENTS, fact_id, version()), body)
    return After(_to_patient(patient_id), _("Resolved: %(what)s.", what=_said(found)))


@pages.page(f"{_OF_PATIENT}/history", Permission.READ_PATIENTS, "history.html")
def history(visit: Visit, patient_id: str) -> Context:
    """All that was recorded, the newest first, with what was said before."""
    of = who(visit, patient_id)
    only = cast("str | None", asked(HistoryQuery).get("collection"))
    told = record.history(visit, patient_id, None if only is None else _BY_NAME[only])
    by = names(visit, (one.recorded_by for versions in told for one in versions))
    return {
        "who": of,
        "only": only,
        "told": [_versions(versions, by) for versions in told],
        "collections": [collection.name for collection in COLLECTIONS],
    }


# The table of weeks


class Row(NamedTuple):
    """A day on which something was recorded, in which week of the course; its entries by column, each as it is shown.

    `first_of_week` says that no newer day of that week stands above it.
    """

    day: str
    week: int | None
    counts: list[Shown]
    weights: list[Shown]
    doses: list[Shown]
    events: list[Shown]
    values: list[Shown]
    first_of_week: bool


_COLUMNS: Final = {
    "platelet-counts": "counts",
    "weights": "weights",
    "doses": "doses",
    "events": "events",
    "observations": "values",
}


def week_rows(timeline: Mapping[str, Any]) -> list[Row]:
    """The days of a timeline, the newest first, each in its week of the course, from 1."""
    started = (timeline["course"] or {}).get("started_on")
    rows: dict[str, Row] = {}
    for one in reversed(timeline["entries"]):
        on = one["day"]
        if on not in rows:
            week = None if started is None or on < started else (DAYS[on] - DAYS[started]) // _WEEK + 1
            first = not rows or next(reversed(rows.values())).week != week
            rows[on] = Row(on, week, [], [], [], [], [], first)
        said = {**one, "words": words.entry(one["collection"], one["fact"])}
        getattr(rows[on], _COLUMNS[one["collection"]]).insert(0, said)
    return list(rows.values())


# What pages show


def _fact(visit: Visit, which: Which) -> Context:
    of = who(visit, which.patient_id)
    versions = record.versions(visit, which)
    told = _versions(versions, names(visit, (one.recorded_by for one in versions)))
    newest = versions[-1]
    safety = newest.kind == "event" and newest.code in SAFETY_EVENTS
    return {
        "who": of,
        "fact": newest,
        "now": told[-1],
        "versions": told[::-1],
        "collection": which.collection.name,
        "correction": f"web.facts.correct_{newest.kind.replace('-', '_')}",
        "may_change": of.patient.active and newest.status != "entered-in-error" and _may_change(visit, newest),
        "may_take_back": not safety or Permission.RESOLVE_SAFETY in visit.who.permissions,
        "may_resolve": newest.kind == "event" and newest.until is None and newest.status == "final",
    }


def _may_change(visit: Visit, of: Fact) -> bool:
    needed = Permission.VERIFY_FACTS if of.status == "unverified" else Permission.RECORD_FACTS
    return needed in visit.who.permissions


def _versions(versions: Sequence[Fact], by: Mapping[str, str]) -> list[Shown]:
    """Versions of a fact as pages show them, the current one last."""
    return [
        {
            **show(one),
            "collection": BY_KIND[one.kind].name,
            "day": one.day,
            "change": one.change,
            "words": words.entry(BY_KIND[one.kind].name, show(one)),
            "by": by[one.recorded_by],
        }
        for one in versions
    ]


def _said(of: Fact) -> str:
    return _("%(what)s, %(day)s", what=words.entry(BY_KIND[of.kind].name, show(of)), day=words.day(of.day))


def _to_patient(patient_id: str) -> str:
    return url_for("web.patients.patient", patient_id=patient_id)


def _to_fact(of: Fact) -> str:
    where = BY_KIND[of.kind].name
    return url_for("web.facts.fact", patient_id=of.patient_id, collection=where, fact_id=of.id)
