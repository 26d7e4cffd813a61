"""A patient at a glance: the next dose with its reasons, what was decided, the course."""

from __future__ import annotations

from typing import Any

from flask import request

from titrator.security.permissions import Permission
from titrator.web.decide import accepting
from titrator.web.frame import Context, Pages
from titrator.web.who import who
from titrator.workflow.glance import by_other_protocols, glance
from titrator.workflow.timeline import timeline
from titrator.workflow.visit import Visit

pages = Pages("patients")


@pages.page("/patients/<patient_id>", Permission.READ_PATIENTS, "patient.html")
def patient(visit: Visit, patient_id: str) -> Context:
    """Everything that whoever decides has to see. `?labels=1` says what other protocols would, too."""
    course: dict[str, Any] = timeline(visit, patient_id, None)
    seen = glance(visit, patient_id)
    return {
        "who": who(visit, patient_id),
        "seen": seen,
        "accepting": accepting(seen),
        "course": course,
        "used": _used(course["entries"], seen.answer),
        "others": by_other_protocols(visit, patient_id) if request.args.get("labels") and seen.answer else None,
        "scale": "linear" if request.args.get("scale") == "linear" else "log",
    }


def _used(entries: list[dict[str, Any]], answer: dict[str, Any] | None) -> dict[str, list[dict[str, Any]]]:
    """The counts and doses that an answer read, as they were recorded."""
    if answer is None:
        return {"counts": [], "doses": []}
    evidence = answer["evidence"]
    return {
        name: [one for one in entries if one["collection"] == collection and one["day"] in evidence[key]]
        for name, collection, key in (
            ("counts", "platelet-counts", "counts_used"),
            ("doses", "doses", "doses_used"),
        )
    }
