"""A patient at a glance: the next dose with its reasons, what was decided, the course."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, cast

from flask import Response, current_app, request

from titrator.security.permissions import Permission
from titrator.security.secrets import sha256
from titrator.store.base import CourseFact, Where
from titrator.store.records import Decision, Patient
from titrator.titration.errors import InvalidProtocol
from titrator.titration.protocol import Protocol
from titrator.web import chart_words
from titrator.web.chart_cache import chart_svg
from titrator.web.chart_data import ChartData, chart_data
from titrator.web.decide import accepting
from titrator.web.entries import entry_forms
from titrator.web.facts import week_rows
from titrator.web.frame import Context, Pages
from titrator.web.language import gettext, locale
from titrator.web.sheets import links
from titrator.web.who import who
from titrator.workflow.facts import BY_KIND, SAFETY_EVENTS, standing_counts
from titrator.workflow.glance import by_other_protocols, glance
from titrator.workflow.timeline import timeline
from titrator.workflow.visit import Visit

pages = Pages("patients")

_WORDS: Final = chart_words.ENGLISH


@pages.page("/patients/<patient_id>", Permission.READ_PATIENTS, "patient.html")
def patient(visit: Visit, patient_id: str) -> Context:
    """Everything that whoever decides has to see. `?labels=1` says what other protocols would, too."""
    course: dict[str, Any] = timeline(visit, patient_id, None)
    seen, of = glance(visit, patient_id), who(visit, patient_id)
    return {
        "who": of,
        "seen": seen,
        "accepting": accepting(seen),
        "course": course,
        "used": _used(course["entries"], seen.answer, visit.session.course_facts(of.patient.id)),
        "others": by_other_protocols(visit, patient_id) if request.args.get("labels") and seen.answer else None,
        "scale": _axis(),
        "entries": entry_forms(of.today, _count_unit(course["entries"]))
        if Permission.RECORD_FACTS in visit.who.permissions
        else None,
        "rows": week_rows(course),
        "open_events": [one for one in course["entries"] if _is_open(one)],
        "sheets": links(visit, of.patient),
        "collection_of": lambda kind: BY_KIND[kind].name,
    }


def _count_unit(entries: list[dict[str, Any]]) -> str | None:
    """The unit of the newest count, if any."""
    units = [one["fact"]["unit"] for one in entries if one["collection"] == "platelet-counts"]
    return units[-1] if units else None


def _is_open(one: dict[str, Any]) -> bool:
    """Whether an entry is an event that holds up every dose until it is resolved."""
    fact = one["fact"]
    open_ = fact["status"] == "final" and not fact.get("resolved_on")
    return one["collection"] == "events" and open_ and fact["kind"] in SAFETY_EVENTS


def _used(
    entries: list[dict[str, Any]], answer: dict[str, Any] | None, facts: Iterable[CourseFact]
) -> dict[str, list[dict[str, Any]]]:
    """The counts and doses that an answer read, as they were recorded: of each day the count that stands for it."""
    if answer is None:
        return {"counts": [], "doses": []}
    evidence, stands = answer["evidence"], set(standing_counts(facts).values())
    found = {
        name: [one for one in entries if one["collection"] == collection and one["day"] in evidence[key]]
        for name, collection, key in (
            ("counts", "platelet-counts", "counts_used"),
            ("doses", "doses", "doses_used"),
        )
    }
    return found | {"counts": [one for one in found["counts"] if one["fact"]["id"] in stands]}


@pages.page("/patients/<patient_id>/chart.svg", Permission.READ_PATIENTS)
def chart(visit: Visit, patient_id: str) -> Response:
    """The chart of the course, drawn once for each state of the record; `?scale=linear` in place of a log axis."""
    patient, axis = visit.patient(patient_id), _axis()
    today = visit.today(patient)
    made_of = (patient.id, patient.revision, patient.version, patient.decided, today, visit.services.program)
    key = sha256(" ".join(map(str, (*made_of, axis, locale()))))
    visit.note("read", f"patient/{patient.id}/chart", patient=patient)
    drawn = chart_svg(
        Path(current_app.instance_path) / "charts",
        key,
        lambda: _draw(visit, patient, axis),
    )
    response = Response(drawn, content_type="image/svg+xml; charset=utf-8")
    response.set_etag(key)
    return response


def _draw(visit: Visit, patient: Patient, axis: str) -> str:
    from titrator.web import charts  # noqa: PLC0415 (Altair takes a third of a second to import, at each start)

    return charts.draw(_drawn_of(visit, patient), _translated(), charts.Axis(axis))


def _axis() -> str:
    return "linear" if request.args.get("scale") == "linear" else "log"


def _drawn_of(visit: Visit, patient: Patient) -> ChartData:
    course = timeline(visit, patient.id, None)
    changes = cast("list[dict[str, str]]", course["course_changes"])
    protocols = {one["protocol"]: _protocol(visit, one["protocol"]) for one in changes}
    mine = Where("patient_id", "=", patient.id), Where("current", "=", 1), Where("kind", "=", "accept")
    held = visit.session.find(Decision, *mine, Where("dose", "is null"), order=("id",))
    return chart_data(course, {name: one for name, one in protocols.items() if one}, [one.day for one in held])


def _protocol(visit: Visit, ident: str) -> Protocol | None:
    try:
        return visit.services.catalogue.get(ident)
    except (KeyError, InvalidProtocol):  # the course is drawn all the same, without its bands
        return None


def _translated() -> chart_words.Words:
    """The words of the chart in the language of the page."""
    said: dict[str, Any] = {"language": locale()}
    for name, words in _WORDS._asdict().items():
        if isinstance(words, str) and name != "language":
            said[name] = gettext(words)
        elif isinstance(words, Mapping):
            said[name] = {code: gettext(text) for code, text in words.items()}
    return _WORDS._replace(**said)
