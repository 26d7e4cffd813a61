"""Tables as CSV: what each cell becomes, and that no spreadsheet takes one for a formula."""

from __future__ import annotations

import csv
import io
from decimal import Decimal

import pytest

from titrator.bulk.tables import cell, csv_text


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, ""),
        (0, "0"),
        (True, "true"),
        (False, "false"),
        (Decimal("8.60"), "8.6"),
        (Decimal("5E+2"), "500"),
        ('Müller, "Ö"', 'Müller, "Ö"'),
        ("a=b", "a=b"),
        ("=1+1", "'=1+1"),
        ("+49 30", "'+49 30"),
        ("-5", "'-5"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t'=1"),
        ("\0=1", "'\0=1"),
        ("one\t=1+1", "one\t'=1+1"),
        ("\r=1", "'\r'=1"),
        ("\n=1", "'\n'=1"),
        ("'=1", "'=1"),
        (" =1+1", "' =1+1"),
        ("\xa0\ufeff=1", "'\xa0\ufeff=1"),
        ('"=1', "'\"=1"),
        ("\uff1d1+1", "'\uff1d1+1"),
        ("\uff20SUM(A1)", "'\uff20SUM(A1)"),
        ("no ;=cmd|' /C calc'!A0;", "no ;'=cmd|' /C calc'!A0;"),
        ('no "; "=1', 'no ";\' "=1'),
        ("a; b; c-d", "a; b; c-d"),
        ("one\n@SUM(A1)", "one\n'@SUM(A1)"),
        ("one\r\n+1", "one\r\n'+1"),
    ],
)
def test_cells(value: object, shown: str) -> None:
    text = csv_text(["one", "other"], [{"one": value, "other": "x", "third": "left out"}])
    assert list(csv.reader(io.StringIO(text, newline=""))) == [["one", "other"], [shown, "x"]]


@pytest.mark.parametrize(
    ("value", "shown"), [("one,=1+1", "one,'=1+1"), ('a, "@x', "a,' \"@x"), ("one, two-3", "one, two-3")]
)
def test_where_commas_stand_between_no_cells_they_may_still_cut_one(value: str, shown: str) -> None:
    """A file with semicolons, opened where commas are usual."""
    assert (cell(value, ";"), cell(value)) == (shown, value)


def test_a_table_without_rows_has_its_header() -> None:
    assert csv_text(["one", "other"], []) == "one,other\r\n"
