"""The texts: what is told to whom, and what an installation may lay over them."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from titrator.notify.base import InvalidTexts
from titrator.notify.texts import FOR_PATIENTS, PLACEHOLDERS, Audience, MessageKind, Texts

VALUES = {
    "number": "0007",
    "due_on": "2026-03-09",
    "day": "2026-03-09, Monday",
    "clinic": "Haematology North",
    "link": "https://titrator.example.org/patients/0007",
    "overdue_days": "3",
    "lines": "0007: count\n0008: dose",
    "details": "",
}


@pytest.fixture(scope="module")
def texts() -> Texts:
    return Texts.load("en")


def test_each_kind_is_told_to_staff_and_some_to_patients(texts: Texts) -> None:
    assert {kind for kind, audience in texts.texts if audience == Audience.STAFF} == set(MessageKind)
    assert {kind for kind, audience in texts.texts if audience == Audience.PATIENT} == FOR_PATIENTS
    assert len(FOR_PATIENTS) == 9
    assert MessageKind.TEST in FOR_PATIENTS
    assert MessageKind.SIGN_OFF not in FOR_PATIENTS


@pytest.mark.parametrize("kind", sorted(FOR_PATIENTS))
def test_a_patient_s_text_names_no_medicine_no_illness_no_value_and_no_person(texts: Texts, kind: MessageKind) -> None:
    told = " ".join(texts.render(kind, "patient", VALUES))
    for word in ("0007", "38", "150", "http", "platelet", "romi", "plate", "inject", "dose", "ITP", "treatment"):
        assert word.casefold() not in told.casefold(), word
    assert "Haematology North" in told


@pytest.mark.parametrize("kind", list(MessageKind))
def test_a_staff_text_names_by_default_no_person_and_no_value(texts: Texts, kind: MessageKind) -> None:
    text = texts.render(kind, Audience.STAFF, VALUES)
    told = " ".join(text).replace(VALUES["link"], "").replace(VALUES["lines"], "")
    for word in ("Lee", "38", "150"):
        assert word not in told, word
    assert text.body.endswith(VALUES["link"])
    assert "\n" not in text.subject
    assert "$" not in told


def test_a_text_in_full(texts: Texts) -> None:
    values = {"number": "0007", "due_on": "2026-03-09", "link": "https://x.example/7"}
    assert texts.render("count-overdue", "staff", values) == (
        "Patient 0007: platelet count overdue since 2026-03-09",
        "Patient 0007: platelet count overdue since 2026-03-09.\nhttps://x.example/7",
    )
    assert texts.render("count-overdue", "staff", values | {"details": "Ann Lee"}).body.split("\n")[1] == "Ann Lee"
    assert texts.render("count-due", "patient", {"clinic": "North", "day": texts.day(date(2026, 3, 9))}).body == (
        "Your next blood test at North is due on 2026-03-09, Monday. If you cannot come, please call the clinic."
    )


def test_a_value_fills_in_nothing_further_and_no_second_line_of_a_subject(texts: Texts) -> None:
    text = texts.render("test", "staff", {"clinic": "A\r\nBcc: b@example.org $link", "link": "https://x.example"})
    assert text.subject == "Test message from A Bcc: b@example.org $link"


@pytest.mark.parametrize(
    ("kind", "audience", "values"),
    [
        ("count-due", "staff", {"number": "0007", "link": "x"}),  # no day
        ("sign-off", "patient", VALUES),
        ("nothing", "staff", VALUES),
        ("test", "nobody", VALUES),
    ],
)
def test_what_cannot_be_told_is_a_fault_of_the_caller(
    texts: Texts, kind: str, audience: str, values: dict[str, str]
) -> None:
    with pytest.raises(ValueError, match=r"."):
        texts.render(kind, audience, values)


def test_an_installation_lays_its_own_over_the_shipped(tmp_path: Path) -> None:
    (tmp_path / "en.toml").write_text('[test.staff]\nsubject = "Only a test in $clinic"\n')
    (tmp_path / "de.toml").write_text(
        'weekdays = ["Montag", "Dienstag", "Mittwoch", "Donnerstag", "Freitag", "Samstag", "Sonntag"]\n'
        '[count-due.patient]\nsubject = "Blutabnahme"\nbody = "Blutabnahme in $clinic am $day."\n'
    )
    english, german = Texts.load("en", tmp_path), Texts.load("de", tmp_path)
    assert english.render("test", "staff", VALUES).subject == "Only a test in Haematology North"
    assert english.render("test", "staff", VALUES).body.startswith("This is a test message")
    assert german.render("count-due", "patient", VALUES | {"day": german.day(date(2026, 3, 9))}) == (
        "Blutabnahme",
        "Blutabnahme in Haematology North am 2026-03-09, Montag.",
    )
    assert german.render("test", "staff", VALUES).subject == "Only a test in Haematology North"


@pytest.mark.parametrize(
    ("content", "place", "word"),
    [
        ('[count-dew.staff]\nsubject = "x"', "count-dew.staff.subject", "unknown kind"),
        ('count-due = "x"', "count-due", "patient or staff"),
        ('[count-due.nurse]\nsubject = "x"', "count-due.nurse.subject", "patient or staff"),
        ('[count-due.staff]\ntitle = "x"', "count-due.staff.title", "subject and body"),
        ('[count-due.staff.body]\nde = "x"', "count-due.staff.body", "must be a text"),
        ('[sign-off.patient]\nbody = "x"', "sign-off.patient.body", "not told"),
        ('[count-due.staff]\nsubject = "$nmae"', "count-due.staff.subject", "unknown placeholder $nmae"),
        ('[count-due.staff]\nsubject = "5 $"', "count-due.staff.subject", "$$"),
        ('[count-due.staff]\nsubject = "a\\nb"', "count-due.staff.subject", "one line"),
        ('[count-due.staff]\nbody = " "', "count-due.staff.body", "must be a text"),
        ("[count-due.staff]\nbody = 3", "count-due.staff.body", "must be a text"),
        ('[count-due.staff]\nbody = "$lines"', "count-due.staff.body", "unknown placeholder $lines"),
        ('[digest.staff]\nbody = "$due_on"', "digest.staff.body", "unknown placeholder $due_on"),
        ('[test.staff]\nbody = "$day"', "test.staff.body", "unknown placeholder $day"),
        ('[count-due.patient]\nbody = "$name"', "count-due.patient.body", "unknown placeholder $name"),
        ('[count-due.patient]\nbody = "$link"', "count-due.patient.body", "unknown placeholder $link"),
        ('[count-due.patient]\nbody = "Your Nplate"', "count-due.patient.body", "names the medicine"),
        ("weekdays = []", "weekdays", "seven"),
        ("[count-due", "", "not TOML"),
        ("# " + 100_000 * "x", "", "larger"),
    ],
)
def test_a_fault_is_told_with_its_place(tmp_path: Path, content: str, place: str, word: str) -> None:
    file = tmp_path / "en.toml"
    file.write_text(content)
    with pytest.raises(InvalidTexts) as caught:
        Texts.load("en", tmp_path)
    (fault,) = caught.value.faults
    assert fault.startswith(f"{file}: {place}")
    assert word in fault


def test_all_faults_of_all_files_are_told_together(tmp_path: Path) -> None:
    (tmp_path / "en.toml").write_text('[a.staff]\nsubject = "x"\n[test.staff]\nbody = "$x"\n')
    (tmp_path / "fr.toml").write_bytes(b"\xff")
    with pytest.raises(InvalidTexts) as caught:
        Texts.load("fr", tmp_path)
    assert len(caught.value.faults) == 3


@pytest.mark.parametrize("language", ["xx", "../en", "EN", ""])
def test_a_language_without_texts_is_refused(tmp_path: Path, language: str) -> None:
    with pytest.raises(InvalidTexts):
        Texts.load(language, tmp_path)


def test_patients_are_told_less_than_staff() -> None:
    assert PLACEHOLDERS[Audience.PATIENT] < PLACEHOLDERS[Audience.STAFF]
