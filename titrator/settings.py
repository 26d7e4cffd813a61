"""Settings: what an installation may choose, from its environment. docs/cli.md lists them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """`instance` is the folder of this installation; its `protocols` folder holds protocols of its own."""

    instance: Path

    @property
    def local_protocols(self) -> Path:
        """The folder of the protocols that the installation adds."""
        return self.instance / "protocols"


def load_settings(environment: Mapping[str, str]) -> Settings:
    """The settings that an environment makes: TITRATOR_INSTANCE, else `instance` in the working folder."""
    return Settings(instance=Path(environment.get("TITRATOR_INSTANCE") or "instance").absolute())
