"""Settings: defaults, the file, the environment that goes before it, and every fault at once."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest

from titrator.notify.schemes import SCHEMES
from titrator.settings import BOUNDS, NAMES, InvalidSettings, Settings, load_settings

#: For each setting a value that it takes, other than its default: as the file has it, as the environment has it.
TAKEN: dict[str, tuple[object, str]] = {
    "database": ("/srv/other.db", "/srv/other.db"),
    "audit_key_file": ("/srv/other.key", "/srv/other.key"),
    "base_url": ("https://titrator.example", "https://titrator.example"),
    "channel_schemes": ("mailtos ntfys", "mailtos ntfys"),
    "log_level": ("warning", "warning"),
    **{name: (most - 1, str(most - 1)) for name, (_, most) in BOUNDS.items()},
}
#: What no setting takes, and why.
REFUSED = [
    ("log_level", "loud", "must be one of debug, info, warning, error"),
    ("base_url", "titrator.example", "must begin with http:// or https://"),
    (
        "channel_schemes",
        "mailtos json file",
        "there is no file, json; known are mailto, mailtos, ntfy, ntfys, slack, sns, twilio, vonage, workflows",
    ),
    ("workers", "two", "must be a whole number from 1 to 64"),
    ("workers", "1.5", "must be a whole number from 1 to 64"),
    ("workers", "-1", "must be a whole number from 1 to 64"),
    ("workers", "٣", "must be a whole number from 1 to 64"),
    ("workers", "1" * 5000, "must be a whole number from 1 to 64"),
]


def write(folder: Path, text: str) -> dict[str, str]:
    (folder / "config.toml").write_text(text, encoding="utf-8")
    return {"TITRATOR_INSTANCE": str(folder)}


def faults(environment: dict[str, str]) -> list[tuple[str, str]]:
    with pytest.raises(InvalidSettings) as caught:
        load_settings(environment)
    return [(fault.path, fault.message) for fault in caught.value.faults]


def toml(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)


def test_without_anything_the_defaults_stand(tmp_path: Path) -> None:
    assert load_settings({"TITRATOR_INSTANCE": str(tmp_path)}) == Settings(instance=tmp_path)


def test_the_instance_is_a_folder_of_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_settings({}).instance == tmp_path / "instance"
    assert load_settings({"TITRATOR_INSTANCE": ""}).instance == tmp_path / "instance"
    assert load_settings({"TITRATOR_INSTANCE": "here"}).instance == tmp_path / "here"


def test_every_setting_is_tried() -> None:
    assert set(TAKEN) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_setting_is_taken_from_the_file_and_the_environment_goes_first(tmp_path: Path, name: str) -> None:
    in_file, said = TAKEN[name]
    default = getattr(Settings(instance=tmp_path), name)
    assert in_file != default
    assert asdict(load_settings({"TITRATOR_INSTANCE": str(tmp_path), f"TITRATOR_{name.upper()}": said})) == asdict(
        Settings(instance=tmp_path, **{name: in_file})  # type: ignore[arg-type]
    )
    environment = write(tmp_path, f"{name} = {toml(in_file)}\n")
    assert getattr(load_settings(environment), name) == in_file
    assert getattr(load_settings(environment | {f"TITRATOR_{name.upper()}": ""}), name) == in_file
    if default != "":
        assert getattr(load_settings(environment | {f"TITRATOR_{name.upper()}": str(default)}), name) == default


@pytest.mark.parametrize(("name", "bounds"), BOUNDS.items(), ids=BOUNDS)
def test_a_number_is_taken_at_its_bounds_and_refused_beyond(tmp_path: Path, name: str, bounds: tuple[int, int]) -> None:
    least, most = bounds
    said = f"must be a whole number from {least} to {most}"
    for value in (least, most):
        assert getattr(load_settings(write(tmp_path, f"{name} = {value}\n")), name) == value
    for value in (least - 1, most + 1):
        assert faults(write(tmp_path, f"{name} = {value}\n")) == [(f"{tmp_path / 'config.toml'}: {name}", said)]
        assert faults({"TITRATOR_INSTANCE": str(tmp_path / "none"), f"TITRATOR_{name.upper()}": str(value)}) == [
            (f"TITRATOR_{name.upper()}", said)
        ]


@pytest.mark.parametrize(("name", "value", "why"), REFUSED)
def test_what_is_refused_says_why(tmp_path: Path, name: str, value: str, why: str) -> None:
    variable = f"TITRATOR_{name.upper()}"
    assert faults({"TITRATOR_INSTANCE": str(tmp_path), variable: value}) == [(variable, why)]


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    environment = write(tmp_path, 'wokers = 3\nthreads = true\nlog_level = 3\nbase_url = ["x"]\n')
    found = faults(environment | {"TITRATOR_IDLE_MINUTES": "0"})
    assert [path.rpartition(": ")[2] for path, _ in found] == [
        "wokers",
        "threads",
        "log_level",
        "base_url",
        "TITRATOR_IDLE_MINUTES",
    ]
    assert found[0][1].startswith("unknown setting; there are database, ")


@pytest.mark.parametrize("text", ["workers = \n", "workers = 2\nworkers = 3\n", "\x00"])
def test_a_file_that_is_no_toml_is_a_fault(tmp_path: Path, text: str) -> None:
    assert [(path, message.split(":")[0]) for path, message in faults(write(tmp_path, text))] == [
        (str(tmp_path / "config.toml"), "cannot be read")
    ]


def test_what_lies_in_the_instance_folder_unless_it_is_put_elsewhere(tmp_path: Path) -> None:
    plain = Settings(instance=tmp_path)
    assert (plain.database_url, plain.key_file) == (str(tmp_path / "titrator.db"), tmp_path / "audit.key")
    assert (plain.local_protocols, plain.seals) == (tmp_path / "protocols", tmp_path / "seals")
    moved = Settings(instance=tmp_path, database="sqlite:////srv/t.db", audit_key_file="/etc/t.key")
    assert (moved.database_url, moved.key_file) == ("sqlite:////srv/t.db", Path("/etc/t.key"))


def test_an_installation_may_have_channels_of_fewer_schemes(tmp_path: Path) -> None:
    assert Settings(instance=tmp_path).schemes == SCHEMES
    assert load_settings(write(tmp_path, 'channel_schemes = "mailtos ntfys"\n')).schemes == {"mailtos", "ntfys"}
    assert Settings(instance=tmp_path).texts == tmp_path / "texts"


def test_an_address_has_no_slash_at_its_end(tmp_path: Path) -> None:
    assert load_settings(write(tmp_path, 'base_url = "https://a.example/"\n')).base_url == "https://a.example"
