"""The store on PostgreSQL: its tables are those of SQLite, and many may write at once."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlite_utils

from tests.backends import bare_database, bare_schema, drop, new_database
from tests.store.damage import DAMAGE, UNGUARDED, fill
from tests.store.samples import add_referred_to, sample
from titrator.store import connect, postgres
from titrator.store.base import Duplicate, Overtaken, Session, Stale, StoreError, Unavailable, Unusable, Where
from titrator.store.connect import is_there, name_of, open_store
from titrator.store.postgres import PostgresStore, restore
from titrator.store.records import RECORDS, Account, Clinic, Fact, Job, Patient, Token
from titrator.store.schema import MIGRATIONS, Migration
from titrator.store.sqlite import SqliteStore


@pytest.fixture
def url() -> str:
    """A database with the tables."""
    return new_database()


@pytest.fixture
def bare() -> str:
    """A schema with nothing in it."""
    return bare_schema()


@pytest.fixture
def empty() -> Iterator[str]:
    """A database with nothing in it."""
    made = bare_database()
    yield made
    drop(made)


@pytest.fixture
def store(url: str) -> Iterator[PostgresStore]:
    made = PostgresStore(url, connections=4, wait_seconds=5)
    yield made
    made.close()


def sql(url: str, statement: str) -> list[Any]:
    """What another program gives that has the database open."""
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def jobs(store: PostgresStore) -> list[str]:
    with store.reading() as session:
        return [one.name for one in session.find(Job, order=("name",))]


# The catalogues

Catalogue = dict[str, dict[str, object]]


def of_sqlite(file: Path) -> Catalogue:
    """Of each table: columns with type and nullability, key, references, unique and other indexes, checks."""
    found: Catalogue = {}
    database = sqlite_utils.Database(file)
    for record in RECORDS:
        table: Any = database[record.TABLE]
        indexes = set()
        for one in table.xindexes:
            row = next(row for row in database.execute(f"pragma index_list({record.TABLE})") if row[1] == one.name)
            if row[3] == "pk":
                continue
            text = database.execute("select sql from sqlite_master where name = ?", [one.name]).fetchone()[0] or ""
            where = match[1] if (match := re.search(r"\bwhere (.*)", text, re.DOTALL)) else ""
            columns = tuple(column.name for column in sorted(one.columns) if column.key and column.cid >= 0)
            # Of a table that lies in the order of its key, an index has the rest of the key behind its own columns.
            own = re.search(r" on \w+ *\(([^()]*)\)", text)
            named = tuple(part.strip() for part in own[1].split(",")) if own else columns
            indexes.add((named, bool(row[2]), plain(where)))
        found[record.TABLE] = {
            "columns": [(one.name, one.type.lower(), bool(one.notnull or one.is_pk)) for one in table.columns],
            "key": tuple(table.pks),
            "references": {(one.column, one.other_table, one.other_column) for one in table.foreign_keys},
            "indexes": indexes,
            "checks": sorted(plain(text) for text in checks(table.schema)),
        }
    return found


def checks(schema: str) -> Iterator[str]:
    """What stands in the parentheses of each check."""
    for match in re.finditer(r"\bcheck\s*\(", schema):
        depth, end = 1, match.end()
        while depth:
            depth += {"(": 1, ")": -1}.get(schema[end], 0)
            end += 1
        yield schema[match.end() : end - 1]


def plain(condition: str) -> str:
    """A condition in one way of writing, of those that the two databases have."""
    text = re.sub(r"::(text|bigint)(\[\])?", "", condition.lower()).replace("<>", "!=")
    text = re.sub(r'\s*collate "c"', "", text)
    text = re.sub(r"= any \(array\[([^\]]*)\]\)", r"in (\1)", text)
    return re.sub(r"[()\s]", "", text)


def of_postgresql(url: str) -> Catalogue:
    found: Catalogue = {}
    for record in RECORDS:
        name = record.TABLE
        columns = sql(
            url,
            f"""select a.attname::text, format_type(a.atttypid, null), a.attnotnull, c.collname::text
            from pg_attribute a left join pg_collation c on c.oid = a.attcollation
            where a.attrelid = '{name}'::regclass and a.attnum > 0 order by a.attnum""",
        )
        assert {collation for _, kind, _, collation in columns if kind == "text"} <= {"C"}, name
        constraints = sql(
            url,
            f"""select contype::text, conkey, pg_get_constraintdef(oid) from pg_constraint
            where conrelid = '{name}'::regclass and contype != 't'""",
        )
        names = {number: column for number, (column, *_) in enumerate(columns, 1)}
        references = (
            re.fullmatch(r"FOREIGN KEY \((\w+)\) REFERENCES (\w+)\((\w+)\)", text)
            for kind, _, text in constraints
            if kind == "f"
        )
        indexes = sql(
            url,
            f"""select i.indkey::int[], i.indisunique, coalesce(pg_get_expr(i.indpred, i.indrelid), '')
            from pg_index i where i.indrelid = '{name}'::regclass and not i.indisprimary""",
        )
        kinds = {"bigint": "integer"}
        found[name] = {
            "columns": [(column, kinds.get(kind, kind), required) for column, kind, required, _ in columns],
            "key": next(tuple(names[n] for n in key) for kind, key, _ in constraints if kind == "p"),
            "references": {match.groups() for match in references if match},
            "indexes": {(tuple(names[n] for n in key), unique, plain(where)) for key, unique, where in indexes},
            "checks": sorted(plain(text.removeprefix("CHECK ")) for kind, _, text in constraints if kind == "c"),
        }
    return found


def test_both_catalogues_are_the_same(url: str, tmp_path: Path) -> None:
    SqliteStore(tmp_path / "t.db").close()
    one, other = of_sqlite(tmp_path / "t.db"), of_postgresql(url)
    assert {table: one[table]["columns"] for table in one} == {table: other[table]["columns"] for table in other}
    by_day, unique = (("patient_id", "kind", "day"), False, "current=1"), (("patient_id", "id"), True, "current=1")
    assert by_day in one["facts"]["indexes"]  # type: ignore[operator]
    one["facts"]["indexes"] ^= {by_day, unique}  # type: ignore[operator]
    for table, found in one.items():
        assert other[table] == found, table
    assert sum(len(found["checks"]) for found in one.values()) > 20  # type: ignore[arg-type, misc]


def test_every_table_is_a_record(url: str) -> None:
    made = {row[0] for row in sql(url, "select tablename::text from pg_tables where schemaname = current_schema()")}
    assert made == {record.TABLE for record in RECORDS} | {"titrator_migrations"}


def test_what_is_counted_of_access_is_counted_for_the_same_tables(url: str, tmp_path: Path) -> None:
    SqliteStore(tmp_path / "t.db").close()
    rows = sqlite_utils.Database(tmp_path / "t.db").execute("select tbl_name from sqlite_master where type = 'trigger'")
    counted = sql(url, "select tgrelid::regclass::text from pg_trigger where not tgisinternal")
    assert {row[0] for row in counted} == {row[0] for row in rows.fetchall()} - {"facts"}


# Migrations


def with_migrations(monkeypatch: pytest.MonkeyPatch, *further: Migration) -> None:
    monkeypatch.setattr(postgres, "MIGRATIONS", (*MIGRATIONS, *further))


def test_a_new_database_is_migrated_once(bare: str) -> None:
    assert not is_there(bare)
    with PostgresStore(bare).reading() as session:
        assert session.count(Job) == 0
    at = sql(bare, "select name, at from titrator_migrations")
    assert [name for name, _ in at] == [one.name for one in MIGRATIONS]
    store = PostgresStore(bare)
    assert store.pending() == []
    assert sql(bare, "select name, at from titrator_migrations") == at
    assert is_there(bare)
    store.close()


def test_a_migration_is_applied_whole_or_not_at_all(bare: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with_migrations(monkeypatch, Migration("0002-broken", ("create table more (a integer)", "create nonsense")))
    with pytest.raises(Unusable, match="syntax error"):
        PostgresStore(bare)
    assert sql(bare, "select count(*) from pg_tables where schemaname = current_schema()") == [(0,)]


def test_what_a_newer_version_made_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        with_migrations(patched, Migration("9999-later", ("create table later (a text)",)))
        PostgresStore(url).close()
    try:
        with pytest.raises(Unusable, match=r"newer version of this program \(9999-later\)"):
            PostgresStore(url)
    finally:
        sql(url, "delete from titrator_migrations where name = '9999-later'; drop table later")


def test_a_migration_that_waits_is_told(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = PostgresStore(url)
    with_migrations(monkeypatch, Migration("0002-waits", ()))
    assert store.pending() == ["0002-waits"]
    store.close()


def test_old_programs_work_beside_what_expands_and_refuse_what_contracts(
    bare: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expand = Migration("9001-expand-notes", ("create table notes (id text primary key) strict",))
    contract = Migration("9002-contract-feedback", ("drop table cds_feedback",))
    old = PostgresStore(bare)
    with monkeypatch.context() as newer:
        with_migrations(newer, expand, contract)
        new = PostgresStore(bare)
        assert (new.pending(), new.contractions()) == ([], [contract.name])
    with old.writing() as session:
        add_referred_to(session)
    assert (old.pending(), PostgresStore(bare).check()) == ([], [])
    with monkeypatch.context() as newer:
        with_migrations(newer, expand, contract)
        new.contract()
        assert new.contractions() == []
    for opens in (PostgresStore, connect.look_at_store):
        with pytest.raises(Unusable, match=r"newer version of this program \(9002-contract-feedback\)"):
            opens(bare)


def test_what_is_only_looked_at_is_not_written(url: str, bare: str) -> None:
    store = connect.look_at_store(url)
    with pytest.raises(RuntimeError), store.writing():
        pass
    with pytest.raises(Unusable):
        connect.look_at_store(bare)
    assert not is_there(bare), "it is not made by looking"


def test_the_database_of_another_program_is_refused(bare: str) -> None:
    sql(bare, "create table theirs (a text)")
    with pytest.raises(Unusable, match="not a database of this program"):
        PostgresStore(bare)
    assert sql(bare, "select count(*) from pg_tables where schemaname = current_schema()") == [(1,)]
    assert not is_there(bare)


def test_a_database_that_does_not_hold_every_text_is_refused(empty: str) -> None:
    name = empty.rpartition("/")[2]
    sql(empty.replace(name, "postgres"), f"drop database {name}")
    sql(empty.replace(name, "postgres"), f"create database {name} encoding 'latin1' locale 'C' template template0")
    with pytest.raises(Unusable, match="must be UTF8, not LATIN1"):
        PostgresStore(empty)


def test_four_processes_open_one_new_database_at_once(bare: str) -> None:
    code = "import sys; from titrator.store.postgres import PostgresStore; PostgresStore(sys.argv[1]).close()"
    processes = [subprocess.Popen([sys.executable, "-c", code, bare]) for _ in range(4)]
    assert [one.wait(60) for one in processes] == [0] * 4
    assert PostgresStore(bare).check() == []


# URLs


def test_a_name_tells_no_password() -> None:
    assert name_of("postgresql://eva:secret@db.example:5433/titrator") == "postgresql://eva@db.example:5433/titrator"
    with pytest.raises(Unavailable) as caught:
        open_store("postgresql://eva:secret@127.0.0.1:1/titrator")
    assert str(caught.value).startswith("postgresql://eva@127.0.0.1:1/titrator: connection")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["postgresql://eva:secret@[::1", "postgresql://eva:secret@host:port/db?x=%"])
def test_a_url_that_cannot_be_read_is_told_without_its_password(url: str) -> None:
    with pytest.raises(Unusable) as caught:
        open_store(url)
    assert str(caught.value) == "the URL of the database must be postgresql://USER@HOST:PORT/DATABASE"
    assert caught.value.__suppress_context__


def test_without_the_extra_it_is_told_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(f"No module named 'psycopg', by {name}", name="psycopg")

    monkeypatch.setattr(connect, "import_module", missing)
    with pytest.raises(Unusable, match=r"pip install 'titrator\[postgres\]'"):
        open_store("postgresql://host/db")


def test_the_rest_of_the_program_does_not_need_the_extra() -> None:
    code = (
        "import sys; sys.modules['psycopg'] = sys.modules['psycopg_pool'] = None\n"
        "import titrator.cli, titrator.app, titrator.server"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# Transactions


def test_a_durable_transaction_waits_for_the_disk_even_where_the_server_would_not(url: str) -> None:
    store = PostgresStore(f"{url}?options=-csynchronous_commit%3Doff")

    def mode(*, durable: bool) -> object:
        with store.writing(durable=durable) as session:
            return session._rows("select current_setting('synchronous_commit')", ())[0][0]

    assert (mode(durable=True), mode(durable=False), mode(durable=True)) == ("on", "off", "on")
    store.close()


def test_one_record_that_is_there_does_not_end_the_transaction(store: PostgresStore) -> None:
    with store.writing() as session:
        session.add(sample(Job, name="a"))
        with pytest.raises(Duplicate):
            session.add(sample(Job, name="a"))
        session.add(sample(Job, name="b"))
    assert jobs(store) == ["a", "b"]


def test_a_failure_that_is_passed_over_keeps_nothing_and_is_told(store: PostgresStore) -> None:
    """PostgreSQL would answer the commit as if all were well."""

    def fail() -> None:
        with store.writing() as session:
            session.add(sample(Job, name="a"))
            with suppress(StoreError):
                session.add(sample(Fact, patient_id="nobody"))

    with pytest.raises(StoreError, match="facts: refused by facts_patient_id_fkey"):
        fail()
    assert jobs(store) == []


def test_no_error_says_what_a_row_says(store: PostgresStore) -> None:
    with store.writing() as session:
        add_referred_to(session)
    for wrong in (sample(Fact, kind="Miller"), sample(Job, version="Miller"), sample(Token, account_id="Miller")):
        with pytest.raises(StoreError) as caught, store.writing() as session:
            session.add(wrong)
        assert "Miller" not in str(caught.value)
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__
    with pytest.raises(Duplicate) as found, store.writing() as session:
        session.put(sample(Account, id="2", username=sample(Account).username))
    assert sample(Account).username not in str(found.value)


def test_two_who_write_at_once_write_at_once(store: PostgresStore) -> None:
    """Of two patients: neither waits for the other."""
    with store.writing() as session:
        add_referred_to(session)
        session.add(sample(Patient, id="q"))
    both = threading.Barrier(2, timeout=10)

    def write(ident: str) -> None:
        with store.writing() as session:
            patient = session.get(Patient, ident)
            assert patient
            session.change(replace(patient, given_name="Ida"))
            both.wait()

    with ThreadPoolExecutor(2) as threads:
        for one in [threads.submit(write, ident) for ident in "pq"]:
            one.result(20)


def in_order(store: PostgresStore, first: Callable[[Session], Any], second: Callable[[Session], Any]) -> list[Any]:
    """What two give, the second of which begins when the first has done its part, and before that has ended."""
    done, begun = threading.Event(), threading.Event()

    def one() -> Any:
        with store.writing() as session:
            given = first(session)
            done.set()
            assert begun.wait(10)
            waits(store)
            return given

    def other() -> Any:
        assert done.wait(10)
        with store.writing() as session:
            begun.set()
            return second(session)

    with ThreadPoolExecutor(2) as threads:
        both = [threads.submit(one), threads.submit(other)]
        return [step.result(20) for step in both]


def waits(store: PostgresStore) -> None:
    """Until another transaction waits for a lock."""
    with closing(psycopg.connect(store._conninfo, autocommit=True)) as connection:
        while not connection.execute(
            "select count(*) from pg_locks where not granted and database = (select oid from pg_database "
            "where datname = current_database()) or (not granted and locktype = 'transactionid')"
        ).fetchone()[0]:  # type: ignore[index]
            pass


def test_what_is_got_of_several_keys_is_held_as_what_is_got_by_one(store: PostgresStore) -> None:
    """Rows that are there, those that are not there yet, and both in the same order whichever way they are named."""
    with store.writing() as session:
        session.add(sample(Job, name="there"))

    def first(session: Session) -> list[str]:
        found = session.get_all(Job, [("there",), ("b",), ("a",)])
        session.change(replace(found["there",], version=2))
        session.add(sample(Job, name="a"))
        return sorted(one.name for one in found.values())

    def second(session: Session) -> list[tuple[str, int]]:
        found = session.get_all(Job, [("a",), ("b",), ("there",)])
        return sorted((one.name, one.version) for one in found.values())

    assert in_order(store, first, second) == [["there"], [("a", sample(Job).version), ("there", 2)]]


def test_what_is_got_is_held(store: PostgresStore) -> None:
    with store.writing() as session:
        add_referred_to(session)

    def rename(name: str) -> Callable[[Session], str]:
        def step(session: Session) -> str:
            patient = session.get(Patient, "p")
            assert patient
            session.change(replace(patient, given_name=name))
            return patient.given_name

        return step

    was = sample(Patient).given_name
    assert in_order(store, rename("Ida"), rename("Eva")) == [was, "Ida"]


def test_of_a_job_that_nobody_has_done_only_one_finds_that_it_is_not_there(store: PostgresStore) -> None:
    def claim(session: Session) -> bool:
        if session.get(Job, "seal") is not None:
            return False
        session.add(sample(Job))
        return True

    assert in_order(store, claim, claim) == [True, False]


def test_two_who_find_the_same_name_free_are_told(store: PostgresStore) -> None:
    def add(ident: str) -> Callable[[Session], Any]:
        def step(session: Session) -> Any:
            try:
                session.add(sample(Account, id=ident))
            except Duplicate as error:
                return type(error)
            return ident

        return step

    assert in_order(store, add("a"), add("b")) == ["a", Duplicate]


def test_a_deadlock_is_told_to_one_of_both_and_undone(store: PostgresStore) -> None:
    with store.writing() as session:
        session.add(sample(Job, name="a", version=0), sample(Job, name="b", version=0))
    both = threading.Barrier(2, timeout=10)

    def write(first: str, second: str) -> type[Exception] | None:
        try:
            with store.writing() as session:
                session.update(Job, {"version": 1, "at": first}, Where("name", "=", first))
                both.wait()
                session.update(Job, {"version": 1, "at": first}, Where("name", "=", second))
        except StoreError as error:
            return type(error)
        return None

    with ThreadPoolExecutor(2) as threads:
        told = [one.result(20) for one in [threads.submit(write, *names) for names in ("ab", "ba")]]
    assert sorted(map(str, told)) == sorted([str(None), str(Overtaken)])
    with store.reading() as session:
        assert len({one.at for one in session.find(Job)}) == 1


def test_a_step_that_was_in_anothers_way_is_done_again(store: PostgresStore) -> None:
    tried: list[int] = []

    def step(session: Session) -> None:
        tried.append(1)
        session.add(sample(Job))
        if len(tried) < 3:
            raise Overtaken("deadlock detected")

    store.carry_out(step)
    assert (len(tried), jobs(store)) == (3, ["seal"])
    tried.clear()
    assert store.carry_out_each([lambda session: session.add(sample(Job, name="b"))]) == [None]

    def never(session: Session) -> None:
        raise Overtaken("deadlock detected")

    with pytest.raises(Overtaken):
        store.carry_out(never)


def test_of_several_steps_one_that_was_too_late_is_done_again(store: PostgresStore) -> None:
    tried: list[int] = []

    def late(session: Session) -> None:
        tried.append(1)
        session.add(sample(Job, name="late"))
        if len(tried) < 3:
            raise Stale("facts")

    steps = [lambda session: session.add(sample(Job, name="a")), late, lambda session: session.add(sample(Job))]
    assert store.carry_out_each(steps) == [None] * 3
    assert jobs(store) == ["a", "late", "seal"]


# Stamps


def test_as_long_as_stamps_are_equal_nothing_has_been_committed(store: PostgresStore) -> None:
    before = store.stamp()
    assert store.stamp() == before
    with store.writing() as session:
        session.add(sample(Job, name="a"))
        inside = store.stamp()
    after = store.stamp()
    assert len({before, inside, after}) > 1
    assert after != before
    assert store.stamp() == after


def test_a_stamp_from_before_a_commit_is_none_from_after_it(store: PostgresStore) -> None:
    """Whichever of two that write at once ends first, the other's end makes another stamp."""
    began, go = threading.Event(), threading.Event()

    def slow() -> None:
        with store.writing() as session:
            session.add(sample(Job, name="slow"))
            began.set()
            assert go.wait(10)

    with ThreadPoolExecutor(1) as threads:
        writing = threads.submit(slow)
        assert began.wait(10)
        with store.writing() as session:
            session.add(sample(Job, name="quick"))
        during, seen = store.stamp(), jobs(store)
        assert (store.stamp(), seen) == (during, ["quick"])
        go.set()
        writing.result(10)
    assert jobs(store) == ["quick", "slow"]
    assert store.stamp() != during


def test_the_count_of_access_holds_nobody_up(store: PostgresStore) -> None:
    """Two who change accounts at once both go on until they end."""
    with store.writing() as session:
        session.add(sample(Account), sample(Account, id="b", username="b"))
    both = threading.Barrier(2, timeout=10)

    def write(ident: str) -> None:
        with store.writing() as session:
            session.update(Account, {"failed_logins": 3}, Where("id", "=", ident))
            both.wait()

    before = store.stamp("access")
    with ThreadPoolExecutor(2) as threads:
        for one in [threads.submit(write, ident) for ident in (sample(Account).id, "b")]:
            one.result(20)
    assert store.stamp("access") != before


# Failures


def test_a_connection_that_was_cut_is_replaced_unseen(store: PostgresStore) -> None:
    def cut() -> None:
        others = "datname = current_database() and pid != pg_backend_pid()"
        sql(store._conninfo, f"select pg_terminate_backend(pid, 5000) from pg_stat_activity where {others}")

    with store.writing() as session:
        session.add(sample(Job, name="a"))
    stamp = store.stamp()
    cut()
    assert jobs(store) == ["a"]
    assert store.stamp() != stamp, "it may be another server by now"
    cut()
    with store.writing() as session:
        session.add(sample(Job, name="b"))
    assert jobs(store) == ["a", "b"]


@pytest.mark.parametrize("further", [True, False], ids=["within", "at the end of"])
def test_a_connection_that_is_cut_in_a_transaction_is_told_and_leaves_nothing(
    store: PostgresStore, further: bool
) -> None:
    def write() -> None:
        with store.writing() as session:
            session.add(sample(Job, name="a"))
            sql(store._conninfo, f"select pg_terminate_backend({session._connection.info.backend_pid}, 5000)")
            if further:
                session.add(sample(Job, name="b"))

    with pytest.raises(Unavailable):
        write()
    assert jobs(store) == []


def test_who_gets_no_connection_in_time_is_told_and_others_go_on(url: str) -> None:
    store = PostgresStore(url, connections=1, wait_seconds=0.2)
    with store.writing() as session, ThreadPoolExecutor(1) as threads:
        with pytest.raises(Unavailable, match="couldn't get a connection"):
            threads.submit(jobs, store).result(10)
        session.add(sample(Job))
    assert jobs(store) == ["seal"]
    store.close()


def test_a_server_that_is_not_there_is_told(store: PostgresStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.close()
    monkeypatch.setattr(store, "_conninfo", "host=127.0.0.1 port=1 dbname=test connect_timeout=1")
    monkeypatch.setattr(store, "_wait_seconds", 0.3)
    for _ in range(2):
        with pytest.raises(Unavailable), store.reading():
            pass
    with pytest.raises(Unavailable):
        store.stamp()
    assert store.check()[0].startswith("cannot be read to its end")
    store.close()


def test_a_store_does_not_outlive_a_fork(store: PostgresStore) -> None:
    assert jobs(store) == []
    child = os.fork()
    if child == 0:  # nothing of pytest may go on here
        try:
            store.stamp()
        except RuntimeError as error:
            os._exit(0 if "after a fork" in str(error) else 1)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert jobs(store) == []


# Checks


_HEAVIER = """create function heavier() returns trigger language plpgsql as $$ begin
    new.value = '140'; return new; end $$;"""
_NOTED = "create function noted(said text) returns {} language sql immutable as $$ select {} $$; "
ACTING = [
    (
        "a trigger that changes what is recorded",
        f"{_HEAVIER} create trigger heavier before insert on facts for each row execute function heavier()",
        "trigger heavier: none of this program",
    ),
    (
        "a trigger of ours that does something else",
        "create or replace function count_access() returns trigger language plpgsql as $$ begin return null; end $$",
        "trigger tokens_changed: none of this program",
    ),
    (
        "a rule that changes what is recorded",
        "create rule nothing as on insert to facts do instead nothing",
        "rule nothing: none of this program",
    ),
    *(
        (
            f"{what} that does more than it says",
            _NOTED.format(returns, gives) + made,
            "function noted: none of this program",
        )
        for what, returns, gives, made in (
            ("a check", "boolean", "true", "alter table accounts add constraint noting check (noted(username))"),
            ("an index", "text", "said", "create index noting on accounts (noted(username))"),
            ("a default", "text", "said", "alter table accounts alter username set default noted('x')"),
        )
    ),
    ("no trigger", "drop trigger tokens_changed on tokens", "^no trigger tokens_changed$"),
    (
        "a policy that hides rows",
        "alter table accounts enable row level security; create policy hidden on accounts using (role != 'admin')",
        "policy hidden: none of this program",
    ),
]


@pytest.mark.parametrize(
    ("statements", "says"), [row[1:] for row in DAMAGE + ACTING], ids=[row[0] for row in DAMAGE + ACTING]
)
def test_check_tells(bare: str, statements: str, says: str) -> None:
    store = PostgresStore(bare)
    fill(store)
    assert store.check() == []
    statements = statements.replace(UNGUARDED, "drop index one_current_version_a_fact")
    sql(bare, f"{statements} cascade" if statements.startswith("drop table") else statements)
    assert any(re.search(says, fault) for fault in store.check()), store.check()
    store.close()


def test_check_tells_of_rows_that_refer_to_nothing(bare: str) -> None:
    store = PostgresStore(bare)
    fill(store)
    sql(bare, "set session_replication_role = replica; delete from clinics")
    assert "patients: 1 rows refer to clinics, where nothing is" in store.check()
    store.close()


# Backups


def test_a_backup_is_restored_into_an_empty_database_only(store: PostgresStore, empty: str, tmp_path: Path) -> None:
    fill(store)
    file = tmp_path / "backup"
    store.backup(file)
    assert file.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in tmp_path.iterdir()] == ["backup"]
    with pytest.raises(StoreError, match="is there already"):
        store.backup(file)
    restore(file, empty)
    copy = PostgresStore(empty)
    for record in RECORDS:
        with store.reading() as one, copy.reading() as other:
            assert list(one.scan(record)) == list(other.scan(record)), record
    assert copy.check() == []
    with pytest.raises(Unusable, match="is not empty"):
        restore(file, empty)
    copy.close()


BAD_BACKUPS: list[tuple[str, Callable[[bytes], bytes], str]] = [
    ("of SQLite", lambda _: b"SQLite format 3\0", "no backup of a PostgreSQL database"),
    ("that was cut off", lambda whole: whole[: len(whole) // 2], "pg_restore"),
]


@pytest.mark.parametrize(("damaged", "says"), [row[1:] for row in BAD_BACKUPS], ids=[row[0] for row in BAD_BACKUPS])
def test_a_bad_backup_changes_nothing(
    store: PostgresStore, empty: str, tmp_path: Path, damaged: Callable[[bytes], bytes], says: str
) -> None:
    fill(store)
    store.backup(tmp_path / "whole")
    (tmp_path / "bad").write_bytes(damaged((tmp_path / "whole").read_bytes()))
    with pytest.raises(Unusable, match=says):
        restore(tmp_path / "bad", empty)
    assert sql(empty, "select count(*) from pg_tables where schemaname = current_schema()") == [(0,)]


def test_a_backup_that_contradicts_itself_is_not_kept(empty: str, tmp_path: Path) -> None:
    store = PostgresStore(empty)
    fill(store)
    sql(empty, "delete from courses")
    store.backup(tmp_path / "backup")
    store.close()
    other = bare_database()
    with pytest.raises(Unusable, match="more or less is kept than was recorded: p"):
        restore(tmp_path / "backup", other)
    assert sql(other, "select count(*) from pg_tables where schemaname = current_schema()") == [(0,)]
    assert PostgresStore(other).check() == []


def test_a_backup_of_another_program_leaves_nothing(empty: str, tmp_path: Path) -> None:
    other = bare_database()
    sql(other, "create schema theirs; create table theirs.t (a int); create function f() returns int return 1; ")
    sql(other, "create type mood as enum ('good'); create table u (a mood)")
    file = tmp_path / "theirs"
    subprocess.run(["pg_dump", f"--dbname={other}", "--format=custom", f"--file={file}"], check=True)
    with pytest.raises(Unusable, match="theirs: not a database of this program"):
        restore(file, empty)
    for what in (
        "pg_proc where proname = 'f'",
        "pg_namespace where nspname = 'theirs'",
        "pg_type where typname = 'mood'",
    ):
        assert sql(empty, f"select count(*) from {what}") == [(0,)]


def test_a_backup_that_would_act_is_taken_away_again(empty: str, tmp_path: Path) -> None:
    store = PostgresStore(empty)
    fill(store)
    sql(empty, "create function noted(said text) returns boolean language sql immutable as $$ select true $$")
    sql(empty, "alter table accounts add constraint noting check (noted(username))")
    store.backup(tmp_path / "backup")
    store.close()
    other = bare_database()
    sql(other, "create function theirs() returns int return 1")
    with pytest.raises(Unusable, match="function noted: none of this program"):
        restore(tmp_path / "backup", other)
    assert sql(other, "select proname from pg_proc where pronamespace = 'public'::regnamespace") == [("theirs",)]
    assert PostgresStore(other).check() == []


def test_a_name_with_a_hyphen_in_front_is_a_file(
    store: PostgresStore, empty: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store)
    monkeypatch.chdir(tmp_path)
    store.backup(Path("--list"))
    restore(Path("--list"), empty)
    assert PostgresStore(empty).check() == []


def test_without_the_programs_of_postgresql_it_is_told(
    store: PostgresStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StoreError, match="pg_dump is not there: install the client programs of PostgreSQL"):
        store.backup(tmp_path / "backup")
    assert not list(tmp_path.iterdir())


def test_clinics_are_read_by_all_who_write_at_once(store: PostgresStore) -> None:
    with store.writing() as session:
        add_referred_to(session)
    both = threading.Barrier(2, timeout=10)

    def look() -> Clinic | None:
        with store.writing() as session:
            found = session.get(Clinic, sample(Clinic).id)
            both.wait()
            return found

    with ThreadPoolExecutor(2) as threads:
        assert [one.result(20) for one in [threads.submit(look) for _ in range(2)]] == [sample(Clinic)] * 2
