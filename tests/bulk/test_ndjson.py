"""One course a line in, one answer a line out: in order, bad lines in place, in bounded memory."""

from __future__ import annotations

import io
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest

from tests.support import CATALOGUE
from titrator.bulk import ndjson
from titrator.bulk.ndjson import Answers, answer_file, error_document
from titrator.protocols import SHIPPED, Catalogue
from titrator.titration.answer import to_text
from titrator.titration.errors import Fault
from titrator.workflow import propose as propose_module
from titrator.workflow.propose import LARGEST_DOCUMENT, propose

# Python 3.12 and later warn where a process with threads, as a test worker is, forks.
several_processes = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")

BLANK = "not JSON: Expecting value at line 1 column 1"
TOO_DEEP = "nested too deeply"
# A line without its end, and what is said of it: path and message of each fault.
BAD = [
    (b"", [("", BLANK)]),
    (b"   ", [("", "not JSON: Expecting value at line 1 column 4")]),
    (b"\r", [("", BLANK)]),
    (b"{", [("", "not JSON: Expecting property name enclosed in double quotes at line 1 column 2")]),
    (b"[]", [("", "must be an object, not a list")]),
    (b"{}", [("protocol", "required"), ("on", "required")]),
    (b'{"protocol": "us-itp-adult", "on": null, "x": 1}', [
        ("x", "unknown key"),
        ("on", "must be a date, YYYY-MM-DD, from 1900-01-01 to 2200-12-31, not null"),
    ]),
    (b'{"on": "2026-03-09", "on": "2026-03-09"}', [("on", "repeated key")]),
    (b"\xff", [("", "not UTF-8 text: invalid start byte at byte 0")]),
    (b"\xef\xbb\xbf", [("", BLANK)]),
    (b"\x00", [("", BLANK)]),
    (b"[" * 100_000, [("", TOO_DEEP)]),
    (b'{"a":' * 100_000, [("", TOO_DEEP)]),
    (b'{"protocol": "us-itp-adult", "on": "2026-03-09", "\\ud800": 1}', [('"\\ud800"', "unknown key")]),
    (b'{"protocol": "us-itp-adult", "on": "2026-03-09", "a\\nb": 1}', [('"a\\nb"', "unknown key")]),
]  # fmt: skip


def course(platelets: object = 38, protocol: str = "us-itp-adult") -> bytes:
    """A course document in one line, told from others by its count."""
    text = json.dumps(
        {
            "protocol": protocol,
            "on": "2026-03-09",
            "weights": [{"measured_on": "2026-02-01", "value": 75, "unit": "kg"}],
            "platelet_counts": [{"collected_on": "2026-03-09", "value": platelets, "unit": "10*9/L"}],
            "doses": [{"given_on": "2026-03-02", "micrograms": 75, "micrograms_per_kg": 1}],
        }
    )
    return text.encode()


def padded(length: int, platelets: object = 38) -> bytes:
    """A course document of so many bytes."""
    return course(platelets).ljust(length)


def answered(document: bytes, catalogue: Catalogue = CATALOGUE) -> str:
    return to_text(propose(catalogue, document))


def run(content: bytes | BinaryIO, *, jobs: int = 1, local: Path | None = None) -> list[Answers]:
    stream = io.BytesIO(content) if isinstance(content, bytes) else content
    return list(answer_file(stream, local, jobs))


def said(answers: Answers) -> str:
    """The text of a batch, which is UTF-8 wherever it is written."""
    text: str | bytes = answers.text
    return text.encode().decode() if isinstance(text, str) else text.decode()


def lines(content: bytes | BinaryIO, *, jobs: int = 1, local: Path | None = None) -> list[str]:
    """The lines that answer a file; each ends with a line feed and nothing else breaks it."""
    text = "".join(said(answers) for answers in run(content, jobs=jobs, local=local))
    assert text == "" or text.endswith("\n")
    return text.split("\n")[:-1]


def error(line: str) -> dict[str, Any]:
    document = json.loads(line)
    assert list(document) == ["error", "errors", "line"]
    return cast("dict[str, Any]", document)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> int:
    """The largest document, made small, so that a line too long is short."""
    monkeypatch.setattr(ndjson, "LARGEST_DOCUMENT", 1000)
    monkeypatch.setattr(propose_module, "LARGEST_DOCUMENT", 1000)
    return 1000


# Answers and errors, line by line


def test_an_answer_is_that_of_the_document_alone() -> None:
    assert lines(course(38) + b"\n") == [answered(course(38))]


def test_nothing_in_is_nothing_out() -> None:
    assert run(b"") == []


def test_answers_stand_in_the_order_of_the_lines() -> None:
    platelets = [*range(0, 600, 3)]
    content = b"".join(course(value) + b"\n" for value in platelets)
    assert lines(content) == [answered(course(value)) for value in platelets]


@pytest.mark.parametrize(("line", "faults"), BAD)
def test_a_bad_line_gets_an_error_object_in_its_place(line: bytes, faults: list[tuple[str, str]]) -> None:
    """One bad line does not stop the others."""
    first, second, third = lines(b"\n".join([course(1), line, course(3), b""]))
    assert (first, third) == (answered(course(1)), answered(course(3)))
    assert error(second) == {
        "error": "; ".join(f"{path}: {message}" if path else message for path, message in faults),
        "errors": [{"path": path, "message": message} for path, message in faults],
        "line": 2,
    }


def test_a_number_beyond_the_arithmetic_does_not_stop_the_others() -> None:
    content = course(1) + b"\n" + course(1).replace(b'"value": 1,', b'"value": 1e9999999,') + b"\n" + course(3) + b"\n"
    first, second, third = lines(content)
    assert (first, third) == (answered(course(1)), answered(course(3)))
    assert [fault["path"] for fault in error(second)["errors"]] == ["platelet_counts[0].value"]


def test_lines_are_numbered_from_1_across_batches() -> None:
    content = b"".join(b"{}\n" if number % 10 == 0 else course(number) + b"\n" for number in range(1, 301))
    found = [error(line)["line"] for line in lines(content) if '"error"' in line]
    assert found == [*range(10, 301, 10)]


def test_batches_say_how_many_lines_and_bytes_they_took_and_how_many_were_bad() -> None:
    content = (course() + b"\n{}\n") * 100 + b"{"
    batches = run(content)
    assert sum(batch.lines for batch in batches) == 201
    assert sum(batch.bad for batch in batches) == 101
    assert sum(batch.size for batch in batches) == len(content)
    assert [batch.lines for batch in batches] == [64, 64, 64, 9]
    assert [said(batch).count("\n") for batch in batches] == [64, 64, 64, 9]


# Where a line ends


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r\r\n"])
@pytest.mark.parametrize("last", [True, False])
def test_lines_end_with_a_line_feed_and_the_last_may_do_without(end: bytes, last: bool) -> None:
    content = end.join([course(1), course(2), course(3)]) + (end if last else b"")
    assert lines(content) == [answered(course(number)) for number in (1, 2, 3)]


def test_a_carriage_return_alone_ends_no_line() -> None:
    assert [error(line)["line"] for line in lines(course(1) + b"\r" + course(2) + b"\n")] == [1]


@pytest.mark.parametrize(
    ("content", "bad"),
    [(b"\n", [1]), (b"\n\n", [1, 2]), (b"\r\n", [1]), (b"\n" + course(1), [1]), (course(1) + b"\n\n" + course(2), [2])],
)
def test_an_empty_line_is_a_faulty_one(content: bytes, bad: list[int]) -> None:
    found = [error(line) for line in lines(content) if '"error"' in line]
    assert [document["line"] for document in found] == bad
    assert {document["error"] for document in found} == {BLANK}


def test_a_byte_order_mark_before_a_document_is_read_over() -> None:
    assert lines(b"\xef\xbb\xbf" + course(1) + b"\n" + course(2)) == [answered(course(1)), answered(course(2))]


def test_line_separators_of_unicode_end_no_line() -> None:
    """An answer is one line: what is quoted back cannot break it for a reader that splits at line feeds."""
    line = '{"protocol": "a\u2028b\u0085c", "on": "2026-03-09"}'.encode()
    assert len(lines(line + b"\n" + course(2))) == 2


# Lines that are too long


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b""])
@pytest.mark.parametrize("length", [999, 1000])
def test_a_line_of_the_largest_document_is_answered(small: int, length: int, end: bytes) -> None:
    rest = course(2) + b"\n" if end else b""
    assert lines(padded(length) + end + rest) == [answered(course(38)), *([answered(course(2))] if end else [])]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b""])
@pytest.mark.parametrize("length", [*range(1001, 1008), *range(2000, 2010), *range(3003, 3010), 50_000])
def test_a_longer_line_is_refused_and_read_over(small: int, length: int, end: bytes) -> None:
    rest = course(2) + b"\n{}" if end else b""
    first, *others = lines(padded(length) + end + rest)
    assert error(first) == {
        "error": "larger than 1000 bytes",
        "errors": [{"path": "", "message": "larger than 1000 bytes"}],
        "line": 1,
    }
    assert others[:1] == ([answered(course(2))] if end else [])
    assert [error(other)["line"] for other in others[1:]] == ([3] if end else [])


def test_several_long_lines_are_refused_each_in_its_place(small: int) -> None:
    content = b"\n".join([padded(5000), course(1), padded(1002), padded(1003), padded(1001), course(2)])
    found = lines(content)
    assert [error(line)["line"] for line in found if '"error"' in line] == [1, 3, 4, 5]
    assert (found[1], found[5]) == (answered(course(1)), answered(course(2)))


def test_the_largest_document_is_that_of_every_door() -> None:
    line = padded(LARGEST_DOCUMENT)
    first, second, third = lines(line + b"\r\n" + line + b" \n" + course(2))
    assert (first, third) == (answered(course(38)), answered(course(2)))
    assert error(second)["error"] == "larger than 4000000 bytes"


def test_memory_does_not_grow_with_the_input(tmp_path: Path) -> None:
    """A line of 100 MB is read over in pieces; of 100 MB in shorter lines only a batch is held."""
    path = tmp_path / "courses.ndjson"
    with path.open("wb") as file:
        file.truncate(100_000_000)
        file.seek(0, io.SEEK_END)
        file.write(b"\n")
        file.writelines([b" " * 499_999 + b"\n"] * 200)
        file.write(course(2) + b"\n")
    expected = answered(course(2))  # what is read once does not count
    bad, last = 0, None
    with path.open("rb") as stream:
        tracemalloc.start()
        try:
            for answers in answer_file(stream, None, 1):
                bad += answers.bad
                last = answers
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert bad == 201
    assert last is not None
    assert said(last).endswith(expected + "\n")
    assert peak < 20_000_000


# Several processes


@several_processes
@pytest.mark.parametrize("jobs", [2, 3])
def test_several_processes_answer_as_one_does(jobs: int) -> None:
    content = b"\n".join(
        [*(course(number) if number % 7 else b"{" * number for number in range(1000)), padded(LARGEST_DOCUMENT + 1)]
    )
    alone, together = run(content), run(content, jobs=jobs)
    assert together == alone
    assert sum(batch.lines for batch in together) == 1001


@several_processes
def test_nothing_in_is_nothing_out_of_several_processes() -> None:
    assert run(b"", jobs=2) == []


@several_processes
@pytest.mark.parametrize("jobs", [1, 2])
def test_local_protocols_are_known_to_every_process(tmp_path: Path, jobs: int) -> None:
    text = (SHIPPED / "us-itp-adult.toml").read_text()
    (tmp_path / "ours.toml").write_text(text.replace('id = "us-itp-adult"', 'id = "ours"'))
    (tmp_path / "broken.toml").write_text("id = 1")
    content = (course(38, "ours") + b"\n" + course(38, "broken") + b"\n") * 100
    found = lines(content, jobs=jobs, local=tmp_path)
    assert found[::2] == [answered(course(38, "ours"), Catalogue(tmp_path))] * 100
    assert [error(line)["line"] for line in found[1::2]] == [*range(2, 201, 2)]
    assert all(
        error(line)["error"].startswith("protocol: the file of this protocol is refused") for line in found[1::2]
    )


class Counted(io.BytesIO):
    """A file that knows how many lines were read of it."""

    read_so_far = 0

    def readline(self, size: int | None = -1, /) -> bytes:
        line = super().readline(size)
        self.read_so_far += bool(line)
        return line


@several_processes
@pytest.mark.parametrize(("jobs", "ahead"), [(1, 1), (2, 7), (3, 10)])
def test_only_a_few_batches_are_read_ahead(jobs: int, ahead: int) -> None:
    """Three batches a process, and the one that is due; so memory does not grow with the input."""
    stream = Counted((course() + b"\n") * 64 * 30)
    taken = 0
    for batch in answer_file(cast("BinaryIO", stream), None, jobs):
        assert stream.read_so_far <= (taken + ahead) * 64
        taken += 1
        assert batch.lines == 64
    assert taken == 30


@pytest.mark.parametrize(
    ("length", "sizes"),
    [
        (100_000, [10, 10, 5]),
        (99_999, [11, 11, 3]),
        (999_999, [2] * 12 + [1]),
        (1_000_000, [1] * 25),
        (3_000_000, [1] * 25),
    ],
)
def test_long_lines_go_out_in_smaller_batches(length: int, sizes: list[int]) -> None:
    """A batch is full with 64 lines, or with a million bytes."""
    stream = io.BytesIO((b" " * (length - 1) + b"\n") * 25)
    assert [batch.lines for batch in answer_file(stream, None, 1)] == sizes


# The error object


@pytest.mark.parametrize(
    ("faults", "line", "expected"),
    [
        (
            [Fault("weights[0].unit", "required")],
            2,
            {
                "error": "weights[0].unit: required",
                "errors": [{"path": "weights[0].unit", "message": "required"}],
                "line": 2,
            },
        ),
        (
            [Fault("", "not JSON"), Fault("a", "b")],
            None,
            {"error": "not JSON; a: b", "errors": [{"path": "", "message": "not JSON"}, {"path": "a", "message": "b"}]},
        ),
    ],
)
@pytest.mark.parametrize("kind", [list, iter])
def test_an_error_object_says_all_faults_in_one_text_and_each_with_its_path(
    faults: list[Fault], line: int | None, expected: dict[str, object], kind: Callable[[list[Fault]], Any]
) -> None:
    document = error_document(kind(faults), line)
    assert document == expected
    assert list(document) == list(expected)
