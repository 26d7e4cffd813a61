"""The catalogue: which protocols an installation has, read when they are asked for, refused with every fault."""

from __future__ import annotations

import os
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from time import process_time

import pytest

from tests.support import IDS, SOUND, local_protocol, write_local
from titrator.protocols import SHIPPED, Catalogue, load
from titrator.titration.errors import Fault, InvalidProtocol
from titrator.titration.protocol import WeeklyProtocol

EXAMPLES = """\
[base]
on = "2026-03-09"
weights = [{ measured_on = "2026-02-14", value = 75, unit = "kg" }]
platelet_counts = [{ collected_on = "2026-03-09", value = 38, unit = "10*9/L" }]
doses = [{ given_on = "2026-03-02", micrograms = 75, micrograms_per_kg = 1 }]

[[example]]
name = "38 raises"
limit = "increase"
[example.expect]
action = "increase"
reasons = ["BELOW-TARGET"]
alerts = []
micrograms_per_kg = 2
micrograms = 150
volume_ml = 0.3
vials = [[250, 1]]
due_on = "2026-03-09"
next_count_on = "2026-03-16"

[[example]]
name = "400.1 holds"
limit = "hold"
course.platelet_counts = [{ collected_on = "2026-03-09", value = 400.1, unit = "10*9/L" }]
expect = { action = "hold", reasons = ["ABOVE-HOLD-LIMIT"], alerts = [], next_count_on = "2026-03-16" }
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "protocols"
    made.mkdir()
    return made


def refusal(path: Path) -> list[Fault]:
    with pytest.raises(InvalidProtocol) as refused:
        load(path)
    return list(refused.value.faults)


# What is shipped


def test_the_shipped_protocols_are_these() -> None:
    assert Catalogue().ids() == IDS
    assert Catalogue().shipped == frozenset(IDS)


@pytest.mark.parametrize("ident", IDS)
def test_a_shipped_protocol_is_usable_and_named_by_the_digest_of_its_bytes(ident: str) -> None:
    catalogue = Catalogue()
    assert catalogue.fault(ident) is None
    protocol = catalogue.find(ident)
    assert protocol.id == ident
    assert catalogue.path(ident) == SHIPPED / f"{ident}.toml"
    assert protocol.sha256 == sha256((SHIPPED / f"{ident}.toml").read_bytes()).hexdigest()


@pytest.mark.parametrize("ident", IDS)
def test_a_shipped_protocol_has_examples_that_agree(ident: str) -> None:
    protocol, outcomes = load(SHIPPED / f"{ident}.toml")
    assert protocol == Catalogue().get(ident)
    assert outcomes
    assert not any(outcome.wrong for outcome in outcomes)


# Lazily, and once


def test_a_protocol_is_read_once(folder: Path) -> None:
    path = write_local(folder, "ours")
    catalogue = Catalogue(folder)
    first = catalogue.get("ours")
    path.write_text("broken", encoding="utf-8")
    assert catalogue.get("ours") is first
    assert catalogue.find("ours") is first
    assert catalogue.fault("ours") is None


def test_a_refused_file_is_read_once_too(folder: Path) -> None:
    write_local(folder, "ours", "broken")
    catalogue = Catalogue(folder)
    first = catalogue.fault("ours")
    write_local(folder, "ours")
    assert catalogue.fault("ours") == first


def test_a_protocol_is_read_when_it_is_first_asked_for(folder: Path) -> None:
    write_local(folder, "ours", "broken")
    catalogue = Catalogue(folder)
    write_local(folder, "ours")
    assert catalogue.get("ours").id == "ours"


def test_the_examples_of_a_protocol_are_those_that_it_passed(folder: Path) -> None:
    examples = (SHIPPED / "us-itp-adult.examples.toml").read_text(encoding="utf-8")
    write_local(folder, "ours", examples=examples)
    write_local(folder, "without")
    write_local(folder, "failing", examples=examples.replace("micrograms = 75,", "micrograms = 76,"))
    catalogue = Catalogue(folder)
    assert len(catalogue.examples("ours")) == examples.count("\n[[example]]\n")
    assert {example.document["protocol"] for example in catalogue.examples("ours")} == {"ours"}
    assert catalogue.examples("without") == ()
    with pytest.raises(InvalidProtocol):
        catalogue.examples("failing")


def test_a_broken_file_is_in_the_way_of_no_other_protocol(folder: Path) -> None:
    write_local(folder, "broken", "broken")
    write_local(folder, "ours")
    catalogue = Catalogue(folder)
    assert catalogue.ids() == sorted([*IDS, "broken", "ours"])
    assert [ident for ident in catalogue.ids() if catalogue.fault(ident)] == ["broken"]


def test_a_file_that_came_later_is_not_known(folder: Path) -> None:
    catalogue = Catalogue(folder)
    write_local(folder, "ours")
    assert catalogue.ids() == IDS


# Unknown protocols

NEAREST = {
    "us-itp-adlt": "us-itp-adult, eu-itp-adult, jp-itp-adult",
    "US-ITP-ADULT": ", ".join(IDS),
    "cart-2021": "cart-2021-case",
    "us-hs-arx": "us-hs-ars",
    "": ", ".join(IDS),
    "warfarin": ", ".join(IDS),
    "x" * 1_000_000: ", ".join(IDS),
    "../us-itp-adult.toml": "us-itp-adult, eu-itp-adult, jp-itp-adult",
    "us-itp-adult.examples": "us-itp-adult, eu-itp-adult, jp-itp-adult",
}


@pytest.mark.parametrize(("ident", "nearest"), NEAREST.items(), ids=[ident[:20] for ident in NEAREST])
def test_an_unknown_protocol_is_answered_with_the_nearest_ids(ident: str, nearest: str) -> None:
    assert Catalogue().fault(ident) == f"unknown protocol; the nearest are {nearest}"


def test_a_local_protocol_is_among_the_nearest(folder: Path) -> None:
    write_local(folder, "hospital-itp")
    assert Catalogue(folder).fault("hospital-itb") == "unknown protocol; the nearest are hospital-itp"


def test_an_unknown_protocol_is_not_found() -> None:
    with pytest.raises(InvalidProtocol) as refused:
        Catalogue().find("us-hs-arx")
    assert refused.value.faults == (Fault("protocol", "unknown protocol; the nearest are us-hs-ars"),)


@pytest.mark.parametrize("ask", [Catalogue.get, Catalogue.path])
def test_asking_a_program_s_way_for_an_unknown_protocol_is_a_key_error(
    ask: Callable[[Catalogue, str], object],
) -> None:
    with pytest.raises(KeyError, match="us-hs-arx"):
        ask(Catalogue(), "us-hs-arx")


# The local folder


def test_without_a_local_folder_there_is_what_is_shipped(tmp_path: Path) -> None:
    a_file = tmp_path / "file"
    a_file.write_text("", encoding="utf-8")
    empty = tmp_path / "empty"
    empty.mkdir()
    for local in (None, tmp_path / "missing", empty, a_file):
        catalogue = Catalogue(local)
        assert (catalogue.ids(), catalogue.clashes) == (IDS, [])


def test_a_local_protocol_stands_beside_the_shipped_ones(folder: Path) -> None:
    path = write_local(folder, "hospital-itp", examples=EXAMPLES)
    catalogue = Catalogue(folder)
    assert catalogue.ids() == sorted([*IDS, "hospital-itp"])
    assert catalogue.shipped == frozenset(IDS)
    assert catalogue.path("hospital-itp") == path
    protocol = catalogue.find("hospital-itp")
    assert isinstance(protocol, WeeklyProtocol)
    assert protocol.sha256 == sha256(path.read_bytes()).hexdigest()


def test_the_digest_is_that_of_the_bytes_not_of_the_meaning(folder: Path) -> None:
    one, other = write_local(folder, "one"), write_local(folder, "other", local_protocol("other") + "# a comment\r\n")
    assert load(one)[0].sha256 == sha256(one.read_bytes()).hexdigest()
    assert load(other)[0].sha256 == sha256(other.read_bytes()).hexdigest()


def test_a_local_protocol_may_have_no_examples(folder: Path) -> None:
    protocol, outcomes = load(write_local(folder, "ours"))
    assert (protocol.id, outcomes) == ("ours", [])


def test_a_local_file_never_replaces_a_shipped_one(folder: Path) -> None:
    path = write_local(folder, "us-itp-adult", SOUND.replace('hold = ">400"', 'hold = ">350"'))
    catalogue = Catalogue(folder)
    assert catalogue.clashes == [path]
    assert catalogue.ids() == IDS
    assert catalogue.get("us-itp-adult") == Catalogue().get("us-itp-adult")


def test_files_of_other_names_are_no_protocols(folder: Path) -> None:
    for name in (".#ours.toml", ".ours.toml", "ours.examples.toml", "ours.toml.bak", "ours.TOML", "README.md", "toml"):
        (folder / name).write_text("", encoding="utf-8")
    assert Catalogue(folder).ids() == IDS


def test_a_protocol_in_a_folder_below_is_none_of_the_catalogue(folder: Path) -> None:
    (folder / "drafts").mkdir()
    write_local(folder / "drafts", "ours")
    assert Catalogue(folder).ids() == IDS


# Files that cannot be read

LARGEST = 100_000  # bytes
MOST_POINTS = 200  # in a line


def too_large(path: Path) -> None:
    path.write_bytes(b"#" * (LARGEST + 1))


def not_utf_8(path: Path) -> None:
    path.write_bytes(SOUND.replace("ITP, adults, US label", "ITP, Erwachsene, übersetzt").encode("latin-1"))


def utf_16(path: Path) -> None:
    path.write_bytes(SOUND.encode("utf-16"))


def points(number: int) -> Callable[[Path], object]:
    """A sound file with a line of so many points."""
    return lambda path: path.write_text(f"# .\n# {'.' * number}\n{local_protocol(path.stem)}", encoding="utf-8")


def link_to_itself(path: Path) -> None:
    path.symlink_to(path)


def link_to_nothing(path: Path) -> None:
    path.symlink_to(path.with_name("nothing"))


UNREADABLE = [
    (too_large, f"larger than {LARGEST} bytes"),
    (Path.mkdir, "cannot be read: Is a directory"),
    (os.mkfifo, "cannot be read: not a file"),
    (link_to_itself, "cannot be read: Too many levels of symbolic links"),
    (link_to_nothing, "cannot be read: No such file or directory"),
    (not_utf_8, "not TOML: 'utf-8' codec can't decode byte 0xfc"),
    (utf_16, "not TOML: 'utf-8' codec can't decode byte 0xff"),
    (lambda path: path.write_bytes(b"\0"), "not TOML: "),
    (lambda path: path.write_text("id = ", encoding="utf-8"), "not TOML: Invalid value (at end of document)"),
    (lambda path: path.write_text('id = "a"\nid = "b"', encoding="utf-8"), "not TOML: Cannot overwrite a value"),
    (lambda path: path.write_text("a = " + "[" * 50_000, encoding="utf-8"), "not TOML: maximum recursion depth"),
    (points(MOST_POINTS + 1), "line 2 has more than 200 points: break it into several"),
]
UNREADABLE_IDS = [
    "too large", "a folder", "a pipe", "a link to itself", "a link to nothing", "Latin-1", "UTF-16", "a zero byte",
    "half a line", "a key twice", "nested too deeply", "too many points",
]  # fmt: skip


@pytest.mark.parametrize(("make", "message"), UNREADABLE, ids=UNREADABLE_IDS)
def test_a_file_that_cannot_be_read_is_refused_and_says_why(
    folder: Path, make: Callable[[Path], object], message: str
) -> None:
    make(folder / "ours.toml")
    catalogue = Catalogue(folder)
    assert catalogue.ids() == sorted([*IDS, "ours"])
    (fault,) = refusal(folder / "ours.toml")
    assert fault.path == ""
    assert fault.message.startswith(message)
    told = catalogue.fault("ours")
    assert told is not None
    assert told.startswith(f"the file of this protocol is refused: {message}")


def test_a_file_of_exactly_the_largest_size_is_read(folder: Path) -> None:
    text = local_protocol("ours")
    path = write_local(folder, "ours", text + "#" * (LARGEST - len(text.encode())))
    assert path.stat().st_size == LARGEST
    assert load(path)[0].id == "ours"


def test_a_line_of_as_many_points_as_may_be_is_read(folder: Path) -> None:
    points(MOST_POINTS)(folder / "ours.toml")
    assert load(folder / "ours.toml")[0].id == "ours"


def test_a_file_full_of_the_longest_keys_does_not_take_long(folder: Path) -> None:
    """Each point of a dotted key costs more than the one before it; without a bound, this file took half a minute."""
    head = ".".join(["a"] * 16_000)
    started = process_time()
    write_local(folder, "ours", f"[{head}]\n{head}=1\n" + "b=1\n" * 5000)
    assert Catalogue(folder).fault("ours") is not None
    assert process_time() - started < 5


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, too_large])
def test_a_file_that_cannot_be_read_is_closed_again(folder: Path, make: Callable[[Path], object]) -> None:
    make(folder / "ours.toml")

    def free() -> int:
        """The lowest number that a file may be opened by."""
        number = os.open(os.devnull, os.O_RDONLY)
        os.close(number)
        return number

    before = free()
    for _ in range(3):
        refusal(folder / "ours.toml")
    assert free() == before


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is closed to the superuser")
def test_a_file_that_may_not_be_read_is_refused(folder: Path) -> None:
    write_local(folder, "ours").chmod(0)
    assert refusal(folder / "ours.toml") == [Fault("", "cannot be read: Permission denied")]


OUTSIZED = {
    "a number of 5000 digits": "a = " + "9" * 5000,
    "a hexadecimal number of 5000 digits": "a = 0x" + "f" * 5000,
}


@pytest.mark.parametrize("text", OUTSIZED.values(), ids=OUTSIZED)
def test_an_outsized_number_is_refused(folder: Path, text: str) -> None:
    write_local(folder, "ours", f"{text}\n{local_protocol('ours')}")
    assert Catalogue(folder).fault("ours") is not None


def test_keys_nested_too_deeply_are_refused(folder: Path) -> None:
    write_local(folder, "ours", ".".join(["a"] * 1500) + f" = 1\n{local_protocol('ours')}")
    assert Catalogue(folder).fault("ours") is not None


# Files that are refused for what they say


def test_every_fault_of_a_file_is_named(folder: Path) -> None:
    text = local_protocol("other").replace('hold = ">400"', 'hold = "400"').replace('title = "', 'titel = "')
    path = write_local(folder, "ours", text)
    assert [fault.path for fault in refusal(path)] == ["platelets.hold", "titel", "title"]
    fault = Catalogue(folder).fault("ours")
    assert fault is not None
    assert fault.startswith("the file of this protocol is refused: platelets.hold: must be a comparator")
    assert fault.endswith("; titel: unknown key; title: required")


def test_the_id_of_a_file_is_its_name(folder: Path) -> None:
    (fault,) = refusal(write_local(folder, "ours", SOUND))
    assert fault.path == "id"
    assert fault.message.startswith("P1: ")


def test_a_refused_protocol_is_not_found_and_says_why(folder: Path) -> None:
    write_local(folder, "ours", "broken")
    catalogue = Catalogue(folder)
    with pytest.raises(InvalidProtocol) as refused:
        catalogue.find("ours")
    (fault,) = refused.value.faults
    assert fault.path == "protocol"
    assert fault.message.startswith("the file of this protocol is refused: not TOML: ")
    with pytest.raises(InvalidProtocol, match=r"^not TOML: "):
        catalogue.get("ours")


# Examples that fail

AT_400 = (
    'action: "maintain", not "hold"; due_on: "2026-03-09", not nothing; micrograms: 75, not nothing; '
    'micrograms_per_kg: 1, not nothing; reasons: ["ABOVE-RANGE-UNCONFIRMED"], not ["ABOVE-HOLD-LIMIT"]; '
    "vials: [[125, 1]], not nothing; volume_ml: 0.15, not nothing"
)
FAILING: list[tuple[str, str, list[tuple[str, str]]]] = [
    # what is replaced in the examples, by what; the example's name and the difference
    ("micrograms_per_kg = 2\n", "micrograms_per_kg = 3\n", [("38 raises", "micrograms_per_kg: 2, not 3")]),
    ("micrograms = 150\n", "micrograms = 150.5\n", [("38 raises", "micrograms: 150, not 150.5")]),
    ('"BELOW-TARGET"', '"STABLE"', [("38 raises", 'reasons: ["BELOW-TARGET"], not ["STABLE"]')]),
    ("vials = [[250, 1]]", "vials = [[125, 2]]", [("38 raises", "vials: [[250, 1]], not [[125, 2]]")]),
    ("volume_ml = 0.3\n", "", [("38 raises", "volume_ml: 0.3, not nothing")]),
    ("volume_ml = 0.3\n", "volume_ml = 0.3\nwaste = 100\n", [("38 raises", "waste: nothing, not 100")]),
    ("volume_ml = 0.3\n", "volume_ml = true\n", [("38 raises", "volume_ml: 0.3, not true")]),
    (
        'expect = { action = "hold"',
        'expect = { action = "maintain"',
        [("400.1 holds", 'action: "hold", not "maintain"')],
    ),
    (
        "value = 400.1",
        "value = 400",
        [("400.1 holds", AT_400)],
    ),
    (
        '"2026-03-16"',
        '"2026-03-17"',
        [(name, 'next_count_on: "2026-03-16", not "2026-03-17"') for name in ("38 raises", "400.1 holds")],
    ),
    (
        "micrograms = 75,",
        'micrograms = "75",',
        [(name, 'doses[0].micrograms: must be a number, not "75"') for name in ("38 raises", "400.1 holds")],
    ),
    ("course.platelet_counts", "course.platelets", [("400.1 holds", "platelets: unknown key")]),
    ('on = "2026-03-09"\nw', "w", [(name, "on: required") for name in ("38 raises", "400.1 holds")]),
]


@pytest.mark.parametrize(("old", "new", "expected"), FAILING, ids=[new or old for old, new, _ in FAILING])
def test_a_failing_example_refuses_the_protocol_by_name_and_difference(
    folder: Path, old: str, new: str, expected: list[tuple[str, str]]
) -> None:
    assert old in EXAMPLES
    write_local(folder, "ours", examples=EXAMPLES.replace(old, new))
    found = refusal(folder / "ours.toml")
    assert found == [Fault(f"example '{name}'", difference) for name, difference in expected]
    told = "; ".join(map(str, found))
    assert Catalogue(folder).fault("ours") == f"the file of this protocol is refused: {told}"


def test_examples_that_agree_are_told(folder: Path) -> None:
    outcomes = load(write_local(folder, "ours", examples=EXAMPLES))[1]
    assert [(outcome.example.name, outcome.example.limit, outcome.wrong) for outcome in outcomes] == [
        ("38 raises", "increase", ""),
        ("400.1 holds", "hold", ""),
    ]


def test_the_course_of_an_example_replaces_whole_keys_of_the_base(folder: Path) -> None:
    plain, changed = (outcome.example.document for outcome in load(write_local(folder, "ours", examples=EXAMPLES))[1])
    assert {key for key in plain if plain[key] != changed[key]} == {"platelet_counts"}
    assert plain.keys() == changed.keys() == {"protocol", "on", "weights", "platelet_counts", "doses"}
    assert plain["protocol"] == "ours"


NO_ANSWER = [
    ('due_on = "2026-03-09"', "due_on = 2026-03-09", 'due_on: "2026-03-09", not 2026-03-09'),
    ("micrograms = 150\n", "micrograms = 1e99\n", "micrograms: 150, not 1e+99"),
    ("micrograms = 150\n", "micrograms = nan\n", "micrograms: 150, not nan"),
    ("micrograms = 150\n", "micrograms = { is = 150 }\n", "micrograms: 150, not an object"),
    ("vials = [[250, 1]]", "vials = [[1e99, 1]]", "vials: [[250, 1]], not [[1e+99, 1]]"),
    ("vials = [[250, 1]]", "vials = [[250, 2026-03-09]]", "vials: [[250, 1]], not [[250, 2026-03-09]]"),
    ('action = "increase"', 'action = "\\u001b[31m\\u009b"', r'action: "increase", not "\u001b[31m\u009b"'),
    ('action = "increase"', f'action = "{"x" * 50}"', f'action: "increase", not "{"x" * 40}…"'),
    ("alerts = []\nm", '"\\u001b[31m" = 1\nalerts = []\nm', r'"\u001b[31m": nothing, not 1'),
]


@pytest.mark.parametrize(("old", "new", "difference"), NO_ANSWER, ids=[new for _, new, _ in NO_ANSWER])
def test_an_example_that_expects_what_no_answer_has_is_told_as_it_was_written(
    folder: Path, old: str, new: str, difference: str
) -> None:
    assert old in EXAMPLES
    write_local(folder, "ours", examples=EXAMPLES.replace(old, new, 1))
    assert refusal(folder / "ours.toml") == [Fault("example '38 raises'", difference)]


# Examples that are malformed

NO_EXAMPLES = [Fault("ours.examples.toml", "must have a table [base] and at least one [[example]]")]
NO_ENTRY = "must have name, limit and expect, and at most a table course beside"
ENTRY = '[[example]]\nname = "x"\nlimit = "y"\n'
MALFORMED: list[tuple[str, list[Fault]]] = [
    ("", NO_EXAMPLES),
    ('[base]\non = "2026-03-09"\n', NO_EXAMPLES),
    ("example = []\n", NO_EXAMPLES),
    ("example = 1\n", NO_EXAMPLES),
    ("[example]\nname = 1\n", NO_EXAMPLES),
    (f"base = 1\n{ENTRY}expect = {{}}\n", NO_EXAMPLES),
    (f"base = [{{}}]\n{ENTRY}expect = {{}}\n", NO_EXAMPLES),
    (ENTRY, [Fault("example[0]", NO_ENTRY)]),
    (f"{ENTRY}expect = 1\n", [Fault("example[0]", NO_ENTRY)]),
    (f"{ENTRY}expect = {{}}\ncourse = 1\n", [Fault("example[0]", NO_ENTRY)]),
    (f"{ENTRY}expect = {{}}\ncurse = {{}}\n", [Fault("example[0]", NO_ENTRY)]),
    ('[[example]]\nname = 1\nlimit = "y"\nexpect = {}\n', [Fault("example[0]", NO_ENTRY)]),
    ('[[example]]\nname = "x"\nexpect = {}\n', [Fault("example[0]", NO_ENTRY)]),
    (f'{EXAMPLES}\n[[example]]\nname = "x"\n', [Fault("example[2]", NO_ENTRY)]),
    ("example = [1]\n", [Fault("example[0]", NO_ENTRY)]),
]


@pytest.mark.parametrize(("examples", "expected"), MALFORMED)
def test_a_malformed_file_of_examples_refuses_the_protocol_with_its_paths(
    folder: Path, examples: str, expected: list[Fault]
) -> None:
    assert refusal(write_local(folder, "ours", examples=examples)) == expected


def test_an_example_without_a_base_stands_for_itself(folder: Path) -> None:
    (fault,) = refusal(write_local(folder, "ours", examples=f"{ENTRY}expect = {{}}\n"))
    assert fault == Fault("example 'x'", "on: required")


@pytest.mark.parametrize(("make", "message"), UNREADABLE, ids=UNREADABLE_IDS)
def test_a_file_of_examples_that_cannot_be_read_refuses_the_protocol(
    folder: Path, make: Callable[[Path], object], message: str
) -> None:
    make(folder / "ours.examples.toml")
    (fault,) = refusal(write_local(folder, "ours"))
    assert fault.path == "ours.examples.toml"
    assert fault.message.startswith(message)
