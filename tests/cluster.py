"""A PostgreSQL server of a test's own, which it may stop, start, cut off and fill up."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

#: Where Debian and others keep what belongs to a server.
PLACES = (*sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True), Path("/usr/local/bin"), Path("/usr/bin"))
USER = "postgres"


def programs() -> Path:
    """The folder of initdb; skips where there is none, and fails where there must be one."""
    found = next((place for place in PLACES if (place / "initdb").exists()), None)
    if found is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("no initdb: install a server of PostgreSQL")
    return found


class Cluster:
    """A server in a folder of its own, on a port of its own."""

    def __init__(self, host: str = "127.0.0.1", trusts: str | None = None) -> None:
        self.host, self.bin = host, programs()
        self.folder = folder = Path(tempfile.mkdtemp(prefix="titrator-cluster-"))  # pytest's are for one user only
        self.log = folder / "log"
        if os.getuid() == 0:  # a server does not run as root
            shutil.chown(folder, USER)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.run(
            "initdb", "--auth=trust", f"--username={USER}", "--encoding=UTF8", "--locale=C", "--no-sync", self.data
        )
        with (folder / "data" / "postgresql.conf").open("a") as settings:
            settings.write(
                f"port = {self.port}\nlisten_addresses = '{host}'\nunix_socket_directories = ''\n"
                "max_connections = 60\nshared_buffers = 32MB\ndeadlock_timeout = 200ms\nrestart_after_crash = on\n"
            )
        if trusts is not None:
            with (folder / "data" / "pg_hba.conf").open("a") as trusted:
                trusted.write(f"host all all {trusts} trust\n")
        self.start()

    @property
    def data(self) -> str:
        return str(self.folder / "data")

    def run(self, program: str, *arguments: str) -> None:
        """Run a program of PostgreSQL, as the user of the server."""
        done = subprocess.run(
            [str(self.bin / program), *arguments],
            cwd=self.folder,
            user=USER if os.getuid() == 0 else None,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr + (self.log.read_text() if self.log.exists() else "")

    def start(self) -> None:
        self.run("pg_ctl", "start", "--wait", f"--pgdata={self.data}", f"--log={self.log}", "--silent")

    def stop(self, mode: str = "fast") -> None:
        """Stop it: `fast` ends all sessions, `immediate` is as if it had been killed."""
        self.run("pg_ctl", "stop", "--wait", f"--pgdata={self.data}", f"--mode={mode}", "--silent")

    def end(self) -> None:
        """Stop it, and take all of it away."""
        self.stop("immediate")
        shutil.rmtree(self.folder)

    def url(self, database: str = "titrator") -> str:
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{database}"

    def sql(self, statement: str, database: str = "postgres") -> list[tuple[object, ...]]:
        with closing(psycopg.connect(self.url(database), autocommit=True)) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []
