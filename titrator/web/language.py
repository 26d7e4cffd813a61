"""What pages say, in the language of whoever reads. A page says a thousand things: it is found once a request.

The catalogues are Flask-Babel's, in `translations/` (docs/pages.md tells how one is made); so are the languages.
"""

from __future__ import annotations

from typing import Any

from flask import g, has_request_context
from flask_babel import get_locale, get_translations
from flask_babel.speaklater import LazyString


def plain_gettext(text: str) -> str:
    """A text as it is translated, for templates, which put in the values themselves."""
    return str(_of_request().gettext(text))


def plain_ngettext(singular: str, plural: str, number: int) -> str:
    """A text of one thing or of several, as it is translated, for templates."""
    return str(_of_request().ngettext(singular, plural, number))


def gettext(text: str, **values: object) -> str:
    """A text, with its values."""
    said = _of_request().gettext(text)
    return said % values if values else said


def ngettext(singular: str, plural: str, number: int, **values: object) -> str:
    """A text of one thing or of several, with its values; the number is `num`."""
    values.setdefault("num", number)
    return _of_request().ngettext(singular, plural, number) % values


def lazy_gettext(text: str) -> Any:
    """A text that is translated when it is said."""
    return LazyString(gettext, text)


def locale() -> str:
    """The code of the language: en, de, pt_BR."""
    if not has_request_context():
        return "en"
    found: str | None = g.get("locale")
    if found is None:
        found = g.locale = str(get_locale() or "en")
    return found


def _of_request() -> Any:
    if not has_request_context():
        return get_translations()
    found = g.get("translations")
    if found is None:
        found = g.translations = get_translations()
    return found
