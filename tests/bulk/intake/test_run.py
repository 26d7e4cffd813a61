"""A table becomes the record: what is recorded, what is refused and why, and that twice is once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.api.support import House, day
from tests.bulk.intake.support import (
    SYSTEM,
    VISITS,
    Imported,
    facts,
    imports,
    patient,
    staged,
    told,
    visit,
    write_csv,
)
from titrator.bulk.intake import stage
from titrator.bulk.intake.run import Batch, Report, run
from titrator.store.base import Session, Stale, StoreError, Where
from titrator.store.records import AuditRow, CourseVersion, DoseMismatch, ExternalId
from titrator.workflow.standing import settle_all


def visits(house: House, folder: Path, *rows: list[str], keeps: bool = True, **said: Any) -> Imported:
    return imports(house, write_csv(folder / "ward.csv", VISITS, rows), keeps=keeps, **said)


def test_a_visit_becomes_facts_of_a_new_patient_on_a_course(house: House, tmp_path: Path) -> None:
    done = visits(
        house,
        tmp_path,
        visit("7", day(14), "70.5", 20, "70.5"),
        visit("7", day(7), "", 48, 141),
        visit("8", day(7), 80),
    )
    assert (done.report.rows, done.report.new_patients, done.report.courses, done.report.facts) == (3, 2, 1, 6)
    assert told(house, "7") == [
        f"{day(14)} weight 70.5 kg",
        f"{day(14)} platelet-count 20 10*9/L",
        f"{day(14)} dose 70.5 ug",
        f"{day(7)} platelet-count 48 10*9/L",
        f"{day(7)} dose 141 ug",
    ]
    made = patient(house, "7")
    assert made is not None
    assert (made.family_name, made.given_name, made.born_on) == ("Berg", "Anna", "1960-05-01")
    assert (made.revision, made.settled) == (6, False)
    with house.services.store.reading() as session:
        (course,) = session.find(CourseVersion, Where("patient_id", "=", made.id))
        names = session.find(ExternalId, Where("patient_id", "=", made.id), order=("fact_id",))
        assert not session.count(DoseMismatch)
    assert (course.protocol, course.started_on, course.id) == ("us-itp-adult", day(14), 1)
    assert names[0].system == "urn:titrator:import:ward"
    assert [name.value for name in names][:3] == [
        f"7/{day(14)}/{what}" for what in ("weight", "platelet-count", "dose")
    ]
    assert house.services.store.check() == []
    assert settle_all(house.services, house.clock()) == 2


def test_the_trail_has_one_entry_a_patient_with_a_digest(house: House, tmp_path: Path) -> None:
    visits(house, tmp_path, visit("7", day(14), 70, 20, 70), visit("7", day(7), 70, 48, 140))
    made = patient(house, "7")
    assert made is not None
    with house.services.store.reading() as session:
        (entry,) = session.find(AuditRow, Where("chain", "=", made.id))
    detail = json.loads(entry.detail)
    assert (entry.action, detail["source"], detail["facts"]) == ("import", "ward", [2, 7])
    assert detail["recorded"] == {"weight": 2, "platelet-count": 2, "dose": 2}
    assert detail["new"]["identifiers"] == [{"system": "urn:mrn", "value": "7"}]
    assert detail["course"]["started_on"] == day(14)
    assert len(detail["facts_sha256"]) == 64


def test_what_is_implausible_waits_to_be_verified(house: House, tmp_path: Path) -> None:
    done = visits(house, tmp_path, visit("7", day(14), 70, 20, 70), visit("7", day(7), 165, 200, 700))
    assert [line for line in told(house, "7") if line.startswith(day(7))] == [
        f"{day(7)} weight 165 kg WEIGHT-FAR-FROM-LAST",
        f"{day(7)} platelet-count 200 10*9/L COUNT-FAR-FROM-LAST",
        f"{day(7)} dose 700 ug DOSE-FAR-FROM-LAST",
    ]
    assert done.report.unverified == {
        "WEIGHT-FAR-FROM-LAST": 1,
        "COUNT-FAR-FROM-LAST": 1,
        "DOSE-FAR-FROM-LAST": 1,
    }
    assert done.report.to_verify[0] == {"line": 3, "patient": "7", "asked": ["WEIGHT-FAR-FROM-LAST"]}
    assert {fact.status for fact in facts(house, "7") if fact.day == day(7)} == {"unverified"}


def test_a_course_that_is_over_ends(house: House, tmp_path: Path) -> None:
    header = (*VISITS, "Stop date")
    rows = [
        [*visit("7", day(14), 70, 20, 70), ""],
        [*visit("7", day(7), 70, 48, 140), day(6)],
        [*visit("8", day(7), 70, 48, 140), day(8)],
        [*visit("9", day(7), 70, 48, 140), day(-1)],
    ]
    done = imports(house, write_csv(tmp_path / "ward.csv", header, rows))
    assert (done.report.courses, done.report.facts) == (1, 6)
    whys = dict(done.refused)
    assert whys[4].startswith(f"course_ended_on: must be from {day(7)}")
    assert whys[5].startswith(f"course_ended_on: must be from {day(7)}")
    made = patient(house, "7")
    assert made is not None
    with house.services.store.reading() as session:
        versions = session.find(CourseVersion, Where("patient_id", "=", made.id), order=("version",))
        (entry,) = session.find(AuditRow, Where("chain", "=", made.id))
    assert [(one.status, one.ended_on) for one in versions] == [("active", None), ("discontinued", day(6))]
    assert json.loads(entry.detail)["course"]["ended_on"] == day(6)
    assert house.services.store.check() == []
    assert imports(house, write_csv(tmp_path / "ward.csv", header, rows[:2])).report.known == 6


def test_without_a_course_each_dose_waits(house: House, tmp_path: Path) -> None:
    done = visits(house, tmp_path, visit("7", day(14), 70, 20, 70), course=False, protocol=None)
    assert (done.report.courses, done.report.unverified) == (0, {"DOSE-WITHOUT-COURSE": 1})


def test_a_second_run_stores_nothing_twice(house: House, tmp_path: Path) -> None:
    rows = [visit("7", day(14), 70, 20, 70), visit("7", day(7), 70, 48, 140), visit("7", day(7), "", 50)]
    first = visits(house, tmp_path, *rows)
    before = house.everything()
    again = visits(house, tmp_path, *rows)
    assert (first.report.facts, again.report.facts, again.report.known, again.refused) == (7, 0, 7, [])
    assert house.everything() == before


def test_rows_that_are_new_in_a_second_run_are_added_and_changed_ones_told(house: House, tmp_path: Path) -> None:
    visits(house, tmp_path, visit("7", day(14), 70, 20, 70), visit("7", day(7), 70, 48, 140))
    done = visits(
        house, tmp_path, visit("7", day(14), 70, 21, 70), visit("7", day(7), 70, 48, 140), visit("7", day(0), 71)
    )
    assert (done.report.facts, done.report.known) == (1, 5)
    ((line, why),) = done.refused
    assert line == 2
    assert "was imported before and said something else; correct platelet-counts/3" in why
    assert f"{day(14)} platelet-count 20 10*9/L" in told(house, "7")


def test_a_row_is_taken_whole_or_not_at_all(house: House, tmp_path: Path) -> None:
    done = visits(
        house,
        tmp_path,
        visit("7", day(14), 70, "<5", "x"),
        visit("7", day(7), 0.1, 48, 140),
        visit("7", day(-1), 70),
        visit("7", day(0), 70),
    )
    assert told(house, "7") == [f"{day(0)} weight 70 kg"]
    whys = dict(done.refused)
    assert whys[2] == "Platelets (10^9/L): “<5” is no exact value; Dose mcg: “x” is no number"
    assert whys[3] == "value: must be from 0.3 to 400 kg, not 0.1 kg"
    assert whys[4] == f"measured_on: must not be after {day(0)}, today at the clinic"


PERSONS: list[tuple[str, list[list[str]], str]] = [
    ("no name", [["7", "", "", "1960-05-01", day(7), "70", "", ""]], "family_name: required of a new patient"),
    ("no birth date", [["7", "B", "A", "", day(7), "70", "", "70"]], "born_on: required for a course"),
    ("born tomorrow", [["7", "B", "A", day(-1), day(7), "70", "", ""]], "born_on: must not be after"),
    (
        "two birth dates",
        [["7", "B", "A", "1960-05-01", day(7), "70", "", ""], ["7", "B", "A", "1961-05-01", day(0), "70", "", ""]],
        "DOB: “1960-05-01” in line 2 and “1961-05-01” in line 3: which is it?",
    ),
    ("no number", [["", "B", "A", "1960-05-01", day(7), "70", "", ""]], "MRN: empty"),
    (
        "odd signs",
        [["7", "B\u202e", "A", "1960-05-01", day(7), "70", "", ""]],
        "Last name: has characters that are not",
    ),
]


@pytest.mark.parametrize(("rows", "why"), [case[1:] for case in PERSONS], ids=[case[0] for case in PERSONS])
def test_a_patient_is_refused_with_all_rows(house: House, tmp_path: Path, rows: list[list[str]], why: str) -> None:
    before = house.everything()
    done = visits(house, tmp_path, *rows)
    assert [line for line, _ in done.refused] == list(range(2, 2 + len(rows)))
    assert all(why in told_why for _, told_why in done.refused)
    assert (done.report.refused_patients, done.report.facts) == (1 if rows[0][0] else 0, 0)
    assert house.everything() == before


def test_another_birth_date_than_in_the_record_refuses_the_patient(house: House, tmp_path: Path) -> None:
    visits(house, tmp_path, visit("7", day(14), 70))
    row = visit("7", day(7), 70)
    row[3] = "1960-01-05"
    done = visits(house, tmp_path, row)
    assert "1960-01-05 here, 1960-05-01 in the record: is it the same person?" in done.refused[0][1]


def test_a_patient_of_another_clinic_is_not_found(house: House, tmp_path: Path) -> None:
    body = {"clinic": house.other_clinic, "family_name": "B", "given_name": "A"}
    theirs = body | {"identifiers": [{"system": "urn:mrn", "value": "7"}]}
    assert house.call("stranger", "POST", "/patients", theirs).status == 201
    done = visits(house, tmp_path, visit("7", day(7), 70))
    assert done.refused == [(2, "No such patient, or none in the clinics of this account.")]


def test_a_history_is_added_to_a_patient_who_is_here(house: House, tmp_path: Path) -> None:
    body = {"clinic": house.clinic, "family_name": "B", "given_name": "A"}
    mine = house.call("pharmacist", "POST", "/patients", body | {"identifiers": [{"system": "urn:mrn", "value": "7"}]})
    counted = {"collected_on": day(7), "value": 48, "unit": "10*9/L"}
    house.call("pharmacist", "POST", f"/patients/{mine.json['id']}/platelet-counts", counted)
    done = visits(house, tmp_path, visit("7", day(14), 70, 20, 70), visit("7", day(7), 70, 700, 140))
    assert (done.report.new_patients, done.report.courses, done.report.facts) == (0, 1, 6)
    assert done.report.unverified == {"COUNT-FAR-FROM-LAST": 1}
    found = patient(house, "7")
    assert found is not None
    assert found.born_on == "1960-05-01"
    assert house.services.store.check() == []


def test_one_who_is_refused_as_it_is_written_keeps_none_of_the_others_back(house: House, tmp_path: Path) -> None:
    """The course would begin after a dose that was recorded before: seen only once the patient is held."""
    visits(house, tmp_path, visit("7", day(21), 70, 20, 70), course=False, protocol=None)
    rows = [visit(number, day(14), 70, 20, 70) for number in ("6", "7", "8")]
    tried = visits(house, tmp_path, *rows, keeps=False)
    done = visits(house, tmp_path, *rows)
    ((line, why),) = done.refused
    assert line == 3
    assert f"started_on: must not be after {day(21)}" in why
    assert (done.report.new_patients, done.report.refused_patients, done.report.facts) == (2, 1, 6)
    assert tried == done
    assert house.services.store.check() == []
    assert len(facts(house, "7")) == 3


def test_who_comes_while_a_commit_is_written_is_recorded_onto(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else adds a patient after it was looked who is here: nobody of the commit is lost or doubled."""
    store, body = house.services.store, {"clinic": house.clinic, "family_name": "Berg", "given_name": "Anna"}
    carry_out, theirs = type(store).carry_out, iter(["8"])

    def late(self: object, step: Any) -> None:
        for number in theirs:
            house.call("pharmacist", "POST", "/patients", body | {"identifiers": [{"system": SYSTEM, "value": number}]})
        carry_out(self, step)  # type: ignore[arg-type]

    monkeypatch.setattr(type(store), "carry_out", late)
    done = visits(house, tmp_path, *(visit(number, day(14), 70, 20, 70) for number in ("7", "8", "9")))
    assert (done.report.new_patients, done.report.facts, done.refused) == (2, 9, [])
    assert house.services.store.check() == []


def test_a_dose_that_is_recorded_is_not_recorded_again(house: House, tmp_path: Path) -> None:
    visits(house, tmp_path, visit("7", day(14), 70, 20, 70))
    done = visits(house, tmp_path, visit("7", day(14), "", "", 70), source="other")
    assert (done.report.facts, done.report.known) == (0, 1)


def test_a_try_changes_nothing_and_tells_the_same(house: House, tmp_path: Path) -> None:
    rows = [visit("7", day(14), 70, 20, 70), visit("7", day(7), 165, "x", 140), visit("8", day(7), 400.5)]
    before = house.everything()
    tried = visits(house, tmp_path, *rows, keeps=False)
    assert house.everything() == before
    assert visits(house, tmp_path, *rows) == tried


def test_a_number_that_too_many_rows_have_is_none(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "MOST_OF_PATIENT", 3)
    rows = [visit("unknown", day(ago), 70) for ago in range(4)] + [visit("7", day(ago), 70) for ago in range(3)]
    done = visits(house, tmp_path, *rows)
    assert done.refused == [(line, "more than 3 rows have this number of a patient") for line in range(2, 6)]
    assert (patient(house, "unknown"), done.report.facts) == (None, 3)


def test_patients_need_not_stand_together(house: House, tmp_path: Path) -> None:
    rows = [visit(str(number % 40), day(40 - number // 40), 70) for number in range(200)]
    done = visits(house, tmp_path, *rows)
    assert (done.report.patients, done.report.facts) == (40, 200)
    assert [line.split()[0] for line in told(house, "39")] == sorted(day(40 - week) for week in range(5))


def test_a_dose_of_today_is_one_without_a_decision(house: House, tmp_path: Path) -> None:
    """As at any other door: what is given today, of a course that begins today, should have been decided upon."""
    visits(house, tmp_path, visit("7", day(0), 70, 20, 70))
    with house.services.store.reading() as session:
        (mismatch,) = session.find(DoseMismatch)
    assert (mismatch.day, mismatch.departs) == (day(0), ("no-decision",))


def test_where_the_store_fails_the_import_ends_and_goes_on_later(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [visit(f"{number:04}", day(7), 70, 20, 70) for number in range(250)]
    store, calls = house.services.store, []
    carry_out = type(store).carry_out

    def full(self: object, step: Any) -> None:
        calls.append(step)
        if len(calls) == 2:
            raise StoreError("disk full")
        carry_out(self, step)  # type: ignore[arg-type]

    monkeypatch.setattr(type(store), "carry_out", full)
    with pytest.raises(StoreError, match="disk full"):
        visits(house, tmp_path, *rows)
    assert patient(house, "0000") is not None
    assert patient(house, "0249") is None
    done = visits(house, tmp_path, *rows)
    assert (done.report.new_patients, done.report.known, done.refused) == (150, 300, [])


class Killed(Exception):
    """The process ends here."""


def test_what_was_not_taken_is_kept_before_it_is_passed_over(house: House, tmp_path: Path) -> None:
    """Killed as the progress is kept, with all of a batch undone: the rows are found again, and each once."""
    rows = [visit("7", day(7), 70, "?", 70), visit("8", day(7), 70, 20, 70)]
    before = house.everything()
    with staged(house, write_csv(tmp_path / "ward.csv", VISITS, rows)) as work:

        def kept() -> list[tuple[int, list[str], str]]:
            return list(work.stage.refused())

        def killed(session: Session, batch: Batch, report: Report) -> None:
            assert [line for line, *_ in kept()] == [2]
            raise Killed

        with pytest.raises(Killed):
            list(run(work, Report(), also=killed))
        assert house.everything() == before
        work.stage.refuse([(row, "it was so then") for _, rows in work.stage.patients("7") for row in rows])
        told = Report()
        for _ in run(work, told, also=lambda *_: None):
            pass
        assert [line for line, *_ in kept()] == [2]
    assert (told.new_patients, told.facts, told.known) == (1, 3, 0)


def test_the_progress_is_kept_only_after_who_was_in_the_way_was_tried_again(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in between, the import goes on with all of the batch."""
    visits(house, tmp_path, visit("7", day(21), 70, 20, 70), course=False, protocol=None)
    rows = [visit(number, day(14), 70, 20, 70) for number in ("6", "7", "8")]
    store, passed = house.services.store, list[str]()
    carry_out_each, tries = type(store).carry_out_each, list[int]()

    def in_the_way(self: object, steps: Any) -> Any:
        tries.append(len(steps))
        if len(tries) == 2:
            assert not passed
            raise Killed
        return [*carry_out_each(self, steps)[:-1], Stale("somebody was faster")]  # type: ignore[arg-type]

    monkeypatch.setattr(type(store), "carry_out_each", in_the_way)
    with staged(house, write_csv(tmp_path / "ward.csv", VISITS, rows)) as work, pytest.raises(Killed):
        list(run(work, Report(), also=lambda _, batch, __: passed.append(batch.last)))
    assert (tries, passed) == ([3, 1], [])


LIST = ("MRN", "Last name", "First name", "DOB", "Date", "Test", "Result", "Unit")


def test_a_count_that_was_refused_does_not_double_those_of_its_day_once_it_is_corrected(
    house: House, tmp_path: Path
) -> None:
    who = ["1", "Berg", "Anna", "1960-05-01", "2026-03-02", "PLT"]
    first = write_csv(tmp_path / "a.csv", LIST, [[*who, "<5", "10^9/L"], [*who, "9", "10^9/L"]])
    assert [line for line, _ in imports(house, first).refused] == [2]
    again = write_csv(tmp_path / "b.csv", LIST, [[*who, "4", "10^9/L"], [*who, "9", "10^9/L"]])
    report = imports(house, again)
    assert not report.refused
    assert report.report.known == 1
    assert told(house, "1") == ["2026-03-02 platelet-count 9 10*9/L", "2026-03-02 platelet-count 4 10*9/L"]


def test_an_export_of_this_program_comes_in_as_what_stands(house: House, tmp_path: Path) -> None:
    """Versions that do not stand and errors are refused, unreliable counts stay so, what waited waits again."""
    header = (*LIST, "ended_on", "unreliable", "status", "current")
    who = ["1", "Berg", "Anna", "1960-05-01"]

    def row(day: str, kind: str, value: str, *rest: str) -> list[str]:
        return [*who, day, kind, value, "10*9/L" if value else "", *rest]

    rows = [
        row("2026-01-05", "course", "", "2026-03-01", "", "discontinued", "true"),
        row("2026-01-05", "platelet-count", "400", "", "false", "final", "false"),
        row("2026-01-05", "platelet-count", "40", "", "false", "final", "true"),
        row("2026-01-12", "platelet-count", "90", "", "false", "entered-in-error", "true"),
        row("2026-01-19", "platelet-count", "30", "", "true", "final", "true"),
        row("2026-01-26", "platelet-count", "80", "", "false", "unverified", "true"),
        row("2026-02-02", "platelet-count", "80", "", "perhaps", "wrong", "true"),
    ]
    rows.append([*who, "2026-01-05", "dose", "75", "ug", "", "", "final", "true"])
    found = imports(house, write_csv(tmp_path / "out.csv", header, rows))
    assert found.refused == [
        (3, "is a version that was changed since"),
        (5, "was entered in error"),
        (
            8,
            (
                "status: 'wrong' must be final, unverified or entered-in-error; "
                "unreliable: 'perhaps' must be true or false"
            ),
        ),
    ]
    counts = sorted((fact.day, str(fact.value), fact.unreliable, fact.status) for fact in facts(house, "1"))
    assert counts == [
        ("2026-01-05", "40", False, "final"),
        ("2026-01-05", "75", False, "final"),
        ("2026-01-19", "30", True, "final"),
        ("2026-01-26", "80", False, "unverified"),
    ]
    with house.services.store.reading() as session:
        (course,) = session.find(CourseVersion, Where("current", "=", True))
    assert course.ended_on == "2026-03-01"


def test_a_status_of_anybody_else_is_left_alone(house: House, tmp_path: Path) -> None:
    file = write_csv(
        tmp_path / "a.csv", (*LIST, "Status"), [["1", "Berg", "Anna", "", "2026-03-02", "PLT", "9", "10^9/L", "F"]]
    )
    assert imports(house, file).report.facts == 1


def test_numbers_of_another_system_are_not_taken_for_those_of_the_import(house: House, tmp_path: Path) -> None:
    header = (*VISITS, "identifier_system")
    rows = [[*visit("1", day(7), 70), SYSTEM], [*visit("2", day(7), 70), "urn:other"]]
    done = imports(house, write_csv(tmp_path / "ward.csv", header, rows))
    assert done.refused == [(3, f"identifier_system: urn:other is not {SYSTEM}, the import's")]
    assert patient(house, "2") is None


def test_of_two_counts_of_a_day_the_later_one_stands_however_a_laboratory_sorts(house: House, tmp_path: Path) -> None:
    who = ["1", "Berg", "Anna", "1960-05-01"]
    newest_first = [
        [*who, "2026-03-02 14:05", "PLT", "9", "10^9/L"],
        [*who, "2026-03-02 08:30", "PLT", "30", "10^9/L"],
        [*who, "2026-02-02", "PLT", "9", "10^9/L"],
        [*who, "2026-02-02 08:30", "PLT", "30", "10^9/L"],
    ]
    imports(house, write_csv(tmp_path / "lis.csv", LIST, newest_first))
    assert [line.partition(" platelet-count ")[::2] for line in told(house, "1")] == [
        ("2026-02-02", "9 10*9/L"),
        ("2026-02-02", "30 10*9/L"),
        ("2026-03-02", "30 10*9/L"),
        ("2026-03-02", "9 10*9/L"),
    ]
    sorted_anew = imports(
        house, write_csv(tmp_path / "lis.csv", LIST, [*reversed(newest_first[:2]), *newest_first[2:]])
    )
    assert (sorted_anew.report.known, sorted_anew.refused) == (4, [])
