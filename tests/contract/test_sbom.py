"""The bill of materials: every locked package is in it, with its licence, and it is sound CycloneDX."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from deploy import sbom

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 3, 9, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def text() -> str:
    return JsonV1Dot6(sbom.bill(NOW)).output_as_string()


@pytest.fixture(scope="module")
def bill(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text)
    return found


def lines(lock: str) -> set[tuple[str, str]]:
    """Name and version of each line that pins, read in another way than the bill does."""
    text = (ROOT / "requirements" / f"{lock}.txt").read_text(encoding="utf-8")
    pinned = (line.split()[0].split("==") for line in text.splitlines() if re.match(r"[a-z]\S*==", line))
    return {(name, version.rstrip(";")) for name, version in pinned}


def test_every_locked_package_is_in_the_bill_of_materials(bill: dict[str, Any]) -> None:
    there = {(one["name"], one["version"]) for one in bill["components"]}
    assert len(lines("runtime")) > 50
    assert there == lines("runtime") | lines("postgres")
    required = {one["name"] for one in bill["components"] if one["scope"] == "required"}
    assert required == {name for name, _ in lines("runtime")}


def test_each_has_a_licence_an_address_and_the_digests_of_its_files(bill: dict[str, Any]) -> None:
    for one in bill["components"]:
        assert one["licenses"], one["name"]
        assert "Copyright" not in json.dumps(one["licenses"]), "the name of a licence, not its text"
        assert one["purl"] == f"pkg:pypi/{one['name']}@{one['version']}"
        (files,) = one["externalReferences"]
        assert files["url"] == f"https://pypi.org/project/{one['name']}/{one['version']}/#files"
        assert files["hashes"], one["name"]


def test_what_each_needs_is_there(bill: dict[str, Any]) -> None:
    known = {one["bom-ref"] for one in bill["components"]} | {"titrator"}
    needs = {one["ref"]: one.get("dependsOn", []) for one in bill["dependencies"]}
    assert set(needs) == known
    assert {other for some in needs.values() for other in some} <= known
    assert len(needs["titrator"]) > 20
    (flask,) = [ref for ref in known if ref.startswith("pkg:pypi/flask@")]
    assert any(ref.startswith("pkg:pypi/werkzeug@") for ref in needs[flask])


def test_it_is_as_the_standard_has_it(text: str) -> None:
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text.replace('"required"', '"nonsense"')) is not None


def test_the_same_locks_give_the_same_number(bill: dict[str, Any]) -> None:
    assert bill["serialNumber"] == sbom.bill(NOW).get_urn_uuid().split("/")[0].replace("urn:cdx:", "urn:uuid:")
    assert bill["metadata"]["timestamp"] == NOW.isoformat()
