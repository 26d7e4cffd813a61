"""The commands on an installation whose database is one of PostgreSQL, in this process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.backends import bare_database, drop
from tests.cli.test_installation import Run, done, instance, rows, titrator
from titrator.store.connect import name_of

__all__ = ["instance", "titrator"]  # fixtures


@pytest.fixture
def url() -> Iterator[str]:
    made = bare_database()
    yield made
    drop(made)


@pytest.fixture
def made(titrator: Run, url: str) -> Run:
    """An installation with a clinic and a person."""

    def run(*arguments: object, **more: str) -> object:
        return titrator(*arguments, **{"TITRATOR_DATABASE": url, **more})

    done(run("init"))
    done(run("clinics", "add", "Day Unit", "--time-zone", "Europe/Berlin"))
    done(run("users", "add", "anna", "--name", "Anna Berg", "--role", "pharmacist", "--clinic", "Day Unit"))
    return run


def users(run: Run, **more: str) -> list[str]:
    return rows(done(run("users", "list", **more)))[1:]


ANNA = "anna Anna Berg pharmacist Day Unit invited"


def test_an_installation_is_made_and_looked_into(made: Run, instance: Path, url: str) -> None:
    assert users(made)[1:] == [ANNA]
    assert not (instance / "titrator.db").exists()
    assert done(made("db", "check")) == f"{name_of(url)}: in order\n"
    assert json.loads(done(made("db", "check", "--json"))) == {"database": name_of(url), "faults": []}
    assert "in order" in done(made("audit", "verify"))
    assert json.loads(done(made("remind", "--once", "--json")))["done"]["sent"] == 0


def test_a_database_that_is_not_made_is_told(titrator: Run, url: str) -> None:
    code, _, err = titrator("users", "list", TITRATOR_DATABASE=url)
    assert (code, err) == (4, f"titrator: {name_of(url)}: there is no database; `titrator init` makes one\n")


def test_a_server_that_does_not_answer_is_told(titrator: Run) -> None:
    code, _, err = titrator("users", "list", TITRATOR_DATABASE="postgresql://eva:secret@127.0.0.1:1/titrator")
    assert (code, err.startswith("titrator: postgresql://eva@127.0.0.1:1/titrator: ")) == (4, True)
    assert "secret" not in err


def test_what_is_backed_up_is_restored_into_an_empty_database(made: Run, tmp_path: Path) -> None:
    file = tmp_path / "backup"
    assert done(made("backup", file)).startswith(f"{file}: ")
    code, _, err = made("restore", file, "--yes")
    assert (code, "is not empty; make a new database" in err) == (4, True)
    new = bare_database()
    out = done(made("restore", file, "--yes", TITRATOR_DATABASE=new))
    assert out == f"{name_of(new)}: restored from {file}.\n"
    assert users(made, TITRATOR_DATABASE=new)[1:] == [ANNA]
    assert "in order" in done(made("audit", "verify", TITRATOR_DATABASE=new))


def test_an_installation_moves_to_postgresql_and_back(titrator: Run, instance: Path, url: str, tmp_path: Path) -> None:
    done(titrator("init"))
    done(titrator("clinics", "add", "Day Unit", "--time-zone", "Europe/Berlin"))
    done(titrator("users", "add", "anna", "--name", "Anna Berg", "--role", "pharmacist", "--clinic", "Day Unit"))
    before = users(titrator)
    out = done(titrator("db", "copy", instance / "titrator.db", url))
    assert out.startswith(f"{name_of(url)}: ")
    assert "each compared" in out
    assert users(titrator, TITRATOR_DATABASE=url) == before
    assert "in order" in done(titrator("audit", "verify", TITRATOR_DATABASE=url))
    entries = [json.loads(line) for line in done(titrator("audit", "export", TITRATOR_DATABASE=url)).splitlines()]
    (copied,) = [one for one in entries if one["action"] == "copy"]
    assert copied["detail"]["source"] == str(instance / "titrator.db")

    back = tmp_path / "back.db"
    told = json.loads(done(titrator("db", "copy", url, back, "--json", TITRATOR_DATABASE=url)))
    assert (told["from"], told["to"]) == (name_of(url), str(back))
    assert {one["table"] for one in told["tables"] if one["rows"]} >= {"clinics", "accounts", "audit", "audit_heads"}
    assert told["entries"] == next(one["rows"] for one in told["tables"] if one["table"] == "audit")
    assert users(titrator, TITRATOR_DATABASE=str(back)) == before
    assert "in order" in done(titrator("audit", "verify", TITRATOR_DATABASE=str(back)))


def test_what_cannot_be_copied_is_told(made: Run, instance: Path, url: str, tmp_path: Path) -> None:
    code, _, err = made("db", "copy", url, f"{url}?application_name=x")
    assert (code, err) == (3, f"titrator: {name_of(url)}: cannot be copied into itself\n")
    code, _, err = made("db", "copy", tmp_path / "nothing.db", url)
    assert (code, "there is no database" in err) == (4, True)
    other = tmp_path / "other.db"
    done(made("init", TITRATOR_DATABASE=str(other)))
    code, _, err = made("db", "copy", url, other)
    assert (code, "the database to copy into is not empty: there are accounts" in err) == (4, True)


def test_a_trail_that_is_not_whole_is_not_copied(made: Run, url: str, tmp_path: Path) -> None:
    (tmp_path / "instance" / "audit.key").write_text("ab" * 32)
    code, _, err = made("db", "copy", url, tmp_path / "copy.db")
    assert (code, "nothing is kept of the copy: chain system" in err) == (4, True)
    code, out, _ = made("db", "check", TITRATOR_DATABASE=str(tmp_path / "copy.db"))
    assert (code, out) == (0, f"{tmp_path / 'copy.db'}: in order\n")
