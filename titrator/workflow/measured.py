"""What hospital systems call what is measured here, and its units, at whichever door they speak: FHIR, HL7 v2.

LOINC codes and units are those that US Core and public code use for these values.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from titrator.workflow.facts import OBSERVATIONS, PLATELET_COUNTS, WEIGHTS, Collection

LOINC: Final = "http://loinc.org"


class Measured(NamedTuple):
    """What a LOINC code is: the collection, the code within it, the category, the LOINC codes, the best one first."""

    collection: Collection
    code: str | None
    category: str
    loinc: tuple[tuple[str, str], ...]


MEASURED: Final = (
    Measured(
        PLATELET_COUNTS,
        None,
        "laboratory",
        (
            ("777-3", "Platelets [#/volume] in Blood by Automated count"),
            ("26515-7", "Platelets [#/volume] in Blood"),
            ("778-1", "Platelets [#/volume] in Blood by Manual count"),
        ),
    ),
    Measured(WEIGHTS, None, "vital-signs", (("29463-7", "Body weight"), ("3141-9", "Body weight Measured"))),
    Measured(OBSERVATIONS, "haemoglobin", "laboratory", (("718-7", "Hemoglobin [Mass/volume] in Blood"),)),
    Measured(
        OBSERVATIONS,
        "neutrophils",
        "laboratory",
        (
            ("751-8", "Neutrophils [#/volume] in Blood by Automated count"),
            ("26499-4", "Neutrophils [#/volume] in Blood"),
        ),
    ),
    Measured(
        OBSERVATIONS,
        "immature-platelet-fraction",
        "laboratory",
        (("71693-6", "Platelets reticulated/100 platelets in Blood by Automated count"),),
    ),
)
#: Platelet counts that are not read, but must not be newer than what is.
OTHER_COUNTS: Final[Mapping[str, str]] = {
    "49497-1": "Platelets [#/volume] in Blood by Estimate",
    "74464-9": "Platelets [#/volume] in Capillary blood by Manual count",
}
BY_LOINC: Final[Mapping[str, Measured]] = {code: one for one in MEASURED for code, _ in one.loinc}
BY_CONTENT: Final[Mapping[tuple[str, str | None], Measured]] = {
    (one.collection.kinds[0], one.code): one for one in MEASURED
}
CATEGORIES: Final = {"laboratory": "Laboratory", "vital-signs": "Vital Signs"}

#: What people write in place of a UCUM code, where that is plain.
WRITTEN: Final = {
    "10^9/L": "10*9/L",
    "10^3/uL": "10*3/uL",
    "10^3/µL": "10*3/uL",
    "x10^9/L": "10*9/L",
    "x10^3/uL": "10*3/uL",
    "10E9/L": "10*9/L",
    "10E3/uL": "10*3/uL",
    "K/µL": "K/uL",
    "/µL": "/uL",
    "{#}/uL": "/uL",
    "/mm^3": "/mm3",
    "lbs": "lb",
}


class _Unit(NamedTuple):
    """A unit as powers of ten of others: what is in it, what it is divided by, and the power."""

    of: str
    by: tuple[str, ...]
    power: int


#: By how people write a unit: what it is of, and which power of ten.
_PARTS: Final[Mapping[str, tuple[str, int]]] = {
    word: (of, power)
    for of, power, words in (
        ("g", 3, "kg kgs kilogram kilograms kilogramm kilogramme kilo kilos"),
        ("g", 0, "g gm gram grams gramm gramme"),
        ("g", -3, "mg mgs milligram milligrams milligramm milligramme"),
        ("g", -6, "ug mcg µg µgs ugs mcgs microgram micrograms microgramme microgrammes mikrogramm microg"),
        ("g", -9, "ng nanogram nanograms nanogramm"),
        ("lb", 0, "lb lbs pound pounds [lb_av]"),
        ("oz", 0, "oz ounce ounces [oz_av]"),
        ("st", 0, "st stone stones [stone_av]"),
        ("l", 0, "l liter litre liters litres"),
        ("l", -1, "dl deciliter decilitre"),
        ("l", -3, "ml milliliter millilitre milliliters millilitres cm3 cc"),
        ("l", -6, "ul µl mcl microliter microlitre mikroliter mm3 mm^3 mm³ cmm"),
        ("l", -9, "nl nanoliter nanolitre"),
        ("mol", 0, "mol mole moles"),
        ("mol", -3, "mmol millimol millimole millimoles"),
        ("mol", -6, "umol µmol micromole micromoles"),
        ("%", 0, "% percent prozent"),
        ("iu", 0, "iu ie"),
        ("day", 0, "d day tag"),
        ("week", 0, "wk week woche"),
    )
    for word in words.split()
}
#: By how people write how many there are of something counted.
_COUNTED: Final[Mapping[str, int]] = {
    word: power
    for power, words in (
        (0, "{#} # 1"),
        (3, "10*3 10^3 10e3 10³ 10(3) e3 k thou thousand thousands thsd tsd tausend"),
        (6, "10*6 10^6 10e6 10⁶ million millions mio mill"),
        (12, "10*12 10^12 10e12 10¹²"),
        (9, "10*9 10^9 10e9 10⁹ 10(9) e9 giga gpt billion billions mrd"),
    )
    for word in words.split()
}
_LONGEST_UNIT: Final = 60
#: What UCUM divides by, as a power: `10*3.uL-1`.
_INVERSE: Final = re.compile(r"(?:^|\.)([A-Za-zµ]+)-1(?!\d)")
_CELLS: Final = re.compile(r"\b(?:cells?|zellen|platelets?|thrombozyten|plt)\b|\{(?!#)[^}]*\}")


def differ(one: str, other: str) -> bool:
    """Whether two units are both known, and are not the same amount. A text that is longer than any unit is none."""
    if one == other or max(len(one), len(other)) > _LONGEST_UNIT:
        return False
    first, second = _meant(one), _meant(other)
    return bool(first and second) and first.isdisjoint(second)


def unit_among(written: str, units: Sequence[str]) -> str:
    """A unit as somebody wrote it, by the one of some units that it is; where it is none of them as it was written."""
    divided = _INVERSE.sub(r"/\1", written) if "-1" in written else written
    named = WRITTEN.get(divided, divided)
    return named if not units or named in units else same_unit(written, units) or named


def same_unit(written: str, units: Iterable[str]) -> str | None:
    """Of some units the first that is the same amount as one that somebody wrote in his own way; None if none is."""
    meant = _meant(written) if len(written) <= _LONGEST_UNIT else frozenset()
    return next((unit for unit in units if meant & _ours(unit)), None)


def _ours(unit: str) -> frozenset[_Unit]:
    """What a unit of ours means: g grams and G giga, whichever of both somebody else may mean by either."""
    meant = _meant(unit)
    return frozenset(one for one in meant if (one.of == "#") == unit.startswith("G")) if len(meant) > 1 else meant


def _meant(unit: str) -> frozenset[_Unit]:
    """What a unit may mean, as people write it; nothing if it is not known."""
    text = re.sub(r"\s+(?:per|pro)\s+|^(?:per|pro)\s+", "/", unit.strip().lower().replace("μ", "µ"))
    text = _INVERSE.sub(r"/\1", text)
    upper, *below = [part.strip() for part in _CELLS.sub("", text).split("/")]
    upper = upper.strip(" .")
    found = {_PARTS[upper]} if upper in _PARTS else set()
    number = re.sub(r"^[x×]\s*", "", upper)
    if below and number in _COUNTED:
        found = {("#", _COUNTED[number])}
    elif below and upper in ("", "x"):
        found = {("#", 0)}
    elif below and upper == "g":
        found.add(("#", 9))
    parts = [_PARTS.get(part.strip(" .")) for part in below]
    if not found or None in parts:
        return frozenset()
    divided = [part for part in parts if part is not None]
    less = sum(power for _, power in divided)
    return frozenset(_Unit(of, tuple(sorted(name for name, _ in divided)), power - less) for of, power in found)


PLATELETS: Final = r"(?:platelet|thrombo[cz]yt|pl(?:ä|ae)ttchen)"
_COUNT_WORDS: Final = re.compile(rf"{PLATELETS}|\bPLT\b", re.IGNORECASE)
_NO_COUNT: Final = re.compile(
    r"entitic|mean|mittler|width|reticul|retikul|immature|unreif|fraction|antibod|antik|\bAb\b|function|funktion"
    r"|aggregat|presence|morpholog|clump|/100|ratio|plateletcrit|transfus",
    re.IGNORECASE,
)
_SPOILT: Final = (
    r"[ck]lump|aggregat|agglutin|agglomer|pseudothrombo|satellit|\bclot|microclot|geronnen|gerinnsel|koagel|coagul"
    r"|fibrin(?! ?ogen)|凝集|凝固|凝血|フィブリン"
)
_CLUMPS: Final = re.compile(
    _SPOILT + r"|\bEDTA\b|unreliable|not reliable|unzuverl(?:ä|ae)ssig|nicht verwertbar|not valid\b|invalid|unsuitable"
    r"|(?:please|bitte) (?:repeat|wiederhol|recollect|redraw)|repeat (?:sample|specimen|collection|draw|venipuncture)"
    r"|(?:sample|specimen|collection) (?:should be |to be |must be )?(?:repeated|recollected|redrawn)|\brecollect\b"
    r"|insufficient (?:sample|specimen|quantity|volume|blood)"
    r"|(?:quantity|volume) (?:is |was )?(?:not sufficient|insufficient)"
    r"|\bQNS\b|short draw|unterfüllt|zu wenig (?:material|blut|probe)|再採血|検体不良|参考値",
    re.IGNORECASE,
)
_NO_CLUMPS: Final = re.compile(
    r"\b(?:no|not|without|kein\w*|ohne|nicht|free of) "
    rf"(?:(?:visible|platelet|platelets|fibrin|evidence|signs?|of|seen|or|any) ){{0,4}}(?:{_SPOILT})\w*"
    rf"|(?:{_SPOILT})\w*(?: (?:in|of) \w+)?[ :-]+"
    r"(?:none|absent|negative?|not (?:seen|present|detected)|nicht nachweisbar|keine)\b"
    r"|凝集(?:なし|無し|\(-\)|を認めず)",
    re.IGNORECASE,
)


def is_like_a_count(loinc: Iterable[str], words: str) -> bool:
    """Whether a result by LOINC codes of which none is read is like a platelet count."""
    if any(code in OTHER_COUNTS for code in loinc):
        return True
    return bool(_COUNT_WORDS.search(words)) and not _NO_COUNT.search(words)


def tells_of_clumps(words: str) -> bool:
    """Whether what a laboratory remarks on a count says that the platelets clumped, or that the sample is no good."""
    return bool(_CLUMPS.search(_NO_CLUMPS.sub(" ", words)))
