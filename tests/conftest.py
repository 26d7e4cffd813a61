"""What all tests share."""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from werkzeug.routing import Rule

from titrator.protocols import Catalogue

# The same examples every time, so that a red test is red for everybody; `long` searches anew each time.
settings.register_profile("steady", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("search", deadline=None, max_examples=5000, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "steady"))


# Thousands of tests make an app of their own, most of whose time goes into compiling how each route's address would be
# built. That is the same for the same route, so here it is compiled once in a process.
_compile = Rule._compile_builder
_compiled: dict[object, Any] = {}


def _compiled_once(rule: Rule, append_unknown: bool = True) -> Any:
    if rule.defaults:
        return _compile(rule, append_unknown)
    key = rule.rule, tuple(rule._trace), append_unknown
    if key not in _compiled:
        _compiled[key] = _compile(rule, append_unknown)
    return _compiled[key]


Rule._compile_builder = _compiled_once  # type: ignore[method-assign]


@pytest.fixture(scope="session")
def catalogue() -> Catalogue:
    """The shipped protocols."""
    return Catalogue()
