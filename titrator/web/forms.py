"""The forms of the pages. They take down what was filled in; what of it can be taken, the schemas of REST say.

An empty field is one that was not sent. A number is one with a point; a comma is refused, for it means thousands to
some and decimals to others.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar, Final

from flask import request
from flask_wtf import FlaskForm
from wtforms import (
    BooleanField,
    HiddenField,
    PasswordField,
    SelectField,
    SelectMultipleField,
    StringField,
    TextAreaField,
)
from wtforms.fields.choices import SelectChoice

from titrator.security.secrets import new_id
from titrator.titration.errors import Fault
from titrator.titration.quantities import Unusable, read_amount
from titrator.web.language import lazy_gettext as _l

#: Fields that steer a form and are not part of what it says.
_STEERING: Final = frozenset({"csrf_token", "once", "returned", "repeat", "version"})
_NUMBER: Final = re.compile(r"[0-9]+(?:\.[0-9]+)?", re.ASCII)
_NO_NUMBER: Final = "must be a number, with a point before decimals: 12.5"
#: Questions after which the value has to be typed once more.
TENFOLD: Final = frozenset({"COUNT-FAR-FROM-LAST", "VALUE-FAR-FROM-LAST"})


class Text(StringField):
    """A line of text."""


class Lines(TextAreaField):
    """Some lines of text."""


class Day(StringField):
    """A day."""


class Number(StringField):
    """An exact number."""


def options(pairs: Iterable[tuple[str, Any]]) -> list[SelectChoice]:
    """Choices, by value and text."""
    return [SelectChoice(value, text) for value, text in pairs]


class Choice(SelectField):
    """One of several, as pairs of value and text; what is chosen is judged by the schema."""

    def __init__(self, label: Any = None, *, choices: Iterable[tuple[str, Any]] = (), **kwargs: Any) -> None:
        super().__init__(label, validate_choice=False, choices=options(choices), **kwargs)


class NumberChoice(Choice):
    """One of several exact numbers."""


class Choices(SelectMultipleField):
    """Some of several, as ticks."""

    def __init__(self, label: Any = None, *, choices: Iterable[tuple[str, Any]] = (), **kwargs: Any) -> None:
        super().__init__(label, validate_choice=False, choices=options(choices), **kwargs)

    def iter_choices_of(self) -> Iterator[tuple[str, Any, bool]]:
        """Each choice: its value, its text, whether it is made."""
        made = set(self.data or ())
        yield from ((one.value, one.label, one.value in made) for one in self.choices)


class Tick(BooleanField):
    """Yes, or nothing."""


class Secret(PasswordField):
    """A password."""


class Hidden(HiddenField):
    """What a form carries along."""


class Form(FlaskForm):
    """A form, by the names of its schema. `once` is its own, so that it is carried out once only.

    `confirm` has the codes of questions that were answered with yes; after some of them the value that `REPEATED` names
    has to be typed again, as `repeat`.
    """

    class Meta(FlaskForm.Meta):
        """Filled in by fields of text only: neither by files nor by JSON."""

        def wrap_formdata(self, form: Any, formdata: Any) -> Any:
            """What was sent, if anything was."""
            del form
            return None if formdata is None else request.form or None

    #: The field that has to be typed once more when it is tenfold, or a tenth.
    REPEATED: ClassVar[str | None] = None
    #: Which field shows the faults of another path of the schema.
    SHOWN_AT: ClassVar[Mapping[str, str]] = {}

    once = Hidden(default=new_id)
    confirm = Choices()
    repeat = Number(_l("The same value once more"))

    def body(self) -> tuple[dict[str, Any], list[Fault]]:
        """What was filled in, by name, for the schema; and what is no number though it should be."""
        body, faults = {}, []
        for field in self:
            if field.name in _STEERING:
                continue
            try:
                value = _said(field)
            except ValueError:
                faults.append(Fault(field.name, _NO_NUMBER))
                continue
            if value is not None:
                body[field.name] = value
        if self.REPEATED is not None and TENFOLD & set(body.get("confirm", ())):
            first, again = (str(self[name].data or "").strip() for name in (self.REPEATED, "repeat"))
            if first != again:
                faults.append(Fault("repeat", "must be the same value, typed once more"))
        return body, faults

    def said(self) -> Iterator[tuple[str, str]]:
        """What was filled in, as text, by name."""
        for field in self:
            if field.name not in _STEERING:
                values = field.data if isinstance(field.data, list) else [field.data]
                yield from ((field.name, str(value)) for value in values if value not in (None, "", False))

    def field_of(self, path: str) -> str | None:
        """The name of the field that shows a fault of a path; None where none does."""
        name = re.split(r"[.\[]", path, maxsplit=1)[0]
        name = self.SHOWN_AT.get(name, name)
        return name if name in self and self[name].type != "Hidden" and name != "confirm" else None

    def fill(self, values: Iterable[tuple[str, Any]]) -> None:
        """Fill in what has not been filled in by somebody."""
        if not self.is_submitted():
            for name, value in values:
                self[name].data = value


def _said(field: Any) -> Any:
    """What a field says, in the types of the schemas; None where it is empty. Raises ValueError for no number."""
    value = field.data
    if isinstance(field, Tick):
        return True if value else None
    if isinstance(field, Choices):
        return value or None
    if isinstance(field, Secret):
        return value or None
    text = (value or "").replace("\r\n", "\n").strip()
    if not text:
        return None
    if isinstance(field, Number | NumberChoice):
        amount = read_amount(text)
        if _NUMBER.fullmatch(text) and not isinstance(amount, Unusable):
            return amount
        raise ValueError(text)
    return text


class LoginForm(Form):
    """A name and a password; `kept` is a form that was sent too late."""

    username = Text(_l("Username"), render_kw={"autocomplete": "username", "autofocus": True, "spellcheck": "false"})
    password = Secret(_l("Password"), render_kw={"autocomplete": "current-password"})
    next = Hidden()
    kept = Hidden()


class CodeForm(Form):
    """A code of the second factor; `proved` says, sealed, whose password was right."""

    code = Text(
        _l("Code of your authenticator, or a recovery code"),
        render_kw={"autocomplete": "one-time-code", "autofocus": True, "spellcheck": "false"},
    )
    proved = Hidden()
    next = Hidden()
    kept = Hidden()


class Nothing(Form):
    """A button."""


class Versioned(Form):
    """What changes something that others may change meanwhile: `version` is the one that was seen."""

    version = Hidden()


class ReasonForm(Form):
    """Why."""

    reason = Lines(_l("Reason"), render_kw={"maxlength": 1000, "rows": 2})


class ChangeForm(ReasonForm):
    """A change of what was seen in a version, and why."""

    version = Hidden()
