"""Roles and permissions, and the one table between them. docs/access.md shows the same table to administrators."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class Role(StrEnum):
    """What an account is. People have the first three and the last two; `ehr` is a system and never decides."""

    TECHNICIAN = "technician"
    PHARMACIST = "pharmacist"
    PRESCRIBER = "prescriber"
    EHR = "ehr"
    AUDITOR = "auditor"
    ADMIN = "admin"


class Permission(StrEnum):
    """What a route asks for."""

    READ_PROTOCOLS = "protocols:read"
    RECOMMEND = "recommend"
    READ_CLINICS = "clinics:read"
    MANAGE_CLINICS = "clinics:manage"
    READ_PATIENTS = "patients:read"
    WRITE_PATIENTS = "patients:write"
    MANAGE_PATIENTS = "patients:manage"
    RECORD_FACTS = "facts:record"
    VERIFY_FACTS = "facts:verify"
    PROPOSE = "doses:propose"
    SIGN_OFF = "decisions:sign"
    OVERRIDE_BEYOND = "decisions:override-beyond"
    SEE_TO_REMINDERS = "reminders:see-to"
    ISSUE_CALENDARS = "calendars:issue"
    MANAGE_COURSES = "courses:manage"
    IMPORT = "patients:import"
    NEW_BASELINE = "courses:new-baseline"
    CONFIRM_ELIGIBILITY = "courses:confirm-eligibility"
    DISCONTINUE = "courses:discontinue"
    RESOLVE_SAFETY = "events:resolve-safety"
    BREAK_GLASS = "glass:break"
    READ_AUDIT = "audit:read"
    TAKE_EVIDENCE = "evidence:take"
    MANAGE_ACCOUNTS = "accounts:manage"
    OWN_ACCOUNT = "account:own"


_ALL: Final = frozenset({Permission.READ_PROTOCOLS, Permission.READ_CLINICS, Permission.OWN_ACCOUNT})
_CARE: Final = _ALL | {
    Permission.RECOMMEND,
    Permission.READ_PATIENTS,
    Permission.WRITE_PATIENTS,
    Permission.RECORD_FACTS,
    Permission.PROPOSE,
    Permission.SEE_TO_REMINDERS,
}
_PHARMACIST: Final = _CARE | {
    Permission.MANAGE_PATIENTS,
    Permission.VERIFY_FACTS,
    Permission.MANAGE_COURSES,
    Permission.IMPORT,
    Permission.SIGN_OFF,
    Permission.ISSUE_CALENDARS,
    Permission.BREAK_GLASS,
    Permission.TAKE_EVIDENCE,
}

#: Who may do what. A prescriber may do all that a pharmacist may, and what a label leaves to a physician.
PERMISSIONS: Final[Mapping[Role, frozenset[Permission]]] = {
    Role.TECHNICIAN: _CARE,
    Role.PHARMACIST: _PHARMACIST,
    Role.PRESCRIBER: _PHARMACIST
    | {
        Permission.NEW_BASELINE,
        Permission.CONFIRM_ELIGIBILITY,
        Permission.DISCONTINUE,
        Permission.RESOLVE_SAFETY,
        Permission.OVERRIDE_BEYOND,
    },
    Role.EHR: _CARE,
    Role.AUDITOR: _ALL | {Permission.READ_AUDIT, Permission.TAKE_EVIDENCE},
    Role.ADMIN: _ALL | {Permission.MANAGE_CLINICS, Permission.MANAGE_ACCOUNTS},
}
