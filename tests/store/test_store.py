"""What every store does, whichever database is behind it."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.store.samples import NOON, REFERRED_TO, TEXTS, add_referred_to, any_of, sample
from titrator.store.base import CourseFact, Duplicate, Session, Stale, Store, StoreError, Where
from titrator.store.draft import Draft
from titrator.store.records import (
    RECORDS,
    Account,
    ApiClient,
    AuditRow,
    Clinic,
    CourseVersion,
    Delivery,
    ExternalId,
    Fact,
    GlassBreak,
    Identifier,
    Job,
    Patient,
    Record,
    Token,
)
from titrator.store.rows import mapping

one_store_for_all_examples = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


class Undone(Exception):
    """Raised to leave a transaction."""


@contextmanager
def undone(store: Store) -> Iterator[Session]:
    """A writing transaction that leaves nothing behind, so that many examples can use one store."""
    with suppress(Undone), store.writing() as session:
        yield session
        raise Undone


def key_of(record: Record) -> list[object]:
    return [getattr(record, name) for name in record.KEY]


def in_another_thread(step: Callable[[], object]) -> None:
    with ThreadPoolExecutor(1) as threads:
        threads.submit(step).result()


def add(store: Store, *records: Record) -> None:
    with store.writing() as session:
        session.add(*records)


def found(store: Store, kind: type[Record], *where: Where) -> int:
    with store.reading() as session:
        return session.count(kind, *where)


@pytest.fixture
def filled(store: Store) -> Store:
    """A store with a clinic, a patient and an account."""
    with store.writing() as session:
        add_referred_to(session)
    return store


# Round trips


@pytest.mark.parametrize("kind", RECORDS, ids=lambda kind: kind.__name__)
@one_store_for_all_examples
@given(data=st.data())
def test_a_record_comes_back_as_it_was(store: Store, kind: type[Record], data: st.DataObject) -> None:
    record = data.draw(any_of(kind))
    with undone(store) as session:
        add_referred_to(session, kind)
        session.add(record)
        back = session.get(kind, *key_of(record))
        assert back == record
        assert session.find(kind, *(Where(name, "=", getattr(record, name)) for name in kind.KEY)) == [record]


@pytest.mark.parametrize(
    "amount", ["0", "-0", "0.1", "58.10", "0.000000000000000000000001", "999999999999.999999999999999999999999", "1E+3"]
)
def test_an_amount_keeps_its_last_digit(filled: Store, amount: str) -> None:
    add(filled, sample(Fact, value=Decimal(amount)))
    with filled.reading() as session:
        fact = session.get(Fact, "p", 1, 1)
        assert fact
        assert fact.value == Decimal(amount)
        assert format(fact.value, "f") == format(Decimal(amount), "f")
        assert [one.value for one in session.course_facts("p")] == [format(Decimal(amount), "f")]


def test_none_and_the_empty_text_are_two_things(filled: Store) -> None:
    add(filled, sample(Fact, id=1, code=None), sample(Fact, id=2, code=""))
    with filled.reading() as session:
        assert [fact.code for fact in session.find(Fact, order=("id",))] == [None, ""]
        assert [fact.id for fact in session.find(Fact, Where("code", "is null"))] == [1]
        assert [fact.id for fact in session.find(Fact, Where("code", "=", ""))] == [2]


def test_what_no_database_can_hold_is_refused_and_leaves_nothing(store: Store) -> None:
    with pytest.raises((StoreError, ValueError)), store.writing() as session:
        session.add(sample(Clinic), sample(Job, at="\ud800"))
    assert found(store, Clinic) == 0


# Conditions and orders

COMPARED: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "in": lambda a, b: a in b,
    "contains": lambda a, b: b in a,
}
SHORT = st.text("aAzäß€😀%_'", max_size=3)
COLUMNS: dict[str, st.SearchStrategy[Any]] = {"display_name": SHORT, "failed_logins": st.integers(-2, 2)}
NULLABLE = "locked_until"


def conditions() -> st.SearchStrategy[Where]:
    def of(column: str) -> st.SearchStrategy[Where]:
        value = COLUMNS[column]
        comparing = st.builds(Where, st.just(column), st.sampled_from(("=", "!=", "<", "<=", ">", ">=")), value)
        within = st.builds(Where, st.just(column), st.just("in"), st.lists(value, max_size=3).map(tuple))
        containing = st.builds(Where, st.just(column), st.just("contains"), value)
        return comparing | within | containing if column == "display_name" else comparing | within

    null = st.builds(Where, st.just(NULLABLE), st.sampled_from(("is null", "is not null")))
    compared_with_null = st.builds(Where, st.just(NULLABLE), st.sampled_from(("=", "!=", "<", ">=")), SHORT)
    return st.sampled_from(sorted(COLUMNS)).flatmap(of) | null | compared_with_null


def meets(account: Account, where: Where) -> bool:
    value = getattr(account, where.column)
    if where.operator in ("is null", "is not null"):
        return (value is None) == (where.operator == "is null")
    return value is not None and COMPARED[where.operator](value, where.value)


@one_store_for_all_examples
@given(
    rows=st.lists(st.tuples(SHORT, st.integers(-2, 2), st.none() | SHORT), max_size=8),
    where=st.lists(conditions(), max_size=3),
    order=st.permutations(("display_name", "failed_logins")).flatmap(
        lambda names: st.tuples(*(st.sampled_from((name, f"-{name}")) for name in names))
    ),
    limit=st.none() | st.integers(0, 4),
)
def test_find_gives_what_a_filter_and_a_sort_in_python_give(
    store: Store, rows: list[Any], where: list[Where], order: tuple[str, ...], limit: int | None
) -> None:
    accounts = [
        sample(Account, id=str(i), username=str(i), display_name=name, failed_logins=failed, locked_until=locked)
        for i, (name, failed, locked) in enumerate(rows)
    ]
    expected = sorted((one for one in accounts if meets(one, where[0])), key=lambda one: one.id) if where else accounts
    for condition in where[1:]:
        expected = [one for one in expected if meets(one, condition)]
    for name in reversed(order):
        expected.sort(key=lambda one: getattr(one, name.lstrip("-")), reverse=name.startswith("-"))
    with undone(store) as session:
        session.add(*accounts)
        assert session.count(Account, *where) == len(expected)
        got = session.find(Account, *where, order=order, limit=limit)
        ranks = [(one.display_name, one.failed_logins) for one in got]
        assert ranks == [(one.display_name, one.failed_logins) for one in expected[:limit]]
        columns = ("failed_logins", "display_name", "locked_until")
        told = session.values(Account, columns, *where, order=order, limit=limit)
        assert [(name, failed) for failed, name, _ in told] == ranks
        if limit is None:
            assert {one.id for one in got} == {one.id for one in expected}
            assert Counter(told) == Counter((one.failed_logins, one.display_name, one.locked_until) for one in got)
        assert session.remove(Account, *where) == len(expected)
        gone = {one.id for one in expected}
        assert {one.id for one in session.find(Account)} == {one.id for one in accounts} - gone


@one_store_for_all_examples
@given(names=st.lists(TEXTS, max_size=6, unique=True))
def test_texts_are_in_the_order_of_their_code_points(store: Store, names: list[str]) -> None:
    with undone(store) as session:
        session.add(*(sample(Job, name=name) for name in names))
        assert [job.name for job in session.find(Job, order=("name",))] == sorted(names)
        assert [job.name for job in session.find(Job, order=("-name",))] == sorted(names, reverse=True)
        assert session.values(Job, ("name",), order=("name",)) == [(name,) for name in sorted(names)]


def test_what_is_searched_for_is_a_text_and_no_pattern(store: Store) -> None:
    add(store, *(sample(Job, name=name) for name in ("100%", "1000", "a_b", "acb", "it's")))
    with store.reading() as session:
        for part, names in (("0%", ["100%"]), ("_", ["a_b"]), ("'", ["it's"]), ("A_B", [])):
            assert [job.name for job in session.find(Job, Where("name", "contains", part))] == names


@pytest.mark.parametrize("limit", [10, None])
@pytest.mark.parametrize("kind", RECORDS, ids=lambda kind: kind.__name__)
def test_columns_are_read_as_they_are_stored(filled: Store, kind: type[Record], limit: int | None) -> None:
    with filled.reading() as session:
        columns = mapping(kind).columns
        rows = session.values(kind, tuple(reversed(columns)), order=kind.KEY, limit=limit)
        assert [row[::-1] for row in rows] == [
            tuple(mapping(kind).to_row(one)) for one in session.find(kind, order=kind.KEY)
        ]


# Stamps


def test_the_stamp_of_access_is_another_after_each_change_of_an_account_or_token_and_no_other(filled: Store) -> None:
    def changed(step: Callable[[Session], object]) -> bool:
        before = filled.stamp("access")
        with filled.writing() as session:
            step(session)
        return filled.stamp("access") != before

    token, account = sample(Token), sample(Account)
    assert changed(lambda session: session.add(token))
    assert changed(lambda session: session.change(replace(token, revoked_at=NOON)))
    assert changed(lambda session: session.change(replace(account, active=False)))
    assert changed(lambda session: session.update(Token, {"label": "x"}, Where("id", "=", token.id)))
    assert changed(lambda session: session.remove(Token, Where("id", "=", token.id)))
    assert not changed(lambda session: session.add(sample(Job)))
    assert not changed(lambda session: session.find(Account))


# Adding, changing, removing


@pytest.mark.parametrize("kind", RECORDS, ids=lambda kind: kind.__name__)
def test_a_key_is_there_once(store: Store, kind: type[Record]) -> None:
    with store.writing() as session:
        add_referred_to(session)
        if kind not in REFERRED_TO:
            session.add(sample(kind))
    with pytest.raises(Duplicate), store.writing() as session:
        session.add(sample(kind))
    key = [Where(name, "=", getattr(sample(kind), name)) for name in kind.KEY]
    assert found(store, kind, *key) == 1


UNIQUE: list[tuple[str, Record, Record]] = [
    ("two accounts of a name", sample(Account, id="b"), sample(Account, id="b2")),
    ("two tokens of an id", sample(Token, sha256="1"), sample(Token, sha256="2")),
    ("two patients of an identifier", sample(Identifier), sample(Identifier, patient_id="p2")),
    ("two open courses", sample(CourseVersion), sample(CourseVersion, id=2, status="paused")),
    ("two current versions of a fact", sample(Fact), sample(Fact, version=2)),
    ("two facts of an external id", sample(ExternalId), sample(ExternalId, fact_id=2)),
]


@pytest.mark.parametrize(("first", "second"), [row[1:] for row in UNIQUE], ids=[row[0] for row in UNIQUE])
def test_there_are_no(filled: Store, first: Record, second: Record) -> None:
    add(filled, sample(Patient, id="p2"), replace(first, username="b") if isinstance(first, Account) else first)
    if isinstance(second, Account):
        second = replace(second, username="b")
    before = found(filled, type(first))
    with pytest.raises(Duplicate):
        add(filled, second)
    assert found(filled, type(first)) == before


def test_a_second_course_may_be_open_once_the_first_is_ended(filled: Store) -> None:
    ended = sample(CourseVersion, status="discontinued", ended_on="2026-03-08")
    add(filled, ended, sample(CourseVersion, id=2, status="entered-in-error"), sample(CourseVersion, id=3))
    assert found(filled, CourseVersion) == 3


def test_an_old_version_of_an_open_course_may_be_kept(filled: Store) -> None:
    add(filled, sample(CourseVersion, current=False), sample(CourseVersion, version=2, status="paused"))
    assert found(filled, CourseVersion) == 2


REFUSED: list[tuple[str, Record]] = [
    ("a patient of no clinic", sample(Patient, id="q", clinic_id="nowhere")),
    ("a fact of no patient", sample(Fact, patient_id="nobody")),
    ("a course of no patient", sample(CourseVersion, patient_id="nobody")),
    ("an external id of no patient", sample(ExternalId, patient_id="nobody")),
    ("an identifier of no patient", sample(Identifier, patient_id="nobody")),
    ("a token of no account", sample(Token, account_id="nobody")),
    ("an emergency of no patient", sample(GlassBreak, patient_id="nobody")),
    ("a fact of an unknown kind", sample(Fact, kind="mood")),
    ("a fact of an unknown status", sample(Fact, status="maybe")),
    ("a course of an unknown status", sample(CourseVersion, status="maybe")),
    ("a token of an unknown kind", sample(Token, kind="cookie")),
    ("a day that is none", sample(Fact, day=None)),
    ("a number where a text belongs", sample(Fact, code=b"x")),
    ("a text where a number belongs", sample(Job, version="one")),
]


@pytest.mark.parametrize("record", [row[1] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_is_refused_and_is_no_duplicate(filled: Store, record: Record) -> None:
    with pytest.raises(StoreError) as caught:
        add(filled, record)
    assert not isinstance(caught.value, Duplicate)


@pytest.mark.parametrize("many", [1, 24, 25, 26, 60])
def test_many_records_are_added_and_put_in_the_place_of_those_of_their_keys(store: Store, many: int) -> None:
    jobs = [sample(Job, name=f"{number:03}", version=number) for number in range(many)]
    add(store, *jobs[: many // 2])
    again = [replace(job, version=job.version + 1000) for job in jobs]
    with store.writing() as session:
        session.put(*again)
    with store.reading() as session:
        assert session.find(Job, order=("name",)) == again


def test_of_many_records_none_is_added_if_one_is_there(store: Store) -> None:
    jobs = [sample(Job, name=f"{number:03}") for number in range(30)]
    add(store, jobs[20])
    with pytest.raises(Duplicate):
        add(store, *jobs)
    assert found(store, Job) == 1


def test_many_come_back_as_they_were_whatever_is_in_their_texts(filled: Store) -> None:
    texts = [None, "", "\\N", "\\", "\\t", "\t", "a\nb", "\r\n", "\\.", "'", '"', "ü 漢"]
    facts = [sample(Fact, id=number, reason=text, code=text) for number, text in enumerate(texts, 1)]
    add(filled, *facts)
    with filled.reading() as session:
        assert session.find(Fact, order=("id",)) == facts


@pytest.mark.parametrize("wrong", [{"code": b"x"}, {"day": None}, {"patient_id": "nobody"}, {"unreliable": "one"}])
def test_what_is_refused_alone_is_refused_among_many(filled: Store, wrong: dict[str, Any]) -> None:
    many = [sample(Fact, id=number) for number in range(1, 30)]
    with pytest.raises((StoreError, ValueError)) as caught:
        add(filled, *many, sample(Fact, id=30, **wrong), *(sample(Fact, id=number) for number in range(31, 40)))
    assert not isinstance(caught.value, Duplicate)
    assert found(filled, Fact) == 0


def test_what_others_refer_to_is_not_removed(filled: Store) -> None:
    with pytest.raises(StoreError), filled.writing() as session:
        session.remove(Clinic)
    assert found(filled, Clinic) == 1


def test_a_change_is_of_one_record_only(filled: Store) -> None:
    add(filled, sample(Fact, id=1), sample(Fact, id=2))
    with filled.writing() as session:
        session.change(sample(Fact, id=2, day="2026-03-10"))
    with filled.reading() as session:
        assert [fact.day for fact in session.find(Fact, order=("id",))] == ["2026-03-09", "2026-03-10"]


STALE: list[tuple[str, Record, tuple[Where, ...]]] = [
    ("a record that is not there", sample(Job, name="other"), ()),
    ("another version than was seen", sample(Job, version=2), (Where("version", "=", 2),)),
    ("one of two conditions not met", sample(Job), (Where("version", "=", 1), Where("at", ">", "2027"))),
]


@pytest.mark.parametrize(("record", "where"), [row[1:] for row in STALE], ids=[row[0] for row in STALE])
def test_is_stale(store: Store, record: Record, where: tuple[Where, ...]) -> None:
    add(store, sample(Job))
    with pytest.raises(Stale), store.writing() as session:
        session.change(record, *where)
    with store.reading() as session:
        assert session.find(Job) == [sample(Job)]


def test_a_change_into_a_duplicate_is_refused(store: Store) -> None:
    add(store, sample(Account), sample(Account, id="b", username="b"))
    with pytest.raises(Duplicate), store.writing() as session:
        session.change(sample(Account, id="b", username="eva"))
    with store.reading() as session:
        assert [one.username for one in session.find(Account, order=("id",))] == ["eva", "b"]


# Claiming

#: What is claimed of five jobs: conditions, order, limit, and the names of those that are given, in order.
CLAIMED: list[tuple[str, tuple[Where, ...], tuple[str, ...], int | None, list[str]]] = [
    ("all of them", (), ("name",), None, ["0", "1", "2", "3", "4"]),
    ("the last first", (), ("-name",), None, ["4", "3", "2", "1", "0"]),
    ("the first two", (), ("name",), 2, ["0", "1"]),
    ("the last two", (), ("-name",), 2, ["4", "3"]),
    ("by two columns", (), ("at", "-name"), 3, ["1", "0", "4"]),
    ("those that meet a condition", (Where("name", ">=", "3"),), ("name",), None, ["3", "4"]),
    ("those that meet all", (Where("name", ">=", "1"), Where("at", "=", "b")), ("name",), None, ["2", "3", "4"]),
    ("the first of those", (Where("at", "=", "b"),), ("-name",), 1, ["4"]),
    ("as many as there are", (Where("name", "=", "2"),), ("name",), 5, ["2"]),
    ("none at all", (), ("name",), 0, []),
    ("none that there is", (Where("name", "=", "9"),), ("name",), 5, []),
    ("one of a list", (Where("name", "in", ("4", "9")),), (), None, ["4"]),
    ("without a limit or an order", (Where("name", "=", "2"),), (), None, ["2"]),
]


@pytest.mark.parametrize(
    ("where", "order", "limit", "names"), [row[1:] for row in CLAIMED], ids=[r[0] for r in CLAIMED]
)
def test_claimed_are(
    store: Store, where: tuple[Where, ...], order: tuple[str, ...], limit: int | None, names: list[str]
) -> None:
    """Those that are given are changed, and no others; of them nothing but the columns that are named."""
    jobs = [sample(Job, name=str(number), at="a" if number < 2 else "b") for number in range(5)]
    add(store, *reversed(jobs))
    with store.writing() as session:
        claimed = session.claim(Job, {"version": 7}, *where, order=order, limit=limit)
    assert [(one.name, one.version) for one in claimed] == [(name, 7) for name in names]
    with store.reading() as session:
        after = [replace(one, version=7) if one.name in names else one for one in jobs]
        assert session.find(Job, order=("name",)) == after


def test_a_claim_gives_records_as_they_are_then(filled: Store) -> None:
    """Also where what is changed is what they were in order of, or chosen by; nothing is null and null comes first."""
    deliveries = [
        sample(Delivery, step=step, rank=step % 2, error=error) for step, error in enumerate(["b", None, "a"])
    ]
    add(filled, *deliveries)
    changes: dict[str, str | int | None] = {"rank": 5, "error": None, "leased_by": "w"}
    with filled.writing() as session:
        claimed = session.claim(Delivery, changes, Where("rank", "<", 5), order=("-rank", "step"), limit=2)
        assert {one.step for one in claimed} == {0, 1}
        assert claimed == [session.get(Delivery, "p", "dose-due", "2026-03-09", s, "patient", "ch") for s in (0, 1)]
    assert {(one.rank, one.error, one.leased_by) for one in claimed} == {(5, None, "w")}
    assert found(filled, Delivery, Where("leased_by", "=", "w")) == 2


def test_updated_are_those_that_meet_the_conditions_and_how_many_is_told(store: Store) -> None:
    jobs = [sample(Job, name=str(number), at="a" if number < 2 else "b") for number in range(5)]
    add(store, *jobs)
    with store.writing() as session:
        assert session.update(Job, {"version": 7, "at": "c"}, Where("at", "=", "b")) == 3
        assert session.update(Job, {"version": 8}, Where("at", "=", "nothing")) == 0
    with undone(store) as session:
        assert session.update(Job, {"version": 9}) == 5
    with store.reading() as session:
        assert session.find(Job, order=("name",)) == jobs[:2] + [replace(one, version=7, at="c") for one in jobs[2:]]
        with pytest.raises(RuntimeError):
            session.update(Job, {"version": 9})


def test_a_claim_is_undone_with_its_transaction(store: Store) -> None:
    add(store, sample(Job))
    with undone(store) as session:
        assert session.claim(Job, {"version": 7}) == [sample(Job, version=7)]
    with store.reading() as session:
        assert session.find(Job) == [sample(Job)]


def test_a_claim_may_be_refused(filled: Store) -> None:
    """What a table does not allow is no claim, and changes nothing."""
    add(filled, sample(Delivery))
    with pytest.raises(StoreError), filled.writing() as session:
        session.claim(Delivery, {"status": "lost"})
    assert found(filled, Delivery, Where("status", "=", "waiting")) == 1


def test_of_who_claim_at_once_no_record_goes_to_both(filled: Store) -> None:
    """Four threads, each with a connection of its own, take three of a hundred deliveries at a time."""
    add(filled, *(sample(Delivery, step=step, id=str(step)) for step in range(100)))
    free = Where("leased_by", "=", "")

    def lease(worker: str) -> list[int]:
        mine: list[int] = []
        while True:
            with filled.writing() as session:
                some = session.claim(Delivery, {"leased_by": worker}, free, order=("step",), limit=3)
            if not some:
                filled.close()
                return mine
            mine += [one.step for one in some]

    with ThreadPoolExecutor(4) as threads:
        leased = [one.result() for one in [threads.submit(lease, name) for name in "abcd"]]
    assert sorted(step for some in leased for step in some) == list(range(100))
    with filled.reading() as session:
        for name, some in zip("abcd", leased, strict=True):
            assert [one.step for one in session.find(Delivery, Where("leased_by", "=", name), order=("step",))] == some


def test_who_takes_records_has_them_until_the_transaction_ends(filled: Store) -> None:
    """Another one that takes then does not get what has been changed meanwhile."""
    add(filled, *(sample(Delivery, step=step) for step in range(4)))
    free = Where("leased_by", "=", "")
    began, waits = threading.Event(), threading.Event()

    def take(worker: str, many: int) -> list[int]:
        if worker == "b":
            assert began.wait(10)
            waits.set()
        with filled.writing() as session:
            some = session.take(Delivery, free, order=("step",), limit=many)
            began.set()
            assert waits.wait(10)
            session.put(*(replace(one, leased_by=worker) for one in some))
        filled.close()
        return [one.step for one in some]

    with ThreadPoolExecutor(2) as threads:
        both = [threads.submit(take, "a", 3), threads.submit(take, "b", 3)]
        assert [one.result() for one in both] == [[0, 1, 2], [3]]


@pytest.mark.parametrize("there", [True, False])
def test_who_holds_what_another_one_holds_waits_for_its_end(filled: Store, there: bool) -> None:
    """Whether it is there or not, and in whatever order they name it: none waits for the other for ever."""
    if there:
        add(filled, *(sample(Identifier, system="urn:x", value=value) for value in "ab"))
    keys = [("urn:x", "a"), ("urn:x", "b")]
    began, has_it = threading.Event(), threading.Event()

    def first() -> None:
        with filled.writing() as session:
            session.hold(Identifier, keys)
            began.set()
            assert not has_it.wait(0.2)
        assert has_it.wait(10)
        filled.close()

    def second() -> None:
        assert began.wait(10)
        with filled.writing() as session:
            session.hold(Identifier, keys[::-1])
            has_it.set()
        filled.close()

    with ThreadPoolExecutor(2) as threads:
        for one in [threads.submit(first), threads.submit(second)]:
            one.result()


@pytest.mark.parametrize(
    "refused",
    [
        lambda draft: draft.claim(Job, {"version": 7}),
        lambda draft: draft.update(Job, {"version": 7}),
        lambda draft: draft.take(Job),
        lambda draft: draft.remove(Job),
    ],
    ids=["claim", "update", "take", "remove"],
)
def test_a_draft_refuses(store: Store, refused: Callable[[Draft], object]) -> None:
    """It could not say which they were."""
    add(store, sample(Job))
    with store.reading() as session, pytest.raises(RuntimeError, match="a draft cannot"):
        refused(Draft(session))


def test_a_draft_sees_a_patient_as_it_would_change_him(filled: Store) -> None:
    """So he can be changed twice; what it rests on is the patient as he was."""
    with filled.reading() as session:
        made, patient = Draft(session), session.find(Patient)[0]
        for revision in (1, 2):
            seen = made.get(Patient, patient.id)
            assert seen is not None
            changed = replace(seen, revision=patient.revision + revision)
            made.change(changed, Where("revision", "=", seen.revision), old=seen)
    with filled.writing() as session:
        made.carry_out(session)
        assert session.get(Patient, patient.id) == replace(patient, revision=patient.revision + 2)
    with filled.writing() as session, pytest.raises(Stale):
        made.carry_out(session)


def test_remove_tells_how_many_they_were(store: Store) -> None:
    add(store, *(sample(Job, name=str(number)) for number in range(5)))
    with store.writing() as session:
        assert session.remove(Job, Where("name", ">=", "3")) == 2
        assert session.remove(Job, Where("name", ">=", "3")) == 0
    assert found(store, Job) == 3


def test_what_is_not_there_is_none(store: Store) -> None:
    with store.reading() as session:
        assert session.get(Fact, "p", 1, 1) is None
        assert session.find(Fact) == []
        assert session.course_facts("p") == []


def test_of_several_keys_those_that_are_there_are_given(filled: Store) -> None:
    add(filled, *(sample(Identifier, system=system, value="1") for system in ("a", "b")), sample(Job, name="a"))
    asked = [("b", "1"), ("a", "2"), ("a", "1"), ("b", "1"), ("a\0", "1")]
    for transaction in (filled.reading, filled.writing):
        with transaction() as session:
            there = session.get_all(Identifier, asked)
            assert there == {(system, "1"): session.get(Identifier, system, "1") for system in ("a", "b")}
            assert session.get_all(Job, [("b",), ("a",)]) == {("a",): session.get(Job, "a")}
            assert session.get_all(Job, []) == {}
            assert session.get_all(Identifier, [*asked, *(("urn:mrn", f"n{at}") for at in range(1500))]) == there
    with filled.reading() as session:
        assert Draft(session).get_all(Identifier, asked) == there


# Transactions


@pytest.mark.parametrize("leaves", [Undone, KeyboardInterrupt, SystemExit], ids=lambda kind: kind.__name__)
def test_a_writing_transaction_that_fails_leaves_nothing(filled: Store, leaves: type[BaseException]) -> None:
    def fail() -> None:
        with filled.writing() as session:
            session.add(sample(Job), sample(Fact))
            session.change(sample(Patient, revision=1))
            session.remove(ApiClient)
            session.remove(Account)
            raise leaves

    with pytest.raises(leaves):
        fail()
    with filled.reading() as session:
        assert (session.count(Job), session.count(Fact), session.count(Account)) == (0, 0, 1)
        assert session.get(Patient, "p") == sample(Patient)
    add(filled, sample(Job))  # and nothing of it is in the way


def test_a_reader_sees_no_later_commit(filled: Store) -> None:
    with filled.reading() as session:
        assert session.count(Fact) == 0
        in_another_thread(lambda: add(filled, sample(Fact)))
        assert session.count(Fact) == 0
        assert session.find(Fact) == []
        assert session.course_facts("p") == []
    assert found(filled, Fact) == 1


def test_a_reader_sees_nothing_uncommitted_and_does_not_wait_for_it(filled: Store) -> None:
    with filled.writing() as session:
        session.add(sample(Fact))
        counts: list[int] = []
        in_another_thread(lambda: counts.append(found(filled, Fact)))
        assert counts == [0]
    assert found(filled, Fact) == 1


def test_a_writer_sees_what_it_wrote(store: Store) -> None:
    with store.writing() as session:
        session.add(sample(Job))
        session.change(sample(Job, version=2))
        assert session.find(Job, Where("version", "=", 2)) == [sample(Job, version=2)]


def test_a_reading_transaction_refuses_to_write(store: Store) -> None:
    for write in (
        lambda session: session.add(sample(Job)),
        lambda session: session.change(sample(Job)),
        lambda session: session.remove(Job),
        lambda session: session.put(sample(Job)),
        lambda session: session.claim(Job, {"version": 7}),
        lambda session: session.take(Job),
    ):
        with store.reading() as session, pytest.raises(RuntimeError, match="only reads"):
            write(session)


@pytest.mark.parametrize("outer", ["reading", "writing"])
def test_a_thread_does_not_wait_for_itself(store: Store, outer: str) -> None:
    with getattr(store, outer)(), pytest.raises(RuntimeError, match="already"), store.writing():
        pass
    add(store, sample(Job))


def test_writers_wait_for_each_other(store: Store) -> None:
    """What the first writer has got, the second one gets when that has ended, and so sees what it wrote."""
    add(store, sample(Job, version=0))
    inside, go = threading.Event(), threading.Event()

    def first() -> None:
        with store.writing() as session:
            assert session.get(Job, "seal")
            inside.set()
            assert go.wait(10)
            session.change(sample(Job, version=1))

    def second() -> int:
        assert inside.wait(10)
        go.set()
        with store.writing() as session:
            job = session.get(Job, "seal")
            return job.version if job else -1

    with ThreadPoolExecutor(2) as threads:
        one, other = threads.submit(first), threads.submit(second)
        one.result()
        assert other.result() == 1


@pytest.mark.parametrize("durable", [True, False])
def test_sixteen_threads_lose_nothing(filled: Store, durable: bool) -> None:
    """Eight writers raise one revision and leave a fact for each; eight readers never see one without the other."""
    rounds = 25

    def write() -> None:
        for _ in range(rounds):
            with filled.writing(durable=durable) as session:
                patient = session.get(Patient, "p")
                assert patient
                raised = replace(patient, revision=patient.revision + 1)
                session.change(raised, Where("revision", "=", patient.revision))
                session.add(sample(Fact, id=raised.revision))
        filled.close()

    def read() -> None:
        last = 0
        for _ in range(rounds * 4):
            with filled.reading() as session:
                patient = session.get(Patient, "p")
                assert patient
                assert session.count(Fact) == patient.revision >= last
                last = patient.revision
        filled.close()

    with ThreadPoolExecutor(16) as threads:
        for step in [threads.submit(one) for one in [write, read] * 8]:
            step.result()
    with filled.reading() as session:
        patient = session.get(Patient, "p")
        assert patient == sample(Patient, revision=8 * rounds)
        assert [fact.id for fact in session.find(Fact, order=("id",))] == list(range(1, 8 * rounds + 1))
    assert filled.check() == []


# The facts of a course


@one_store_for_all_examples
@given(facts=st.lists(any_of(Fact), max_size=12), others=st.lists(any_of(Fact), max_size=3))
def test_course_facts_are_what_find_gives(store: Store, facts: list[Fact], others: list[Fact]) -> None:
    with undone(store) as session:
        add_referred_to(session)
        session.add(sample(Patient, id="other"))
        session.add(*(replace(fact, id=number, version=1) for number, fact in enumerate(facts, 1)))
        session.add(*(replace(fact, patient_id="other", id=number, version=1) for number, fact in enumerate(others, 1)))
        rows = session.find(
            Fact,
            Where("patient_id", "=", "p"),
            Where("current", "=", 1),
            Where("status", "!=", "entered-in-error"),
            Where("kind", "in", ("weight", "platelet-count", "dose", "event")),
            order=("id",),
        )
        assert session.course_facts("p") == [seen(fact) for fact in rows]


def seen(fact: Fact) -> CourseFact:
    def text(amount: Decimal | None) -> str | None:
        return None if amount is None else format(amount, "f")

    return CourseFact(
        fact.kind,
        fact.day,
        fact.code,
        text(fact.value),
        fact.unit,
        text(fact.level),
        fact.until,
        int(fact.unreliable),
        fact.status,
        fact.id,
        fact.taken_at,
    )


# A page of the trail, as the trail asks for it


def test_rows_are_found_in_order_of_two_columns(store: Store) -> None:
    rows = [sample(AuditRow, chain=chain, seq=seq) for chain in ("b", "a") for seq in (2, 10, 1)]
    add(store, *rows)
    with store.reading() as session:
        ordered = [(row.chain, row.seq) for row in session.find(AuditRow, order=("chain", "-seq"), limit=4)]
    assert ordered == [("a", 10), ("a", 2), ("a", 1), ("b", 10)]
