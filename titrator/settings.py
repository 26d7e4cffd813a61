"""Settings: what an installation may choose. docs/settings.md lists each with its default.

Each has a name in `instance/config.toml` and, in capitals after TITRATOR_, one in the environment, which goes first.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from titrator.notify.schemes import SCHEMES
from titrator.titration.errors import Fault, InvalidInput


class InvalidSettings(InvalidInput):
    """Settings with faults."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """`instance` is the folder of this installation; numbers are seconds, minutes or counts as their names say."""

    instance: Path
    database: str = ""
    audit_key_file: str = ""
    base_url: str = "http://127.0.0.1:8000"
    workers: int = 2
    threads: int = 8
    trusted_proxies: int = 0
    requests_per_minute: int = 1200
    logins_per_minute: int = 20
    session_hours: int = 12
    idle_minutes: int = 30
    logins_before_lock: int = 5
    lock_minutes: int = 15
    activation_days: int = 7
    emergency_minutes: int = 60
    reminder_seconds: int = 20
    channel_schemes: str = ""
    log_level: str = "info"

    @property
    def schemes(self) -> frozenset[str]:
        """The schemes that the address of a channel may have: all that are known, or those of the setting."""
        return frozenset(self.channel_schemes.split()) if self.channel_schemes else SCHEMES

    @property
    def texts(self) -> Path:
        """The folder of the texts that the installation lays over the shipped ones."""
        return self.instance / "texts"

    @property
    def local_protocols(self) -> Path:
        """The folder of the protocols that the installation adds."""
        return self.instance / "protocols"

    @property
    def database_url(self) -> str:
        """The database: by default a file of the instance folder."""
        return self.database or str(self.instance / "titrator.db")

    @property
    def key_file(self) -> Path:
        """The file of the audit key: by default in the instance folder, beside the database but never in it."""
        return Path(self.audit_key_file) if self.audit_key_file else self.instance / "audit.key"

    @property
    def seals(self) -> Path:
        """The folder of the daily seals of the audit trail."""
        return self.instance / "seals"


#: The least and the most of each number.
BOUNDS: Final[Mapping[str, tuple[int, int]]] = {
    "workers": (1, 64),
    "threads": (1, 128),
    "trusted_proxies": (0, 10),
    "requests_per_minute": (1, 10_000_000),
    "logins_per_minute": (1, 10_000),
    "session_hours": (1, 24 * 7),
    "idle_minutes": (1, 24 * 60),
    "logins_before_lock": (1, 100),
    "lock_minutes": (1, 24 * 60),
    "activation_days": (1, 90),
    "emergency_minutes": (1, 24 * 60),
    "reminder_seconds": (0, 3600),
}
LOG_LEVELS: Final = ("debug", "info", "warning", "error")
NAMES: Final = tuple(field.name for field in fields(Settings) if field.name != "instance")


def load_settings(environment: Mapping[str, str]) -> Settings:
    """The settings of an environment and of the `config.toml` of its instance folder; raises InvalidSettings."""
    instance = Path(environment.get("TITRATOR_INSTANCE") or "instance").absolute()
    file = instance / "config.toml"
    faults: list[Fault] = []
    chosen: dict[str, Any] = {}
    for name, value in _read(file, faults).items():
        if name in NAMES:
            _choose(chosen, name, value, f"{file}: {name}", faults)
        else:
            faults.append(Fault(f"{file}: {name}", f"unknown setting; there are {', '.join(NAMES)}"))
    for name in NAMES:
        variable = f"TITRATOR_{name.upper()}"
        if environment.get(variable):
            _choose(chosen, name, environment[variable], variable, faults)
    if faults:
        raise InvalidSettings(faults)
    return Settings(instance=instance, **chosen)


def _read(file: Path, faults: list[Fault]) -> dict[str, object]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        faults.append(Fault(str(file), f"cannot be read: {error}"))
        return {}


def _choose(chosen: dict[str, Any], name: str, value: object, path: str, faults: list[Fault]) -> None:
    read: Callable[[object, str], tuple[object, str | None]] = _number if name in BOUNDS else _text
    found, wrong = read(value, name)
    if wrong is None:
        chosen[name] = found
    else:
        faults.append(Fault(path, wrong))


def _number(value: object, name: str) -> tuple[object, str | None]:
    least, most = BOUNDS[name]
    number = int(value) if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10 else value
    if isinstance(number, int) and not isinstance(number, bool) and least <= number <= most:
        return number, None
    return None, f"must be a whole number from {least} to {most}"


def _text(value: object, name: str) -> tuple[object, str | None]:
    if not isinstance(value, str):
        return None, "must be a text"
    if name == "log_level" and value not in LOG_LEVELS:
        return None, f"must be one of {', '.join(LOG_LEVELS)}"
    if name == "base_url" and not value.startswith(("http://", "https://")):
        return None, "must begin with http:// or https://"
    if name == "channel_schemes" and (unknown := sorted(set(value.split()) - SCHEMES)):
        return None, f"there is no {', '.join(unknown)}; known are {', '.join(sorted(SCHEMES))}"
    return value.rstrip("/") if name == "base_url" else value, None
