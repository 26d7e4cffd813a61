"""The answer document: what a recommendation looks like on the wire, at every door. docs/answer-document.md.

Keys stand in a fixed order and numbers are written exactly, so that the same recommendation is the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import cast

from titrator.titration.documents import quote, reread
from titrator.titration.preparation import DoseToGive, Vials
from titrator.titration.quantities import HUNDREDTH, iso, plain, rounded
from titrator.titration.recommend import ENGINE_VERSION, Recommendation
from titrator.titration.wording import Statement, alerts, reasons


def to_document(answer: Recommendation) -> dict[str, object]:
    """The answer document as values: texts, Decimals, lists and dicts."""
    return cast("dict[str, object]", reread(to_text(answer)))


def to_text(answer: Recommendation) -> str:
    """The answer document as one line of JSON. It is written out here, once, key by key."""
    evidence, protocol, dose = answer.evidence, answer.protocol, answer.dose
    return (
        f'{{"action": "{answer.action}", "on": "{iso(answer.on)}", '
        f'"reasons": {_statements(reasons(answer))}, "alerts": {_statements(alerts(answer))}, '
        f'"dose": {"null" if dose is None else dose_text(dose)}, '
        f'"due_on": {_day(answer.due)}, "next_count_on": {_day(answer.next_count)}, '
        f'"evidence": {{"step": {evidence.step}, '
        f'"dosing_weight_kg": {_number(evidence.dosing_weight_kg)}, '
        f'"dosing_weight_on": {_day(evidence.dosing_weight_on)}, '
        f'"counts_used": {_days(evidence.counts_used)}, "doses_used": {_days(evidence.doses_used)}, '
        f'"last_level_micrograms_per_kg": {_number(evidence.last_level)}, '
        f'"stable": {"true" if evidence.stable else "false"}, '
        f'"protocol_status": "{protocol.status}", "protocol_read_as": "{protocol.source.verification}", '
        f'"protocol_reviewed_by": {quote(protocol.source.reviewer) if protocol.source.reviewer else "null"}}}, '
        f'"protocol": {{"id": "{protocol.id}", "edition": {quote(protocol.source.edition)}, '
        f'"sha256": "{protocol.sha256}"}}, '
        f'"input_sha256": "{answer.input_sha256}", "engine_version": "{ENGINE_VERSION}"}}'
    )


def _statements(statements: Iterable[Statement]) -> str:
    items = [
        f'{{"code": "{code}", "text": {quote(text)}, "citation": {quote(citation)}}}'
        for code, text, citation in statements
    ]
    return f"[{', '.join(items)}]"


def dose_text(dose: DoseToGive) -> str:
    """The dose of an answer as JSON."""
    vials = ", ".join([f'{{"size_micrograms": {size}, "count": {count}}}' for size, count in dose.vials])
    return (
        f'{{"micrograms_per_kg": {plain(dose.level)}, "micrograms": {plain(rounded(dose.micrograms, HUNDREDTH))}, '
        f'"volume_ml": {plain(dose.volume)}, "concentration_micrograms_per_ml": {dose.concentration}, '
        f'"delivered_micrograms": {plain(dose.delivered)}, "vials": [{vials}], '
        f'"waste_micrograms": {plain(dose.waste)}}}'
    )


def dose_of(said: Mapping[str, object]) -> DoseToGive:
    """The dose of an answer document, as `documents.reread` gives it; what it does not say is that it was cut."""
    numbers = cast("Mapping[str, Decimal]", said)
    vials = cast("list[Mapping[str, Decimal]]", said["vials"])
    return DoseToGive(
        numbers["micrograms_per_kg"],
        numbers["micrograms"],
        numbers["volume_ml"],
        numbers["concentration_micrograms_per_ml"],
        numbers["delivered_micrograms"],
        tuple(Vials(int(one["size_micrograms"]), int(one["count"])) for one in vials),
        numbers["waste_micrograms"],
        capped=False,
    )


def _day(day: int | None) -> str:
    return "null" if day is None else f'"{iso(day)}"'


def _days(days: Iterable[int]) -> str:
    return f"[{', '.join([_day(day) for day in days])}]"


def _number(value: Decimal | None) -> str:
    return "null" if value is None else plain(value)
