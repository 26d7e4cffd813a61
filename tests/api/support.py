"""An installation with two clinics, an account and a token for each role, and short ways to call it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache, cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple

from flask import Flask
from werkzeug.routing import Rule

from tests.backends import CHOSEN, new_store
from tests.support import CATALOGUE
from titrator.api.operations import Metrics
from titrator.app import create_app
from titrator.door import Door
from titrator.notify.log import LogChannel
from titrator.notify.schemes import SCHEMES
from titrator.notify.texts import Texts
from titrator.security.limits import Limit
from titrator.security.permissions import PERMISSIONS, Permission, Role
from titrator.security.secrets import new_id
from titrator.settings import Settings
from titrator.store.records import RECORDS, ApiClient, AuditRow, ChangeCount, Record
from titrator.store.rows import mapping
from titrator.workflow import accounts
from titrator.workflow.record import add_clinic
from titrator.workflow.visit import Actor, Policy, Services, Telling, Visit, instant, leave

API: Final = "/api/v1"
#: A Monday, noon in UTC.
NOON: Final = datetime(2026, 3, 9, 12, tzinfo=UTC)
TODAY: Final = NOON.date().isoformat()
PASSWORD: Final = "four quiet herons at dusk"
#: Tells nobody anything, but has all that it takes.
SILENT: Final = Telling(
    open_channel=lambda *_: LogChannel(lambda _: None),
    texts=cache(Texts.load),
    base_url="https://titrator.example",
    schemes=SCHEMES,
)
#: An account in each role in clinic A, and a pharmacist who is in clinic B only.
PEOPLE: Final = {**{str(role): role for role in Role}, "stranger": Role.PHARMACIST}
WHY: Final = {"reason": "because of a test"}
#: Answers what is asked of a dose that is recorded before there is a course.
BEFORE_COURSE: Final = {"confirm": ["DOSE-WITHOUT-COURSE"]}
COLLECTIONS: Final = ("weights", "platelet-counts", "observations", "doses", "events")


def day(ago: int) -> str:
    """The day so many days before TODAY."""
    return (NOON.date() - timedelta(days=ago)).isoformat()


@dataclass
class Clock:
    """A clock that goes on only when told to."""

    now: datetime = NOON

    def __call__(self) -> datetime:
        return self.now

    def on(self, **lapse: float) -> None:
        self.now += timedelta(**lapse)


class Answer(NamedTuple):
    """What came back: the status, the JSON with exact numbers, the headers, the text."""

    status: int
    json: Any
    headers: Mapping[str, str]
    text: str

    @property
    def code(self) -> str | None:
        """The code of a problem."""
        return self.json.get("code") if isinstance(self.json, dict) else None

    @property
    def faults(self) -> dict[str, str]:
        """The faults of a problem, by path."""
        return {fault["path"]: fault["message"] for fault in self.json["faults"]}

    @property
    def etag(self) -> str:
        return self.headers["ETag"]


@dataclass
class House:
    """An installation, and its callers by name."""

    services: Services
    clock: Clock
    app: Flask
    clinic: str
    other_clinic: str
    tokens: dict[str, str]
    ids: dict[str, str]
    made: int = field(default=0)

    @cached_property
    def routes(self) -> list[tuple[str, Rule, Permission | None]]:
        """Each route of the API: method, rule, permission."""
        return [
            (method, rule, getattr(self.app.view_functions[rule.endpoint], "permission", "none named"))  # type: ignore[misc]
            for rule in self.app.url_map.iter_rules()
            if rule.rule.startswith(API)
            for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})
        ]

    def call(
        self,
        who: str | None,
        method: str,
        path: str,
        body: object = None,
        *,
        version: object = None,
        raw: bytes | str | None = None,
        **headers: str,
    ) -> Answer:
        """Ask as somebody, by name or with a token; headers are named with _ for -. None asks as nobody."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if who is not None:
            sent["Authorization"] = f"Bearer {self.tokens.get(who, who)}"
        if version is not None:
            sent["If-Match"] = str(version) if str(version).startswith(('"', "*", "W")) else f'"{version}"'
        data = raw if raw is not None else None if body is None else json.dumps(body, default=_number)
        kind = {"content_type": sent.pop("Content-Type", "application/json")} if data is not None else {}
        elsewhere = ("/livez", "/readyz", "/metrics", "/fhir", "/cds-services", "/hl7", API)
        url = path if path.startswith(elsewhere) else API + path
        response = self.app.test_client().open(url, method=method, data=data, headers=sent, **kind)  # type: ignore[arg-type]
        text = response.get_data(as_text=True)
        as_json = response.mimetype.endswith(("/json", "+json")) and text != ""
        found = json.loads(text, parse_float=Decimal) if as_json else None
        return Answer(response.status_code, found, dict(response.headers), text)

    def get(self, path: str, who: str = "pharmacist") -> Any:
        """What is there; fails unless it is 200."""
        answer = self.call(who, "GET", path)
        assert answer.status == 200, answer.text
        return answer.json

    def post(self, path: str, body: object, who: str = "pharmacist", **headers: str) -> Any:
        """What a POST gives; fails unless it went well."""
        answer = self.call(who, "POST", path, body, **headers)
        assert answer.status in (200, 201), answer.text
        return answer.json

    def patient(self, who: str = "pharmacist", **particulars: object) -> str:
        """A new patient of the caller's clinic: the id."""
        self.made += 1
        clinic = self.other_clinic if who == "stranger" else self.clinic
        body: dict[str, object] = {
            "clinic": clinic,
            "family_name": f"Patient{self.made}",
            "given_name": "Ada",
            "born_on": "1960-05-01",
            "identifiers": [{"system": "urn:mrn", "value": f"{who}-{self.made}"}],
        }
        body |= particulars
        return str(self.post("/patients", {k: v for k, v in body.items() if v is not None}, who)["id"])

    def begun(self, started_ago: int = 35, protocol: str = "us-itp-adult") -> str:
        """A new patient on a course, of whom nothing else is recorded: the id."""
        ident = self.patient()
        self.post(f"/patients/{ident}/course", {"protocol": protocol, "started_on": day(started_ago)})
        return ident

    def on_course(self, started_ago: int = 35, kg: object = 75, protocol: str = "us-itp-adult") -> str:
        """A new patient on a course, weighed on its first day: the id."""
        ident = self.begun(started_ago, protocol)
        self.post(f"/patients/{ident}/weights", weight(started_ago, kg))
        return ident

    def record(self, patient: str, collection: str, body: object, who: str = "pharmacist") -> Answer:
        """The answer to an entry."""
        return self.call(who, "POST", f"/patients/{patient}/{collection}", body)

    def trail(self, chain: str = "system") -> list[AuditRow]:
        """The entries of a chain of the audit trail, in order."""
        with self.services.store.reading() as session:
            return [row for row in session.find(AuditRow, order=("chain", "seq")) if row.chain == chain]

    def everything(self) -> dict[str, list[tuple[object, ...]]]:
        """All rows of all tables but the trail's."""
        with self.services.store.reading() as session:
            return {
                kind.TABLE: session.values(kind, mapping(kind).columns, order=kind.KEY)
                for kind in RECORDS
                if not kind.TABLE.startswith("audit")
            }

    @contextmanager
    def visit(self) -> Iterator[Visit]:
        """A visit of an administrator past all doors, to set things up."""
        with self.services.store.writing() as session:
            actor = Actor("0" * 20, "setup", Role.ADMIN, frozenset(), PERMISSIONS[Role.ADMIN])
            visit = Visit(services=self.services, session=session, actor=actor, now=self.clock())
            yield visit
            leave(visit, session, visit.entries)

    def account(self, name: str, role: Role, *clinics: str) -> tuple[str, str]:
        """A new account, and a token of it: id and secret."""
        with self.visit() as visit:
            body = {"username": name, "display_name": name.title(), "role": str(role), "clinics": list(clinics)}
            account, _ = accounts.add_account(visit, body)
            issued = accounts.issue_token(visit, account.id, {"label": "tests", "days": 30})
        return account.id, issued.secret

    def scoped(self, *scopes: str, who: str = "ehr") -> str:
        """A token of an account, by its name, that a client got for some scopes."""
        with self.visit() as visit:
            account = accounts.find_account(visit, self.ids[who])
            client = ApiClient(
                id=new_id(),
                account_id=account.id,
                label="tests",
                jwks="{}",
                jwks_url=None,
                scopes=scopes,
                created_at=instant(visit.now),
                revoked_at=None,
            )
            visit.session.add(client)
            return accounts.issue_access(visit, account, client, scopes, 300).secret

    def with_services(self, **changed: Any) -> House:
        """The same installation, served with other services."""
        services = replace(self.services, **changed)
        return replace(self, services=services, app=create_app(_settings(Path(self.app.instance_path)), services))


def _number(value: object) -> float:
    """Decimals as JSON; a test that needs more digits than a float has sends raw text."""
    assert isinstance(value, Decimal)
    return float(value)


def _settings(folder: Path) -> Settings:
    return Settings(instance=folder, requests_per_minute=10_000_000, logins_per_minute=10_000, workers=1)


def build(folder: Path, policy: Policy | None = None, backend: str = CHOSEN) -> House:
    """An installation in a folder: with a real database, and a clock that stands still.

    Who is there was written once in this process, in a database of which each installation has a copy.
    """
    first = _furnished()
    if backend == "sqlite":
        (folder / "titrator.db").write_bytes(first.database)
    house = _empty(folder, policy or Policy(), backend)
    if backend != "sqlite":
        with house.services.store.writing(durable=False) as session:
            session.add(*first.records)
    house.clinic, house.other_clinic = first.clinics
    house.ids, house.tokens = dict(first.ids), dict(first.tokens)
    return house


class _Furnished(NamedTuple):
    """A database with clinics and accounts, and how they are named."""

    database: bytes
    records: list[Record]
    clinics: tuple[str, str]
    ids: dict[str, str]
    tokens: dict[str, str]


@cache
def _furnished() -> _Furnished:
    with TemporaryDirectory() as folder:
        house = _empty(Path(folder), Policy(), "sqlite")
        with house.visit() as visit:
            house.clinic, house.other_clinic = (
                add_clinic(visit, {"name": name, "time_zone": zone}).id
                for name, zone in (("Haematology A", "Europe/Berlin"), ("Haematology B", "America/New_York"))
            )
        for name, role in PEOPLE.items():
            clinics = (house.other_clinic,) if name == "stranger" else () if role is Role.ADMIN else (house.clinic,)
            house.ids[name], house.tokens[name] = house.account(name, role, *clinics)
        with house.services.store.reading() as session:
            records = [record for kind in RECORDS if kind is not ChangeCount for record in session.find(kind)]
        house.services.store.close()  # writes the log back: all of it is in one file then
        database = (Path(folder) / "titrator.db").read_bytes()
    return _Furnished(database, records, (house.clinic, house.other_clinic), house.ids, house.tokens)


def _empty(folder: Path, policy: Policy, backend: str) -> House:
    clock = Clock()
    services = Services(
        store=new_store(folder, backend),
        catalogue=CATALOGUE,
        audit_key=b"a key for tests, of 32 bytes.....",
        clock=clock,
        policy=policy,
        telling=SILENT,
        imports=folder / "imports",
    )
    return House(services, clock, _app(folder, services), "", "", {}, {})


_first_apps: Final[dict[Policy, Flask]] = {}


def _app(folder: Path, services: Services) -> Flask:
    """The app of an installation: a copy of the first of this process, with a door and counts of its own.

    Its routes and templates are those of the first: to make them anew takes longer than most tests do.
    """
    settings = _settings(folder)
    first = _first_apps.get(services.policy)
    if first is None:
        first = _first_apps[services.policy] = create_app(settings, services)
    app = copy(first)
    app.instance_path = str(folder)
    limits = Limit(settings.requests_per_minute), Limit(settings.logins_per_minute)
    door = Door(services=services, requests=limits[0], logins=limits[1])
    app.extensions = {**first.extensions, "titrator": door, "titrator.metrics": Metrics()}
    first.extensions.pop("titrator", None)  # or it would keep its installation
    return app


# Entries, with days told by how long ago they were


def weight(ago: int, value: object = 75, unit: str = "kg", **more: object) -> dict[str, object]:
    return {"measured_on": day(ago), "value": value, "unit": unit, **more}


def count(ago: int, value: object = 60, unit: str = "10*9/L", **more: object) -> dict[str, object]:
    return {"collected_on": day(ago), "value": value, "unit": unit, **more}


def observation(
    ago: int, value: object = 120, code: str = "haemoglobin", unit: str = "g/L", **more: object
) -> dict[str, object]:
    return {"observed_on": day(ago), "code": code, "value": value, "unit": unit, **more}


def dose(ago: int, micrograms: object = 75, **more: object) -> dict[str, object]:
    return {"given_on": day(ago), "micrograms": micrograms, **more}


def event(ago: int, kind: str = "rescue_therapy", **more: object) -> dict[str, object]:
    return {"kind": kind, "occurred_on": day(ago), **more}


def named(value: str, system: str = "urn:lab") -> dict[str, object]:
    """An external id."""
    return {"external_id": {"system": system, "value": value}}


#: An entry of each collection, by how long ago it was.
ENTRY: Final = {
    "weights": weight,
    "platelet-counts": count,
    "observations": observation,
    "doses": dose,
    "events": event,
}
