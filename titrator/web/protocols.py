"""Protocols as a pharmacist reads them: which there are, what one does at each count and why, where two part."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

import marshmallow as ma

from schemas.fields import Schema, Text
from titrator.protocols import Catalogue
from titrator.protocols.examples import Example
from titrator.security.permissions import Permission
from titrator.titration.errors import Fault
from titrator.titration.protocol import Protocol, WeeklyProtocol
from titrator.web.frame import Context, Pages, asked
from titrator.web.language import lazy_gettext as _l
from titrator.workflow import compare
from titrator.workflow.errors import Invalid, Unknown
from titrator.workflow.visit import Visit

pages = Pages("protocols")

STATUSES: Final[Mapping[str, Any]] = {
    "label": _l("label"),
    "case_report": _l("case report: off label"),
    "local": _l("local protocol: no label"),
}
READ_AS: Final[Mapping[str, Any]] = {
    "label_text": _l("the label itself was read"),
    "transcription": _l("read in a transcription by others, not in the label itself"),
    "excerpt": _l("read in excerpts"),
    "summary": _l("read in a summary by others"),
    "article": _l("read in the article"),
}
RULES: Final[Mapping[str, Any]] = {
    "population": _l("Who it is for"),
    "weight": _l("Which weight"),
    "start": _l("First dose"),
    "increase": _l("Increase"),
    "maintain": _l("Keep"),
    "reduce": _l("Reduce"),
    "hold": _l("Hold"),
    "resume": _l("Resume after a hold"),
    "minimum": _l("Lowest dose"),
    "maximum": _l("Highest dose"),
    "monitoring": _l("Monitoring"),
    "no_response": _l("No response"),
    "missed_dose": _l("Missed dose"),
    "warnings": _l("Warnings"),
    "preparation": _l("Preparation"),
}
#: The settings that examples guard; those that are named as a rule are said as that.
LIMITS: Final[Mapping[str, Any]] = {
    **RULES,
    "step": _l("Step"),
    "reduce_weeks": _l("Weeks before a reduction"),
    "minimum_age": _l("Youngest age"),
    "maximum_age": _l("Oldest age"),
    "eligibility": _l("Confirmed before the first dose"),
    "weight_basis": _l("Which weight"),
    "weight_maximum_age": _l("Oldest weight"),
    "maximum_micrograms": _l("Highest dose in micrograms"),
    "single_dose": _l("Single dose"),
    "vials": _l("Vials"),
}


class Listed(NamedTuple):
    """A protocol in the list: with its fault, or with what it is."""

    id: str
    fault: str | None
    protocol: Protocol | None


class Compared(Schema):
    """Which two."""

    one = Text()
    other = Text()

    @ma.post_load
    def both(self, data: dict[str, str], **_: Any) -> dict[str, str]:
        """Refuse one without the other."""
        if len(data) == 1:
            raise ma.ValidationError({name: ["required"] for name in ("one", "other") if name not in data})
        return data


@pages.page("/protocols", Permission.READ_PROTOCOLS, "protocols.html")
def protocols(visit: Visit) -> Context:
    """All protocols, and those whose file is refused."""
    catalogue = visit.services.catalogue
    return {
        "listed": [_listed(catalogue, ident) for ident in catalogue.ids()],
        "shipped": catalogue.shipped,
        "clashes": [path.name for path in catalogue.clashes],
        "STATUSES": STATUSES,
    }


def _listed(catalogue: Catalogue, ident: str) -> Listed:
    fault = catalogue.fault(ident)
    return Listed(ident, fault, catalogue.get(ident) if fault is None else None)


@pages.page("/protocols/compare", Permission.READ_PROTOCOLS, "protocols_compared.html", name="compared")
def compared(visit: Visit) -> Context:
    """Where two protocols part: settings, and what they do at each count."""
    catalogue = visit.services.catalogue
    found: Context = {"usable": [one for one in catalogue.ids() if catalogue.fault(one) is None], "pair": None}
    query = asked(Compared)
    if not query:
        return found
    faults = [Fault(name, fault) for name in ("one", "other") if (fault := catalogue.fault(query[name])) is not None]
    if faults:
        raise Invalid(*faults)
    one, other = catalogue.get(query["one"]), catalogue.get(query["other"])
    weekly = isinstance(one, WeeklyProtocol) and isinstance(other, WeeklyProtocol)
    return {
        **found,
        "pair": (one, other),
        "differences": compare.differences(one, other),
        "bands": compare.decision_table([one, other]) if weekly else [],  # type: ignore[list-item]
    }


@pages.page("/protocols/<protocol_id>", Permission.READ_PROTOCOLS, "protocol.html")
def protocol(visit: Visit, protocol_id: str) -> Context:
    """A protocol: what it does at each count, its settings, its source to the byte, its worked examples."""
    catalogue = visit.services.catalogue
    if protocol_id not in catalogue.ids():
        raise Unknown("protocol")
    listed = _listed(catalogue, protocol_id)
    found: Context = {"listed": listed, "shipped": protocol_id in catalogue.shipped, "STATUSES": STATUSES}
    one = listed.protocol
    if one is None:
        return found
    return {
        **found,
        "bands": compare.decision_table([one]) if isinstance(one, WeeklyProtocol) else [],
        "settings": compare.settings(one),
        "examples": _by_limit(catalogue.examples(one.id)),
        "others": [ident for ident in catalogue.ids() if ident != one.id and catalogue.fault(ident) is None],
        "READ_AS": READ_AS,
        "RULES": RULES,
        "LIMITS": LIMITS,
    }


def _by_limit(examples: Iterable[Example]) -> dict[str, list[Example]]:
    """The examples by the setting that each guards, in the order of the file."""
    found: dict[str, list[Example]] = {}
    for example in examples:
        found.setdefault(example.limit, []).append(example)
    return found
