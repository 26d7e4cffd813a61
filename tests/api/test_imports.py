"""Tables sent over HTTP: taken, worked off behind, asked about; killed, cancelled, refused."""

from __future__ import annotations

import csv
import io
import json
import os
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from urllib3 import encode_multipart_formdata

from tests.api.support import API, House, day
from tests.bulk.intake.support import VISITS, patient, told, visit
from titrator.bulk.intake import jobs
from titrator.bulk.intake.files import open_table
from titrator.bulk.intake.jobs import private, work_off
from titrator.security.permissions import Role
from titrator.store.base import Unavailable
from titrator.store.records import Account, ImportJob

MAPPING: dict[str, Any] = {
    "source": "ward",
    "system": "urn:mrn",
    "protocol": "us-itp-adult",
    "accept_guesses": True,
}


def table(*rows: list[str]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows([VISITS, *rows])
    return text.getvalue().encode()


ROWS = (visit("7", day(14), 70, 20, 70), visit("7", day(7), 70, "<5", 140), visit("8", day(7), 80))


class Sent:
    """What came back of a form."""

    def __init__(self, response: Any) -> None:
        self.status, self.json, self.headers = response.status_code, response.get_json(), response.headers

    @property
    def faults(self) -> list[str]:
        return [fault["path"] for fault in self.json["faults"]]


def send(house: House, content: bytes | None, who: str = "pharmacist", name: str = "ward.csv", **mapping: Any) -> Sent:
    asked = {key: value for key, value in {**MAPPING, **mapping}.items() if value is not None}
    form: dict[str, Any] = {"mapping": json.dumps(asked)}
    if content is not None:
        form["file"] = (io.BytesIO(content), name)
    headers = {"Authorization": f"Bearer {house.tokens[who]}"}
    return Sent(house.app.test_client().post(f"{API}/imports", data=form, headers=headers, **_FORM))


_FORM: dict[str, Any] = {"content_type": "multipart/form-data"}


def files(house: House) -> list[str]:
    assert house.services.imports is not None
    return sorted(file.name.partition(".")[2] for file in house.services.imports.iterdir())


def test_a_table_is_sent_worked_off_and_asked_about(house: House) -> None:
    sent = send(house, table(*ROWS))
    assert (sent.status, sent.json["status"], sent.json["rows"]) == (202, "waiting", None)
    path = sent.headers["Location"].removeprefix(API)
    assert patient(house, "7") is None
    assert house.call("pharmacist", "GET", f"{path}/rejected").status == 404
    assert work_off(house.services) == 1
    found = house.call("pharmacist", "GET", path).json
    assert (found["status"], found["rows"], found["patients"]) == ("done", 3, 2)
    assert found["report"]["recorded"] == {"weight": 2, "platelet-count": 1, "dose": 1}
    assert (found["report"]["refused"], found["report"]["rows"]) == (1, 3)
    rejected = house.call("pharmacist", "GET", f"{path}/rejected")
    assert rejected.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert list(csv.reader(io.StringIO(rejected.text)))[1][-2:] == ["3", "Platelets (10^9/L): “<5” is no exact value"]
    assert told(house, "8") == [f"{day(7)} weight 80 kg"]
    assert files(house) == ["rejected.csv"]
    assert work_off(house.services) == 0
    listed = house.call("pharmacist", "GET", "/imports").json["items"]
    assert [one["id"] for one in listed] == [found["id"]]
    actions = [row.action for row in house.trail() if "import" in row.action]
    assert actions == ["send-import", "end-import"]


def test_what_was_guessed_must_be_accepted(house: House) -> None:
    sent = send(house, table(*ROWS), accept_guesses=False)
    assert (sent.status, set(sent.faults)) == (422, {"mapping.accept_guesses"})
    assert any("Weight kg" in fault["message"] for fault in sent.json["faults"])
    assert files(house) == []
    columns = {
        "patient": "MRN",
        "family_name": "Last name",
        "given_name": "First name",
        "born_on": "DOB",
        "day": "Date",
    }
    columns |= {"weight": "Weight kg", "platelets": "Platelets (10^9/L)", "dose": "Dose mcg"}
    units = {"weight": "kg", "platelets": "10*9/L", "dose": "mcg"}
    said = {"columns": columns, "units": units, "clinic": "Haematology A", "accept_guesses": None}
    assert send(house, table(*ROWS), **said).status == 202


REFUSED: list[tuple[str, dict[str, Any], list[str]]] = [
    ("ward.pdf", {}, ["file"]),
    ("ward.csv", {"colour": "red"}, ["mapping.colour"]),
    ("ward.csv", {"dates": "ymd"}, ["mapping.dates"]),
    ("ward.csv", {"columns": {"wieght": "X"}}, ["mapping.columns.wieght"]),
    ("ward.csv", {"units": {"weight": 3}}, ["mapping.units.weight.value"]),
    ("ward.csv", {"protocol": "none"}, ["mapping.protocol"]),
    ("ward.csv", {"encoding": "nope", "delimiter": ","}, ["mapping.encoding"]),
    ("ward.csv", {"encoding": "undefined"}, ["mapping.encoding"]),
    ("ward.csv", {"delimiter": "\n"}, ["mapping.delimiter"]),
    ("ward.csv", {"clinic": "Haematology B"}, ["mapping.clinic"]),
    ("ward.csv", {"system": None}, ["mapping.system"]),
    ("ward.xlsx", {}, ["file"]),
]


@pytest.mark.parametrize(("name", "mapping", "paths"), REFUSED)
def test_a_form_with_faults_is_refused_and_nothing_kept(
    house: House, name: str, mapping: dict[str, Any], paths: list[str]
) -> None:
    sent = send(house, table(*ROWS), name=name, **mapping)
    assert (sent.status, sent.faults) == (422, paths)
    assert not house.services.imports or not house.services.imports.exists() or files(house) == []


def test_a_form_without_a_file_and_no_form_are_refused(house: House) -> None:
    assert send(house, None).faults == ["file"]
    assert house.call("pharmacist", "POST", "/imports", {}).status == 415
    sent = send(house, table(*ROWS), name="../../../etc/x.csv")
    assert (sent.status, sent.json["file_name"]) == (202, "x.csv")
    assert files(house) == ["csv"]


def test_only_a_prescriber_ends_courses_by_a_table(house: House) -> None:
    content = b"MRN,Surname,Forename,Date,Weight kg,Stop date\n7,B,A,2026-01-05,70,\n"
    assert send(house, content).faults == ["mapping.columns.course_ended_on"]
    assert send(house, content, who="prescriber").status == 202


def test_a_file_that_is_too_large_is_refused(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "LARGEST_FILE", 1000)
    sent = send(house, table(*ROWS * 10))
    assert (sent.status, sent.json["code"]) == (413, "BODY-TOO-LARGE")


def test_days_that_may_be_two_end_an_import_with_why(house: House) -> None:
    path = send(house, table(visit("7", "03/04/2025", 70))).headers["Location"].removeprefix(API)
    work_off(house.services)
    found = house.call("pharmacist", "GET", path).json
    assert found["status"] == "failed"
    assert found["faults"] == ["dates: required, dmy or mdy: Date has days such as 03/04/2025"]
    assert (patient(house, "7"), files(house)) == (None, [])


def test_it_is_of_those_who_have_its_clinics(house: House) -> None:
    path = send(house, table(*ROWS)).headers["Location"].removeprefix(API)
    for who, status in (("prescriber", 200), ("stranger", 404), ("technician", 403), ("admin", 403), ("ehr", 403)):
        assert house.call(who, "GET", path).status == status, who
    assert house.call("stranger", "GET", "/imports").json["items"] == []
    assert house.call("stranger", "POST", f"{path}/cancellation").status == 404
    assert send(house, table(*ROWS), who="technician").status == 403


def test_who_is_of_no_clinic_sends_none(house: House) -> None:
    """Else its patients' numbers would be for all who may import: it is into none but theirs."""
    _, house.tokens["nowhere"] = house.account("nowhere", Role.PHARMACIST)
    named = b"Clinic,MRN,Date,Weight kg\nHaematology A,7,2026-01-05,70\n"
    sent = send(house, named, "nowhere")
    assert (sent.status, sent.faults, files(house)) == (422, ["mapping.clinic"], [])
    path = send(house, table(*ROWS)).headers["Location"].removeprefix(API)
    with house.services.store.writing() as session:
        (job,) = session.find(ImportJob)
        session.change(replace(job, clinics=()))
    for who in ("pharmacist", "stranger", "nowhere"):
        assert house.call(who, "GET", path).status == 404
        assert house.call(who, "GET", "/imports").json["items"] == []


def test_imports_of_others_hide_none_of_ones_own(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    own = send(house, table(*ROWS)).json["id"]
    monkeypatch.setattr(jobs, "SHOWN", 2)
    for _ in range(3):
        assert send(house, table(*ROWS), "stranger").status == 202
    assert [one["id"] for one in house.call("pharmacist", "GET", "/imports").json["items"]] == [own]
    assert len(house.call("stranger", "GET", "/imports").json["items"]) == 2


def test_nobody_who_writes_waits_while_a_file_is_looked_at(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []

    def looks(*given: Any, **said: Any) -> Any:
        with house.services.store.writing() as session:  # which one thread may do but once at a time
            written.append(str(session.count(Account)))
        return open_table(*given, **said)

    monkeypatch.setattr(jobs, "open_table", looks)
    assert send(house, table(*ROWS)).status == 202
    assert len(written) == 1


def test_what_is_sent_lies_where_it_is_kept_and_not_where_there_may_be_little_room(
    house: House, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    much = table(*ROWS) + b"9,Berg,Anna,1960-05-01,2026-01-05,70,,\n" * 60_000
    body, kind = encode_multipart_formdata({"mapping": json.dumps(MAPPING), "file": ("ward.csv", much)})
    headers = {"Authorization": f"Bearer {house.tokens['pharmacist']}", "Content-Type": kind}
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "full"))  # which is not there at all
    sent = house.app.test_client().post(f"{API}/imports", data=body, headers=headers)
    assert (sent.status_code, files(house)) == (202, ["csv"])


def test_no_more_than_a_few_wait_at_once(house: House) -> None:
    for _ in range(jobs.MOST_OPEN):
        assert send(house, table(*ROWS)).status == 202
    sent = send(house, table(*ROWS))
    assert (sent.status, sent.json["code"]) == (409, "TOO-MANY-IMPORTS")
    assert work_off(house.services) == jobs.MOST_OPEN
    assert send(house, table(*ROWS)).status == 202


def test_a_cancelled_import_does_not_go_on(house: House) -> None:
    path = send(house, table(*ROWS)).headers["Location"].removeprefix(API)
    assert house.call("pharmacist", "POST", f"{path}/cancellation").json["status"] == "cancelled"
    assert work_off(house.services) == 0
    assert patient(house, "7") is None
    again = house.call("pharmacist", "POST", f"{path}/cancellation")
    assert (again.status, again.code) == (409, "IMPORT-ENDED")


def test_an_account_that_may_not_any_more_imports_nothing(house: House) -> None:
    path = send(house, table(*ROWS)).headers["Location"].removeprefix(API)
    with house.services.store.writing() as session:
        account = session.get(Account, house.ids["pharmacist"])
        assert account is not None
        session.change(replace(account, active=False))
    work_off(house.services)
    found = house.call("prescriber", "GET", path).json
    assert (found["status"], found["faults"]) == ("failed", ["the account that sent it may not import any more"])
    assert patient(house, "7") is None


class Killed(BaseException):
    """What no handler of ours catches, as a SIGKILL."""


@pytest.mark.parametrize("at", range(1, 9))
def test_whoever_dies_at_any_commit_another_one_goes_on(house: House, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """350 patients are four batches; with claim, look through and end there are seven commits of the job."""
    rows = [visit(f"{number:03}", day(7), 70, "<5" if number == 349 else 20, 70) for number in range(350)]
    path = send(house, table(*rows)).headers["Location"].removeprefix(API)
    change, calls = jobs._Held.change, []

    def dies(self: Any, session: Any, **changed: Any) -> Any:
        calls.append(changed)
        if len(calls) == at:
            raise Killed
        return change(self, session, **changed)

    monkeypatch.setattr(jobs._Held, "change", dies)
    with dying(at):
        work_off(house.services)
    monkeypatch.setattr(jobs._Held, "change", change)
    if at <= 7:
        if at > 1:
            assert work_off(house.services) == 0  # the claim of who died still holds
        house.clock.on(minutes=6)
        assert work_off(house.services) == 1
    found = house.call("pharmacist", "GET", path).json
    assert (found["status"], found["report"]["rows"], found["report"]["new_patients"]) == ("done", 350, 349)
    assert found["report"]["recorded"] == {"weight": 349, "platelet-count": 349, "dose": 349}
    assert (found["report"]["refused"], found["report"]["known"]) == (1, 0)
    assert files(house) == ["rejected.csv"]
    assert house.services.store.check() == []


def dying(at: int) -> AbstractContextManager[object]:
    return pytest.raises(Killed) if at <= 7 else nullcontext()


def killed(*_: object, **__: object) -> Any:
    raise Killed


def test_a_file_that_ends_whoever_reads_it_is_given_up(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The attempt is counted before anything is read: three deaths, and the fourth says so without reading."""
    path = send(house, table(*ROWS)).headers["Location"].removeprefix(API)
    house.clock.on(minutes=1)  # of two of one instant either may be the first
    later = send(house, table(visit("9", day(7), 80))).headers["Location"].removeprefix(API)
    monkeypatch.setattr(jobs, "open_table", killed)
    for attempt in range(1, jobs.MOST_ATTEMPTS + 1):
        with pytest.raises(Killed):
            work_off(house.services)
        with house.services.store.reading() as session:
            job = session.get(ImportJob, path.rpartition("/")[2])
        assert job is not None
        assert (job.status, job.attempts) == ("running", attempt)
        house.clock.on(minutes=6)
    monkeypatch.undo()
    assert work_off(house.services) == 2
    found = house.call("pharmacist", "GET", path).json
    assert (found["status"], found["report"]["rows"]) == ("failed", 0)
    assert len(found["faults"]) == 1
    assert found["faults"][0].startswith("file: was begun 3 times and did not get on")
    assert patient(house, "7") is None
    assert house.call("pharmacist", "GET", later).json["status"] == "done", "nobody waits behind it"
    assert files(house) == []
    assert [row.action for row in house.trail()].count("end-import") == 2
    house.clock.on(days=1)
    assert work_off(house.services) == 0


def test_an_import_that_gets_on_is_not_given_up_however_often_its_process_dies(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [visit(f"{number:03}", day(7), 70) for number in range(550)]  # six batches, and a death after each
    path = send(house, table(*rows)).headers["Location"].removeprefix(API)
    deaths = 0
    monkeypatch.setattr(jobs._Held, "alive", lambda held, _=0: killed() if held.job.done_number else None)
    while True:
        try:
            work_off(house.services)
        except Killed:
            deaths += 1
            house.clock.on(minutes=6)
        else:
            break
    found = house.call("pharmacist", "GET", path).json
    assert (deaths, found["status"], found["report"]["new_patients"]) == (6, "done", 550)


def test_a_database_that_is_away_is_not_held_against_a_file(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    path = send(house, table(*ROWS)).headers["Location"].removeprefix(API)
    monkeypatch.setattr(jobs, "run", raising(Unavailable("away")))
    for _ in range(jobs.MOST_ATTEMPTS + 2):
        with pytest.raises(Unavailable):
            work_off(house.services)
        assert work_off(house.services) == 0, "the claim holds"
        house.clock.on(minutes=6)
    monkeypatch.undo()
    assert work_off(house.services) == 1
    assert house.call("pharmacist", "GET", path).json["status"] == "done"


def test_what_a_power_failure_broke_is_made_anew(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what was not taken of those who had been passed over."""
    rows = [visit(f"{number:03}", day(7), 70, "<5" if number == 3 else 20, 70) for number in range(150)]
    path = send(house, table(*rows)).headers["Location"].removeprefix(API)
    alive = jobs._Held.alive
    monkeypatch.setattr(jobs._Held, "alive", lambda held, _=0: killed() if held.job.done_number else None)
    with pytest.raises(Killed):
        work_off(house.services)
    monkeypatch.setattr(jobs._Held, "alive", alive)
    assert house.services.imports is not None
    (stage,) = house.services.imports.glob("*.stage")
    stage.write_bytes(b"\xff" * 8192)
    house.clock.on(minutes=6)
    with pytest.raises(sqlite3.Error):
        work_off(house.services)
    house.clock.on(minutes=6)
    assert work_off(house.services) == 1
    found = house.call("pharmacist", "GET", path).json
    assert (found["status"], found["report"]["refused"]) == ("done", 1)
    assert (found["report"]["new_patients"], found["report"]["known"]) == (50, 99 * 3)
    (rejected,) = house.services.imports.glob("*.rejected.csv")
    lines = rejected.read_text(encoding="utf-8-sig").splitlines()
    assert [row[0] for row in csv.reader(lines)][1:] == ["003"]
    assert files(house) == ["rejected.csv"]


def test_a_process_that_is_to_end_leaves_the_rest_to_others(house: House) -> None:
    rows = [visit(f"{number:03}", day(7), 70) for number in range(350)]
    path = send(house, table(*rows)).headers["Location"].removeprefix(API)
    asked: list[float] = []

    def stopping(seconds: float) -> bool:
        asked.append(seconds)
        return len(asked) > 6

    assert work_off(house.services, stopping) == 0
    found = house.call("pharmacist", "GET", path).json
    assert found["status"] == "running"
    assert 0 < found["report"]["new_patients"] < 350
    assert work_off(house.services) == 1
    assert house.call("pharmacist", "GET", path).json["report"]["new_patients"] == 350


def test_what_was_left_behind_is_removed(house: House) -> None:
    send(house, table(*ROWS))
    work_off(house.services)
    folder = house.services.imports
    assert folder is not None
    (left := folder / f"{'a' * 20}.csv").touch()
    (kept := folder / "notes.txt").touch()
    (rejected,) = folder.glob("*.rejected.csv")
    with suppress(KeyboardInterrupt), private(rejected) as half:
        half.write("7,Berg")
        half.flush()
        (written,) = folder.glob(".*")
        os.link(written, folder / "spare")  # as who is killed here leaves it
        raise KeyboardInterrupt
    (folder / "spare").rename(written)
    now = house.clock().timestamp()
    for file, age in ((left, 86_000), (written, 86_000), (kept, 10**8), (rejected, 29 * 86_400)):
        os.utime(file, (now - age, now - age))
    work_off(house.services)
    assert [one.exists() for one in (left, written, kept, rejected)] == [True, True, True, True]
    house.clock.on(days=2)
    work_off(house.services)
    assert [one.exists() for one in (left, written, kept, rejected)] == [False, False, True, False]


def raising(error: Exception) -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> Any:
        raise error

    return fail


def test_a_fault_of_ours_ends_an_import_and_is_told(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    path = send(house, table(*ROWS)).headers["Location"].removeprefix(API)
    monkeypatch.setattr(jobs, "run", raising(ZeroDivisionError()))
    work_off(house.services)
    found = house.call("pharmacist", "GET", path).json
    assert (found["status"], found["faults"]) == ("failed", ["something went wrong here; it stands in the log"])
