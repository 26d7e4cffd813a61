"""Answers, courses and protocols as a person at a terminal reads them.

Numbers carry their units, "micrograms" is spelled out, nothing rests on colour alone, and what could not be verified
says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from titrator.titration.codes import Action
from titrator.titration.course import Count
from titrator.titration.errors import Fault
from titrator.titration.grading import Analyte, grade
from titrator.titration.preparation import DoseToGive, Sourced, preparation_of
from titrator.titration.protocol import Protocol, Status, WeeklyProtocol
from titrator.titration.quantities import HUNDREDTH, iso, plain, rounded
from titrator.titration.recommend import ENGINE_VERSION, Recommendation
from titrator.titration.wording import Statement, alerts, level_text, reasons
from titrator.workflow.compare import Band, decision_table, differences, settings
from titrator.workflow.replay import Replayed

_STYLES = {
    Action.HOLD: "bold yellow",
    Action.REFER: "bold red",
    Action.INCOMPLETE: "bold magenta",
    Action.COMPLETE: "bold",
}
_NO_DOSE = {
    Action.HOLD: "no dose",
    Action.REFER: "no dose: ask a prescriber",
    Action.INCOMPLETE: "no dose until what is missing is known",
    Action.COMPLETE: "no further dose",
}


def headline(answer: Recommendation) -> str:
    """The action in one line."""
    dose = answer.dose
    if dose is None:
        return f"{answer.action.upper()}: {_NO_DOSE[answer.action]}"
    return (
        f"{answer.action.upper()}: {micrograms(dose)} ({level_text(dose.level)}), {volume(dose)}, due "
        f"{iso(_due(answer))}"
    )


def _due(answer: Recommendation) -> int:
    return answer.on if answer.due is None else answer.due


def micrograms(dose: DoseToGive) -> str:
    """The dose to 0.01 µg, spelled out."""
    return f"{plain(rounded(dose.micrograms, HUNDREDTH))} micrograms"


def volume(dose: DoseToGive) -> str:
    """The volume with its unit."""
    return f"{plain(dose.volume)} mL"


def recommendation(answer: Recommendation) -> RenderableType:
    """One answer: the action, the dose, why, what to look at, what comes next, how to prepare it, what it rests on."""
    rows = Table.grid(padding=(0, 2))
    rows.add_column(style="bold", no_wrap=True)
    rows.add_column()
    if answer.dose:
        rows.add_row("Give", _give(answer, answer.dose))
        rows.add_row("Vials", _vials(answer.dose))
    _add_statements(rows, "Why", reasons(answer))
    _add_statements(rows, "Look at", alerts(answer))
    rows.add_row("Next", _next(answer))
    rows.add_row("Rests on", _evidence(answer))
    if answer.dose:
        _add_preparation(rows, preparation_of(answer.dose))
    rows.add_row("By", _source(answer))
    return Group(Text(headline(answer), style=_STYLES.get(answer.action, "bold green")), Text(), rows)


def _give(answer: Recommendation, dose: DoseToGive) -> str:
    concentration = f"{plain(dose.concentration)} micrograms/mL"
    delivered = f", which delivers {plain(dose.delivered)} micrograms" if dose.delivered != dose.micrograms else ""
    return (
        f"{micrograms(dose)} under the skin on {iso(_due(answer))}: draw up {volume(dose)} of "
        f"{concentration}{delivered}"
    )


def _vials(dose: DoseToGive) -> str:
    vials = " + ".join(f"{vials.number} × {vials.size} micrograms" for vials in dose.vials)
    return f"{vials}; {plain(dose.waste)} micrograms left over" if dose.waste else f"{vials}; nothing left over"


def _add_statements(rows: Table, title: str, statements: Sequence[Statement]) -> None:
    for index, statement in enumerate(statements):
        rows.add_row("" if index else title, Text.assemble(statement.text, " ", (f"[{statement.code}]", "bold")))
        rows.add_row("", Text(statement.citation, style="dim"))


def _next(answer: Recommendation) -> str:
    if answer.next_count is None:
        return "nothing further by this protocol"
    return f"platelet count on {iso(answer.next_count)}"


def _evidence(answer: Recommendation) -> str:
    evidence = answer.evidence
    facts = [f"day asked about {iso(answer.on)}"]
    if evidence.dosing_weight_kg is not None and evidence.dosing_weight_on is not None:
        facts.append(f"weight {plain(evidence.dosing_weight_kg)} kg of {iso(evidence.dosing_weight_on)}")
    if evidence.counts_used:
        facts.append("counts of " + ", ".join(map(iso, evidence.counts_used)))
    if evidence.doses_used:
        facts.append("doses of " + ", ".join(map(iso, evidence.doses_used)))
    if evidence.last_level is not None:
        facts.append(f"last level {level_text(evidence.last_level)}")
    facts.append(f"decided at step {evidence.step} of docs/titration-rules.md")
    return "; ".join(facts)


def _add_preparation(rows: Table, lines: Iterable[Sourced]) -> None:
    for index, line in enumerate(lines):
        source = line.source if line.verified else f"NOT VERIFIED: {line.source}. Follow the label in hand."
        text = Text.assemble(line.text, " ", (f"({source})", "dim" if line.verified else "bold yellow"))
        rows.add_row("" if index else "Prepare", text)


def _source(answer: Recommendation) -> str:
    protocol = answer.protocol
    kind = "" if protocol.status is Status.LABEL else f" [{protocol.status.replace('_', ' ')}]"
    return (
        f"{protocol.id}{kind}: {protocol.title}. A proposal for a pharmacist or prescriber to check, not an order. "
        f"Engine {ENGINE_VERSION}, protocol {protocol.sha256[:12]}, input {answer.input_sha256[:12]}."
    )


def replayed(days: Iterable[Replayed], title: str) -> Table:
    """A course day by day: the count with its grade, what was proposed, why, and what was given."""
    table = Table(title=title, title_justify="left")
    for name in ("Day", "Platelets ×10⁹/L", "CTCAE v5 grade", "Proposed", "micrograms per kg", "micrograms", "mL"):
        words = name in ("Day", "Proposed")
        table.add_column(name, justify="left" if words else "right", no_wrap=words)
    table.add_column("Why, and what to look at", overflow="fold")
    table.add_column("Given, micrograms", justify="right")
    for answer, count, given in days:
        codes = ", ".join(map(str, answer.reasons))
        beside = f"; look at {', '.join(map(str, answer.alerts))}" if answer.alerts else ""
        stated = "" if given is None else plain(given.micrograms)
        table.add_row(iso(answer.on), *_counted(count), *_proposed(answer), codes + beside, stated)
    return table


def _counted(count: Count | None) -> tuple[str, str]:
    if count is None:
        return "", ""
    if count.unreliable:
        return f"{plain(count.platelets)} unreliable", ""
    return plain(count.platelets), _grade(Analyte.PLATELETS, count.platelets)


def _proposed(answer: Recommendation) -> tuple[str, str, str, str]:
    dose = answer.dose
    if dose is None:
        return str(answer.action), "", "", ""
    return str(answer.action), plain(dose.level), plain(dose.delivered), plain(dose.volume)


def _grade(analyte: Analyte, value: Decimal) -> str:
    """The CTCAE v5.0 grade without a laboratory's limit of normal, which leaves 0 and 1 untold apart."""
    graded = grade(analyte, value)
    return "0 or 1" if graded is None else str(graded)


def protocol_list(protocols: Iterable[Protocol | tuple[str, str]]) -> Table:
    """The protocols with where they come from; a pair is the id of one that is refused, and why."""
    table = Table(show_edge=False)
    for name in ("Id", "Title", "Status", "Source", "Reviewed by"):
        table.add_column(name, no_wrap=name == "Id")
    for protocol in protocols:
        if isinstance(protocol, tuple):
            table.add_row(protocol[0], Text(f"REFUSED: {protocol[1]}", style="bold red"))
        else:
            source = protocol.source
            reviewer = f"{source.reviewer}, {source.reviewed_on}" if source.reviewer else "nobody yet"
            status = protocol.status.replace("_", " ")
            table.add_row(protocol.id, protocol.title, status, source.cited_as, reviewer)
    return table


def protocol_page(protocol: Protocol) -> RenderableType:
    """A protocol as a pharmacist reads it: what it does at each count, its settings, what is unprinted, its source."""
    source = protocol.source
    parts: list[RenderableType] = [Text(f"{protocol.id}: {protocol.title}", style="bold"), Text()]
    if isinstance(protocol, WeeklyProtocol):
        parts += [_bands(decision_table([protocol]), ["While dosing", "While on hold"]), Text()]
    parts.append(_pairs(settings(protocol).items()))
    parts += [Text(), Text("Where each rule is printed", style="bold"), _pairs(protocol.citations.items())]
    if protocol.unprinted:
        parts += [Text(), Text("What the source leaves unprinted, and what is done instead", style="bold")]
        parts.append(_pairs((item.rule, item.text) for item in protocol.unprinted))
    if protocol.notes:
        parts += [Text(), Text("Notes", style="bold"), _pairs(protocol.notes.items())]
    about = {
        "document": source.document,
        "edition": source.edition,
        "section": source.section,
        "address": f"{source.url}, read on {source.retrieved_on}",
        "read as": source.verification.replace("_", " "),
        "reviewed by": f"{source.reviewer}, {source.reviewed_on}" if source.reviewer else "nobody yet",
        "SHA-256": protocol.sha256,
    }
    parts += [Text(), Text("Source", style="bold"), _pairs(about.items())]
    return Group(*parts)


def protocol_difference(one: Protocol, other: Protocol) -> RenderableType:
    """Where two protocols part: settings, then counts."""
    found = differences(one, other)
    if not found:
        return Text(f"{one.id} and {other.id} have the same settings.")
    table = Table(show_edge=False)
    for name in ("Setting", one.id, other.id):
        table.add_column(name)
    for difference in found:
        table.add_row(*difference)
    if not (isinstance(one, WeeklyProtocol) and isinstance(other, WeeklyProtocol)):
        return table
    rows = [band for band in decision_table([one, other]) if band.doing[:2] != band.doing[2:]]
    if not rows:
        return Group(table, Text(), Text("At every count both do the same."))
    names = [f"{protocol.id}: {when}" for protocol in (one, other) for when in ("dosing", "on hold")]
    return Group(table, Text(), Text("Counts at which they part", style="bold"), _bands(rows, names))


def _bands(rows: Iterable[Band], names: Iterable[str]) -> Table:
    table = Table(show_edge=False)
    for name in ("Platelets ×10⁹/L", *names):
        table.add_column(name)
    for band in rows:
        table.add_row(band.counts, *band.doing)
    return table


def _pairs(pairs: Iterable[tuple[str, str]]) -> Padding:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for key, value in pairs:
        table.add_row(key.replace("_", " "), value)
    return Padding(table, (0, 0, 0, 2))


def checked(path: Path, examples: int) -> Text:
    """What a check says of a sound protocol file."""
    if examples:
        return Text(f"{path}: in order, {examples} examples agree", style="green")
    return Text(f"{path}: in order, but without examples", style="bold yellow")


def refused(path: Path, faults: Sequence[Fault]) -> Text:
    """What a check says of a protocol file with faults."""
    return Text("\n".join([f"{path}: REFUSED", *(f"  {fault}" for fault in faults)]), style="bold red")


def out() -> Console:
    """The console on standard output, no wider than reads well; texts are shown as they are, never as markup."""
    return Console(highlight=False, markup=False, width=min(Console().width, 140))
