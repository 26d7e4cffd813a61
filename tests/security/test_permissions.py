"""The one table of roles and permissions, against what each role is for."""

from __future__ import annotations

import pytest

from titrator.security.permissions import PERMISSIONS, Permission, Role

P = Permission
#: What shows or changes something of a patient.
CLINICAL = {
    P.READ_PATIENTS,
    P.WRITE_PATIENTS,
    P.MANAGE_PATIENTS,
    P.RECORD_FACTS,
    P.VERIFY_FACTS,
    P.PROPOSE,
    P.RECOMMEND,
    P.MANAGE_COURSES,
    P.NEW_BASELINE,
    P.CONFIRM_ELIGIBILITY,
    P.DISCONTINUE,
    P.RESOLVE_SAFETY,
    P.BREAK_GLASS,
}
#: What decides something: only a person may.
DECIDING = {
    P.VERIFY_FACTS,
    P.MANAGE_COURSES,
    P.NEW_BASELINE,
    P.CONFIRM_ELIGIBILITY,
    P.DISCONTINUE,
    P.RESOLVE_SAFETY,
    P.MANAGE_PATIENTS,
    P.BREAK_GLASS,
    P.MANAGE_ACCOUNTS,
    P.MANAGE_CLINICS,
}
#: What a label leaves to a physician.
PHYSICIANS = {P.NEW_BASELINE, P.CONFIRM_ELIGIBILITY, P.DISCONTINUE, P.RESOLVE_SAFETY, P.OVERRIDE_BEYOND}


def test_every_role_is_in_the_table() -> None:
    assert set(PERMISSIONS) == set(Role)


def test_every_permission_is_somebodys() -> None:
    assert set().union(*PERMISSIONS.values()) == set(Permission)


def test_who_has_more_training_may_do_all_that_those_with_less_may() -> None:
    assert PERMISSIONS[Role.PRESCRIBER] > PERMISSIONS[Role.PHARMACIST] > PERMISSIONS[Role.TECHNICIAN]


def test_only_a_prescriber_may_do_what_a_label_leaves_to_a_physician() -> None:
    assert PERMISSIONS[Role.PRESCRIBER] - PERMISSIONS[Role.PHARMACIST] == PHYSICIANS
    for role in set(Role) - {Role.PRESCRIBER}:
        assert not PERMISSIONS[role] & PHYSICIANS, role


def test_a_system_decides_nothing() -> None:
    assert not PERMISSIONS[Role.EHR] & DECIDING
    assert PERMISSIONS[Role.EHR] >= {P.RECORD_FACTS, P.PROPOSE}


@pytest.mark.parametrize("role", [Role.ADMIN, Role.AUDITOR])
def test_sees_no_patient(role: Role) -> None:
    assert not PERMISSIONS[role] & CLINICAL


def test_who_treats_does_not_manage_accounts_or_read_the_trail() -> None:
    managing = {P.MANAGE_ACCOUNTS, P.MANAGE_CLINICS, P.READ_AUDIT}
    for role in (Role.TECHNICIAN, Role.PHARMACIST, Role.PRESCRIBER, Role.EHR):
        assert not PERMISSIONS[role] & managing, role
    assert PERMISSIONS[Role.ADMIN] & managing == {P.MANAGE_ACCOUNTS, P.MANAGE_CLINICS}
    assert PERMISSIONS[Role.AUDITOR] & managing == {P.READ_AUDIT}


def test_a_technician_records_and_asks_but_does_not_decide() -> None:
    assert not PERMISSIONS[Role.TECHNICIAN] & DECIDING
    assert PERMISSIONS[Role.TECHNICIAN] >= {P.RECORD_FACTS, P.PROPOSE, P.READ_PATIENTS}
