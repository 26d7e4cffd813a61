"""The log: one line of JSON for each thing worth telling, on standard error."""

from __future__ import annotations

import logging
import sys
import traceback

import structlog
from structlog.typing import ExcInfo


def configure_logs(level: str) -> None:
    """Log what is of a level or above; no patient data and no secrets are among it."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.ExceptionRenderer(_where),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.WriteLoggerFactory(file=_Stderr()),  # type: ignore[arg-type]
    )
    root = logging.getLogger()
    if not any(isinstance(handler, _OfLibraries) for handler in root.handlers):
        root.addHandler(_OfLibraries(logging.WARNING))


def _where(exc_info: ExcInfo) -> list[str]:
    """An exception as its kinds and places: what it says, and local variables, may be about patients."""
    told: list[str] = []
    link: BaseException | None = exc_info[1]
    while link is not None:
        told.append(type(link).__qualname__)
        told += [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(link.__traceback__)]
        link = link.__cause__ or link.__context__
    return told


class _OfLibraries(logging.Handler):
    """What libraries warn of, as lines of our log; without what they put into their words, which may be of patients."""

    def emit(self, record: logging.LogRecord) -> None:
        said = str(record.msg) if record.args else None  # without any, it may have been put together before
        structlog.get_logger().log(record.levelno, "library", logger=record.name, said=said, exc_info=record.exc_info)


class _Stderr:
    """Standard error as it is when something is written, not as it was when logging was configured."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        return None
