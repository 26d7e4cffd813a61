"""The commands on an installation that is not served, in this process: who may come in, the trail, backups."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import click
import pytest
from click.testing import CliRunner
from pyotp import TOTP

from tests.fhir.smart import key_set
from tests.support import words
from titrator.assembly import make_services
from titrator.cli import main
from titrator.security.permissions import Permission
from titrator.settings import NAMES, Settings
from titrator.workflow.accounts import activate, authenticate, login, prove
from titrator.workflow.clients import known
from titrator.workflow.errors import Unauthorised
from titrator.workflow.own_account import begin_factor, confirm_factor
from titrator.workflow.visit import Visit

PASSWORD = "seventeen green herons"
LINK = re.compile(r"http://\S+/activate/(titr_\S+)")


class Ran(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str


Run = Callable[..., Ran]


@pytest.fixture
def instance(tmp_path: Path) -> Path:
    return tmp_path / "instance"


@pytest.fixture
def titrator(instance: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object, stdin: str | None = None, **more: str) -> Ran:
        unset = dict.fromkeys(f"TITRATOR_{name.upper()}" for name in NAMES)
        environ = unset | {"TITRATOR_INSTANCE": str(instance), "COLUMNS": "140"} | more
        words = [str(argument) for argument in arguments]
        result = CliRunner(env=environ).invoke(main, words, input=stdin, catch_exceptions=False)
        return Ran(result.exit_code, result.stdout, result.stderr)

    return run


def done(ran: Ran) -> str:
    assert (ran.code, ran.err) == (0, "")
    return ran.out


def secret(text: str) -> str:
    found = LINK.search(text)
    assert found, text
    return found[1]


@pytest.fixture
def made(titrator: Run) -> Run:
    """An installation with a clinic."""
    done(titrator("init"))
    done(titrator("clinics", "add", "Day Unit", "--time-zone", "Europe/Berlin", "--injection-day", "monday"))
    return titrator


def rows(text: str) -> list[str]:
    return [line for line in map(words, text.splitlines()) if line]


def test_clinics_are_listed_as_they_were_added(titrator: Run) -> None:
    done(titrator("init"))
    assert "No clinics yet" in done(titrator("clinics", "list"))
    added = json.loads(
        done(titrator("clinics", "add", "A", "--time-zone", "Asia/Tokyo", "--holiday", "2026-12-25", "--json"))
    )
    assert (added["name"], added["holidays"], added["injection_days"]) == ("A", ["2026-12-25"], [])
    assert rows(done(titrator("clinics", "list")))[1:] == [f"A Asia/Tokyo any 1 {added['id']}"]
    assert json.loads(done(titrator("clinics", "list", "--json"))) == {"items": [added]}


def test_a_person_is_added_invited_changed_and_disabled(made: Run) -> None:
    added = done(made("users", "add", "Anna", "--name", "Anna Berg", "--role", "pharmacist", "--clinic", "Day Unit"))
    assert "anna (Anna Berg, pharmacist) added." in added
    assert secret(added) != secret(done(made("users", "invite", "anna")))
    assert rows(done(made("users", "list")))[1:] == [
        "admin Administrator admin none invited",
        "anna Anna Berg pharmacist Day Unit invited",
    ]
    done(made("users", "change", "ANNA", "--role", "prescriber", "--no-clinics", "--name", "A. Berg"))
    assert rows(done(made("users", "list")))[-1] == "anna A. Berg prescriber none invited"
    done(made("users", "disable", "anna"))
    assert rows(done(made("users", "list")))[-1] == "anna A. Berg prescriber none disabled"
    account = json.loads(done(made("users", "change", "anna", "--active", "--clinic", "Day Unit", "--json")))["account"]
    assert (account["active"], len(account["clinics"]), account["version"]) == (True, 1, 5)
    assert {line.split()[-1] for line in rows(done(made("tokens", "list", "anna")))[1:]} == {"UTC"}


def with_a_second_factor(instance: Path, link: str) -> str:
    """Have the one of a link set a password and a second factor up: the token of the session."""
    services = make_services(Settings(instance=instance))
    with services.store.writing() as session:
        visit = Visit(services=services, session=session, actor=None, now=services.clock())
        account = activate(visit, link, PASSWORD)
        assert account is not None
    proof = prove(services, account.username, PASSWORD)
    with services.store.writing() as session:
        visit = Visit(services=services, session=session, actor=None, now=services.clock())
        issued = login(visit, account.username, proof).issued
        assert issued is not None
    actor = authenticate(services, issued.secret)
    with services.store.writing() as session:
        visit = Visit(services=services, session=session, actor=actor, now=services.clock())
        begun = begin_factor(visit, proof)
        assert begun is not None
        assert confirm_factor(visit, TOTP(begun.secret).at(visit.now))
    services.store.close()
    return issued.secret


def test_the_only_administrator_gets_in_again_who_has_lost_his_second_factor(titrator: Run, instance: Path) -> None:
    token = with_a_second_factor(instance, secret(done(titrator("init"))))
    assert rows(done(titrator("users", "list")))[-1] == "admin Administrator admin none active, second factor"
    said = done(titrator("users", "second-factor-off", "ADMIN"))
    assert words(said) == "admin (Administrator, admin) now comes in by the password alone."
    assert rows(done(titrator("users", "list")))[-1] == "admin Administrator admin none active"
    services = make_services(Settings(instance=instance))
    with pytest.raises(Unauthorised):
        authenticate(services, token)
    services.store.close()
    entries = [json.loads(line) for line in done(titrator("audit", "export")).splitlines()]
    (entry,) = [entry for entry in entries if entry["action"] == "reset-second-factor"]
    assert entry["account"].startswith("local:")


def test_a_system_comes_in_by_a_token_until_it_is_revoked(made: Run, instance: Path) -> None:
    out = done(made("users", "add", "lab", "--name", "Lab", "--role", "ehr", "--clinic", "Day Unit"))
    assert "titrator tokens issue lab" in out
    assert not LINK.search(out)
    issued = done(
        made("tokens", "issue", "lab", "--label", "feed", "--days", "30", "--permission", "clinics:read")
    ).split()
    services = make_services(Settings(instance=instance))
    actor = authenticate(services, issued[-1])
    assert (actor.username, actor.permissions) == ("lab", {Permission.READ_CLINICS})
    (token,) = json.loads(done(made("tokens", "list", "lab", "--json")))["items"]
    assert (token["label"], token["permissions"], token["revoked_at"]) == ("feed", ["clinics:read"], None)
    assert "until" in rows(done(made("tokens", "list", "lab")))[-1]
    done(made("tokens", "revoke", "lab", token["id"]))
    assert "ended" in rows(done(made("tokens", "list", "lab")))[-1]
    with pytest.raises(Unauthorised):
        authenticate(services, issued[-1])
    services.store.close()


def test_a_client_is_registered_by_its_keys_until_it_is_revoked(made: Run, instance: Path, tmp_path: Path) -> None:
    assert "No clients yet" in done(made("clients", "list"))
    done(made("users", "add", "lab", "--name", "Lab", "--role", "ehr", "--clinic", "Day Unit"))
    (tmp_path / "keys.json").write_text(key_set(), encoding="utf-8")
    wanted = ("--label", "engine", "--scope", "system/Observation.cu system/Task.read", "--scope", "system/Patient.rs")
    added = done(made("clients", "add", "lab", *wanted, "--jwks", tmp_path / "keys.json"))
    assert "http://127.0.0.1:8000/auth/token" in added
    ident = added.split()[-1]
    assert re.fullmatch(r"[0-9a-f]{20}", ident)
    (shown,) = json.loads(done(made("clients", "list", "--json")))["items"]
    assert (shown["id"], shown["label"], shown["jwks_url"], shown["revoked_at"]) == (ident, "engine", None, None)
    assert shown["scopes"] == ["system/Observation.cu", "system/Task.rs", "system/Patient.rs"]
    assert rows(done(made("clients", "list")))[1].startswith(f"{ident} engine lab")
    services = make_services(Settings(instance=instance))
    assert known(services, ident) is not None
    assert json.loads(done(made("clients", "revoke", ident, "--json")))["revoked_at"] is not None
    assert known(services, ident) is None
    assert "have ended" in done(made("clients", "revoke", ident))
    services.store.close()
    by_url = ("--label", "x", "--scope", "system/*.rs", "--jwks-url", "https://lab.example/jwks.json")
    added_too = json.loads(done(made("clients", "add", "lab", *by_url, "--json")))
    assert added_too["jwks_url"] == "https://lab.example/jwks.json"
    done(made("clients", "add", "lab", *wanted, "--jwks", "-", stdin=key_set()))


def test_a_client_that_cannot_be_registered_is_told_all_why(made: Run) -> None:
    done(made("users", "add", "lab", "--name", "Lab", "--role", "ehr"))
    ran = made("clients", "add", "lab", "--label", "x", "--scope", "openid system/Task.sr", "--jwks", "-", stdin="{}")
    assert ran.code == 3
    for said in ("jwks: the key set has no list of keys", "scopes: openid: only scopes", "scopes: system/Task.sr: the"):
        assert said in ran.err
    for arguments in (("--jwks-url", "http://lab.example/keys"), ()):
        ran = made("clients", "add", "lab", "--label", "x", "--scope", "system/Task.r", *arguments)
        assert (ran.code, "jwks" in ran.err) == (3, True)
    ran = made("clients", "add", "admin", "--label", "x", "--scope", "system/Task.r", "--jwks-url", "https://x.example")
    assert (ran.code, "role ehr" in ran.err) == (3, True)
    assert "No clients yet" in done(made("clients", "list"))


def test_what_is_done_at_the_machine_is_audited_with_who_did_it(made: Run) -> None:
    done(made("users", "add", "lab", "--name", "Lab", "--role", "ehr"))
    done(made("tokens", "issue", "lab", "--label", "feed", "--days", "1"))
    entries = [json.loads(line) for line in done(made("audit", "export")).splitlines()]
    assert [entry["action"] for entry in entries] == [
        *("create", "invite", "create", "create", "issue-token", "export-audit"),
    ]
    assert {entry["account"].partition(":")[0] for entry in entries} == {"local"}
    assert all(entry["account"].partition(":")[2] for entry in entries)
    assert "titr_" not in done(made("audit", "export"))


#: Commands that are refused, with their exit codes and what they say.
REFUSED: list[tuple[str, int, str]] = [
    ("users add a/b --name A --role ehr", 3, "username: must match"),
    ("users add admin --name A --role ehr", 3, "An account of that name is there."),
    ("users add x --name A --role nurse", 2, "Invalid value for '--role'"),
    ("users add x --name A --role ehr --clinic Nowhere", 3, "no clinic of that name or id: Nowhere"),
    ("users change nobody --active", 3, "There is no account nobody; titrator users list shows all."),
    ("users change admin --clinic A --no-clinics", 2, "--clinic and --no-clinics exclude each other"),
    ("users invite nobody", 3, "There is no account nobody"),
    ("users disable nobody", 3, "There is no account nobody"),
    ("users second-factor-off nobody", 3, "There is no account nobody"),
    ("users second-factor-off admin", 3, "The account has no second factor."),
    ("tokens issue admin --label x --days 0", 3, "days: must be a whole number from 1 to 3660"),
    ("tokens issue admin --label x --days 1 --permission facts:record", 3, "not given to the role admin"),
    ("tokens list nobody", 3, "There is no account nobody"),
    ("tokens revoke admin 1234", 3, "No such token"),
    (
        "clients add nobody --label x --scope system/Task.r --jwks-url https://x.example",
        3,
        "There is no account nobody",
    ),
    ("clients add admin --label x --jwks-url https://x.example", 2, "Missing option '--scope'"),
    ("clients add admin --label x --scope system/Task.r --jwks no-such-file", 2, "no-such-file"),
    ("clients revoke 1234", 3, "No such client"),
    ("clinics add A --time-zone Mars", 3, "time_zone: must be a name of the IANA time zone database"),
    ("clinics add A --time-zone UTC --holiday 9.3.2026", 3, "holidays[0]:"),
    ("audit export --since yesterday", 2, "'yesterday' does not match the format"),
    ("serve --demo --host 0.0.0.0", 3, "a demonstration is served on this computer only, not on 0.0.0.0"),
    ("serve --host no.such.host.invalid", 4, "no.such.host.invalid: "),
    ("serve --port 65536", 2, "65536 is not in the range"),
    ("backup no/such/folder/file", 4, "No such file or directory"),
]


@pytest.mark.parametrize(("command", "code", "said"), REFUSED, ids=[command for command, _, _ in REFUSED])
def test_what_is_refused_is_told_in_a_line(titrator: Run, command: str, code: int, said: str) -> None:
    done(titrator("init"))
    ran = titrator(*command.split())
    assert (ran.code, ran.out) == (code, "")
    assert said in ran.err


ON_INSTALLATION = [
    "users list",
    "users add x --name X --role ehr",
    "tokens list x",
    "clinics list",
    "audit verify",
    "audit export",
    "audit seal",
    "db check",
    "backup file",
]


@pytest.mark.parametrize("command", ON_INSTALLATION)
def test_without_an_installation_none_is_made(titrator: Run, instance: Path, command: str) -> None:
    code, _, err = titrator(*command.split())
    assert code == 4
    assert err == f"titrator: {instance}/titrator.db: there is no database; `titrator init` makes one\n"
    assert not instance.exists()


@pytest.mark.parametrize("command", ["init", "serve", "users list", "backup file", "protocols list"])
def test_settings_with_faults_are_told(titrator: Run, command: str) -> None:
    code, _, err = titrator(*command.split(), TITRATOR_WORKERS="none", TITRATOR_LOG_LEVEL="loud")
    assert code == 3
    assert "TITRATOR_WORKERS: must be a whole number from 1 to 64" in err
    assert "TITRATOR_LOG_LEVEL: must be one of" in err


def test_every_command_explains_itself() -> None:
    """Each has a help of its own, and each of its options says what it is for or has a name that does."""

    def walk(command: click.Command, path: list[str]) -> Iterator[tuple[list[str], click.Command]]:
        yield path, command
        if isinstance(command, click.Group):
            context = click.Context(command)
            for name in command.list_commands(context):
                below = command.get_command(context, name)
                assert below is not None
                yield from walk(below, [*path, name])

    for path, command in walk(main, []):
        assert command.help, path


# titrator channels

MAIL = "mailtos://titrator:pa55word@smtp.example.org?from=titrator@example.org&to=ward@example.org"
ADD = ("channels", "add", "Day Unit", "-", "--label", "ward", "--to", "pharmacist")


def test_an_address_is_read_from_standard_input(made: Run) -> None:
    out = done(made(*ADD, stdin=f"{MAIL}\n"))
    assert "pa55word" not in out
    assert "mailtos://smtp.example.org/" in done(made("channels", "list"))
    for wrong in ("", f"{MAIL}\n{MAIL}\n", "nonsense\n"):
        ran = made(*ADD, stdin=wrong)
        assert (ran.code, ran.out) == (3, "")
        assert "address" in ran.err
        assert "pa55word" not in ran.err


def test_a_terminal_is_asked_for_an_address_and_does_not_show_it(made: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, object]] = []
    monkeypatch.setattr("titrator.people._typed_by_hand", lambda: True)
    monkeypatch.setattr("click.prompt", lambda text, **how: asked.append({"text": text, **how}) or MAIL)
    done(made(*ADD))
    assert asked == [{"text": "Address", "hide_input": True, "err": True}]
    assert "mailtos://smtp.example.org/" in done(made("channels", "list"))


# titrator audit, backup, restore, db


def test_a_restore_says_whom_a_copy_would_tell(made: Run, tmp_path: Path) -> None:
    for name, said in (("before", ""), ("after", "Waiting: 0 messages; in use: 1 channel.")):
        backup = tmp_path / f"{name}.db"
        done(made("backup", backup))
        out = done(made("restore", backup, "--yes"))
        assert ("in use" in out) is bool(said)
        assert said in out
        done(made(*ADD, stdin=MAIL))
    assert "reminder_seconds = 0" in out


def test_verify_finds_what_was_changed(made: Run, instance: Path) -> None:
    assert json.loads(done(made("audit", "verify", "--json"))) == {"entries": 3, "seals": 0, "faults": []}
    assert "3 entries, 0 seals: in order" in done(made("audit", "verify"))
    with closing(sqlite3.connect(instance / "titrator.db")) as database, database:
        database.execute("update audit set account_id = 'local:somebody' where seq = 2")
    fault = "chain system: entry 2 has been changed or has taken another's place"
    code, out, _ = made("audit", "verify")
    assert code == 3
    assert rows(out) == ["3 entries, 0 seals: 1 fault", fault]
    code, out, _ = made("audit", "verify", "--json")
    assert (code, json.loads(out)["faults"]) == (3, [fault])


def test_a_seal_tells_of_a_trail_cut_off_with_its_head(made: Run, titrator: Run, instance: Path) -> None:
    early = instance.with_name("early.db")
    done(titrator("backup", early))
    done(made("users", "add", "lab", "--name", "Lab", "--role", "ehr"))
    assert done(made("audit", "seal")).strip().startswith(str(instance / "seals"))
    assert "Nothing to seal" in done(made("audit", "seal"))
    done(made("restore", early, "--yes"))
    code, out, _ = made("audit", "verify")
    assert code == 3
    assert "entry 5 is not the one that was sealed" in out


def test_export_is_of_all_or_of_a_patient_since_a_day(made: Run) -> None:
    assert len(done(made("audit", "export")).splitlines()) == 4
    assert len(done(made("audit", "export", "--patient", "system")).splitlines()) == 5
    assert done(made("audit", "export", "--patient", "nobody")) == ""
    assert done(made("audit", "export", "--since", "2200-01-01")) == ""
    lines = done(made("audit", "export", "--since", "2020-01-01")).splitlines()
    assert [json.loads(line)["seq"] for line in lines] == list(range(1, 9))


def test_a_restore_elsewhere_needs_the_audit_key_that_belongs_to_it(
    made: Run, titrator: Run, instance: Path, tmp_path: Path
) -> None:
    backup, elsewhere = tmp_path / "backup.db", tmp_path / "elsewhere"
    done(made("backup", backup))
    ran = titrator("restore", backup, "--yes", TITRATOR_INSTANCE=str(elsewhere))
    assert ran.code == 4
    assert "put the audit key that belongs to the backup there first" in ran.err
    elsewhere.mkdir(exist_ok=True)
    (elsewhere / "audit.key").write_bytes((instance / "audit.key").read_bytes())
    done(titrator("restore", backup, "--yes", TITRATOR_INSTANCE=str(elsewhere)))
    assert "in order" in done(titrator("audit", "verify", TITRATOR_INSTANCE=str(elsewhere)))


def test_a_backup_of_another_installation_replaces_nothing(
    made: Run, titrator: Run, instance: Path, tmp_path: Path
) -> None:
    backup = tmp_path / "backup.db"
    done(titrator("init", TITRATOR_INSTANCE=str(tmp_path / "other")))
    done(titrator("backup", backup, TITRATOR_INSTANCE=str(tmp_path / "other")))
    before = done(made("users", "list"))
    ran = made("restore", backup, "--yes")
    assert ran.code == 3
    assert "is not its audit key: put the right one there; nothing was changed" in ran.err
    assert done(made("users", "list")) == before
    assert not (instance / "titrator.db.before-restore").exists()


@pytest.mark.parametrize("content", [b"", b"not a database" * 100])
def test_what_is_no_backup_is_not_restored(made: Run, instance: Path, tmp_path: Path, content: bytes) -> None:
    before = done(made("users", "list"))
    file = tmp_path / "file"
    file.write_bytes(content)
    code, _, err = made("restore", file, "--yes")
    assert code == 4
    assert str(file) in err
    assert done(made("users", "list")) == before


def test_check_tells_what_is_broken(made: Run, instance: Path) -> None:
    database = instance / "titrator.db"
    assert json.loads(done(made("db", "check", "--json"))) == {"database": str(database), "faults": []}
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("pragma foreign_keys = off")
        connection.execute("insert into identifiers values ('urn:x', '1', 'nobody')")
    code, out, _ = made("db", "check")
    assert (code, "identifiers: a row refers to patients, where nothing is" in out) == (3, True)
    with database.open("r+b") as file:
        for page in range(4, 20):
            file.seek(page * 4096)
            file.write(b"\xff" * 4096)
    code, out, _ = made("db", "check", "--json")
    faults: list[Any] = json.loads(out)["faults"]
    assert (code, bool(faults)) == (3, True)
    assert made("users", "list").code == 4
