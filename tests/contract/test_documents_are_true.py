"""The documents are under test: the codes, commands, settings, protocols and examples that they name exist."""

from __future__ import annotations

import json
import re
from pathlib import Path

import click
import pytest

from titrator.cli import main
from titrator.protocols import Catalogue
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


def commands(group: click.Group, prefix: str) -> list[str]:
    return [
        name
        for key, command in group.commands.items()
        for name in (commands(command, f"{prefix} {key}") if isinstance(command, click.Group) else [f"{prefix} {key}"])
    ]


@pytest.mark.parametrize("command", commands(main, "titrator"))
def test_every_command_is_described(command: str) -> None:
    assert f"`{command}" in text("cli.md")


def test_every_option_is_described() -> None:
    options = {
        option
        for command in main.commands.values()
        for parameter in command.params
        for option in parameter.opts
        if option.startswith("--")
    }
    assert options - set(re.findall(r"--[a-z]+", text("cli.md"))) == set()


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
