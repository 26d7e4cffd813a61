"""The page on HL7 v2 is true: its messages are sent, its tables are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

from schemas.result import SAYS, WHY
from tests.contract.test_guides import DOCS, table, ticked
from tests.hl7.support import Ward, ward
from titrator.hl7.http import MEDIA_TYPES
from titrator.hl7.message import CHARACTER_SETS, LONGEST_CONTROL_ID, VERSIONS
from titrator.hl7.translate import STATUS
from titrator.settings import load_settings
from titrator.workflow.housekeeping import MESSAGES_KEPT
from titrator.workflow.results import Why

PAGE = (DOCS / "hl7.md").read_text(encoding="utf-8")
CHANCE = re.compile(r"(?<=\|)[0-9a-f]{20}(?=\|)")


def configured(folder: Path) -> Ward:
    """An installation with the feed of the page, whose account is that of the tests."""
    (config,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    (folder / "config.toml").write_text(config, encoding="utf-8")
    (feed,) = load_settings({"TITRATOR_INSTANCE": str(folder)}).hl7_feeds
    return ward(folder, feed._replace(account="ehr"))


def test_the_messages_of_the_page_get_the_acknowledgements_of_the_page(tmp_path: Path) -> None:
    lab = configured(tmp_path)
    patient = lab.house.patient(identifiers=[{"system": "urn:oid:2.999.1", "value": "100234"}])
    blocks = re.findall(r"```hl7\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 4
    for message, shown in zip(blocks[::2], blocks[1::2], strict=True):
        said = lab.send(message.replace("\n", "\r").encode())
        assert CHANCE.sub("*", said.text) == CHANCE.sub("*", shown.replace("\n", "\r"))
        assert lab.send(message.encode()).code == said.code, "with line feeds, too"
    assert lab.counts(patient) == [("63", "final", "2026-03-09")]
    (other,) = lab.house.get(f"/patients/{patient}/observations")["items"]
    assert (other["code"], f"{other['value']}") == ("haemoglobin", "13.1")


def test_every_status_is_told_as_it_is() -> None:
    told = {
        code: None if status == "none" else ticked(status)[0]
        for codes, status, _ in table(PAGE, "OBX-11")
        for code in ticked(codes)
    }
    assert told == STATUS


def test_every_reason_to_hold_is_told() -> None:
    assert [ticked(row[0])[0] for row in table(PAGE, "`why`")] == list(map(str, Why))
    assert list(map(str, Why)) == list(WHY)
    rest = (DOCS / "rest.md").read_text(encoding="utf-8")
    assert all(f"`{one}`" in rest for one in (*WHY, *SAYS))


def test_what_is_turned_away_is_told_with_its_bounds() -> None:
    said = " ".join(PAGE.split("Turned away (`AR`)")[1].split("\n\n")[0].split())
    assert ", ".join(VERSIONS[:-1]) + f" and {VERSIONS[-1]}" in said
    assert f"more than {LONGEST_CONTROL_ID} characters" in said
    assert all(f"`{one}`" in said for one in CHARACTER_SETS if one)
    assert all(f"`{one}`" in PAGE for one in MEDIA_TYPES)
    assert f"for {MESSAGES_KEPT.days} days" in PAGE
