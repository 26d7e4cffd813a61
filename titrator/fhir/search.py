"""Search: the parameters that a type has, read strictly, what meets them, and pages of it as Bundles."""

from __future__ import annotations

import binascii
import calendar
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Final, Literal, NamedTuple, Protocol
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from titrator.fhir.elements import moment_of
from titrator.fhir.outcome import BadRequest
from titrator.fhir.references import patient_id, within
from titrator.titration.documents import quote
from titrator.titration.errors import Fault
from titrator.workflow.record import searched
from titrator.workflow.visit import instant

Type = Literal["token", "reference", "date", "instant", "string", "uri"]
Given = Sequence[tuple[str, str]]

PAGE: Final = 50
MOST: Final = 1000
MOST_PARAMETERS: Final = 50
MOST_ALTERNATIVES: Final = 50
#: Texts of which each word may be meant.
_OF_WORDS: Final = ("given",)
#: The newest first.
BY_DEFAULT: Final = "-_lastUpdated"
_CONTROLS: Final = ("_count", "_sort", "_page", "_format", "_pretty", "_summary", "_total")
#: Parameters of any request, that say how an answer is written.
ANYWHERE: Final = ("_format", "_pretty")
_PREFIX: Final = re.compile(r"(eq|ne|gt|lt|ge|le|sa|eb)?([0-9].*)", re.ASCII)
_PARTIAL: Final = re.compile(r"([0-9]{4})(?:-([0-9]{2}))?", re.ASCII)
_COMMA: Final = re.compile(r"(?<!\\),")
_BAR: Final = re.compile(r"(?<!\\)\|")
_ESCAPED: Final = re.compile(r"\\([\\,|$])")
_LONGEST: Final = 2000


Tokens = Mapping[str, Sequence[tuple[str, str]]]


class Match(Protocol):
    """A resource that may meet a search: what it is searched by, and how it is given, as JSON."""

    @property
    def id(self) -> str:
        """Its id."""
        ...

    @property
    def updated(self) -> str:
        """The instant since which it is so, as it is stored; empty if it is not known."""
        ...

    @property
    def day(self) -> str:
        """The day that it is of; empty if it is of none."""
        ...

    @property
    def at(self) -> str | None:
        """The instant that it is of, as it is told; None or empty if only the day is known."""
        ...

    @property
    def zone(self) -> ZoneInfo | None:
        """The time zone of its day, where the search is of no patient's."""
        ...

    @property
    def version(self) -> int | None:
        """Its version, if it has any."""
        ...

    def tokens(self, name: str) -> Sequence[tuple[str, str]]:
        """The codes that it has by the parameter of a name, each as system and code."""
        ...

    def text(self, name: str) -> str:
        """The text that it has by the parameter of a name, without case and accents."""
        ...

    def give(self) -> str:
        """The resource."""
        ...


@dataclass(frozen=True, slots=True)
class Made:
    """A Match of values that are made before they are asked for; `made` gives the resource."""

    id: str
    made: Callable[[], str]
    updated: str = ""
    day: str = ""
    codes: Tokens = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    version: int | None = None
    at: str | None = None
    zone: ZoneInfo | None = None

    def tokens(self, name: str) -> Sequence[tuple[str, str]]:
        """The codes that it has by the parameter of a name."""
        return self.codes.get(name, ())

    def text(self, name: str) -> str:
        """The text that it has by the parameter of a name."""
        return self.texts.get(name, "")

    def give(self) -> str:
        """The resource."""
        return self.made()


class Span(NamedTuple):
    """A comparison with a day or an instant, as texts that sort: the prefix, the first and the last that it means.

    One of an instant with what is of a day has the day of it at the clinic, too.
    """

    prefix: str
    first: str
    last: str
    day: str | None = None

    def meets(self, begin: str, end: str) -> bool:
        """Whether something that lasts from the first to the last of two texts meets it; nothing unknown does.

        As FHIR R4 compares: what is equal lies within, what is greater or less reaches beyond, `sa` and `eb` are apart.
        """
        if not begin:
            return False
        match self.prefix:
            case "ne":
                return not self.first <= begin <= end <= self.last
            case "gt":
                return end > self.last
            case "sa":
                return begin > self.last
            case "lt":
                return begin < self.first
            case "eb":
                return end < self.first
            case "ge":
                return end > self.last or self.first <= begin
            case "le":
                return begin < self.first or end <= self.last
            case _:
                return self.first <= begin <= end <= self.last


class Query(NamedTuple):
    """A search as it was asked: all conditions must be met, of each at least one alternative."""

    kind: str
    patient: str | None
    tokens: tuple[tuple[str, tuple[tuple[str | None, str], ...]], ...]
    spans: tuple[tuple[str, tuple[Span, ...]], ...]
    strings: tuple[tuple[str, tuple[str, ...]], ...]
    sort: tuple[str, ...]
    most: int
    page: tuple[str, str] | None
    only_total: bool
    asked: Given
    ignored: tuple[str, ...]
    zone: ZoneInfo | None = None

    def all_of(self, name: str) -> list[tuple[tuple[str | None, str], ...]]:
        """The alternatives of each condition on a token: of each one must be met."""
        return [values for key, values in self.tokens if key == name]


class Terms(NamedTuple):
    """By what a type is searched: its parameters, the orders that it has if it is bound to some, the server's address.

    Days are those of `zone`, where one is known.
    """

    kind: str
    parameters: Mapping[str, Type]
    orders: Sequence[str] = ()
    base: str = ""
    zone: ZoneInfo | None = None


def read_query(terms: Terms, given: Given, *, lenient: bool) -> Query:
    """The search that parameters ask of a type; raises BadRequest with every fault."""
    if len(given) > MOST_PARAMETERS:
        raise BadRequest(Fault("", f"a search has at most {MOST_PARAMETERS} parameters, not {len(given)}"))
    reading = _Reading(terms, lenient=lenient)
    for written, value in given:
        reading.take(written, value)
    return reading.query(given)


class _Reading:
    """The conditions of a search as they are read, with every fault."""

    def __init__(self, terms: Terms, *, lenient: bool) -> None:
        self.terms, self.lenient = terms, lenient
        self.patient: str | None = None
        self.tokens: list[tuple[str, tuple[tuple[str | None, str], ...]]] = []
        self.spans: list[tuple[str, tuple[Span, ...]]] = []
        self.strings: list[tuple[str, tuple[str, ...]]] = []
        self.ignored: list[str] = []
        self.controls: dict[str, str] = {}
        self.faults: list[Fault] = []

    def take(self, written: str, value: str) -> None:
        """Take one parameter, as it is written, with its value."""
        name, _, modifier = written.partition(":")
        sort = self.terms.parameters.get(name)
        if name in _CONTROLS and not modifier:
            if name in self.controls:
                self.faults.append(Fault(name, "given more than once"))
            self.controls[name] = value
        elif sort is None:
            self._unknown(written)
        elif modifier and not (sort == "reference" and modifier == "Patient"):
            self.faults.append(Fault(written[:80], "modifiers are not supported"))
        elif not value or len(value) > _LONGEST:
            self.faults.append(Fault(name, f"must have 1 to {_LONGEST} characters"))
        elif value.count(",") + value.count(" ") > MOST_ALTERNATIVES:
            self.faults.append(Fault(name, f"must have at most {MOST_ALTERNATIVES} alternatives or words"))
        else:
            self._condition(name, sort, value)

    def query(self, given: Given) -> Query:
        """The search; raises BadRequest."""
        faults = self.faults
        sort, count = _sort(self.controls, self.terms, faults), _count(self.controls, faults)
        page = _place(self.controls.get("_page"), faults)
        only_total = _summary(self.controls, faults)
        if faults:
            raise BadRequest(*faults)
        return Query(
            self.terms.kind,
            self.patient,
            tuple(self.tokens),
            tuple(self.spans),
            tuple(self.strings),
            sort,
            count,
            page,
            only_total or count == 0,
            given,
            tuple(self.ignored),
            self.terms.zone,
        )

    def _unknown(self, written: str) -> None:
        self.ignored.append(written)
        if not self.lenient:
            known = ", ".join([*self.terms.parameters, *_CONTROLS])
            said = f"is no search parameter of {self.terms.kind} here; there are {known}"
            self.faults.append(Fault(written[:80], said))

    def _condition(self, name: str, sort: Type, value: str) -> None:
        if sort == "reference" and name in ("patient", "subject"):
            found = patient_id(value, self.terms.base)
            if "," in value or self.patient not in (None, found):
                self.faults.append(Fault(name, "must name one patient"))
            self.patient = found
        elif sort in ("token", "uri", "reference"):
            self.tokens.append((name, tuple(_token(one, sort, self.terms.base) for one in _alternatives(value))))
        elif sort in ("date", "instant"):
            self.spans.append((name, tuple(_spans(name, value, sort, self.terms.zone, self.faults))))
        else:
            self.strings.append((name, tuple(map(_plain, _alternatives(value)))))


def meeting(query: Query, found: Iterable[Match], *, in_order: bool = False) -> list[Match]:
    """What meets all conditions of a search, in its order; that of days it may be in already, or any other."""
    conditions = query.tokens or query.spans or query.strings
    matches = [one for one in found if _meets(query, one)] if conditions else list(found)
    if not in_order:
        names = query.sort or (BY_DEFAULT,)
        for name in reversed([*names, "-_id" if names[-1].startswith("-") else "_id"]):
            _sort_by(matches, name)
    elif (first := _first_sort(query)).lstrip("-") not in ("_lastUpdated", "_id") and any(one.at for one in matches):
        _sort_by(matches, first)  # within its day
    return matches


def _sort_by(matches: list[Match], name: str) -> None:
    by = name.lstrip("-")
    matches.sort(key=lambda one: _sort_key(one, by), reverse=name.startswith("-"))


def bundle(
    base: str, query: Query, matches: Sequence[Match], total: int | None = None, following: str | None = None
) -> str:
    """A page of what was found, as a Bundle in JSON.

    Where the page was cut already, `following` is the next place, empty if there is none.
    """
    total = len(matches) if total is None else total
    page = [] if query.only_total else list(matches)
    if following is None and not query.only_total:
        page, following = _cut(query, matches)
    links = [("self", _address(base, query, None))]
    if following:
        links.append(("next", _address(base, query, following)))
    told = ", ".join(f'{{"relation": "{name}", "url": {quote(url)}}}' for name, url in links)
    entries = [
        f'{{"fullUrl": "{base}/{query.kind}/{one.id}", "resource": {one.give()}, "search": {{"mode": "match"}}}}'
        for one in page
    ]
    if query.ignored:
        said = f"These parameters are not known here and were passed over: {', '.join(query.ignored)}"
        warned = (
            '{"resourceType": "OperationOutcome", "issue": [{"severity": "warning", "code": "not-supported", '
            f'"diagnostics": {quote(said)}}}]}}'
        )
        entries.append(f'{{"resource": {warned}, "search": {{"mode": "outcome"}}}}')
    listed = f', "entry": [{", ".join(entries)}]' if entries else ""
    return f'{{"resourceType": "Bundle", "type": "searchset", "total": {total}, "link": [{told}]{listed}}}'


def place_text(key: str, ident: str) -> str:
    """Where a page ends, as the next one is asked for."""
    return urlsafe_b64encode(f"{key}\0{ident}".encode()).decode()


def _cut(query: Query, matches: Sequence[Match]) -> tuple[list[Match], str]:
    rest = list(matches)
    if query.page is not None:
        by = _first_sort(query).lstrip("-")
        at = next(
            (index for index, one in enumerate(rest) if (_sort_key(one, by), one.id) == query.page),
            None,
        )
        rest = rest[at + 1 :] if at is not None else [one for one in rest if _after(query, one)]
    page = rest[: query.most]
    if len(rest) <= len(page):
        return page, ""
    return page, place_text(_sort_key(page[-1], _first_sort(query).lstrip("-")), page[-1].id)


def _after(query: Query, one: Match) -> bool:
    """Whether a match may stand after a place where the resource no longer is; rather twice than never."""
    key, _ = query.page or ("", "")
    by = _first_sort(query)
    mine = _sort_key(one, by.lstrip("-"))
    return mine <= key if by.startswith("-") else mine >= key


def _first_sort(query: Query) -> str:
    return query.sort[0] if query.sort else BY_DEFAULT


def _sort_key(one: Match, name: str) -> str:
    """By what a resource is in order: of what has a day that, and the instant, if it is known, after what has none."""
    if name in ("_lastUpdated", "_id"):
        return one.updated if name == "_lastUpdated" else one.id
    return f"{one.day} {_meant(one.at)[0]}" if one.at else one.day


def _meets(query: Query, one: Match) -> bool:
    return (
        all(any(_is(value, one, name) for value in values) for name, values in query.tokens)
        and all(
            any(span.meets(*_extent(query, one, name, exact=span.day is not None)) for span in some)
            for name, some in query.spans
        )
        and all(any(_begins(one, name, searched(value)) for value in values) for name, values in query.strings)
    )


def _begins(one: Match, name: str, asked: str) -> bool:
    """Whether a text begins with what is asked; of given names each of them."""
    text = one.text(name)
    return text.startswith(asked) or (name in _OF_WORDS and f" {asked}" in text)


def _extent(query: Query, one: Match, name: str, *, exact: bool) -> tuple[str, str]:
    """The first and the last that a resource is of by a parameter: of instants if `exact`, else as it is stored."""
    if name == "_lastUpdated":
        return one.updated, one.updated
    if not exact or not one.day:
        return one.day, one.day
    if one.at:
        return _meant(one.at)
    begin = datetime.combine(date.fromisoformat(one.day), time(), query.zone or one.zone or UTC)
    return instant(begin), instant(begin + timedelta(days=1, microseconds=-1))


def _meant(at: str) -> tuple[str, str]:
    """The first and the last instant that a text means: without a fraction the whole second, or minute."""
    first = datetime.fromisoformat(at)
    if at[16:17] != ":":  # YYYY-MM-DDThh:mm and then the offset
        return instant(first), instant(first.replace(second=59, microsecond=999_999))
    return instant(first), instant(first if "." in at else first.replace(microsecond=999_999))


def _is(value: tuple[str | None, str], one: Match, name: str) -> bool:
    system, code = value
    if name == "_id":
        return one.id == code
    for has_system, has_code in one.tokens(name):
        if (system is None or system == has_system or (system and not has_system)) and code in ("", has_code):
            return True
    return False


def _alternatives(value: str) -> list[str]:
    """What commas divide, but for those after a backslash."""
    return _COMMA.split(value)


def _plain(text: str) -> str:
    """A text without the backslashes by which a search says that a sign is meant as itself."""
    return _ESCAPED.sub(r"\1", text)


def _token(text: str, kind: str, base: str) -> tuple[str | None, str]:
    if kind == "token":
        return token(text)
    return None, within(_plain(text), base) if kind == "reference" else _plain(text)


def token(text: str) -> tuple[str | None, str]:
    """System and code of `system|code`, the system None where there is no bar; a code may have bars of its own."""
    system, *rest = _BAR.split(text, maxsplit=1)
    return (_plain(system), _plain(rest[0])) if rest else (None, _plain(text))


def _spans(name: str, value: str, kind: str, zone: ZoneInfo | None, faults: list[Fault]) -> list[Span]:
    found = []
    for one in value.split(","):
        parts = _PREFIX.fullmatch(one)
        try:
            text = "" if parts is None else parts[2].replace(" ", "+")
            found.append(_span((parts and parts[1]) or "eq", text, kind, zone))
        except (ValueError, OverflowError):
            said = "must be a date or an instant with its offset, after eq, ne, gt, lt, ge, le, sa or eb if any"
            faults.append(Fault(name, said))
    return found


def _span(prefix: str, text: str, kind: str, zone: ZoneInfo | None) -> Span:
    """A comparison with a date: of days, or of instants as they are stored; raises ValueError, OverflowError."""
    if partial := _PARTIAL.fullmatch(text):
        year, month = int(partial[1]), int(partial[2] or 0)
        begin = date(year, month or 1, 1)
        end = date(year, month or 12, calendar.monthrange(year, month or 12)[1])
    elif moment := moment_of(text, zone or UTC):
        if moment.at is None:
            begin = end = date.fromisoformat(moment.day)
        else:
            return Span(prefix, *_meant(text), moment.day if kind == "date" else None)
    else:
        raise ValueError(text)
    if kind == "date":
        return Span(prefix, begin.isoformat(), end.isoformat())
    return Span(prefix, f"{begin.isoformat()}T00:00:00.000000Z", f"{end.isoformat()}T23:59:59.999999Z")


def _sort(controls: Mapping[str, str], terms: Terms, faults: list[Fault]) -> tuple[str, ...]:
    names = tuple(name for name in controls.get("_sort", "").split(",") if name)
    able = sorted({name for name, kind in terms.parameters.items() if kind in ("date", "instant")} | {"_id"})
    orders = terms.orders or [*able, *(f"-{name}" for name in able)]
    if terms.orders and len(names) > 1:
        faults.append(Fault("_sort", "must be one"))
    said = f"there are {', '.join(orders)}"
    faults += [Fault("_sort", f"cannot be by {name[:80]}; {said}") for name in names if name not in orders]
    return names


def _count(controls: Mapping[str, str], faults: list[Fault]) -> int:
    text = controls.get("_count")
    if text is None:
        return PAGE
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        faults.append(Fault("_count", "must be a whole number"))
        return PAGE
    return min(int(text), MOST)


def _place(text: str | None, faults: list[Fault]) -> tuple[str, str] | None:
    if text is None:
        return None
    try:
        key, _, ident = urlsafe_b64decode(text.encode()).decode().partition("\0")
    except (ValueError, binascii.Error):
        faults.append(Fault("_page", "must be that of the link to the next page"))
        return None
    return key, ident


def _summary(controls: Mapping[str, str], faults: list[Fault]) -> bool:
    asked = controls.get("_summary", "false")
    if asked not in ("false", "count"):
        faults.append(Fault("_summary", "only count is supported"))
    if controls.get("_total", "accurate") not in ("none", "estimate", "accurate"):
        faults.append(Fault("_total", "must be none, estimate or accurate"))
    return asked == "count"


def is_json(format_: str) -> bool:
    """Whether a format that is asked for by `_format` is JSON, or any; a plus may have come as a space."""
    return format_.replace(" ", "+").partition(";")[0].strip().lower() in ("", *FORMATS)


#: Media types and short names of JSON, the older one of FHIR among them.
FORMATS: Final = ("json", "application/json", "text/json", "application/fhir+json", "application/json+fhir")


def _address(base: str, query: Query, page: str | None) -> str:
    given = [(name, value) for name, value in query.asked if name != "_page" and name not in query.ignored]
    if page is not None:
        given.append(("_page", page))
    elif query.page is not None:
        given.append(("_page", place_text(*query.page)))
    return f"{base}/{query.kind}" + (f"?{urlencode(given)}" if given else "")
