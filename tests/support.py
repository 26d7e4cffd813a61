"""Short ways to write a course and to read an answer."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from titrator.protocols import Catalogue
from titrator.titration.course import read_document
from titrator.titration.documents import exact
from titrator.titration.quantities import plain
from titrator.titration.recommend import Recommendation, recommend

TODAY = date(2026, 3, 9)
CATALOGUE = Catalogue()


def day(ago: int) -> str:
    """The day that lies so many days before the day asked about."""
    return (TODAY - timedelta(days=ago)).isoformat()


def weight(ago: int, kg: float) -> dict[str, Any]:
    return {"measured_on": day(ago), "value": kg, "unit": "kg"}


def count(ago: int, platelets: float, *, unreliable: bool = False) -> dict[str, Any]:
    entry = {"collected_on": day(ago), "value": platelets, "unit": "10*9/L"}
    return entry | {"unreliable": True} if unreliable else entry


def dose(ago: int, micrograms: float, level: float | None = None) -> dict[str, Any]:
    entry = {"given_on": day(ago), "micrograms": micrograms}
    return entry if level is None else entry | {"micrograms_per_kg": level}


def event(ago: int, kind: str, resolved_ago: int | None = None) -> dict[str, Any]:
    entry = {"kind": kind, "occurred_on": day(ago)}
    return entry if resolved_ago is None else entry | {"resolved_on": day(resolved_ago)}


def answer(protocol: str = "us-itp-adult", **course: Any) -> Recommendation:
    """The answer for TODAY to a course written in plain values; 100 kg of ten weeks ago unless weights are given."""
    document = {"protocol": protocol, "on": TODAY.isoformat(), "weights": [weight(70, 100)]} | course
    request = read_document(exact(document), CATALOGUE.fault)
    return recommend(CATALOGUE.get(request.protocol), request.course, request.on)


def said(recommendation: Recommendation) -> str:
    """An answer in short: `increase BELOW-TARGET`, the level where there is a dose, and the alerts after a bar."""
    words = [str(recommendation.action), *map(str, recommendation.reasons)]
    if recommendation.dose:
        words.append(plain(recommendation.dose.level))
    return " ".join([*words, *(["|", *map(str, recommendation.alerts)] if recommendation.alerts else [])])
