"""What is taken out of an installation by command: files whole or not at all, an entry of the trail for each."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.api.support import House, build, count, dose
from tests.support import words
from titrator.bulk.cohort import ranges
from titrator.bulk.evidence import last_line
from titrator.cli import main
from titrator.security.signing import public_key, sign
from titrator.settings import NAMES
from titrator.titration.documents import reread

Run = Callable[..., Any]


@pytest.fixture
def house(tmp_path: Path) -> House:
    """A patient with a decision that was carried out, one of whom nothing is recorded, one of the other clinic."""
    house = build(tmp_path)
    (tmp_path / "audit.key").write_text(house.services.audit_key.hex(), encoding="ascii")
    patient = house.on_course(0)
    house.record(patient, "platelet-counts", count(0, 20))
    proposal = house.get(f"/patients/{patient}/next-dose")
    house.post(
        f"/patients/{patient}/decisions",
        {"decision": "accept", "proposal_sha256": proposal["proposal_sha256"], "acknowledge": []},
    )
    house.record(patient, "doses", dose(0, 75))
    house.patient()
    house.patient("stranger")
    return house


@pytest.fixture
def titrator(house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    assert house.made == 3
    monkeypatch.chdir(tmp_path)
    environ = dict.fromkeys(f"TITRATOR_{name.upper()}" for name in NAMES)
    runner = CliRunner(env=environ | {"TITRATOR_INSTANCE": str(tmp_path), "COLUMNS": "140"})
    return lambda *words, **more: runner.invoke(main, words, catch_exceptions=False, **more)


def entries(house: House, action: str, chain: str = "system") -> list[tuple[str, Any]]:
    return [(row.subject, reread(row.detail)) for row in house.trail(chain) if row.action == action]


@pytest.mark.parametrize(("file", "patients"), [("all.csv", 3), ("all.ndjson", 3), ("all.json", 3)])
def test_all_patients_are_taken_out_and_that_is_in_the_trail(
    house: House, titrator: Run, tmp_path: Path, file: str, patients: int
) -> None:
    ran = titrator("export", file)
    content = (tmp_path / file).read_text(encoding="utf-8-sig")
    assert (ran.exit_code, words(ran.stdout)) == (
        0, f"{file}: {patients} patients, {(tmp_path / file).stat().st_size} bytes.",
    )  # fmt: skip
    match file:
        case "all.csv":
            assert len({row["record"] for row in csv.DictReader(io.StringIO(content))}) == patients
        case "all.ndjson":
            assert len([json.loads(line) for line in content.splitlines()]) == patients
        case _:
            kinds = [entry["resource"]["resourceType"] for entry in json.loads(content)["entry"]]
            assert kinds.count("Patient") == patients
    ((subject, detail),) = entries(house, "export")
    assert (subject, detail["patients"], detail["file"]) == ("patients", patients, str(tmp_path / file))
    assert [path.suffix for path in tmp_path.iterdir() if "all." in path.name] == [f".{file[4:]}"]


def test_one_clinic_or_one_patient_by_a_number(house: House, titrator: Run, tmp_path: Path) -> None:
    assert titrator("export", "b.ndjson", "--clinic", "Haematology B").exit_code == 0
    assert [
        json.loads(line)["patient"]["clinic"]["name"] for line in (tmp_path / "b.ndjson").read_text().splitlines()
    ] == ["Haematology B"]
    ran = titrator("export", "one.txt", "--format", "ndjson", "--patient", "pharmacist-1", "--decisions", "--versions")
    assert (ran.exit_code, ran.stdout.split(",")[0]) == (0, "one.txt: 1 patient")
    document = json.loads((tmp_path / "one.txt").read_text())
    assert [made["status"] for made in document["decisions"]] == ["in-force", "delivered"]
    ident = document["patient"]["id"]
    assert [subject for subject, _ in entries(house, "export")] == [f"clinic/{house.other_clinic}/patients"]
    ((subject, detail),) = entries(house, "export", ident)
    assert (subject, detail["versions"], detail["decisions"]) == (f"patient/{ident}", True, True)


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (["all.xlsx"], 2, "say --format, or end FILE in .csv, .ndjson or .json"),
        (["all.json", "--versions"], 2, "--versions does not go with fhir"),
        (["audit.key", "--format", "csv"], 3, "audit.key: is there already, and is not written over"),
        (["no/all.csv"], 4, "no/all.csv: No such file or directory"),
        (["all.csv", "--clinic", "C", "--patient", "9"], 3, "--clinic: no clinic of that name or id: C"),
        (["all.csv", "--clinic", "C", "--patient", "9"], 3, "--patient: no patient of that id or number: 9"),
        (
            ["all.csv", "--clinic", "Haematology B", "--patient", "pharmacist-1"],
            3,
            "--patient: is not of Haematology B",
        ),
    ],
)
def test_what_cannot_be_taken_out_is_told_and_leaves_nothing(
    house: House, titrator: Run, tmp_path: Path, options: list[str], code: int, says: str
) -> None:
    before = sorted(tmp_path.iterdir())
    ran = titrator("export", *options)
    assert (ran.exit_code, says in words(ran.stderr)) == (code, True), ran.stderr
    assert [path for path in sorted(tmp_path.iterdir()) if path not in before and path.name != "spool"] == []
    assert entries(house, "export") == []


def test_a_number_of_two_patients_names_neither(house: House, titrator: Run) -> None:
    for system in ("urn:a", "urn:b"):
        house.patient(identifiers=[{"system": system, "value": "7"}])
    assert "several patients have that number" in titrator("export", "x.csv", "--patient", "7").stderr


def test_an_evidence_file_is_written_told_and_verified(house: House, titrator: Run, tmp_path: Path) -> None:
    ran = titrator("evidence", "export", "pharmacist-1", "-o", "ada.ndjson")
    key = public_key(house.services.audit_key)
    assert (ran.exit_code, ran.stdout.rpartition(" ")[2].strip()) == (0, key)
    assert titrator("evidence", "key").stdout.strip() == key
    found = titrator("evidence", "verify", "ada.ndjson", "--key", key, "--audit-key", "audit.key")
    assert found.exit_code == 0, found.stdout
    said = words(found.stdout)
    assert "1 2026-03-09 accept delivered the same answer" in said
    assert said.startswith("Evidence of Patient1, Ada, born 1960-05-01, pharmacist-1 (")
    assert said.endswith("In order.")
    answer = json.loads(titrator("evidence", "verify", "ada.ndjson", "--json").stdout)
    assert (answer["public_key"], answer["faults"], answer["audit_key"]) == (key, [], False)
    assert [(made["id"], made["differs"]) for made in answer["decisions"]] == [(1, [])]
    ((subject, detail),) = entries(house, "take-evidence", answer["patient"])
    assert subject == f"patient/{answer['patient']}/evidence"
    assert len(detail["sha256"]) == 64


def test_a_tampered_file_is_told_with_exit_code_1(titrator: Run, tmp_path: Path) -> None:
    titrator("evidence", "export", "pharmacist-1", "-o", "ada.ndjson")
    text = (tmp_path / "ada.ndjson").read_text(encoding="utf-8")
    (tmp_path / "other.ndjson").write_text(text.replace('"value": "20"', '"value": "45"'), encoding="utf-8")
    ran = titrator("evidence", "verify", "other.ndjson")
    assert ran.exit_code == 1
    assert "NOT IN ORDER" in ran.stdout
    assert "the facts that were known then are not those that it rests on" in words(ran.stdout)
    assert "the signature is not that of these lines" in words(ran.stdout)
    assert json.loads(titrator("evidence", "verify", "other.ndjson", "--json").stdout)["public_key"] is None
    assert titrator("evidence", "verify", "ada.ndjson", "--key", "0" * 64).exit_code == 1


def test_a_file_that_somebody_signed_is_in_order_only_if_the_key_is_and_is_obeyed_by_no_terminal(
    house: House, titrator: Run, tmp_path: Path
) -> None:
    titrator("evidence", "export", "pharmacist-1", "-o", "ada.ndjson")
    lines = (tmp_path / "ada.ndjson").read_text(encoding="utf-8").splitlines(keepends=True)[:-1]
    begin, rest = json.loads(lines[0]), "".join(lines[1:])
    begin["made_at"] = "\x1b[2J\x1b]0;x\x07"
    rest = rest.replace('"status": "delivered"', '"status": "\\u001b[2J\\u009b"')
    body, key = json.dumps(begin) + "\n" + rest, b"a key of somebody else, of 32 b."
    digest = sha256(body.encode()).hexdigest()
    forged = body + last_line(digest, public_key(key), sign(key, digest))
    (tmp_path / "forged.ndjson").write_text(forged, encoding="utf-8")
    ran = titrator("evidence", "verify", "forged.ndjson")
    assert "\\u001b[2J" in ran.stdout
    assert ran.stdout.replace("\n", "").isprintable()
    said = words(titrator("evidence", "verify", "ada.ndjson").stdout)
    assert said.endswith("In order, if that is the key of the installation: --key PUBLIC tells.")
    ours = public_key(house.services.audit_key)
    assert titrator("evidence", "verify", "forged.ndjson", "--key", ours).exit_code == 1
    for asked in ((), ("--key", ours)):
        answer = json.loads(titrator("evidence", "verify", "ada.ndjson", "--json", *asked).stdout)
        assert answer["key_asked"] is bool(asked)


def test_a_key_that_is_none_is_wrong_usage(titrator: Run) -> None:
    titrator("evidence", "export", "pharmacist-1", "-o", "ada.ndjson")
    assert titrator("evidence", "verify", "ada.ndjson", "--key", "abc").exit_code == 2
    assert titrator("evidence", "verify", "ada.ndjson", "--audit-key", "ada.ndjson").exit_code == 2


def test_evidence_is_verified_where_there_is_no_installation(titrator: Run, tmp_path: Path) -> None:
    titrator("evidence", "export", "pharmacist-1", "-o", "ada.ndjson")
    runner = CliRunner(env={"TITRATOR_INSTANCE": str(tmp_path / "nowhere")})
    assert runner.invoke(main, ["evidence", "verify", "ada.ndjson"]).exit_code == 0
    assert not (tmp_path / "nowhere").exists()


# What a protocol would have said


@pytest.fixture
def cohort(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[House, Run]:
    """Three patients who were given what the label says on the first day; one of them more a week later."""
    house = build(tmp_path)
    (tmp_path / "audit.key").write_text(house.services.audit_key.hex(), encoding="ascii")
    for number in range(3):
        patient = house.on_course(7, 100)
        house.record(patient, "platelet-counts", count(7, 20))
        house.record(patient, "doses", dose(7, 100))
        house.record(patient, "platelet-counts", count(0, 70))
        assert house.record(patient, "doses", dose(0, 300 if number == 1 else 100)).status == 201
    monkeypatch.chdir(tmp_path)
    environ = dict.fromkeys(f"TITRATOR_{name.upper()}" for name in NAMES)
    runner = CliRunner(env=environ | {"TITRATOR_INSTANCE": str(tmp_path), "COLUMNS": "140"})
    return house, lambda *words: runner.invoke(main, ["audit-titration", *words], catch_exceptions=False)


def test_the_report_is_a_table_csv_and_json(cohort: tuple[House, Run]) -> None:
    house, titrator = cohort
    said = words(titrator("--protocol", "us-itp-adult").stdout)
    assert "the same amount 5 points 83.3" in said
    assert "higher than proposed 1 point 16.7" in said
    rows = list(csv.DictReader(io.StringIO(titrator("--protocol", "us-itp-adult", "--format", "csv").stdout)))
    found = {(row["section"], row["item"]): row for row in rows}
    assert found["agreement", "agreed"] == {
        "section": "agreement", "item": "agreed", "detail": "of the points with a proposal or a hold", "number": "5",
        "unit": "points", "percent": "83.3",
    }  # fmt: skip
    answer = json.loads(titrator("--protocol", "us-itp-adult", "--format", "json", "--treated").stdout)
    assert (answer["protocol"], answer["treated_by"], answer["from"]) == ("us-itp-adult", "us-itp-adult", None)
    assert [line["number"] for line in answer["report"]["cohort"]] == [3, 3, 0, 0, 0, 6]
    ((subject, detail), *_) = entries(house, "audit-titration")
    assert (subject, detail["patients"], detail["asked"]["protocol"]) == ("patients", 3, "us-itp-adult")


def test_the_answer_is_the_same_however_many_processes_there_are(
    cohort: tuple[House, Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, titrator = cohort
    monkeypatch.setattr("titrator.questions.ranges", lambda store, where: ranges(store, where, at_once=1))
    found = [
        titrator("--protocol", "us-itp-adult", "--format", "json", "--jobs", jobs, "--points", f"{jobs}.csv").stdout
        for jobs in ("1", "2")
    ]
    assert found[0] == found[1] != ""
    one, two = ((tmp_path / f"{jobs}.csv").read_text(encoding="utf-8-sig") for jobs in ("1", "2"))
    rows = list(csv.DictReader(io.StringIO(one)))
    assert one == two
    assert [row["agreement"] for row in rows].count("same-amount") == 5
    higher = next(row for row in rows if row["agreement"] == "higher")
    names = ("day", "action", "reasons", "proposed_micrograms", "given_micrograms", "given_micrograms_per_kg")
    assert [higher[name] for name in names] == [*("2026-03-09", "maintain", "IN-RANGE", "100", "300", "3")]


def test_charts_are_pictures_that_say_what_they_show(cohort: tuple[House, Run], tmp_path: Path) -> None:
    _, titrator = cohort
    assert titrator("--protocol", "us-itp-adult", "--charts", "pictures").exit_code == 0
    drawn = {path.name: path.read_text(encoding="utf-8") for path in (tmp_path / "pictures").iterdir()}
    assert set(drawn) == {
        "agreement.svg", "doses-since-last-count.svg", "time-in-range.svg", "first-response.svg",
    }  # fmt: skip
    assert all(text.startswith("<svg") and "<script" not in text for text in drawn.values())
    assert "higher than proposed: 16.7 % (1)" in drawn["agreement.svg"]
    assert "100 % by day 7" in words(drawn["first-response.svg"])


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (["--protocol", "us-itp"], 3, "--protocol: unknown protocol; the nearest are us-itp-adult"),
        (
            ["--protocol", "us-itp-adult", "--from", "2026-02-01", "--until", "2026-01-01"],
            3,
            "--from: must not be after",
        ),
        (["--protocol", "us-itp-adult", "--clinic", "C"], 3, "--clinic: no clinic of that name or id"),
        (["--protocol", "us-itp-adult", "--points", "audit.key"], 3, "audit.key: is there already"),
        (["--protocol", "us-itp-adult", "--from", "March"], 2, "--from"),
        ([], 2, "--protocol"),
    ],
)
def test_what_cannot_be_asked_is_told(cohort: tuple[House, Run], options: list[str], code: int, says: str) -> None:
    ran = cohort[1](*options)
    assert (ran.exit_code, says in words(ran.stderr)) == (code, True), ran.stderr


def test_one_clinic_is_asked_about(cohort: tuple[House, Run]) -> None:
    house, titrator = cohort
    answer = json.loads(titrator("--protocol", "us-itp-adult", "--format", "json", "--clinic", "Haematology B").stdout)
    assert answer["report"]["cohort"][0]["number"] == 0
    ((subject, _),) = entries(house, "audit-titration")
    assert subject == f"clinic/{house.other_clinic}/patients"
