"""Short ways to write a course or a local protocol, and to read what is answered."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from titrator.protocols import SHIPPED, Catalogue
from titrator.titration.course import Request, read_document
from titrator.titration.documents import exact
from titrator.titration.quantities import plain
from titrator.titration.recommend import Recommendation, recommend

TODAY = date(2026, 3, 9)
CATALOGUE = Catalogue()
#: The protocols that are shipped.
IDS = [
    "cart-2021-case",
    "eu-itp-adult",
    "eu-itp-adult-higher-cutoffs",
    "eu-itp-paediatric",
    "jp-itp-adult",
    "us-hs-ars",
    "us-itp-adult",
    "us-itp-paediatric",
]
SOUND = (SHIPPED / "us-itp-adult.toml").read_text(encoding="utf-8")


# A course, with days told by how long ago they were


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


# A course, with days told by their dates


def weighed(*weights: tuple[str, float]) -> list[dict[str, Any]]:
    return [{"measured_on": on, "value": kg, "unit": "kg"} for on, kg in weights]


def counted(*counts: tuple[str, float]) -> list[dict[str, Any]]:
    return [{"collected_on": on, "value": platelets, "unit": "10*9/L"} for on, platelets in counts]


def dosed(*doses: tuple[str, float, float]) -> list[dict[str, Any]]:
    return [{"given_on": on, "micrograms": most, "micrograms_per_kg": level} for on, most, level in doses]


# Answers


def ask(document: Mapping[str, object]) -> Request:
    return read_document(exact(document), CATALOGUE.fault)


def answer(protocol: str = "us-itp-adult", **course: Any) -> Recommendation:
    """The answer for TODAY to a course written in plain values; 100 kg of ten weeks ago unless weights are given."""
    document = {"protocol": protocol, "on": TODAY.isoformat(), "weights": [weight(70, 100)]} | course
    request = ask(document)
    return recommend(CATALOGUE.get(request.protocol), request.course, request.on)


def said(recommendation: Recommendation) -> str:
    """An answer in short: `increase BELOW-TARGET`, the level where there is a dose, and the alerts after a bar."""
    words = [str(recommendation.action), *map(str, recommendation.reasons)]
    if recommendation.dose:
        words.append(plain(recommendation.dose.level))
    return " ".join([*words, *(["|", *map(str, recommendation.alerts)] if recommendation.alerts else [])])


def words(text: str) -> str:
    """A text as one line without the rules of tables, so that it does not matter where it was broken."""
    return " ".join(re.sub("[\u2500-\u257f]", " ", text).split())


# Local protocols


def local_protocol(ident: str, **replaced: str) -> str:
    """The text of a sound local protocol; keys are given other values, as TOML, where they stand first."""
    text = SOUND.replace('id = "us-itp-adult"', f'id = "{ident}"').replace('status = "label"', 'status = "local"')
    for key, value in replaced.items():
        text, times = re.subn(rf"(?m)^{key} = .*$", lambda _, line=f"{key} = {value}": line, text, count=1)
        assert times == 1, key
    return text


def write_local(folder: Path, ident: str, text: str | None = None, examples: str | None = None) -> Path:
    """A local protocol file, by default a sound one, with its examples if any."""
    path = folder / f"{ident}.toml"
    path.write_text(local_protocol(ident) if text is None else text, encoding="utf-8")
    if examples is not None:
        path.with_name(f"{ident}.examples.toml").write_text(examples, encoding="utf-8")
    return path
