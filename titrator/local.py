"""What the commands on an installation share: to open it, to act on it, and to say plainly why that cannot be done.

Who can run them on the machine of the service can read its files anyway, so they ask for no login. What they do is done
by the steps that the API takes, as an administrator, and is audited under `local:` and the name of that user of the
machine.
"""

from __future__ import annotations

import os
import pwd
import sqlite3
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, cast

import click
import marshmallow as ma
from rich.box import SIMPLE_HEAD

from titrator.assembly import make_services
from titrator.bulk.files import refuse_existing
from titrator.console import FittingTable
from titrator.door import faults_of
from titrator.security.permissions import PERMISSIONS, Role
from titrator.settings import Settings, load_settings
from titrator.store.base import StoreError, Unusable
from titrator.store.connect import is_there, name_of
from titrator.titration.documents import decode, encode, legible
from titrator.titration.errors import Fault, InvalidInput
from titrator.workflow import trail
from titrator.workflow.errors import Invalid, Refusal
from titrator.workflow.visit import Actor, Services, Visit, leave

WRONG_INPUT = 3
NOT_DONE = 4


@contextmanager
def refusing() -> Iterator[None]:
    """Say in a line why something is not done, with each fault in one of its own; exit code 3 or 4."""
    try:
        yield
    except InvalidInput as error:
        refuse(WRONG_INPUT, "the settings cannot be taken", error.faults)
    except Invalid as refusal:
        refuse(WRONG_INPUT, "that cannot be taken", refusal.faults)
    except Refusal as refusal:
        refuse(WRONG_INPUT, refusal.message, refusal.faults)
    except StoreError as error:
        refuse(NOT_DONE, str(error))
    except sqlite3.Error as error:
        refuse(NOT_DONE, f"the database does not answer: {error}; `titrator db check` looks into it")
    except OSError as error:
        if error.filename is None:  # standard output, which `run` sees to
            raise
        refuse(NOT_DONE, f"{error.filename}: {error.strerror}")


def refuse(code: int, said: str, faults: Iterable[Fault | str] = ()) -> NoReturn:
    """Say why something is not done, and end with a code."""
    click.echo(legible(f"titrator: {said}"), err=True)
    for fault in faults:
        click.echo(legible(f"  {fault}"), err=True)
    raise click.exceptions.Exit(code)


def refuse_taken(file: Path) -> None:
    """Say that a file is there already, and end: none is written over."""
    try:
        refuse_existing(file)
    except FileExistsError as error:
        refuse(WRONG_INPUT, f"{file}: {error.strerror}")


def settings() -> Settings:
    """The settings of the environment; raises InvalidSettings."""
    return load_settings(os.environ)


@contextmanager
def opened(chosen: Settings, *, anew: bool = False) -> Iterator[Services]:
    """The services of an installation; raises Unusable for one that is not there, unless it may be made anew."""
    if not anew:
        must_be_there(chosen.database_url)
    services = make_services(chosen)
    try:
        trail.gather(services)
        yield services
    finally:
        services.store.close()


def must_be_there(url: str) -> None:
    """Raise Unusable for a database that is not there: only `init` and `serve` make one."""
    if not is_there(url):
        raise Unusable(f"{name_of(url)}: there is no database; `titrator init` makes one")


@contextmanager
def visiting(services: Services) -> Iterator[Visit]:
    """A visit of who sits at the machine, in one transaction with the trail that it leaves."""
    with services.store.writing() as session:
        visit = Visit(services=services, session=session, actor=operator(), now=services.clock())
        yield visit
        leave(visit, session, visit.entries)


@contextmanager
def acting() -> Iterator[Visit]:
    """A visit to the installation of the environment, with refusals told."""
    with refusing(), opened(settings()) as services, visiting(services) as visit:
        yield visit


@contextmanager
def looking() -> Iterator[Visit]:
    """A visit to the installation of the environment that changes nothing, while which others may write."""
    with refusing(), opened(settings()) as services:
        with services.store.reading() as session:
            visit = Visit(services=services, session=session, actor=operator(), now=services.clock())
            yield visit
        trail.set_aside(services, visit.entries)


def operator() -> Actor:
    """The user of this machine, as an administrator."""
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        name = str(os.getuid())
    return Actor(f"local:{name}", name, Role.ADMIN, frozenset(), PERMISSIONS[Role.ADMIN])


def checked(schema: type[ma.Schema], body: Mapping[str, object]) -> dict[str, Any]:
    """What was asked for, checked as the API does; what is None was not asked for. Raises Invalid."""
    try:
        asked = {name: value for name, value in body.items() if value is not None}
        loaded: dict[str, Any] = schema().load(cast("dict[str, Any]", decode(encode(asked))))
    except ma.ValidationError as error:
        raise Invalid(*faults_of(error.messages)) from None
    return loaded


def table(*names: str) -> FittingTable:
    """A table in the style of this program, with columns of these names."""
    made = FittingTable(box=SIMPLE_HEAD, padding=0, pad_edge=False)
    for name in names:
        made.add(name, overflow="fold", min_width=10)
    return made


def write_json(value: object) -> None:
    """Write a line for programs: in UTF-8, whatever the terminal's encoding."""
    sys.stdout.buffer.write(encode(value).encode() + b"\n")


def moment(instant: str | None) -> str:
    """An instant as people read it, to the minute."""
    return "" if instant is None else f"{instant[:10]} {instant[11:16]} UTC"
