"""Cards of CDS Hooks: an answer of the engine as a card, and draft orders held against it. Pure.

A card is a dict as it is sent, without the uuids, which name the client. Texts of others stand in Markdown escaped, so
that they say what they say and nothing more; a summary is plain text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache, reduce
from typing import Final, NamedTuple, cast
from zoneinfo import ZoneInfo

from schemas.sign_off import REASONS
from titrator.fhir.codes import LEVELS, MICROGRAMS, OWN
from titrator.fhir.elements import Place, day_of, texts_of
from titrator.fhir.giving import NEVER_AN_ORDER, dosage, proposal
from titrator.fhir.taking import route_of
from titrator.titration.codes import Action, Reason
from titrator.titration.documents import RawJSON, encode, quote
from titrator.titration.errors import Fault
from titrator.titration.override import LATEST, ceiling_exceeded, departs, far_more, is_early, is_late, maximum_exceeded
from titrator.titration.preparation import DILUTED, VIALS
from titrator.titration.protocol import Protocol, Status
from titrator.titration.quantities import DAYS, EXACT, HUNDREDTH, plain, rounded, times
from titrator.titration.recommend import WEEK
from titrator.titration.wording import level_text
from titrator.workflow.facts import SUBCUTANEOUS

Card = dict[str, object]
Answer = Mapping[str, object]

LONGEST_SUMMARY: Final = 139
_URGENCY: Final = {Action.HOLD: "warning", Action.REFER: "warning", Action.INCOMPLETE: "warning"}
_NO_DOSE: Final = {
    Action.HOLD: "hold, no dose",
    Action.REFER: "no dose is proposed: a prescriber decides",
    Action.INCOMPLETE: "no dose can be proposed: facts are missing",
    Action.COMPLETE: "complete, no further dose",
}
_MARKS: Final = re.compile(r"([\\`*_{}\[\]<>#|~&!@])")
_AT_BEGINNING: Final = re.compile(r"(?:[-+=]|[0-9]+(?=[.)]))")
_LINKS: Final = re.compile(r"://|(?<=www)\.", re.IGNORECASE)
#: Units of time of a timing, in seconds.
_SECONDS: Final = {"s": 1, "min": 60, "h": 3600, "d": 86400, "wk": 604_800, "mo": 2_592_000, "a": 31_536_000}


_AS_NEEDED: Final = ("asNeeded", "asNeededBoolean", "asNeededCodeableConcept", "asNeededFor")
_NAMED: Final = re.compile(
    r"(?<![\d.,])(?<![×x] )(?<![×x])(\d+(?:,\d+)*(?:\.\d+)?)\s*"
    r"(micrograms?|milligrams?|mcg|mg|[uµμ]g)(?![a-z])(?!\s*(?:/|per\b|vials?\b|powder|pulver|durchstech|pre-?filled))",
    re.IGNORECASE,
)
#: Rhythms in words that are more than one dose a week, in English, German and Japanese.
_OFTEN: Final = re.compile(
    r"\bdaily\b|\bnightly\b|\b(?:every|each|per|alternate) (?:(?:other|second|2nd) )?(?:day|morning|evening|night)s?\b"
    r"|\b(?:once|twice|times|x) (?:a|each) (?:day|night)\b|\b(?:b\.?i\.?d|t\.?i\.?d|q\.?i\.?d|o\.d)\b"
    r"|\bq\.? ?(?:d|od|am|pm|hs)\b|\bq ?\d+ ?h|\bq ?[2-6] ?d|\b(?:twice|thrice|bi|semi)[- ]?weekly"
    r"|\b(?:twice|thrice|(?:two|three|[2-7]) ?(?:x|×|times))(?: (?:a|per|each|every))? ?(?:week|day|/)"
    r"|\bevery (?:[2-6]|two|three|four|five|six) days|\bevery \w+ hours?"
    r"|täglich|\btgl\b|\bpro tag\b|\bjeden (?:\w+ )?tag\b|\balle (?:[2-6]|zwei|drei|vier|fünf|sechs) tage"
    r"|(?:zwei|drei|[2-7] ?)(?:mal|x) (?:pro|in der|die|je) woche|毎日|連日|隔日|[一1]日[一二三1-3]?回|週[二三2-7]回",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """What was signed and is not carried out yet: the dose, None for no dose; when it is due; and by whom.

    `text` says all of it in words. It is `supported` unless its facts were corrected since, or an answer that forbids a
    dose has come since; `awaits_second` is whether a second signature is missing.
    """

    dose: Answer | None
    due_on: str | None
    text: str
    signed_by: str
    supported: bool = True
    awaits_second: bool = False

    @property
    def what(self) -> str:
        """The dose and its day, in a few words."""
        if self.dose is None:
            return "NO DOSE"
        due = f" due {self.due_on}" if self.due_on else ""
        return f"{_plain(self.dose, 'delivered_micrograms')} micrograms{due}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Basis:
    """What cards are made of: the answer document, its protocol, of whom (by the client's id), when, and notes.

    `decided` is what was signed already, if anything was: drafts are held against it then, and nothing is suggested
    but its dose. `given` are the micrograms that were given, by day, `zone` is the time zone of the clinic.
    `cautions` may matter; `stops` may be a safety event: nothing is suggested then. `suggests` is whether a new draft
    may be. `last_dose` is the last one in words. `stored` is whether the course is kept here, so that somebody started
    it here.
    """

    answer: Answer
    protocol: Protocol
    patient: str
    at: str
    notes: Sequence[str] = ()
    decided: Decided | None = None
    given: Mapping[str, Decimal] = field(default_factory=dict)
    zone: str = "UTC"
    cautions: Sequence[str] = ()
    stops: Sequence[str] = ()
    suggests: bool = True
    last_dose: str = ""
    stored: bool = False

    @property
    def action(self) -> Action:
        """What is recommended."""
        return Action(cast(str, self.answer["action"]))

    @property
    def dose(self) -> Answer | None:
        """The dose, if one is proposed."""
        return cast("Answer | None", self.answer["dose"])

    @property
    def is_first(self) -> bool:
        """Whether a first dose is proposed for somebody whom nobody has started on it here."""
        return self.action is Action.START and not self.stored

    @property
    def is_urgent(self) -> bool:
        """Whether a dose would do harm: doses are withheld, or something is wrong that forbids them."""
        return is_urgent(self.answer)

    @property
    def expected(self) -> Answer | None:
        """The dose that drafts are held against: that which was decided, or else that which is proposed."""
        return self.dose if self.decided is None else self.decided.dose

    @property
    def due_on(self) -> str | None:
        """When that dose is due."""
        return cast("str | None", self.answer["due_on"]) if self.decided is None else self.decided.due_on


class Draft(NamedTuple):
    """A draft order of romiplostim, and where it stood; `told` is whether it could be told that it is one."""

    order: Mapping[str, object]
    path: str
    told: bool = True


class Finding(NamedTuple):
    """What there is to say of a draft order, in words that follow its name, and why (Markdown).

    `critical` is whether to give it would do harm; `cured` whether the dose that is expected, put in its place, would
    mend it.
    """

    said: str
    why: str = ""
    critical: bool = False
    cured: bool = True


def next_dose(basis: Basis) -> Card:
    """The answer as a card, with the dose to order as a suggestion if there is one; what was decided comes first."""
    if basis.decided is not None:
        return _decided(basis, basis.decided)
    summary = _headline(basis)
    indicator = "critical" if _is_unsafe(basis.answer) else _URGENCY.get(basis.action, "info")
    if _is_between(basis):
        summary = f"romiPLOStim: given, {basis.last_dose}; next platelet count {basis.answer['next_count_on']}"
        indicator = "info"
    if basis.stops:
        summary = "romiPLOStim: a possible safety event: a prescriber decides"
        return _card(basis.protocol, summary, "critical", f"{_stops_in_words(basis)}\n\n{_detail(basis)}")
    if is_remarkable(basis):
        indicator = "warning" if indicator == "info" else indicator
        summary = f"{summary}; look at: {_what_to_look_at(basis)}"
    card = _card(basis.protocol, summary, indicator, _detail(basis))
    if basis.dose is None or not basis.suggests:
        return card
    description = f"Put a draft of {_amounts(basis.dose)} of romiPLOStim{_due(basis.answer)}, to be checked and signed"
    action = {
        "type": "create",
        "description": description,
        "resource": proposal(basis.patient, basis.answer, basis.at),
    }
    return card | _suggested(description, action)


def _is_between(basis: Basis) -> bool:
    """Whether a dose was given in the last days, and only the count of the next one is missing yet."""
    codes = {one["code"] for one in _statements(basis.answer, "reasons")}
    day = DAYS[cast(str, basis.answer["on"])]
    lately = any(day - WEEK < DAYS[given] <= day for given in basis.given)
    return basis.action is Action.INCOMPLETE and codes == {Reason.COUNT_NEEDED} and lately


def several(basis: Basis, drafts: Sequence[Draft]) -> Card:
    """That there are several draft orders of romiplostim, with what they come to together."""
    kg = cast("Decimal | None", cast(Answer, basis.answer["evidence"])["dosing_weight_kg"])
    amounts = [_ordered(draft, kg)[0] for draft in drafts]
    known = [one for one in amounts if one is not None]
    total = _number(reduce(EXACT.add, known, Decimal(0)))
    more = "" if len(known) == len(amounts) else ", and some that cannot be read"
    summary = f"{len(drafts)} draft orders of romiPLOStim at once: {total} micrograms together{more}"
    return _card(basis.protocol, summary, "critical", _detail(basis)) | {"overrideReasons": _OVERRIDE_REASONS}


def warning(protocol: Protocol, summary: str, *paragraphs: str) -> Card:
    """A card of what to look at; the paragraphs are Markdown."""
    return _card(protocol, summary, "warning", "\n\n".join(paragraphs))


def bullets(texts: Iterable[str]) -> str:
    """Texts of others as a list in Markdown."""
    return "\n".join(f"- {escaped(text)}" for text in texts)


def is_urgent(answer: Answer) -> bool:
    """Whether a dose would do harm by an answer: doses are withheld, or something is wrong that forbids them."""
    return answer["action"] == Action.HOLD or _is_unsafe(answer)


def _is_unsafe(answer: Answer) -> bool:
    """Whether a safety event forbids a dose."""
    return any(one["code"] == Reason.SAFETY_EVENT for one in _statements(answer, "reasons"))


def decided_in_words(decided: Decided) -> str:
    """What was decided already, in Markdown."""
    parts = [f"**Decided already: {escaped(decided.what)}**", escaped(decided.text)]
    if not decided.supported:
        parts.append("**It is no longer supported: do not give it until somebody has looked at it.**")
    return "\n\n".join(parts)


def of_draft(basis: Basis, draft: Draft, *, alone: bool = False) -> Card | None:
    """What there is to say of a draft order; None of one that agrees with the answer.

    Where it stands `alone`, without a card of the answer, that has what there is to look at in the answer, too.
    """
    if not draft.told:
        text = "Its medicine has neither an ATC code nor a name, so it was not compared with the proposed dose."
        return warning(basis.protocol, "The medicine of a draft order cannot be told", text)
    kg = cast("Decimal | None", cast(Answer, basis.answer["evidence"])["dosing_weight_kg"])
    ordered, wrong = _ordered(draft, kg)
    stopped = [Finding(" of romiPLOStim: a possible safety event", bullets(basis.stops), critical=True, cured=False)]
    findings = [
        *(stopped if basis.stops else []),
        *_of_amount(basis, ordered, wrong),
        *_of_the_rest(basis, draft, ordered, kg),
    ]
    if not findings:
        return _to_look_at(basis, ordered) if alone and basis.decided is None else None
    findings.sort(key=lambda one: not one.critical)
    named = "A draft order" if ordered is None else f"Draft order of {_number(ordered)} micrograms"
    paragraphs = [one.why for one in findings if one.why]
    if len(findings) > 1:
        paragraphs.insert(0, bullets(f"{named}{one.said}" for one in findings))
    if basis.decided is not None:
        paragraphs.append(decided_in_words(basis.decided))
    indicator = "critical" if findings[0].critical else "warning"
    detail = "\n\n".join([*paragraphs, _detail(basis)])
    card = _card(basis.protocol, f"{named}{findings[0].said}", indicator, detail)
    if all(one.cured for one in findings) and _is_replaceable(draft) and not basis.stops:
        return card | _replaced(basis, draft)
    return card | {"overrideReasons": _OVERRIDE_REASONS}


def _to_look_at(basis: Basis, ordered: Decimal | None) -> Card | None:
    """What there is to look at before an order is signed that agrees with the answer; None if there is nothing."""
    if ordered is None or not is_remarkable(basis):
        return None
    look = _what_to_look_at(basis)
    summary = f"Draft order of {_number(ordered)} micrograms of romiPLOStim is what is proposed; look at: {look}"
    return _card(basis.protocol, summary, "warning", _detail(basis)) | {"overrideReasons": _OVERRIDE_REASONS}


def _what_to_look_at(basis: Basis) -> str:
    """Of what is remarkable the first, in a few words."""
    if alerts := _statements(basis.answer, "alerts"):
        return alerts[0]["code"].replace("-", " ").lower()
    return "the data" if basis.cautions else "the indication"


def is_remarkable(basis: Basis) -> bool:
    """Whether there is something to look at in an answer."""
    return bool(_statements(basis.answer, "alerts") or basis.cautions or basis.stops or basis.is_first)


def escaped(text: str) -> str:
    """A text as Markdown that shows it: one line, without marks, links, HTML or mentions."""
    if not text.isprintable():
        text = "".join(c if c.isprintable() else " " for c in text)
    line = " ".join(text.split())
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


def written(value: object) -> str:
    """A value as JSON, without anything null or empty in it; nothing if nothing is left."""
    if type(value) is str:  # as most are
        return quote(value) if value else ""
    if type(value) is dict or isinstance(value, Mapping):
        parts = [f"{quote(key)}: {text}" for key, item in value.items() if (text := written(item))]
        return f"{{{', '.join(parts)}}}" if parts else ""
    if isinstance(value, list | tuple):
        items = [text for item in value if (text := written(item))]
        return f"[{', '.join(items)}]" if items else ""
    if isinstance(value, str) and type(value) is not RawJSON:
        return written(str(value))
    return "" if value is None else encode(value)


def _card(protocol: Protocol, summary: str, indicator: str, detail: str) -> Card:
    source = protocol.source
    off_label = "OFF LABEL. " if protocol.status is Status.CASE_REPORT else ""
    return {
        "summary": short(f"{off_label}{summary}"),
        "indicator": indicator,
        "detail": detail,
        "source": {"label": source.cited_as or protocol.id, **({"url": source.url} if source.url else {})},
    }


def _suggested(label: str, action: Mapping[str, object]) -> Card:
    return {
        "suggestions": [{"label": short(label), "actions": [action]}],
        "selectionBehavior": "at-most-one",
        "overrideReasons": _OVERRIDE_REASONS,
    }


def _override_reasons() -> list[object]:
    system = f"{OWN}:override-reason"
    return [{"code": code, "system": system, "display": code.replace("-", " ").capitalize()} for code in REASONS]


#: The same on each card.
_OVERRIDE_REASONS: Final = RawJSON(encode(_override_reasons()))


def _headline(basis: Basis) -> str:
    if basis.dose is not None:
        return f"romiPLOStim {_amounts(basis.dose)}{_due(basis.answer)}: {basis.action}"
    codes = ", ".join(one["code"] for one in _statements(basis.answer, "reasons"))
    count = basis.answer["next_count_on"]
    after = f"; next platelet count {count}" if count else ""
    return f"romiPLOStim: {_NO_DOSE[basis.action]} ({codes}){after}"


def _detail(basis: Basis) -> str:
    answer, dose = basis.answer, basis.dose
    parts = [f"**{escaped(str(basis.action).capitalize())}**"]
    if dose is not None and not basis.stops:
        parts.append(_dose_in_words(basis, dose))
    parts.append(f"Last dose: {escaped(basis.last_dose or 'none is known')}.")
    if (count := answer["next_count_on"]) is not None:
        parts.append(f"Next platelet count: {count}.")
    if basis.is_first:
        parts.append(
            f"**Is it indicated?** Nobody has started a course here. The protocol is for: "
            f"{escaped(basis.protocol.indication)}."
        )
    for title, name in (("Why", "reasons"), ("Look at", "alerts")):
        if statements := _statements(answer, name):
            said = [f"{one['code']}: {one['text']} ({one['citation']})" for one in statements]
            parts.append(f"**{title}**\n\n{bullets(said)}")
    if basis.cautions:
        parts.append(f"**Caution**\n\n{bullets(basis.cautions)}")
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
        *_calculated(dose, cast(Decimal, evidence["dosing_weight_kg"])),
        f"To inject: {_plain(dose, 'volume_ml')} mL of {strength}, subcutaneously",
        "Vials: " + ", ".join(f"{one['count']} × {one['size_micrograms']} micrograms" for one in vials),
        f"Dosing weight: {_number(cast(Decimal, evidence['dosing_weight_kg']))} kg of {evidence['dosing_weight_on']}",
    ]
    if dose["concentration_micrograms_per_ml"] == DILUTED:
        lines += _dilution(int(one["size_micrograms"]) for one in vials)
    return bullets(lines)


def _calculated(dose: Answer, kg: Decimal) -> Iterator[str]:
    """The dose as computed, where the syringe cannot measure just that."""
    if dose["micrograms"] != dose["delivered_micrograms"]:
        level = level_text(cast(Decimal, dose["micrograms_per_kg"]))
        computed = _number(cast(Decimal, dose["micrograms"]))
        yield f"Calculated: {level} × {_number(kg)} kg = {computed} micrograms; the dose is what can be measured of it"


def _dilution(sizes: Iterable[int]) -> Iterator[str]:
    """How a small dose is diluted, for whoever would draw it up undiluted: four times as much."""
    yield f"DILUTE IT to {plain(DILUTED)} micrograms/mL before it is drawn up:"
    for vial in (VIALS[size] for size in sizes if size in VIALS):
        for step in (vial.add_water(1), vial.add_saline()):
            yield step.text if step.verified else f"{step.text} NOT VERIFIED: {step.source}."


def _standing(protocol: Protocol) -> str:
    """How far a protocol may be relied upon."""
    source = protocol.source
    return _standing_of(protocol.id, source.document, source.edition, protocol.status, bool(source.reviewer))


@lru_cache
def _standing_of(ident: str, document: str, edition: str, status: Status, reviewed: bool) -> str:
    said = [f"Protocol {ident}: {document}, {edition}."]
    if status is Status.CASE_REPORT:
        said.append("Off label: it comes from a case report.")
    elif status is Status.LOCAL:
        said.append("It is a protocol of this hospital, not of a label.")
    if not reviewed:
        said.append("Unreviewed: no pharmacist has checked its file against the source.")
    return escaped(" ".join(said))


def _decided(basis: Basis, decided: Decided) -> Card:
    """What was decided already, and then the answer."""
    summary = f"romiPLOStim: decided already: {decided.what}"
    if not decided.supported:
        summary += "; NO LONGER SUPPORTED by the facts"
    elif decided.awaits_second:
        summary += "; a second signature is missing"
    indicator = "warning" if decided.supported and decided.dose is not None else "critical"
    parts = [decided_in_words(decided), "**The answer by today's facts**", _detail(basis)]
    if basis.stops:
        summary, indicator = f"{summary}; A POSSIBLE SAFETY EVENT since: a prescriber decides", "critical"
        parts.insert(0, _stops_in_words(basis))
    return _card(basis.protocol, summary, indicator, "\n\n".join(parts)) | {"overrideReasons": _OVERRIDE_REASONS}


def _stops_in_words(basis: Basis) -> str:
    return f"**Possible safety event**\n\n{bullets(basis.stops)}"


def _of_amount(basis: Basis, ordered: Decimal | None, wrong: str) -> Iterator[Finding]:
    """What there is to say of the micrograms of a draft, None where they cannot be told, and why."""
    decided = basis.decided
    if decided is None and basis.dose is None:
        yield Finding(f" of romiPLOStim: {_NO_DOSE[basis.action]}", critical=basis.is_urgent, cured=False)
        return
    if decided is not None and decided.dose is None:
        said = f" of romiPLOStim: decided already: NO DOSE, signed by {decided.signed_by}"
        yield Finding(said, critical=True, cured=False)
        return
    if decided is not None and not decided.supported:
        said = f" of romiPLOStim: the decision signed by {decided.signed_by} is no longer supported"
        yield Finding(said, critical=True, cured=False)
    expected = cast(Decimal, cast(Answer, basis.expected)["delivered_micrograms"])
    so = "proposed" if decided is None else "decided"
    if ordered is None:
        said = f" of romiPLOStim: its dose cannot be read; {plain(expected)} micrograms are {so}"
        yield Finding(said, f"{escaped(wrong)}.")
    elif departs(ordered, expected) and decided is None:
        yield Finding(f" departs from the proposed {plain(expected)} micrograms")
    elif departs(ordered, expected) and decided is not None:
        yield Finding(f" departs from the signed decision: {decided.what}, by {decided.signed_by}")


def _of_the_rest(basis: Basis, draft: Draft, ordered: Decimal | None, kg: Decimal | None) -> Iterator[Finding]:
    """What there is to say of a draft beside its micrograms: what is not understood is told, never passed over."""
    faults: list[Fault] = []
    order = Place(draft.order, draft.path, faults)
    if order["status"].text() not in (None, "draft"):
        yield Finding(f" of romiPLOStim: its status is {order['status'].text()}, not draft", cured=False)
    subject = order["subject"]["reference"].text()
    if subject is not None and subject.partition("/_history/")[0].split("/")[-2:] != ["Patient", basis.patient]:
        yield Finding(" of romiPLOStim is for ANOTHER PATIENT", critical=True, cured=False)
    if order["dispenseRequest"]["numberOfRepeatsAllowed"].value not in (None, Decimal(0)):
        yield Finding(" of romiPLOStim may be repeated: each dose is decided anew", cured=False)
    if ordered is not None:
        yield from _too_much(basis, ordered, kg)
    today = cast(str, basis.answer["on"])
    days = {today}
    for instruction in order["dosageInstruction"]:
        yield from _of_dosage(instruction, ordered)
        if not instruction["timing"].there:
            yield from _of_day(basis, today)
        else:
            event = _one_day(instruction["timing"], basis.zone)
            days = set() if event is None else {event or cast(str, basis.answer["on"])}
            yield from _of_timing(basis, instruction["timing"], event)
    if days & basis.given.keys():
        yield Finding(f" of romiPLOStim: a dose was given on {min(days)} already", critical=True, cured=False)
    elif ordered is not None and days:
        yield from _within_a_week(basis, ordered, min(days), kg)
    if said := [fault for fault in faults if "dosageInstruction" not in fault.path]:
        yield Finding(" of romiPLOStim cannot be read", f"{escaped(_in_words(said[0], draft))}.", cured=False)


def _of_dosage(instruction: Place, ordered: Decimal | None) -> Iterator[Finding]:
    """What there is to say of the route, the units and the words of a dosage."""
    route = route_of(instruction["route"])
    if instruction["route"].there and route != SUBCUTANEOUS:
        other = route not in (None, "unknown")
        said = "its route is not subcutaneous" if other else "its route is not understood; it must be subcutaneous"
        yield Finding(f" of romiPLOStim: {said}", critical=other)
    if any(instruction[name].value not in (None, False) for name in _AS_NEEDED):
        yield Finding(" of romiPLOStim is to be given as needed")
    for rate in instruction["doseAndRate"]:
        if _units_disagree(rate.choice("dose", "Quantity")):
            yield Finding(" of romiPLOStim: the unit in words and its code disagree")
    if _says_often(instruction):
        yield Finding(" of romiPLOStim: its text names another rhythm than once a week", critical=True)
    if ordered is not None and _says_otherwise(instruction, ordered):
        yield Finding(" of romiPLOStim: its text names another amount")


def _too_much(basis: Basis, ordered: Decimal, kg: Decimal | None) -> Iterator[Finding]:
    """What there is to say of more than the protocol ever gives, or than twice what is expected."""
    expected = None if basis.expected is None else cast(Decimal, basis.expected["delivered_micrograms"])
    if expected is not None and not departs(EXACT.scaleb(ordered, -3), expected):
        yield Finding(" of romiPLOStim is 1000 times the dose: milligrams in place of micrograms?", critical=True)
    elif expected is not None and far_more(ordered, expected):
        yield Finding(" of romiPLOStim is more than twice the dose that is expected", critical=True)
    if basis.decided is not None and expected is not None and not departs(ordered, expected):
        return
    if (most := maximum_exceeded(basis.protocol, ordered, kg)) is not None:
        said = f" of romiPLOStim is above the maximum of the protocol, {_number(most)} micrograms"
        yield Finding(said, critical=True)


def _of_timing(basis: Basis, timing: Place, event: str | None) -> Iterator[Finding]:
    if event is None and _more_than_weekly(timing):
        yield Finding(" of romiPLOStim is given more often than once a week", critical=True)
    elif event is None:
        yield Finding(" of romiPLOStim: its timing is not plainly one dose: each dose is decided anew")
    elif event:
        yield from _of_day(basis, event)


def _of_day(basis: Basis, event: str) -> Iterator[Finding]:
    """What there is to say of the day for which a dose is ordered."""
    if basis.due_on is not None:
        day, due = DAYS[event], DAYS[basis.due_on]
        if is_early(day, due) or is_late(day, due):
            when = "before" if is_early(day, due) else f"more than {LATEST} days after"
            yield Finding(f" of romiPLOStim is for {event}, {when} the due day, {basis.due_on}")


def _within_a_week(basis: Basis, ordered: Decimal, on: str, kg: Decimal | None) -> Iterator[Finding]:
    """That a dose comes, with what was given within seven days, to more than is allowed by whatever protocol."""
    given = [(DAYS[day], micrograms) for day, micrograms in basis.given.items()]
    weights = [] if kg is None else [kg]
    most = ceiling_exceeded(given, DAYS[on], weights, ordered)
    if most is not None and ceiling_exceeded([], DAYS[on], weights, ordered) is None:
        said = f" of romiPLOStim: with what was given within seven days, above {_number(most)} micrograms"
        yield Finding(said, critical=True, cured=False)


def _one_day(timing: Place, zone: str) -> str | None:
    """The day of a timing that is plainly one dose, empty if it names none; None of any other."""
    value = timing.value
    if (
        isinstance(value, dict)
        and set(value) <= {"repeat", "code"}
        and (bounds := _once(value.get("repeat"))) is not None
    ):
        return bounds and (day_of(bounds, ZoneInfo(zone)) or None)
    events = value.get("event") if isinstance(value, dict) else None
    others = set(value) - {"event", "code"} if isinstance(value, dict) else {""}
    if others or not isinstance(events, list) or len(events) != 1:
        return None
    found = Place(events[0], timing.path, []).moment(ZoneInfo(zone)) if isinstance(events[0], str) else None
    return None if found is None else found.day


def _once(repeat: object) -> str | None:
    """Where a repeat is plainly one dose: the day of its bounds as it was written, empty without; None of any other."""
    if not isinstance(repeat, dict):
        return None
    bounds = repeat.get("boundsPeriod")
    start, end = (bounds.get("start"), bounds.get("end")) if isinstance(bounds, dict) else (None, None)
    one_day = (
        isinstance(start, str) and isinstance(end, str) and start[:10] == end[:10] and len(start) >= len("2026-03-09")
    )
    if repeat.get("count") == 1 and repeat.get("countMax") in (None, Decimal(1)):
        return start if isinstance(start, str) and len(start) >= len("2026-03-09") else ""
    daily = repeat.get("frequency") == 1 and repeat.get("period") == 1 and repeat.get("periodUnit") == "d"
    more = set(repeat) - {"boundsPeriod", "frequency", "period", "periodUnit", "timeOfDay"}
    return cast(str, start) if one_day and daily and not more else None


def _units_disagree(quantity: Place) -> bool:
    """Whether the unit of a quantity in words is another than that of its code, or is not known."""
    unit, code = quantity["unit"].text(), quantity["code"].text()
    return unit is not None and code is not None and _unit(unit) != _unit(code)


def _unit(text: str) -> int | str:
    """What a unit is: a power of ten of micrograms, or a level; itself where it is neither."""
    folded = text.strip().casefold()
    if folded in {one.casefold() for one in LEVELS}:
        return "level"
    return {name.casefold(): power for name, power in MICROGRAMS.items()}.get(folded, folded)


def _says_often(instruction: Place) -> bool:
    """Whether a dosage says in words that it is given more often than once a week."""
    texts = [instruction["text"].text(), instruction["patientInstruction"].text()]
    texts += [texts_of(one) for one in instruction["additionalInstruction"]]
    texts.append(texts_of(instruction["timing"]["code"]))
    return any(_OFTEN.search(text) for text in texts if text)


def _says_otherwise(instruction: Place, ordered: Decimal) -> bool:
    """Whether a dosage names in words an amount that is not the one ordered; sizes of vials, after ×, are not it."""
    texts = [instruction["text"].text(), instruction["patientInstruction"].text()]
    for number, unit in _NAMED.findall(" ".join(text for text in texts if text)):
        power = 3 if unit[:2].casefold() in ("mg", "mi") and unit[:3].casefold() != "mic" else 0
        either = {
            Decimal(number.replace(",", "")),
            Decimal(number.replace(",", "", number.count(",") - 1).replace(",", ".")),
        }
        if all(departs(EXACT.scaleb(one, power), ordered) for one in either):
            return True
    return False


def _is_replaceable(draft: Draft) -> bool:
    """Whether a draft can be sent back with another dosage and be what it was but for that."""
    order = draft.order
    instructions = (
        cast("list[object]", order["dosageInstruction"]) if _can_be_sent(order) and "dosageInstruction" in order else []
    )
    told = any(isinstance(one, Mapping) and "patientInstruction" in one for one in instructions)
    kept = {"modifierExtension", "note", "dispenseRequest", "contained"} & set(order)
    return "id" in order and order.get("status") == "draft" and not kept and not told and _can_be_sent(order)


def _replaced(basis: Basis, draft: Draft) -> Card:
    """The suggestion to put the dose that is expected in a draft."""
    dose = cast(Answer, basis.expected)
    due = f" due {basis.due_on}" if basis.due_on else ""
    label = f"Change the draft to one dose of {_amounts(dose)}{due}"
    resource = {**draft.order, "dosageInstruction": [dosage(dose, basis.due_on)]}
    return _suggested(label, {"type": "update", "description": label, "resource": resource})


def _ordered(draft: Draft, kg: Decimal | None) -> tuple[Decimal | None, str]:
    """The micrograms that a draft order has; or None, and why they cannot be told."""
    faults: list[Fault] = []
    order = Place(draft.order, draft.path, faults)
    if order["modifierExtension"].there:
        order["modifierExtension"].wrong("is not known here, and may change what all else means")
    instructions = list(order["dosageInstruction"])
    rates = [rate for one in instructions for rate in one["doseAndRate"]]
    by_volume = [rate for rate in rates if _is_volume(rate.choice("dose", "Quantity"))]
    if len(by_volume) < len(rates):  # what is to be drawn up, beside what is ordered
        rates = [rate for rate in rates if rate not in by_volume]
    if len(instructions) != 1 or not rates:
        order["dosageInstruction"].wrong("must be one dosage with one dose")
    found = [_micrograms(rate.choice("dose", "Quantity"), kg) for rate in rates]
    if faults:
        return None, _in_words(faults[0], draft)
    amounts = cast("list[Decimal]", found)
    if any(departs(one, amounts[0]) for one in amounts):
        return None, "The dosage gives several doses, which differ"
    return amounts[0], ""


#: What the elements of an order are to whoever writes one.
_IN_WORDS: Final = {
    "code": "The unit of its dose",
    "unit": "The unit of its dose",
    "value": "Its dose",
    "comparator": "A comparator of its dose",
    "dosageInstruction": "Its dosage",
    "modifierExtension": "A modifier extension",
}


def _in_words(fault: Fault, draft: Draft) -> str:
    """What is wrong with an order, to whoever writes it: not where it stood in what was sent."""
    within = fault.path.removeprefix(f"{draft.path}.")
    what = _IN_WORDS.get(within.rpartition(".")[2])
    return f"{within}: {fault.message}" if what is None else f"{what} {fault.message}"


def _is_volume(quantity: Place) -> bool:
    return (quantity["code"].text() or quantity["unit"].text() or "").casefold() == "ml"


def _micrograms(quantity: Place, kg: Decimal | None) -> Decimal | None:
    unit = quantity["code"] if quantity["code"].there else quantity["unit"]
    text, value = unit.text(), quantity["value"].value
    if not isinstance(value, Decimal) or value <= 0:
        quantity["value"].wrong("must be a number above 0")
    elif quantity["comparator"].there:
        quantity["comparator"].wrong("is not taken: a dose must be exact")
    elif text in MICROGRAMS:
        return EXACT.scaleb(value, MICROGRAMS[text])
    elif text not in LEVELS:
        unit.wrong("must be ug, mcg, mg or ug/kg")
    elif kg is None:
        unit.wrong("is by weight, and no dosing weight is known")
    else:
        return times(value, kg)
    return None


def _more_than_weekly(timing: Place) -> bool:
    repeat = Place(timing.value, timing.path, [])["repeat"]
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
    level = level_text(cast(Decimal, dose["micrograms_per_kg"]))
    return f"{_plain(dose, 'delivered_micrograms')} micrograms ({level})"


def _due(answer: Answer) -> str:
    return f" due {answer['due_on']}" if answer["due_on"] else ""


def _plain(dose: Answer, key: str) -> str:
    return plain(cast(Decimal, dose[key]))


def _number(value: Decimal) -> str:
    return plain(rounded(value, HUNDREDTH))
