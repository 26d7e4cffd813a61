"""What is done once a day: the audit trail is sealed; what nobody needs any more is removed.

That are answers, tokens, the ids of assertions, and messages of laboratories.

And every ten minutes: where patients stand is taken down for those of whom something has happened, and for all of a
clinic once its day has changed.

Any number of processes may ask; one does it. Of what is done once a day, claim, act, mark:

1. nothing, if it has been marked as done today, or another process has claimed it within the hour
2. claim it, by a conditional update of its row among the jobs: who changes the row goes on
3. seal, remove: each may be done twice without harm, should a process die before the next step
4. mark it as done
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple

from titrator.store.base import Session, Store, Where
from titrator.store.records import Job, KeptAnswer, ReceivedMessage, Token, UsedAssertion
from titrator.workflow.standing import settle_all
from titrator.workflow.trail import gather, seal
from titrator.workflow.visit import Services, instant

CLAIM: Final = "housekeeping"
DONE: Final = "housekeeping-done"
SETTLING: Final = "settling"
SETTLED_EVERY: Final = timedelta(minutes=10)
#: How long a claim keeps others away, should its process have died.
CLAIMED_FOR: Final = timedelta(hours=1)
ANSWERS_KEPT: Final = timedelta(days=7)
ENDED_TOKENS_KEPT: Final = timedelta(days=90)
#: Of those that clients get, a new one every few minutes: the trail has each, too.
ENDED_ACCESS_KEPT: Final = timedelta(days=1)
#: So long a message of a laboratory is known again; the last of each feed for ever, to tell how long it is silent.
MESSAGES_KEPT: Final = timedelta(days=30)
#: So few answers at a time that whoever records a fact meanwhile does not wait.
_AT_ONCE: Final = 500


class Done(NamedTuple):
    """What housekeeping did."""

    sealed: Path | None
    answers: int
    tokens: int
    messages: int = 0


def keep_house(services: Services, seals: Path, now: datetime) -> Done | None:
    """Do the day's housekeeping, the day being that of UTC; None if it is done, or another process is at it."""
    if not _claim(services.store, now):
        return None
    gather(services)
    with services.store.reading() as session:
        sealed = seal(session, services.audit_key, seals, now.astimezone(UTC).date().isoformat())
    removed = [remove(services.store, now) for remove in (_remove_answers, _remove_tokens, _remove_messages)]
    done = Done(sealed, *removed)
    with services.store.writing() as session:
        _begin(session, DONE, now)
    return done


def settle_now(services: Services, now: datetime, goes_on: Callable[[], bool] = lambda: True) -> int | None:
    """Settle all patients who are not, while it `goes_on`; how many were not.

    None if that was begun within the last minutes, here or elsewhere.
    """
    if not _begin_if_due(services.store, SETTLING, now, SETTLED_EVERY):
        return None
    return settle_all(services, now, goes_on)


def _begin_if_due(store: Store, name: str, now: datetime, every: timedelta) -> bool:
    """Begin a job unless it was begun less than so long ago; who changes its row is the one that does it."""

    def due(session: Session) -> bool:
        before = session.get(Job, name)
        return before is None or before.at <= instant(now - every)

    with store.reading() as session:
        if not due(session):
            return False
    with store.writing(durable=False) as session:
        if is_due := due(session):
            _begin(session, name, now)
        return is_due


def _claim(store: Store, now: datetime) -> bool:
    with store.reading() as session:
        if not _due(session, now):
            return False
    with store.writing() as session:
        if due := _due(session, now):
            _begin(session, CLAIM, now)
        return due


def _due(session: Session, now: datetime) -> bool:
    today = now.astimezone(UTC).date().isoformat()
    done, claimed = session.get(Job, DONE), session.get(Job, CLAIM)
    return (done is None or done.at < today) and (claimed is None or claimed.at < instant(now - CLAIMED_FOR))


def _begin(session: Session, name: str, now: datetime) -> None:
    before = session.get(Job, name)
    if before is None:
        session.add(Job(name=name, version=1, at=instant(now)))
    else:
        after = Job(name=name, version=before.version + 1, at=instant(now))
        session.change(after, Where("version", "=", before.version))


def _remove_answers(store: Store, now: datetime) -> int:
    old = Where("at", "<", instant(now - ANSWERS_KEPT))
    removed = 0
    while True:
        with store.writing(durable=False) as session:
            some = session.find(KeptAnswer, old, order=("at",), limit=_AT_ONCE)
            if some:
                removed += session.remove(KeptAnswer, Where("at", "<=", some[-1].at))
        if len(some) < _AT_ONCE:
            return removed


def _remove_tokens(store: Store, now: datetime) -> int:
    before, lately = instant(now - ENDED_TOKENS_KEPT), instant(now - ENDED_ACCESS_KEPT)
    with store.writing(durable=False) as session:
        session.remove(UsedAssertion, Where("ends_at", "<", instant(now)))
        removed = session.remove(Token, Where("kind", "=", "access"), Where("expires_at", "<", lately))
        return removed + sum(session.remove(Token, Where(ended, "<", before)) for ended in ("expires_at", "revoked_at"))


def _remove_messages(store: Store, now: datetime) -> int:
    before, removed = Where("at", "<", instant(now - MESSAGES_KEPT)), 0
    with store.reading() as session:
        feeds = [str(name) for name in session.tally(ReceivedMessage, "feed")]
    for name in feeds:
        of_feed = Where("feed", "=", name)
        while True:
            with store.writing(durable=False) as session:
                last = session.find(ReceivedMessage, of_feed, order=("-at",), limit=1)[0]
                older = of_feed, before, Where("at", "<", last.at)
                some = session.find(ReceivedMessage, *older, order=("at",), limit=_AT_ONCE)
                if some:
                    removed += session.remove(ReceivedMessage, *older, Where("at", "<=", some[-1].at))
            if len(some) < _AT_ONCE:
                break
    return removed
