"""Newline-delimited JSON: one course document a line in, one answer a line out, in the same order.

A bad line yields an error object in its place. Work goes out to processes in small batches of which only a few are
under way at a time, so memory does not grow with the input. docs/answer-document.md describes both kinds of line.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache, partial
from pathlib import Path
from typing import BinaryIO, NamedTuple

from titrator.bulk.workers import end_with_parent, in_order
from titrator.protocols import Catalogue
from titrator.titration.answer import to_text
from titrator.titration.documents import encode
from titrator.titration.errors import Fault, InvalidInput
from titrator.workflow.propose import LARGEST_DOCUMENT, propose

_LINES = 64
_BYTES = 1_000_000


class Batch(NamedTuple):
    """Some lines of a file, the number of the first, and their bytes in the file."""

    first: int
    lines: list[bytes]
    size: int


class Answers(NamedTuple):
    """The lines that answer a batch, how many of them are error objects, and the bytes that the batch took."""

    text: str
    bad: int
    lines: int
    size: int


def error_document(faults: Iterable[Fault], line: int | None = None) -> dict[str, object]:
    """What is said of an input that cannot be answered: one sentence, and each fault with its path."""
    listed = list(faults)
    document: dict[str, object] = {
        "error": "; ".join(map(str, listed)),
        "errors": [{"path": fault.path, "message": fault.message} for fault in listed],
    }
    return document if line is None else document | {"line": line}


def answer_file(stream: BinaryIO, local_protocols: Path | None, jobs: int) -> Iterator[Answers]:
    """Answer each line of a file, batch by batch, in order, with that many processes."""
    if jobs == 1:
        catalogue = Catalogue(local_protocols)
        for batch in _batches(stream):
            yield _answer(catalogue, batch)
        return
    with ProcessPoolExecutor(jobs, initializer=end_with_parent, initargs=(os.getpid(),)) as pool:
        yield from in_order(pool, jobs, partial(_answer_in_process, local_protocols), _batches(stream))


def _answer(catalogue: Catalogue, batch: Batch) -> Answers:
    answers, bad = [], 0
    for number, line in enumerate(batch.lines, start=batch.first):
        try:
            answers.append(to_text(propose(catalogue, line.rstrip(b"\r\n"))))
        except InvalidInput as error:
            answers.append(encode(error_document(error.faults, number)))
            bad += 1
    return Answers("\n".join([*answers, ""]), bad, len(batch.lines), batch.size)


def _batches(stream: BinaryIO) -> Iterator[Batch]:
    first, lines, size = 1, [], 0
    for line in _lines(stream):
        lines.append(line)
        size += len(line)
        if len(lines) == _LINES or size >= _BYTES:
            yield Batch(first, lines, size)
            first, lines, size = first + len(lines), [], 0
    if lines:
        yield Batch(first, lines, size)


def _lines(stream: BinaryIO) -> Iterator[bytes]:
    """The lines of a file, the rest of one that is too long read over, so that it costs no memory."""
    longest = LARGEST_DOCUMENT + 2
    while line := stream.readline(longest):
        yield line
        while len(line) == longest and not line.endswith(b"\n"):
            line = stream.readline(longest)


#: The catalogue of a worker process, by its folder: each process reads the protocols once.
_catalogue_here = lru_cache(maxsize=1)(Catalogue)


def _answer_in_process(local_protocols: Path | None, batch: Batch) -> Answers:
    return _answer(_catalogue_here(local_protocols), batch)
