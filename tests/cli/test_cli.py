"""The commands as a person or a program meets them: what they print where, and with which exit code."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from hashlib import sha256
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

import click
import pytest
from click.testing import CliRunner

from tests.support import CATALOGUE, IDS, counted, dosed, local_protocol, weighed, words, write_local
from titrator.cli import SERVICE, main
from titrator.protocols import SHIPPED, Catalogue
from titrator.titration.answer import to_text
from titrator.workflow.propose import propose

TITRATOR = str(Path(sys.executable).with_name("titrator"))
COMMANDS = [
    [],
    ["recommend"],
    ["replay"],
    ["demo"],
    ["protocols"],
    ["protocols", "list"],
    ["protocols", "show"],
    ["protocols", "diff"],
    ["protocols", "check"],
]
#: What the environment of the tests may say of terminals, and must not.
UNWANTED = (
    "COLUMNS",
    "FORCE_COLOR",
    "CLICOLOR_FORCE",
    "TTY_COMPATIBLE",
    "TTY_INTERACTIVE",
    "PYTHONIOENCODING",
)
LARGEST = 4_000_000
ESCAPE = "\x1b"

COURSE: dict[str, Any] = {
    "protocol": "us-itp-adult",
    "on": "2026-03-09",
    "born_on": "1960-05-01",
    "weights": weighed(("2026-02-01", 75)),
    "platelet_counts": counted(("2026-03-02", 31), ("2026-03-09", 38)),
    "doses": dosed(("2026-03-02", 75, 1)),
}
ON_HOLD = COURSE | {"platelet_counts": counted(("2026-03-09", 400.1))}
NO_WEIGHT = COURSE | {"weights": []}
# What is wrong with a document, and what is said of it.
WRONG = {
    "protocol": "us-itp-adut",
    "on": "2026-3-9",
    "weights": [{"measured_on": "2026-02-14", "value": "75", "unit": "kg"}],
    "platelet_counts": [
        {"collected_on": "2026-03-09", "value": 38},
        {"collected_on": "2026-03-09", "value": 6000000, "unit": "/uL", "comment": "x"},
    ],
}
WRONG_FAULTS = [
    ("protocol", "unknown protocol; the nearest are us-itp-adult, eu-itp-adult, jp-itp-adult"),
    ("on", 'must be a date, YYYY-MM-DD, from 1900-01-01 to 2200-12-31, not "2026-3-9"'),
    ("weights[0].value", 'must be a number, not "75"'),
    ("platelet_counts[0].unit", "required"),
    ("platelet_counts[1].comment", "unknown key"),
    ("platelet_counts[1].value", "must be from 0 to 5000 10*9/L, not 6000000 /uL"),
]
NOT_JSON = b'{"protocol": '
NOT_JSON_FAULT = "not JSON: Expecting value at line 1 column 14"

SOUND_EXAMPLES = (SHIPPED / "us-itp-adult.examples.toml").read_text(encoding="utf-8")


class Ran(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str


class Input(io.BytesIO):
    """Standard input, which has a name."""

    name = "<stdin>"


Run = Callable[..., Ran]


@pytest.fixture
def instance(tmp_path: Path) -> Path:
    folder = tmp_path / "instance"
    (folder / "protocols").mkdir(parents=True)
    return folder


@pytest.fixture
def titrator(instance: Path) -> Run:
    """Run a command in this process, wide enough that no line breaks; an exception that escapes fails the test."""

    def run(*arguments: object, stdin: bytes = b"", columns: int = 140) -> Ran:
        environ = dict.fromkeys(UNWANTED) | {"TITRATOR_INSTANCE": str(instance), "COLUMNS": str(columns)}
        result = CliRunner(env=environ).invoke(
            main, [str(argument) for argument in arguments], input=Input(stdin), catch_exceptions=False
        )
        return Ran(result.exit_code, result.stdout, result.stderr)

    return run


def environment(instance: Path, **more: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if key not in UNWANTED}
    return kept | {"TITRATOR_INSTANCE": str(instance), "PYTHONUTF8": "1"} | more


def really(instance: Path, *arguments: object, stdin: bytes = b"", **more: str) -> Ran:
    """Run the installed command as a shell does."""
    result = subprocess.run(
        [TITRATOR, *map(str, arguments)],
        input=stdin,
        capture_output=True,
        check=False,
        env=environment(instance, **more),
    )
    return Ran(result.returncode, result.stdout.decode(), result.stderr.decode())


@pytest.fixture
def written(tmp_path: Path) -> Callable[[object], Path]:
    """Write a document to a file."""

    def write(document: object) -> Path:
        path = tmp_path / "course.json"
        path.write_bytes(document if isinstance(document, bytes) else json.dumps(document).encode())
        return path

    return write


def add(instance: Path, ident: str, text: str | None = None, examples: str | None = None) -> Path:
    return write_local(instance / "protocols", ident, text, examples)


def answer(document: object, instance: Path | None = None) -> str:
    catalogue = CATALOGUE if instance is None else Catalogue(instance / "protocols")
    return to_text(propose(catalogue, json.dumps(document).encode()))


def row(text: str, start: str) -> list[str]:
    """The words of the first line that starts with a word."""
    lines = (words(line).split() for line in text.splitlines())
    return next(line for line in lines if line[:1] == [start])


def below(text: str, start: str) -> list[str]:
    """The words of the first line that starts with a word, and of those indented below it."""
    lines = text.splitlines()
    first = next(index for index, line in enumerate(lines) if words(line).split()[:1] == [start])
    indented = takewhile(lambda line: line.startswith("  "), lines[first + 1 :])
    return words(" ".join([lines[first], *indented])).split()


# titrator recommend


def test_an_answer_says_what_to_give_why_and_what_comes_next(titrator: Run, written: Callable[[object], Path]) -> None:
    code, out, err = titrator("recommend", written(COURSE))
    assert (code, err) == (0, "")
    first_line = out.splitlines()[0]
    assert first_line.startswith("INCREASE")
    for part in ("150 micrograms (2 micrograms/kg)", "0.3 mL", "2026-03-09"):
        assert part in first_line
    for part in (
        "0.3 mL of 500 micrograms/mL",
        "1 × 250 micrograms",
        "Why Platelets 38 ×10⁹/L on 2026-03-09 are below 50",
        "[BELOW-TARGET] Nplate US prescribing information, section 2.1",
        "Next platelet count on 2026-03-16",
        "decided at step 11 of docs/titration-rules.md",
        "us-itp-adult: ITP, adults, US label",
        "not an order",
    ):
        assert part in words(out)


def test_the_digests_that_a_person_reads_are_those_of_the_answer(
    titrator: Run, written: Callable[[object], Path]
) -> None:
    document = json.loads(answer(COURSE))
    said = words(titrator("recommend", written(COURSE)).out)
    assert f"engine {document['engine_version']}, " in said.lower()
    assert f"protocol {document['protocol']['sha256'][:12]}, " in said
    assert f"input {document['input_sha256'][:12]}" in said


@pytest.mark.parametrize(
    ("document", "first_line"),
    [
        (ON_HOLD, "HOLD: no dose"),
        (NO_WEIGHT, "INCOMPLETE: no dose until what is missing is known"),
        (COURSE | {"born_on": "2020-01-01"}, "REFER: no dose: ask a prescriber"),
        ({"protocol": "us-hs-ars", "on": "2026-03-09", "doses": COURSE["doses"]}, "COMPLETE: no further dose"),
    ],
)
def test_an_answer_without_a_dose_is_an_answer(
    titrator: Run, written: Callable[[object], Path], document: object, first_line: str
) -> None:
    """Exit code 0 also when the answer is that there is no dose."""
    code, out, err = titrator("recommend", written(document))
    assert (code, out.splitlines()[0], err) == (0, first_line, "")
    assert "Give" not in out
    assert "Prepare" not in out


@pytest.mark.parametrize("document", [COURSE, ON_HOLD, NO_WEIGHT])
@pytest.mark.parametrize("ident", IDS)
def test_json_is_the_answer_document_in_one_line(
    titrator: Run, written: Callable[[object], Path], document: dict[str, Any], ident: str
) -> None:
    asked = document | {"protocol": ident}
    assert titrator("recommend", "--json", written(asked)) == (0, answer(asked) + "\n", "")


def test_ndjson_answers_each_line(titrator: Run, written: Callable[[object], Path]) -> None:
    documents = [COURSE, ON_HOLD, NO_WEIGHT]
    path = written("".join(json.dumps(document) + "\n" for document in documents).encode())
    expected = "".join(answer(document) + "\n" for document in documents)
    assert titrator("recommend", "--ndjson", "--jobs", 1, path) == (0, expected, "")


def test_ndjson_says_on_standard_error_how_many_lines_could_not_be_answered(
    titrator: Run, written: Callable[[object], Path]
) -> None:
    path = written(b"\n".join([json.dumps(COURSE).encode(), b"{}", b"", json.dumps(ON_HOLD).encode()]))
    code, out, err = titrator("recommend", "--ndjson", "--jobs", 1, path)
    assert code == 3
    assert err == "2 of 4 lines could not be answered; each has an error object in its place\n"
    lines = out.splitlines()
    assert (lines[0], lines[3]) == (answer(COURSE), answer(ON_HOLD))
    assert [json.loads(line)["line"] for line in lines[1:3]] == [2, 3]


@pytest.mark.parametrize("name", SERVICE)
def test_the_list_of_commands_says_of_each_what_it_says_itself(name: str) -> None:
    """The list is told without reading the commands in."""
    command = main.get_command(click.Context(main), name)
    assert command is not None
    assert (command.name, command.get_short_help_str(200)) == (name, SERVICE[name][1])


def test_ndjson_of_nothing_is_nothing(titrator: Run) -> None:
    assert titrator("recommend", "--ndjson", "--jobs", 1, stdin=b"") == (0, "", "")


@pytest.mark.parametrize("jobs", [[], ["--jobs", "1"], ["--jobs", "2"]])
def test_the_installed_command_answers_lines_with_any_number_of_processes(instance: Path, jobs: list[str]) -> None:
    documents = [COURSE, ON_HOLD, NO_WEIGHT] * 100
    lines = "".join(json.dumps(document) + "\n" for document in documents)
    expected = "".join(answer(document) + "\n" for document in [COURSE, ON_HOLD, NO_WEIGHT]) * 100
    assert really(instance, "recommend", "--ndjson", *jobs, stdin=lines.encode()) == (0, expected, "")


@pytest.mark.parametrize("dash", [[], ["-"]])
def test_standard_input_is_read_where_no_file_is_named(titrator: Run, dash: list[str]) -> None:
    document = json.dumps(COURSE).encode()
    assert titrator("recommend", "--json", *dash, stdin=document) == (0, answer(COURSE) + "\n", "")


@pytest.mark.parametrize("dash", [[], ["-"]])
def test_the_installed_command_reads_standard_input(instance: Path, dash: list[str]) -> None:
    document = json.dumps(COURSE).encode()
    assert really(instance, "recommend", "--json", *dash, stdin=document) == (0, answer(COURSE) + "\n", "")
    code, out, err = really(instance, "replay", *dash, stdin=NOT_JSON)
    assert (code, out, err) == (3, "", f"<stdin>: not answered\n  {NOT_JSON_FAULT}\n")


def test_an_answer_is_utf_8(instance: Path, written: Callable[[object], Path]) -> None:
    result = subprocess.run(
        [TITRATOR, "recommend", "--json", str(written(COURSE))],
        capture_output=True,
        check=True,
        env=environment(instance),
    )
    assert result.stdout.decode("utf-8") == answer(COURSE) + "\n"
    assert "×10⁹/L".encode() in result.stdout


# What is wrong with the input


@pytest.mark.parametrize("command", ["recommend", "replay"])
def test_each_fault_is_told_on_standard_error_with_its_path(
    titrator: Run, written: Callable[[object], Path], command: str
) -> None:
    path = written(WRONG)
    told = "".join(f"  {path}: {message}\n" for path, message in WRONG_FAULTS)
    assert titrator(command, path) == (3, "", f"{path}: not answered\n{told}")


@pytest.mark.parametrize("command", ["recommend", "replay"])
def test_a_fault_of_the_whole_document_has_no_path(
    titrator: Run, written: Callable[[object], Path], command: str
) -> None:
    path = written(NOT_JSON)
    assert titrator(command, path) == (3, "", f"{path}: not answered\n  {NOT_JSON_FAULT}\n")


def test_with_json_the_faults_are_an_error_object(titrator: Run, written: Callable[[object], Path]) -> None:
    code, out, err = titrator("recommend", "--json", written(WRONG))
    assert (code, err) == (3, "")
    assert out.count("\n") == 1
    assert json.loads(out) == {
        "error": "; ".join(f"{path}: {message}" for path, message in WRONG_FAULTS),
        "errors": [{"path": path, "message": message} for path, message in WRONG_FAULTS],
    }


def test_with_json_text_that_is_no_json_is_an_error_object_too(titrator: Run) -> None:
    code, out, err = titrator("recommend", "--json", stdin=NOT_JSON)
    assert (code, err) == (3, "")
    assert json.loads(out) == {"error": NOT_JSON_FAULT, "errors": [{"path": "", "message": NOT_JSON_FAULT}]}


@pytest.mark.parametrize(
    ("ident", "near"),
    [
        ("us-itp-adut", "us-itp-adult, eu-itp-adult, jp-itp-adult"),
        ("US-ITP-ADULT", ", ".join(IDS)),
        ("zzzzzzzz", ", ".join(IDS)),
        ("", ", ".join(IDS)),
        ("us-itp-adult.toml", "us-itp-adult, eu-itp-adult, jp-itp-adult"),
    ],
)
def test_an_unknown_protocol_is_told_with_the_nearest_ids(
    titrator: Run, written: Callable[[object], Path], ident: str, near: str
) -> None:
    told = f"  protocol: unknown protocol; the nearest are {near}\n"
    path = written(COURSE | {"protocol": ident})
    assert titrator("recommend", path) == (3, "", f"{path}: not answered\n{told}")
    assert titrator("protocols", "show", ident) == (3, "", f"{ident}: not answered\n{told}")
    assert titrator("protocols", "diff", ident, "us-itp-adult") == (3, "", f"{ident}: not answered\n{told}")
    assert titrator("protocols", "diff", "us-itp-adult", ident) == (3, "", f"{ident}: not answered\n{told}")


@pytest.mark.parametrize("ident", ["../us-itp-adult", "/etc/passwd", "us-itp-adult.examples", "a" * 100_000, "\x00"])
def test_an_id_is_never_a_path(titrator: Run, written: Callable[[object], Path], ident: str) -> None:
    code, out, err = titrator("recommend", written(COURSE | {"protocol": ident}))
    assert (code, out) == (3, "")
    assert "protocol: unknown protocol; the nearest are " in err
    assert len(err) < 500


@pytest.mark.parametrize("command", ["recommend", "replay"])
def test_a_document_of_50_mb_is_refused(titrator: Run, tmp_path: Path, command: str) -> None:
    path = tmp_path / "large.json"
    with path.open("wb") as file:
        file.truncate(50_000_000)
    assert titrator(command, path) == (3, "", f"{path}: not answered\n  larger than 4000000 bytes\n")


def test_a_document_that_never_ends_is_refused_without_its_end(instance: Path) -> None:
    """More than any document may have is not read: the answer comes while the input is still open."""
    command = [TITRATOR, "recommend", "--json"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(instance)
    ) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        taken = 0
        with suppress(BrokenPipeError):
            while taken < 50_000_000:
                taken += process.stdin.write(b" " * 65_536)
        assert LARGEST < taken < 2 * LARGEST
        with suppress(BrokenPipeError):
            process.stdin.close()
        assert json.loads(process.stdout.read())["error"] == "larger than 4000000 bytes"
        assert process.stderr.read() == b""
        assert process.wait() == 3


@pytest.mark.parametrize("size", [LARGEST, LARGEST + 1])
def test_the_largest_document_has_4_000_000_bytes(titrator: Run, written: Callable[[object], Path], size: int) -> None:
    code, out, _ = titrator("recommend", "--json", written(json.dumps(COURSE).encode().ljust(size)))
    assert (code, "action" in json.loads(out)) == ((0, True) if size == LARGEST else (3, False))


def test_a_number_beyond_the_arithmetic_is_a_fault(titrator: Run) -> None:
    text = json.dumps(COURSE).replace('"value": 38', '"value": 1e9999999').encode()
    code, out, _ = titrator("recommend", "--json", stdin=text)
    assert (code, [fault["path"] for fault in json.loads(out)["errors"]]) == (3, ["platelet_counts[1].value"])


# Wrong usage


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["recommend", "--jobs", "2"], "--jobs goes with --ndjson"),
        (["recommend", "--json", "--jobs", "2"], "--jobs goes with --ndjson"),
        (["recommend", "--json", "--ndjson"], "--json and --ndjson exclude each other"),
        (["recommend", "--ndjson", "--jobs", "0"], "0 is not in the range 1<=x<=256"),
        (["recommend", "--ndjson", "--jobs", "257"], "257 is not in the range 1<=x<=256"),
        (["recommend", "--ndjson", "--jobs", "many"], "'many' is not a valid integer"),
        (["recommend", "no/such/file"], "'no/such/file': No such file or directory"),
        (["recommend", "."], "'.': Is a directory"),
        (["replay", "no/such/file"], "'no/such/file': No such file or directory"),
        (["replay", "--json"], "No such option '--json'"),
        (["recommend", "--yaml"], "No such option '--yaml'"),
        (["recommend", "-", "-"], "Got unexpected extra argument"),
        (["order"], "No such command 'order'"),
        (["protocols", "edit"], "No such command 'edit'"),
        (["protocols", "show"], "Missing argument 'ID'"),
        (["protocols", "diff", "us-itp-adult"], "Missing argument 'B'"),
    ],
)
def test_wrong_usage_is_told_with_exit_code_2(titrator: Run, arguments: Sequence[str], message: str) -> None:
    code, out, err = titrator(*arguments)
    assert (code, out) == (2, "")
    assert message in err


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("option", ["-h", "--help"])
def test_each_command_explains_itself(titrator: Run, command: list[str], option: str) -> None:
    code, out, err = titrator(*command, option)
    assert (code, err) == (0, "")
    assert out.startswith(f"Usage: main {' '.join(command)}".rstrip())


def test_the_version_is_that_of_the_package(instance: Path) -> None:
    code, out, _ = really(instance, "--version")
    assert code == 0
    assert re.fullmatch(r"titrator, version [0-9]+\.[0-9]+\.[0-9]+\n", out)


# titrator replay


def test_a_replay_has_a_row_for_each_day_with_a_count_or_a_dose(
    titrator: Run, written: Callable[[object], Path]
) -> None:
    course = COURSE | {
        "platelet_counts": [
            {"collected_on": "2026-02-23", "value": 60, "unit": "10*9/L", "unreliable": True},
            {"collected_on": "2026-03-02", "value": 31, "unit": "10*9/L"},
            {"collected_on": "2026-03-09", "value": 38.25, "unit": "10*9/L"},
            {"collected_on": "2026-03-10", "value": 1, "unit": "10*9/L"},
        ],
        "doses": [{"given_on": day, "micrograms": 75.5} for day in ("2026-02-22", "2026-03-02", "2026-03-09")],
    }
    code, out, err = titrator("replay", written(course))
    assert (code, err) == (0, "")
    assert out.startswith("us-itp-adult: what would have been proposed, before each day's dose")
    days = re.findall(r"20[0-9]{2}-[0-9]{2}-[0-9]{2}", out)
    assert days == ["2026-02-22", "2026-02-23", "2026-03-02", "2026-03-09"]
    found = {day: row(out, day) for day in days}
    assert found["2026-02-22"][1] == "incomplete"
    assert "COUNT-MISSING" in found["2026-02-22"]
    assert found["2026-02-23"][1:3] == ["60", "unreliable"]
    assert found["2026-03-02"][1:4] == ["31", "3", "increase"]
    assert found["2026-03-09"][1:4] == ["38.25", "3", "increase"]
    assert "75.5" in found["2026-03-09"]


def test_a_replayed_day_is_answered_like_the_day_itself(titrator: Run, written: Callable[[object], Path]) -> None:
    proposed = json.loads(answer(COURSE))
    cells = row(titrator("replay", written(COURSE)).out, "2026-03-09")
    dose = proposed["dose"]
    numbers = [dose["micrograms_per_kg"], dose["delivered_micrograms"], dose["volume_ml"]]
    assert cells == ["2026-03-09", "38", "3", proposed["action"], *map(str, numbers), *cells[7:]]
    assert cells[7:] == [proposed["reasons"][0]["code"]]


LONG_NUMBERS = COURSE | {
    "weights": weighed(("2026-02-23", 123.4)),
    "platelet_counts": counted(("2026-03-09", 1234.5)),
    "doses": [
        {"given_on": "2026-03-02", "micrograms": 1234.567},
        {"given_on": "2026-03-09", "micrograms": 1234.567},
    ],
}


@pytest.mark.parametrize("columns", [140, 120, 100, 80, 60, 40, 20, 1, 0])
def test_no_number_of_a_replay_is_cut_however_narrow_the_terminal(
    titrator: Run, written: Callable[[object], Path], columns: int
) -> None:
    out = titrator("replay", written(LONG_NUMBERS), columns=columns).out
    cells = below(out, "2026-03-09")
    assert "1234.5" in cells
    assert "1234.567" in cells
    assert "…" not in out


@pytest.mark.parametrize("columns", [140, 80, 60, 40, 20, 1, 0])
def test_no_number_of_an_answer_is_cut_however_narrow_the_terminal(
    titrator: Run, written: Callable[[object], Path], columns: int
) -> None:
    out = titrator("recommend", written(COURSE), columns=columns).out
    assert "150 micrograms (2 micrograms/kg), 0.3 mL, due 2026-03-09" in words(out)
    assert "0.3 mL of 500 micrograms/mL" in words(out)
    assert "…" not in out


# titrator demo


def test_the_demo_shows_the_case_week_by_week_and_its_next_dose(titrator: Run) -> None:
    code, out, err = titrator("demo")
    assert (code, err) == (0, "")
    assert "J Immunother Cancer 2021;9:e002721" in out
    assert len(re.findall(r"(?m)^\W*2026-[0-9-]+ ", out)) >= 24
    assert row(out, "2026-01-05")[1:4] == ["16", "4", "start"]
    assert row(out, "2026-06-15")[1:4] == ["60", "2", "maintain"]
    assert "499.66 micrograms (8.6 micrograms/kg), 1 mL, due 2026-06-15" in words(out)
    assert "off label" in out.lower()


def test_the_demo_needs_no_installation(tmp_path: Path, titrator: Run) -> None:
    assert really(tmp_path / "nowhere", "demo", COLUMNS="140") == titrator("demo")


# titrator protocols


def test_the_list_names_all_protocols_and_that_nobody_reviewed_them(titrator: Run) -> None:
    code, out, err = titrator("protocols", "list")
    assert (code, err) == (0, "")
    for ident in IDS:
        assert row(out, ident)
    assert words(out).count("nobody yet") == len(IDS)
    assert "REFUSED" not in out


@pytest.mark.parametrize("ident", IDS)
def test_a_protocol_is_shown_with_its_limits_and_the_digest_of_its_file(titrator: Run, ident: str) -> None:
    code, out, err = titrator("protocols", "show", ident)
    assert (code, err) == (0, "")
    assert out.startswith(f"{ident}: ")
    digest = sha256((SHIPPED / f"{ident}.toml").read_bytes()).hexdigest()
    assert f"SHA-256 {digest}" in words(out)
    assert "reviewed by nobody yet" in words(out)


def test_a_difference_names_settings_and_counts(titrator: Run) -> None:
    code, out, err = titrator("protocols", "diff", "us-itp-adult", "eu-itp-adult")
    assert (code, err) == (0, "")
    assert [word for word in row(out, "hold") if "00" in word or "50" in word] == ["400", "250"]
    assert "above 250 to 400" in words(out)


def test_a_protocol_does_not_differ_from_itself(titrator: Run) -> None:
    told = "us-itp-adult and us-itp-adult have the same settings.\n"
    assert titrator("protocols", "diff", "us-itp-adult", "us-itp-adult") == (0, told, "")


def test_a_weekly_protocol_and_a_single_dose_differ_in_settings_only(titrator: Run) -> None:
    code, out, _ = titrator("protocols", "diff", "us-itp-adult", "us-hs-ars")
    assert code == 0
    assert row(out, "schedule") == ["schedule", "once", "a", "week", "one", "dose"]
    assert "Counts" not in out


def test_all_shipped_protocols_are_in_order(titrator: Run) -> None:
    code, out, err = titrator("protocols", "check")
    assert (code, err) == (0, "")
    assert len(re.findall(r": in order, [0-9]+ examples agree", words(out))) == len(IDS)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "cannot be read: No such file or directory"),
        (Path.mkdir, "cannot be read: Is a directory"),
        (lambda path: path.symlink_to(path), "cannot be read: Too many levels of symbolic links"),
        (lambda path: path.write_bytes(b"\xff"), "not TOML: "),
        (lambda path: path.write_text("id = "), "not TOML: "),
        (lambda path: path.write_text("import os\n\nos.remove('x')\n"), "not TOML: "),
        (lambda path: path.write_text(local_protocol("ours") + "script = 1\n"), "notes.script: "),
        (lambda path: path.write_text("script = 1\n" + local_protocol("ours")), "script: unknown key"),
        (lambda path: path.write_text(local_protocol("theirs")), "id: P1: "),
        (lambda path: path.write_text(local_protocol("ours", hold='">100"')), "platelets.hold: P10: "),
    ],
)
def test_a_check_refuses_a_bad_file_and_goes_on(
    titrator: Run, tmp_path: Path, make: Callable[[Path], object], message: str
) -> None:
    path, good = tmp_path / "ours.toml", SHIPPED / "us-itp-adult.toml"
    make(path)
    code, out, err = titrator("protocols", "check", path, good)
    assert (code, err) == (3, "")
    assert f"{path}: REFUSED {message}" in words(out)
    assert f"{good}: in order" in words(out)


# Local protocols


def test_a_local_protocol_is_used_like_a_shipped_one(titrator: Run, instance: Path) -> None:
    """A protocol of the hospital's own; the list says that it is local."""
    path = add(instance, "ours", local_protocol("ours", increase='"<30"', maintain='[">=30", "<=200"]'))
    asked = COURSE | {"protocol": "ours"}
    document = json.dumps(asked).encode()
    code, out, err = titrator("recommend", stdin=document)
    assert (code, err) == (0, "")
    assert re.match(r"MAINTAIN\b.*\b75 micrograms \(1 microgram/kg\)", out)
    assert "LOCAL PROTOCOL, rules of your own hospital, not of a label. ours: ITP, adults, US label" in words(out)
    code, out, err = titrator("recommend", "--json", stdin=document)
    assert (code, out, err) == (0, answer(asked, instance) + "\n", "")
    assert json.loads(out)["protocol"]["sha256"] == sha256(path.read_bytes()).hexdigest()
    assert titrator("recommend", "--ndjson", "--jobs", 1, stdin=document) == (0, out, "")
    code, out, err = titrator("replay", stdin=document)
    assert (code, err) == (0, "")
    assert out.startswith("ours (LOCAL PROTOCOL, rules of your own hospital, not of a label): what would have been")
    assert "local" in row(titrator("protocols", "list").out, "ours")
    assert titrator("protocols", "show", "ours").out.startswith("ours: ITP, adults, US label")
    limits = row(titrator("protocols", "diff", "us-itp-adult", "ours").out, "increase")
    assert [word for word in limits if word in {"50", "30"}] == ["50", "30"]


def test_the_installed_command_finds_local_protocols_by_the_environment(instance: Path) -> None:
    add(instance, "ours")
    asked = COURSE | {"protocol": "ours"}
    line = json.dumps(asked).encode()
    expected = answer(asked, instance) + "\n"
    assert really(instance, "recommend", "--json", stdin=line) == (0, expected, "")
    assert really(instance, "recommend", "--ndjson", "--jobs", 2, stdin=line) == (0, expected, "")
    assert really(instance.parent, "recommend", "--json", stdin=line).code == 3


@pytest.mark.parametrize("environ", [{}, {"TITRATOR_INSTANCE": ""}])
def test_without_the_variable_the_folder_is_instance_in_the_working_folder(
    titrator: Run, instance: Path, monkeypatch: pytest.MonkeyPatch, environ: dict[str, str]
) -> None:
    add(instance, "ours")
    monkeypatch.chdir(instance.parent)
    runner = CliRunner(env={"TITRATOR_INSTANCE": None, "COLUMNS": "140"} | environ)
    assert row(runner.invoke(main, ["protocols", "list"]).stdout, "ours")
    monkeypatch.chdir(instance)
    assert "ours" not in runner.invoke(main, ["protocols", "list"]).stdout.split()


def test_the_working_folder_says_nothing_where_the_variable_does(instance: Path, tmp_path: Path) -> None:
    add(instance, "ours")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    runner = CliRunner(env={"TITRATOR_INSTANCE": str(elsewhere), "COLUMNS": "140"})
    assert "ours" not in runner.invoke(main, ["protocols", "list"]).stdout.split()


def test_a_local_protocol_without_examples_is_in_order_but_told(titrator: Run, instance: Path) -> None:
    path = add(instance, "ours")
    code, out, _ = titrator("protocols", "check")
    assert code == 0
    assert f"{path}: in order, but without examples" in words(out)
    code, out, _ = titrator("protocols", "check", path)
    assert (code, words(out)) == (0, f"{path}: in order, but without examples")


def test_a_local_protocol_with_examples_that_agree_is_in_order(titrator: Run, instance: Path) -> None:
    path = add(instance, "ours", examples=SOUND_EXAMPLES)
    code, out, _ = titrator("protocols", "check", path)
    assert code == 0
    assert re.fullmatch(re.escape(f"{path}: in order, ") + r"[0-9]+ examples agree", words(out))


def test_an_example_that_fails_is_named_by_the_check(titrator: Run, instance: Path) -> None:
    changed = SOUND_EXAMPLES.replace('action = "start"', 'action = "hold"', 1)
    path = add(instance, "ours", examples=changed)
    code, out, _ = titrator("protocols", "check", path)
    assert code == 3
    assert "a first dose at 75 kg is 1 microgram/kg" in words(out)
    assert 'action: "start", not "hold"' in words(out)


BAD = {
    "a key unknown": 'surprise = "x"\n' + local_protocol("ours"),
    "a limit missing": re.sub(r"(?m)^hold = .*\n", "", local_protocol("ours")),
    "no sense": local_protocol("ours", hold='">100"'),
    "another id": local_protocol("theirs"),
    "no TOML": "[platelets\n",
    "code": "__import__('os').system('true')\n",
    "empty": "",
    "a zero byte": "id = \x00",
    "nested too deeply": "a = " + "[" * 100_000,
    "a key twice": local_protocol("ours") + '\n[weight]\nbasis = "current"\n',
    "too large": local_protocol("ours") + "#" * 1_000_000,
}


@pytest.mark.parametrize("text", BAD.values(), ids=BAD)
def test_a_bad_local_file_is_refused_wherever_it_is_asked_for(titrator: Run, instance: Path, text: str) -> None:
    """It is listed as refused, and stands in nobody's way."""
    path = add(instance, "ours", text)
    code, out, err = titrator("protocols", "list")
    assert (code, err) == (0, "")
    assert row(out, "ours")[1] == "REFUSED:"
    for ident in IDS:
        assert "REFUSED:" not in row(out, ident)

    code, out, err = titrator("protocols", "check", path)
    assert (code, err) == (3, "")
    assert f"{path}: REFUSED" in words(out)

    for arguments in (
        ["protocols", "show", "ours"],
        ["protocols", "diff", "ours", "us-itp-adult"],
        ["protocols", "diff", "us-itp-adult", "ours"],
        ["recommend"],
        ["replay"],
    ):
        code, out, err = titrator(*arguments, stdin=json.dumps(COURSE | {"protocol": "ours"}).encode())
        assert (code, out) == (3, "")
        assert "  protocol: the file of this protocol is refused: " in err

    assert titrator("recommend", "--json", stdin=json.dumps(COURSE).encode()) == (0, answer(COURSE) + "\n", "")


OUTSIZED = {
    "a number of 5000 digits": local_protocol("ours", start_micrograms_per_kg="1" * 5000),
    "a hexadecimal number of 5000 digits": local_protocol("ours", start_micrograms_per_kg="0x" + "f" * 5000),
    "keys nested too deeply": f"{'.'.join(['a'] * 1500)} = 1\n{local_protocol('ours')}",
}


@pytest.mark.parametrize("text", OUTSIZED.values(), ids=OUTSIZED)
def test_an_outsized_value_in_a_local_file_is_refused_too(titrator: Run, instance: Path, text: str) -> None:
    add(instance, "ours", text)
    assert row(titrator("protocols", "list").out, "ours")[1] == "REFUSED:"


def test_all_faults_of_a_local_file_are_told_by_the_check_a_line_each(titrator: Run, instance: Path) -> None:
    text = local_protocol("ours", title="1", start_micrograms_per_kg="0", hold='"400"')
    path = add(instance, "ours", text)
    code, out, _ = titrator("protocols", "check", path)
    assert code == 3
    assert out.splitlines() == [
        f"{path}: REFUSED",
        "  dose.start_micrograms_per_kg: must be a number above 0, at most 5000, not 0",
        '  platelets.hold: must be a comparator and a number of 10*9/L, like "<50", not "400"',
        "  title: must be a text of one line, without control characters, not 1",
    ]


def test_a_date_without_quotes_is_told_as_what_it_is(titrator: Run, instance: Path) -> None:
    """Dates are texts in quotes: the slip that is made first."""
    path = add(instance, "ours", local_protocol("ours", retrieved_on="2026-11-22"))
    out = words(titrator("protocols", "check", path).out)
    assert "source.retrieved_on: must be a text" in out
    assert "a list" not in out


def test_a_local_file_with_a_shipped_id_is_ignored_and_told(titrator: Run, instance: Path) -> None:
    path = add(instance, "us-itp-adult", local_protocol("us-itp-adult", hold='">350"'))
    code, out, err = titrator("protocols", "list")
    assert code == 0
    assert out.split().count("us-itp-adult") == 1
    assert err == f"{path}: ignored, for a shipped protocol has its id; give the new edition an id of its own\n"
    assert titrator("recommend", "--json", stdin=json.dumps(COURSE).encode()) == (0, answer(COURSE) + "\n", "")
    assert "above 400" in words(titrator("protocols", "show", "us-itp-adult").out)
    assert titrator("protocols", "check").code == 0


def test_a_bad_local_file_with_a_shipped_id_is_ignored_too(titrator: Run, instance: Path) -> None:
    add(instance, "us-itp-adult", "import os")
    assert "REFUSED" not in titrator("protocols", "list").out
    assert titrator("recommend", "--json", stdin=json.dumps(COURSE).encode()).code == 0


@pytest.mark.parametrize(
    "make",
    [
        lambda path: path.symlink_to(path),
        lambda path: path.symlink_to(path.with_name("other.toml")),
        Path.mkdir,
    ],
    ids=["a link to itself", "a link to nothing", "a folder"],
)
def test_what_cannot_be_read_is_listed_as_refused(
    titrator: Run, instance: Path, make: Callable[[Path], object]
) -> None:
    make(instance / "protocols" / "ours.toml")
    code, out, err = titrator("protocols", "list")
    assert (code, err) == (0, "")
    assert "ours REFUSED: " in words(out)
    assert "cannot be read: " in words(out)
    assert titrator("protocols", "check", instance / "protocols" / "ours.toml").code == 3
    assert titrator("recommend", "--json", stdin=json.dumps(COURSE).encode()).code == 0


def test_a_check_of_all_goes_over_the_local_ones_too(titrator: Run, instance: Path) -> None:
    good, bad = add(instance, "good"), add(instance, "bad", "import os")
    code, out, err = titrator("protocols", "check")
    assert (code, err) == (3, "")
    assert f"{bad}: REFUSED" in words(out)
    assert f"{good}: in order, but without examples" in words(out)
    assert words(out).count(": in order") == len(IDS) + 1


def test_links_in_a_circle_are_listed_as_refused(titrator: Run, instance: Path) -> None:
    here, there = (instance / "protocols" / name for name in ("ours.toml", "theirs.toml"))
    here.symlink_to(there)
    there.symlink_to(here)
    out = titrator("protocols", "list").out
    assert (row(out, "ours")[1], row(out, "theirs")[1]) == ("REFUSED:", "REFUSED:")


@pytest.mark.parametrize(
    "make",
    [
        lambda folder: None,
        lambda folder: folder.symlink_to(folder),
        lambda folder: folder.write_text("x"),
        lambda folder: folder.symlink_to("/nowhere"),
    ],
    ids=["none", "a link to itself", "a file", "a link to nothing"],
)
def test_without_a_folder_of_local_protocols_there_are_the_shipped_ones(
    titrator: Run, instance: Path, make: Callable[[Path], object]
) -> None:
    (instance / "protocols").rmdir()
    make(instance / "protocols")
    code, out, err = titrator("protocols", "list")
    assert (code, err) == (0, "")
    for ident in IDS:
        assert row(out, ident)


def test_files_of_other_names_are_no_protocols(titrator: Run, instance: Path) -> None:
    for name in ("notes.txt", "ours.toml.bak", "ours.TOML", "ours.examples.toml", "toml"):
        (instance / "protocols" / name).write_text("x")
    code, out, err = titrator("protocols", "list")
    assert (code, err) == (0, "")
    assert "REFUSED" not in out


# What a protocol file says is shown as it is

SHOWN_AS_IT_IS = ["[bold]ours[/bold]", "[/]", "[link=https://example.org]x[/link]", "[red", "\\[x]", "100% of {x} $y"]


def said_of(titrator: Run, instance: Path, title: str) -> dict[str, Ran]:
    """What all commands that show a title say."""
    add(instance, "ours", local_protocol("ours", title=json.dumps(title)))
    add(instance, "theirs", local_protocol("theirs", indication=json.dumps(title)))
    document = json.dumps(COURSE | {"protocol": "ours"}).encode()
    return {
        "list": titrator("protocols", "list"),
        "show": titrator("protocols", "show", "ours"),
        "diff": titrator("protocols", "diff", "us-itp-adult", "theirs"),
        "recommend": titrator("recommend", stdin=document),
    }


@pytest.mark.parametrize("title", SHOWN_AS_IT_IS)
def test_markup_characters_are_shown_as_they_are(titrator: Run, instance: Path, title: str) -> None:
    for command, (code, out, _) in said_of(titrator, instance, title).items():
        assert code == 0, command
        assert title in words(out), command


@pytest.mark.parametrize("title", ["diluted 1:100:2", ":warning:", "see:pill:5"])
def test_colons_around_a_word_are_shown_as_they_are(titrator: Run, instance: Path, title: str) -> None:
    for command, (code, out, _) in said_of(titrator, instance, title).items():
        assert code == 0, command
        assert title in words(out), command


@pytest.mark.parametrize("title", ["\x1b[2Jours", "\x1b]0;ours\x07", "\x9b2Jours"])
def test_control_characters_of_a_file_do_not_reach_the_terminal(titrator: Run, instance: Path, title: str) -> None:
    for command, (_, out, err) in said_of(titrator, instance, title).items():
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", out + err), command


def test_control_characters_of_a_document_do_not_reach_the_terminal(
    titrator: Run, written: Callable[[object], Path]
) -> None:
    document = {"\x1b[2J": 1, "protocol": "\x1b[2J", "on": "\x1b[2J", "eligibility": [{"\x1b[2J": 1}]}
    for option in ([], ["--json"]):
        code, out, err = titrator("recommend", *option, written(document))
        assert code == 3
        assert not re.search(r"[\x00-\x09\x0b-\x1f]", out + err)


@pytest.mark.parametrize("control", ["\x7f", "\x9b"])
def test_the_other_control_characters_do_not_reach_the_terminal_either(
    titrator: Run, written: Callable[[object], Path], control: str
) -> None:
    code, _, err = titrator("recommend", written({"protocol": "us-itp-adult", "on": f"{control}2J"}))
    assert code == 3
    assert control not in err


def test_texts_that_are_no_unicode_do_not_stop_an_answer(instance: Path) -> None:
    """JSON can write half a character; what is quoted back of it is text."""
    line = b'{"\\ud800": 1, "protocol": "\\ud800", "on": "\\udfff", "eligibility": ["\\ud800"]}'
    for options in (["--json"], [], ["--ndjson", "--jobs", "1"]):
        ran = really(instance, "recommend", *options, stdin=line, PYTHONIOENCODING="utf-8:strict")
        assert ran.code == 3
        assert "Traceback" not in ran.err
        assert "\\ud800" in ran.out + ran.err


@pytest.mark.parametrize("arguments", [["protocols", "list"], ["protocols", "check"], ["recommend", "--json"]])
def test_a_local_file_whose_name_is_no_unicode_does_not_stop_a_command(instance: Path, arguments: list[str]) -> None:
    (instance / "protocols" / os.fsdecode(b"x\xff.toml")).write_text("")
    document = json.dumps(COURSE | {"protocol": "zzzzzzzz"}).encode()
    ran = really(instance, *arguments, stdin=document, PYTHONIOENCODING="utf-8:strict")
    assert "Traceback" not in ran.err


# Standard output as it is in real life


@pytest.mark.parametrize(
    "arguments", [["demo"], ["recommend"], ["replay"], ["protocols", "list"], ["protocols", "show", "us-itp-adult"]]
)
def test_output_that_is_piped_has_no_escape_codes(instance: Path, arguments: list[str]) -> None:
    ran = really(instance, *arguments, stdin=json.dumps(ON_HOLD).encode(), TERM="xterm-256color")
    assert (ran.code, ran.err) == (0, "")
    assert ESCAPE not in ran.out


READERS = [
    ["demo"],
    ["recommend"],
    ["recommend", "--json"],
    ["recommend", "--ndjson", "--jobs", "1"],
    ["recommend", "--ndjson", "--jobs", "2"],
    ["replay"],
    ["protocols", "list"],
    ["protocols", "show", "us-itp-adult"],
    ["protocols", "diff", "us-itp-adult", "eu-itp-adult"],
    ["protocols", "check"],
]


@pytest.mark.parametrize("arguments", READERS, ids=" ".join)
def test_a_reader_that_has_gone_is_no_reason_for_a_traceback(instance: Path, arguments: list[str]) -> None:
    """`| true`: nobody reads a byte."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        result = subprocess.run(
            [TITRATOR, *arguments],
            input=json.dumps(COURSE).encode(),
            stdout=writing,
            stderr=subprocess.PIPE,
            check=False,
            env=environment(instance),
        )
    finally:
        os.close(writing)
    assert (result.returncode, result.stderr) == (1, b"")


@pytest.mark.parametrize("arguments", READERS, ids=" ".join)
def test_a_reader_that_goes_after_the_first_line_is_no_reason_for_a_traceback(
    instance: Path, arguments: list[str]
) -> None:
    """`| head -1`, with far more to come than a pipe holds."""
    times = 2000 if "--ndjson" in arguments else 1
    result = subprocess.run(
        ["/bin/sh", "-c", '"$@" | head -1', "sh", TITRATOR, *arguments],
        input=(json.dumps(COURSE) + "\n").encode() * times,
        capture_output=True,
        check=False,
        env=environment(instance),
    )
    assert result.stdout.count(b"\n") == 1
    assert result.stderr == b""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("arguments", READERS[:6], ids=" ".join)
def test_an_answer_that_cannot_be_written_is_no_success(instance: Path, arguments: list[str]) -> None:
    with Path("/dev/full").open("wb") as full:
        result = subprocess.run(
            [TITRATOR, *arguments],
            input=json.dumps(COURSE).encode(),
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
            env=environment(instance),
        )
    assert (result.returncode, result.stderr) == (
        4,
        b"titrator: answers were lost: [Errno 28] No space left on device\n",
    )


@pytest.mark.parametrize("arguments", READERS[:6], ids=" ".join)
def test_without_any_standard_output_there_is_no_success(instance: Path, arguments: list[str]) -> None:
    """`>&-`"""
    result = subprocess.run(
        ["/bin/sh", "-c", '"$@" >&-', "sh", TITRATOR, *arguments],
        input=json.dumps(COURSE).encode(),
        stderr=subprocess.PIPE,
        check=False,
        env=environment(instance),
    )
    assert result.returncode == 4
    assert b"Traceback" not in result.stderr


@pytest.mark.parametrize("arguments", [["recommend"], ["recommend", "--json"], ["replay"]], ids=" ".join)
def test_without_any_standard_input_there_is_no_document(instance: Path, arguments: list[str]) -> None:
    """`<&-`"""
    result = subprocess.run(
        ["/bin/sh", "-c", '"$@" <&-', "sh", TITRATOR, *arguments],
        capture_output=True,
        check=False,
        env=environment(instance),
    )
    assert result.returncode == 3
    assert b"Expecting value at line 1 column 1" in result.stdout + result.stderr
    assert b"Traceback" not in result.stderr


def on_a_terminal(instance: Path, path: Path) -> tuple[int, bytes, bytes]:
    """Answer lines while standard error is a terminal: the exit code, what was answered, what the terminal shows."""
    ours, theirs = pty.openpty()
    command = [TITRATOR, "recommend", "--ndjson", "--jobs", "1", str(path)]
    with (
        path.with_name("answers").open("wb") as answers,
        subprocess.Popen(command, stdout=answers, stderr=theirs, env=environment(instance, TERM="xterm")) as process,
    ):
        os.close(theirs)
        seen = b""
        with suppress(OSError):  # a terminal that nobody writes to any more
            while shown := os.read(ours, 65_536):
                seen += shown
    os.close(ours)
    return process.returncode, path.with_name("answers").read_bytes(), seen


def test_on_a_terminal_a_bar_shows_how_far_it_is(instance: Path, written: Callable[[object], Path]) -> None:
    code, _, seen = on_a_terminal(instance, written((json.dumps(COURSE) + "\n{}\n").encode() * 100))
    assert code == 3
    assert b"100 refused" in seen
    assert b"100 of 200 lines could not be answered" in seen


def test_the_bar_does_not_keep_the_answers_from_standard_output(
    instance: Path, written: Callable[[object], Path]
) -> None:
    """`titrator recommend --ndjson courses > answers`, at a terminal."""
    _, out, seen = on_a_terminal(instance, written((json.dumps(COURSE) + "\n").encode() * 100))
    assert out.decode() == (answer(COURSE) + "\n") * 100
    assert b"action" not in seen
