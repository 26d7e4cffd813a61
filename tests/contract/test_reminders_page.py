"""The page on reminders is true: its tables are those of the code, its examples are run."""

from __future__ import annotations

import re
import shlex
import tomllib
from dataclasses import fields
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner
from flask import Flask

from tests.contract.receiver import PAGE, printed, receiving
from tests.contract.served import NOW
from titrator.api.operations import _SAYS
from titrator.app import create_app
from titrator.cli import main
from titrator.notify.base import Message, NotSent
from titrator.notify.schemes import SCHEMES
from titrator.notify.texts import FOR_PATIENTS, Audience, MessageKind, Texts, placeholders
from titrator.notify.webhook import Webhook, new_secret, signature
from titrator.settings import NAMES, Settings
from titrator.store.records import RECORDS
from titrator.titration import due
from titrator.workflow.reminders import calendars, manage, wanted
from titrator.workflow.reminders.days import OpenDays, injection_day
from titrator.workflow.reminders.plan import DEFAULT_STEPS, DEFAULTS, MOST_STEPS, OF_PATIENTS, Kind, Step

DOCS = PAGE.parent
TEXT = PAGE.read_text(encoding="utf-8")


def rows(text: str, first: str) -> list[list[str]]:
    """The cells of the table whose first heading is given."""
    after = text.split(f"\n| {first} |", 1)[1].split("\n\n")[0]
    return [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in after.split("\n")[2:]]


def ticked(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def test_every_kind_is_told_with_its_steps_in_order_of_urgency() -> None:
    told = {
        ticked(kind)[0]: tuple(Step(int(days), to) for to, days in re.findall(r"([a-z]+) (-?\d+)", steps))
        for kind, _, steps in rows(TEXT, "Kind")
    }
    assert list(told) == list(map(str, Kind))
    assert told == {str(kind): steps for kind, steps in DEFAULT_STEPS.items()}


def test_defaults_are_as_they_are_told() -> None:
    said = f"{DEFAULTS['quiet_from']} to {DEFAULTS['quiet_until']}"
    for words in (f"`send_at`: {DEFAULTS['send_at']}", said, f"{DEFAULTS['give_up_hours']} hours (`give_up_hours`)"):
        assert words in TEXT, words
    assert MOST_STEPS == 8
    assert (manage.FURTHEST, calendars._SHOWN_AFTER, due.FOLLOW_UP_WEEKS, wanted._FOLLOWED_UP_FOR) == (28, 60, 2, 60)
    assert (due.WEEK_MAY_VARY_BY, wanted._PAUSE_REVIEWED_EVERY) == (3, 28)


def test_what_cannot_be_cancelled_is_named() -> None:
    (sentence,) = re.findall(r"((?:`[a-z-]+`[, and]*)+)\s+cannot be cancelled", " ".join(TEXT.split()))
    assert set(ticked(sentence)) == manage.STANDING_KINDS


def test_patients_are_told_of_what_has_a_text_for_them() -> None:
    assert set(map(str, OF_PATIENTS)) == set(map(str, FOR_PATIENTS)) - {"test"}


@pytest.mark.parametrize(
    ("last", "falls_on"),
    [("2026-03-05", "2026-03-12"), ("2026-03-06", "2026-03-16"), ("2026-03-02", "2026-03-09")],
    ids=["dose on Thursday", "dose on Friday", "dose on Monday"],
)
def test_the_example_of_days(last: str, falls_on: str) -> None:
    days = OpenDays(frozenset(("monday", "tuesday", "wednesday", "thursday", "friday")), frozenset(("monday",)))
    due = (date.fromisoformat(last) + timedelta(days=7)).isoformat()
    assert injection_day(days, due, last) == falls_on


# Words of one's own


def test_the_words_that_are_printed_are_taken(tmp_path: Path) -> None:
    (block,) = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)
    assert tomllib.loads(block)
    (tmp_path / "de.toml").write_text(block, encoding="utf-8")
    texts = Texts.load("de", tmp_path)
    day = texts.day(date(2026, 3, 9))
    assert texts.render("dose-due", "patient", {"clinic": "Tagesklinik", "day": day}).subject == (
        "Ihr Termin in der Tagesklinik"
    )
    assert texts.render("dose-due", "staff", {"number": "7", "day": day, "link": "x"}).body == (
        "Patient 7: Dosis fällig am 2026-03-09, Montag.\nx"
    )
    assert texts.render("count-due", "patient", {"clinic": "A", "day": day}).subject == "Your blood test at A"


def test_every_placeholder_is_told() -> None:
    told = {ticked(name)[0].strip("$"): set(whom.split(", ")) for name, _, whom in rows(TEXT, "Placeholder")}
    there: dict[str, set[str]] = {}
    for kind in MessageKind:
        for audience in Audience:
            if audience is Audience.STAFF or kind in FOR_PATIENTS:
                for name in placeholders(kind, audience):
                    there.setdefault(name, set()).add(str(audience))
    assert told == there


# Channels


@pytest.mark.parametrize("page", ["reminders.md", "settings.md"])
def test_every_scheme_is_named(page: str) -> None:
    (named,) = re.findall(r"((?:`[a-z]+`,\s)+`workflows`)", (DOCS / page).read_text(encoding="utf-8"))
    assert set(ticked(named)) == SCHEMES


def message(ident: str = "msg_1") -> Message:
    return Message(id=ident, subject="x", body="x", event={"type": "reminder.test", "data": {"name": "Öz"}}, at=NOW)


def test_the_receiver_takes_a_message_once() -> None:
    with receiving() as receiver:
        secret = receiver.names["SECRET"] = new_secret()
        webhook = Webhook(receiver.url, secret)
        for ident in ("msg_1", "msg_1", "msg_2"):
            webhook.send(message(ident))
        assert [one["type"] for one in receiver.heard] == ["reminder.test"] * 2
        assert receiver.heard[0]["data"] == {"name": "Öz"}
        with pytest.raises(NotSent, match="401"):
            Webhook(receiver.url, new_secret()).send(message("msg_3"))
        Webhook(receiver.url, f"{new_secret()} {secret}").send(message("msg_4"))
        assert len(receiver.heard) == 3
        assert httpx.post(receiver.url, content=b"{}").status_code == 401


@pytest.mark.parametrize(
    ("changed", "genuine"),
    [
        ({}, True),
        ({"late": 300}, True),
        ({"late": 301}, False),
        ({"late": -301}, False),
        ({"webhook-timestamp": "soon"}, False),
        ({"webhook-id": "msg_2"}, False),
        ({"webhook-signature": ""}, False),
        ({"webhook-signature": "v1,é"}, False),
    ],
    ids=str,
)
def test_the_receiver_refuses_what_is_not_genuine(changed: dict[str, Any], genuine: bool) -> None:
    names = printed()
    names["SECRET"] = "whsec_" + "a2V5a2V5" * 4
    sent_at = int(NOW.timestamp()) - changed.pop("late", 0)
    signed = signature(b"keykey" * 4, "msg_1", sent_at, b"{}")
    headers = {"webhook-id": "msg_1", "webhook-timestamp": str(sent_at), "webhook-signature": signed} | changed
    assert names["is_genuine"](headers, b"{}") is genuine
    assert names["is_genuine"](headers, b"{ }") is False


# The commands


def commands(text: str) -> list[list[str]]:
    """The commands that are printed in lines of a shell, as words."""
    joined = re.sub(r"\\\n\s*", " ", text)
    return [
        shlex.split(line, comments=True)[1:] for line in re.findall(r"^\s*(titrator [a-z].*)$", joined, re.MULTILINE)
    ]


def test_the_commands_that_are_printed_work(tmp_path: Path) -> None:
    """But for the test of a channel, which would reach for a mail server, and what never ends."""
    unset = dict.fromkeys(f"TITRATOR_{name.upper()}" for name in NAMES)
    runner = CliRunner(env=unset | {"TITRATOR_INSTANCE": str(tmp_path / "here"), "COLUMNS": "140"})
    shown = [block for block in re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL) if "titrator" in block]
    shown.append((DOCS.parent / "README.md").read_text(encoding="utf-8"))
    printed_here = [words for block in shown for words in commands(block) if words[0] in ("channels", "remind")]
    assert len(printed_here) > 7
    typed = iter(re.findall(r"# Address: (\S+)", "\n".join(shown)))
    before = [
        ["init"],
        ["clinics", "add", "Haematology Day Unit", "--time-zone", "Europe/Berlin"],
        ["remind", "--once"],
    ]
    for words in before + printed_here:
        if words[:2] != ["channels", "test"] and "--forever" not in words:
            ran = runner.invoke(main, words, input=next(typed) if "-" in words else None, catch_exceptions=False)
            assert ran.exit_code == 0, (words, ran.output)
    assert not list(typed), "all addresses that are printed"
    listed = runner.invoke(main, ["channels", "list"]).output
    assert "PASSWORD" not in listed
    assert listed.count("mailtos://smtp.hospital.example/") == 3


# What others say of reminders


def test_every_table_of_the_store_is_told_with_its_columns() -> None:
    told = {
        ticked(name)[0]: (key.split(", "), columns.split(", "))
        for name, key, columns in rows((DOCS / "store.md").read_text(encoding="utf-8"), "Table")
    }
    there = {
        one.TABLE: (list(one.KEY), [field.name for field in fields(one) if field.name not in one.KEY])
        for one in RECORDS
    }
    assert told == there


def test_what_is_watched_is_told(tmp_path: Path) -> None:
    app: Flask = create_app(Settings(instance=tmp_path, log_level="error"))
    text = (DOCS / "operations.md").read_text(encoding="utf-8")
    told = [ticked(row[0])[0] for row in rows(text, "`/readyz`, under `reminders`")]
    assert sorted(told) == sorted(_SAYS)
    ready = app.test_client().get("/readyz").get_json()["reminders"]
    assert set(ready) == {*told, "beat_at"}
    metrics = app.test_client().get("/metrics").get_data(as_text=True)
    for name in set(told) - {"beat_seconds_ago"}:
        assert f"titrator_reminders_{name} 0.0" in metrics
        assert f"`titrator_reminders_{name}`" in text
