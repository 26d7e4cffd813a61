"""What the sessions of all databases have in common: verbs turned into SQL, made once for each class of records.

What databases differ in is told by a `Dialect`, and by what a session of one of them does otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from functools import partial
from itertools import chain, groupby, islice
from operator import itemgetter
from typing import Any, Final, NamedTuple, TypeVar, cast

from titrator.store.base import CourseFact, Stale, Where
from titrator.store.records import RECORDS, Fact, Record
from titrator.store.rows import Value, mapping

R = TypeVar("R", bound=Record)
#: A value of a parameter: one, or for a dialect that has them a list.
Parameter = Value | list[Value]

#: How many rows are inserted together: as many as there are, in statements of few sizes, for each size is prepared.
_ROWS: Final = (25, 8, 4, 2, 1)
#: How many rows are looked for by their keys at once: SQLite takes no more than a thousand conditions.
_KEYS: Final = 500
_OF_A_COURSE: Final = (
    Where("current", "=", 1),
    Where("status", "!=", "entered-in-error"),
    Where("kind", "in", ("weight", "platelet-count", "dose", "event")),
)
_ID: Final = itemgetter(CourseFact._fields.index("id"))
#: How many of a kind of fault are named.
SHOWN: Final = 20

#: Columns of few values by which some indexes are of a part of a table. SQLite prepares a statement that was prepared
#: with such a value bound anew, at three times the cost of a look-up, each time one is bound; PostgreSQL makes plans
#: for statements without their values, which do not know of those indexes. So they stand in the text.
OF_PARTS: Final = frozenset(("current", "status", "settled", "reviewed"))

_COMPARES: Final = frozenset(("=", "!=", "<", "<=", ">", ">="))

#: What must never be found: each with how it is told.
BROKEN: Final = {
    "facts without exactly one current version, the last": """
        select patient_id || ' fact ' || id from facts group by patient_id, id
        having sum(current) != 1 or min(version) != 1 or max(version) != count(*)
            or max(case when current = 1 then version end) != max(version)""",
    "courses without exactly one current version, the last": """
        select patient_id || ' course ' || id from courses group by patient_id, id
        having sum(current) != 1 or min(version) != 1 or max(version) != count(*)
            or max(case when current = 1 then version end) != max(version)""",
    "facts and courses later than the patient's revision": """
        select o.patient_id || ' ' || o.id from (
            select patient_id, id, revision from facts union all select patient_id, id, id from courses
        ) o join patients p on p.id = o.patient_id
        where o.id > p.revision or o.revision > p.revision or o.id < 1""",
    "patients of whom more or less is kept than was recorded": """
        select p.id from patients p where p.revision !=
            (select count(*) from facts f where f.patient_id = p.id)
            + (select count(*) from courses c where c.patient_id = p.id)""",
    "decisions without exactly one current version, the last": """
        select patient_id || ' decision ' || id from decisions group by patient_id, id
        having sum(current) != 1 or min(version) != 1 or max(version) != count(*)
            or max(case when current = 1 then version end) != max(version)""",
    "patients of whom more or less was decided than is kept": """
        select p.id from patients p
        where p.decided != (select count(*) from decisions d where d.patient_id = p.id)""",
    "patients whose undelivered decision is another": """
        select p.id from patients p where coalesce(p.decision_id, 0) != coalesce((
            select max(d.id) from decisions d where d.patient_id = p.id and d.current = 1
                and d.status in ('awaiting-second', 'in-force', 'referred')), 0)""",
    "patients told where they stand by more than was recorded": """
        select s.patient_id from standings s join patients p on p.id = s.patient_id
        where s.revision > p.revision or s.patient_version > p.version""",
    "external ids of no fact": """
        select e.patient_id || ' ' || e.value from external_ids e
        where not exists (select 1 from facts f where f.patient_id = e.patient_id and f.id = e.fact_id)""",
}


class Dialect(NamedTuple):
    """In what databases differ: the mark of a value, how a text is looked for in a column, where null is in an order.

    `chosen` is a set of rows that is chosen once, before anything is changed. `lists` says whether a list may be one
    value; `nulls_last`, whether null comes last, and what is alike in any order, unless it is told otherwise; `zeros`,
    whether a text may have a zero byte.
    """

    mark: str
    contains: str
    chosen: str
    lists: bool
    nulls_last: bool
    zeros: bool

    def conditions(self, where: Iterable[Where]) -> tuple[str, list[Parameter]]:
        """The text of conditions, and their values."""
        parts: list[str] = []
        values: list[Parameter] = []
        for column, operator, value in where if self.zeros else map(_without_zero, where):
            if value is NOTHING:
                parts.append("false")
            elif operator in _COMPARES:
                if column in OF_PARTS and (text := _in_text(value)) is not None:
                    parts.append(f"{column} {operator} {text}")
                else:
                    parts.append(f"{column} {operator} {self.mark}")
                    values.append(cast(Value, value))
            elif operator == "in" and self.lists:
                parts.append(f"{column} = any({self.mark})")
                values.append(list(cast("tuple[Value, ...]", value)))
            elif operator == "in":
                items = cast("tuple[Value, ...]", value)
                parts.append(f"{column} in ({', '.join([self.mark] * len(items))})")
                values.extend(items)
            elif operator == "contains":
                parts.append(self.contains.format(column))
                values.append(cast(str, value))
            else:
                parts.append(f"{column} {operator}")
        return (" where " + " and ".join(parts) if parts else ""), values

    def order(self, record: type[Record], names: tuple[str, ...], where: Iterable[Where]) -> str:
        """The text of an order by columns, `-seq` for descending; null is before everything else.

        Where the conditions leave no null in a column, its place need not be told, which no index has. What is alike is
        in the order of its key: SQLite finds it so.
        """
        if not names:
            return ""
        parts = []
        compared = {column for column, operator, _ in where if operator != "is null"}
        for name in names:
            column, descends = name.lstrip("-"), name[0] == "-"
            part = f"{column} desc" if descends else column
            if self.nulls_last and column in nullable(record) - compared:
                part += " nulls last" if descends else " nulls first"
            parts.append(part)
        if self.nulls_last:
            parts += [name for name in record.KEY if name not in names and f"-{name}" not in names]
        return f" order by {', '.join(parts)}"


class Statements:
    """The beginnings of the statements on the table of a class of records, put together once."""

    def __init__(self, record: type[Record], mark: str) -> None:
        columns = mapping(record).columns
        names, key_names = ", ".join(columns), ", ".join(record.KEY)
        self.marks = f"({', '.join([mark] * len(columns))})"
        key = " and ".join(f"{name} = {mark}" for name in record.KEY)
        self.select = f"select {names} from {record.TABLE}"  # noqa: S608 (names of ours)
        self.by_key = f"{self.select} where {key}"
        self.of_key = f"({key})"
        self.insert = f"insert into {record.TABLE} ({names}) values {self.marks}"  # noqa: S608 (names of ours)
        rest = ", ".join(f"{name} = excluded.{name}" for name in columns if name not in record.KEY)
        self.instead = f" on conflict ({key_names}) do update set {rest}"


class SqlSession:
    """A transaction; one that only reads refuses to write, for it would be undone unseen."""

    dialect: Dialect
    statements: Mapping[type[Record], Statements]

    def __init__(self, *, writes: bool) -> None:
        self._writes = writes

    def get(self, record: type[R], *key: object) -> R | None:
        """The record with that key."""
        rows = self._rows(self.statements[record].by_key, cast("tuple[str]", key))
        return mapping(record).to_record(rows[0]) if rows else None

    def get_all(self, record: type[R], keys: Collection[tuple[object, ...]]) -> dict[tuple[object, ...], R]:
        """The records with those keys, each by its key."""
        return self._got(record, list(dict.fromkeys(keys)))

    def _got(self, record: type[R], keys: Sequence[tuple[object, ...]], ends: str = "") -> dict[tuple[object, ...], R]:
        statements, key_of = self.statements[record], mapping(record).key_of
        found: dict[tuple[object, ...], R] = {}
        for start in range(0, len(keys), _KEYS):
            some = keys[start : start + _KEYS]
            sql = f"{statements.select} where {' or '.join([statements.of_key] * len(some))}{ends}"
            rows = self._rows(sql, cast("list[Value]", list(chain.from_iterable(some))))
            found.update((key_of(one), one) for one in map(mapping(record).to_record, rows))
        return found

    def hold(self, record: type[Record], keys: Collection[tuple[object, ...]]) -> None:
        """Hold the records with those keys."""
        raise NotImplementedError

    def find(self, record: type[R], *where: Where, order: tuple[str, ...] = (), limit: int | None = None) -> list[R]:
        """The records that meet all conditions, in the order of the columns named."""
        rows = self._selected(self.statements[record].select, record, where, order, limit)
        return list(map(mapping(record).to_record, rows))

    def values(
        self,
        record: type[Record],
        columns: tuple[str, ...],
        *where: Where,
        order: tuple[str, ...] = (),
        limit: int | None = None,
    ) -> list[tuple[Value, ...]]:
        """Columns of the records that meet all conditions, as they are stored."""
        select = f"select {', '.join(columns)} from {record.TABLE}"  # noqa: S608 (names of ours)
        return self._selected(select, record, where, order, limit)

    def course_facts(self, patient_id: str) -> list[CourseFact]:
        """The current weights, platelet counts, doses and events of a patient, in order of recording."""
        rows = self.values(Fact, CourseFact._fields, Where("patient_id", "=", patient_id), *_OF_A_COURSE)
        rows.sort(key=_ID)
        return list(map(CourseFact._make, rows))

    def count(self, record: type[Record], *where: Where) -> int:
        """How many records meet all conditions."""
        conditions, values = self.dialect.conditions(where)
        sql = f"select count(*) from {record.TABLE}{conditions}"  # noqa: S608 (names of ours)
        return int(self._rows(sql, values)[0][0])

    def tally(self, record: type[Record], column: str, *where: Where) -> dict[Value, int]:
        """How many records that meet all conditions have each value of a column, as it is stored."""
        conditions, values = self.dialect.conditions(where)
        sql = f"select {column}, count(*) from {record.TABLE}{conditions} group by {column}"  # noqa: S608 (names of ours)
        return dict(self._rows(sql, values))

    def add(self, *records: Record) -> None:
        """Add records; raises Duplicate."""
        for kind, some in batches(records):
            self._insert(kind, some, "")

    def put(self, *records: Record) -> None:
        """Add records of one class, each in the place of that of the same key, if there is one."""
        for kind, some in batches(records):
            self._insert(kind, some, self.statements[kind].instead)

    def change(self, record: R, *where: Where, old: R | None = None) -> None:
        """Replace the record of the same key, if it meets the conditions; raises Stale, Duplicate."""
        self._refuse_unless_writing()
        kind = type(record)
        columns, row = mapping(kind).columns, mapping(kind).to_row(record)
        before = row if old is None else mapping(kind).to_row(old)
        # What is not named need not be looked up in an index.
        new = {
            name: value
            for name, value, was in zip(columns, row, before, strict=True)
            if name not in kind.KEY and (old is None or value != was)
        } or {kind.KEY[0]: getattr(record, kind.KEY[0])}
        key = [Where(name, "=", getattr(record, name)) for name in kind.KEY]
        conditions, values = self.dialect.conditions((*key, *where))
        sql = f"update {kind.TABLE} set {self._assigned(new)}{conditions}"  # noqa: S608 (names of ours)
        if self._write(sql, [*new.values(), *values]) != 1:
            raise Stale(kind.TABLE)

    def claim(
        self,
        record: type[R],
        changes: Mapping[str, Value],
        *where: Where,
        order: tuple[str, ...] = (),
        limit: int | None = None,
    ) -> list[R]:
        """Change columns of the records that meet all conditions, the first ones in order; those records."""
        self._refuse_unless_writing()
        sql, values = self._claiming(record, changes, where, order, limit)
        found = [mapping(record).to_record(row) for row in self._rows(sql, values)]
        for name in reversed((*order, *record.KEY)):  # in what order they are returned is not promised
            found.sort(key=partial(_sortable, name.lstrip("-")), reverse=name[0] == "-")
        return found

    def update(self, record: type[Record], changes: Mapping[str, Value], *where: Where) -> int:
        """Change columns of the records that meet all conditions; how many they were."""
        self._refuse_unless_writing()
        conditions, values = self.dialect.conditions(where)
        sql = f"update {record.TABLE} set {self._assigned(changes)}{conditions}"  # noqa: S608 (names of ours)
        return self._write(sql, [*changes.values(), *values])

    def take(self, record: type[R], *where: Where, order: tuple[str, ...] = (), limit: int | None = None) -> list[R]:
        """The records that meet all conditions, in a writing transaction, held until it ends."""
        raise NotImplementedError

    def remove(self, record: type[Record], *where: Where) -> int:
        """Remove the records that meet all conditions; how many they were."""
        self._refuse_unless_writing()
        conditions, values = self.dialect.conditions(where)
        sql = f"delete from {record.TABLE}{conditions}"  # noqa: S608 (names of ours)
        return self._write(sql, values)

    def _scanning(self, record: type[Record]) -> str:
        return f"{self.statements[record].select} order by {', '.join(record.KEY)}"

    def scan(self, record: type[Record]) -> Iterator[tuple[Value, ...]]:
        """All rows of a table in the order of their keys, as they are stored, some at a time."""
        raise NotImplementedError

    def load(self, record: type[Record], rows: Iterable[tuple[Value, ...]]) -> int:
        """Add rows as they were stored; how many they were. Raises StoreError."""
        raise NotImplementedError

    def _selected(  # noqa: PLR0913, PLR0917 (what `find` was told, and how it begins and ends)
        self,
        select: str,
        record: type[Record],
        where: tuple[Where, ...],
        order: tuple[str, ...],
        limit: int | None,
        ends: str = "",
    ) -> list[tuple[Value, ...]]:
        conditions, values = self.dialect.conditions(where)
        sql = f"{select}{conditions}{self.dialect.order(record, order, where)}"
        if limit is not None:
            sql += f" limit {limit:d}"
        return self._rows(sql + ends, values)

    def _claiming(
        self,
        record: type[Record],
        changes: Mapping[str, Value],
        where: tuple[Where, ...],
        order: tuple[str, ...],
        limit: int | None,
    ) -> tuple[str, list[Parameter]]:
        """The statement of a claim, and its values."""
        conditions, values = self.dialect.conditions(where)
        if order or limit is not None:
            keys = ", ".join(record.KEY)
            some = f"select {keys} from {record.TABLE}{conditions}{self.dialect.order(record, order, where)}"  # noqa: S608 (names of ours)
            some += ("" if limit is None else f" limit {limit:d}") + self._holds(limit)
            conditions = f" where ({keys}) in {self.dialect.chosen.format(some=some, keys=keys)}"
        new, columns = self._assigned(changes), ", ".join(mapping(record).columns)
        sql = f"update {record.TABLE} set {new}{conditions} returning {columns}"  # noqa: S608 (names of ours)
        return sql, [*changes.values(), *values]

    def _holds(self, limit: int | None) -> str:
        """How rows are held that are chosen, so many at most."""
        del limit
        return ""

    def _assigned(self, changes: Iterable[str]) -> str:
        return ", ".join([f"{name} = {self.dialect.mark}" for name in changes])

    def _insert(self, kind: type[Record], records: Sequence[Record], otherwise: str) -> int:
        """Insert records in one statement, for each costs a change of thread or a round trip; how many were."""
        self._refuse_unless_writing()
        statements, to_row = self.statements[kind], mapping(kind).to_row
        sql = f"{statements.insert}{f', {statements.marks}' * (len(records) - 1)}{otherwise}"
        return self._write(sql, list(chain.from_iterable(map(to_row, records))))

    def _refuse_unless_writing(self) -> None:
        if not self._writes:
            raise RuntimeError("this transaction only reads: what it wrote would not be kept")

    def _rows(self, sql: str, values: Sequence[Parameter]) -> list[tuple[Any, ...]]:
        """What a statement gives."""
        raise NotImplementedError

    def _write(self, sql: str, values: Sequence[Parameter]) -> int:
        """How many rows a statement changed."""
        raise NotImplementedError


def statements_in(dialect: Dialect) -> dict[type[Record], Statements]:
    """The beginnings of the statements on each table."""
    return {record: Statements(record, dialect.mark) for record in RECORDS}


def batches(records: Sequence[Record]) -> Iterator[tuple[type[Record], Sequence[Record]]]:
    """Records of one class after another, as many together as a statement takes."""
    if len(records) == 1:
        yield type(records[0]), records
        return
    for kind, group in groupby(records, type):
        some, start = list(group), 0
        while left := len(some) - start:
            size = next(size for size in _ROWS if size <= left)
            yield kind, some[start : start + size]
            start += size


def contradictions(rows: Callable[[str], Iterable[tuple[Any, ...]]]) -> Iterator[str]:
    """What is stored and cannot be so, and what cannot be read, in words; `rows` gives those of a statement."""
    for what, sql in BROKEN.items():
        yield from _some(what, (row[0] for row in rows(f"{sql} limit {SHOWN + 1}")))
    for record in RECORDS:
        yield from _some(f"{record.TABLE} that cannot be read", _unreadable(rows, record))


def _some(what: str, found: Iterable[str]) -> list[str]:
    shown = list(islice(found, SHOWN + 1))
    more = " and more" if len(shown) > SHOWN else ""
    return [f"{what}: {', '.join(shown[:SHOWN])}{more}"] if shown else []


def _unreadable(rows: Callable[[str], Iterable[tuple[Any, ...]]], record: type[Record]) -> Iterator[str]:
    """The keys of the rows of a table of which no record can be made."""
    made = mapping(record)
    for row in rows(f"select {', '.join(made.columns)} from {record.TABLE}"):  # noqa: S608 (names of ours)
        try:
            made.to_record(row)
        except (ArithmeticError, TypeError, ValueError):
            yield " ".join(str(row[made.columns.index(name)]) for name in record.KEY)


def _in_text(value: object) -> str | None:
    """A value as it stands in a statement; None of one in which something would have to be escaped."""
    if isinstance(value, int):
        return f"{value:d}"
    return f"'{value}'" if isinstance(value, str) and value.replace("-", "").isalnum() else None


#: The value of a condition that nothing meets.
NOTHING: Final = object()


def _without_zero(where: Where) -> Where:
    """A condition as it is met where no text has a zero byte, if its value has one."""
    column, operator, value = where
    if operator == "in":
        some = cast("tuple[object, ...]", value)
        return Where(column, operator, tuple(one for one in some if not (isinstance(one, str) and "\0" in one)))
    if not isinstance(value, str) or "\0" not in value:
        return where
    before = value.partition("\0")[0]
    match operator:
        case "!=":
            return Where(column, "is not null")
        case "<" | "<=":
            return Where(column, "<=", before)
        case ">" | ">=":
            return Where(column, ">", before)
        case _:
            return Where(column, operator, NOTHING)


def nullable(record: type[Record]) -> frozenset[str]:
    """The columns of a record that may be null."""
    if record not in _NULLABLE:
        _NULLABLE[record] = frozenset(one.name for one in fields(record) if str(one.type).endswith("| None"))
    return _NULLABLE[record]


_NULLABLE: Final[dict[type[Record], frozenset[str]]] = {}


def _sortable(name: str, record: Record) -> tuple[bool, Value]:
    """A column of a record as it is put in order: null comes first, as in the database."""
    value = getattr(record, name)
    return value is not None, value
