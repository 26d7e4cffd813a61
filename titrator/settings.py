"""Settings: what an installation may choose. docs/settings.md lists each with its default.

Each has a name in `instance/config.toml` and, in capitals after TITRATOR_, one in the environment, which goes first.
What takes tables stands in the file only.
"""

from __future__ import annotations

import ipaddress
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from titrator.notify.schemes import SCHEMES
from titrator.security.permissions import Role
from titrator.titration.errors import Fault, InvalidInput
from titrator.workflow.feeds import MEANINGS, Authority, Feed
from titrator.workflow.measured import differ


class InvalidSettings(InvalidInput):
    """Settings with faults."""


class CdsClient(NamedTuple):
    """A program that may call the CDS services: its issuer, the username of its account, and where its keys are.

    Exactly one of the last two is there; a file is absolute.
    """

    issuer: str
    account: str
    jwks_url: str | None
    jwks_file: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """`instance` is the folder of this installation; numbers are seconds, minutes or counts as their names say."""

    instance: Path
    database: str = ""
    database_connections: int = 12
    database_wait_seconds: int = 5
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
    second_factor_roles: str = ""
    reminder_seconds: int = 20
    channel_schemes: str = ""
    cds_protocols: str = ""
    cds_clients: tuple[CdsClient, ...] = ()
    cors_origins: str = ""
    fhir_servers: str = ""
    hl7_feeds: tuple[Feed, ...] = ()
    mllp_certificate: str = ""
    mllp_key: str = ""
    mllp_client_ca: str = ""
    mllp_processes: int = 2
    mllp_connections: int = 64
    mllp_idle_seconds: int = 3600
    mllp_frame_seconds: int = 30
    mllp_frame_bytes: int = 1_000_000
    log_level: str = "info"

    @property
    def schemes(self) -> frozenset[str]:
        """The schemes that the address of a channel may have: all that are known, or those of the setting."""
        return frozenset(self.channel_schemes.split()) if self.channel_schemes else SCHEMES

    @property
    def roles_with_second_factor(self) -> frozenset[str]:
        """The roles of those who must have a second factor."""
        return frozenset(self.second_factor_roles.split())

    @property
    def offered_protocols(self) -> frozenset[str]:
        """The ids of the protocols that CDS services are offered for; none for all that are usable."""
        return frozenset(self.cds_protocols.split())

    @property
    def allowed_origins(self) -> frozenset[str]:
        """The origins of pages in browsers that may call, each as it stands in the header Origin."""
        return frozenset(self.cors_origins.split())

    @property
    def known_fhir_servers(self) -> frozenset[str]:
        """The base URLs, without a slash at the end, that data may be fetched from as a CDS call allows."""
        return frozenset(self.fhir_servers.split())

    @property
    def mllp_files(self) -> tuple[Path, Path, Path] | None:
        """Certificate, key and the authority of client certificates of MLLP over TLS; None where it is without.

        It needs all three: a server that let any client in would look as safe as one that does not. InvalidSettings.
        """
        files = {"mllp_certificate": self.mllp_certificate, "mllp_key": self.mllp_key}
        files["mllp_client_ca"] = self.mllp_client_ca
        there = [name for name, file in files.items() if file]
        if not there:
            return None
        if missing := [name for name in files if name not in there]:
            raise InvalidSettings([Fault(name, f"required with {there[0]}") for name in missing])
        certificate, key, authority = (self.instance / file for file in files.values())
        return certificate, key, authority

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
        """The database: by default a file of the instance folder; else a path, or a URL of sqlite or postgresql."""
        return self.database or str(self.instance / "titrator.db")

    @property
    def key_file(self) -> Path:
        """The file of the audit key: by default in the instance folder, beside the database but never in it."""
        return Path(self.audit_key_file) if self.audit_key_file else self.instance / "audit.key"

    @property
    def imports(self) -> Path:
        """The folder of files that are being imported."""
        return self.instance / "imports"

    @property
    def seals(self) -> Path:
        """The folder of the daily seals of the audit trail."""
        return self.instance / "seals"


#: The least and the most of each number.
BOUNDS: Final[Mapping[str, tuple[int, int]]] = {
    "database_connections": (1, 1000),
    "database_wait_seconds": (1, 300),
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
    "mllp_processes": (1, 64),
    "mllp_connections": (1, 1000),
    "mllp_idle_seconds": (1, 7 * 86400),
    "mllp_frame_seconds": (1, 600),
    "mllp_frame_bytes": (1000, 10_000_000),
}
LOG_LEVELS: Final = ("debug", "info", "warning", "error")
#: What takes tables, and so stands in the file only.
TABLES: Final = ("cds_clients", "hl7_feeds")
NAMES: Final = tuple(field.name for field in fields(Settings) if field.name not in {"instance", *TABLES})

_PORTS: Final = {"https": "443", "http": "80"}
_NAME: Final = r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\]"
_URL: Final = re.compile(
    rf"(?P<origin>(?P<scheme>https?)://(?P<host>{_NAME})(?::(?P<port>[1-9][0-9]{{0,4}}))?)(?P<rest>/[!\"$-~]*)?"
)
#: A system has no password, and so no second factor.
_PEOPLE: Final = tuple(str(role) for role in Role if role is not Role.EHR)
_PROTOCOL: Final = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")


def load_settings(environment: Mapping[str, str]) -> Settings:
    """The settings of an environment and of the `config.toml` of its instance folder; raises InvalidSettings."""
    instance = Path(environment.get("TITRATOR_INSTANCE") or "instance").absolute()
    file = instance / "config.toml"
    faults: list[Fault] = []
    chosen: dict[str, Any] = {}
    for name, value in _read(file, faults).items():
        path = f"{file}: {name}"
        if name in NAMES:
            _choose(chosen, name, partial(_plain, name, value), path, faults)
        elif name == "cds_clients":
            _choose(chosen, name, partial(_clients, value, instance), path, faults)
        elif name == "hl7_feeds":
            _choose(chosen, name, partial(_feeds, value), path, faults)
        else:
            faults.append(Fault(path, f"unknown setting; there are {', '.join(NAMES + TABLES)}"))
    for name in NAMES:
        variable = f"TITRATOR_{name.upper()}"
        if value := environment.get(variable):
            _choose(chosen, name, partial(_plain, name, value), variable, faults)
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


def _choose(chosen: dict[str, Any], name: str, read: Callable[[], object], path: str, faults: list[Fault]) -> None:
    """Read a value into `chosen`, or its faults, whose paths begin within the value, into `faults`."""
    try:
        chosen[name] = read()
    except InvalidSettings as error:
        faults += (Fault(path + fault.path, fault.message) for fault in error.faults)


def _wrong(message: str) -> InvalidSettings:
    return InvalidSettings([Fault("", message)])


# What follows reads one value each and raises InvalidSettings.


def _plain(name: str, value: object) -> object:
    if name in BOUNDS:
        return _number(value, *BOUNDS[name])
    text = _text(value)
    return _TEXTS[name](text) if name in _TEXTS else text


def _number(value: object, least: int, most: int) -> int:
    number = int(value) if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10 else value
    if isinstance(number, int) and not isinstance(number, bool) and least <= number <= most:
        return number
    raise _wrong(f"must be a whole number from {least} to {most}")


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise _wrong("must be a text")
    return value


def _log_level(value: str) -> str:
    if value not in LOG_LEVELS:
        raise _wrong(f"must be one of {', '.join(LOG_LEVELS)}")
    return value


def _base_url(value: str) -> str:
    if not value.startswith(("http://", "https://")):
        raise _wrong("must begin with http:// or https://")
    return value.rstrip("/")


def _channel_schemes(value: str) -> str:
    if unknown := sorted(set(value.split()) - SCHEMES):
        raise _wrong(f"there is no {', '.join(unknown)}; known are {', '.join(sorted(SCHEMES))}")
    return value


def _each(read: Callable[[str], str], value: str) -> str:
    """Texts with spaces between, each read by itself."""
    found: dict[str, Any] = {}
    faults: list[Fault] = []
    for index, part in enumerate(value.split()):
        _choose(found, str(index), partial(read, part), f"[{index}]", faults)
    if faults:
        raise InvalidSettings(faults)
    return " ".join(found.values())


def _protocol(value: str) -> str:
    if not _PROTOCOL.fullmatch(value):
        raise _wrong("must be the id of a protocol")
    return value


def _role_of_people(value: str) -> str:
    if value not in _PEOPLE:
        raise _wrong(f"must be one of {', '.join(_PEOPLE)}")
    return value


def _origin(value: str) -> str:
    parts = _url(value)
    if parts["rest"] or parts["origin"] != parts["origin"].lower() or parts["port"] == _PORTS[parts["scheme"]]:
        raise _wrong("must be as browsers write it: in lower case, without a path and without the usual port")
    return value


def _fhir_server(value: str) -> str:
    if "?" in value:
        raise _wrong("must have no ?")
    return _url(value)[0].rstrip("/")


def _url(value: str) -> re.Match[str]:
    """A URL that others can neither read along nor change. Faults do not quote it: it may hold a login."""
    parts = _URL.fullmatch(value)
    if parts is None or int(parts["port"] or 1) > 65535 or (parts["host"][0] == "[" and not _address(parts["host"])):
        raise _wrong("must be a URL of scheme, host and path, without a login and without #")
    if parts["scheme"] == "http" and not _loopback(parts["host"]):
        raise _wrong("must begin with https://; http:// only to this computer")
    return parts


def _loopback(host: str) -> bool:
    address = _address(host)
    return host == "localhost" or (address is not None and address.is_loopback)


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None


def _clients(value: object, instance: Path) -> tuple[CdsClient, ...]:
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise _wrong("must be tables, each under [[cds_clients]]")
    found: dict[str, Any] = {}
    faults: list[Fault] = []
    for index, table in enumerate(value):
        _choose(found, str(index), partial(_client, table, instance), f"[{index}]", faults)
    issuers = [table.get("issuer") for table in value]
    for index, issuer in enumerate(issuers):
        if isinstance(issuer, str) and issuer in issuers[:index]:
            faults.append(Fault(f"[{index}].issuer", "stands twice"))
    if faults:
        raise InvalidSettings(faults)
    return tuple(found.values())


def _client(table: Mapping[str, object], instance: Path) -> CdsClient:
    faults = list(_client_faults(table))
    found: dict[str, Any] = dict.fromkeys(CdsClient._fields)
    for name in table.keys() & found.keys():
        read = partial(_client_url if name == "jwks_url" else _filled, table[name])
        _choose(found, name, read, f".{name}", faults)
    if faults:
        raise InvalidSettings(sorted(faults))
    file = found["jwks_file"]
    return CdsClient(**found | {"jwks_file": instance / file if file else None})


def _client_faults(table: Mapping[str, object]) -> Iterator[Fault]:
    """What is missing or too much."""
    for name in table.keys() - set(CdsClient._fields):
        yield Fault(f".{name}", f"unknown; there are {', '.join(CdsClient._fields)}")
    for name in {"issuer", "account"} - table.keys():
        yield Fault(f".{name}", "required")
    if len({"jwks_url", "jwks_file"} & table.keys()) != 1:
        yield Fault("", "must have either jwks_url or jwks_file")


def _client_url(value: object) -> str:
    return _url(_text(value))[0]


def _filled(value: object) -> str:
    text = _text(value)
    if not text or text != text.strip():
        raise _wrong("must have a text, without spaces around it")
    return text


def _feeds(value: object) -> tuple[Feed, ...]:
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise _wrong("must be tables, each under [[hl7_feeds]]")
    found: dict[str, Any] = {}
    faults: list[Fault] = []
    for index, table in enumerate(value):
        _choose(found, str(index), partial(_feed, table), f"[{index}]", faults)
    if not faults:
        faults += _twins(list(found.values()))
    if faults:
        raise InvalidSettings(faults)
    return tuple(found.values())


def _twins(feeds: list[Feed]) -> Iterator[Fault]:
    """Feeds of one name, and those of which a message might be of either."""
    for index, one in enumerate(feeds):
        for other in feeds[:index]:
            if one.name == other.name:
                yield Fault(f"[{index}].name", "stands twice")
            same_senders = all(
                None in both or both[0] == both[1]
                for both in ((one.application, other.application), (one.facility, other.facility))
            )
            meet = any(a.version == b.version and a.overlaps(b) for a in one.peers for b in other.peers)
            if same_senders and (meet or one.account == other.account):
                said = f"cannot be told from {other.name}: peers or account are the same, so application or facility"
                yield Fault(f"[{index}]", f"{said} must differ")


def _feed(table: Mapping[str, object]) -> Feed:
    readers: dict[str, Callable[[object], object]] = {
        "name": _feed_name,
        "peers": _peers,
        "identifiers": partial(_each_table, _authority),
        "codes": _codes,
        "units": _units,
        "silence_hours": lambda value: _number(value, 0, 24 * 90),
        "time_zone": _zone,
    }
    faults = [
        *(Fault(f".{name}", f"unknown; there are {', '.join(Feed._fields)}") for name in table.keys() - Feed._fields),
        *(Fault(f".{name}", "required") for name in sorted(_OF_FEED - table.keys())),
    ]
    found: dict[str, Any] = {}
    for name in [one for one in Feed._fields if one in table]:
        _choose(found, name, partial(readers.get(name, _filled), table[name]), f".{name}", faults)
    if faults:
        raise InvalidSettings(sorted(faults))
    return Feed(**found)


_OF_FEED: Final = frozenset({"name", "account", "peers", "identifiers"})
_FEED_NAME: Final = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*", re.ASCII)


def _feed_name(value: object) -> str:
    text = _text(value)
    if not _FEED_NAME.fullmatch(text) or len(text) > 40:
        raise _wrong("must be of small letters, digits and -, at most 40")
    return text


def _peers(value: object) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    if not isinstance(value, list):
        raise _wrong("must be a list of addresses and networks")
    found: dict[str, Any] = {}
    faults: list[Fault] = []
    for index, one in enumerate(value):
        _choose(found, str(index), partial(_network, one), f"[{index}]", faults)
    if faults:
        raise InvalidSettings(faults)
    return tuple(found.values())


def _network(value: object) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(_text(value))
    except ValueError:
        raise _wrong("must be an IP address, or a network like 10.1.0.0/24 without bits of hosts") from None


def _each_table(read: Callable[[Mapping[str, object]], object], value: object) -> tuple[Any, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(one, dict) for one in value):
        raise _wrong("must be a list of tables, and have one at least")
    found: dict[str, Any] = {}
    faults: list[Fault] = []
    for index, one in enumerate(value):
        _choose(found, str(index), partial(read, one), f"[{index}]", faults)
    if faults:
        raise InvalidSettings(faults)
    return tuple(found.values())


def _row(table: Mapping[str, object], required: tuple[str, ...], optional: tuple[str, ...] = ()) -> dict[str, str]:
    """A table of texts, without names that are not known; a `system` may be empty."""
    names = (*required, *optional)
    faults = [Fault(f".{name}", f"unknown; there are {', '.join(names)}") for name in table.keys() - set(names)]
    faults += [Fault(f".{name}", "required") for name in required if name not in table]
    found: dict[str, Any] = {}
    for name in [one for one in names if one in table]:
        _choose(found, name, partial(_text if table[name] == "" else _filled, table[name]), f".{name}", faults)
    if faults:
        raise InvalidSettings(sorted(faults))
    return found


def _authority(table: Mapping[str, object]) -> Authority:
    row = _row(table, ("authority", "system"), ("type",))
    if not row["authority"] or not row["system"]:
        raise _wrong("authority and system must not be empty")
    return Authority(row["authority"], row.get("type") or None, row["system"])


def _codes(value: object) -> dict[tuple[str, str], str]:
    found: dict[tuple[str, str], str] = {}
    faults: list[Fault] = []
    for index, row in enumerate(_each_table(lambda table: _row(table, ("code", "system", "means")), value)):
        if row["means"] not in MEANINGS:
            faults.append(Fault(f"[{index}].means", f"must be one of {', '.join(MEANINGS)}"))
        if not row["code"] or row["system"] == "LN":
            faults.append(Fault(f"[{index}]", "must be a code of the laboratory's own; LOINC is known"))
        if found.setdefault((row["code"], row["system"]), row["means"]) != row["means"]:
            faults.append(Fault(f"[{index}]", "stands twice, and means something else"))
    if faults:
        raise InvalidSettings(faults)
    return found


def _units(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        raise _wrong("must be a table: how a unit is written, and which it is")
    found: dict[str, Any] = {}
    faults: list[Fault] = []
    for written, unit in value.items():
        _choose(found, written, partial(_filled, unit), f".{written}", faults)
        if written in found and differ(written, found[written]):
            faults.append(Fault(f".{written}", f"is another unit than {found[written]}"))
    if faults:
        raise InvalidSettings(faults)
    return found


def _zone(value: object) -> str:
    text = _text(value)
    try:
        ZoneInfo(text)
    except (OSError, ValueError, KeyError):
        raise _wrong("must be an IANA time zone, like Europe/Berlin") from None
    return text


_TEXTS: Final[Mapping[str, Callable[[str], str]]] = {
    "log_level": _log_level,
    "base_url": _base_url,
    "second_factor_roles": partial(_each, _role_of_people),
    "channel_schemes": _channel_schemes,
    "cds_protocols": partial(_each, _protocol),
    "cors_origins": partial(_each, _origin),
    "fhir_servers": partial(_each, _fhir_server),
}
