"""Scopes: how they are read, what is granted of them, and what they let through."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from titrator.security.scopes import (
    CLOSED,
    LETTERS,
    MEANT,
    UnfitScopes,
    allows,
    expanded,
    granted,
    parse,
    read_needs,
    wanted,
)

READ = [
    ("system/Observation.rs", [("Observation", "rs")]),
    ("system/Observation.cruds", [("Observation", "cruds")]),
    ("system/*.cruds", [("*", "cruds")]),
    ("system/Observation.read", [("Observation", "rs")]),
    ("system/Observation.write", [("Observation", "cud")]),
    ("system/Observation.*", [("Observation", "cruds")]),
    ("system/*.read", [("*", "rs")]),
    ("system/*.*", [("*", "cruds")]),
    ("system/Encounter.r", [("Encounter", "r")]),
    ("  system/Patient.s   system/Task.u ", [("Patient", "s"), ("Task", "u")]),
    ("system/Patient.s system/Patient.s", [("Patient", "s")]),
]

#: A scope that cannot be granted, and what is said of it.
UNFIT = [
    ("system/Observation.sr", "in that order"),
    ("system/Observation.dus", "in that order"),
    ("system/Observation.rr", "in that order"),
    ("system/Observation.x", "in that order"),
    ("system/Observation.rx", "in that order"),
    ("system/Observation.reads", "in that order"),
    ("system/Observation.", "must be system/"),
    ("system/Observation", "must be system/"),
    ("system/observation.rs", "must be system/"),
    ("system/Observation.RS", "must be system/"),
    ("system/Observation.Read", "must be system/"),
    ("system/.rs", "must be system/"),
    ("system/**.rs", "must be system/"),
    ("system/Observation.cruds.", "must be system/"),
    ("system/Observation.rs?category=laboratory", "parameters"),
    ("system/Observation.rs?", "parameters"),
    ("patient/Observation.rs", "begin with system/"),
    ("user/Observation.rs", "begin with system/"),
    ("SYSTEM/Observation.rs", "begin with system/"),
    ("Observation.rs", "begin with system/"),
    ("openid", "begin with system/"),
    ("fhirUser", "begin with system/"),
    ("launch", "begin with system/"),
    ("launch/patient", "begin with system/"),
    ("offline_access", "begin with system/"),
    ("online_access", "begin with system/"),
    ("*", "begin with system/"),
]

GRANTED = [
    ("system/Observation.rs", "system/Observation.rs", "system/Observation.rs"),
    ("system/Observation.cruds", "system/Observation.rs", "system/Observation.rs"),
    ("system/Observation.r", "system/Observation.rs", "system/Observation.r"),
    ("system/Observation.rs", "system/*.cruds", "system/Observation.rs"),
    ("system/*.rs", "system/Observation.cr system/Patient.s", "system/Observation.r system/Patient.s"),
    ("system/*.rs", "system/*.r system/Patient.s", "system/*.r system/Patient.s"),
    ("system/Observation.rs", "system/Observation.r system/*.s", "system/Observation.rs"),
    ("system/Observation.read", "system/Observation.rs", "system/Observation.read"),
    ("system/Observation.*", "system/Observation.cruds", "system/Observation.*"),
    ("system/Observation.read", "system/Observation.r", "system/Observation.r"),
    ("system/Observation.write", "system/Observation.cu", "system/Observation.cu"),
    ("system/Patient.rs system/Observation.rs", "system/Observation.rs", "system/Observation.rs"),
    ("system/Patient.rs", "system/Observation.rs", ""),
    ("system/Patient.c", "system/Patient.rs", ""),
    ("system/Encounter.rs", "system/*.cruds", "system/Encounter.rs"),
]


@pytest.mark.parametrize(("text", "expected"), READ)
def test_scopes_are_read(text: str, expected: list[tuple[str, str]]) -> None:
    assert [(one.type, one.letters) for one in parse(text)] == expected
    assert [one.text for one in parse(text)] == list(dict.fromkeys(text.split()))


@pytest.mark.parametrize(("word", "said"), UNFIT)
def test_what_is_no_scope_for_a_system_is_refused_alone_and_among_others(word: str, said: str) -> None:
    for text in (word, f"system/Patient.rs {word}"):
        with pytest.raises(UnfitScopes) as caught:
            parse(text)
        (fault,) = caught.value.faults
        assert said in fault
        assert fault.startswith(word)


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(UnfitScopes) as caught:
        parse("openid system/Patient.sr system/Patient.rs user/Task.r")
    assert [fault.partition(":")[0] for fault in caught.value.faults] == ["openid", "system/Patient.sr", "user/Task.r"]


@pytest.mark.parametrize("text", ["", "   ", "system/Patient.r " * 101, "x" * 4001])
def test_none_and_too_many_are_refused(text: str) -> None:
    with pytest.raises(UnfitScopes):
        parse(text)


def test_what_is_told_of_a_scope_is_fit_for_an_error_description() -> None:
    """RFC 6749, section 5.2: no quotation mark, no backslash, nothing outside ASCII."""
    with pytest.raises(UnfitScopes) as caught:
        parse('"quoted"\\ \x00\x1fnull schön/😀 ' + "y" * 500)
    for fault in caught.value.faults:
        assert all(" " <= char <= "~" and char not in '"\\' for char in fault)
        assert len(fault) < 200


@pytest.mark.parametrize(("asked", "registered", "expected"), GRANTED)
def test_what_is_granted_is_what_is_asked_for_and_registered(asked: str, registered: str, expected: str) -> None:
    assert " ".join(granted(parse(asked), parse(registered))) == expected


TYPES = ("Observation", "Patient", "Task")
SETS = st.lists(
    st.builds(
        lambda name, letters: f"system/{name}.{letters}",
        st.sampled_from((*TYPES, "*")),
        st.one_of(
            st.sampled_from(("read", "write", "*")),
            st.sets(st.sampled_from(LETTERS), min_size=1).map(lambda some: "".join(sorted(some, key=LETTERS.index))),
        ),
    ),
    min_size=1,
    max_size=5,
).map(" ".join)
MEANING = {"read": "rs", "write": "cud", "*": "cruds"}


def lets(scopes: str, name: str, letter: str) -> bool:
    """Whether scopes let an interaction through, told scope by scope, in another way than the code does."""
    for scope in scopes.split():
        of, _, access = scope.removeprefix("system/").partition(".")
        if of in ("*", name) and letter in MEANING.get(access, access):
            return True
    return False


@given(asked=SETS, registered=SETS)
def test_nothing_is_granted_beyond_either_and_nothing_is_lost(asked: str, registered: str) -> None:
    """`never issue more than pre-authorised scope`"""
    found = " ".join(granted(parse(asked), parse(registered)))
    for name, letter in product((*TYPES, "Encounter"), LETTERS):
        both = lets(asked, name, letter) and lets(registered, name, letter)
        assert lets(found, name, letter) is both
        assert allows(expanded(found.split()), f"{name}.{letter}") is both


@given(scopes=SETS)
def test_what_is_closed_stays_closed(scopes: str) -> None:
    assert not allows(expanded(scopes.split()), CLOSED)
    assert not allows(expanded(["system/*.cruds"]), CLOSED)


@pytest.mark.parametrize(
    "text", ["Patient.x", "Patient.rs", "patient.r", "Nothing.r", "Patient", "Provenance.u", "*.r"]
)
def test_a_need_that_means_nothing_is_a_mistake(text: str) -> None:
    with pytest.raises(ValueError, match="no such need"):
        read_needs(text)


def test_needs_are_told_as_scopes() -> None:
    assert wanted(read_needs("Patient.r Task.u")) == "system/Patient.r system/Task.u"
    assert wanted(read_needs(CLOSED)) == wanted(read_needs("")) == ""


def test_the_letters_of_each_type_are_in_order() -> None:
    for name, letters in MEANT.items():
        assert parse(f"system/{name}.{letters}"), name
