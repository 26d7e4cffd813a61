"""The numbers of a cohort as a report: sections of lines, each with its part of the whole. docs/cohort.md tells each.

The same lines are shown as tables, written as CSV and sent as JSON, and charts are drawn of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Final, NamedTuple

from titrator.titration.protocol import WeeklyProtocol
from titrator.titration.quantities import TENTH, iso, ratio_rounded
from titrator.titration.recommend import ENGINE_VERSION
from titrator.workflow.cohort import Agreement, Numbers, Question, Zone

WEEK: Final = 7
HUNDRED: Final = Decimal(100)
#: Days after the first dose of which it is told how many have responded by then.
RESPONDED_BY: Final = (28, 56, 84, 168)
#: What agrees with an answer, among the points at which the protocol proposed a dose or a hold.
AGREES: Final = (Agreement.SAME_AMOUNT, Agreement.SAME_STEP, Agreement.HELD)
#: The items of a report as people read them, where they are codes.
WORDS: Final[Mapping[str, str]] = {
    Agreement.SAME_AMOUNT: "the same amount",
    Agreement.SAME_STEP: "the same step, another amount",
    Agreement.HIGHER: "higher than proposed",
    Agreement.LOWER: "lower than proposed",
    Agreement.NOT_GIVEN: "a dose proposed, none given",
    Agreement.HELD: "a hold, none given",
    Agreement.GIVEN_ON_HOLD: "GIVEN WHILE ON HOLD",
    Agreement.GIVEN_WITHOUT_PROPOSAL: "given, where it refers or lacks data",
    Agreement.NONE_WITHOUT_PROPOSAL: "none given, where it refers or lacks data",
    Agreement.UNVERIFIED: "a dose before it is unverified: no answer",
    Zone.BELOW: "below the range",
    Zone.IN_RANGE: "in range",
    Zone.ABOVE: "above the range",
    Zone.OVER_HOLD: "over the hold limit",
    "unknown": "not known: counts too far apart",
    "yes": "responded",
    "not-yet": "no response up to the last count",
    "no-count": "no count",
    "4-or-more": "4 or more",
}
_WITHOUT_ANSWER: Final = (
    *(Agreement.GIVEN_WITHOUT_PROPOSAL, Agreement.NONE_WITHOUT_PROPOSAL),
    Agreement.UNVERIFIED,
)


class Line(NamedTuple):
    """A line of a section: what, in which detail, how many of what unit, and which part that is of all, in percent."""

    item: str
    detail: str
    number: Decimal | None
    unit: str
    percent: Decimal | None = None


Section = list[Line]
Report = dict[str, Section]


def report(question: Question, numbers: Numbers) -> Report:
    """The sections, in order; those about counts only by a protocol that titrates."""
    sections: Report = {
        "cohort": _cohort(numbers),
        "agreement": _agreement(numbers),
        "doses-since-last-count": _shares("since", numbers, "doses", ("0", "1", "2", "3", "4-or-more", "no-count")),
        "without-dose": _without_dose(numbers),
    }
    if isinstance(question.protocol, WeeklyProtocol):
        sections |= {
            "time-in-range": _time_in_range(numbers),
            "first-response": _first_response(numbers),
            "overrides": list(_overrides(numbers)),
        }
    return sections


def asked(question: Question) -> dict[str, object]:
    """What was asked, as it stands over a report."""
    protocol = question.protocol
    return {
        "protocol": protocol.id,
        "protocol_sha256": protocol.sha256,
        "engine_version": ENGINE_VERSION,
        "from": None if question.first is None else iso(question.first),
        "until": None if question.last is None else iso(question.last),
        "treated_by": question.treated_by,
    }


def responded(numbers: Numbers) -> list[tuple[int, Decimal]]:
    """The days on which courses responded and the part that had by then, in percent, by Kaplan and Meier's estimate.

    A course without a response is one at risk up to its last count.
    """
    times: dict[int, Counter[str]] = {}
    for name, number in numbers.items():
        if name[0] == "response" and len(name) > 2:
            times.setdefault(int(name[2]), Counter())[name[1]] += number
    at_risk = sum(of_day.total() for of_day in times.values())
    found, waiting = [], Fraction(1)
    for day in sorted(times):
        if times[day]["yes"]:
            waiting *= 1 - Fraction(times[day]["yes"], at_risk)
            found.append((day, _percent((1 - waiting).numerator, (1 - waiting).denominator)))
        at_risk -= times[day].total()
    return found


def _cohort(numbers: Numbers) -> Section:
    names = {
        "patients": ("patients",),
        "courses by this protocol": ("courses", "by-this-protocol"),
        "courses by other protocols": ("courses", "by-others"),
        "courses that cannot be read": ("unreadable",),
        "days with a dose outside any course": ("doses-outside-courses",),
    }
    lines = [Line(item, "", Decimal(numbers[name]), "") for item, name in names.items()]
    return [*lines, Line("decision points", "", Decimal(sum(_of("points", numbers).values())), "")]


def _agreement(numbers: Numbers) -> Section:
    found = _of("points", numbers)
    lines = _shares("points", numbers, "points", tuple(map(str, Agreement)))
    answered = sum(number for (name,), number in found.items() if name not in _WITHOUT_ANSWER)
    agreed = sum(found[(name,)] for name in AGREES)
    lines.append(
        Line("agreed", "of the points with a proposal or a hold", Decimal(agreed), "points", _share(agreed, answered))
    )
    doses = sum(_of("since", numbers).values())
    early = numbers["early",]
    lines.append(Line("early", "of the doses that were given", Decimal(early), "doses", _share(early, doses)))
    return lines


def _time_in_range(numbers: Numbers) -> Section:
    days = _of("days", numbers)
    known = sum(days[(zone,)] for zone in Zone)
    lines = [Line(str(zone), "", _weeks(days[(zone,)]), "weeks", _share(days[(zone,)], known)) for zone in Zone]
    lines.append(Line("unknown", "", _weeks(days[("unknown",)]), "weeks"))
    courses = _of("course-in-range", numbers)
    middle = _median({Decimal(percent): number for (percent,), number in courses.items()})
    lines.append(Line("median of the courses", f"{sum(courses.values())} courses", middle, "% in range"))
    over = numbers["courses-over-hold",]
    lines.append(Line("courses over the hold limit", "", Decimal(over), "courses", _share(over, sum(courses.values()))))
    return lines


def _first_response(numbers: Numbers) -> Section:
    found = _of("response", numbers)
    kinds = {kind: sum(number for name, number in found.items() if name[0] == kind) for kind in _RESPONSES}
    total = sum(kinds.values())
    lines = [Line(kind, "", Decimal(kinds[kind]), "courses", _share(kinds[kind], total)) for kind in _RESPONSES]
    curve = responded(numbers)
    half = next((Decimal(day) for day, percent in curve if percent >= HUNDRED / 2), None)
    lines.append(Line("median", "by Kaplan and Meier", half, "days"))
    for limit in RESPONDED_BY if curve else ():
        percent = max((percent for day, percent in curve if day <= limit), default=Decimal(0))
        lines.append(Line(f"responded within {limit // WEEK} weeks", "by Kaplan and Meier", percent, "%"))
    return lines


_RESPONSES: Final = ("yes", "not-yet", "no-count")


def _overrides(numbers: Numbers) -> Iterator[Line]:
    ways, following, counts = (_of(name, numbers) for name in ("override", "override-next", "override-count"))
    total = sum(ways.values())
    for reason in sorted({name[0] for name in ways}):
        of_reason = {name[1]: number for name, number in ways.items() if name[0] == reason}
        made = sum(of_reason.values())
        yield Line(reason, "", Decimal(made), "overrides", _share(made, total))
        for way in sorted(of_reason):
            yield Line(reason, way, Decimal(of_reason[way]), "overrides", _share(of_reason[way], made))
        for zone in (*Zone, "none"):
            if number := following[reason, zone]:
                told = "no next count" if zone == "none" else f"next count {zone}"
                yield Line(reason, told, Decimal(number), "overrides", _share(number, made))
        values = {Decimal(name[1]): number for name, number in counts.items() if name[0] == reason}
        yield Line(reason, "median of the next counts", _median(values), "10*9/L")


def _without_dose(numbers: Numbers) -> Section:
    found = _of("without-dose", numbers)
    points = sum(_of("points", numbers).values())
    ordered = sorted(found.items(), key=lambda item: (item[0][0], -item[1], item[0][1]))
    return [Line(name[0], name[1], Decimal(number), "points", _share(number, points)) for name, number in ordered]


def _shares(section: str, numbers: Numbers, unit: str, names: Iterable[str]) -> Section:
    found = _of(section, numbers)
    total = sum(found.values())
    return [Line(name, "", Decimal(found[(name,)]), unit, _share(found[(name,)], total)) for name in names]


def _of(section: str, numbers: Mapping[tuple[str, ...], int]) -> Counter[tuple[str, ...]]:
    """The numbers of a section, by what their names have beside it."""
    return Counter({name[1:]: number for name, number in numbers.items() if name[0] == section and len(name) > 1})


def _share(number: int, of: int) -> Decimal | None:
    return _percent(number, of) if of else None


def _percent(number: int, of: int) -> Decimal:
    """A part in percent, to a tenth, half up; of however large numbers."""
    return Decimal((2000 * number + of) // (2 * of)) / 10


def _weeks(days: int) -> Decimal:
    return ratio_rounded(Decimal(days), Decimal(WEEK), TENTH)


def _median(values: Mapping[Decimal, int]) -> Decimal | None:
    """The value in the middle, or that halfway between the two that are there; None without any."""
    ordered = [value for value in sorted(values) for _ in range(values[value])]
    if not ordered:
        return None
    one, other = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
    return (one + other) / 2
