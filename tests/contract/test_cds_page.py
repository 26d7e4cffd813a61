"""The page on CDS Hooks is true: its examples are run, its tables are those of the code."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any, get_args

import pytest

from schemas import cds_hooks, sign_off
from tests.contract.receiver import receiving
from tests.contract.served import serving
from tests.contract.test_fhir_page import rehearse
from tests.contract.test_guides import DOCS, Shell, compare, table, ticked, told_fields
from titrator.fhir import cards, fetching, hooks
from titrator.fhir.prefetch import TEMPLATES
from titrator.security import assertions
from titrator.security.permissions import Permission
from titrator.settings import Settings, load_settings

PAGE = (DOCS / "cds-hooks.md").read_text(encoding="utf-8")
FLOWING = " ".join(PAGE.split())
TOLD = list(told_fields(PAGE))


def test_the_examples_are_what_comes_back(tmp_path: Path) -> None:
    with receiving() as receiver, serving(tmp_path) as served:
        compare(PAGE, Shell(served, receiver))


def test_the_examples_work_with_a_demonstration(tmp_path: Path) -> None:
    rehearse(PAGE, tmp_path)


# The services


def test_every_hook_is_told_and_none_else() -> None:
    assert [ticked(hook)[0] for hook, *_ in table(PAGE, "Hook")] == list(cds_hooks.HOOKS) == list(cds_hooks.REQUESTS)
    (named,) = set(re.findall(r"as `(romiplostim-[a-z-]+)`;", FLOWING))
    assert named == hooks.Service("us-itp-adult", "patient-view").id


def test_every_template_is_told_and_none_else() -> None:
    told = {ticked(key)[0]: ticked(template)[0].replace("\\|", "|") for key, template in table(PAGE, "Key | Template")}
    assert told == dict(TEMPLATES)


def test_the_limits_are_those_of_the_code() -> None:
    assert f"in {fetching.MOST_SECONDS:g} seconds, in {fetching.MOST_BYTES:,} bytes" in FLOWING
    assert f"each search in {fetching.MOST_PAGES} pages" in FLOWING
    assert f"A body has at most {hooks.LARGEST_BODY:,} bytes" in FLOWING


def test_the_settings_that_are_printed_are_taken(tmp_path: Path) -> None:
    (printed,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    assert tomllib.loads(printed)
    (tmp_path / "config.toml").write_text(printed, encoding="utf-8")
    settings: Settings = load_settings({"TITRATOR_INSTANCE": str(tmp_path)})
    (client,) = settings.cds_clients
    assert client.account == "ehr"
    assert settings.known_fhir_servers == {"https://ehr.hospital.example/fhir"}


# Tokens


def test_every_reason_to_refuse_a_token_is_told_and_none_else() -> None:
    told = [reason for reasons, _ in table(PAGE, "Told") for reason in ticked(reasons)]
    assert len(told) == len(set(told))
    assert set(told) == set(get_args(assertions.Reason))


def test_what_is_verified_is_told_with_its_bounds() -> None:
    assert f"at most {assertions._LONGEST} characters" in FLOWING
    assert f"`jti` of 1 to {assertions._LONGEST_ID} characters" in FLOWING
    assert re.findall(r"signed by ([A-Z0-9, or]+)\.", PAGE) == [
        ", ".join(assertions.ALGORITHMS[:-1]) + f" or {assertions.ALGORITHMS[-1]}"
    ]
    assert (assertions._LEEWAY_SECONDS, assertions.CDS_HOOKS.life.total_seconds()) == (60, 3600)
    assert (assertions.CDS_HOOKS.needs_iat, assertions.CDS_HOOKS.subject_is_issuer) == (True, False)
    assert "100,000 that have not ended" in PAGE


def test_the_permissions_are_told() -> None:
    assert f"may `{Permission.RECOMMEND}`" in FLOWING
    assert f"needs `{Permission.PROPOSE}`" in FLOWING


# Cards and what is sent


def test_every_reason_to_override_is_told_and_none_else() -> None:
    sentence = FLOWING.split("They are those of a [decision](rest.md#deciding):", 1)[1].split(". ")[0]
    assert tuple(ticked(sentence)) == sign_off.REASONS
    assert {one["code"] for one in cards._override_reasons()} == set(sign_off.REASONS)  # type: ignore[index]


def test_every_indicator_is_told() -> None:
    told = {indicator for _, cell, _ in table(PAGE, "Card") for indicator in ticked(cell)}
    assert told == {"info", "warning", "critical"}


@pytest.mark.parametrize("told", TOLD, ids=lambda told: told.schemas[0])
def test_a_table_has_the_keys_of_its_schemas(told: Any) -> None:
    for name in told.schemas:
        fields = getattr(cds_hooks, name)().fields
        assert set(told.rows) == {field.data_key or key for key, field in fields.items()}, name
        required = {field.data_key or key for key, field in fields.items() if field.required}
        assert {key for key, (said, _) in told.rows.items() if said == "yes"} == required, name


def test_every_schema_of_what_is_sent_is_told() -> None:
    """By its table, or in the table of what it stands in; what comes back over REST is told in docs/rest.md."""
    named = {name for one in TOLD for name in one.schemas}
    within = {"Authorization", "Context", "OrderSignContext", "AcceptedSuggestion", "Coding", "OverrideReason"}
    there = {name for name, found in vars(cds_hooks).items() if _is_sent(found)}
    assert named | within | {"Feedback"} == there - {"FeedbackOut", "FeedbackList", "FeedbackQuery"}


def _is_sent(found: object) -> bool:
    named = isinstance(found, type) and issubclass(found, cds_hooks.Schema) and found is not cds_hooks.Schema
    return named and not found.__name__.startswith("_")  # type: ignore[union-attr]


def test_statuses_are_told_with_their_form() -> None:
    told = {int(status): form for cell, form, _ in table(PAGE, "Status") for status in cell.split(", ")}
    assert {status for status, form in told.items() if form == "OperationOutcome"} == {400, 412}
    assert set(told) == {400, 401, 403, 404, 412, 413, 415, 429, 503}
