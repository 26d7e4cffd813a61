"""A sound store, and what can be wrong with one: the statements that make it so, and what `check` says then."""

from __future__ import annotations

from tests.store.samples import add_referred_to, sample
from titrator.store.base import Store
from titrator.store.records import AuditRow, CourseVersion, Decision, ExternalId, Fact, Patient


def fill(store: Store) -> None:
    with store.writing() as session:
        add_referred_to(session)
        session.change(sample(Patient, revision=5, decided=2, decision_id=1))  # a version of a course or fact each
        session.add(sample(Decision, current=False), sample(Decision, version=2))
        session.add(sample(CourseVersion, current=False), sample(CourseVersion, version=2, status="paused"))
        session.add(sample(Fact, id=2, current=False), sample(Fact, id=2, version=2), sample(Fact, id=3))
        session.add(sample(ExternalId, fact_id=2), sample(AuditRow))


COPY_OF_FACT_3 = """
    insert into facts select patient_id, 4, version, revision, current, kind, day, taken_at, code, value, unit, level,
        until, unreliable, status, detail, asked, confirmed_by, change, reason, recorded_by, recorded_at
    from facts where id = 3"""
#: What lets a fact have two current versions; written before what is damaged thereby.
UNGUARDED = "-- two current versions may be"
DAMAGE: list[tuple[str, str, str]] = [
    ("no index", "drop index facts_to_verify", "^no index facts_to_verify$"),
    ("no current version of a fact", "update facts set current = 0 where id = 3", "facts without .*: p fact 3$"),
    (
        "two current versions of a fact",
        f"{UNGUARDED}; update facts set current = 1",
        "facts without .*: p fact 2$",
    ),
    (
        "an old version of a fact as the current one",
        f"{UNGUARDED}; update facts set current = 1 - current where id = 2",
        "facts without .*: p fact 2$",
    ),
    ("no first version", "delete from facts where id = 2 and version = 1", "facts without .*: p fact 2$"),
    ("a version before the first", "update facts set version = -1 where id = 2 and version = 1", "p fact 2$"),
    ("no last version", "delete from facts where id = 2 and version = 2", "facts without .*: p fact 2$"),
    ("a fact that is gone whole", "delete from facts where id = 3", "more or less is kept than was recorded: p$"),
    ("a course that is gone whole", "delete from courses", "more or less is kept than was recorded: p$"),
    (
        "a fact too many",
        COPY_OF_FACT_3,
        "more or less is kept than was recorded: p$",
    ),
    ("no current version of a course", "update courses set current = 0", "courses without .*: p course 1$"),
    (
        "two current versions of a course",
        "drop index one_open_course_a_patient; update courses set current = 1",
        "courses without .*: p course 1$",
    ),
    ("a missing version of a course", "delete from courses where version = 1", "courses without .*: p course 1$"),
    ("no current version of a decision", "update decisions set current = 0", "decisions without .*: p decision 1$"),
    ("a decision that is gone", "delete from decisions where version = 1", "was decided than is kept: p$"),
    (
        "a decision that nobody waits for",
        "update patients set decision_id = null",
        "undelivered decision is another: p",
    ),
    ("a fact later than the revision", "update patients set revision = 2", "later than the patient's revision: p 3"),
    ("an external id of no fact", "update external_ids set fact_id = 9", "external ids of no fact: p 9$"),
    ("an amount that is none", "update facts set value = '3x' where id = 3", "facts that cannot be read: p 3 1$"),
    ("a list that is none", "update accounts set clinics = '[' ", "accounts that cannot be read: a$"),
    ("no table", "drop table kept_answers", "^no table kept_answers$"),
]
