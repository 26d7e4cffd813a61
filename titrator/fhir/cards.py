"""Cards of CDS Hooks: an answer of the engine as a card, and draft orders held against it. Pure.

A card is a dict as it is sent, without the uuids, which name the client. Texts of others stand in Markdown escaped, so
that they say what they say and nothing more; a summary is plain text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, NamedTuple, cast

from schemas.sign_off import REASONS
from titrator.fhir.codes import MICROGRAMS, OWN
from titrator.fhir.elements import Place
from titrator.fhir.giving import dosage, proposal
from titrator.titration.codes import Action, Reason
from titrator.titration.errors import Fault
from titrator.titration.override import departs
from titrator.titration.protocol import Protocol, Status
from titrator.titration.quantities import EXACT, HUNDREDTH, plain, rounded, times

Card = dict[str, object]
Answer = Mapping[str, object]

LONGEST_SUMMARY: Final = 139
NEVER_AN_ORDER: Final = "A proposal for a pharmacist or prescriber to check, never an order."
_URGENCY: Final = {Action.HOLD: "critical", Action.REFER: "warning", Action.INCOMPLETE: "warning"}
_NO_DOSE: Final = {
    Action.HOLD: "hold, no dose",
    Action.REFER: "no dose is proposed: a prescriber decides",
    Action.INCOMPLETE: "no dose can be proposed: facts are missing",
    Action.COMPLETE: "complete, no further dose",
}
_MARKS: Final = re.compile(r"([\\`*_{}\[\]<>#|~&!@])")
_AT_BEGINNING: Final = re.compile(r"(?:[-+=]|[0-9]+(?=[.)]))")
_LINKS: Final = re.compile(r"://|(?<=www)\.", re.IGNORECASE)
#: Units of levels, in micrograms/kg; amounts by other names than those of taking.
_LEVELS: Final = ("ug/kg", "mcg/kg", "µg/kg", "μg/kg", "microgram/kg", "micrograms/kg")
_AMOUNTS: Final = {**MICROGRAMS, "microgram": 0, "micrograms": 0}
#: Units of time of a timing, in seconds.
_SECONDS: Final = {"s": 1, "min": 60, "h": 3600, "d": 86400, "wk": 604_800, "mo": 2_592_000, "a": 31_536_000}


@dataclass(frozen=True, slots=True, kw_only=True)
class Basis:
    """What cards are made of: the answer document, its protocol, of whom (by the client's id), when, and notes."""

    answer: Answer
    protocol: Protocol
    patient: str
    at: str
    notes: Sequence[str] = ()

    @property
    def action(self) -> Action:
        """What is recommended."""
        return Action(cast(str, self.answer["action"]))

    @property
    def dose(self) -> Answer | None:
        """The dose, if one is proposed."""
        return cast("Answer | None", self.answer["dose"])

    @property
    def is_urgent(self) -> bool:
        """Whether a dose would do harm: doses are withheld, or something is wrong that forbids them."""
        codes = {one["code"] for one in _statements(self.answer, "reasons")}
        return self.action is Action.HOLD or Reason.SAFETY_EVENT in codes


class Draft(NamedTuple):
    """A draft order of romiplostim, and where it stood; `told` is whether it could be told that it is one."""

    order: Mapping[str, object]
    path: str
    told: bool = True


def next_dose(basis: Basis) -> Card:
    """The answer as a card, with the dose to order as a suggestion if there is one."""
    indicator = "critical" if basis.is_urgent else _URGENCY.get(basis.action, "info")
    card = _card(basis.protocol, _headline(basis), indicator, _detail(basis))
    if basis.dose is None:
        return card
    description = f"Order {_amounts(basis.dose)} of romiplostim{_due(basis.answer)}"
    action = {
        "type": "create",
        "description": description,
        "resource": proposal(basis.patient, basis.answer, basis.at),
    }
    return card | _suggested(description, action)


def warning(protocol: Protocol, summary: str, *paragraphs: str) -> Card:
    """A card of what to look at; the paragraphs are Markdown."""
    return _card(protocol, summary, "warning", "\n\n".join(paragraphs))


def bullets(texts: Iterable[str]) -> str:
    """Texts of others as a list in Markdown."""
    return "\n".join(f"- {escaped(text)}" for text in texts)


def of_draft(basis: Basis, draft: Draft) -> Card | None:
    """What there is to say of a draft order; None of one that agrees with the answer."""
    if not draft.told:
        text = "Its medicine has neither an ATC code nor a name, so it was not compared with the proposed dose."
        return warning(basis.protocol, "The medicine of a draft order cannot be told", text)
    kg = cast("Decimal | None", cast(Answer, basis.answer["evidence"])["dosing_weight_kg"])
    ordered, wrong = _ordered(draft, kg)
    named = "A draft order" if ordered is None else f"Draft order of {_number(ordered)} micrograms"
    if basis.dose is None:
        indicator = "critical" if basis.is_urgent else "warning"
        card = _card(basis.protocol, f"{named} of romiplostim: {_NO_DOSE[basis.action]}", indicator, _detail(basis))
        return card | {"overrideReasons": _override_reasons()}
    proposed = cast(Decimal, basis.dose["delivered_micrograms"])
    if ordered is None:
        summary = f"The dose of a draft order of romiplostim cannot be read; {plain(proposed)} micrograms are proposed"
        return _departing(basis, draft, summary, f"{escaped(wrong)}.")
    if departs(ordered, proposed):
        return _departing(basis, draft, f"{named} departs from the proposed {plain(proposed)} micrograms", "")
    if _more_than_weekly(draft):
        return _departing(basis, draft, f"{named} of romiplostim is given more often than once a week", "")
    return None


def escaped(text: str) -> str:
    """A text as Markdown that shows it: one line, without marks, links, HTML or mentions."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    line = _LINKS.sub(lambda found: f"\\{found[0]}", _MARKS.sub(r"\\\1", line))
    beginning = _AT_BEGINNING.match(line)
    if beginning is None:
        return line
    return f"{beginning[0]}\\{line[beginning.end() :]}" if beginning[0].isdigit() else f"\\{line}"


def short(text: str) -> str:
    """A summary: one line of fewer than 140 characters, cut between words."""
    line = " ".join(text.split())
    if len(line) <= LONGEST_SUMMARY:
        return line
    cut = line[:LONGEST_SUMMARY]
    return (cut.rpartition(" ")[0] or cut[:-1]).rstrip(" ,;:") + "…"


def pruned(value: object) -> object:
    """A value without anything null or empty in it; None if nothing is left."""
    if isinstance(value, Mapping):
        kept = {key: found for key, item in value.items() if (found := pruned(item)) is not None}
        return kept or None
    if isinstance(value, list | tuple):
        return [found for item in value if (found := pruned(item)) is not None] or None
    if isinstance(value, str):
        return str(value) or None
    return value


def _card(protocol: Protocol, summary: str, indicator: str, detail: str) -> Card:
    source = protocol.source
    return {
        "summary": short(summary),
        "indicator": indicator,
        "detail": detail,
        "source": {"label": source.cited_as or protocol.id, **({"url": source.url} if source.url else {})},
    }


def _suggested(label: str, action: Mapping[str, object]) -> Card:
    return {
        "suggestions": [{"label": short(label), "actions": [action]}],
        "selectionBehavior": "at-most-one",
        "overrideReasons": _override_reasons(),
    }


def _override_reasons() -> list[object]:
    system = f"{OWN}:override-reason"
    return [{"code": code, "system": system, "display": code.replace("-", " ").capitalize()} for code in REASONS]


def _headline(basis: Basis) -> str:
    if basis.dose is not None:
        return f"Romiplostim {_amounts(basis.dose)}{_due(basis.answer)}: {basis.action}"
    codes = ", ".join(one["code"] for one in _statements(basis.answer, "reasons"))
    count = basis.answer["next_count_on"]
    after = f"; next platelet count {count}" if count else ""
    return f"Romiplostim: {_NO_DOSE[basis.action]} ({codes}){after}"


def _detail(basis: Basis) -> str:
    answer, dose = basis.answer, basis.dose
    parts = [f"**{escaped(str(basis.action).capitalize())}**"]
    if dose is not None:
        parts.append(_dose_in_words(basis, dose))
    if (count := answer["next_count_on"]) is not None:
        parts.append(f"Next platelet count: {count}.")
    for title, name in (("Why", "reasons"), ("Look at", "alerts")):
        if statements := _statements(answer, name):
            said = [f"{one['code']}: {one['text']} ({one['citation']})" for one in statements]
            parts.append(f"**{title}**\n\n{bullets(said)}")
    if basis.notes:
        parts.append(f"**About the data**\n\n{bullets(basis.notes)}")
    parts += [_standing(basis.protocol), f"**{NEVER_AN_ORDER}**"]
    return "\n\n".join(parts)


def _dose_in_words(basis: Basis, dose: Answer) -> str:
    vials = cast("list[Mapping[str, Decimal]]", dose["vials"])
    evidence = cast(Answer, basis.answer["evidence"])
    strength = f"{_plain(dose, 'concentration_micrograms_per_ml')} micrograms/mL"
    lines = [
        f"Dose: {_amounts(dose)}{_due(basis.answer)}",
        f"To inject: {_plain(dose, 'volume_ml')} mL of {strength}, subcutaneously",
        "Vials: " + ", ".join(f"{one['count']} × {one['size_micrograms']} micrograms" for one in vials),
        f"Dosing weight: {_number(cast(Decimal, evidence['dosing_weight_kg']))} kg of {evidence['dosing_weight_on']}",
    ]
    return bullets(lines)


def _standing(protocol: Protocol) -> str:
    """How far a protocol may be relied upon."""
    said = [f"Protocol {protocol.id}: {protocol.source.document}, {protocol.source.edition}."]
    if protocol.status is Status.CASE_REPORT:
        said.append("Off label: it comes from a case report.")
    elif protocol.status is Status.LOCAL:
        said.append("It is a protocol of this hospital, not of a label.")
    if not protocol.source.reviewer:
        said.append("Unreviewed: no pharmacist has checked its file against the source.")
    return escaped(" ".join(said))


def _departing(basis: Basis, draft: Draft, summary: str, why: str) -> Card:
    dose = cast(Answer, basis.dose)
    card = warning(basis.protocol, summary, *([why] if why else []), _detail(basis))
    if "id" not in draft.order or "modifierExtension" in draft.order or not _can_be_sent(draft.order):
        return card | {"overrideReasons": _override_reasons()}
    label = f"Change the draft to {_amounts(dose)}"
    instruction = dosage(dose, cast("str | None", basis.answer["due_on"]))
    resource = {**draft.order, "dosageInstruction": [instruction]}
    return card | _suggested(label, {"type": "update", "description": label, "resource": resource})


def _ordered(draft: Draft, kg: Decimal | None) -> tuple[Decimal | None, str]:
    """The micrograms that a draft order has; or None, and why they cannot be told."""
    faults: list[Fault] = []
    order = Place(draft.order, draft.path, faults)
    if order["modifierExtension"].there:
        order["modifierExtension"].wrong("is not known here, and may change what all else means")
    instructions = list(order["dosageInstruction"])
    rates = [rate for one in instructions for rate in one["doseAndRate"]]
    if len(instructions) != 1 or not rates:
        order["dosageInstruction"].wrong("must be one dosage with one dose")
    found = [_micrograms(rate.choice("dose", "Quantity"), kg) for rate in rates]
    if faults:
        return None, str(faults[0])
    amounts = cast("list[Decimal]", found)
    if any(departs(one, amounts[0]) for one in amounts):
        return None, "The dosage gives several doses, which differ"
    return amounts[0], ""


def _micrograms(quantity: Place, kg: Decimal | None) -> Decimal | None:
    unit = quantity["code"] if quantity["code"].there else quantity["unit"]
    text, value = unit.text(), quantity["value"].value
    if not isinstance(value, Decimal) or value <= 0:
        quantity["value"].wrong("must be a number above 0")
    elif quantity["comparator"].there:
        quantity["comparator"].wrong("is not taken: a dose must be exact")
    elif text in _AMOUNTS:
        return EXACT.scaleb(value, _AMOUNTS[text])
    elif text not in _LEVELS:
        unit.wrong("must be ug, mcg, mg or ug/kg")
    elif kg is None:
        unit.wrong("is by weight, and no dosing weight is known")
    else:
        return times(value, kg)
    return None


def _more_than_weekly(draft: Draft) -> bool:
    for instruction in Place(draft.order, draft.path, [])["dosageInstruction"]:
        repeat = instruction["timing"]["repeat"]
        period, unit = repeat["period"].value, repeat["periodUnit"].text()
        times_each = repeat["frequencyMax"].value or repeat["frequency"].value or Decimal(1)
        if isinstance(period, Decimal) and isinstance(times_each, Decimal) and unit in _SECONDS:
            return times(times_each, Decimal(_SECONDS["wk"])) > times(period, Decimal(_SECONDS[unit]))
    return False


def _can_be_sent(value: object) -> bool:
    """Whether a resource can be sent back as it came: without nulls, without numbers that were not read."""
    if isinstance(value, Mapping):
        return bool(value) and all(_can_be_sent(item) for item in value.values())
    if isinstance(value, list):
        return bool(value) and all(_can_be_sent(item) for item in value)
    return isinstance(value, bool | Decimal) or (isinstance(value, str) and value != "")


def _statements(answer: Answer, name: str) -> list[Mapping[str, str]]:
    return cast("list[Mapping[str, str]]", answer[name])


def _amounts(dose: Answer) -> str:
    return f"{_plain(dose, 'delivered_micrograms')} micrograms ({_plain(dose, 'micrograms_per_kg')} micrograms/kg)"


def _due(answer: Answer) -> str:
    return f" due {answer['due_on']}" if answer["due_on"] else ""


def _plain(dose: Answer, key: str) -> str:
    return plain(cast(Decimal, dose[key]))


def _number(value: Decimal) -> str:
    return plain(rounded(value, HUNDREDTH))
