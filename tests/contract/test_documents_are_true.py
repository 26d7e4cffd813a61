"""The documents are under test: the codes, commands, settings, protocols and examples that they name exist."""

from __future__ import annotations

import json
import re
from pathlib import Path

import click
import pytest

from titrator.cli import main
from titrator.protocols import Catalogue
from titrator.settings import BOUNDS, LOG_LEVELS, NAMES, Settings
from titrator.store.records import RECORDS
from titrator.titration.answer import to_text
from titrator.titration.codes import Action, Alert, Reason
from titrator.workflow.propose import propose

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
MARKDOWN = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])


def text(name: str) -> str:
    return (DOCS / name).read_text()


def test_every_code_is_described_and_none_else() -> None:
    named = set(re.findall(r"`([A-Za-z]+(?:-[A-Z]+)*)`", text("codes.md")))
    assert named == {*map(str, Action), *map(str, Reason), *map(str, Alert)}


def commands(group: click.Group, prefix: str) -> dict[str, click.Command]:
    context = click.Context(group)
    found: dict[str, click.Command] = {}
    for key in group.list_commands(context):
        command = group.get_command(context, key)
        assert command is not None
        name = f"{prefix} {key}"
        found |= commands(command, name) if isinstance(command, click.Group) else {name: command}
    return found


COMMANDS = commands(main, "titrator")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_described_with_its_options(command: str) -> None:
    sections = [
        section for section in re.split(r"^## ", text("cli.md"), flags=re.MULTILINE) if f"`{command}" in section
    ]
    assert sections
    options = {name for parameter in COMMANDS[command].params for name in parameter.opts if name.startswith("--")}
    assert options - set(re.findall(r"--[a-z-]+", sections[0])) == set()


def test_no_command_is_described_that_is_none() -> None:
    groups = {name.rpartition(" ")[0] for name in COMMANDS}
    named = set(re.findall(r"`(titrator(?: [a-z]+(?:-[a-z]+)*)+)", text("cli.md") + (ROOT / "README.md").read_text()))
    assert named - set(COMMANDS) - groups == set()


def settings_table() -> dict[str, list[str]]:
    """The cells of each setting's row: environment name, default, bounds, meaning."""
    rows = (re.split(r"\s*\|\s*", line.strip("| ")) for line in text("settings.md").splitlines() if line[:3] == "| `")
    return {cells[0].strip("`"): cells[1:] for cells in rows}


def test_every_setting_is_described_as_it_is() -> None:
    table = settings_table()
    assert set(table) == set(NAMES)
    plain = Settings(instance=Path("instance"))
    derived = {"database": "`instance/titrator.db`", "audit_key_file": "`instance/audit.key`"}
    for name, (variable, default, bounds, meaning) in table.items():
        assert variable == f"`TITRATOR_{name.upper()}`", name
        assert default == derived.get(name, f"`{getattr(plain, name)}`"), name
        if name in BOUNDS:
            least, most = BOUNDS[name]
            assert bounds == f"{least} to {most}", name
        if name == "log_level":
            assert re.findall(r"`([a-z]+)`", bounds) == list(LOG_LEVELS)
        assert meaning, name
    assert (str(plain.database_url), str(plain.key_file)) == ("instance/titrator.db", "instance/audit.key")


@pytest.mark.parametrize("page", MARKDOWN, ids=lambda page: page.name)
def test_no_page_names_a_setting_that_is_none(page: Path) -> None:
    known = {f"TITRATOR_{name.upper()}" for name in NAMES} | {"TITRATOR_INSTANCE"}
    known |= {"TITRATOR_TEST_POSTGRES", "TITRATOR_TEST_STORE"}  # of the tests
    assert set(re.findall(r"TITRATOR_[A-Z_]+", page.read_text())) - known == set()


@pytest.mark.parametrize("ident", Catalogue().ids())
def test_every_protocol_is_described(ident: str) -> None:
    assert f"`{ident}`" in text("protocols.md")
    assert f"`{ident}`" in text("titration-rules.md")


@pytest.mark.parametrize("page", MARKDOWN, ids=lambda page: page.name)
def test_links_lead_to_files_and_anchors(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        if anchor:
            assert anchor in anchors(linked.read_text()), target


def anchors(markdown: str) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", markdown, re.MULTILINE)
    slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return slugs | set(re.findall(r'(?:id|name)="([^"]+)"', markdown))


def test_the_answer_shown_is_the_answer_given() -> None:
    """The course of docs/course-document.md gets the answer of docs/answer-document.md."""
    course, shown = (first_json(name) for name in ("course-document.md", "answer-document.md"))
    assert json.loads(to_text(propose(Catalogue(), course.encode()))) == json.loads(shown)


def first_json(name: str) -> str:
    return re.findall(r"```json\n(.*?)```", text(name), re.DOTALL)[0]


def test_citations_point_into_the_rules() -> None:
    sections = text("titration-rules.md")
    for step in range(1, 14):
        assert re.search(rf"step-{step}\b|Step {step}\b", sections), step


def test_no_page_speaks_of_places_outside_the_project() -> None:
    for page in MARKDOWN:
        assert not re.search(r"/home/|/tmp/|\.\./shared", page.read_text()), page


def test_every_table_has_its_place_over_several_servers() -> None:
    section = re.split(r"^## ", text("store.md"), flags=re.MULTILINE)
    told = next(part for part in section if part.startswith("Over several servers"))
    rows = [line.split("|")[1] for line in told.splitlines() if line.startswith("| `")]
    named = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    assert sorted(named) == sorted(record.TABLE for record in RECORDS)
