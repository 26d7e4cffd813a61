"""The commands on an installation, and the service as it runs: real processes, a real port, a real database."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
from gunicorn.config import Config
from gunicorn.glogging import Logger
from gunicorn.workers.gthread import PollableMethodQueue

from tests.support import local_protocol, words, write_local
from titrator.app import LARGEST_BODY
from titrator.server import GRACEFUL_SECONDS, _Worker
from titrator.serving import MARKER

TITRATOR = str(Path(sys.executable).with_name("titrator"))
PASSWORD = "seventeen green herons"
LINK = re.compile(r"http://\S+/activate/(titr_\S+)")
#: How long anything may take before a test gives up; nothing waits for so long unless it fails.
PATIENCE = 30
ask_get, ask_post = (partial(one, timeout=PATIENCE) for one in (httpx.get, httpx.post))


class Ran(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str


class Served:
    """`titrator serve` on a free port, from its first line to its end."""

    def __init__(self, instance: Path, *arguments: str, **more: str) -> None:
        self.log = instance.with_name("log")
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [TITRATOR, "serve", "--port", "0", *arguments],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=environment(instance, **more),
            )
        assert self.process.stdout is not None
        self.said = ""
        for line in self.process.stdout:
            self.said += line
            if "Ctrl-C ends it" in line:
                break
        found = re.search(r"http://127\.0\.0\.1:\d+", self.said)
        assert found, self.said + self.log.read_text()
        self.url = found[0]
        self.port = int(self.url.rpartition(":")[2])

    def told(self, text: str) -> None:
        """Wait until the log tells something."""
        eventually(lambda: text in self.log.read_text())

    def end(self, how: int = signal.SIGTERM) -> int:
        self.process.send_signal(how)
        return self.process.wait(PATIENCE)


def eventually(holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    until = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.01)


def environment(instance: Path, **more: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("TITRATOR_")}
    return kept | {"TITRATOR_INSTANCE": str(instance), "COLUMNS": "140", "PYTHONUTF8": "1"} | more


@pytest.fixture
def instance(tmp_path: Path) -> Path:
    return tmp_path / "instance"


Run = Callable[..., Ran]


@pytest.fixture
def titrator(instance: Path) -> Run:
    return partial(run, instance)


def run(instance: Path, *arguments: object, stdin: str = "", **more: str) -> Ran:
    """Run the installed command as a shell does."""
    result = subprocess.run(
        [TITRATOR, *map(str, arguments)],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        env=environment(instance, **more),
    )
    assert "Traceback" not in result.stderr
    return Ran(result.returncode, result.stdout, result.stderr)


Serve = Callable[..., Served]


@pytest.fixture
def serve(instance: Path) -> Iterator[Serve]:
    running: list[Served] = []

    def start(*arguments: str, **more: str) -> Served:
        running.append(Served(instance, *arguments, **more))
        return running[-1]

    yield start
    for served in running:
        if served.process.poll() is None:
            served.end(signal.SIGKILL)
        assert served.process.stdout is not None
        served.process.stdout.close()


def done(ran: Ran) -> str:
    assert (ran.code, ran.err) == (0, "")
    return ran.out


def secret(text: str) -> str:
    found = LINK.search(text)
    assert found, text
    return found[1]


# titrator init


@pytest.mark.slow
def test_init_makes_an_installation_and_a_link_until_an_administrator_is_active(
    titrator: Run, serve: Serve, instance: Path
) -> None:
    first, second = (secret(done(titrator("init"))) for _ in range(2))
    assert first != second
    assert {path.name for path in instance.iterdir()} >= {"titrator.db", "audit.key"}
    assert {oct(path.stat().st_mode & 0o077) for path in (instance, *instance.iterdir())} == {"0o0"}
    service = serve()
    assert "`titrator init` prints a link for the first" in service.said
    form = {"password": PASSWORD, "again": PASSWORD}
    assert ask_post(f"{service.url}/activate/{first}", data=form).status_code == 422, "the second ended the first"
    assert ask_get(f"{service.url}/activate/{second}").status_code == 200
    assert ask_post(f"{service.url}/activate/{second}", data=form).status_code == 200
    login = {"username": "admin", "password": PASSWORD}
    assert ask_post(f"{service.url}/api/v1/sessions", json=login).json()["role"] == "admin"
    again = done(titrator("init"))
    assert "An administrator is active" in again
    assert not LINK.search(again)
    assert json.loads(done(titrator("init", "--json"))) == {
        "instance": str(instance),
        "username": "admin",
        "link": None,
    }


@pytest.mark.slow
def test_two_inits_at_once_make_one_installation(titrator: Run, instance: Path) -> None:
    both = [
        subprocess.Popen([TITRATOR, "init", "--json"], stdout=subprocess.PIPE, text=True, env=environment(instance))
        for _ in range(2)
    ]
    links = {json.loads(process.communicate(timeout=PATIENCE)[0])["link"] for process in both}
    assert [process.returncode for process in both] == [0, 0]
    assert len(links) == 2
    accounts = json.loads(done(titrator("users", "list", "--json")))["items"]
    assert [account["username"] for account in accounts] == ["admin"]
    tokens = json.loads(done(titrator("tokens", "list", "admin", "--json")))["items"]
    assert sorted(token["revoked_at"] is None for token in tokens) == [False, True]
    assert done(titrator("audit", "verify"))


def test_the_link_leads_where_the_installation_says(titrator: Run) -> None:
    out = done(titrator("init", TITRATOR_BASE_URL="https://dose.example/"))
    assert "\nhttps://dose.example/activate/titr_" in out


@pytest.mark.slow
def test_init_says_when_the_first_account_may_no_longer_administer(titrator: Run) -> None:
    done(titrator("init"))
    done(titrator("users", "disable", "admin"))
    code, _, err = titrator("init")
    assert code == 3
    assert "titrator users change admin --active --role admin" in err
    done(titrator("users", "change", "admin", "--active", "--role", "admin"))
    assert secret(done(titrator("init")))


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installation with a clinic, which others are copies of."""
    folder = tmp_path_factory.mktemp("first") / "instance"
    done(run(folder, "init"))
    done(run(folder, "clinics", "add", "Day Unit", "--time-zone", "Europe/Berlin", "--injection-day", "monday"))
    return folder


@pytest.fixture
def made(titrator: Run, first: Path, instance: Path) -> Run:
    """An installation with a clinic."""
    shutil.copytree(first, instance)
    return titrator


def rows(text: str) -> list[str]:
    return [line for line in map(words, text.splitlines()) if line]


# titrator serve


@pytest.fixture(scope="module")
def demonstration(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    # Tests log in by it more often than anybody may in a minute.
    served = Served(tmp_path_factory.mktemp("demonstration") / "instance", "--demo", TITRATOR_LOGINS_PER_MINUTE="1000")
    yield served
    assert served.end() == 0
    assert served.process.stdout is not None
    served.process.stdout.close()


def logins(served: Served) -> dict[str, tuple[str, str, str]]:
    """Of each role the username, the password and the token that are printed."""
    lines = [line.split() for line in served.said.splitlines() if "titr_" in line and "curl" not in line]
    return {line[0]: (line[1], line[2], line[-1]) for line in lines}


def test_the_demonstration_has_a_login_for_each_role(demonstration: Served) -> None:
    found = logins(demonstration)
    assert set(found) == {"technician", "pharmacist", "prescriber", "ehr", "auditor", "admin"}
    for role, (username, password, token) in found.items():
        bearer = {"Authorization": f"Bearer {token}"}
        assert ask_get(f"{demonstration.url}/api/v1/me", headers=bearer).json()["account"]["role"] == role
        if role != "ehr":
            body = {"username": username, "password": password}
            assert ask_post(f"{demonstration.url}/api/v1/sessions", json=body).json()["role"] == role


def test_the_command_that_the_demonstration_prints_gets_a_next_dose(demonstration: Served) -> None:
    line = next(line for line in demonstration.said.splitlines() if line.strip().startswith("curl "))
    _, *options, url = shlex.split(line)
    name, value = options[options.index("-H") + 1].split(": ")
    answer = ask_get(url, headers={name: value}).json()
    assert answer["action"] in {"maintain", "increase"}
    assert answer["dose"]["micrograms"] > 0


def test_the_service_is_ready_and_counts_what_it_answers(demonstration: Served) -> None:
    with httpx.Client(base_url=demonstration.url) as client:
        assert client.get("/livez").json() == {"status": "alive"}
        ready = client.get("/readyz")
        assert (ready.status_code, ready.json()["status"]) == (200, "ready")
    for _ in range(20):  # each of both processes answers some, and either tells the counts of both
        ask_get(f"{demonstration.url}/livez")
    counted = ask_get(f"{demonstration.url}/metrics").text
    found = re.search(r'titrator_requests_total\{method="GET",route="/livez",status="200"\} (\d+)', counted)
    assert found
    assert int(found[1]) >= 21
    assert "titrator_self_test_faults 0.0" in counted


def test_a_day_is_sealed_while_it_is_served(demonstration: Served) -> None:
    eventually(lambda: '"event": "housekeeping"' in demonstration.log.read_text())
    (told,) = [line for line in demonstration.log.read_text().splitlines() if '"event": "housekeeping"' in line]
    assert json.loads(told)["sealed"].endswith(".ndjson")


def test_the_log_is_json_and_names_no_patient_and_no_secret(demonstration: Served) -> None:
    _, _, token = logins(demonstration)["pharmacist"]
    url, bearer = f"{demonstration.url}/api/v1/patients", {"Authorization": f"Bearer {token}"}
    assert ask_get(url, params={"name": "avocet"}, headers=bearer).status_code == 200
    with socket.create_connection(("127.0.0.1", demonstration.port), PATIENCE) as raw:
        raw.sendall(b"GET /api/v1/patients?name=avocet NONSENSE/9\r\n\r\n")
        assert b"400" in raw.recv(1000)
    demonstration.told("Invalid request")
    text = demonstration.log.read_text()
    assert all(json.loads(line)["event"] for line in text.splitlines())
    assert "avocet" not in text.lower()
    assert "titr_" not in text


def test_a_body_that_is_none_is_the_fault_of_who_sends_it(demonstration: Served) -> None:
    """And no line of the log by which somebody is called: nobody need log in for that."""
    before = demonstration.log.read_text().count('"unforeseen"')
    for path, kind in (("/api/v1/sessions", "application/json"), ("/login", "application/x-www-form-urlencoded")):
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n"
        for body in ("zz\r\n", "5\r\nabcdefg\r\n", "3;=\r\nabc", "-1\r\n"):
            with socket.create_connection(("127.0.0.1", demonstration.port), PATIENCE) as raw:
                raw.sendall(f"{head}{body}".encode())
                raw.shutdown(socket.SHUT_WR)
                assert raw.recv(1000).startswith(b"HTTP/1.1 400"), (path, body)
    assert demonstration.log.read_text().count('"unforeseen"') == before


@pytest.mark.slow
def test_a_demonstration_is_made_anew_each_time(serve: Serve, instance: Path) -> None:
    first = serve("--demo")
    assert first.end() == 0
    (instance / "demo" / "left").mkdir()
    second = serve("--demo")
    assert not (instance / "demo" / "left").exists()
    assert {token for _, _, token in logins(first).values()}.isdisjoint(
        token for _, _, token in logins(second).values()
    )
    assert {path.name for path in instance.iterdir()} == {"demo"}, "the installation itself was not touched"


def test_a_folder_that_is_no_demonstration_is_not_touched(titrator: Run, instance: Path) -> None:
    folder = instance / "demo"
    folder.mkdir(parents=True)
    (folder / "precious").write_text("x")
    code, _, err = titrator("serve", "--demo", "--port", "0")
    assert (code, err) == (
        4,
        f"titrator: {folder}: not a folder that a demonstration made; move it away, nothing in it was touched\n",
    )
    assert [path.name for path in folder.iterdir()] == ["precious"]


@pytest.mark.slow
def test_a_running_demonstration_is_not_pulled_away(titrator: Run, serve: Serve, instance: Path) -> None:
    served = serve("--demo")
    code, _, err = titrator("serve", "--demo", "--port", "0")
    assert code == 4
    assert "another demonstration is running from it" in err
    assert ask_get(f"{served.url}/readyz").status_code == 200
    assert (instance / "demo" / MARKER).exists()


def test_a_demonstration_never_opens_the_database_of_the_installation(serve: Serve, tmp_path: Path) -> None:
    real = tmp_path / "real.db"
    serve("--demo", TITRATOR_DATABASE=str(real), TITRATOR_AUDIT_KEY_FILE=str(tmp_path / "real.key"))
    assert not real.exists()
    assert not (tmp_path / "real.key").exists()


def test_a_port_that_is_taken_is_told(titrator: Run, instance: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        code, out, err = titrator("serve", "--port", port)
    assert (code, out) == (4, "")
    assert f"cannot listen on 127.0.0.1, port {port}: Address already in use" in err
    assert not instance.exists()


@pytest.mark.slow
def test_requests_under_way_are_answered_when_it_is_ended(made: Run, serve: Serve) -> None:
    """A body is half sent when SIGTERM comes: it is read to its end, answered, and the process ends with 0."""
    served = serve(TITRATOR_LOG_LEVEL="debug")
    body = json.dumps({"username": "admin", "password": PASSWORD}).encode()
    head = f"POST /api/v1/sessions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    with socket.create_connection(("127.0.0.1", served.port), PATIENCE) as raw:
        raw.sendall(f"{head}\r\nExpect: 100-continue\r\n\r\n".encode())
        assert raw.recv(1000).startswith(b"HTTP/1.1 100")
        raw.sendall(body[:10])
        served.process.send_signal(signal.SIGTERM)
        served.told("Handling signal: term")
        assert served.process.poll() is None
        raw.sendall(body[10:])
        answer = b"".join(iter(lambda: raw.recv(1000), b""))
    assert answer.startswith(b"HTTP/1.1 401")
    assert b"LOGIN-FAILED" in answer
    assert served.process.wait(PATIENCE) == 0
    with pytest.raises(httpx.ConnectError):
        ask_get(served.url)


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_within_seconds_and_leaves_nothing(
    made: Run, serve: Serve, tmp_path: Path, how: signal.Signals
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    served = serve(TMPDIR=str(temporary))
    assert ask_get(f"{served.url}/readyz").status_code == 200
    assert list(temporary.iterdir())
    began = time.monotonic()
    assert served.end(how) == 0
    assert time.monotonic() - began < 10
    assert list(temporary.iterdir()) == []


@pytest.mark.slow
def test_a_body_in_chunks_is_refused_and_not_cut_where_it_is_too_long(made: Run, serve: Serve) -> None:
    """What was cut would be read as if it were whole: here as a login, and of a laboratory as a message."""
    served = serve()
    said = b'{"username": "nobody", "password": "nothing at all"}'

    def chunks(more: int) -> Iterator[bytes]:
        yield said
        yield b" " * (LARGEST_BODY - len(said) + more)

    for more, status in ((0, 401), (1, 413)):
        headers = {"Content-Type": "application/json"}
        assert ask_post(f"{served.url}/api/v1/sessions", content=chunks(more), headers=headers).status_code == status


def test_a_thread_that_outlives_the_loop_writes_into_no_file_of_others() -> None:
    """The number of the pipe that it would write into is not given to another file before the process ends."""
    config = Config()
    worker = _Worker(1, os.getpid(), [], None, PATIENCE, config, Logger(config))
    worker.method_queue.init()
    worker.method_queue.close()
    pipe = worker.method_queue._write_fd
    assert stat.S_ISFIFO(os.fstat(pipe).st_mode)
    worker.method_queue.defer(lambda: None)
    PollableMethodQueue.close(worker.method_queue)
    worker.tmp.close()


@pytest.mark.slow
def test_it_ends_at_once_though_requests_are_under_way(made: Run, serve: Serve) -> None:
    served = serve()
    assert ask_get(f"{served.url}/readyz").status_code == 200
    with socket.create_connection(("127.0.0.1", served.port)) as slow:
        head = b"POST /api/v1/sessions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 50\r\n"
        slow.sendall(head + b"Expect: 100-continue\r\n\r\n")
        assert slow.recv(100).startswith(b"HTTP/1.1 100"), "a thread waits for the rest"
        began = time.monotonic()
        assert served.end(signal.SIGINT) == 0
    assert time.monotonic() - began < GRACEFUL_SECONDS - 5


def test_a_process_told_to_end_at_once_waits_for_no_lock() -> None:
    """The signal may come just as a request is handed to a thread; the lock that is held then, it would wait for."""
    config = Config()
    worker = _Worker(1, os.getpid(), [], None, PATIENCE, config, Logger(config))
    worker.tpool = worker.get_thread_pool()
    worker.method_queue.init()
    worker.booted = True
    with worker.tpool._shutdown_lock:
        told = threading.Thread(target=worker.handle_quit, args=(signal.SIGQUIT, None), daemon=True)
        told.start()
        told.join(PATIENCE)
        assert not told.is_alive()
    with pytest.raises(SystemExit):
        worker.method_queue.run_callbacks(None)
    worker.tmp.close()
    worker.method_queue.close()


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_it_can_be_ended_while_it_starts(made: Run, serve: Serve, how: signal.Signals) -> None:
    """A process that is just being started hears of it, too; else it would be waited for until it is killed."""
    served = serve(TITRATOR_WORKERS="4")
    began = time.monotonic()
    assert served.end(how) == 0
    assert time.monotonic() - began < GRACEFUL_SECONDS - 5


def test_a_worker_that_dies_is_replaced_and_housekeeping_is_not_done_again(made: Run, serve: Serve) -> None:
    served = serve(TITRATOR_WORKERS="1")
    served.told('"event": "housekeeping"')
    (worker,) = Path(f"/proc/{served.process.pid}/task/{served.process.pid}/children").read_text().split()
    os.kill(int(worker), signal.SIGKILL)
    eventually(lambda: ready(served.url))
    assert served.log.read_text().count('"event": "housekeeping"') == 1


def test_it_starts_without_what_only_charts_need() -> None:
    """Altair takes a third of a second to import."""
    asks = "import sys, titrator.serving; sys.exit('altair' in sys.modules or 'vl_convert' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", asks], check=False).returncode == 0


@pytest.mark.slow
def test_who_takes_the_place_of_a_worker_has_the_protocols_of_the_start(
    made: Run, serve: Serve, instance: Path
) -> None:
    """Or two who ask one service would be answered by two editions."""
    done(made("users", "add", "lab", "--name", "Lab", "--role", "ehr", "--clinic", "Day Unit"))
    issued = done(made("tokens", "issue", "lab", "--label", "feed", "--days", "30", "--permission", "protocols:read"))
    bearer = {"Authorization": f"Bearer {issued.split()[-1]}"}
    (instance / "protocols").mkdir(exist_ok=True)
    file = write_local(instance / "protocols", "ours")
    served = serve(TITRATOR_WORKERS="1")
    url = f"{served.url}/api/v1/protocols/ours"
    at_the_start = ask_get(url, headers=bearer)
    assert at_the_start.status_code == 200
    file.write_text(local_protocol("ours", title='"Another edition"'))
    write_local(instance / "protocols", "later")
    (worker,) = Path(f"/proc/{served.process.pid}/task/{served.process.pid}/children").read_text().split()
    os.kill(int(worker), signal.SIGKILL)
    eventually(lambda: ready(served.url))

    assert ask_get(url, headers=bearer).json() == at_the_start.json()
    assert ask_get(f"{served.url}/api/v1/protocols/later", headers=bearer).status_code == 404


def test_systemd_is_told_when_it_is_ready(made: Run, serve: Serve, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(PATIENCE)
        serve(NOTIFY_SOCKET=str(tmp_path / "notify"))
        assert systemd.recv(1000).startswith(b"READY=1")


@pytest.mark.slow
@pytest.mark.parametrize(("hops", "believed"), [("0", False), ("1", True)])
def test_a_proxy_is_believed_only_if_the_settings_say_so(made: Run, serve: Serve, hops: str, *, believed: bool) -> None:
    """Of what a client claims about itself nothing is believed; a proxy's word that TLS is used shows in a header."""
    served = serve(TITRATOR_TRUSTED_PROXIES=hops)
    answer = ask_get(f"{served.url}/livez", headers={"X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.1"})
    assert ("Strict-Transport-Security" in answer.headers) is believed


@pytest.mark.parametrize(("hops", "told"), [("0", True), ("1", False)])
def test_an_address_of_tls_without_a_proxy_that_is_trusted_is_told_at_the_start(
    made: Run, serve: Serve, hops: str, *, told: bool
) -> None:
    served = serve(TITRATOR_BASE_URL="https://t.example", TITRATOR_TRUSTED_PROXIES=hops)
    assert ("trusted_proxies is 0" in served.said) is told


def ready(url: str) -> bool:
    try:
        return ask_get(f"{url}/readyz").status_code == 200
    except httpx.TransportError:
        return False


def test_a_server_without_an_installation_makes_one(serve: Serve, instance: Path) -> None:
    served = serve()
    assert ask_get(f"{served.url}/readyz").status_code == 200
    assert (instance / "titrator.db").exists()
    said = f"There was no installation, so a new one was made in {instance}, its database is {instance}/titrator.db."
    assert served.said.splitlines()[0].startswith(said)
    served.end()
    assert "There was no installation" not in serve().said


def test_a_key_of_another_installation_is_refused(made: Run, instance: Path) -> None:
    key = instance / "audit.key"
    key.write_text("00" * 32 + "\n")
    code, _, err = made("serve", "--port", "0")
    assert (code, err) == (4, f"titrator: {key}: not the key of this database's audit trail; put the right one back\n")
    key.unlink()
    code, _, err = made("serve", "--port", "0")
    assert code == 4
    assert "put it back before anything else is done" in err
    assert not key.exists(), "a new key would make the whole trail look forged"


# titrator backup and restore, beside a service


@pytest.mark.slow
def test_backup_and_restore_while_it_is_served_and_after(made: Run, serve: Serve, instance: Path) -> None:
    served = serve()
    backup = instance.with_name("backup.db")
    assert "The audit key and the seals are not in it." in done(made("backup", backup))
    assert backup.stat().st_mode & 0o077 == 0
    assert made("backup", backup).code == 3, "nothing is written over"
    done(made("users", "add", "late", "--name", "Late", "--role", "ehr"))
    code, _, err = made("restore", backup, "--yes")
    assert (code, err) == (4, f"titrator: {instance}/titrator.db: is in use; stop the service first\n")
    assert "late" in done(made("users", "list"))
    assert served.end() == 0
    code, _, err = made("restore", backup, stdin="n\n")
    assert (code, "late" in done(made("users", "list"))) == (1, True)
    out = done(made("restore", backup, "--yes"))
    assert "titrator.db.before-restore" in out
    assert "late" not in done(made("users", "list"))
    assert "in order" in done(made("db", "check"))
    last = json.loads(done(made("audit", "export")).splitlines()[-2])
    assert last["action"] == "restore"
    assert ask_get(f"{serve().url}/readyz").status_code == 200
