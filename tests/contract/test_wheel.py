"""What is installed elsewhere is whole: the wheel has all that the packages of this folder read."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: What an installation reads besides Python files, as patterns of this folder.
READ = (
    "schemas/py.typed",
    "titrator/py.typed",
    "titrator/api/static/*",
    "titrator/api/templates/*",
    "titrator/notify/texts/*.toml",
    "titrator/protocols/*.toml",
    "titrator/titration/README.md",
    "titrator/web/templates/*",
)


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The files of a wheel, built of what git would take of this folder, so that nothing is left of an older build."""
    folder = tmp_path_factory.mktemp("wheel")
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("not in a git repository")
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            copy = folder / "source" / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder / "dist")]
    built = subprocess.run([*command, str(folder / "source")], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    (wheel,) = (folder / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as opened:
        return set(opened.namelist())


@pytest.mark.parametrize("pattern", READ)
def test_what_is_read_is_in_the_wheel(names: set[str], pattern: str) -> None:
    there = {str(file.relative_to(ROOT)) for file in ROOT.glob(pattern)}
    assert there
    assert there <= names


def test_every_module_is_in_the_wheel(names: set[str]) -> None:
    modules = {str(file.relative_to(ROOT)) for room in ("schemas", "titrator") for file in (ROOT / room).rglob("*.py")}
    assert modules <= names


def test_no_file_beside_the_modules_is_forgotten(names: set[str]) -> None:
    """Whatever lies in the packages is taken: a new template or style needs its line in setup.cfg."""
    files = {
        str(file.relative_to(ROOT))
        for room in ("schemas", "titrator")
        for file in (ROOT / room).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert files <= names


def test_nothing_else_is_in_the_wheel(names: set[str]) -> None:
    """Not the tests, not an instance, not the entry for a server of this folder."""
    assert {name.split("/")[0].split("-")[0] for name in names} == {"schemas", "titrator"}
