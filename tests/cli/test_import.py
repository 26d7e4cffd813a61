"""`titrator import`: what is guessed is shown and confirmed, what is not known is asked for, what is refused told."""

from __future__ import annotations

import csv
import fcntl
import io
import json
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.bulk.intake.support import VISITS, visit, write_csv
from tests.cli.test_installation import Run, done, instance, made, titrator, words  # noqa: F401 (fixtures)
from tests.fhir.resources import person, weighed
from titrator.bulk.intake import crew

SURE = ("--source", "ward", "--system", "urn:mrn", "--protocol", "us-itp-adult", "--clinic", "Day Unit", "--yes")


@pytest.fixture
def ward(tmp_path: Path) -> Path:
    rows = [visit("7", "2025-03-03", 70, 20, 70), visit("7", "2025-03-10", 70, "<5", 140), visit("8", "2025-03-10", 80)]
    return write_csv(tmp_path / "ward.csv", VISITS, rows)


def cells(file: Path) -> list[list[str]]:
    return list(csv.reader(io.StringIO(file.read_text(encoding="utf-8-sig"), newline="")))


def test_what_was_guessed_must_be_confirmed(made: Run, ward: Path) -> None:  # noqa: F811
    ran = made("import", ward, "--protocol", "us-itp-adult", "--system", "urn:mrn")
    assert ran.code == 3
    assert "guessed and not confirmed" in ran.err
    assert "column “Platelets (10^9/L)”: guessed to be the platelet count (platelets), in 10*9/L" in ran.err
    assert "the clinic of all rows: guessed to be Day Unit" in ran.err
    assert not ward.with_name("ward.csv.rejected.csv").exists()


def test_what_cannot_be_guessed_is_asked_for(made: Run, ward: Path) -> None:  # noqa: F811
    ran = made("import", ward, "--yes")
    assert ran.code == 3
    assert "system: required" in ran.err
    assert "protocol: required" in ran.err


def test_a_dry_run_shows_all_and_changes_nothing(made: Run, ward: Path, instance: Path) -> None:  # noqa: F811
    before = (instance / "titrator.db").read_bytes()
    ran = made("import", ward, "--dry-run", "--protocol", "us-itp-adult", "--system", "urn:mrn")
    said = words(ran.out)
    assert ran.code == 3
    assert "Weight kg weight kg guessed: column, unit" in said
    assert "The first patient: 7, Berg, Anna, born 1960-05-01." in said
    assert "2 2025-03-03 dose 70 micrograms" in said
    assert "line 3: Platelets (10^9/L): “<5” is no exact value" in said
    assert "3 rows of 2 patients: 2 would be new here, 1 course would be started." in said
    assert "Nothing was changed." in said
    assert not list((instance / "imports").iterdir())
    assert (instance / "titrator.db").read_bytes() == before


def test_rows_that_were_refused_stand_beside_the_file(made: Run, ward: Path) -> None:  # noqa: F811
    ran = made("import", ward, *SURE)
    assert (ran.code, ran.err) == (3, "")
    assert "Facts recorded: 2 weights, 1 platelet count, 1 dose. 0 were there already." in ran.out
    rejected = ward.with_name("ward.csv.rejected.csv")
    rows = cells(rejected)
    assert rows[0] == [*VISITS, "line", "reason"]
    assert rows[1][:5] == visit("7", "2025-03-10")[:5]
    assert rows[1][-2:] == ["3", "Platelets (10^9/L): “<5” is no exact value"]
    write_csv(ward, VISITS, [visit("7", "2025-03-03", 70, 20, 70), visit("7", "2025-03-10", 70, 45, 140)])
    assert "Facts recorded: 1 weight, 1 platelet count, 1 dose. 3 were there already." in done(
        made("import", ward, *SURE)
    )
    assert not rejected.exists()
    assert "in order" in done(made("db", "check"))
    entries = [json.loads(line) for line in done(made("audit", "export")).splitlines()]
    told = [(entry["action"], entry["subject"].partition("/")[0]) for entry in entries if "import" in entry["action"]]
    assert sorted(told) == sorted(
        [("begin-import", "import"), ("end-import", "import")] * 2 + [("import", "patient")] * 3
    )


def test_no_cell_of_the_rejected_file_is_a_formula(made: Run, tmp_path: Path) -> None:  # noqa: F811
    row = visit("7", "=cmd|' /C calc'!A0", "+1", "@x", "-2")
    file = write_csv(tmp_path / "bad.csv", VISITS, [row])
    assert made("import", file, *SURE).code == 3
    told = cells(tmp_path / "bad.csv.rejected.csv")[1]
    assert told[4:8] == ["'=cmd|' /C calc'!A0", "'+1", "'@x", "'-2"]


def test_nothing_of_a_file_is_obeyed_by_a_terminal(made: Run, tmp_path: Path) -> None:  # noqa: F811
    hostile = "\x1b[2J\x1b]0;title\x07\x9b31m"
    rows = [[*visit("7", "2025-03-03", 70), f"x{hostile}"], [*visit("8", f"2025{hostile}", f"70{hostile}"), "Day Unit"]]
    file = write_csv(tmp_path / f"ward{hostile}.csv", [*VISITS, "Clinic"], rows)
    asked = (*SURE[:6], "--yes")
    for ran in (made("import", file, *asked, "--dry-run"), made("import", file, *asked)):
        assert ran.code == 3
        assert "2 rows" in ran.out
        assert (ran.out + ran.err).replace("\n", "").isprintable()


def test_refused_rows_follow_no_link_and_are_for_their_owner_only(
    made: Run,  # noqa: F811
    ward: Path,
    tmp_path: Path,
) -> None:
    rejected, other = ward.with_name("ward.csv.rejected.csv"), tmp_path / "other"
    other.write_text("keep me")
    rejected.symlink_to(other)
    assert made("import", ward, *SURE).code == 3
    assert (other.read_text(), rejected.is_symlink()) == ("keep me", False)
    rejected.chmod(0o644)
    assert made("import", ward, *SURE).code == 3
    assert rejected.stat().st_mode & 0o777 == 0o600
    assert sorted(file.name for file in tmp_path.glob("*ward*")) == ["ward.csv", "ward.csv.rejected.csv"]


def test_a_mapping_file_says_it_all_and_is_written(made: Run, ward: Path, tmp_path: Path) -> None:  # noqa: F811
    mapping = tmp_path / "ward.toml"
    asked = ("--protocol", "us-itp-adult", "--system", "urn:mrn", "--dry-run", "--save-mapping", mapping)
    made("import", ward, *asked)
    assert 'weight = "Weight kg"' in mapping.read_text()
    ran = made("import", ward, "--mapping", mapping, "--json")
    assert (ran.code, ran.err) == (3, "")
    report = json.loads(ran.out)
    assert (report["refused"], report["recorded"]["weight"], report["dry_run"]) == (1, 2, False)
    assert report["rejected_file"].endswith("ward.csv.rejected.csv")


def test_columns_and_units_are_said_by_options(made: Run, tmp_path: Path) -> None:  # noqa: F811
    file = write_csv(tmp_path / "a.csv", ("Pat", "Wann", "X", "Y"), [("7", "03.04.2025", "154,3", "1")])
    said = ("--source", "a", "--system", "urn:mrn", "--clinic", "Day Unit", "--no-course")
    ran = made("import", file, *said, "--map", "patient=Pat", "--map", "day=Wann", "--map", "weight=X", "--dry-run")
    assert (ran.code, "units.weight: required: X has no unit" in ran.err) == (3, True)
    columns = ("--map", "patient=Pat", "--map", "day=Wann", "--map", "weight=X", "--unit", "weight=lbs")
    ran = made("import", file, *said, *columns)
    assert (ran.code, "dates: required, dmy or mdy: Wann has days such as 03.04.2025" in ran.err) == (3, True)
    ran = made("import", file, *said, *columns, "--dates", "dmy", "--dry-run", "--json")
    assert json.loads(ran.out)["refused"] == 1
    done_json = made("import", file, *said, *columns, "--dates", "dmy", "--decimal", "comma", "--dry-run")
    assert "family_name: required of a new patient" in words(done_json.out)


#: What is wrong with a call, and what is said.
WRONG: list[tuple[str, tuple[str, ...], int, str]] = [
    ("a.pdf", (), 3, "file: .pdf is not read"),
    ("a.csv", ("--map", "weight"), 3, "columns: weight: write FIELD=COLUMN"),
    ("a.csv", ("--map", "wieght=X"), 3, "columns.wieght: wieght is no field"),
    ("a.csv", ("--map", "weight=Nothing"), 3, "columns.weight: there is no column Nothing"),
    ("a.csv", ("--unit", "weight=stone"), 3, "units.weight: stone is no unit that the body weight is kept in"),
    ("a.csv", ("--protocol", "nothing"), 3, "protocol: "),
    ("a.csv", ("--clinic", "Nowhere"), 3, "clinic: no clinic of that name or id: Nowhere"),
    ("a.csv", ("--source", "../x"), 3, "source: must have 1 to 60 letters"),
    ("a.csv", ("--encoding", "klingon"), 3, "encoding: no encoding is called klingon"),
    ("a.csv", ("--dates", "ymd"), 2, "Invalid value for '--dates'"),
]


@pytest.mark.parametrize(("name", "options", "code", "said"), WRONG, ids=[case[3] for case in WRONG])
def test_a_wrong_call_is_refused(
    made: Run,  # noqa: F811
    tmp_path: Path,
    name: str,
    options: tuple[str, ...],
    code: int,
    said: str,
) -> None:
    file = write_csv(tmp_path / name, VISITS, [visit("7", "2025-03-03", 70)])
    ran = made("import", file, *SURE, *options)
    assert ran.code == code
    assert said in ran.err


def test_several_processes_record_what_one_does(
    made: Run,  # noqa: F811
    tmp_path: Path,
    instance: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Enough rows for some shares, the refused and the implausible among them; each of them is there, once."""
    monkeypatch.setattr(crew, "ROWS", 60)
    rows = [
        visit(f"{number:04}", f"2025-01-{1 + 7 * week:02}", 70, "<5" if number == 70 else 20, 70)
        for number in range(100)
        for week in range(4)
    ]
    rows += [visit("0003", "2025-03-01", 165), ["", *visit("7", "2025-03-01", 70)[1:]]]
    file = write_csv(tmp_path / "ward.csv", VISITS, rows)
    ran = made("import", file, *SURE, "--jobs", 2, "--json")
    report = json.loads(ran.out)
    assert (ran.code, ran.err, report["rows"], report["refused"]) == (3, "", 402, 5)
    assert (report["new_patients"], report["courses"], report["refused_patients"]) == (99, 99, 1)
    assert report["recorded"] == {"weight": 397, "platelet-count": 396, "dose": 396}
    assert report["unverified"] == {"WEIGHT-FAR-FROM-LAST": 1}
    assert report["to_verify"] == [{"line": 402, "patient": "0003", "asked": ["WEIGHT-FAR-FROM-LAST"]}]
    assert len(cells(tmp_path / "ward.csv.rejected.csv")) == 6
    assert "in order" in done(made("db", "check"))
    assert "in order" in done(made("audit", "verify"))
    again = json.loads(made("import", file, *SURE, "--jobs", 1, "--json").out)
    assert (again["recorded"], again["known"], again["refused"]) == ({}, 1189, 5)
    assert not list((instance / "imports").iterdir())


def test_a_bundle_is_imported_from_its_file(made: Run, tmp_path: Path) -> None:  # noqa: F811
    who = {**person(number="7"), "id": "p1"}
    file = tmp_path / "all.json"
    file.write_text(
        json.dumps({"resourceType": "Bundle", "entry": [{"resource": who}, {"resource": weighed("p1", 5)}]})
    )
    ran = made("import", file, "--system", "urn:mrn", "--no-course", "--dry-run")
    assert "all.json: FHIR resources." in ran.out
    assert "weight 75 kg" in words(ran.out)
    ran = made("import", file, "--system", "urn:mrn", "--no-course", "--yes", "--source", "ehr")
    assert "Facts recorded: 1 weight." in done(ran)
    ran = made("import", file, "--yes", "--source", "ehr")
    assert (ran.code, "protocol: required" in ran.err) == (3, True)


@pytest.mark.slow
def test_an_import_that_is_killed_is_simply_run_again(made: Run, tmp_path: Path, instance: Path) -> None:  # noqa: F811
    """By SIGKILL, after more and more patients, with processes of its own; in the end each fact is there, once."""
    rows = [visit(f"{number:04}", "2025-01-06", 70, 20, 70) for number in range(1500)]
    file = write_csv(tmp_path / "ward.csv", VISITS, rows)
    script = "from titrator.bulk.intake import crew; crew.ROWS = 150; from titrator.cli import run; run()"
    command = [sys.executable, "-c", script, "import", str(file), *SURE, "--jobs", "2"]
    environment = {**os.environ, "TITRATOR_INSTANCE": str(instance)}
    there = 0
    for least in (1, 600):
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, start_new_session=True)
        while process.poll() is None and there < least:
            with closing(sqlite3.connect(instance / "titrator.db", timeout=30)) as store:
                there = store.execute("select count(*) from patients").fetchone()[0]
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for left in (instance / "imports").glob("cli-*.stage"):  # until the last of its processes is no more
            with left.open("rb") as held:
                fcntl.flock(held, fcntl.LOCK_EX)
    assert 0 < there < 1500
    report = json.loads(made("import", file, *SURE, "--json").out)
    assert report["known"] + sum(report["recorded"].values()) == 4500
    assert 0 < report["known"] < 4500
    assert (report["refused"], report["unverified"]) == (0, {})
    with closing(sqlite3.connect(instance / "titrator.db")) as store:
        assert store.execute("select count(*), count(distinct patient_id) from facts").fetchone() == (4500, 1500)
    assert "in order" in done(made("db", "check"))
    assert "in order" in done(made("audit", "verify"))
    assert not list((instance / "imports").iterdir())


def test_rejected_rows_are_corrected_and_come_in_by_the_same_mapping(made: Run, tmp_path: Path) -> None:  # noqa: F811
    """A table as a German spreadsheet has it: another encoding, semicolons, and headers of two lines."""
    file, mapping = tmp_path / "station.csv", tmp_path / "station.toml"
    rows = [["7", "Müller", "Jörg", "01.05.1960", f"0{day}.03.2025", value] for day, value in ((3, "<5"), (4, "20"))]
    header = ["Pat.-Nr.", "Nachname", "Vorname", "Geb.-Datum", "Datum", "Thrombozyten\n(Tsd/µl)"]
    with file.open("w", encoding="cp1252", newline="") as out:
        csv.writer(out, delimiter=";").writerows([header, *rows, *rows[:1]])
    said = ("--system", "urn:mrn", "--dates", "dmy", "--save-mapping", mapping, "--yes")
    assert "encoding: the file is not in UTF-8: say which encoding" in made("import", file, *said).err
    ran = made("import", file, *said, "--encoding", "cp1252", "--delimiter", ";")
    assert "line 3 and 1 more: Thrombozyten (Tsd/µl): “<5” is no exact value" in words(ran.out)
    rejected = tmp_path / "station.csv.rejected.csv"
    text = rejected.read_text(encoding="utf-8")
    assert text.startswith("\ufeffPat.-Nr.;Nachname;")
    corrected = tmp_path / "corrected.csv"
    corrected.write_text(text.replace("<5", "4"), encoding="utf-8")
    assert "Facts recorded: 2 platelet counts" in done(made("import", corrected, "--mapping", mapping))


def test_what_rows_of_one_fact_tell_of_is_shown(made: Run, tmp_path: Path) -> None:  # noqa: F811
    header = ("MRN", "Surname", "Forename", "Date", "Test", "Result", "Unit")
    rows = [("7", "B", "A", "2025-03-03", kind, "20", "K/uL") for kind in ("PLT", "PLT", "ANC", "Ferritin", "")]
    ran = made("import", write_csv(tmp_path / "a.csv", header, rows), "--system", "urn:x", "--no-course", "--dry-run")
    shown = "PLT is platelets (2 rows); empty is nothing that is kept (1 row); ANC is neutrophils (1 row); Ferritin is"
    assert f"Test: {shown} nothing that is kept (1 row)." in words(ran.out)
