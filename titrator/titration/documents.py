"""JSON, read strictly and written exactly: numbers are Decimals, a repeated key is a fault, no float anywhere.

`decode` turns text into values, `exact` does the same for values of another decoder (TOML), `encode` writes back.
"""

from __future__ import annotations

import json
import re
from codecs import BOM_UTF8
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import islice
from typing import NoReturn

from titrator.titration.errors import Fault, InvalidDocument
from titrator.titration.quantities import Unusable, plain, read_amount

#: quote(text): a text as JSON writes it, as UTF-8; lone surrogates stay, see `printable`.
quote: Callable[[str], str] = json.encoder.encode_basestring


_DEEPEST = 5  # levels: a course document has three, an answer four
_LARGEST_WHOLE = 10**18
_MOST_FAULTS = 1000  # reported of a text with repeated keys
#: A quote that ends a text with a backslash, and one with space before the colon.
_UNCOUNTABLE = re.compile(r'\\\\"|"[ \t\n\r]+:')
#: What each text has in which there is one, and most have not: to look for these takes next to no time.
_MARKS = ('\\\\"', " :", "\t:", "\n:", "\r:")


def decode(text: str | bytes, deepest: int = _DEEPEST) -> object:
    """The value of a JSON text; raises InvalidDocument for anything else, and for each repeated key by its path.

    Where it has objects within objects, they may lie `deepest` levels down.
    """
    try:
        if isinstance(text, bytes):
            text = text.removeprefix(BOM_UTF8).decode()
        value = _DECODER.decode(text)
        if text.count(":") != _keys(value) and not _has_all_keys(text, value, deepest):
            # Each key is followed by a colon, so with as many colons as keys no key can have been dropped. More colons
            # than keys: one stands in a text, an object lies deeper, or a key came twice. The second reading tells.
            _refuse_repeated_keys(text, deepest)
    except UnicodeDecodeError as error:
        raise _no_json(f"not UTF-8 text: {error.reason} at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise _no_json(f"not JSON: {error.msg} at line {error.lineno} column {error.colno}") from None
    except RecursionError:
        raise _no_json("nested too deeply") from None
    return value


def reread(text: str) -> object:
    """The value of a JSON text that this program wrote: as `decode`, but it does not look for repeated keys."""
    return _DECODER.decode(text)


def exact(value: object) -> object:
    """The same value with each number as `decode` would have read it."""
    if value is None or isinstance(value, bool | Unusable):
        return value
    if isinstance(value, int) and abs(value) >= _LARGEST_WHOLE:
        return Unusable("a whole number of more than 18 digits")
    if isinstance(value, Decimal | int | float):
        return read_amount(repr(value) if isinstance(value, float) else str(value))
    if isinstance(value, Mapping):
        return {key: exact(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [exact(item) for item in value]
    return value


def encode(value: object) -> str:
    """The JSON text of a value: keys in the order given, Decimals to their last digit, text as UTF-8."""
    return _ENCODERS[type(value)](value)


class RawJSON(str):
    """JSON that stands in a text as it is."""

    __slots__ = ()


def _encode_object(value: dict[str, object]) -> str:
    return "{" + ", ".join([f"{quote(key)}: {_ENCODERS[type(item)](item)}" for key, item in value.items()]) + "}"


def _encode_list(value: list[object]) -> str:
    return "[" + ", ".join([_ENCODERS[type(item)](item) for item in value]) + "]"


def _keys(value: object) -> int:
    """How many keys a course document has; those of deeper objects, which it has not, are not counted."""
    if type(value) is not dict:
        return 0
    lists = [item for item in value.values() if type(item) is list]
    return len(value) + sum([len(entry) for entries in lists for entry in entries if type(entry) is dict])


def _has_all_keys(text: str, value: object, deepest: int) -> bool:
    """Whether a value has a key for each quote that a colon follows, but for those that are escaped within a text.

    False, too, where objects lie deeper than they may, and where such quotes cannot be told apart by counting.
    """
    if any(mark[0] in text and mark in text for mark in _MARKS) and _UNCOUNTABLE.search(text):
        return False
    quotes = text.count('":') - (text.count('\\":') if "\\" in text else 0)
    keys, level = 0, [value]
    for _ in range(deepest):
        below: list[object] = []
        for one in level:
            if type(one) is dict:
                keys += len(one)
                below += one.values()
            elif type(one) is list:
                below += one
        level = [one for one in below if type(one) is dict or type(one) is list]
        if not level:
            return keys == quotes
    return False


def _refuse_repeated_keys(text: str, deepest: int) -> None:
    """Raise InvalidDocument for a valid JSON text with a repeated key, or with objects deeper than any document has."""
    repeated: dict[int, list[str]] = {}
    kept: list[dict[str, object]] = []  # so that no id is used twice

    def remember(pairs: list[tuple[str, object]]) -> dict[str, object]:
        value = dict(pairs)
        if len(value) != len(pairs):
            repeated[id(value)] = sorted(key for key, times in Counter(key for key, _ in pairs).items() if times > 1)
            kept.append(value)
        return value

    root = json.JSONDecoder(object_pairs_hook=remember, parse_int=str, parse_float=str).decode(text)

    def walk(value: object, path: str, depth: int) -> Iterator[Fault]:
        if isinstance(value, dict):
            yield from (Fault(join(path, key), "repeated key") for key in repeated.get(id(value), ()))
            below = [(join(path, key), item) for key, item in value.items()]
        else:
            below = [(f"{path}[{index}]", item) for index, item in enumerate(value)] if isinstance(value, list) else []
        for place, item in below:
            if depth == deepest and isinstance(item, dict | list):
                yield Fault(place, "nested too deeply")
            elif isinstance(item, dict | list):
                yield from walk(item, place, depth + 1)

    faults = list(islice(walk(root, "", 1), _MOST_FAULTS + 1))
    if len(faults) > _MOST_FAULTS:
        faults[_MOST_FAULTS] = Fault("", f"there are more faults than these {_MOST_FAULTS}")
    if faults:
        raise InvalidDocument(faults)


def join(path: str, key: str) -> str:
    """The path of a key; one that is no plain word is shown escaped and cut, so that a path stays a readable line."""
    if not (key.isascii() and key.replace("_", "").isalnum()) or len(key) > 64:
        key = printable(key[:64])
    return f"{path}.{key}" if path else key


def printable(text: str) -> str:
    """A text in quotes, as JSON writes it, with all that a terminal might obey or not show escaped."""
    quoted = quote(text)
    return quoted if quoted.isprintable() else "".join([c if c.isprintable() else json.dumps(c)[1:-1] for c in quoted])


def legible(text: str) -> str:
    """Lines of a text, with all else escaped that a terminal might obey or not show."""
    if text.isprintable():
        return text
    return "".join([c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text])


def shown(value: object) -> str:
    """A value as quoted back in an error: escaped and cut, and nothing but its kind for what is not a plain value."""
    match value:
        case str():
            return printable(value if len(value) <= 40 else value[:40] + "…")
        case Unusable():
            return value.text if len(value.text) <= 40 else value.text[:40] + "…"
        case Decimal():
            return plain(value)
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
    if isinstance(value, dict):
        return "an object"
    return "a list" if isinstance(value, list) else str(value)


def _refuse_constant(text: str) -> NoReturn:
    raise _no_json(f"not JSON: {text} is no JSON number")


def _no_json(message: str) -> InvalidDocument:
    return InvalidDocument([Fault("", message)])


_ENCODERS: dict[type, Callable[..., str]] = {
    str: quote,
    type(None): lambda _: "null",
    bool: lambda value: "true" if value else "false",
    int: str,
    Decimal: plain,
    dict: _encode_object,
    list: _encode_list,
    RawJSON: lambda value: value,
}
_DECODER = json.JSONDecoder(parse_float=read_amount, parse_int=read_amount, parse_constant=_refuse_constant)
