"""The guides to the service are true: each example is run, each table is that of the code."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from flask import Flask

import schemas
from schemas import (
    account,
    audit,
    cds_hooks,
    clinic,
    course,
    dose,
    event,
    fact,
    fields,
    imports,
    observation,
    patient,
    problem,
    protocol,
    recommendation,
    reminder,
    result,
    sign_off,
    timeline,
    worklist,
)
from tests.contract.receiver import Receiving, receiving
from tests.contract.served import NOW, Served, serving
from titrator.api.problems import FRAMEWORK, STATUS
from titrator.app import create_app
from titrator.security.permissions import PERMISSIONS, Permission, Role
from titrator.settings import Settings
from titrator.titration.course import entry_faults
from titrator.titration.documents import exact
from titrator.workflow.errors import Code, ProposalChanged
from titrator.workflow.record import EVENT_SUSPECTED
from titrator.workflow.reminders.work import beat
from titrator.workflow.visit import Policy

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
SOURCES = [file for room in ("workflow", "bulk", "api") for file in sorted((ROOT / "titrator" / room).rglob("*.py"))]
SOURCES.append(ROOT / "titrator" / "door.py")
#: The pages of the doors for hospital systems.
OF_SYSTEMS = ("fhir", "cds-hooks")
#: The address of FHIR, which tells it in what it sends, as the examples print it.
ANYWHERE = "http://127.0.0.1:8000/fhir"
PLAUSIBILITY = ROOT / "titrator" / "workflow" / "plausibility.py"
REST, ACCESS, PROBLEMS = ((DOCS / f"{name}.md").read_text(encoding="utf-8") for name in ("rest", "access", "problems"))
MODULES = (
    *(
        account,
        audit,
        cds_hooks,
        clinic,
        course,
        dose,
        event,
        fact,
        imports,
        observation,
        patient,
        problem,
        protocol,
        recommendation,
    ),
    *(reminder, result, sign_off, timeline, worklist),
)
SCHEMAS = {
    name: found
    for module in MODULES
    for name, found in vars(module).items()
    if isinstance(found, type) and issubclass(found, fields.Schema)
}


def table(text: str, first: str) -> list[list[str]]:
    """The rows of the table whose heading begins with a cell, as cells."""
    assert text.count(f"\n| {first} |") == 1, f"not one table with {first} first"
    after = text.split(f"\n| {first} |", 1)[1].split("\n\n")[0]
    return [cells(row) for row in after.rstrip().split("\n")[2:]]


def cells(row: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", row.strip())[1:-1]]


def ticked(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


# The examples


class Step(NamedTuple):
    """What is typed, and what is shown to come back."""

    command: str
    shown: str


def steps(text: str) -> list[Step]:
    found = []
    for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            lines = part.split("\n")
            typed = 1
            while lines[typed - 1].endswith("\\") or "\n".join(lines[:typed]).count("'") % 2:
                typed += 1
            found.append(Step("\n".join(lines[:typed]), "\n".join(lines[typed:]).strip()))
    return found


class Shell:
    """As much of a shell and of curl as the examples use; what the service tells others goes to a receiver."""

    def __init__(self, served: Served, receiver: Receiving) -> None:
        self.served, self.receiver = served, receiver
        bearer = {role: f"Authorization: Bearer {token}" for role, token in served.tokens.items()}
        self.variables = {
            "API": f"{served.url}/api/v1",
            "FHIR": f"{served.url}/fhir",
            "CDS": f"{served.url}/cds-services",
            "PHARMACIST": bearer[Role.PHARMACIST],
            "PRESCRIBER": bearer[Role.PRESCRIBER],
            "FEED": bearer[Role.EHR],
            "EHR": bearer[Role.EHR],
            "ADMIN": bearer[Role.ADMIN],
            "RECEIVER": receiver.url,
        }
        self.answers: list[str] = []

    def assign(self, command: str, alike: Alike) -> None:
        """`NAME=id`: what here stands for an id that an answer has shown."""
        name, _, shown = command.partition("=")
        self.variables[name] = alike.theirs[shown]

    def remind(self, command: str) -> str:
        """What `titrator remind --once` says, at the time of the server."""
        assert command == "titrator remind --once"
        told = beat(self.served.services, self.served.services.clock)
        return f"{told.planned} messages planned, {told.sent} sent, {told.failed} failed so far, {told.dead} given up."

    def curl(self, command: str) -> httpx.Response:
        words = shlex.split(re.sub(r"\\\n", " ", self.expanded(command)))
        assert words.pop(0) == "curl"
        method, body, headers, url = None, None, {}, ""
        while words:
            word = words.pop(0)
            if word == "-X":
                method = words.pop(0)
            elif word == "-H":
                name, _, value = words.pop(0).partition(": ")
                headers[name] = value
            elif word == "--json":
                body, headers["Content-Type"] = words.pop(0), "application/json"
            elif word not in ("-s", "-si"):
                assert not url, word
                url = word
        response = httpx.request(method or ("POST" if body else "GET"), url, content=body, headers=headers)
        if '"whsec_' in response.text:
            self.receiver.names["SECRET"] = response.json()["secret"]
        return response

    def expanded(self, command: str) -> str:
        """Variables outside single quotes are put in."""
        parts = command.split("'")
        parts[::2] = [re.sub(r"\$([A-Z]+)", lambda found: self.variables[found[1]], part) for part in parts[::2]]
        return "'".join(parts)


class Alike:
    """Two texts that differ only by chance: ids, instants, secrets, digests of proposals, which cover an id, uuids."""

    CHANCE = re.compile(
        r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b|\b[0-9a-f]{20}\b|\b[0-9a-f]{16}\b|titr_[\w.-]+|\d{4}-\d\d-\d\dT[\d:.]+Z"
        r'|(?<="proposal_sha256": ")[0-9a-f]{64}|\bmsg_[0-9a-f]{32}\b|whsec_[\w.+/=]+'
    )

    def __init__(self) -> None:
        self.theirs: dict[str, str] = {}

    def check(self, shown: str, sent: str) -> None:
        assert self.CHANCE.sub("*", shown) == self.CHANCE.sub("*", sent)
        for mine, theirs in zip(self.CHANCE.findall(shown), self.CHANCE.findall(sent), strict=True):
            if len(mine) in (20, 36, 64):
                assert self.theirs.setdefault(mine, theirs) == theirs, mine


def compare(text: str, shell: Shell) -> None:
    """Run the examples of a page: status, headers shown, and every key of the body must be those that are printed."""
    alike, here = Alike(), shell.variables["FHIR"]
    assert len(steps(text)) > 3
    for command, printed in steps(text.replace(ANYWHERE, here)):
        shown = printed
        if command.startswith("titrator"):
            assert shown == shell.remind(command)
            continue
        if not command.startswith("curl"):
            shell.assign(command, alike)
            continue
        response = shell.curl(command)
        if " -si " in command:
            head, _, shown = shown.partition("\n\n")
            first, *headers = head.split("\n")
            assert first.startswith(f"HTTP/1.1 {response.status_code} "), command
            for header in headers:
                name, _, value = header.partition(": ")
                alike.check(value, response.headers[name])
        else:
            assert response.is_success, (command, response.text)
        if shown or response.text:
            alike.check(flat(json.loads(shown)), flat(response.json()))


@pytest.mark.parametrize("text", [REST, ACCESS], ids=["rest.md", "access.md"])
def test_the_examples_are_what_comes_back(text: str, tmp_path: Path) -> None:
    """Status, headers shown, and every key of the body; the same id here is the same id there."""
    with receiving() as receiver, serving(tmp_path) as served:
        compare(text, Shell(served, receiver))


def flat(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def test_the_examples_are_of_the_day_on_which_the_tests_are() -> None:
    """Or `today` would mean two things."""
    assert {instant[:10] for instant in re.findall(r'(?<!next)_at": "([^"]+T[^"]+)"', REST)} == {NOW.date().isoformat()}


# The routes


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Flask:
    return create_app(Settings(instance=tmp_path_factory.mktemp("guides"), log_level="error"))


@pytest.fixture(scope="module")
def described(app: Flask) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(app.test_client().get("/openapi.json").data)
    return document


COLLECTIONS = ("weights", "platelet-counts", "observations", "doses", "events")


def told_routes() -> Iterator[tuple[str, str, str]]:
    for method, path, permission, _ in table(REST, "Method"):
        for collection in COLLECTIONS if "{collection}" in path else [""]:
            said = "none" if permission == "none" else ticked(permission)[0]
            yield ticked(method)[0], ticked(path)[0].replace("{collection}", collection), said


def test_every_route_is_told_with_its_permission_and_none_else(described: dict[str, Any]) -> None:
    there = {
        (method.upper(), path.removeprefix("/api/v1"), _permission(operation))
        for path, operations in described["paths"].items()
        for method, operation in operations.items()
        if method in {"get", "post", "put", "patch", "delete"}
    }
    told = list(told_routes())
    assert len(told) == len(set(told))
    assert set(told) == there


def test_a_key_for_repeating_is_offered_where_it_is_heeded(described: dict[str, Any]) -> None:
    """At each POST with a token, but where a password, a code or a file is sent or a channel tried; nowhere else."""
    for path, operations in described["paths"].items():
        for method in {"get", "post", "put", "patch", "delete"} & operations.keys():
            named = {one["name"] for one in operations[method].get("parameters", []) if one["in"] == "header"}
            apart = "/me/" in path or path.endswith(("/imports", "/channels/{channel_id}/test"))
            heeded = method == "post" and _permission(operations[method]) != "none" and not apart
            assert ("Idempotency-Key" in named) is heeded, (method, path)


def _permission(operation: dict[str, Any]) -> str:
    found = re.search(r"`([^`]+)`", operation.get("description", ""))
    return found[1] if found else "none"


# The fields


class Told(NamedTuple):
    """A table of fields: of which schemas, and for each key whether it is required and what it says."""

    schemas: list[str]
    rows: dict[str, tuple[str, str]]


def told_fields(text: str) -> Iterator[Told]:
    """Each table of fields, under the bold line that names its schemas."""
    named: list[str] = []
    lines = iter(text.split("\n"))
    for line in lines:
        if line.startswith("**"):
            named = ticked("".join(re.findall(r"^\*\*[^*]+\*\* \(([^)]+)\)", line)))
        if line == "| Key | Required | Value |":
            assert next(lines) == "|---|---|---|"
            rows: dict[str, tuple[str, str]] = {}
            while (row := next(lines, "")).startswith("|"):
                keys, required, value = cells(row)
                rows |= dict.fromkeys(ticked(keys), (required, value))
            assert named, row
            yield Told(named, rows)
            named = []


TOLD = [*told_fields(REST), *told_fields(ACCESS)]
#: What many schemas have, told once.
COMMON = (fact.FactIn, fact.FactOut, recommendation.Answer, reminder.ReminderOut, reminder.CalendarOut)


def own_fields(name: str) -> dict[str, Any]:
    """The fields of a schema but those that are told of its kind."""
    schema = SCHEMAS[name]
    common = {key for base in COMMON if issubclass(schema, base) and schema is not base for key in base().fields}
    if name.endswith("Correction"):
        common.add("reason")
    return {key: field for key, field in schema().fields.items() if key not in common}


@pytest.mark.parametrize("told", TOLD, ids=lambda told: told.schemas[0])
def test_a_table_has_the_fields_of_its_schemas(told: Told) -> None:
    for name in told.schemas:
        assert set(told.rows) == set(own_fields(name)), name
        if name.endswith("Out") and len(told.schemas) > 1:
            continue
        required = {key for key, field in own_fields(name).items() if field.required}
        assert {key for key, (said, _) in told.rows.items() if said == "yes"} == required, name
        assert {said for said, _ in told.rows.values()} <= {"yes", "no"}


@pytest.mark.parametrize("told", TOLD, ids=lambda told: told.schemas[0])
def test_a_table_tells_the_bounds_of_what_is_sent(told: Told) -> None:
    """Choices by name, lengths and numbers where they are not those that the page says of all."""
    name = told.schemas[0]
    if name.endswith("Out") or name in NOT_SENT:
        return
    for key, (_, value) in told.rows.items():
        field = own_fields(name)[key]
        inner = field.inner if isinstance(field, fields.Many) else field
        if isinstance(inner, fields.Choice):
            assert set(inner.options) <= set(ticked(value)), key
        if isinstance(field, fields.Many) and field.most not in (100, 7):
            assert str(field.most) in value, key
        if isinstance(field, fields.Text) and field.longest != 200:
            assert str(field.longest) in value, key
        if isinstance(field, fields.Text) and field.shortest != 1:
            assert str(field.shortest) in value, key
        if isinstance(field, fields.Amount | fields.Whole) and name not in ("WeightIn", "CountIn"):
            assert f"{field.least} to {field.most}" in value or f"above {field.least}, at most {field.most}" in value, (
                key
            )


#: Sent by the service only, under names that do not end in Out.
NOT_SENT = {
    "Problem",
    "PatientPage",
    "NextDose",
    "FactName",
    "CourseName",
    "Timeline",
    "TimelineEntry",
    *("Reminders", "ReminderTold", "ChannelMade", "ChannelTested", "CalendarMade"),
    *("DecisionEvidence", "Reopened", "BatchAnswer", "UnmatchedOuts"),
    *("Worklist", "WorklistLine", "AmountsOfDose", "AnswerInShort", "DecisionInShort", "SideBySide", "FactToVerify"),
} | {
    *("FactorBegun", "RecoveryCodes"),
    *("ImportReport", "ImportToVerify"),
    *("Protocols", "ProtocolRefused", "Me", "Invited", "TokenIssued", "AuditEntry", "AuditPage"),
}


@pytest.mark.parametrize(
    ("name", "entries", "unit"), [("WeightIn", "weights", "kg"), ("CountIn", "platelet_counts", "10*9/L")]
)
def test_the_bounds_of_weights_and_counts_are_those_of_the_engine(name: str, entries: str, unit: str) -> None:
    told = next(one for one in TOLD if one.schemas[0] == name)
    low, high = re.findall(r"[\d.]+", told.rows["value"][1].split("from")[1].rstrip("."))
    day = "measured_on" if entries == "weights" else "collected_on"
    for number, fits in ((low, True), (high, True), (f"{high}.01", False), (f"{float(low) - 0.01:.2f}", False)):
        entry = exact({day: "2026-11-16", "value": float(number), "unit": unit})
        assert (not entry_faults(entries, entry)) is fits, number  # type: ignore[arg-type]


def test_changes_of_a_course_are_told_with_their_fields(described: dict[str, Any]) -> None:
    told = {}
    for routes, schema, beside in table(REST, "To"):
        keys = {key for key in ticked(beside) if re.fullmatch(r"[a-z_]+", key)}
        required = {key for key in keys if f"`{key}` (required)" in beside}
        told[ticked(schema)[0]] = (keys, required, {route.rpartition("/")[2] for route in ticked(routes)})
    there: dict[str, tuple[set[str], set[str], set[str]]] = {}
    for path, operations in described["paths"].items():
        if "/course/" in path:
            content = operations["post"]["requestBody"]["content"]["application/json"]["schema"]["$ref"]
            name = content.rpartition("/")[2]
            schema = SCHEMAS[name]().fields
            keys = set(schema) - {"reason"}
            required = {key for key in keys if schema[key].required}
            there.setdefault(name, (keys, required, set()))[2].add(path.rpartition("/")[2])
    assert told == there


def test_every_schema_of_the_service_has_its_table(described: dict[str, Any]) -> None:
    """But for the course document and the answer, that have pages of their own, and lists, that are nothing else."""
    elsewhere = {"CourseDocument", "WeightPart", "CountPart", "DosePart", "EventPart"} | {
        *("Answer", "Statement", "Vials", "DoseOfAnswer", "EvidencePart", "ProtocolPart"),
        *("ReasonIn", "EligibilityIn", "ProtocolSwitch", "NewBaseline", "Discontinuation"),
        "PaginationMetadata",
    }
    named = described["components"]["schemas"]
    lists = {name for name, schema in named.items() if set(schema.get("properties", ())) == {"items"}}
    queries = {name for name in SCHEMAS if name.endswith("Query") and name != "NextDoseQuery"}
    told = [name for one in TOLD for name in one.schemas]
    assert len(told) == len(set(told))
    assert set(told) - {"FactIn", "FactOut"} == (set(named) | queries) - lists - elsewhere


#: Modules of the contract that other pages tell, and the test that holds each to its page.
ELSEWHERE = {"fhir": "test_fhir_page.py"}


def test_every_module_of_the_contract_is_looked_at() -> None:
    """Here, or by the test of its own page, which imports it."""
    there = {file.stem for file in Path(schemas.__file__).parent.glob("*.py")} - {"__init__", "fields"}
    assert there == {module.__name__.rpartition(".")[2] for module in MODULES} | set(ELSEWHERE)
    for module, test in ELSEWHERE.items():
        source = (Path(__file__).parent / test).read_text(encoding="utf-8")
        assert re.search(rf"^from schemas(\.{module}\b| import .*\b{module}\b)", source, re.MULTILINE), test


# Roles and permissions


def test_the_table_of_permissions_is_the_one_that_decides() -> None:
    heading = cells(next(line for line in ACCESS.split("\n") if line.startswith("| Permission | `")))
    roles = [Role(ticked(cell)[0]) for cell in heading[1:]]
    assert roles == list(Role)
    rows = ACCESS.split("| Permission | `", 1)[1].split("\n\n")[0].split("\n")[2:]
    told: dict[Role, set[str]] = {role: set() for role in roles}
    for row in rows:
        permission, *marks = cells(row)
        assert set(marks) <= {"yes", ""}
        for role, mark in zip(roles, marks, strict=True):
            if mark:
                told[role].add(ticked(permission)[0])
    assert told == {role: set(map(str, allowed)) for role, allowed in PERMISSIONS.items()}
    assert len(rows) == len(Permission)


def test_each_permission_and_each_role_is_explained() -> None:
    explained = re.findall(r"^\| `([a-z:-]+)` \| To ", ACCESS, re.MULTILINE)
    assert explained == list(map(str, Permission))
    assert [ticked(row[0])[0] for row in table(ACCESS, "Role")] == list(map(str, Role))


@pytest.mark.parametrize("row", table(ACCESS, "What"), ids=lambda row: row[2])
def test_spans_of_access_are_the_defaults(row: list[str]) -> None:
    _, after, setting = row
    name = ticked(setting)[0].removeprefix("TITRATOR_").lower()
    default = getattr(Settings(instance=Path("instance")), name)
    assert after.split()[0] == str(default)
    assert name.split("_")[-1] in (after.split()[-1], after.split()[-1] + "s", "lock", "minute") or after.isdigit()


def test_the_policy_without_settings_is_the_same() -> None:
    settings, policy = Settings(instance=Path("instance")), Policy()
    assert policy == Policy(
        session_seconds=settings.session_hours * 3600,
        idle_seconds=settings.idle_minutes * 60,
        logins_before_lock=settings.logins_before_lock,
        lock_seconds=settings.lock_minutes * 60,
        activation_seconds=settings.activation_days * 86400,
        glass_seconds=settings.emergency_minutes * 60,
        second_factor_roles=settings.roles_with_second_factor,
    )


# Problems


def test_every_code_of_a_problem_is_told_and_none_else() -> None:
    told = [ticked(row[0])[0] for row in table(PROBLEMS, "Code")]
    assert told == sorted(map(str, Code))


def test_the_statuses_of_problems_are_those_of_the_code() -> None:
    """By the kind of refusal that each code is raised with, and by what the framework refuses."""
    told = {ticked(row[0])[0]: int(row[1]) for row in table(PROBLEMS, "Code")}
    there = {str(kind.code): int(status) for kind, status in STATUS.items() if hasattr(kind, "code")}
    sources = "".join(file.read_text(encoding="utf-8") for file in SOURCES)
    for kind, status in STATUS.items():
        raised = re.findall(rf"\b{kind.__name__}\((?:[^()]|\([^()]*\))*?\bCode\.([A-Z_]+)", sources)
        there |= {str(Code[name]): int(status) for name in raised}
    questions = set(re.findall(r"Code\.([A-Z_]+)", PLAUSIBILITY.read_text(encoding="utf-8")))
    there |= {str(Code[name]): 422 for name in questions}
    there |= {str(code): status for status, code in FRAMEWORK.items() if status != 400}
    there |= {str(Code.PROPOSAL_CHANGED): int(STATUS[ProposalChanged])}
    assert told == there | {"INTERNAL": 500}


def test_codes_that_the_guides_name_are_there() -> None:
    """Of problems, or of answers."""
    answers = set(re.findall(r"`([A-Z]+(?:-[A-Z]+)+)`", (DOCS / "codes.md").read_text(encoding="utf-8")))
    for text in (REST, ACCESS, PROBLEMS, *((DOCS / f"{name}.md").read_text(encoding="utf-8") for name in OF_SYSTEMS)):
        named = set(re.findall(r"`([A-Z]{3,}(?:-[A-Z]{2,})+)`", text))
        assert named <= set(map(str, Code)) | answers | {"YYYY-MM-DD", EVENT_SUSPECTED}
