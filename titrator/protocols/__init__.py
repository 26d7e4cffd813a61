"""The protocols as data: shipped beside this file, local ones in a folder of the installation. Standard library only.

`<id>.toml` holds the rules, `<id>.examples.toml` worked courses with their answers; docs/protocols.md describes both.
"""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

from titrator.protocols.examples import Example, Outcome, run_examples
from titrator.protocols.files import parse_toml, read_toml
from titrator.titration.documents import printable
from titrator.titration.errors import Fault, InvalidProtocol
from titrator.titration.protocol import Protocol, read_protocol

SHIPPED = Path(__file__).parent


class Catalogue:
    """The protocols that an installation has; each is read and checked once, when it is first asked for.

    A local file does not replace a shipped one: a new edition is a new file with an id of its own.
    """

    def __init__(self, local: Path | None = None) -> None:
        self._files = {path.stem: path for path in _files(SHIPPED)}
        self.shipped = frozenset(self._files)
        self.clashes = []
        for path in _files(local) if local else ():
            if path.stem in self._files:
                self.clashes.append(path)
            else:
                self._files[path.stem] = path
        self._protocols: dict[str, Protocol | InvalidProtocol] = {}
        self._examples: dict[str, tuple[Example, ...]] = {}

    def ids(self) -> list[str]:
        """The ids of all protocols, sorted."""
        return sorted(self._files)

    def path(self, ident: str) -> Path:
        """The file of a protocol; raises KeyError for one that is not there."""
        return self._files[ident]

    def text(self, protocol: Protocol) -> str:
        """The file of a protocol, to the letter; raises InvalidProtocol where it is no longer the one that was read."""
        content = self._files[protocol.id].read_bytes()
        if parse_toml(content)[1] != protocol.sha256:
            raise InvalidProtocol([Fault(protocol.id, "its file was changed while the service ran: start it again")])
        return content.decode()

    def fault(self, ident: str) -> str | None:
        """Why a protocol cannot be used, in words; None if it can."""
        if ident not in self._files:
            near = get_close_matches(ident[:100], self._files, n=3, cutoff=0.5) or self.ids()
            return f"unknown protocol; the nearest are {', '.join(printable(name)[1:-1] for name in near)}"
        try:
            self.get(ident)
        except InvalidProtocol as error:
            return f"the file of this protocol is refused: {error}"
        return None

    def get(self, ident: str) -> Protocol:
        """A protocol; raises KeyError for one that is not there and InvalidProtocol for one that is refused."""
        if ident not in self._protocols:
            try:
                self._protocols[ident], outcomes = load(self._files[ident])
                self._examples[ident] = tuple(outcome.example for outcome in outcomes)
            except InvalidProtocol as error:
                self._protocols[ident] = error
        found = self._protocols[ident]
        if isinstance(found, InvalidProtocol):
            raise InvalidProtocol(found.faults)
        return found

    def examples(self, ident: str) -> tuple[Example, ...]:
        """The worked examples that a protocol passed when it was read, as its file has them; raises as `get` does."""
        self.get(ident)
        return self._examples[ident]

    def self_test(self) -> list[str]:
        """Why the shipped protocols cannot be relied upon: each that is refused, or whose worked examples fail."""
        return [f"{ident}: {fault}" for ident in sorted(self.shipped) if (fault := self.fault(ident))]

    def find(self, ident: str) -> Protocol:
        """A protocol asked for by a person; raises InvalidProtocol that says why it cannot be used."""
        if wrong := self.fault(ident):
            raise InvalidProtocol([Fault("protocol", wrong)])
        return self.get(ident)


def load(path: Path) -> tuple[Protocol, list[Outcome]]:
    """Read and check one protocol file, run the examples beside it; raises InvalidProtocol with every fault."""
    document, digest = read_toml(path)
    protocol = read_protocol(document, name=path.stem, sha256=digest)
    outcomes = run_examples(protocol, path.with_suffix(".examples.toml"))
    faults = [Fault(f"example {outcome.example.name!r}", outcome.wrong) for outcome in outcomes if outcome.wrong]
    if faults:
        raise InvalidProtocol(faults)
    return protocol, outcomes


def read_edition(ident: str, text: str) -> Protocol:
    """The protocol that the kept text of a file writes; raises InvalidProtocol."""
    document, digest = parse_toml(text.encode())
    return read_protocol(document, name=ident, sha256=digest)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("[!.]*.toml") if not path.name.endswith(".examples.toml"))
