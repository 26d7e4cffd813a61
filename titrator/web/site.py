"""The pages as a part of the app: which there are, what their templates may use, cookies, language."""

from __future__ import annotations

from typing import Any, Final

from flask import Blueprint, Flask, request
from flask_babel import Babel
from flask_wtf.csrf import generate_csrf

from titrator.security.secrets import fingerprint, new_id
from titrator.titration.documents import reread
from titrator.web import (
    account,
    activation,
    assets,
    audit,
    clinics,
    courses,
    decide,
    evidence,
    facts,
    login,
    patients,
    people,
    protocols,
    reminders,
    results,
    sheets,
    staff,
    words,
    worklist,
)
from titrator.web.entries import SHEETS
from titrator.web.forms import TENFOLD
from titrator.web.frame import Filled, Pages, Sessions, context, is_for_programs, missing
from titrator.web.language import lazy_gettext as _l
from titrator.web.language import locale, plain_gettext, plain_ngettext
from titrator.workflow.visit import Services

__all__ = ["add_to", "is_for_programs", "missing"]

#: The pages of the head of each page, with the permission that each asks for.
NAVIGATION: Final = (
    ("web.worklist.worklist", "patients:read", _l("Worklist")),
    ("web.people.search", "patients:read", _l("Patients")),
    ("web.results.results", "patients:read", _l("Results")),
    ("web.reminders.reminders", "patients:read", _l("Reminders")),
    ("web.protocols.protocols", "protocols:read", _l("Protocols")),
    ("web.audit.audit", "audit:read", _l("Audit")),
    ("web.staff.staff", "accounts:manage", _l("Accounts")),
    ("web.clinics.clinics", "clinics:manage", _l("Clinics")),
)
#: The pages of each patient.
OF_PATIENT: Final = (
    ("web.patients.patient", _l("Next dose")),
    ("web.facts.history", _l("History")),
    ("web.courses.course", _l("Course")),
    ("web.reminders.of_patient", _l("Reminders")),
    ("web.people.change", _l("Particulars")),
)
LANGUAGES: Final = ("en",)
_ROOMS: Final[tuple[Pages, ...]] = (
    login.pages,
    activation.pages,
    worklist.pages,
    patients.pages,
    decide.pages,
    evidence.pages,
    sheets.pages,
    reminders.pages,
    protocols.pages,
    audit.pages,
    staff.pages,
    clinics.pages,
    account.pages,
    facts.pages,
    people.pages,
    courses.pages,
    results.pages,
)


def add_to(app: Flask, services: Services) -> None:
    """Add the pages to an app. Their cookies are signed with a key of their own, made from that of the trail."""
    app.secret_key = fingerprint(services.audit_key, "pages", "cookies")
    app.session_interface = Sessions()
    app.config.update(
        SESSION_COOKIE_NAME="titrator_form",
        SESSION_COOKIE_SAMESITE="Lax",
        WTF_CSRF_TIME_LIMIT=None,
        WTF_I18N_ENABLED=False,
    )
    Babel(app, locale_selector=_language, default_translation_directories="web/translations", configure_jinja=False)
    app.jinja_env.add_extension("jinja2.ext.i18n")
    app.jinja_env.install_gettext_callables(plain_gettext, plain_ngettext, newstyle=True)  # type: ignore[attr-defined]
    words.add_to(app.jinja_env)
    app.jinja_env.globals |= {
        "asset_url": assets.asset_url,
        "csrf_token": generate_csrf,
        "get_locale": locale,
        "is_tenfold": _is_tenfold,
        "navigation": NAVIGATION,
        "of_patient": OF_PATIENT,
        "new_id": new_id,
        "prefix_of": _prefix_of,
        "SHEETS": SHEETS,
        "reread": reread,
        "idle_seconds": services.policy.idle_seconds,
    }
    web = Blueprint("web", "titrator.web")
    web.register_blueprint(assets.blueprint)
    web.context_processor(context)
    for room in _ROOMS:
        web.register_blueprint(room)
    app.register_blueprint(web)


def _language() -> str:
    return request.accept_languages.best_match(LANGUAGES) or LANGUAGES[0]


def _prefix_of(form: Any) -> str:
    """What the ids of the fields of a form begin with, so that several forms can stand on a page."""
    return type(form).__name__.removesuffix("Form").lower() or "form"


def _is_tenfold(filled: Filled) -> bool:
    if filled.form.REPEATED is None:
        return False
    return "repeat" in filled.faults or any(code in TENFOLD for code, _ in filled.questions)
