"""Housekeeping is done once a day, whoever asks; it removes what has ended long enough ago, and nothing else."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.backends import database_for
from titrator.assembly import make_services
from titrator.server import Housekeeper
from titrator.settings import Settings
from titrator.store.base import Session
from titrator.store.records import Account, Job, KeptAnswer, Token
from titrator.workflow import trail
from titrator.workflow.housekeeping import ANSWERS_KEPT, CLAIM, CLAIMED_FOR, DONE, ENDED_TOKENS_KEPT, keep_house
from titrator.workflow.visit import Services, Visit, instant, leave

NOW = datetime(2026, 3, 9, 2, 30, tzinfo=UTC)
SECOND = timedelta(seconds=1)
DAY = timedelta(days=1)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(instance=tmp_path, database=database_for(tmp_path))


@pytest.fixture
def services(settings: Settings) -> Services:
    made = replace(make_services(settings), clock=lambda: NOW)
    with made.store.writing() as session:
        session.add(account())
        note(made, session, NOW)
    return made


def account() -> Account:
    return Account(
        id="a",
        version=1,
        username="a",
        display_name="A",
        role="ehr",
        clinics=(),
        active=True,
        password_hash=None,
        failed_logins=0,
        locked_until=None,
        created_at=instant(NOW),
    )


def note(services: Services, session: Session, now: datetime) -> None:
    visit = Visit(services=services, session=session, actor=None, now=now)
    visit.note("looked", "nothing")
    leave(visit, session, visit.entries)


def answer(at: datetime, key: str) -> KeptAnswer:
    return KeptAnswer(account_id="a", key=key, request_sha256="", status=201, headers={}, body="", at=instant(at))


def token(name: str, expires: datetime, revoked: datetime | None = None) -> Token:
    return Token(
        sha256=name,
        id=name,
        account_id="a",
        kind="api",
        label=name,
        permissions=None,
        client_id=None,
        scopes=None,
        created_at=instant(NOW - 400 * DAY),
        expires_at=instant(expires),
        idle_seconds=None,
        used_at=None,
        revoked_at=revoked and instant(revoked),
    )


# Once a day


def test_the_first_to_ask_does_it_and_the_second_need_not(services: Services, settings: Settings) -> None:
    done = keep_house(services, settings.seals, NOW)
    assert done is not None
    assert done.sealed == settings.seals / "2026-03-09.ndjson"
    assert keep_house(services, settings.seals, NOW) is None
    assert keep_house(services, settings.seals, NOW.replace(hour=23, minute=59)) is None


def test_the_next_day_it_is_done_again_and_the_seals_hold(services: Services, settings: Settings) -> None:
    for day in range(3):
        with services.store.writing() as session:
            note(services, session, NOW + day * DAY)
        done = keep_house(services, settings.seals, NOW + day * DAY)
        assert done is not None
        assert done.sealed is not None
    assert [file.name for file in sorted(settings.seals.iterdir())] == [
        "2026-03-09.ndjson",
        "2026-03-10.ndjson",
        "2026-03-11.ndjson",
    ]
    with services.store.reading() as session:
        assert trail.verify(session, services.audit_key, settings.seals) == (4, [])


def test_the_day_is_that_of_utc(services: Services, settings: Settings) -> None:
    assert keep_house(services, settings.seals, datetime(2026, 3, 9, 23, 59, 59, tzinfo=UTC)) is not None
    assert keep_house(services, settings.seals, datetime(2026, 3, 10, 0, 0, tzinfo=UTC)) is None, "claimed just now"
    assert keep_house(services, settings.seals, datetime(2026, 3, 10, 1, 0, tzinfo=UTC)) is not None


@pytest.mark.parametrize(
    ("claimed", "does"), [(CLAIMED_FOR - SECOND, False), (CLAIMED_FOR, False), (CLAIMED_FOR + SECOND, True)]
)
def test_a_claim_keeps_others_away_for_an_hour_and_then_one_tries_again(
    services: Services, settings: Settings, claimed: timedelta, *, does: bool
) -> None:
    """A process that claimed and died left the claim, but no mark that it was done."""
    with services.store.writing() as session:
        session.add(Job(name=CLAIM, version=1, at=instant(NOW - claimed)))
    assert (keep_house(services, settings.seals, NOW) is not None) is does


def test_of_eight_at_once_one_does_it(services: Services, settings: Settings) -> None:
    together = threading.Barrier(8)

    def ask(_: int) -> bool:
        own = make_services(settings)
        together.wait()
        try:
            return keep_house(own, settings.seals, NOW) is not None
        finally:
            own.store.close()

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(ask, range(8))) == [False] * 7 + [True]
    with services.store.reading() as session:
        jobs = {job.name: job.version for job in session.find(Job)}
    assert jobs == {CLAIM: 1, DONE: 1}


def test_seals_of_two_at_once_are_one_seal(services: Services, settings: Settings) -> None:
    """`titrator audit seal` and the service may meet."""
    together = threading.Barrier(4)

    def ask(_: int) -> Path | None:
        own = make_services(settings)
        together.wait()
        with own.store.reading() as session:
            made = trail.seal(session, own.audit_key, settings.seals, "2026-03-09")
        own.store.close()
        return made

    with ThreadPoolExecutor(4) as pool:
        assert [made for made in pool.map(ask, range(4)) if made] == [settings.seals / "2026-03-09.ndjson"]
    with services.store.reading() as session:
        assert trail.verify(session, services.audit_key, settings.seals) == (1, [])


# What is removed


def test_answers_are_kept_for_a_week(services: Services, settings: Settings) -> None:
    ages = {"younger": ANSWERS_KEPT - SECOND, "at": ANSWERS_KEPT, "older": ANSWERS_KEPT + SECOND}
    with services.store.writing() as session:
        session.add(*(answer(NOW - age, key) for key, age in ages.items()))
    done = keep_house(services, settings.seals, NOW)
    assert done is not None
    assert done.answers == 1
    with services.store.reading() as session:
        assert {kept.key for kept in session.find(KeptAnswer)} == {"younger", "at"}


def test_all_old_answers_go_however_many(services: Services, settings: Settings) -> None:
    with services.store.writing() as session:
        session.add(*(answer(NOW - 8 * DAY - number // 3 * SECOND, str(number)) for number in range(1234)))
        session.add(answer(NOW, "new"))
    done = keep_house(services, settings.seals, NOW)
    assert done is not None
    assert done.answers == 1234
    with services.store.reading() as session:
        assert [kept.key for kept in session.find(KeptAnswer)] == ["new"]


def test_tokens_go_90_days_after_they_ended_by_time_or_by_hand(services: Services, settings: Settings) -> None:
    ended, ahead = NOW - ENDED_TOKENS_KEPT, NOW + DAY
    with services.store.writing() as session:
        session.add(
            token("valid", ahead),
            token("expired-just", ended + SECOND),
            token("expired-at", ended),
            token("expired-long", ended - SECOND),
            token("revoked-just", ahead, ended + SECOND),
            token("revoked-at", ahead, ended),
            token("revoked-long", ahead, ended - SECOND),
            token("both-long", ended - SECOND, ended - SECOND),
        )
    done = keep_house(services, settings.seals, NOW)
    assert done is not None
    assert done.tokens == 3
    with services.store.reading() as session:
        left = {kept.sha256 for kept in session.find(Token)}
    assert left == {"valid", "expired-just", "expired-at", "revoked-just", "revoked-at"}


# Who asks


def test_a_failure_does_not_end_the_housekeeper(
    services: Services, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    settings.seals.write_text("a file where a folder should be")
    Housekeeper(services, settings.seals)()
    assert "FileExistsError" in "".join(capsys.readouterr())
    settings.seals.unlink()
    Housekeeper(replace(services, clock=lambda: NOW + 2 * CLAIMED_FOR), settings.seals)()
    assert [file.name for file in settings.seals.iterdir()] == ["2026-03-09.ndjson"]
