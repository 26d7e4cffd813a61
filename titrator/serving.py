"""The command that serves an installation, or a demonstration. docs/cli.md describes it."""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

import click

from titrator import console, doctor, server
from titrator.listening import Unbound, is_loopback, listen, url_of
from titrator.local import NOT_DONE, WRONG_INPUT, opened, refuse, refusing, settings, table
from titrator.protocols import Catalogue
from titrator.settings import Settings
from titrator.store.base import Unusable, Where
from titrator.store.connect import is_there, name_of
from titrator.store.records import Account
from titrator.workflow import trail
from titrator.workflow.condition import Severity
from titrator.workflow.demonstration import Furnished, furnish

#: The file in a folder that says that it may be deleted.
MARKER: Final = ".titrator-demonstration"


@click.command("serve")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0 takes a free one.")
@click.option("--demo", is_flag=True, help="Serve a demonstration, made anew: made-up patients, a login for each role.")
def serve_command(host: str, port: int, demo: bool) -> None:
    """Serve the API, until Ctrl-C or SIGTERM. Behind a TLS proxy where others can reach it: docs/operations.md."""
    with refusing():
        chosen = settings()
        try:
            loopback = is_loopback(host)
            if demo and not loopback:
                refuse(WRONG_INPUT, f"a demonstration is served on this computer only, not on {host}")
            listener = listen(host, port)
        except Unbound as error:
            refuse(NOT_DONE, str(error))
        with listener:
            address = url_of(host, listener)
            if demo:
                _serve_demonstration(chosen, listener, address)
            else:
                said, catalogue = _look_over(chosen, address, beyond=not loopback)
                server.serve(chosen, catalogue, listener, lambda: click.echo("\n".join(said)))


def _serve_demonstration(chosen: Settings, listener: socket.socket, address: str) -> None:
    with _fresh_folder(chosen.instance / "demo") as folder:
        demo = replace(chosen, instance=folder, database="", audit_key_file="", base_url=address)
        with opened(demo, anew=True) as services:
            made = furnish(services)
        server.serve(demo, services.catalogue, listener, lambda: _show_demonstration(made, address))


def _look_over(chosen: Settings, address: str, *, beyond: bool) -> tuple[list[str], Catalogue]:
    """Open and migrate the database before there are other processes, and tell what an administrator should know.

    With it the protocols, read and tested.
    """
    is_new = not is_there(chosen.database_url)
    with opened(chosen, anew=True) as services, services.store.reading() as session:
        if not trail.fits(session, services.audit_key):
            raise Unusable(f"{chosen.key_file}: not the key of this database's audit trail; put the right one back")
        administrated = any(account.password_hash for account in session.find(Account, Where("role", "=", "admin")))
    said = [f"No dose is computed, for the self-test failed: {fault}" for fault in services.broken]
    if is_new:
        where = f"{chosen.instance}, its database is {name_of(chosen.database_url)}"
        said.append(
            f"There was no installation, so a new one was made in {where}. Is that the right TITRATOR_INSTANCE?"
        )
    if not administrated:
        said.append("No administrator is active yet: `titrator init` prints a link for the first.")
    said += [f"{found.what} {found.todo}" for found in doctor.proxy(chosen) if found.severity is Severity.FAULT]
    if beyond:
        said.append("Others can reach this address, without TLS: put a TLS proxy before it, and listen on 127.0.0.1.")
    return [*said, f"titrator serves {address} from {chosen.instance}. Ctrl-C ends it."], services.catalogue


@contextmanager
def _fresh_folder(folder: Path) -> Iterator[Path]:
    """An empty folder for a demonstration, kept from others meanwhile; raises Unusable for one that we did not make."""
    marker = folder / MARKER
    if folder.is_symlink() or (folder.exists() and not marker.exists() and any(folder.iterdir())):
        raise Unusable(f"{folder}: not a folder that a demonstration made; move it away, nothing in it was touched")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = os.open(marker, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Unusable(f"{folder}: another demonstration is running from it; end that first") from None
        for entry in folder.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            elif entry != marker:
                entry.unlink()
        yield folder
    finally:
        os.close(lock)


def _show_demonstration(made: Furnished, address: str) -> None:
    screen = console.out()
    click.echo(f"{made.summary}\n")
    rows = table("Role", "Username", "Password", "Token")
    for column in rows.columns:
        column.no_wrap = True
    for login in made.logins:
        rows.add_row(login.role, login.username, login.password or "none, a system", login.token)
    screen.print(rows)
    token = next(login.token for login in made.logins if login.role == "pharmacist")
    url = f"{address}/api/v1/patients/{made.case_patient}/next-dose"
    click.echo("The next dose of the published case, as its pharmacist asks for it:\n")
    click.echo(f"  curl -s -H 'Authorization: Bearer {token}' {url}\n")
    click.echo(f"The demonstration is at {address}, the description of its API at {address}/docs. Only this computer")
    click.echo("can reach it; it is made anew, with other logins, at each start. Ctrl-C ends it.")
