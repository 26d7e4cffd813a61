"""Feeds that have fallen silent.

A feed speaks when a message of it is taken or is at fault, for then it is alive; not when it is turned away.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import NamedTuple

from titrator.store.base import Session, Where
from titrator.store.records import Account, Job, ReceivedMessage
from titrator.workflow.feeds import Feed
from titrator.workflow.visit import Services, instant


class Silence(NamedTuple):
    """A feed that has said nothing for too long, and since when."""

    feed: Feed
    since: str


def silent_feeds(services: Services, session: Session, clinics: Iterable[str], now: datetime) -> list[Silence]:
    """The feeds of any of these clinics that are silent."""
    wanted, found = frozenset(clinics), []
    for feed in services.feeds:
        if not feed.silence_hours or wanted.isdisjoint(_clinics_of(session, feed)):
            continue
        since = _last_heard(session, feed)
        if since is not None and since <= instant(now - timedelta(hours=feed.silence_hours)):
            found.append(Silence(feed, since))
    return found


def know_feeds(services: Services, now: datetime) -> None:
    """Write down since when feeds are known: one that never speaks is silent from then on."""
    with services.store.reading() as session:
        unknown = [feed for feed in services.feeds if session.get(Job, _known(feed)) is None]
    if unknown:
        with services.store.writing(durable=False) as session:
            for feed in unknown:
                if session.get(Job, _known(feed)) is None:
                    session.add(Job(name=_known(feed), version=1, at=instant(now)))


def _known(feed: Feed) -> str:
    return f"feed/{feed.name}"


def _last_heard(session: Session, feed: Feed) -> str | None:
    """When a feed last spoke, or else since when it is known; None for one that is not known yet."""
    last = session.find(ReceivedMessage, Where("feed", "=", feed.name), order=("-at",), limit=1)
    if last:
        return last[0].at
    known = session.get(Job, _known(feed))
    return None if known is None else known.at


def _clinics_of(session: Session, feed: Feed) -> tuple[str, ...]:
    found = session.find(Account, Where("username", "=", feed.account.casefold()))
    return found[0].clinics if found else ()
