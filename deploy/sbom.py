"""The bill of materials: what the program runs on, as it is locked, with versions, licences and digests, in CycloneDX.

    python deploy/sbom.py dist/titrator.cdx.json

What there is, the locks tell; the licence of each, and what it needs itself, the packages as they are installed here
so run it where all of them are, as `make sbom` does. What only a database in PostgreSQL needs is `optional`.
"""

from __future__ import annotations

import re
import sys
import uuid
from collections.abc import Iterator
from configparser import ConfigParser
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Final, NamedTuple

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, XsUri
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentScope, ComponentType
from cyclonedx.model.license import License
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT: Final = Path(__file__).parents[1]
#: The locks of what the program runs on, and whether it does not run without.
LOCKS: Final = (("runtime", ComponentScope.REQUIRED), ("postgres", ComponentScope.OPTIONAL))
_PIN: Final = re.compile(
    r"^([A-Za-z0-9._-]+)==([^\s;\\]+)(?:\s*;[^\\\n]*)?((?:\s*\\\n\s+--hash=sha256:[0-9a-f]{64})*)", re.MULTILINE
)
_HASH: Final = re.compile(r"sha256:([0-9a-f]{64})")
#: Licences that packages name in words that are no expression of SPDX.
_SPDX: Final = {
    "Apache License, Version 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "MIT License": "MIT",
}


class Pin(NamedTuple):
    """A package as a lock has it: its name, its version, the digests of its files."""

    name: str
    version: str
    hashes: tuple[str, ...]


def pins(lock: str) -> Iterator[Pin]:
    """The packages of a lock, in order."""
    for name, version, hashes in _PIN.findall(lock):
        yield Pin(canonicalize_name(name), version, tuple(_HASH.findall(hashes)))


def locked() -> Iterator[tuple[Pin, ComponentScope]]:
    """All packages that the program may run on, each once."""
    seen: set[str] = set()
    for name, scope in LOCKS:
        for pin in pins((ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8")):
            if pin.name not in seen:
                seen.add(pin.name)
                yield pin, scope


def licence(name: str) -> list[License]:
    """What an installed package says of its licence; nothing if it is not here, as on another system."""
    try:
        metadata = distribution(name).metadata
    except PackageNotFoundError:
        return []
    named = metadata.get("License-Expression") or metadata.get("License") or ""
    if not named or "\n" in named or named.startswith(("Copyright", "UNKNOWN")):  # a text, or nothing
        classifiers = [one for one in metadata.get_all("Classifier", []) if one.startswith("License ::")]
        named = " OR ".join(one.rpartition(" :: ")[2] for one in classifiers)
    return [LicenseFactory().make_from_string(_SPDX.get(named, named))] if named else []


def needs(name: str) -> list[str]:
    """The names of what an installed package needs here."""
    try:
        wanted = [Requirement(text) for text in distribution(name).requires or []]
    except PackageNotFoundError:
        return []
    return [canonicalize_name(one.name) for one in wanted if one.marker is None or one.marker.evaluate({"extra": ""})]


def component(pin: Pin, scope: ComponentScope) -> Component:
    """A package as the bill has it."""
    url = PackageURL("pypi", name=pin.name, version=pin.version)
    files = ExternalReference(
        type=ExternalReferenceType.DISTRIBUTION,
        url=XsUri(f"https://pypi.org/project/{pin.name}/{pin.version}/#files"),
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=one) for one in pin.hashes],
    )
    return Component(
        name=pin.name,
        version=pin.version,
        type=ComponentType.LIBRARY,
        scope=scope,
        purl=url,
        bom_ref=url.to_string(),
        licenses=licence(pin.name),
        external_references=[files],
    )


def bill(now: datetime) -> Bom:
    """The bill of the program as it is locked."""
    settings = ConfigParser()
    settings.read(ROOT / "setup.cfg", encoding="utf-8")
    about = settings["metadata"]
    program = Component(
        name=about["name"],
        version=about["version"],
        type=ComponentType.APPLICATION,
        bom_ref=about["name"],
        licenses=[LicenseFactory().make_from_string(about["license_expression"])],
    )
    found = {pin.name: component(pin, scope) for pin, scope in locked()}
    made = Bom(components=found.values())
    made.metadata.component, made.metadata.timestamp = program, now
    names = ",".join(f"{one.name}=={one.version}" for one in found.values())
    made.serial_number = uuid.uuid5(uuid.NAMESPACE_URL, names)  # the same locks, the same number
    wanted = settings["options"]["install_requires"].split()
    direct = {canonicalize_name(Requirement(line).name) for line in wanted}
    made.register_dependency(program, [found[name] for name in sorted(direct)])
    for name, one in found.items():
        made.register_dependency(one, [found[other] for other in sorted(set(needs(name))) if other in found])
    return made


def main() -> None:
    """Write the bill to the file that is named."""
    file = Path(sys.argv[1])
    file.parent.mkdir(parents=True, exist_ok=True)
    made = bill(datetime.now(UTC))
    file.write_text(JsonV1Dot6(made).output_as_string(indent=2) + "\n", encoding="utf-8")
    unknown = sorted(one.name for one in made.components if not one.licenses)
    told = f"; no licence is known of {', '.join(unknown)}" if unknown else ""
    print(f"{file}: {len(made.components)} packages{told}")


if __name__ == "__main__":
    main()
