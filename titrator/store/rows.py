"""The only mapping of records to rows. Which column holds what is told by the fields of the records."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields
from decimal import Decimal
from functools import lru_cache
from operator import attrgetter
from typing import Any, Final, Generic, TypeVar, cast

from titrator.store.records import Record

R = TypeVar("R", bound=Record)
Value = str | int | None


_json: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode


@lru_cache(maxsize=4096)
def _texts(column: Value) -> tuple[str, ...]:
    return tuple(json.loads(cast(str, column)))


def _plain(value: object) -> Value:
    return cast(Value, value)


#: By annotation: how a value becomes a column, and how a column becomes a value.
_CODERS: dict[str, tuple[Callable[[object], Value], Callable[[Value], object]]] = {
    "str": (_plain, _plain),
    "str | None": (_plain, _plain),
    "int": (_plain, _plain),
    "int | None": (_plain, _plain),
    "bool": (lambda value: int(cast(bool, value)), bool),
    "Decimal | None": (
        lambda value: None if value is None else format(cast(Decimal, value), "f"),
        lambda column: None if column is None else Decimal(cast(str, column)),
    ),
    "tuple[str, ...]": (lambda value: _json(value) if value else "[]", _texts),
    "tuple[str, ...] | None": (
        lambda value: None if value is None else _json(value),
        lambda column: None if column is None else _texts(column),
    ),
    "dict[str, object]": (
        lambda value: _json(value) if value else "{}",
        lambda column: {} if column == "{}" else json.loads(cast(str, column)),
    ),
}


class Mapping(Generic[R]):
    """How one class of records is stored."""

    def __init__(self, record: type[R]) -> None:
        self.record = record
        self.columns = tuple(field.name for field in fields(record))
        coders = [_CODERS[cast(str, field.type)] for field in fields(record)]
        self._all = attrgetter(*self.columns)
        key = attrgetter(*record.KEY)
        self.key_of: Callable[[R], tuple[object, ...]] = key if len(record.KEY) > 1 else lambda one: (key(one),)
        # A record is frozen by its class, not by its slots: to fill these takes half the time of its own way.
        self._setters = [getattr(record, column).__set__ for column in self.columns]
        self._to = [(place, to) for place, (to, _) in enumerate(coders) if to is not _plain]
        self._back = [(place, back) for place, (_, back) in enumerate(coders) if back is not _plain]

    def to_row(self, record: R) -> list[Value]:
        """The columns of a record, in order."""
        row = list(self._all(record))
        for place, to in self._to:
            row[place] = to(row[place])
        return row

    def to_record(self, row: tuple[Value, ...]) -> R:
        """The record of a row."""
        values: list[object] = list(row)
        for place, back in self._back:
            values[place] = back(row[place])
        record = object.__new__(self.record)
        for set_field, value in zip(self._setters, values, strict=True):
            set_field(record, value)
        return record


_MAPPINGS: dict[type[Record], Mapping[Any]] = {}


def mapping(record: type[R]) -> Mapping[R]:
    """The mapping of a class of records, made once."""
    if record not in _MAPPINGS:
        _MAPPINGS[record] = Mapping(record)
    return _MAPPINGS[record]
