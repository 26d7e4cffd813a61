"""Answers, courses and protocols as a person at a terminal reads them.

Numbers carry their units, "micrograms" is spelled out, nothing rests on colour alone, and what could not be verified
says so.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from itertools import takewhile
from pathlib import Path
from textwrap import fill
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.padding import Padding
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from titrator.titration.codes import Action, Reason
from titrator.titration.course import Count, Course, EventKind
from titrator.titration.documents import legible, printable
from titrator.titration.errors import Fault
from titrator.titration.grading import Analyte, grade
from titrator.titration.preparation import DoseToGive, Sourced, preparation_of
from titrator.titration.protocol import Protocol, Status, WeeklyProtocol
from titrator.titration.quantities import HUNDREDTH, iso, plain, rounded
from titrator.titration.recommend import ENGINE_VERSION, Recommendation
from titrator.titration.terms import SETTLES_AFTER, Terms
from titrator.titration.wording import Statement, alerts, level_text, reasons, side
from titrator.workflow.compare import Band, decision_table, differences, settings
from titrator.workflow.replay import Replayed

# In columns of the screen:
_NARROWEST, _WIDEST = 40, 140  # what is printed, whatever the terminal says
_UNTOLD = 120  # where nothing says how wide it is
_ANY_WIDTH = 10_000
_LINES = 25  # of no consequence: what is longer scrolls
_FOLDED = 12  # what a column keeps before its words are folded, if it does not say how much
_HEAD = 14  # a head over a column, where it has hyphens or spaces to be broken at

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
#: What is said beside the id of a protocol that is not a label.
_NO_LABEL = {
    Status.CASE_REPORT: "OFF LABEL, a case report",
    Status.LOCAL: "LOCAL PROTOCOL, rules of your own hospital, not of a label",
}


def headline(answer: Recommendation) -> str:
    """The action in one line."""
    dose = answer.dose
    if dose is None:
        return f"{answer.action.upper()}: {_NO_DOSE[answer.action]}"
    cut = ", cut to the highest dose" if dose.capped else ""
    return (
        f"{answer.action.upper()} romiPLOStim: {micrograms(dose)} ({level_text(dose.level)}{cut}), {volume(dose)}, "
        f"due {iso(_due(answer))}"
    )


def _due(answer: Recommendation) -> int:
    return answer.on if answer.due is None else answer.due


def micrograms(dose: DoseToGive) -> str:
    """The dose to 0.01 µg, spelled out."""
    return f"{plain(rounded(dose.micrograms, HUNDREDTH))} micrograms"


def volume(dose: DoseToGive) -> str:
    """The volume with its unit."""
    return f"{plain(dose.volume)} mL"


def recommendation(answer: Recommendation, later: Sequence[tuple[str, int]] = ()) -> RenderableType:
    """One answer: the action, the dose, why, what to look at, what comes next, what it rests on, how to prepare it.

    `later` names facts of the course dated after the day, which the answer leaves out: often a slip of the date.
    """
    rows = Table.grid(padding=(0, 2))
    rows.add_column(style="bold", no_wrap=True)
    rows.add_column(overflow="fold")
    if answer.dose:
        _add(rows, "Propose", [_arithmetic(answer, answer.dose), _drawn_up(answer.dose), _vials(answer.dose)])
    _add_statements(rows, "Why", reasons(answer))
    _add_statements(rows, "Look at", alerts(answer))
    _add(rows, "Next", [_next(answer)])
    _add(rows, "Rests on", _evidence(answer))
    _add(
        rows,
        "Left out",
        [f"{name} of {iso(day)}, after the day asked about: is the date right?" for name, day in later],
    )
    if answer.dose:
        _add_preparation(rows, preparation_of(answer.dose))
    _add(
        rows,
        "By",
        [f"engine {ENGINE_VERSION}, protocol {answer.protocol.sha256[:12]}, input {answer.input_sha256[:12]}"],
    )
    style = _STYLES.get(answer.action, "bold green")
    return Group(Text(headline(answer), style=style), Text(_provenance(answer.protocol)), Text(), rows)


def _provenance(protocol: Protocol) -> str:
    source = protocol.source
    no_label = f"{_NO_LABEL[protocol.status]}. " if protocol.status in _NO_LABEL else ""
    reviewed = f"reviewed by {_reviewer(protocol)}" if source.reviewer else "not reviewed by a pharmacist"
    return (
        f"A proposal to check, not an order. {no_label}{protocol.id}: {protocol.title}; read as "
        f"{source.verification.replace('_', ' ')} ({source.edition}); {reviewed}."
    )


def _add(rows: Table, title: str, lines: Iterable[str]) -> None:
    for index, line in enumerate(lines):
        rows.add_row("" if index else title, line)


def _arithmetic(answer: Recommendation, dose: DoseToGive) -> str:
    weight = answer.facts.dosing_weight
    kg = "" if weight is None else f" × {plain(weight.kg)} kg (weighed {iso(weight.day)})"
    cut = ", cut to the highest dose," if dose.capped else ""
    return (
        f"romiPLOStim, under the skin, on {iso(_due(answer))}: {level_text(dose.level)}{kg}{cut} = {micrograms(dose)}"
    )


def _drawn_up(dose: DoseToGive) -> str:
    same = dose.delivered == dose.micrograms
    delivers = "" if same else f", which delivers {plain(dose.delivered)} micrograms"
    return f"{volume(dose)} of {plain(dose.concentration)} micrograms/mL{delivers}"


def _vials(dose: DoseToGive) -> str:
    vials = " + ".join(f"{vials.number} × {vials.size} micrograms" for vials in dose.vials)
    printed = sum(vials.number * vials.size for vials in dose.vials)
    return (
        f"vials: {vials} ({plain(dose.waste)} of the printed {printed} micrograms unused). Draw up only "
        f"{volume(dose)}: a "
        "vial holds more than is printed on it"
    )


def _add_statements(rows: Table, title: str, statements: Sequence[Statement]) -> None:
    for index, statement in enumerate(statements):
        rows.add_row("" if index else title, Text.assemble(statement.text, " ", (f"[{statement.code}]", "bold")))
        rows.add_row("", Text(statement.citation, style="dim"))


def _next(answer: Recommendation) -> str:
    if answer.next_count is None:
        return "nothing further by this protocol"
    if {Reason.WEIGHT_MISSING, Reason.WEIGHT_STALE} >= set(answer.reasons):
        return "weigh, then ask again"
    count = f"platelet count on {iso(answer.next_count)}"
    if answer.dose is None:
        return count
    if not isinstance(answer.protocol, WeeklyProtocol):
        return f"{count}; the dose does not wait for it"
    shows = _due(answer) + SETTLES_AFTER
    if answer.next_count == _due(answer):
        return f"{count}, before this dose"
    return count if answer.next_count >= shows else f"{count}; counts before {iso(shows)} do not show this dose"


def _evidence(answer: Recommendation) -> list[str]:
    evidence, facts = answer.evidence, answer.facts
    counts = {count.day: count for count in facts.counts}
    lines = [f"day asked about {iso(answer.on)}; decided at step {evidence.step} of docs/titration-rules.md"]
    if facts.course.born is None:
        lines.append("age not checked: no date of birth")
    if evidence.dosing_weight_kg is not None and evidence.dosing_weight_on is not None:
        age = answer.on - evidence.dosing_weight_on
        lines.append(
            f"weight {plain(evidence.dosing_weight_kg)} kg of {iso(evidence.dosing_weight_on)}, {age} days old"
        )
    if evidence.counts_used:
        used = ", ".join(f"{plain(counts[day].platelets)} of {iso(day)}" for day in evidence.counts_used)
        lines.append(f"platelets ×10⁹/L: {used}")
    return [*lines, *_last_dose(answer), *_course_so_far(answer), *_safety_events(answer)]


def _last_dose(answer: Recommendation) -> list[str]:
    facts = answer.facts
    if not facts.doses:
        return []
    last = facts.doses[-1]
    level = "" if answer.evidence.last_level is None else f" ({level_text(answer.evidence.last_level)})"
    entries = [plain(dose.micrograms) for dose in facts.course.doses if dose.day == last.day]
    added = f", {len(entries)} entries of this day added: {' + '.join(entries)}" if len(entries) > 1 else ""
    first = ", the first of this course" if len(facts.doses) == 1 else f", dose {len(facts.doses)} of this course"
    return [f"last dose {plain(last.micrograms)} micrograms{level} of {iso(last.day)}{first}{added}"]


def _course_so_far(answer: Recommendation) -> list[str]:
    """How long the count has held, and how long no platelets were transfused: the prescriber decides what it means."""
    facts = answer.facts
    if not isinstance(facts, Terms) or not facts.doses:
        return []
    lines, increase = [], facts.rules.increase
    held = list(takewhile(lambda count: not increase.holds(count.platelets), reversed(facts.reliable)))
    if held:
        lines.append(
            f"platelets {side(increase.complement())} at each count since {iso(held[-1].day)} ({len(held)} counts)"
        )
    transfused = [e.day for e in facts.course.events if e.kind is EventKind.PLATELET_TRANSFUSION]
    since = f"since {iso(transfused[-1])}, {answer.on - transfused[-1]} days" if transfused else "in this course"
    lines.append(f"no platelet transfusion recorded {since}")
    return lines


def _safety_events(answer: Recommendation) -> list[str]:
    lines = []
    for event in answer.facts.course.events:
        if event.kind in (EventKind.THROMBOSIS, EventKind.MARROW_DISORDER) and event.resolved is not None:
            check = " (before it occurred: check the dates)" if event.resolved < event.day else ""
            kind = event.kind.replace("_", " ")
            lines.append(f"{kind} of {iso(event.day)}, recorded as resolved on {iso(event.resolved)}{check}")
    return lines


def _add_preparation(rows: Table, steps: Iterable[Sourced]) -> None:
    for number, step in enumerate(steps, start=1):
        warning = Text() if step.verified else Text("NOT VERIFIED, read it off the label in hand: ", "bold yellow")
        text = Text.assemble(f"{number}. ", warning, step.text, " ", (f"({step.source})", "dim"))
        rows.add_row("Prepare" if number == 1 else "", text)


def named(protocol: Protocol) -> str:
    """A protocol by its id, and what it is where it is not a label."""
    return f"{protocol.id} ({_NO_LABEL[protocol.status]})" if protocol.status in _NO_LABEL else protocol.id


class FittingTable(Table):
    """A table that cuts no word and no number; where the screen is too narrow for that, its rows are told as lists.

    Columns wrap between words. One whose `overflow` is `fold` may be folded in the middle of a word when it has no more
    than its `min_width`.
    """

    def __init__(self, **how: Any) -> None:
        super().__init__(**how)
        self._names: list[str] = []

    def add(self, name: str, head: str | None = None, **how: Any) -> None:
        """Add a column by the name that its values have in a list, if any; `head` stands over it where that differs."""
        self._names.append(name)
        self.add_column(name if head is None else head, **how)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Give each column the width of its longest word; share what is left, the narrowest first."""
        texts = [[str(cell) for cell in (column.header, *column.cells)] for column in self.columns]
        lines = [_longest(text.splitlines() for text in column) for column in texts]
        words = [_longest(text.split() for text in column) for column in texts]
        for index, column in enumerate(self.columns):
            if column.no_wrap:
                words[index] = lines[index]
            folds = column.overflow == "fold"
            column.width = min(words[index], column.min_width or _FOLDED) if folds else words[index]
        spare = options.max_width - Measurement.get(console, options.update_width(_ANY_WIDTH), self).maximum
        if spare < 0:
            yield from self._listed()
        else:
            self._widen(spare, words, lines)
            yield from super().__rich_console__(console, options)

    def _widen(self, spare: int, *goals: Sequence[int]) -> None:
        wide = [column.width or 0 for column in self.columns]
        for goal in goals:
            while spare and (short := [(width, index) for index, width in enumerate(wide) if width < goal[index]]):
                wide[min(short)[1]] += 1
                spare -= 1
        for column, width in zip(self.columns, wide, strict=True):
            column.width = width

    def _listed(self) -> Iterator[RenderableType]:
        if self.title:
            yield Text(str(self.title))
        for first, *cells in zip(*(column.cells for column in self.columns), strict=True):
            yield _line(self._names[0], Text(str(first), style="bold"))
            for name, cell in zip(self._names[1:], cells, strict=True):
                if str(cell):
                    yield Padding(_line(name, cell), (0, 0, 0, 2))


def _line(name: str, cell: RenderableType) -> Text:
    return Text.assemble(f"{name}: " if name else "", cell if isinstance(cell, Text) else str(cell))


def _longest(parts: Iterable[Iterable[str]]) -> int:
    return max((cell_len(part) for some in parts for part in some), default=1)


def replayed(days: Iterable[Replayed], title: str) -> FittingTable:
    """A course day by day: the count with its grade, what was proposed, why, and what was given."""
    table = FittingTable(title=title, title_justify="left", box=SIMPLE_HEAD, padding=0, pad_edge=False)
    table.add("", "Day")
    table.add("Platelets ×10⁹/L", "Platelets\n×10⁹/L", justify="right")
    table.add("CTCAE v5 grade", "CTCAE\nv5\ngrade", justify="right")
    table.add("Proposed")
    table.add("Level, micrograms per kg", "Level,\nmicro-\ngrams\nper kg", justify="right")
    table.add("To draw up, micrograms", "To draw\nup,\nmicro-\ngrams", justify="right")
    table.add("To draw up, mL", "mL", justify="right")
    table.add("Given, micrograms", "Given,\nmicro-\ngrams", justify="right")
    table.add("Why, and what to look at", overflow="fold")
    for answer, count, given in days:
        codes = ", ".join(map(str, answer.reasons))
        beside = f"; look at {', '.join(map(str, answer.alerts))}" if answer.alerts else ""
        stated = "" if given is None else plain(given.micrograms)
        table.add_row(iso(answer.on), *_counted(count), *_proposed(answer), stated, codes + beside)
    return table


def happened(course: Course) -> Text:
    """The events of a course, a line each."""
    lines = [
        f"{iso(event.day)} {event.kind.replace('_', ' ')}"
        + ("" if event.resolved is None else f", recorded as resolved on {iso(event.resolved)}")
        for event in course.events
    ]
    return Text("\n".join(["Events", *lines]) if lines else "No events recorded")


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


def protocol_list(protocols: Iterable[Protocol | tuple[str, str]]) -> FittingTable:
    """The protocols with where they come from; a pair is the id of one that is refused, and why."""
    table = FittingTable(box=SIMPLE_HEAD, padding=0, pad_edge=False)
    table.add("", "Id")
    table.add("", "Title", overflow="fold")
    table.add("Status")
    table.add("Read as")
    table.add("Reviewed by", overflow="fold")
    for protocol in protocols:
        if isinstance(protocol, tuple):
            table.add_row(printable(protocol[0])[1:-1], Text(f"REFUSED: {protocol[1]}", style="bold red"))
        else:
            status = protocol.status.replace("_", " ")
            read_as = protocol.source.verification.replace("_", " ")
            table.add_row(protocol.id, protocol.title, status, read_as, _reviewer(protocol))
    return table


def _reviewer(protocol: Protocol) -> str:
    source = protocol.source
    return f"{source.reviewer}, {source.reviewed_on}" if source.reviewer else "nobody yet"


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
        "status": _NO_LABEL.get(protocol.status, "label"),
        "document": source.document,
        "edition": source.edition,
        "section": source.section,
        "address": f"{source.url}, read on {source.retrieved_on}",
        "read as": source.verification.replace("_", " "),
        "reviewed by": _reviewer(protocol),
        "SHA-256": protocol.sha256,
    }
    parts += [Text(), Text("Source", style="bold"), _pairs(about.items())]
    return Group(*parts)


def protocol_difference(one: Protocol, other: Protocol) -> RenderableType:
    """Where two protocols part: settings, then counts."""
    found = differences(one, other)
    if not found:
        return Text(f"{one.id} and {other.id} have the same settings.")
    table = FittingTable(show_edge=False)
    table.add("", "Setting", overflow="fold")
    table.add(one.id, overflow="fold")
    table.add(other.id, overflow="fold")
    for difference in found:
        table.add_row(*difference)
    if not (isinstance(one, WeeklyProtocol) and isinstance(other, WeeklyProtocol)):
        return table
    rows = [band for band in decision_table([one, other]) if band.doing[:2] != band.doing[2:]]
    if not rows:
        return Group(table, Text(), Text("At every count both do the same."))
    names = [f"{protocol.id}: {when}" for protocol in (one, other) for when in ("dosing", "on hold")]
    return Group(table, Text(), Text("Counts at which they part", style="bold"), _bands(rows, names))


def _bands(rows: Iterable[Band], names: Iterable[str]) -> FittingTable:
    table = FittingTable(show_edge=False)
    for name in ("Platelets ×10⁹/L", *names):
        table.add(name, fill(name, _HEAD))
    for band in rows:
        table.add_row(band.counts, *band.doing)
    return table


def _pairs(pairs: Iterable[tuple[str, str]]) -> Padding:
    table = FittingTable(
        box=None, show_header=False, show_edge=False, padding=(0, 2), collapse_padding=True, pad_edge=False
    )
    table.add("", style="bold", no_wrap=True)
    table.add("", overflow="fold", min_width=24)
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
    name = printable(str(path))[1:-1]
    return Text("\n".join([f"{name}: REFUSED", *(f"  {fault}" for fault in faults)]), style="bold red")


@contextmanager
def progress(total: int, noun: str) -> Iterator[Callable[[int], None]]:
    """A bar on standard error, if that is a terminal: how many are done, how many a second, and the time left.

    What it gives is told how many more are done.
    """
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    columns = (BarColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, auto_refresh=False) as bar:
        task = bar.add_task("", total=total)

        def advance(more: int) -> None:
            done = int(bar.tasks[0].completed) + more
            speed = f", {bar.tasks[0].speed:.0f}/s" if bar.tasks[0].speed else ""
            bar.update(task, advance=more, description=f"{done} of {total} {noun}{speed}", refresh=True)

        yield advance


def out() -> Console:
    """The console on standard output: as wide as COLUMNS or the terminal say, but from 40 to 140 columns, 120 untold.

    Texts are shown as they are, never as markup.
    """
    told = shutil.get_terminal_size((_UNTOLD, 0)).columns or _UNTOLD
    width = min(max(told, _NARROWEST), _WIDEST)
    # With a height, too, rich looks nowhere itself: it fails where COLUMNS is a digit that is no number, like ².
    return _Screen(highlight=False, markup=False, emoji=False, width=width, height=_LINES)


class _Screen(Console):
    """A console that no text reaches which a terminal would obey, wherever it came from: a file, its name, a header."""

    def render_str(self, text: str, **how: Any) -> Text:
        """A text as it is shown; all texts come by here, those of cells, too."""
        return super().render_str(legible(text), **how)
