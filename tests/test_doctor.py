"""`titrator doctor`: a sound installation is in order, and each thing that can be wrong is provoked and found."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib.metadata import Distribution
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.backends import new_database
from tests.hl7.support import FEED
from tests.store.samples import sample
from tests.support import SOUND, local_protocol, write_local
from titrator import doctor
from titrator.assembly import make_services
from titrator.doctor import ENOUGH_FREE, LEAST_FREE, MEGABYTE, examine, file_system, packaged, space
from titrator.settings import Settings
from titrator.store import sqlite
from titrator.store.base import Store, Unusable
from titrator.store.connect import look_at_store
from titrator.store.postgres import PostgresStore
from titrator.store.records import (
    Account,
    ChannelRow,
    Clinic,
    CourseVersion,
    Delivery,
    Job,
    Patient,
    ProtocolEdition,
    Reminder,
    Token,
)
from titrator.store.schema import MIGRATIONS, Migration
from titrator.store.sqlite import SqliteStore
from titrator.workflow import condition, trail
from titrator.workflow.condition import Finding, Severity
from titrator.workflow.housekeeping import keep_house
from titrator.workflow.reminders.work import HEARTBEAT
from titrator.workflow.visit import Visit, instant, leave

NOW = datetime(2026, 3, 9, 12, tzinfo=UTC)
LATER = NOW + timedelta(days=3)
DOCS = Path(__file__).parents[1] / "docs" / "operations.md"
OK, WARNING, FAULT = Severity.OK, Severity.WARNING, Severity.FAULT


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installation in which everything is in order."""
    folder = tmp_path_factory.mktemp("sound") / "instance"
    folder.mkdir(mode=0o700)
    settings = Settings(instance=folder)
    services = replace(make_services(settings), clock=lambda: NOW)
    with services.store.writing() as session:
        session.add(sample(Clinic, id="c", name="Day Unit", time_zone="Europe/Berlin"))
        session.add(sample(Account, id="a", username="admin", role="admin", active=True, password_hash="x"))
        session.add(sample(Patient, id="p", clinic_id="c", revision=1, decided=0, decision_id=None))
        session.add(sample(CourseVersion, patient_id="p", id=1, version=1, current=True, protocol="us-itp-adult"))
        visit = Visit(services=services, session=session, actor=None, now=NOW)
        visit.note("made", "installation")
        leave(visit, session, visit.entries)
    keep_house(services, settings.seals, NOW)
    with services.store.writing() as session:
        session.add(Job(name=HEARTBEAT, version=1, at=instant(NOW)))
    services.store.close()
    return folder


@pytest.fixture
def place(sound: Path, tmp_path: Path) -> Path:
    """A copy of it, to be spoilt."""
    return shutil.copytree(sound, tmp_path / "instance")


def findings(place: Path, now: datetime = NOW, **environment: str) -> list[Finding]:
    return list(examine({"TITRATOR_INSTANCE": str(place), **environment}, lambda: now))


def amiss(found: list[Finding]) -> list[tuple[str, Severity]]:
    """What is not in order; how much room the disk of this machine has is its own affair."""
    return [(one.check, one.severity) for one in found if one.severity is not OK and one.check != "disk-space"]


def only(found: list[Finding], check: str, severity: Severity) -> Finding:
    """The only thing that is amiss; it says what to do about it."""
    assert amiss(found) == [(check, severity)]
    (one,) = [one for one in found if one.check == check and one.severity is severity]
    assert one.todo
    assert one.what.endswith(".")
    return one


def opened(place: Path) -> SqliteStore:
    return SqliteStore(place / "titrator.db")


def add(place: Path, *records: Any) -> None:
    store = opened(place)
    with store.writing() as session:
        session.put(*records) if len({type(one) for one in records}) == 1 else session.add(*records)
    store.close()


def config(place: Path, *lines: str) -> None:
    (place / "config.toml").write_text("\n".join(lines) + "\n")
    (place / "config.toml").chmod(0o600)


def test_of_a_sound_installation_all_is_in_order(place: Path) -> None:
    found = findings(place)
    assert amiss(found) == []
    assert all(one.what and not one.todo for one in found if one.severity is OK)


def test_nothing_is_changed(place: Path) -> None:
    """Not a byte of a file, and no file comes or goes, but the index of the log that each reader needs."""
    before = contents(place)
    findings(place)
    assert contents(place) == before


def contents(place: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(place)): file.read_bytes()
        for file in place.rglob("*")
        if file.is_file() and not file.name.endswith(("-shm", "-wal"))
    }


def test_each_check_is_in_the_table_of_the_guide(place: Path) -> None:
    named = {one.check for one in findings(place)}
    table = DOCS.read_text(encoding="utf-8").split("| Check | ")[1].split("\n\n")[0]
    told = set(re.findall(r"^\| `([a-z0-9-]+)` \|", table, re.MULTILINE))
    assert named | {"reach"} == told


def test_checks_of_the_code_are_all_run(place: Path) -> None:
    """Of what the code can find, a sound installation hears everything, but what only `--send` tells."""
    sources = (Path(doctor.__file__).read_text(), Path(condition.__file__).read_text())
    coded = {name for source in sources for name in re.findall(r'\b(?:fine|odd|wrong)\(\s*"([a-z0-9-]+)"', source)}
    assert coded == {one.check for one in findings(place)}


# Settings


def test_settings_with_faults_are_all_told_and_the_rest_is_left(place: Path) -> None:
    config(place, "workers = 0", 'colour = "red"')
    found = findings(place)
    assert amiss(found) == [("settings", FAULT)] * 2
    assert ["workers" in one.what or "colour" in one.what for one in found if one.severity is FAULT] == [True, True]
    assert "database" not in {one.check for one in found}


def test_a_variable_that_is_no_setting_is_told(place: Path) -> None:
    one = only(findings(place, TITRATOR_DATBASE="x"), "environment", WARNING)
    assert "TITRATOR_DATBASE" in one.what
    assert one.todo == "Was TITRATOR_DATABASE meant?"


@pytest.mark.parametrize(
    ("chosen", "severity"),
    [
        ({"TITRATOR_BASE_URL": "https://t.example"}, FAULT),
        ({"TITRATOR_BASE_URL": "https://t.example", "TITRATOR_TRUSTED_PROXIES": "1"}, OK),
        ({"TITRATOR_BASE_URL": "http://t.example"}, WARNING),
        ({"TITRATOR_TRUSTED_PROXIES": "1"}, WARNING),
        ({"TITRATOR_BASE_URL": "http://localhost:9000"}, OK),
        ({}, OK),
    ],
)
def test_address_and_proxies_must_go_together(place: Path, chosen: dict[str, str], severity: Severity) -> None:
    found = findings(place, **chosen)
    assert amiss(found) == ([] if severity is OK else [("proxy", severity)])


@pytest.mark.parametrize(
    "chosen",
    [
        {"workers": 9},
        {"mllp_processes": 9, "hl7_feeds": (FEED,)},
        {"requests_per_minute": 1},
        {"logins_per_minute": 1},
        {"logins_before_lock": 21},
        {"logins_per_minute": 201},
        {"idle_minutes": 61, "session_hours": 1},
        {"log_level": "error"},
    ],
)
def test_limits_that_do_not_hold_are_told(chosen: dict[str, Any]) -> None:
    (one,) = doctor.limits(Settings(instance=Path("x"), **chosen), cores=2)
    assert one.severity is WARNING


def test_limits_at_their_bounds_are_in_order() -> None:
    chosen = Settings(
        instance=Path("x"), workers=8, requests_per_minute=8, logins_per_minute=200, logins_before_lock=20,
        idle_minutes=60, session_hours=1, log_level="warning", mllp_processes=8, hl7_feeds=(FEED,),
    )  # fmt: skip
    (one,) = doctor.limits(chosen, cores=2)
    assert one.severity is OK
    (one,) = doctor.limits(Settings(instance=Path("x"), mllp_processes=9), cores=2)
    assert one.severity is OK, "without a laboratory there are none"


def test_a_cds_protocol_that_is_none_is_told(place: Path) -> None:
    assert "us-itp-adlt" in only(findings(place, TITRATOR_CDS_PROTOCOLS="us-itp-adlt"), "cds-protocols", FAULT).what


@pytest.mark.parametrize("keys", [None, "{}", '{"keys": []}', "no JSON"])
def test_keys_of_a_client_that_cannot_be_read_are_told(place: Path, keys: str | None) -> None:
    add(place, sample(Account, id="e", username="ehr", role="ehr", active=True, password_hash=None))
    config(place, "[[cds_clients]]", 'issuer = "https://e.example"', 'account = "ehr"', 'jwks_file = "k.json"')
    if keys is not None:
        (place / "k.json").write_text(keys)
    assert "k.json" in only(findings(place), "cds-clients", FAULT).what


@pytest.mark.parametrize("account", [None, {"active": False}, {"role": "pharmacist"}])
def test_a_client_of_no_account_is_told(place: Path, account: dict[str, Any] | None) -> None:
    if account is not None:
        add(place, sample(Account, **{"id": "e", "username": "ehr", "role": "ehr", "active": True} | account))
    config(
        place, "[[cds_clients]]", 'issuer = "https://e.example"', 'account = "ehr"', 'jwks_url = "https://e.example/k"'
    )
    assert "ehr" in only(findings(place), "accounts", FAULT).what


FEED = (
    "[[hl7_feeds]]",
    'name = "lab"',
    'account = "lis"',
    'peers = ["127.0.0.1"]',
    'identifiers = [{authority = "H", system = "urn:h"}]',
)


def test_a_feed_of_no_account_is_told(place: Path) -> None:
    config(place, *FEED)
    assert "lis" in only(findings(place), "hl7-feeds", FAULT).what


def certificate(folder: Path, ends: datetime) -> None:
    """The three files of TLS, of which the certificate is its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "lab.example")])
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(ends - timedelta(days=90)).not_valid_after(ends).sign(key, hashes.SHA256())
    )  # fmt: skip
    text = made.public_bytes(serialization.Encoding.PEM)
    (folder / "c.pem").write_bytes(text)
    (folder / "a.pem").write_bytes(text)
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "k.pem").write_bytes(secret)
    (folder / "k.pem").chmod(0o600)


TLS = {"TITRATOR_MLLP_CERTIFICATE": "c.pem", "TITRATOR_MLLP_KEY": "k.pem", "TITRATOR_MLLP_CLIENT_CA": "a.pem"}


@pytest.mark.parametrize(("days", "severity"), [(-1, FAULT), (0, FAULT), (1, WARNING), (30, WARNING), (31, OK)])
def test_a_certificate_that_ends_is_told(place: Path, days: int, severity: Severity) -> None:
    certificate(place, NOW + timedelta(days=days))
    assert amiss(findings(place, **TLS)) == ([] if severity is OK else [("mllp", severity)])


def test_tls_needs_all_three_files_and_they_must_be_there(place: Path) -> None:
    only(findings(place, TITRATOR_MLLP_CERTIFICATE="c.pem"), "mllp", FAULT)
    assert "c.pem" in only(findings(place, **TLS), "mllp", FAULT).what


# The program and its protocols


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The folder of a package as pip installs it: a file of the program, and the digests of its wheel."""
    (tmp_path / "titrator").mkdir()
    module = tmp_path / "titrator" / "__init__.py"
    module.write_text("made = 1\n")
    info = tmp_path / "titrator-9.9.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: titrator\nVersion: 9.9\n")
    digest = base64.urlsafe_b64encode(hashlib.sha256(module.read_bytes()).digest()).rstrip(b"=").decode()
    (info / "RECORD").write_text(f"titrator/__init__.py,sha256={digest},9\ntitrator-9.9.dist-info/RECORD,,\n")
    return tmp_path


def of_package(folder: Path) -> Finding:
    (made,) = Distribution.discover(name="titrator", path=[str(folder)])
    (found,) = packaged(made)
    return found


def test_a_program_as_packaged_is_in_order(installed: Path) -> None:
    assert of_package(installed).severity is OK
    assert "9.9" in of_package(installed).what


@pytest.mark.parametrize("spoil", [lambda file: file.write_text("made = 2\n"), Path.unlink], ids=["changed", "missing"])
def test_a_program_that_was_changed_is_told(installed: Path, spoil: Callable[[Path], object]) -> None:
    spoil(installed / "titrator" / "__init__.py")
    found = of_package(installed)
    assert found.severity is FAULT
    assert "titrator/__init__.py" in found.what


@pytest.fixture
def local(place: Path) -> Path:
    folder = place / "protocols"
    folder.mkdir()
    return folder


def test_a_local_protocol_that_is_refused_is_told(place: Path, local: Path) -> None:
    write_local(local, "ours", local_protocol("ours", hold='"<-1"'))
    assert "ours" in only(findings(place), "protocols", FAULT).what


def test_a_local_protocol_whose_example_fails_is_told(place: Path, local: Path) -> None:
    shipped = (Path(doctor.SHIPPED) / "us-itp-adult.examples.toml").read_text(encoding="utf-8")
    write_local(local, "ours", examples=shipped.replace("hold", "maintain"))
    assert "example" in only(findings(place), "protocols", FAULT).what


def test_a_local_protocol_without_examples_is_told(place: Path, local: Path) -> None:
    write_local(local, "ours")
    assert "ours" in only(findings(place), "protocols", WARNING).what


def test_a_local_protocol_with_the_id_of_a_shipped_one_is_told(place: Path, local: Path) -> None:
    write_local(local, "us-itp-adult", SOUND)
    assert "ignored" in only(findings(place), "protocols", WARNING).what


def test_a_shipped_protocol_that_was_changed_is_told(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(doctor.SHIPPED, tmp_path / "shipped", ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    file = folder / "us-itp-paediatric.toml"
    file.write_text(file.read_text().replace('hold = ">400"', 'hold = ">500"'))
    assert file.read_bytes() != (doctor.SHIPPED / file.name).read_bytes()
    monkeypatch.setattr("titrator.protocols.SHIPPED", folder)
    assert "self-test fails" in only(findings(place), "protocols", FAULT).what


def test_a_course_of_a_protocol_that_is_gone_is_told(place: Path) -> None:
    add(place, sample(CourseVersion, patient_id="p", id=1, version=1, current=True, protocol="gone", status="paused"))
    assert "gone" in only(findings(place), "protocols-in-use", FAULT).what


def test_of_a_course_that_has_ended_no_protocol_is_needed(place: Path) -> None:
    ended = {"protocol": "gone", "status": "discontinued"}
    add(place, sample(CourseVersion, patient_id="p", id=1, version=1, current=True, **ended))
    assert amiss(findings(place)) == []


def test_a_protocol_that_is_not_what_decisions_rest_on_is_told(place: Path) -> None:
    kept = {"protocol": "us-itp-adult", "text": "", "kept_at": instant(NOW)}
    add(place, sample(ProtocolEdition, **{"sha256": "0" * 64} | kept))
    assert "us-itp-adult" in only(findings(place), "protocols-in-use", WARNING).what
    current = doctor.Catalogue().get("us-itp-adult").sha256
    add(place, sample(ProtocolEdition, sha256=current, **kept | {"kept_at": instant(LATER)}))
    assert ("protocols-in-use", WARNING) not in amiss(findings(place))


# Files


@pytest.mark.parametrize(
    ("name", "mode", "severity"),
    [
        ("audit.key", 0o604, FAULT),
        ("audit.key", 0o640, FAULT),
        ("titrator.db", 0o644, FAULT),
        ("config.toml", 0o644, WARNING),
        ("config.toml", 0o666, FAULT),
    ],
)
def test_files_that_others_can_read_are_told_where_the_folder_lets_them(
    place: Path, name: str, mode: int, severity: Severity
) -> None:
    config(place, "workers = 2")
    (place / name).chmod(mode)
    assert amiss(findings(place)) == [], "nobody gets past the folder"
    place.chmod(0o711)
    assert ("permissions", severity) in amiss(findings(place))


@pytest.mark.parametrize(("mode", "severity"), [(0o755, WARNING), (0o770, FAULT), (0o702, FAULT)])
def test_a_folder_for_others_is_told(place: Path, mode: int, severity: Severity) -> None:
    place.chmod(mode)
    only(findings(place), "permissions", severity)


def test_the_password_of_a_database_in_a_file_that_others_read_is_a_fault(place: Path) -> None:
    config(place, 'database = "postgresql://t:secret@db.example/t"')
    (place / "config.toml").chmod(0o644)
    place.chmod(0o711)
    chosen = doctor.load_settings({"TITRATOR_INSTANCE": str(place)})
    assert [one.severity for one in doctor.permissions(chosen)] == [WARNING, FAULT]
    assert not any("secret" in one.what + one.todo for one in findings(place))


as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to others")


@as_root
def test_a_file_of_another_user_is_told(place: Path) -> None:
    os.chown(place / "titrator.db", 65534, -1)
    assert "titrator.db" in only(findings(place), "permissions", FAULT).what


@as_root
def test_who_is_not_the_user_of_the_service_is_told(place: Path) -> None:
    for path in (place, *place.rglob("*")):
        os.chown(path, 65534, -1)
    assert "sudo -u" in only(findings(place), "permissions", WARNING).todo


def test_an_installation_that_is_not_there_is_told_and_not_made(tmp_path: Path) -> None:
    found = findings(tmp_path / "none")
    assert amiss(found) == [("permissions", FAULT), ("database", FAULT)]
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("free", "size", "severity"),
    [
        (LEAST_FREE - 1, 0, FAULT),
        (LEAST_FREE, 0, WARNING),
        (ENOUGH_FREE - 1, 0, WARNING),
        (ENOUGH_FREE, 0, OK),
        (ENOUGH_FREE, ENOUGH_FREE // 2, OK),
        (ENOUGH_FREE, ENOUGH_FREE // 2 + 1, WARNING),
    ],
)
def test_how_much_room_is_enough(free: int, size: int, severity: Severity) -> None:
    (one,) = space(free, size, Path("/x"))
    assert one.severity is severity


@as_root
def test_a_full_disk_is_told(place: Path, tmp_path: Path) -> None:
    """A small file system in memory, with the installation in it."""
    small = tmp_path / "small"
    small.mkdir()
    if os.system(f"mount -t tmpfs -o size=20m,mode=0700 tmpfs {small} 2>/dev/null"):
        pytest.skip("no file system can be mounted here")
    try:
        there = shutil.copytree(place, small / "instance")
        (one,) = [one for one in findings(there) if one.check == "disk-space"]
        assert one.severity is FAULT
        (disk,) = [one for one in findings(there) if one.check == "local-disk"]
        assert "tmpfs" in disk.what
        assert os.system(f"mount -o remount,ro {small}") == 0
        assert ("writable", FAULT) in amiss(findings(there))
    finally:
        os.system(f"umount {small}")


MOUNTS = """\
22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw
30 22 0:40 / /srv rw,relatime shared:1 - nfs4 server:/x rw
31 30 8:2 / /srv/with\\040space rw - xfs /dev/sdb rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/var/t.db", "ext4"), ("/srv/t.db", "nfs4"), ("/srv/with space/t.db", "xfs"), ("/srvother/t.db", "ext4")],
)
def test_the_kind_of_file_system_is_that_of_the_nearest_mount(path: str, kind: str) -> None:
    assert file_system(Path(path), MOUNTS) == kind


def test_a_database_on_a_network_share_is_told(place: Path) -> None:
    mounts = f"22 1 0:40 / {place} rw - cifs //server/x rw\n"
    found = list(doctor.of_file(place / "titrator.db", mounts))
    assert ("local-disk", FAULT) in amiss(found)


def test_a_database_out_of_wal_mode_is_told(place: Path) -> None:
    with closing(sqlite3.connect(place / "titrator.db")) as connection:
        connection.execute("pragma journal_mode = delete")
    only(findings(place), "wal", WARNING)


def test_a_log_that_is_not_taken_back_is_told(place: Path) -> None:
    log = place / "titrator.db-wal"
    log.touch(0o600)
    os.truncate(log, doctor.LONGEST_LOG + MEGABYTE)
    found = list(doctor.of_file(place / "titrator.db", ""))
    assert ("wal", WARNING) in amiss(found)


# The database


def test_another_programs_database_is_told(place: Path) -> None:
    with closing(sqlite3.connect(place / "titrator.db")) as connection:
        connection.execute("pragma application_id = 1")
    assert "not a database of this program" in only(findings(place), "database", FAULT).what


def test_no_database_at_all_is_told(place: Path) -> None:
    (place / "titrator.db").write_bytes(b"nonsense" * 1000)
    assert ("database", FAULT) in amiss(findings(place))


def test_migrations_that_wait_are_told_and_not_applied(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    more = Migration("9999-more", ("create table more (a text) strict",))
    monkeypatch.setattr(sqlite, "MIGRATIONS", (*MIGRATIONS, more))
    sqlite._migrations.cache_clear()
    try:
        assert "9999-more" in only(findings(place), "migrations", WARNING).what
    finally:
        monkeypatch.undo()
        sqlite._migrations.cache_clear()
    with closing(sqlite3.connect(place / "titrator.db")) as connection:
        assert connection.execute("select count(*) from sqlite_master where name = 'more'").fetchone() == (0,)


def test_a_newer_database_is_told(place: Path) -> None:
    with closing(sqlite3.connect(place / "titrator.db")) as connection, connection:
        connection.execute("insert into _sqlite_migrations values (99, 'titrator', '9999-later', 'x')")
    assert "newer version" in only(findings(place), "database", FAULT).what


def test_a_contradiction_in_the_database_is_told_unless_it_must_be_quick(place: Path) -> None:
    with closing(sqlite3.connect(place / "titrator.db")) as connection, connection:
        connection.execute("update patients set revision = 7")
    only(findings(place), "integrity", FAULT)
    quick = list(examine({"TITRATOR_INSTANCE": str(place)}, lambda: NOW, thorough=False))
    assert amiss(quick) == []


def test_what_is_recorded_while_it_reads_all_is_not_in_the_future(place: Path) -> None:
    """A long look is no reason to call the clock wrong."""
    moments = iter(NOW + timedelta(minutes=number) for number in range(100))
    add(place, Job(name="settling", version=1, at=instant(NOW + timedelta(minutes=3))))
    found = list(examine({"TITRATOR_INSTANCE": str(place)}, lambda: next(moments)))
    assert ("recorded", FAULT) not in amiss(found)


def test_a_store_that_is_looked_at_refuses_to_write(place: Path) -> None:
    store = look_at_store(str(place / "titrator.db"))
    with pytest.raises(RuntimeError, match="looked at only"), store.writing():
        pass
    store.close()


def test_a_store_that_is_not_there_is_not_made_by_looking(tmp_path: Path) -> None:
    with pytest.raises(Unusable, match="there is no database"):
        look_at_store(str(tmp_path / "none" / "t.db"))
    assert list(tmp_path.iterdir()) == []


def test_a_database_of_a_server_is_examined_too(tmp_path: Path) -> None:
    """All that is not of a file; with a clock of its own."""
    tmp_path.chmod(0o700)
    store = PostgresStore(url := new_database())
    now = store.clock()
    with store.writing() as session:
        session.add(Job(name="settling", version=1, at=instant(now + timedelta(hours=1))))
    found = list(examine({"TITRATOR_INSTANCE": str(tmp_path), "TITRATOR_DATABASE": url}, store.clock))
    checks = {one.check: one.severity for one in found}
    assert checks["clock"] is checks["integrity"] is checks["migrations"] is OK
    assert checks["recorded"] is FAULT
    assert checks.keys().isdisjoint({"wal", "writable", "local-disk", "disk-space"})
    elsewhere = list(examine({"TITRATOR_INSTANCE": str(tmp_path), "TITRATOR_DATABASE": url}, lambda: NOW))
    assert ("clock", FAULT) in amiss(elsewhere)


def test_a_server_that_is_not_there_is_told(tmp_path: Path) -> None:
    nowhere = "postgresql://somebody:s3cr3t@127.0.0.1:1/t"
    found = findings(tmp_path, TITRATOR_DATABASE=nowhere)
    assert ("database", FAULT) in amiss(found)
    assert not any("s3cr3t" in one.what + one.todo for one in found)


# What the database tells


class Elsewhere(SqliteStore):
    """A store whose database has a clock of its own, so many seconds ahead of NOW."""

    ahead = 0

    def clock(self) -> datetime:  # type: ignore[override]
        return NOW + timedelta(seconds=self.ahead)


@pytest.mark.parametrize(("ahead", "severity"), [(0, OK), (60, OK), (-60, OK), (61, FAULT), (-3600, FAULT)])
def test_a_database_with_another_time_is_told(place: Path, ahead: int, severity: Severity) -> None:
    store: Store = Elsewhere(place / "titrator.db")
    store.ahead = ahead  # type: ignore[attr-defined]
    (one,) = condition.clock(store, NOW)
    assert one.severity is severity
    store.close()


@pytest.mark.parametrize(("seconds", "severity"), [(60, OK), (61, FAULT)])
def test_what_was_recorded_in_the_future_is_told(place: Path, seconds: int, severity: Severity) -> None:
    """By the trail's last entry, a job's row, and so on: each alone suffices."""
    at = NOW + timedelta(seconds=seconds)
    add(place, Job(name="settling", version=1, at=instant(at)))
    assert amiss(findings(place)) == ([] if severity is OK else [("recorded", severity)])


def test_a_last_entry_of_the_trail_in_the_future_is_told(place: Path) -> None:
    services = make_services(Settings(instance=place))
    with services.store.writing() as session:
        visit = Visit(services=services, session=session, actor=None, now=LATER)
        visit.note("looked", "nothing")
        leave(visit, session, visit.entries)
    services.store.close()
    assert instant(LATER) in only(findings(place), "recorded", FAULT).what


def test_a_job_of_a_day_is_no_instant(place: Path) -> None:
    add(place, Job(name="digest/c", version=1, at="2026-03-10"))
    assert amiss(findings(place)) == []


def test_a_time_zone_that_is_unknown_is_told(place: Path) -> None:
    add(place, sample(Clinic, id="d", name="Elsewhere", time_zone="Mars/Olympus"))
    assert "Mars/Olympus" in only(findings(place), "time-zones", FAULT).what


def test_a_key_that_is_missing_is_told_and_not_made(place: Path) -> None:
    (place / "audit.key").unlink()
    only(findings(place), "audit-key", FAULT)
    assert not (place / "audit.key").exists()


@pytest.mark.parametrize("text", ["00" * 32, "00", "nonsense"])
def test_a_key_that_is_another_or_none_is_told(place: Path, text: str) -> None:
    (place / "audit.key").write_text(text + "\n")
    only(findings(place), "audit-key", FAULT)


def test_a_head_that_was_changed_is_told(place: Path) -> None:
    services = make_services(Settings(instance=place))
    with services.store.writing() as session:
        trail.enter(services.audit_key, session, [sample_entry(f"chain{number}") for number in range(4)])
    services.store.close()
    with closing(sqlite3.connect(place / "titrator.db")) as connection, connection:
        connection.execute("update audit_heads set seq = 9 where chain = 'chain3'")
    assert "chain3" in only(findings(place), "trail-heads", FAULT).what


def sample_entry(chain: str) -> trail.Entry:
    return trail.Entry(chain, instant(NOW), None, None, "looked", "nothing", None, None, "{}")


def test_a_seal_that_was_changed_is_told(place: Path) -> None:
    (file,) = (place / "seals").glob("*.ndjson")
    file.write_text(file.read_text().replace("system", "sistem"))
    assert file.name in only(findings(place), "seals", FAULT).what


def test_seals_and_jobs_that_stopped_are_told(place: Path) -> None:
    found = findings(place, LATER)
    assert amiss(found) == [("reminders", WARNING), ("housekeeping", WARNING), ("seals", WARNING)]


def test_jobs_that_never_ran_are_told(place: Path) -> None:
    with closing(sqlite3.connect(place / "titrator.db")) as connection, connection:
        connection.execute("delete from jobs")
    shutil.rmtree(place / "seals")
    found = findings(place)
    assert amiss(found) == [("reminders", WARNING), ("housekeeping", WARNING), ("seals", WARNING)]
    assert {"never" in one.what or "ever" in one.what for one in found if one.severity is WARNING} == {True}


def test_entries_that_wait_in_the_spool_are_told(place: Path) -> None:
    spool = place / "spool"
    spool.mkdir(exist_ok=True)
    file = spool / "0123.spool"
    file.write_text("[]\n")
    file.chmod(0o600)
    moment = (NOW - timedelta(minutes=4)).timestamp()
    os.utime(file, (moment, moment))
    assert amiss(findings(place)) == []
    moment = (NOW - timedelta(minutes=6)).timestamp()
    os.utime(file, (moment, moment))
    assert "3 bytes" in only(findings(place), "spool", WARNING).what


def channel(**values: Any) -> ChannelRow:
    usual = {
        "id": "ch", "clinic_id": "c", "audience": "pharmacist", "kind": "webhook", "label": "the desk",
        "address": "https://desk.example/hook", "secret": "whsec_x", "active": True, "failures": 0,
        "rests_until": "", "error": None,
    }  # fmt: skip
    return sample(ChannelRow, **usual | values)


@pytest.mark.parametrize(
    ("row", "severity"),
    [
        ({}, OK),
        ({"address": "http://desk.example/hook"}, FAULT),
        ({"kind": "apprise", "address": "mailtos://u:s3cr3t@m.example?tls=no"}, FAULT),
        ({"kind": "apprise", "address": "file:///etc/passwd"}, FAULT),
        ({"address": "nonsense", "active": False}, OK),
        ({"rests_until": instant(LATER), "failures": 3, "error": "it hangs"}, WARNING),
        ({"rests_until": instant(NOW), "failures": 3, "error": "it hangs"}, OK),
    ],
)
def test_channels_that_cannot_do_are_told(place: Path, row: dict[str, Any], severity: Severity) -> None:
    add(place, channel(**row))
    found = findings(place)
    assert amiss(found) == ([] if severity is OK else [("channels", severity)])
    assert not any("s3cr3t" in one.what + one.todo for one in found), "an address is never quoted"


def test_a_channel_of_a_scheme_that_is_accepted_no_more_is_told(place: Path) -> None:
    add(place, channel(kind="apprise", address="mailtos://u:s3cr3t@m.example?to=desk@m.example"))
    assert amiss(findings(place)) == []
    only(findings(place, TITRATOR_CHANNEL_SCHEMES="slack"), "channels", FAULT)


def test_texts_with_faults_are_told(place: Path) -> None:
    (place / "texts").mkdir()
    (place / "texts" / "en.toml").write_text("nonsense")
    assert "en.toml" in only(findings(place), "texts", FAULT).what


def test_messages_that_are_late_or_given_up_are_told(place: Path) -> None:
    ago = instant(NOW - timedelta(hours=1))
    add(place, channel())
    row = {"about": "p", "clinic_id": "c", "channel_id": "ch", "send_at": ago, "made_at": ago}
    add(
        place,
        sample(Delivery, **row, step=1, id="m1", status="waiting"),
        sample(Delivery, **row, step=2, id="m2", status="dead"),
    )
    found = findings(place)
    assert amiss(found) == [("reminders", WARNING)] * 2
    assert ["late" in one.what or "given up" in one.what for one in found if one.severity is WARNING] == [True, True]


def test_a_clinic_in_which_nobody_is_told_is_told(place: Path) -> None:
    add(place, sample(Reminder, patient_id="p", clinic_id="c", status="open"))
    assert "nobody" in only(findings(place), "reminders", WARNING).what


def test_no_administrator_is_told(place: Path) -> None:
    add(place, sample(Account, id="a", username="admin", role="admin", active=False, password_hash="x"))
    assert "titrator init" in only(findings(place), "accounts", WARNING).todo


def test_the_link_of_the_first_administrator_is_told_while_it_waits(place: Path) -> None:
    """Right after `titrator init` all is as it must be, and nobody is to be sent for another link."""
    add(place, sample(Account, id="a", username="admin", role="admin", active=True, password_hash=None))
    ended = sample(Token, account_id="a", kind="activation", expires_at=instant(NOW), revoked_at=None)
    later = instant(LATER + timedelta(days=9))
    add(place, ended, replace(ended, sha256="1" * 64, id="u", expires_at=later, revoked_at=instant(NOW)))
    assert only(findings(place), "accounts", WARNING).what == "No administrator can log in."
    add(place, replace(ended, sha256="2" * 64, id="v", expires_at=instant(LATER)))
    found = only(findings(place), "accounts", WARNING)
    assert (
        found.what == f"No administrator can log in yet: the link of admin waits to be opened, until {instant(LATER)}."
    )
    assert found.todo.startswith("Open it while the service runs")


def test_a_table_that_is_gone_is_told_and_the_rest_still_looked_at(place: Path) -> None:
    with closing(sqlite3.connect(place / "titrator.db")) as connection, connection:
        connection.execute("drop table jobs")
    found = list(examine({"TITRATOR_INSTANCE": str(place)}, lambda: NOW, thorough=False))
    assert ("database", FAULT) in amiss(found)
    assert "proxy" in {one.check for one in found}
