"""Files as tables: CSV as hospitals write it, workbooks, lines of JSON; and files that are meant to do harm."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import zipfile
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from tests.api.support import House, day
from tests.bulk.intake.support import VISITS, imports, told, visit, write_csv
from titrator.bulk.intake import parts
from titrator.bulk.intake.files import LONGEST_CELL, kind_of, open_table
from titrator.workflow.errors import Invalid


def read(file: Path, kind: str, **said: Any) -> tuple[str, tuple[str, ...], list[tuple[int, list[Any]]]]:
    table = open_table(file, kind, **said)
    return table.how, table.header, [(line, list(cells)) for line, cells in table.rows]


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a.CSV", "csv"), ("a.tsv", "csv"), ("a.xlsx", "xlsx"), ("a.jsonl", "ndjson"), ("a.xls", None), ("a", None)],
)
def test_the_name_tells_the_kind(name: str, kind: str | None) -> None:
    assert kind_of(name) == kind


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_csv_is_read_with_its_own_delimiter(tmp_path: Path, delimiter: str) -> None:
    file = write_csv(tmp_path / "a.csv", ("MRN", "Name, all"), [("7", 'B, "A"'), ("", ""), ("8", "x\ny")], delimiter)
    how, header, rows = read(file, "csv")
    assert header == ("MRN", "Name, all")
    assert rows == [(2, ["7", 'B, "A"']), (4, ["8", "x\ny"])]
    assert how.startswith("CSV, ")


def test_csv_of_other_encodings_is_read_if_that_is_said(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_bytes("MRN;Größe\n7;ü\n".encode("cp1252"))
    with pytest.raises(Invalid, match="each fault") as refused:
        read(file, "csv")
    assert "is not in UTF-8: say which encoding it has" in str(refused.value.faults[0])
    assert read(file, "csv", encoding="cp1252")[2] == [(2, ["7", "ü"])]
    file.write_bytes(b"\xef\xbb\xbfMRN,B\n7,8\n")
    assert read(file, "csv")[1] == ("MRN", "B")


@pytest.mark.parametrize("encoding", ["klingon", "hex", "undefined", "utf-16", "idna", "punycode"])
def test_an_encoding_that_does_not_fit_is_told(tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "a.csv"
    file.write_bytes("MRN;Größe\n7;ü\n\xff".encode("cp1252"))
    with pytest.raises(Invalid) as refused:
        read(file, "csv", encoding=encoding)
    assert refused.value.faults[0].path in {"file", "encoding"}


def test_nothing_that_a_terminal_would_obey_is_told(house: House, tmp_path: Path) -> None:
    rows = [visit("7", "\x1b[31m2025", "\x1b]0;x", "\x07", "\u202e"), visit("\x1b7", day(1), 70)]
    done = imports(house, write_csv(tmp_path / "a.csv", VISITS, rows))
    assert len(done.refused) == 2
    assert all(why.isprintable() for _, why in done.refused)


def test_a_row_of_more_or_fewer_cells_is_refused(house: House, tmp_path: Path) -> None:
    rows = [visit("7", day(3), 70)[:-1], [*visit("7", day(2), 70), "x"], [*visit("7", day(1), 70), ""]]
    done = imports(house, write_csv(tmp_path / "a.csv", VISITS, rows))
    assert [why for _, why in done.refused] == [f"has {many} cells where the header has 8" for many in (7, 9)]
    assert told(house, "7") == [f"{day(1)} weight 70 kg"]


BAD: list[tuple[str, str, bytes, str]] = [
    ("empty", "csv", b"", "has no header"),
    ("no rows", "csv", b",,\n\n", "has no header"),
    ("open quote", "csv", b'A,B\n"x,1\n', "line 2: unexpected end of data"),
    ("a long cell", "csv", b"A,B\n" + b"x" * (LONGEST_CELL + 1) + b",1\n", "field larger than field limit"),
    ("many columns", "csv", b",".join([b"A"] * 201) + b"\n", "has 201 columns"),
    ("many cells", "csv", b"A,B\n7" + b",8" * 20_000 + b"\n", "line 2: a row of more than 16384 cells"),
    ("a row without end", "csv", b"A,B\n7,8\n" + b"," * 5_000_000, "line 3: a row of more than 4000600 characters"),
    ("a header without end", "csv", b"A" * 5 + b"," * 5_000_000, "line 1: a row of more than 4000600 characters"),
    ("a row of many lines", "csv", b"A,B\n" + b'"\n",' * 2_000_000, "line 2: a row of more than 4000600 characters"),
    ("no JSON", "ndjson", b'{"patient": 1}\n{"patient"\n', "line 2 is no JSON"),
    ("no object", "ndjson", b"[1]\n", "line 1 is no object"),
    ("nested", "ndjson", b'{"patient": {"id": 1}}\n', "line 1: patient must be a text or a number"),
    ("deep", "ndjson", b'{"a": ' + b"[" * 100_000 + b"\n", "line 1 is no JSON"),
    ("no lines", "ndjson", b"", "has no header"),
    ("a key twice", "ndjson", b'{"patient": "7", "dose": 100, "dose": 300}\n', "line 1: dose is there twice"),
    ("a list", "ndjson", b'{"weight": ["70"]}\n', "line 1: weight must be a text or a number"),
    (
        "half a character",
        "ndjson",
        b'{"patient": "\\ud800"}\n',
        "line 1: patient has more than 10000 characters, or half",
    ),
    ("half a character in a key", "ndjson", b'{"\\ud800": 1}\n', "column 1: its name"),
    ("space around a key", "ndjson", b'{"weight ": 70}\n', "keys with space around them"),
    ("another encoding", "ndjson", '{"a": "ü"}\n'.encode("latin-1"), "line 1 is no JSON"),
    ("a zero byte in a name", "csv", b"MRN\0,B\n7,8\n", "column 1: its name"),
    ("what a terminal obeys in a name", "csv", b"A,\x1b]0;x\x07\n7,8\n", "column 2: its name"),
    ("no workbook", "xlsx", b"PK\x03\x04 nothing", "is no workbook"),
]


@pytest.mark.parametrize(("kind", "content", "why"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_a_file_that_is_none_is_refused(tmp_path: Path, kind: str, content: bytes, why: str) -> None:
    file = tmp_path / "a"
    file.write_bytes(content)
    with pytest.raises(Invalid) as refused:
        read(file, kind)
    assert why in str(refused.value.faults[0])


@pytest.mark.parametrize(
    ("said", "path"),
    [
        *(({"encoding": name}, "encoding") for name in ("nope", "a\0b", "rot13", "idna", "punycode", "unicode_escape")),
        *(({"encoding": name, "delimiter": ","}, "encoding") for name in ("nope", "undefined", "zip")),
        *(({"encoding": name, "delimiter": ","}, "encoding") for name in ("utf-16", "utf-32")),
        *(({"delimiter": sign}, "delimiter") for sign in '"\n\r\0é'),
    ],
)
def test_what_is_no_encoding_and_no_delimiter_is_refused(tmp_path: Path, said: dict[str, str], path: str) -> None:
    file = tmp_path / "a.csv"
    file.write_bytes(b"MRN,B\n7,8\n")
    with pytest.raises(Invalid) as refused:
        read(file, "csv", **said)
    assert [fault.path for fault in refused.value.faults] == [path]


def test_lines_of_json_are_rows(house: House, tmp_path: Path) -> None:
    person = {"patient": "7", "family_name": "B", "given_name": "A", "born_on": "1960-05-01"}
    lines = [
        {**person, "day": day(14), "weight": 70.50, "weight_unit": "kg", "platelets": 20, "platelets_unit": "K/uL"},
        {"patient": 7, "day": day(14), "dose": 70, "level": None},
        {"patient": "7", "day": day(7), "note": "home", "dose": "141"},
    ]
    file = tmp_path / "a.ndjson"
    file.write_text("".join(json.dumps(line) + "\n\n" for line in lines))
    done = imports(house, file, "ndjson", units={"dose": "ug", "level": "ug/kg"}, decimal="comma")
    assert done.refused == []
    assert told(house, "7") == [
        f"{day(14)} weight 70.5 kg",
        f"{day(14)} platelet-count 20 K/uL",
        f"{day(14)} dose 70 ug",
        f"{day(7)} dose 141 ug",
    ]


def workbook(file: Path, *rows: list[Any], sheets: tuple[str, ...] = ("Sheet",)) -> Path:
    book = openpyxl.Workbook()
    book.active.title = sheets[0]
    for name in sheets[1:]:
        book.create_sheet(name)
    for row in rows:
        book[sheets[0]].append(row)
    book.save(file)
    book.close()
    return file


def test_a_workbook_is_read_as_it_shows(house: House, tmp_path: Path) -> None:
    rows = [
        ["7", "Berg", "Anna", date(1960, 5, 1), datetime.fromisoformat(f"{day(14)}T08:30"), 0.1 + 0.2 + 70, 20, 71],
        ["7", None, None, None, datetime.fromisoformat(day(7)), None, "clumped", None],
        [None] * 8,
        [7, None, None, None, date.fromisoformat(day(0)), 71, None, None, None],
    ]
    file = workbook(tmp_path / "a.xlsx", list(VISITS), *rows)
    done = imports(house, file, "xlsx", decimal="comma")
    assert done.refused == [(3, "Platelets (10^9/L): “clumped” is no number")]
    assert told(house, "7") == [
        f"{day(14)} weight 70.3 kg",
        f"{day(14)} platelet-count 20 10*9/L",
        f"{day(14)} dose 71 ug",
        f"{day(0)} weight 71 kg",
    ]


def test_of_several_sheets_one_is_asked_for(tmp_path: Path) -> None:
    file = workbook(tmp_path / "a.xlsx", ["MRN"], ["7"], sheets=("Data", "Notes"))
    for said, why in ((None, "required: it has Data, Notes"), ("X", "no sheet X; it has Data, Notes")):
        with pytest.raises(Invalid) as refused:
            read(file, "xlsx", sheet=said)
        assert why in str(refused.value.faults[0])
    assert read(file, "xlsx", sheet="Data")[2] == [(2, ["7"])]


def rewritten(file: Path, change: Callable[[str, bytes], bytes]) -> Path:
    """The same workbook with parts of it changed."""
    other = file.with_name("other.xlsx")
    with zipfile.ZipFile(file) as whole, zipfile.ZipFile(other, "w", zipfile.ZIP_DEFLATED) as out:
        for part in whole.infolist():
            out.writestr(part.filename, change(part.filename, whole.read(part)))
    return other


def test_a_workbook_that_unpacks_to_a_mountain_is_refused(tmp_path: Path) -> None:
    file = workbook(tmp_path / "a.xlsx", ["MRN"], ["7"])
    bomb = rewritten(file, lambda name, body: body + b" " * 60_000_000 if "sheet1" in name else body)
    assert bomb.stat().st_size < 100_000
    with pytest.raises(Invalid) as refused:
        read(bomb, "xlsx")
    assert "bytes unpacked, more than a workbook of its size has" in str(refused.value.faults[0])


_FIRST = '<row r="1"><c r="A1" t="inlineStr"><is><t>MRN</t></is></c></row>'
_FAR = '<row r="{row}"><c r="A{row}" t="inlineStr"><is><t>MRN</t></is></c></row>'
ENDLESS = [
    ("a header", "", _FAR.format(row=2_000_000_000), "more than 1048576 rows"),
    ("a row", "", _FIRST + _FAR.format(row=2_000_000_000), "more than 1048576 rows"),
    ("a header far down", "", _FAR.format(row=1001), "has no header"),
    ("rows without anything", "", f'{_FIRST}<row r="1048575"/>{"<row/>" * 2}', "more than 1048576 rows"),
]


@pytest.mark.parametrize(("dimension", "rows", "why"), [case[1:] for case in ENDLESS], ids=[one[0] for one in ENDLESS])
def test_a_workbook_that_says_that_it_never_ends_is_refused(
    tmp_path: Path, dimension: str, rows: str, why: str
) -> None:
    names = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    sheet = f'<worksheet xmlns="{names}">{dimension}<sheetData>{rows}</sheetData></worksheet>'.encode()
    file = workbook(tmp_path / "a.xlsx", ["MRN"], ["7"])
    endless = rewritten(file, lambda name, body: sheet if "sheet1" in name else body)
    with pytest.raises(Invalid) as refused:
        read(endless, "xlsx")
    assert why in str(refused.value.faults[0])


_NAMES = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
_SHARED = "application/vnd.openxmlformats-officedocument.spreadsheetml.sharedStrings+xml"


def sheet_of(tmp_path: Path, rows: str, before: str = "", after: str = "") -> Path:
    """A workbook whose sheet has these rows, as they stand in its XML."""
    part = f"<worksheet {_NAMES}>{before}<sheetData>{rows}</sheetData>{after}</worksheet>".encode()
    file = workbook(tmp_path / "a.xlsx", ["MRN"])
    return rewritten(file, lambda name, body: part if "sheet1" in name else body)


def sheet_with(tmp_path: Path, texts: str) -> Path:
    """A workbook whose cells share texts, as they stand in its XML: its header is the first three."""
    row = "".join(f'<c t="s"><v>{at}</v></c>' for at in range(3))
    file = sheet_of(tmp_path, f"<row>{row}</row>")
    override = f'<Override PartName="/xl/sharedStrings.xml" ContentType="{_SHARED}"/></Types>'.encode()
    named = rewritten(
        file.rename(tmp_path / "b.xlsx"),
        lambda name, body: body.replace(b"</Types>", override) if name[0] == "[" else body,
    )
    with zipfile.ZipFile(named, "a", zipfile.ZIP_DEFLATED) as out:
        out.writestr("xl/sharedStrings.xml", f"<sst {_NAMES}>{texts}</sst>")
    return named


def cells(row: int, *told: tuple[str, str]) -> str:
    inner = "".join(f'<c r="{at}" t="str"><v>{value}</v></c>' for at, value in told)
    return f'<row r="{row}">{inner}</row>'


_NAMED = cells(1, ("A1", "MRN"), ("B1", "Date"), ("C1", "Dose mcg"))
LOST = [
    ("a row above", cells(5, ("A5", "7")) + cells(3, ("A3", "8")), "row 3 comes after row 5"),
    ("a row twice", cells(2, ("A2", "7")) + cells(2, ("A2", "8")), "row 2 comes after row 2"),
    ("a row of the next number", cells(5, ("A5", "7")) + '<row><c><v>7</v></c></row><row r="6"/>', "row 6 comes after"),
    ("a row in a row", f'<row r="2">{cells(3, ("A3", "7"))}</row>', "row 2 has a row within it"),
    ("no number", '<row r="x"/>', "x is no number of a row"),
    ("cells backwards", cells(2, ("A2", "7"), ("C2", "500"), ("B2", "2026-01-05")), "cell B2 comes after one"),
    ("a cell twice", cells(2, ("A2", "7"), ("C2", "500"), ("C2", "50")), "cell C2 comes after one"),
    ("a cell of another row", cells(2, ("A2", "7"), ("C3", "500")), "cell C3 stands in row 2"),
    ("a cell that the next is", '<row r="2"><c r="B2"/><c/><c r="C2"/></row>', "cell C2 comes after one"),
    ("a cell of no name", '<row r="2"><y r="C2"/><c r="B2"/></row>', "cell B2 comes after one"),
    ("no column", cells(2, ("ZZZZ2", "7")), "ZZZZ is no column"),
]


@pytest.mark.parametrize(("rows", "why"), [case[1:] for case in LOST], ids=[case[0] for case in LOST])
def test_a_workbook_of_which_rows_or_cells_would_be_lost_is_refused(tmp_path: Path, rows: str, why: str) -> None:
    """What reads it passes over a row that is not below the one before, and a cell beyond the last one of its row."""
    with pytest.raises(Invalid) as refused:
        read(sheet_of(tmp_path, _NAMED + rows), "xlsx")
    assert why in str(refused.value.faults[0])


def test_a_workbook_with_gaps_and_of_fewer_rows_than_it_has_is_read_whole(tmp_path: Path) -> None:
    rows = '<row r="3.0"><c t="str"><v>7</v></c><c r="c3" t="str"><v>70</v></c></row><row><c r="A4"><v>8</v></c></row>'
    file = sheet_of(tmp_path, _NAMED + rows + cells(9, ("C9", "500")), '<dimension ref="B2:B3"/>')
    assert read(file, "xlsx")[1:] == (
        ("MRN", "Date", "Dose mcg"),
        [(3, ["7", "", "70"]), (4, [["8"], "", ""]), (9, ["", "", "500"])],
    )


#: What is small on the disk and would be large in memory: where, what of it how often, and how much is outside of rows.
SWOLLEN = [
    ("a row of empty cells", "sheet", '<row r="2">' + "<c/>" * 2500 + "</row>", "", "of more than 2000 elements"),
    ("a long text", "sheet", cells(2, ("A2", "x" * 17_000_000)), "", "a row, or a text, of more than"),
    ("elements outside", "sheet", "", "<x/>" * 2500, "more than 2000 elements outside of the rows"),
    ("bytes outside", "sheet", "", "x" * 11_000_000, "more than 10000000 bytes outside of the rows"),
    ("a comment", "sheet", "", "<!--" + "x" * 200_000 + "-->", "a tag, or a comment, of more than 100000 bytes"),
    ("attributes", "sheet", "<row " + " ".join(f'a{at}=""' for at in range(20)) + "/>", "", "more than 16 attributes"),
    ("texts outside", "texts", "", "<x/>" * 2500, "more than 2000 elements outside"),
    ("one text of many", "texts", "<si>" + "<r/>" * 2500 + "</si>", "", "of more than 2000 elements"),
]


@pytest.mark.parametrize(
    ("part", "rows", "after", "why"), [case[1:] for case in SWOLLEN], ids=[case[0] for case in SWOLLEN]
)
def test_a_workbook_that_is_large_in_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str, rows: str, after: str, why: str
) -> None:
    monkeypatch.setattr(parts, "_MOST_ELEMENTS", 2000)
    bomb = sheet_with(tmp_path, rows + after) if part == "texts" else sheet_of(tmp_path, rows, after=after)
    with zipfile.ZipFile(bomb, "a") as out:
        out.writestr("xl/media/junk.bin", random.Random(1).randbytes(1_000_000))
    with pytest.raises(Invalid) as refused:
        read(bomb, "xlsx")
    assert why in str(refused.value.faults[0])


_STYLES = f"<styleSheet {_NAMES}><{{0}}>{{1}}</{{0}}></styleSheet>"
#: What of a workbook is read at once, and why it is refused.
AT_ONCE = [
    ("styles", "xl/styles.xml", _STYLES.format("cellXfs", "<xf/>" * 2500), "more than 2000 elements outside"),
    ("rows of styles", "xl/styles.xml", _STYLES.format("row", "<si/>" * 2500), "more than 2000 elements outside"),
    (
        "a format",
        "xl/styles.xml",
        _STYLES.format("numFmts", f'<numFmt numFmtId="200" formatCode="{"[" * 300}"/>'),
        "a format of numbers of more than 255 characters",
    ),
]


@pytest.mark.parametrize(("name", "content", "why"), [case[1:] for case in AT_ONCE], ids=[one[0] for one in AT_ONCE])
def test_what_is_read_at_once_is_counted_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: str, why: str
) -> None:
    """Two million styles are ten kilobytes on the disk, more than a gigabyte in memory, and half a minute."""
    monkeypatch.setattr(parts, "_MOST_ELEMENTS", 2000)
    file = workbook(tmp_path / "a.xlsx", ["MRN"], ["7"])
    bomb = rewritten(file, lambda part, body: content.encode() if part == name else body)
    with pytest.raises(Invalid) as refused:
        read(bomb, "xlsx")
    assert why in str(refused.value.faults[0])


@pytest.mark.parametrize("name", ["Print_Titles", "Print_Area"])
def test_names_of_a_workbook_are_not_read(tmp_path: Path, name: str) -> None:
    """openpyxl looks for ranges in each anew from each of its signs: of five kilobytes on the disk that took hours."""
    named = f'</sheets><definedNames><definedName name="_xlnm.{name}" localSheetId="0">{"a" * 9_000_000}'.encode()
    file = workbook(tmp_path / "a.xlsx", ["MRN"], ["7"])
    other = rewritten(
        file,
        lambda part, body: (
            body.replace(b"<definedNames />", b"").replace(b"</sheets>", named + b"</definedName></definedNames>")
            if part == "xl/workbook.xml"
            else body
        ),
    )
    assert read(other, "xlsx")[2] == [(2, ["7"])]


def test_a_workbook_of_very_many_parts_is_not_opened(tmp_path: Path) -> None:
    """Each part is an object: a ZIP of 200 MB that has nothing else took three gigabytes, and more than a minute."""
    file = tmp_path / "a.xlsx"
    with zipfile.ZipFile(file, "w") as out:
        for number in range(20_000):
            out.writestr(f"{number}", b"")
    with pytest.raises(Invalid) as refused:
        read(file, "xlsx")
    assert "more parts than any workbook" in str(refused.value.faults[0])


def test_what_is_wrong_with_cells_is_not_told_to_the_log(tmp_path: Path) -> None:
    """openpyxl warns of each day that is none, and says what stands there; each warning is kept, too."""
    file = tmp_path / "a.xlsx"
    book = openpyxl.Workbook()
    for row in (["MRN", "Date"], ["7", 470_000_011]):
        book.active.append(row)
    book.active["B2"].number_format = "yyyy-mm-dd"
    book.save(file)
    program = (
        "import sys; from pathlib import Path; from titrator.bulk.intake.files import open_table; "
        "print(list(open_table(Path(sys.argv[1]), 'xlsx').rows))"
    )
    ran = subprocess.run([sys.executable, "-c", program, str(file)], capture_output=True, text=True, check=True)
    assert (ran.stdout.strip(), ran.stderr) == ("[(2, ['7', '#VALUE!'])]", "")


@pytest.mark.parametrize(
    ("limit", "value", "why"),
    [("_MOST_TEXTS", 5000, "more than 5000 texts"), ("MOST_TEXT", 9000, "more than 9000 bytes of texts")],
)
def test_texts_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: int, why: str) -> None:
    file = sheet_with(tmp_path, "<si><t>MRN</t></si>" + "".join(f"<si><t>{at}</t></si>" for at in range(5000)))
    assert read(file, "xlsx")[1] == ("MRN", "0", "1")
    monkeypatch.setattr(parts, limit, value)
    with pytest.raises(Invalid) as refused:
        read(file, "xlsx")
    assert why in str(refused.value.faults[0])


def test_a_workbook_that_names_a_sheet_that_is_not_in_it_is_refused(tmp_path: Path) -> None:
    file = workbook(tmp_path / "a.xlsx", ["MRN"], ["7"], sheets=("Data", "More"))
    with zipfile.ZipFile(file) as whole, zipfile.ZipFile(tmp_path / "b.xlsx", "w") as out:
        for part in whole.infolist():
            if "sheet2" not in part.filename:
                out.writestr(part.filename, whole.read(part))
    with pytest.raises(Invalid) as refused:
        read(tmp_path / "b.xlsx", "xlsx")
    assert "names sheets that are not in it" in str(refused.value.faults[0])


def test_a_cell_that_is_too_long_is_refused_and_not_cut(tmp_path: Path) -> None:
    file = workbook(tmp_path / "a.xlsx", ["MRN", "Note"], ["7", "x" * LONGEST_CELL])
    assert read(file, "xlsx")[2] == [(2, ["7", "x" * LONGEST_CELL])]
    file = workbook(tmp_path / "b.xlsx", ["MRN", "Note"], ["7", "x" * (LONGEST_CELL + 1)])
    with pytest.raises(Invalid) as refused:
        read(file, "xlsx")
    assert "line 2: a cell has more than 10000 characters" in str(refused.value.faults[0])


def test_a_sheet_is_not_as_wide_as_it_says(tmp_path: Path) -> None:
    file = workbook(tmp_path / "a.xlsx", ["MRN"], ["7"])
    wide = rewritten(file, lambda name, body: body.replace(b"A1:A2", b"A1:ZZZ2") if "sheet1" in name else body)
    table = open_table(wide, "xlsx")
    assert (table.header, list(table.rows)) == (("MRN",), [(2, ["7"])])


def test_junk_beside_a_mountain_and_a_tree_of_styles_are_refused(tmp_path: Path) -> None:
    file = workbook(tmp_path / "a.xlsx", ["MRN"], ["7"])
    bomb = rewritten(file, lambda name, body: body + b" " * 60_000_000 if "sheet1" in name else body)
    with zipfile.ZipFile(bomb, "a") as out:
        out.writestr("xl/media/junk.bin", random.Random(1).randbytes(1_000_000))
    with pytest.raises(Invalid) as refused:
        read(bomb, "xlsx")
    assert "bytes unpacked, more than a workbook of its size has" in str(refused.value.faults[0])
    tree = rewritten(file, lambda name, body: body + b"<!---->" * 2_000_000 if "styles" in name else body)
    with pytest.raises(Invalid) as refused:
        read(tree, "xlsx")
    assert "bytes of styles and the like" in str(refused.value.faults[0])


@pytest.mark.parametrize("part", ["sheet", "workbook.xml", "styles"])
def test_a_workbook_with_entities_is_refused(tmp_path: Path, part: str) -> None:
    laughs = b'<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]>'
    file = workbook(tmp_path / "a.xlsx", ["MRN"], ["7"])
    bomb = rewritten(file, lambda name, body: body.replace(b"<", laughs + b"<", 1) if part in name else body)
    with pytest.raises(Invalid) as refused:
        read(bomb, "xlsx")
    assert "no workbook" in str(refused.value.faults[0])
    outside = b'<!DOCTYPE x SYSTEM "file:///etc/passwd">'
    bomb = rewritten(file, lambda name, body: body.replace(b"<", outside + b"<", 1) if part in name else body)
    try:
        rows = read(bomb, "xlsx")[2]
    except Invalid:
        return
    assert rows == [(2, ["7"])]


def test_a_formula_counts_as_what_it_came_to(tmp_path: Path) -> None:
    file = workbook(tmp_path / "a.xlsx", ["MRN", "Weight kg"], ["7", "=70+1"])
    assert read(file, "xlsx")[2] == [(2, ["7", ""])]  # openpyxl computes nothing, so nothing was kept


def test_one_fact_a_row(house: House, tmp_path: Path) -> None:
    header = (
        "MRN",
        "Surname",
        "Forename",
        "DOB",
        "Date",
        "Test",
        "Result",
        "Unit",
        "Resolved on",
        "Dose level (mcg/kg)",
    )
    who = ("7", "Berg", "Anna", "1960-05-01")
    rows = [
        (*who, day(14), "Weight", "154", "lbs", "", ""),
        (*who, day(14), "PLT", "20000", "/µL", "", ""),
        (*who, day(14), "Hb", "9.1", "g/dL", "", ""),
        (*who, day(14), "Nplate", "0.07", "mg", "", "1"),
        (*who, day(10), "IVIG", "", "", day(9), ""),
        (*who, day(9), "adverse event", "headache", "", "", ""),
        (*who, day(9), "Creatinine", "80", "µmol/L", "", ""),
        (*who, day(9), "PLT", "50", "", "", ""),
        (*who, day(9), "PLT", "50", "mmol", "", ""),
        (*who, day(9), "PLT", "", "K/uL", "", ""),
        (*who, day(9), "adverse event", "", "", "", ""),
    ]
    done = imports(house, write_csv(tmp_path / "a.csv", header, rows))
    assert told(house, "7") == [
        f"{day(14)} weight 154 lb",
        f"{day(14)} platelet-count 20000 /uL",
        f"{day(14)} haemoglobin 9.1 g/dL",
        f"{day(14)} dose 70 ug",
        f"{day(10)} rescue_therapy None None",
        f"{day(9)} adverse_event None None",
    ]
    whys = [why for _, why in done.refused]
    assert ["is nothing that is kept here" in whys[0], "has no unit" in whys[1], "is no unit of it" in whys[2]] == [
        True
    ] * 3
    assert ["empty" in whys[3], "needs its term" in whys[4]] == [True] * 2
