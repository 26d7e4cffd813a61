"""Which column of a table is what: as somebody said, as its header lets guess, and what has to be said first.

What was guessed is shown and must be confirmed; what cannot be guessed is asked for; neither is ever assumed.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple, cast

from titrator.bulk.intake.fields import (
    DAYS_OF,
    FIELDS,
    MEASURES,
    OF_EXPORTS,
    UNIT_FIELDS,
    UNITS,
    guess,
    known_unit,
    plain_name,
    unit_in,
)
from titrator.bulk.intake.values import Order, visible
from titrator.titration.errors import Fault
from titrator.workflow.errors import Invalid

_SOURCE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,59}", re.ASCII)
#: What the file of rejected rows has behind the name of the one that they are of.
_REJECTED: Final = re.compile(r"(?<=.)\.rejected\.csv$", re.IGNORECASE)
_LONGEST: Final = 200
_OPTIONS: Final[Mapping[str, tuple[str, ...]]] = {"dates": ("dmy", "mdy"), "decimal": ("point", "comma")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What somebody says of a file; what is None or empty was not said.

    `columns` has the header by field, `units` the unit by field. With `course` false no course is started, whatever the
    file says. `sheet` is of a workbook, `encoding` and `delimiter` are of CSV.
    """

    source: str | None = None
    system: str | None = None
    clinic: str | None = None
    columns: Mapping[str, str] = dataclasses.field(default_factory=dict)
    units: Mapping[str, str] = dataclasses.field(default_factory=dict)
    dates: Order | None = None
    decimal: str | None = None
    protocol: str | None = None
    course: bool = True
    sheet: str | None = None
    encoding: str | None = None
    delimiter: str | None = None


class Column(NamedTuple):
    """A column of a table: its place, its header, the unit of its values as the record has it, how that was known.

    `unit_at` is the place of the column that has the unit of each value. `guessed` says what was not said: `column`,
    `unit`.
    """

    at: int
    header: str
    unit: str | None = None
    unit_at: int | None = None
    guessed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How a table is read: the columns by field, and what is the same for all rows.

    `clinics` has the id of each clinic by what a row may call it; `clinic` is that of rows that name none. `units` are
    those that were said, for rows of one fact that have none.
    """

    source: str
    system: str
    clinic: str | None
    clinics: Mapping[str, str]
    header: tuple[str, ...]
    columns: Mapping[str, Column]
    units: Mapping[str, str]
    dates: Order | None
    decimal: str
    protocol: str | None
    course: bool

    @property
    def is_long(self) -> bool:
        """Whether a row has one fact, whose kind it names."""
        return "kind" in self.columns

    @property
    def names_system(self) -> str:
        """The system of the names that entries of this source have."""
        return f"urn:titrator:import:{self.source}"


class Guess(NamedTuple):
    """Something that was not said and is taken to be so, once somebody has confirmed it."""

    what: str
    taken: str


class Drawn(NamedTuple):
    """A plan as far as it could be drawn up, what in it was guessed, and what has to be said first."""

    plan: Plan
    guesses: tuple[Guess, ...]
    questions: tuple[Fault, ...]


def read_said(document: Mapping[str, object]) -> Said:
    """What a mapping file or a request says; raises Invalid with every fault."""
    faults: list[Fault] = []
    said = {key: _read_key(key, value, faults) for key, value in document.items()}
    if faults:
        raise Invalid(*faults)
    columns, units = (cast("dict[str, str]", said.get(key, {})) for key in ("columns", "units"))
    faults += [Fault(f"columns.{name}", _no_field(name)) for name in columns if name not in (*FIELDS, *UNIT_FIELDS)]
    for name, unit in units.items():
        if name not in UNITS:
            faults.append(Fault(f"units.{name}", f"must be one of {', '.join(UNITS)}"))
        elif known_unit(name, unit) is None:
            faults.append(Fault(f"units.{name}", _no_unit(name, unit)))
    if faults:
        raise Invalid(*faults)
    return Said(**cast("dict[str, Any]", said))


def _read_key(key: str, value: object, faults: list[Fault]) -> object:
    if key in {"columns", "units"}:
        return _read_table(key, value, faults)
    wrong = None
    if key not in _KEYS:
        wrong = "unknown key"
    elif key == "course":
        wrong = None if isinstance(value, bool) else "must be true or false"
    elif not isinstance(value, str) or not 0 < len(value) <= _LONGEST:
        wrong = f"must be a text of 1 to {_LONGEST} characters"
    elif key != "delimiter" and visible(value) != value:
        wrong = "must have no characters that are not shown"
    elif key in _OPTIONS and value not in _OPTIONS[key]:
        wrong = f"must be one of {', '.join(_OPTIONS[key])}"
    elif key == "source" and not _SOURCE.fullmatch(value):
        wrong = "must have 1 to 60 letters, digits, points, hyphens or underscores"
    elif key == "delimiter" and (len(value) != 1 or value.isalnum() or value in '"\r\n.'):
        wrong = "must be one sign, such as ; or a tab"
    if wrong is not None:
        faults.append(Fault(key, wrong))
    return value


def _read_table(key: str, value: object, faults: list[Fault]) -> dict[str, str]:
    if not isinstance(value, Mapping):
        faults.append(Fault(key, "must be a table"))
        return {}
    found: dict[str, str] = {}
    for name, item in value.items():
        if not isinstance(item, str) or not 0 < len(item) <= _LONGEST:
            faults.append(Fault(f"{key}.{name}", f"must be a text of 1 to {_LONGEST} characters"))
        else:
            found[str(name)] = item
    return found


_KEYS: Final = frozenset(Said.__dataclass_fields__)


def draw_up(  # noqa: PLR0913 (all that a plan is made of)
    header: Sequence[str],
    said: Said,
    *,
    name: str,
    systems: str | None,
    clinics: Mapping[str, str],
    of_columns: bool = True,
) -> Drawn:
    """The plan for a table with a header, by what was said.

    `name` is the file's, `systems` the system that numbers most likely are of, `clinics` those that rows may be of: the
    id of each by name and by id. A file that is not `of_columns` has resources.
    """
    guesses: list[Guess] = []
    questions: list[Fault] = []
    columns = _columns(header, said, guesses, questions) if of_columns else {}
    if of_columns:
        _ask_for_shape(columns, said, questions)
    source = said.source
    if source is None:
        name = _REJECTED.sub("", name.rpartition("/")[2])
        source = re.sub(r"[^A-Za-z0-9._-]+", "-", name.rpartition(".")[0] or name).strip("-.")[:60]
        source = source if _SOURCE.fullmatch(source) else "import"
        guesses.append(Guess("the name of this source, by which its rows are known again", source))
    system = said.system or systems
    if system is None:
        questions.append(
            Fault("system", "required: the system of the patients' numbers, such as urn:oid:1.2.3 or a URL")
        )
    elif said.system is None:
        guesses.append(Guess("the system of the patients' numbers", system))
    clinic = _clinic(said, clinics, columns, guesses, questions)
    if said.protocol is None and "protocol" not in columns and said.course and (_has_doses(columns) or not of_columns):
        questions.append(
            Fault(
                "protocol",
                "required: by which protocol courses are started, or say that none are: doses without a "
                "course wait to be verified, one by one",
            )
        )
    plan = Plan(
        source=source,
        system=system or "",
        clinic=clinic,
        clinics=clinics,
        header=tuple(header),
        columns=columns,
        units={name: known_unit(name, unit) or unit for name, unit in said.units.items()},
        dates=said.dates,
        decimal=said.decimal or "point",
        protocol=said.protocol,
        course=said.course,
    )
    return Drawn(plan, tuple(guesses), tuple(questions))


def _columns(header: Sequence[str], said: Said, guesses: list[Guess], questions: list[Fault]) -> dict[str, Column]:
    """The columns by field."""
    taken = _said_columns(header, said, questions)
    units = _guess_columns(header, said, taken, questions)
    made: dict[str, Column] = {}
    for field, (at, guessed) in taken.items():
        if field in UNIT_FIELDS:
            continue
        column = _with_unit(field, Column(at, header[at]), units.get(at) or unit_in(header[at]), said, taken, questions)
        made[field] = column._replace(guessed=("column", *column.guessed) if guessed else column.guessed)
        if made[field].guessed:
            unit = "" if column.unit is None else f", in {column.unit}"
            guesses.append(Guess(f"column “{header[at]}”", f"{FIELDS[field][0]} ({field}){unit}"))
    return made


def _said_columns(header: Sequence[str], said: Said, questions: list[Fault]) -> dict[str, tuple[int, bool]]:
    """The places of the columns that were said, by field."""
    taken: dict[str, tuple[int, bool]] = {}
    for field, wanted in said.columns.items():
        found = [at for at, name in enumerate(header) if name == wanted.strip()]
        found = found or [at for at, name in enumerate(header) if plain_name(name) == plain_name(wanted)]
        if len(found) == 1:
            taken[field] = (found[0], False)
        else:
            wrong = f"{len(found)} columns are called {wanted}" if found else f"there is no column {wanted}"
            questions.append(Fault(f"columns.{field}", wrong))
    return taken


def _guess_columns(
    header: Sequence[str], said: Said, taken: dict[str, tuple[int, bool]], questions: list[Fault]
) -> dict[int, str | None]:
    """Add the columns that can be guessed to those that were said; the units that stand in headers, by place."""
    places = {at for at, _ in taken.values()}
    of_exports = {plain_name(name) for name in header}.issuperset(OF_EXPORTS)
    units: dict[int, str | None] = {}
    for at, name in enumerate(header):
        known = guess(name)
        if known is None:
            continue
        field, units[at] = known
        if at in places or field in said.columns or (field in OF_EXPORTS and not of_exports):
            continue
        if field in taken:
            both = f"{header[taken[field][0]]} or {name}"
            questions.append(Fault(f"columns.{field}", f"{both}? More than one column may be it: say which"))
            continue
        taken[field] = (at, True)
    return units


def _with_unit(  # noqa: PLR0913, PLR0917 (all that may tell the unit)
    field: str,
    column: Column,
    written: str | None,
    said: Said,
    taken: Mapping[str, tuple[int, bool]],
    questions: list[Fault],
) -> Column:
    """A column with the unit of its values, as said, as another column has it, or as its header does."""
    if field not in UNITS:
        return column
    if field in said.units:
        return column._replace(unit=known_unit(field, said.units[field]))
    if (there := taken.get(f"{field}_unit")) is not None:
        return column._replace(unit_at=there[0], guessed=("unit",) if there[1] else ())
    if written is None:
        takes = ", ".join(UNITS[field])
        questions.append(Fault(f"units.{field}", f"required: {column.header} has no unit; it may be one of {takes}"))
        return column
    unit = known_unit(field, written)
    if unit is None:
        questions.append(Fault(f"units.{field}", _no_unit(field, written)))
        return column
    return column._replace(unit=unit, guessed=("unit",))


def _no_unit(field: str, written: str) -> str:
    return f"{written} is no unit that {FIELDS[field][0]} is kept in; it may be one of {', '.join(UNITS[field])}"


def _no_field(name: str) -> str:
    return f"{name} is no field; they are {', '.join((*FIELDS, *UNIT_FIELDS))}"


def _ask_for_shape(columns: Mapping[str, Column], said: Said, questions: list[Fault]) -> None:
    """Ask for what any table must have, and for what tells its shape."""
    missing = [name for name in ("patient", "day") if name not in columns]
    questions += [Fault(f"columns.{name}", f"required: which column has {FIELDS[name][0]}?") for name in missing]
    measured = [name for name in (*MEASURES, "dose") if name in columns]
    if "kind" in columns:
        if "value" not in columns:
            questions.append(
                Fault("columns.value", f"required with {columns['kind'].header}: which column has the value?")
            )
        if "unit" not in columns and not said.units:
            questions.append(Fault("columns.unit", "required: which column has the unit? Or say that of each kind"))
        questions += [
            Fault(
                f"columns.{name}",
                f"{columns[name].header} does not go with {columns['kind'].header}: a row has one fact, or one visit",
            )
            for name in measured
        ]
    elif not measured and "born_on" not in columns:
        wanted = "a weight, a count, another value or a dose, and none says what kind of fact a row has (kind)"
        questions.append(Fault("columns", f"no column has {wanted}"))
    if len(missing) == 2 and not said.columns:
        hint = "if a title stands above the names of the columns, remove it: the first row must have the names"
        questions.append(Fault("columns", hint))


def _has_doses(columns: Mapping[str, Column]) -> bool:
    return "dose" in columns or "kind" in columns


def _clinic(
    said: Said,
    clinics: Mapping[str, str],
    columns: Mapping[str, Column],
    guesses: list[Guess],
    questions: list[Fault],
) -> str | None:
    if said.clinic is not None:
        if said.clinic not in clinics:
            questions.append(Fault("clinic", f"no clinic of that name or id: {said.clinic}"))
        return clinics.get(said.clinic)
    ids = set(clinics.values())
    if "clinic" in columns:
        return None
    if len(ids) == 1:
        (only,) = ids
        guesses.append(Guess("the clinic of all rows", next(name for name in clinics if name != only)))
        return only
    questions.append(Fault("clinic", "required: the clinic that new patients belong to"))
    return None


def day_columns(plan: Plan) -> list[int]:
    """The places of the columns that have days."""
    return [plan.columns[name].at for name in DAYS_OF if name in plan.columns]


def as_json(plan: Plan) -> dict[str, object]:
    """A plan as it is kept and sent."""
    return {
        "source": plan.source,
        "system": plan.system,
        "clinic": plan.clinic,
        "clinics": dict(plan.clinics),
        "header": list(plan.header),
        "columns": {
            name: {
                "at": one.at,
                "header": one.header,
                "unit": one.unit,
                "unit_at": one.unit_at,
                "guessed": list(one.guessed),
            }
            for name, one in plan.columns.items()
        },
        "units": dict(plan.units),
        "dates": plan.dates,
        "decimal": plan.decimal,
        "protocol": plan.protocol,
        "course": plan.course,
    }


def from_json(kept: Mapping[str, Any]) -> Plan:
    """The plan of what `as_json` made."""
    columns = {
        name: Column(one["at"], one["header"], one["unit"], one["unit_at"], tuple(one["guessed"]))
        for name, one in kept["columns"].items()
    }
    return Plan(**{**kept, "header": tuple(kept["header"]), "columns": columns})


def as_said(plan: Plan, said: Said) -> Said:
    """What would have to be said for this plan to be drawn up without a guess."""
    columns = {name: column.header for name, column in plan.columns.items()}
    columns |= {
        f"{name}_unit": plan.header[column.unit_at]
        for name, column in plan.columns.items()
        if column.unit_at is not None
    }
    units = {name: column.unit for name, column in plan.columns.items() if column.unit is not None}
    return replace(
        said,
        source=plan.source,
        system=plan.system,
        clinic=None
        if plan.clinic is None
        else next(name for name, ident in plan.clinics.items() if ident == plan.clinic),
        columns=columns,
        units={**plan.units, **units},
    )
