"""What only the embedded store has: its tables, its file, its locks, its migrations, its backups."""

from __future__ import annotations

import multiprocessing
import os
import random
import re
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.store.damage import DAMAGE, UNGUARDED, fill
from tests.store.samples import add_referred_to, sample
from titrator.store import sqlite
from titrator.store.base import StoreError, Unusable, Where
from titrator.store.connect import open_store, sqlite_file
from titrator.store.records import (
    RECORDS,
    Account,
    AuditRow,
    Clinic,
    Fact,
    Job,
    Patient,
    Record,
)
from titrator.store.schema import MIGRATIONS, Migration, not_understood
from titrator.store.sql import OF_PARTS
from titrator.store.sqlite import APPLICATION_ID, SqliteStore, restore

FIRST = MIGRATIONS[0].name


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "titrator.db"


@pytest.fixture
def store(file: Path) -> Iterator[SqliteStore]:
    """A store with a patient and two facts, of which one was corrected."""
    made = SqliteStore(file)
    fill(made)
    yield made
    made.close()


def sql(file: Path, *statements: str) -> list[Any]:
    """What another program gives that has the file open."""
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        return [connection.execute(statement).fetchall() for statement in statements][-1]


def python(code: str, *arguments: object) -> subprocess.Popen[str]:
    """A process of its own that runs some code."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


# Tables

AFFINITY = {"str": "TEXT", "int": "INTEGER", "bool": "INTEGER"}


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)
def test_columns_are_the_fields_in_order_with_exact_types(store: SqliteStore, record: type[Record]) -> None:
    columns = sql(store.file, f"pragma table_info({record.TABLE})")
    types = {field.name: str(field.type) for field in fields(record)}
    assert [name for _, name, *_ in columns] == list(types)
    for _, name, kind, required, _, _ in columns:
        bare = types[name].removesuffix(" | None")
        assert kind == AFFINITY.get(bare, "TEXT"), name
        assert bool(required) is not types[name].endswith("| None"), name
    key = [name for *_, name, place in sorted((*row[2:], row[1], row[5]) for row in columns) if place]
    by_place = sorted((place, name) for _, name, *_, place in columns if place)
    assert [name for _, name in by_place] == list(record.KEY)
    assert sorted(key) == sorted(record.KEY)


@pytest.mark.parametrize("text", ["final", "it's", "", "a''b", "1; drop table facts"])
def test_a_status_is_compared_as_it_is_written(store: SqliteStore, text: str) -> None:
    with store.reading() as session:
        found = session.find(Fact, Where("status", "=", text))
        assert found == [one for one in session.find(Fact) if one.status == text]
        assert len(found) + session.count(Fact, Where("status", "!=", text)) == session.count(Fact)


def test_a_statement_is_prepared_once(store: SqliteStore) -> None:
    """Were a value bound of those that tell whether an index of a part of a table will do, it would be each time."""
    prepared: list[int] = []

    def note(action: int, *_: object) -> int:
        prepared.append(action)
        return sqlite3.SQLITE_OK

    with store.reading() as session:
        session._connection.set_authorizer(note)
        find = partial(session.find, Fact, Where("current", "=", 1), Where("status", "=", "final"))
        find(Where("patient_id", "=", "p"))
        assert prepared
        prepared.clear()
        find(Where("patient_id", "=", "q"))
        assert not prepared


def test_no_value_that_limits_an_index_to_a_part_of_a_table_is_bound() -> None:
    indexes = [text for one in MIGRATIONS for text in one.sqlite if "index" in text]
    limits = [match[1] for text in indexes if (match := re.search(r" where (.*)", text, re.DOTALL))]
    named = {name for text in limits for name in re.findall(r"(\w+) = ", text)}
    assert named
    assert named <= OF_PARTS


def test_every_table_is_a_record_strict_and_without_reals(store: SqliteStore) -> None:
    made = dict(sql(store.file, "select name, sql from sqlite_master where type = 'table'"))
    made.pop("_sqlite_migrations")
    assert set(made) == {record.TABLE for record in RECORDS}
    for name, text in made.items():
        of_long_rows = name in ("standings", "worklist", "audit")
        assert re.search(r"\)\s*strict$" if of_long_rows else r"\)\s*strict, without rowid$", text), name
        assert not re.search(r"\b(real|float|double|numeric|decimal|any|blob)\b", text), name


def test_amounts_are_stored_as_text(store: SqliteStore) -> None:
    assert sql(store.file, "select distinct typeof(value) from facts") == [("text",)]


# Migrations


def test_a_new_file_is_migrated_once(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = SqliteStore(file)
    applied = sql(file, "select name, applied_at from _sqlite_migrations")
    assert [name for name, _ in applied] == [migration.name for migration in MIGRATIONS]
    fill(first)
    second = SqliteStore(file)
    assert sql(file, "select name, applied_at from _sqlite_migrations") == applied
    with second.reading() as session:
        assert session.count(Fact) == 3
    assert second.pending() == []
    later = (*MIGRATIONS, Migration("0002-later", ("create table later (id text primary key) strict",)))
    with_migrations(monkeypatch, later)
    assert second.pending() == ["0002-later"]
    assert SqliteStore(file).pending() == []
    assert sql(file, "select count(*) from later") == [(0,)]


def test_a_migration_is_applied_whole_or_not_at_all(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        with_migrations(patched, (Migration(FIRST, (*MIGRATIONS[0].sqlite, "create nonsense")),))
        with pytest.raises(Unusable, match="nonsense"):
            SqliteStore(file)
    assert sql(file, "select name from sqlite_master where name in ('clinics', 'facts')") == []
    sqlite._migrations.cache_clear()
    assert SqliteStore(file).check() == []


EXPAND = Migration("0002-expand-notes", ("alter table clinics add column note text",))
CONTRACT = Migration("0003-contract-jobs", ("drop table jobs",))
LATER = Migration("0004-expand-more", ("create table more (id text primary key) strict",))


def test_a_program_works_beside_one_that_has_expanded_the_tables(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = SqliteStore(file)
    with monkeypatch.context() as newer:
        with_migrations(newer, (*MIGRATIONS, EXPAND))
        new = SqliteStore(file)
        assert new.pending() == []
    with_migrations(monkeypatch, MIGRATIONS)
    with old.writing() as session:
        session.add(sample(Clinic))
    opened_since = SqliteStore(file)
    with opened_since.writing() as session:
        session.change(replace(sample(Clinic), name="Changed"))
    with new.reading() as session:
        assert session.get(Clinic, sample(Clinic).id) == replace(sample(Clinic), name="Changed")
    assert (old.pending(), old.check(), opened_since.check()) == ([], [], [])
    assert sql(file, "select note from clinics") == [(None,)]


def test_nothing_is_taken_away_by_itself_and_older_programs_refuse_after_it(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as newer:
        with_migrations(newer, (*MIGRATIONS, EXPAND, CONTRACT, LATER))
        new = SqliteStore(file)
        assert (new.pending(), new.contractions()) == ([], [CONTRACT.name])
        assert sql(file, "select count(*) from more") == [(0,)], "what comes after it is applied all the same"
        assert sql(file, "select count(*) from jobs") == [(0,)]
        new.contract()
        assert (new.contractions(), SqliteStore(file).contractions()) == ([], [])
        with pytest.raises(sqlite3.OperationalError, match="no such table"):
            sql(file, "select count(*) from jobs")
    with_migrations(monkeypatch, (*MIGRATIONS, EXPAND))
    with pytest.raises(Unusable, match=r"newer version of this program \(0003-contract-jobs\)"):
        SqliteStore(file)


def test_what_a_migration_does_stands_in_its_name() -> None:
    applied = ["0001-a", "0002-expand-b", "0003-contract-c", "0004-expandable-d", "0005-expand", "0006-x-expand-y"]
    known = (Migration("0001-a", ()),)
    assert not_understood(applied, known) == ["0003-contract-c", "0004-expandable-d", "0005-expand", "0006-x-expand-y"]
    assert [Migration(name, ()).contracts for name in applied] == [False, False, True, False, False, False]
    assert len({migration.name[:4] for migration in MIGRATIONS}) == len(MIGRATIONS)


def with_migrations(monkeypatch: pytest.MonkeyPatch, migrations: tuple[Migration, ...]) -> None:
    sqlite._migrations.cache_clear()
    sqlite._all_migrations.cache_clear()
    monkeypatch.setattr(sqlite, "MIGRATIONS", migrations)


@pytest.fixture(autouse=True)
def _shipped_migrations() -> Iterator[None]:
    yield
    sqlite._migrations.cache_clear()


def test_a_process_killed_while_it_makes_the_tables_leaves_a_file_that_is_made_again(file: Path) -> None:
    code = """
import os, sys
from pathlib import Path
from titrator.store import sqlite
apply = sqlite._apply
def killed(statements, db):
    apply(statements[:8], db)
    os.kill(os.getpid(), 9)
sqlite._apply = killed
sqlite.SqliteStore(Path(sys.argv[1]))
"""
    killed = python(code, file)
    killed.communicate()
    assert killed.returncode == -9
    store = SqliteStore(file)
    fill(store)
    assert store.check() == []


def test_a_file_that_was_made_and_no_more_is_new(file: Path) -> None:
    file.touch()
    assert SqliteStore(file).check() == []


def test_eight_processes_open_one_new_database_at_once(file: Path) -> None:
    code = """
import sys
from pathlib import Path
from titrator.store.sqlite import SqliteStore
from titrator.store.records import Job
sys.stdin.readline()
store = SqliteStore(Path(sys.argv[1]))
with store.writing() as session:
    session.add(Job(name=sys.argv[2], version=1, at=""))
print(store.pending(), store.check())
"""
    for attempt in range(3):
        new = file.with_name(f"{attempt}.db")
        started = [python(code, new, number) for number in range(8)]
        for process in started:  # all have been started, now all may go
            assert process.stdin
            process.stdin.write("go\n")
            process.stdin.flush()
        assert [process.communicate(timeout=60)[0] for process in started] == ["[] []\n"] * 8
        with SqliteStore(new).reading() as session:
            assert session.count(Job) == 8
        assert sql(new, "select count(*) from _sqlite_migrations") == [(len(MIGRATIONS),)]


# What is not ours

FOREIGN: list[tuple[str, Callable[[Path], object], str]] = [
    ("another program's", lambda file: sql(file, "create table notes (text)"), "not a database of this program"),
    ("another program's, empty", lambda file: sql(file, "pragma application_id = 7"), "not a database of this program"),
    ("no database", lambda file: file.write_bytes(b"PK\x03\x04" * 500), "not a database"),
    ("a folder", lambda file: file.mkdir(), "titrator.db"),
    (
        "a newer version's",
        lambda file: (
            SqliteStore(file).close(),
            sql(file, "insert into _sqlite_migrations values (9, 'titrator', '9999-from-the-future', '')"),
        ),
        "newer version of this program \\(9999-from-the-future\\)",
    ),
]


@pytest.mark.parametrize(("make", "says"), [row[1:] for row in FOREIGN], ids=[row[0] for row in FOREIGN])
def test_is_refused_and_left_as_it_is(file: Path, make: Callable[[Path], object], says: str) -> None:
    make(file)
    before = file.read_bytes() if file.is_file() else None
    for _ in range(2):
        with pytest.raises(Unusable, match=says):
            SqliteStore(file)
    if before is not None:
        assert file.read_bytes() == before


def test_a_file_that_may_not_be_written_is_told(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != store.file)
    with pytest.raises(Unusable, match=r"titrator\.db: .*Permission denied"):
        SqliteStore(store.file)


def test_a_folder_in_which_nothing_can_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Unusable):
        SqliteStore(tmp_path / "file" / "titrator.db")


URLS = [
    ("titrator.db", "titrator.db"),
    ("/var/lib/titrator.db", "/var/lib/titrator.db"),
    ("sqlite:///titrator.db", "titrator.db"),
    ("sqlite:////var/lib/a%20b.db", "/var/lib/a b.db"),
    ("folder with spaces/#1?.db", "folder with spaces/#1?.db"),
]


@pytest.mark.parametrize(("url", "path"), URLS)
def test_a_url_names_a_file(url: str, path: str) -> None:
    assert sqlite_file(url) == Path(path)


@pytest.mark.parametrize("url", ["", "mysql://host/db", "sqlite://host/file", "sqlite://", "sqlite:///"])
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(Unusable):
        open_store(url)


@pytest.mark.parametrize("name", ["a b#1?.db", "100%25.db", "ü.db"])
def test_a_file_may_have_any_name(tmp_path: Path, name: str) -> None:
    store = SqliteStore(tmp_path / name)
    fill(store)
    store.backup(tmp_path / f"copy of {name}")
    assert (tmp_path / name).exists()
    assert (tmp_path / f"copy of {name}").exists()


def test_files_are_for_their_owner_only(store: SqliteStore, tmp_path: Path) -> None:
    store.backup(tmp_path / "backup.db")
    made = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert made == dict.fromkeys(
        ("titrator.db", "titrator.db-wal", "titrator.db-shm", "titrator.db.open", "titrator.db.writer", "backup.db"),
        384,
    )


def test_a_folder_that_is_made_is_for_its_owner_only(tmp_path: Path) -> None:
    SqliteStore(tmp_path / "new" / "titrator.db").close()
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700


def test_a_database_that_is_gone_does_not_come_back_empty(store: SqliteStore) -> None:
    store.file.unlink()
    told: list[str] = []

    def read() -> None:
        try:
            with store.reading():
                pass
        except (StoreError, sqlite3.Error) as error:
            told.append(str(error))

    thread = threading.Thread(target=read)
    thread.start()
    thread.join()
    assert told
    assert not store.file.exists()


# Durability


def test_a_transaction_leaves_the_disk_for_after_the_turn_in_wal_mode(store: SqliteStore) -> None:
    """NORMAL (1): a commit is with the operating system; that it is on the disk before it is told: test_durability."""
    with store.writing() as session:
        assert session._connection.execute("pragma synchronous").fetchone() == (1,)
        assert session._connection.execute("pragma journal_mode").fetchone() == ("wal",)
        assert session._connection.execute("pragma foreign_keys").fetchone() == (1,)


def test_a_second_store_of_a_process_does_not_let_go_of_the_locks_of_the_first(file: Path) -> None:
    """To close any descriptor of a file ends all POSIX locks of the process on it. Without them another process that
    closes the database takes itself for the last one, and removes the log under who goes on writing to it.
    """
    first = SqliteStore(file)
    with first.writing() as session:
        session.add(sample(Job, name="a"))
    SqliteStore(file)
    subprocess.run(
        [sys.executable, "-c", f"import sqlite3; c = sqlite3.connect({str(file)!r}); c.execute('select * from jobs')"],
        check=True,
    )
    with first.writing() as session:
        session.add(sample(Job, name="b"))
    assert Path(f"{file}-wal").exists()
    assert sql(file, "select name from jobs order by name") == [("a",), ("b",)]


def test_what_was_kept_is_there_for_a_process_that_died_after_it(file: Path) -> None:
    code = """
import os, sys
from pathlib import Path
from titrator.store.sqlite import SqliteStore
from titrator.store.records import Job
store = SqliteStore(Path(sys.argv[1]))
for durable in (True, False):
    with store.writing(durable=durable) as session:
        session.add(Job(name=f"kept {durable}", version=1, at=""))
with store.writing() as session:
    session.add(Job(name="lost", version=1, at=""))
    os.kill(os.getpid(), 9)
"""
    died = python(code, file)
    died.communicate()
    assert died.returncode == -9
    with SqliteStore(file).reading() as session:
        assert [job.name for job in session.find(Job, order=("name",))] == ["kept False", "kept True"]


def test_a_writer_of_another_process_is_waited_for_and_its_death_frees_the_lock(store: SqliteStore) -> None:
    code = """
import os, sys
from pathlib import Path
from titrator.store.sqlite import SqliteStore
store = SqliteStore(Path(sys.argv[1]))
with store.writing():
    print("inside", flush=True)
    sys.stdin.readline()
    os.kill(os.getpid(), 9)
"""
    other = python(code, store.file)
    assert other.stdout
    assert other.stdin
    assert other.stdout.readline() == "inside\n"
    done = threading.Event()

    def write() -> None:
        with store.writing() as session:
            session.add(sample(Job))
        done.set()
        store.close()

    writer = threading.Thread(target=write)
    writer.start()
    assert not done.wait(0.2)
    other.communicate("die\n")
    assert done.wait(10)
    writer.join()


def test_a_store_does_not_outlive_a_fork(store: SqliteStore) -> None:
    fork = multiprocessing.get_context("fork")
    mine, its = fork.Pipe()

    def use() -> None:
        try:
            with store.reading():
                its.send("read")
        except RuntimeError as error:
            its.send(str(error))

    child = fork.Process(target=use)
    child.start()
    assert "after a fork" in mine.recv()
    child.join()


def test_an_error_of_the_database_is_one_of_the_store(store: SqliteStore) -> None:
    sql(store.file, "drop table jobs")
    for use in (lambda session: session.find(Job), lambda session: session.count(Job)):
        with pytest.raises(StoreError, match="jobs"), store.reading() as session:
            use(session)
    with pytest.raises(StoreError, match="jobs"), store.writing() as session:
        session.remove(Job)


def test_a_full_disk_is_told_and_leaves_nothing(store: SqliteStore) -> None:
    with store.writing() as session:
        pages = session._connection.execute("pragma page_count").fetchone()[0]

    def fill_up() -> None:
        with store.writing() as session:
            session._connection.execute(f"pragma max_page_count = {pages}")
            session.add(sample(Job), sample(Job, name="large", at="x" * 100_000))

    with pytest.raises(StoreError, match="full"):
        fill_up()
    with store.writing() as session:
        session._connection.execute("pragma max_page_count = 1000000")
        assert session.count(Job) == 0
        session.add(sample(Job))


# Damage that check() tells

DAMAGE_OF_FILES: list[tuple[str, str, str]] = [
    ("a patient of no clinic", "pragma foreign_keys = off; delete from clinics", "patients: a row refers to clinics"),
    ("facts of no patient", "pragma foreign_keys = off; delete from patients", "facts: a row refers to patients"),
    (
        "a value against the rules of its table",
        "pragma ignore_check_constraints = on; update facts set status = 'maybe' where id = 3",
        "CHECK constraint failed in facts",
    ),
    (
        "a trigger that changes what is recorded",
        "create trigger heavier after insert on facts begin update facts set value = '140' where id = new.id; end",
        "trigger heavier: none of this program",
    ),
    ("no trigger", "drop trigger one_current_version_a_fact_update", "^no trigger one_current_version_a_fact_update$"),
    (
        "a trigger under the name of ours",
        "drop trigger tokens_update; create trigger tokens_update after update on tokens begin select 1; end",
        "trigger tokens_update: none of this program",
    ),
]


@pytest.mark.parametrize(
    ("statements", "says"),
    [row[1:] for row in DAMAGE + DAMAGE_OF_FILES],
    ids=[row[0] for row in DAMAGE + DAMAGE_OF_FILES],
)
def test_check_tells(store: SqliteStore, statements: str, says: str) -> None:
    assert store.check() == []
    with closing(sqlite3.connect(store.file, isolation_level=None)) as other:
        unguarded = "; ".join(f"drop trigger one_current_version_a_fact_{done}" for done in ("insert", "update"))
        other.executescript(statements.replace(UNGUARDED, unguarded))
    assert any(re.search(says, fault) for fault in store.check()), store.check()


def test_check_names_twenty_of_a_kind_and_says_that_there_are_more(store: SqliteStore) -> None:
    with store.writing() as session:
        session.add(*(sample(Patient, id=f"q{number:02}", revision=1) for number in range(21)))
    (fault,) = store.check()
    assert fault.count(", ") == 19
    assert fault.endswith("q19 and more")


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of some fifty pages."""
    file = tmp_path_factory.mktemp("sound") / "sound.db"
    store = SqliteStore(file)
    with store.writing() as session:
        add_referred_to(session)
        session.change(sample(Patient, revision=400))
        session.add(*(sample(Fact, id=number, detail={"note": "x" * (number % 300)}) for number in range(1, 401)))
        session.add(*(sample(AuditRow, seq=number) for number in range(1, 401)))
    store.backup(file.with_name("backup.db"))
    store.close()
    return file.with_name("backup.db")


def told(file: Path) -> list[str]:
    try:
        return SqliteStore(file).check()
    except Unusable as error:
        return [str(error)]


def written(folder: Path, number: int, data: bytes) -> Path:
    file = folder / f"{number}.db"
    file.write_bytes(data)
    return file


def test_check_tells_of_each_page_that_is_no_longer_one(sound: Path, tmp_path: Path) -> None:
    """The first byte of a page says what it is; of the first page it follows the header of the file."""
    size = sql(sound, "pragma page_size")[0][0]
    data = sound.read_bytes()
    assert len(data) > 40 * size
    for page in range(len(data) // size):
        damaged = bytearray(data)
        damaged[100 if page == 0 else page * size] ^= 0xFF
        assert told(written(tmp_path, page, damaged)), page


def test_check_always_answers_whichever_bytes_are_flipped(sound: Path, tmp_path: Path) -> None:
    """SQLite keeps no sums: a letter of a text may change unseen. But no damage makes check() itself fail."""
    chance, data = random.Random(20260309), sound.read_bytes()
    found = 0
    for number in range(120):
        damaged = bytearray(data)
        for _ in range(8):
            damaged[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        found += bool(told(written(tmp_path, number, damaged)))
    assert found > 60


@pytest.mark.parametrize("part", [0.9, 0.5, 0.1])
def test_check_tells_of_a_file_that_was_cut_off(sound: Path, file: Path, part: float) -> None:
    file.write_bytes(sound.read_bytes()[: int(sound.stat().st_size * part)])
    assert told(file)


# Backups


def counted(file: Path) -> tuple[int, int]:
    """The revision of the patient, and how many facts there are, of a database that nobody has open."""
    copy = file.with_name(f"{file.name}-looked-at")
    shutil.copyfile(file, copy)
    store = SqliteStore(copy)
    assert store.check() == []
    with store.reading() as session:
        patient = session.get(Patient, "p")
        assert patient
        return patient.revision, session.count(Fact)


def test_a_backup_is_of_one_moment_while_a_writer_writes(store: SqliteStore, tmp_path: Path) -> None:
    """Each fact raises the revision: a copy of two moments would have one without the other."""
    stop, written = threading.Event(), []

    def write() -> None:
        number = 5
        while not stop.is_set() and number < 5000:
            number += 1
            with store.writing(durable=False) as session:
                session.change(sample(Patient, revision=number, decided=2, decision_id=1))
                session.add(sample(Fact, id=number, detail={"note": "x" * 500}))
            written.append(number)
        store.close()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        seen = []
        for number in range(5):
            before = len(written)
            store.backup(tmp_path / f"{number}.backup")
            seen.append((before, number))
    finally:
        stop.set()
        writer.join()
    for before, number in seen:
        revision, facts = counted(tmp_path / f"{number}.backup")
        assert revision == facts + 2  # two are the course's
        assert revision - 5 >= before  # and nothing that was kept before is missing
    assert len(written) > 5


def test_a_backup_is_one_file_and_leaves_no_other(store: SqliteStore, tmp_path: Path) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()
    store.backup(folder / "monday.db")
    assert [path.name for path in folder.iterdir()] == ["monday.db"]
    assert sql(folder / "monday.db", "pragma journal_mode") == [("delete",)]
    assert counted(folder / "monday.db") == (5, 3)


def test_a_backup_never_replaces_a_file(store: SqliteStore, tmp_path: Path) -> None:
    store.backup(tmp_path / "monday.db")
    before = (tmp_path / "monday.db").read_bytes()
    with store.writing() as session:
        session.add(sample(Job))
    for name in ("monday.db", "titrator.db", "titrator.db-wal"):
        with pytest.raises(StoreError, match="is there already"):
            store.backup(tmp_path / name)
    assert (tmp_path / "monday.db").read_bytes() == before
    with store.reading() as session:
        assert session.count(Job) == 1


def test_a_backup_that_cannot_be_written_is_told_and_leaves_nothing(store: SqliteStore, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be written"):
        store.backup(tmp_path / "nowhere" / "monday.db")
    assert not (tmp_path / "nowhere").exists()


def test_two_backups_of_one_name_at_once_are_one(store: SqliteStore, tmp_path: Path) -> None:
    outcomes: list[str] = []

    def back_up() -> None:
        try:
            store.backup(tmp_path / "monday.db")
            outcomes.append("made")
        except StoreError:
            outcomes.append("refused")
        store.close()

    threads = [threading.Thread(target=back_up) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["made", *["refused"] * 5]
    assert counted(tmp_path / "monday.db") == (5, 3)
    assert not list(tmp_path.glob("*.part"))


# Restores


@pytest.fixture
def backup(store: SqliteStore, tmp_path: Path) -> Path:
    """A backup, after which a job was begun."""
    store.backup(tmp_path / "backup.db")
    with store.writing() as session:
        session.add(sample(Job))
    return tmp_path / "backup.db"


def jobs(file: Path) -> int:
    with SqliteStore(file).reading() as session:
        return session.count(Job)


def folder_of(file: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in file.parent.iterdir() if path.name != f"{file.name}.open"}


@pytest.fixture
def closed(backup: Path, file: Path, tmp_path: Path) -> Path:
    """The database with the job, which nobody has open, in a folder of its own."""
    place = tmp_path / "place"
    place.mkdir()
    with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(place / "titrator.db")) as copy:
        source.backup(copy)
    return place / "titrator.db"


def test_a_restore_puts_the_backup_in_place_and_keeps_what_was_there(closed: Path, backup: Path) -> None:
    assert jobs(closed) == 1
    restore(backup, closed)
    assert jobs(closed) == 0
    assert SqliteStore(closed).check() == []
    assert stat.S_IMODE(closed.stat().st_mode) == 0o600
    kept = closed.with_name("titrator.db.before-restore")
    assert jobs(kept) == 1


def test_a_second_restore_keeps_the_first_database_too(closed: Path, backup: Path) -> None:
    restore(backup, closed)
    restore(backup, closed)
    assert jobs(closed.with_name("titrator.db.before-restore")) == 1
    assert jobs(closed.with_name("titrator.db.before-restore-2")) == 0


def test_a_backup_that_would_act_by_itself_is_not_restored(closed: Path, backup: Path) -> None:
    before = closed.read_bytes()
    with closing(sqlite3.connect(backup)) as other:
        other.execute("create trigger heavier after insert on facts begin update facts set value = '140'; end")
    with pytest.raises(Unusable, match="trigger heavier: none of this program"):
        restore(backup, closed)
    assert closed.read_bytes() == before


def test_a_backup_with_a_name_that_is_no_text_is_refused_in_words(closed: Path, backup: Path) -> None:
    before = closed.read_bytes()
    with closing(sqlite3.connect(backup)) as other:
        name = "cast(x'ff41' as text)"
        other.execute("pragma writable_schema = on")
        other.execute(f"insert into sqlite_master values ('table', {name}, {name}, 0, 'create table x (a)')")
        other.commit()
    with pytest.raises(Unusable, match="can't decode byte 0xff"):
        restore(backup, closed)
    assert closed.read_bytes() == before


def test_a_restore_where_no_database_was(backup: Path, tmp_path: Path) -> None:
    restore(backup, tmp_path / "new" / "titrator.db")
    assert jobs(tmp_path / "new" / "titrator.db") == 0
    assert sorted(path.name for path in (tmp_path / "new").glob("*before*")) == []


def test_what_was_in_the_log_only_is_kept_and_not_written_into_what_comes(closed: Path, backup: Path) -> None:
    """A process that dies leaves a log: it belongs to the database before, and must not reach the one restored."""
    code = """
import os, sys
from pathlib import Path
from titrator.store.sqlite import SqliteStore
from titrator.store.records import Job
store = SqliteStore(Path(sys.argv[1]))
with store.writing() as session:
    session.add(Job(name="in the log", version=1, at=""))
os.kill(os.getpid(), 9)
"""
    python(code, closed).communicate()
    assert closed.with_name("titrator.db-wal").stat().st_size > 0
    restore(backup, closed)
    assert not closed.with_name("titrator.db-wal").exists()
    assert jobs(closed) == 0
    assert jobs(closed.with_name("titrator.db.before-restore")) == 2


def test_a_backup_with_a_log_is_restored_with_it(closed: Path, tmp_path: Path, file: Path) -> None:
    """Someone copied a database and its log by hand: what is in the log is part of it."""
    copied = tmp_path / "by-hand.db"
    for suffix in ("", "-wal"):
        shutil.copyfile(file.with_name(file.name + suffix), copied.with_name(copied.name + suffix))
    assert b"seal" not in copied.read_bytes()
    restore(copied, closed)
    assert jobs(closed) == 1


@pytest.mark.parametrize("damage", [b"\0" * 4096, b"no database at all", b""], ids=["zeros", "a text", "nothing"])
def test_a_damaged_database_gives_way_and_is_kept(closed: Path, backup: Path, damage: bytes) -> None:
    closed.write_bytes(damage)
    closed.with_name("titrator.db-wal").write_bytes(b"its log")
    restore(backup, closed)
    assert jobs(closed) == 0
    assert closed.with_name("titrator.db.before-restore").exists()


BAD_BACKUPS: list[tuple[str, Callable[[Path], object], str]] = [
    ("not there", lambda file: file.unlink(), "unable to open"),
    ("cut off", lambda file: os.truncate(file, file.stat().st_size // 2), "backup.db"),
    ("no database", lambda file: file.write_bytes(b"PK" * 1000), "not a database"),
    ("empty", lambda file: file.write_bytes(b""), "not a database of this program"),
    (
        "another program's",
        lambda file: (file.unlink(), sql(file, "create table notes (text)")),
        "not a database of this program",
    ),
    ("with a fault", lambda file: sql(file, "update facts set current = 0"), "without exactly one current version"),
    (
        "a newer version's",
        lambda file: sql(file, "insert into _sqlite_migrations values (9, 'titrator', '9999-later', '')"),
        "newer version",
    ),
]


@pytest.mark.parametrize(("spoil", "says"), [row[1:] for row in BAD_BACKUPS], ids=[row[0] for row in BAD_BACKUPS])
def test_a_bad_backup_is_refused_and_nothing_changes(
    closed: Path, backup: Path, spoil: Callable[[Path], object], says: str
) -> None:
    spoil(backup)
    before = folder_of(closed)
    with pytest.raises(Unusable, match=says):
        restore(backup, closed)
    assert folder_of(closed) == before
    assert jobs(closed) == 1


def test_a_database_that_a_process_has_open_is_not_replaced(closed: Path, backup: Path) -> None:
    code = """
import sys
from pathlib import Path
from titrator.store.sqlite import SqliteStore
store = SqliteStore(Path(sys.argv[1]))
print("open", flush=True)
sys.stdin.readline()
"""
    other = python(code, closed)
    assert other.stdout
    assert other.stdout.readline() == "open\n"
    before = folder_of(closed)
    with pytest.raises(Unusable, match="in use"):
        restore(backup, closed)
    assert folder_of(closed) == before
    other.communicate("\n")
    restore(backup, closed)
    assert jobs(closed) == 0


def test_who_opens_a_database_while_it_is_restored_waits(closed: Path, backup: Path) -> None:
    opened: list[int] = []
    with sqlite._alone(closed):
        thread = threading.Thread(target=lambda: opened.append(jobs(closed)))
        thread.start()
        thread.join(0.2)
        assert thread.is_alive()
    thread.join(10)
    assert opened == [1]


def test_what_a_thread_has_open_is_closed_and_opened_again(store: SqliteStore) -> None:
    store.close()
    store.close()
    with store.reading() as session:
        assert session.count(Clinic) == session.count(Account, Where("id", "=", "a")) == 1
    assert APPLICATION_ID.to_bytes(4, "big") == b"titr"
    with suppress(FileNotFoundError):
        assert store.file.read_bytes()[68:72] == b"titr"
