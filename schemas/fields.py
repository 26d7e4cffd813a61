"""The fields of the wire contract: strict about types, exact about amounts, and clear about what is wrong.

A number in quotes is no number, 1 is not true, and an unknown key is a fault. Amounts are Decimals: the decoder in
front of these schemas makes no floats.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import date
from decimal import Decimal
from typing import Any, Final, cast

import marshmallow as ma

_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_FIRST, _LAST = date(1900, 1, 1), date(2200, 12, 31)
#: Characters that no text of ours has: controls but for tab and line feed, what nobody sees, halves of characters.
_UNFIT: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ud800-\udfff\ufeff]"
)

WEIGHT_UNITS: Final = ("kg", "g", "[lb_av]", "lb")
COUNT_UNITS: Final = ("10*9/L", "10*3/uL", "K/uL", "10*3/mm3", "G/L", "/uL", "/mm3")


_OF_SCHEMAS: dict[str, str] = {"unknown": "unknown key", "type": "must be an object"}
_OF_FIELDS: dict[str, str | list[Any] | dict[Any, Any]] = {
    "required": "required",
    "null": "must not be null: leave out what is not known",
}


class Schema(ma.Schema):
    """A JSON object; keys that it has not are refused."""

    error_messages = _OF_SCHEMAS

    class Meta:
        """Keep the order of the fields, in documents as on the wire."""

        unknown = ma.RAISE


class Text(ma.fields.String):
    """A text of one line, or of several where `lines` says so, without characters that a screen might obey.

    `anything` lets every character pass: for codes that are only compared with those of a protocol.
    """

    default_error_messages = _OF_FIELDS

    def __init__(
        self,
        *,
        longest: int = 200,
        shortest: int = 1,
        lines: bool = False,
        anything: bool = False,
        pattern: str | None = None,
        **kwargs: Any,
    ) -> None:
        metadata = {**kwargs.pop("metadata", {}), "minLength": shortest, "maxLength": longest}
        if pattern is not None:
            metadata["pattern"] = f"^(?:{pattern})$"
        super().__init__(metadata=metadata, **kwargs)
        self.longest, self.shortest, self.lines, self.anything = longest, shortest, lines, anything
        self.compiled = None if pattern is None else re.compile(pattern, re.ASCII)

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> str:
        if not isinstance(value, str):
            raise ma.ValidationError(f"must be a text, not {kind_of(value)}")
        if not self.shortest <= len(value) <= self.longest:
            raise ma.ValidationError(f"must have {self.shortest} to {self.longest} characters, not {len(value)}")
        if not self.anything and (_UNFIT.search(value) or (not self.lines and ("\n" in value or "\t" in value))):
            raise ma.ValidationError("must be plain text, without control characters")
        if self.shortest and not value.strip():
            raise ma.ValidationError("must not be blank")
        if self.compiled is not None and not self.compiled.fullmatch(value):
            raise ma.ValidationError(f"must match {self.compiled.pattern}")
        return value


class Choice(ma.fields.String):
    """One of some texts."""

    default_error_messages = _OF_FIELDS

    def __init__(self, options: Iterable[str], **kwargs: Any) -> None:
        self.options = tuple(options)
        enum = [*self.options, *([None] if kwargs.get("allow_none") else [])]
        metadata = {**kwargs.pop("metadata", {}), "enum": enum}
        super().__init__(metadata=metadata, **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> str:
        if not isinstance(value, str) or value not in self.options:
            raise ma.ValidationError(f"must be one of {', '.join(self.options)}")
        return value


class Amount(ma.fields.Field[Decimal]):
    """A number, exact, from `least` to `most`; `least` itself is out where `above` says so."""

    default_error_messages = _OF_FIELDS

    def __init__(self, *, least: str = "0", most: str, above: bool = False, **kwargs: Any) -> None:
        self.least, self.most, self.above = Decimal(least), Decimal(most), above
        low = "exclusiveMinimum" if above else "minimum"
        bounds = {low: _number(self.least), "maximum": _number(self.most)}
        super().__init__(metadata={**kwargs.pop("metadata", {}), "type": "number", **bounds}, **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> Decimal:
        if type(value) is not Decimal:
            raise ma.ValidationError(f"must be a number with at most 12 digits before the point, not {kind_of(value)}")
        if not self.holds(value):
            low = f"above {self.least}" if self.above else f"from {self.least}"
            raise ma.ValidationError(f"must be {low} to {self.most}")
        return value

    def holds(self, value: Decimal) -> bool:
        """Whether a number lies within the bounds."""
        return self.least <= value <= self.most and not (self.above and value == self.least)


class Whole(ma.fields.Field[int]):
    """A whole number; in a query (`digits`) written as a text of digits."""

    default_error_messages = _OF_FIELDS

    def __init__(self, *, least: int, most: int, digits: bool = False, **kwargs: Any) -> None:
        self.least, self.most, self.digits = least, most, digits
        metadata = {**kwargs.pop("metadata", {}), "type": "integer", "minimum": least, "maximum": most}
        super().__init__(metadata=metadata, **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> int:
        if self.digits:
            fits = isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10
        else:
            fits = isinstance(value, Decimal) and value == value.to_integral_value()
        whole = int(value) if fits else None
        if whole is None or not self.least <= whole <= self.most:
            raise ma.ValidationError(f"must be a whole number from {self.least} to {self.most}")
        return whole


class Flag(ma.fields.Field[bool]):
    """True or false; nothing else is either."""

    default_error_messages = _OF_FIELDS

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(metadata={**kwargs.pop("metadata", {}), "type": "boolean"}, **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> bool:
        if not isinstance(value, bool):
            raise ma.ValidationError(f"must be true or false, not {kind_of(value)}")
        return value


class Day(ma.fields.String):
    """A calendar day at the clinic, `YYYY-MM-DD`, from 1900-01-01 to 2200-12-31."""

    default_error_messages = _OF_FIELDS

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(metadata={**kwargs.pop("metadata", {}), "format": "date"}, **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> str:
        try:
            if isinstance(value, str) and _DATE.fullmatch(value) and _FIRST <= date.fromisoformat(value) <= _LAST:
                return value
        except ValueError:
            pass
        raise ma.ValidationError("must be a date, YYYY-MM-DD, from 1900-01-01 to 2200-12-31")


class Instant(ma.fields.String):
    """An instant in UTC; only ever sent by the service."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(metadata={**kwargs.pop("metadata", {}), "format": "date-time"}, **kwargs)


class Many(ma.fields.List[Any]):
    """A list of at most `most` entries."""

    default_error_messages = _OF_FIELDS

    def __init__(self, inner: ma.fields.Field[Any], *, most: int = 100, **kwargs: Any) -> None:
        super().__init__(inner, metadata={**kwargs.pop("metadata", {}), "maxItems": most}, **kwargs)
        self.most = most

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> list[Any]:
        if not isinstance(value, list):
            raise ma.ValidationError(f"must be a list, not {kind_of(value)}")
        if len(value) > self.most:
            raise ma.ValidationError(f"must have at most {self.most} entries, not {len(value)}")
        return cast("list[Any]", super()._deserialize(value, attr, data, **kwargs))


class Object(ma.fields.Nested):
    """An object within an object."""

    default_error_messages = _OF_FIELDS


def kind_of(value: object) -> str:
    """What a value is, in the words of JSON."""
    for kind, name in _KINDS:
        if isinstance(value, kind):
            return name
    return "null" if value is None else "a number that is too long, too large or too small"


def keys_of(sent: object) -> Mapping[str, object]:
    """What was sent for an object, whether its values are good or not."""
    return sent if isinstance(sent, Mapping) else {}


def one_of(*keys: str) -> Callable[[Mapping[str, object]], None]:
    """Raise a ValidationError unless exactly one of some keys is there."""

    def check(data: Mapping[str, object]) -> None:
        there = [key for key in keys if key in data]
        if len(there) != 1:
            named = " or ".join(keys)
            wrong = f"either {named}, not both" if there else f"required: {named}"
            raise ma.ValidationError({keys[0]: [wrong]})

    return check


def _number(value: Decimal) -> int | float:
    return int(value) if value == value.to_integral_value() else float(value)


_KINDS: Final = (
    (bool, "true or false"),
    (str, "a text"),
    (Decimal, "a number"),
    (dict, "an object"),
    (list, "a list"),
)
