"""Tables as CSV: what each cell becomes, and that no spreadsheet takes one for a formula."""

from __future__ import annotations

import csv
import io
from decimal import Decimal

import pytest

from titrator.bulk.tables import csv_text


@pytest.mark.parametrize(
    ("value", "cell"),
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
        ("\t=1", "'\t=1"),
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
def test_cells(value: object, cell: str) -> None:
    text = csv_text(["one", "other"], [{"one": value, "other": "x", "third": "left out"}])
    assert list(csv.reader(io.StringIO(text, newline=""))) == [["one", "other"], [cell, "x"]]


def test_a_table_without_rows_has_its_header() -> None:
    assert csv_text(["one", "other"], []) == "one,other\r\n"
