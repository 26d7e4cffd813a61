"""What all tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from werkzeug.routing import Rule

from tests import backends, passwords
from titrator import protocols
from titrator.protocols import Catalogue
from titrator.protocols.examples import Outcome
from titrator.titration.protocol import Protocol

# The same examples every time, so that a red test is red for everybody; `long` searches anew each time.
settings.register_profile("steady", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("search", deadline=None, max_examples=5000, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "steady"))


# Thousands of tests make an app of their own, most of whose time goes into taking apart the address of each route. It
# comes to the same for the same route, so here that is done once in a process.
_compile = Rule.compile
_compiled: dict[object, Rule] = {}


def _compiled_once(rule: Rule) -> None:
    assert rule.map is not None
    if rule.defaults or rule.map.host_matching:
        _compile(rule)
        return
    key = rule.rule, rule.subdomain, rule.merge_slashes, frozenset(rule.map.converters.items())
    first = _compiled.get(key)
    if first is None:
        _compile(rule)
        _compiled[key] = rule
        return
    for name in ("_parts", "_trace", "_converters", "arguments"):
        setattr(rule, name, getattr(first, name))
    for name in ("_build", "_build_unknown"):
        setattr(rule, name, getattr(first, name).__func__.__get__(rule, None))


Rule.compile = _compiled_once  # type: ignore[method-assign]
passwords.be_quick()


# Hundreds of tests make the services of an installation, or a catalogue, each of which reads the shipped protocols and
# runs their examples: the same files with the same outcome.
_load, _load_once, _SHIPPED = protocols.load, cache(protocols.load), protocols.SHIPPED


def _loaded(path: Path) -> tuple[Protocol, list[Outcome]]:
    return (_load_once if path.parent == _SHIPPED else _load)(path)


protocols.load = _loaded


@pytest.fixture(scope="session")
def catalogue() -> Catalogue:
    """The shipped protocols."""
    return Catalogue()


@pytest.fixture(autouse=True)
def _connections_are_let_go() -> Iterator[None]:
    """No test leaves connections to a server open."""
    yield
    backends.let_go()


def pytest_sessionfinish() -> None:
    """Leave no databases on the server of the tests."""
    backends.drop_databases()
