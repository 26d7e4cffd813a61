"""What `deploy/` gives a hospital's IT: read as the programs that use it would, and held against the program itself."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import click
import pytest
import yaml

from titrator.cli import main
from titrator.settings import NAMES, load_settings
from titrator.titration.errors import InvalidInput

ROOT: Final = Path(__file__).parents[2]
DEPLOY: Final = ROOT / "deploy"
UNITS: Final = sorted((DEPLOY / "systemd").glob("*.service"))
TIMERS: Final = sorted((DEPLOY / "systemd").glob("*.timer"))
VARIABLES: Final = {f"TITRATOR_{name.upper()}" for name in NAMES} | {"TITRATOR_INSTANCE"}
COMPOSE: Final = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
#: The services of the composition that are this program.
OURS: Final = {name: one for name, one in COMPOSE["services"].items() if one["image"].startswith("titrator:")}
DOCKERFILE: Final = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")


def parsed(words: list[str]) -> click.Context:
    """A command line of `titrator`, parsed and not carried out; fails where it is wrong."""
    context = click.Context(main, info_name="titrator")
    group: click.Command = main
    rest = list(words)
    while isinstance(group, click.Group):
        name = rest.pop(0)
        found = group.get_command(context, name)
        assert found is not None, name
        group = found
    return group.make_context(group.name, rest, parent=context)


# Units of systemd


def exec_lines(unit: Path) -> list[list[str]]:
    """What a unit starts, as words; what a shell is given is looked at in its stead."""
    found = []
    for line in re.findall(r"^ExecStart=(.*)$", unit.read_text(encoding="utf-8"), re.MULTILINE):
        words = shlex.split(line)
        if words[:2] == ["/bin/sh", "-c"]:
            words = shlex.split(re.sub(r"\$\$\([^)]*\)", "DAY", words[2].removeprefix("exec ")))
        found.append(words)
    return found


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_starts_a_command_that_there_is(unit: Path) -> None:
    assert exec_lines(unit)
    for program, *words in exec_lines(unit):
        assert program == "/opt/titrator/bin/titrator"
        parsed(words)


needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here")


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units, with a program that is there in place of the installed one."""
    folder = shutil.copytree(DEPLOY / "systemd", tmp_path / "units")
    for unit in folder.glob("*.service"):
        unit.write_text(unit.read_text().replace("/opt/titrator/bin/titrator", "/bin/true"))
    return folder


def analyze(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", *words],
        env={"SYSTEMD_UNIT_PATH": f"{folder}:", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )


@needs_systemd
def test_systemd_finds_nothing_wrong_with_the_units(units: Path) -> None:
    ran = analyze(units, "verify", *(str(file) for file in sorted(units.iterdir()) if file.is_file()))
    assert (ran.returncode, ran.stderr) == (0, "")


@needs_systemd
def test_systemd_would_find_what_is_wrong(units: Path) -> None:
    file = units / "titrator-web.service"
    file.write_text(file.read_text().replace("Type=notify", "Type=nonsense"))
    assert "nonsense" in analyze(units, "verify", str(file)).stderr


def test_no_unit_takes_all_memory_and_one_process_that_does_is_not_the_end_of_all() -> None:
    """A file that is sent in may need more than there is; the database beside it must not be ended for that."""
    common = (DEPLOY / "systemd" / "titrator-.service.d" / "hardening.conf").read_text(encoding="utf-8").splitlines()
    assert {"MemoryMax=2G", "MemorySwapMax=0", "TasksMax=512", "OOMPolicy=continue"} <= set(common)
    for unit in UNITS:
        assert "OOMPolicy" not in unit.read_text(encoding="utf-8")


@needs_systemd
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_each_unit_is_shut_off_by_what_all_have_in_common(units: Path, unit: Path) -> None:
    """At most 1.4 of 10 by systemd's own measure of exposure."""
    ran = analyze(units, "security", "--offline=yes", "--threshold=14", unit.name)
    assert ran.returncode == 0, ran.stdout


@pytest.mark.parametrize("timer", TIMERS, ids=lambda timer: timer.name)
def test_a_timer_has_its_unit_and_makes_up_for_a_night_that_was_missed(timer: Path) -> None:
    assert timer.with_suffix(".service") in UNITS
    assert "Persistent=yes" in timer.read_text(encoding="utf-8")


def test_each_unit_is_named_in_the_guide() -> None:
    guide = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    for file in [*UNITS, *TIMERS]:
        assert f"`{file.name}`" in guide


# The composition


@pytest.mark.parametrize("name", OURS)
def test_a_service_of_ours_is_read_only_and_without_rights(name: str) -> None:
    service = OURS[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["tmpfs"]
    assert "user" not in service, "the image says who"
    assert not service.get("privileged")
    assert service["mem_limit"] == service["memswap_limit"], "it swaps nothing"
    assert service["pids_limit"] <= 512


@pytest.mark.parametrize("name", OURS)
def test_a_service_of_ours_is_a_command_with_settings_that_there_are(name: str) -> None:
    service = OURS[name]
    parsed(service["command"])
    assert set(service["environment"]) <= VARIABLES
    chosen = {key: filled(value) for key, value in service["environment"].items()}
    try:
        load_settings({**chosen, "TITRATOR_INSTANCE": "/nowhere"})
    except InvalidInput as error:
        raise AssertionError(error.faults) from error


def filled(value: str) -> str:
    """A value with its variables as compose would fill them in."""
    return re.sub(r"\$\{(\w+)[^}]*\}", lambda found: f"some-{found[1].lower().replace('_', '-')}", value)


def test_who_waits_for_another_waits_until_it_is_well() -> None:
    for name, service in COMPOSE["services"].items():
        for other, how in service.get("depends_on", {}).items():
            assert other in COMPOSE["services"], name
            assert how == {"condition": "service_healthy"}
            assert "healthcheck" in COMPOSE["services"][other], "not every format of images has one"


def test_the_service_is_asked_for_its_health_as_the_image_says() -> None:
    asked = COMPOSE["services"]["web"]["healthcheck"]["test"]
    assert asked == ["CMD", *yaml.safe_load(steps("HEALTHCHECK")[0].partition("CMD ")[2])]
    port = COMPOSE["services"]["web"]["command"][-1]
    assert f":{port}/readyz" in asked[-1]
    assert steps("EXPOSE") == [port]
    assert f"web:{port}" in (DEPLOY / "Caddyfile").read_text(encoding="utf-8")


def test_all_volumes_and_networks_are_made_and_no_secret_is_in_the_file() -> None:
    named: dict[str, set[str]] = {"volumes": set(), "networks": set()}
    for service in COMPOSE["services"].values():
        named["volumes"] |= {volume.split(":")[0] for volume in service["volumes"] if volume[0] != "."}
        named["networks"] |= set(service.get("networks", ()))
        for key, value in service.get("environment", {}).items():
            assert "PASSWORD" not in key or value.startswith("${"), key
    for kind, names in named.items():
        assert names == set(COMPOSE[kind]), kind


def test_the_database_is_reached_from_within_only() -> None:
    database: dict[str, Any] = COMPOSE["services"]["db"]
    assert "ports" not in database
    assert COMPOSE["networks"]["inside"] == {"internal": True}
    assert database["networks"] == ["inside"]


# The image


def steps(of: str) -> list[str]:
    """The instructions of one kind, in order."""
    return re.findall(rf"^{of} (.*)$", DOCKERFILE, re.MULTILINE)


def test_what_the_image_copies_is_there_and_goes_to_the_builder() -> None:
    sent = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in sent, "nothing goes unless it is named"
    for copy in steps("COPY"):
        if copy.startswith("--from"):
            continue
        *sources, _ = copy.split()
        for source in sources:
            assert (ROOT / source).exists(), source
            assert f"!{source}" in sent or f"!{Path(source).parent}/*.txt" in sent, source


def test_the_image_runs_as_a_user_of_its_own_and_installs_what_is_locked() -> None:
    assert steps("USER") == ["10001:10001"]
    user, group, made = (
        next(step.split() for step in steps("RUN") if name in step) for name in ("useradd", "groupadd", "install -d")
    )
    for number in (user[user.index("--uid") + 1], user[user.index("--gid") + 1], group[group.index("--gid") + 1]):
        assert number == "10001", "who runs it has a name, and so has its group"
    assert made[made.index("-o") + 1] == made[made.index("-g") + 1] == "10001"
    assert made[-1] == steps("WORKDIR")[0] == steps("VOLUME")[0] == user[user.index("--home-dir") + 1]
    (install,) = [step for step in steps("RUN") if "runtime.txt" in step]
    assert {"--require-hashes", "--no-deps"} <= set(install.split())
    assert DOCKERFILE.count("\nFROM ") == 2, "what builds is not in what runs"
    last = DOCKERFILE.rpartition("\nFROM ")[2]
    assert "pip" not in last


def test_the_command_of_the_image_is_one() -> None:
    entry, command = (yaml.safe_load(steps(of)[0]) for of in ("ENTRYPOINT", "CMD"))
    assert entry == ["titrator"]
    parsed(command)
    assert yaml.safe_load(steps("HEALTHCHECK")[0].partition("CMD ")[2])[0] == "python3"
