"""What a code of a hospital system is here, and the other way round.

LOINC codes and units are those that US Core and public code use for these values; no code of a medicine is known but
the ATC class, so romiplostim is also known by its name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import SequenceMatcher
from typing import Final, NamedTuple

from titrator.workflow.facts import OBSERVATIONS, PLATELET_COUNTS, WEIGHTS, Collection

LOINC: Final = "http://loinc.org"
UCUM: Final = "http://unitsofmeasure.org"
SNOMED: Final = "http://snomed.info/sct"
ATC: Final = "http://www.whocc.no/atc"
V3: Final = "http://terminology.hl7.org/CodeSystem"
#: Of what has no standard code: kinds of events, reasons and alerts of the engine, reasons to override.
OWN: Final = "urn:titrator"

ROMIPLOSTIM: Final = "B02BX04"
_NAMES: Final = re.compile(
    r"romiplostim|nplate|romiplate|\bAMG[ -]?531\b|\bromy\b|ロミプロスチム|ロミプレート"
    r"|ромиплостим|энплейт|羅米司亭|罗米司亭|罗普司亭",
    re.IGNORECASE,
)
#: Names of which a word that is a letter off is one, too: so many letters it has at least, so like it is.
_SPELT: Final = ("romiplostim", "romiplate", "ромиплостим")
_LEAST_LETTERS: Final = 9
_LIKE: Final = 0.88
SUBCUTANEOUS: Final = {"system": SNOMED, "code": "34206005", "display": "Subcutaneous route"}
PLATELET_TRANSFUSION: Final = "12719002"
RED_CELL_TRANSFUSION: Final = "116863004"


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

#: Units of micrograms, as dose of a dose given: one of each in micrograms, as a power of ten.
MICROGRAMS: Final = {"ug": 0, "mcg": 0, "µg": 0, "μg": 0, "mg": 3}
#: Units of a level, of micrograms by kg of body weight.
LEVELS: Final = ("ug/kg", "mcg/kg", "µg/kg", "μg/kg", "microgram/kg", "micrograms/kg")
#: UCUM codes of units that we know by another name.
UNIT_NAMES: Final = {"K/uL": "10*3/uL", "G/L": "10*9/L", "lb": "[lb_av]"}
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
        ("l", -6, "ul µl microliter microlitre mikroliter mm3 mm^3 mm³ cmm"),
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
        (3, "10*3 10^3 10e3 10³ k thou thousand thousands thsd tsd tausend"),
        (6, "10*6 10^6 10e6 10⁶ million millions mio mill"),
        (12, "10*12 10^12 10e12 10¹²"),
        (9, "10*9 10^9 10e9 10⁹ giga gpt billion billions mrd"),
    )
    for word in words.split()
}
_CELLS: Final = re.compile(r"\b(?:cells?|zellen|platelets?|thrombozyten|plt)\b|\{(?!#)[^}]*\}")


def differ(one: str, other: str) -> bool:
    """Whether two units are both known, and are not the same amount."""
    if one == other:
        return False
    first, second = _meant(one), _meant(other)
    return bool(first and second) and first.isdisjoint(second)


def _meant(unit: str) -> frozenset[_Unit]:
    """What a unit may mean, as people write it; nothing if it is not known."""
    text = re.sub(r"\s+(?:per|pro)\s+|^(?:per|pro)\s+", "/", unit.strip().lower().replace("μ", "µ"))
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


#: Reasons that a dose was not given, by code of a MedicationAdministration's statusReason.
NOT_GIVEN_TEXT: Final = {
    "absent": "Patient absent",
    "refused": "Patient refused",
    "on-hold": "On hold",
    "adverse-event": "Adverse event",
    "no-supply": "No supply",
    "prescriber-decision": "Decision of the prescriber",
    "other": "Other reason",
}

TRANSFUSIONS: Final[Mapping[str, tuple[str, str]]] = {
    "platelet_transfusion": (PLATELET_TRANSFUSION, "Transfusion of platelets"),
    "red_cell_transfusion": (RED_CELL_TRANSFUSION, "Transfusion of red blood cells"),
}
EVENT_TEXT: Final = {
    "rescue_therapy": "Rescue therapy (immunoglobulin, anti-D, steroid pulse)",
    "thrombosis": "Thrombosis",
    "marrow_disorder": "Marrow disorder, suspected or proven",
    "adverse_event": "Adverse event",
}


#: By what a code or the words of a diagnosis may mean: SNOMED CT codes, the beginnings of ICD-10 codes, and words.
_SAFETY_CODES: Final[Mapping[str, tuple[frozenset[str], tuple[str, ...]]]] = {
    "thrombosis": (
        frozenset({"128053003", "59282003", "22298006", "230690007"}),
        ("I26", "I80", "I81", "I82", "I63", "I21"),
    ),
    "marrow disorder": (frozenset({"109995007"}), ("D46", "C92", "D474")),
}
_SAFETY_WORDS: Final = {
    "thrombosis": re.compile(
        r"thrombos[ie]|thrombosen|thrombus|thrombi\b|thrombophleb|thrombotic (?:event|stroke|occlusion)"
        r"|embol(?:ism|ie|us|i\b|ic\b)|\b(?:DVTs?|TVT|VTE|PE|LAE|TIA|N?STEMI)\b|\bCVA\b(?! tender)"
        r"|(?<!heat )\bstrokes?\b(?! volume)|schlaganf|apople[xk]|hirninsult|isch(?:ä|ae|a)mischer insult"
        r"|cerebrovascular accident|transient isch|transitorische isch|infarct|infarkt|heart attack|herzanfall"
        r"|vein occlusion|venenverschlu|blood clot|blutgerinnsel",
        re.IGNORECASE,
    ),
    "marrow disorder": re.compile(
        r"\b(?:MDS|AML|CML|CMML)\b|myelodysplas|leuk(?:a?e|ä)mi|myelofibros|marrow fibros|knochenmarks?fibros"
        r"|reticulin|retikulin",
        re.IGNORECASE,
    ),
}
#: Words that name one of these and do not say that there is one.
_NO_EVENT: Final = re.compile(
    r"(?:thrombose|embolie|schlaganfall)[ -]?(?:prophyla|risiko|neigung)\w*"
    r"|(?:thrombo(?:sis|embolism)|dvt|vte|stroke)[ -](?:prophyla\w*|prevention)"
    r"|(?:family history|familienanamnese)[^.;,]*"
    r"|\brisk (?:of|for) (?:(?:venous|deep|vein|arterial) )*(?:thrombos\w*|thromboembol\w*|embol\w*|stroke|dvt)"
    r"|\b(?:mds|myelodysplas\w*(?: syndromes?)?)[ ,:-]*(?:was |wurde )?(?:excluded|ruled out|ausgeschlossen)",
    re.IGNORECASE,
)
_ICD_10: Final = re.compile(r"icd-?10|2\.16\.840\.1\.113883\.6\.(?:3|90)\Z", re.IGNORECASE)
_ATC_SYSTEM: Final = re.compile(r"[/.:-]atc\b|2\.16\.840\.1\.113883\.6\.73\Z", re.IGNORECASE)

_ITP: Final = re.compile(
    r"\bITP\b|(?:immun\w*|idiopath\w*|autoimmun\w*)[ -]+thrombo[cz]ytop|immunthrombo[cz]ytop|werlhof"
    r"|(?:特発性|免疫性)血小板減少",
    re.IGNORECASE,
)
#: Beginnings of the ATC codes of medicines that may raise a count, and words.
_RAISING_ATC: Final = ("J06BA", "J06BB01", "H02AB", "B02BX05", "B02BX07", "B02BX08")
_GLOBULINS: Final = (
    r"immun(?:o|e)?[ -]?globulin|\b(?:IVIG|SCIG|IVIGG)\b|anti[- ]?D\b|\bRh[o0]? ?\(D\)|winrho|rhophylac|rhesogam"
)
_RAISING: Final = re.compile(
    _GLOBULINS + r"|(?:el|ava|lusu|he)trombopag|rilzabrutinib|revolade|promacta|doptelet|mulpleta|wayrilz",
    re.IGNORECASE,
)
_STEROIDS: Final = re.compile(
    r"predniso|dexameth?as|betameth?as|[ck]ortison|steroid|gluco[ck]orti|glukokorti|triamcinolon|deflazacort",
    re.IGNORECASE,
)
#: Steroids that are put on or breathed in, by the beginnings of their ATC codes, and words.
_LOCAL_ATC: Final = ("A01", "A07", "C05", "D", "R", "S")
_LOCAL: Final = re.compile(
    r"cream|creme|ointment|salbe|lotion|\bgel\b|drops|tropfen|nasal|nasen|inhal|topical|spray", re.IGNORECASE
)
_PLATELETS: Final = r"(?:platelet|thrombo[cz]yt|pl(?:ä|ae)ttchen)"
_COUNT_WORDS: Final = re.compile(rf"{_PLATELETS}|\bPLT\b", re.IGNORECASE)
_NO_COUNT: Final = re.compile(
    r"entitic|mean|mittler|width|reticul|retikul|immature|unreif|fraction|antibod|antik|\bAb\b|function|funktion"
    r"|aggregat|presence|morpholog|clump|/100|ratio|plateletcrit|transfus",
    re.IGNORECASE,
)
_CLUMPS: Final = re.compile(r"[ck]lump|aggregat|agglutin|\bEDTA\b|pseudothrombo", re.IGNORECASE)
_NO_CLUMPS: Final = re.compile(
    r"\b(?:no|not|without|kein\w*|ohne|nicht) (?:(?:visible|platelet|platelets|evidence|signs?|of|seen) ){0,3}"
    r"(?:clump|verklump|aggregat|agglutin)\w*",
    re.IGNORECASE,
)
_RAISING_PROCEDURE: Final = re.compile(
    _GLOBULINS
    + rf"|{_PLATELETS}.{{0,40}}(?:transfus|[kc]on[zc]entra|infus)|transfus.{{0,40}}{_PLATELETS}"
    + r"|(?:plasma|blood|transfusion|therapeutic)[ -]?exchange|exchange[ -]transfus|exchange of (?:plasma|blood)"
    + r"|(?:plasma|blut)austausch|austauschtransfus|plasma?pheres",
    re.IGNORECASE,
)


def looks_like(codes: Iterable[tuple[str | None, str]], words: str) -> str | None:
    """What of that which stops a dose a diagnosis looks like, by its codes or its words; None where it does not."""
    said = _NO_EVENT.sub(" ", words)
    codes = list(codes)
    for what, (snomed, icd) in _SAFETY_CODES.items():
        by_code = any(
            code in snomed
            if system == SNOMED
            else (system is None or bool(_ICD_10.search(system)))
            and code.replace(".", "").strip().upper().startswith(icd)
            for system, code in codes
        )
        if by_code or _SAFETY_WORDS[what].search(said):
            return what
    return None


def is_itp(codes: Iterable[tuple[str | None, str]], words: str) -> bool:
    """Whether a diagnosis is immune thrombocytopenia, by its ICD-10 code or its words."""
    by_code = (
        code.replace(".", "").strip().upper().startswith("D693")
        for system, code in codes
        if system is None or _ICD_10.search(system)
    )
    return any(by_code) or bool(_ITP.search(words))


def may_raise(codes: Iterable[tuple[str | None, str]], words: str) -> bool:
    """Whether a medicine that is not romiplostim may have raised a platelet count."""
    atc = [code.strip().upper() for system, code in codes if is_atc(system)]
    if any(code.startswith(_RAISING_ATC) for code in atc) or _RAISING.search(words):
        return True
    local = any(code.startswith(_LOCAL_ATC) for code in atc) or _LOCAL.search(words)
    return bool(_STEROIDS.search(words)) and not local


def is_like_a_count(loinc: Iterable[str], words: str) -> bool:
    """Whether a result by LOINC codes of which none is read is like a platelet count."""
    if any(code in OTHER_COUNTS for code in loinc):
        return True
    return bool(_COUNT_WORDS.search(words)) and not _NO_COUNT.search(words)


def tells_of_clumps(words: str) -> bool:
    """Whether what a laboratory remarks on a count says that the platelets clumped."""
    return bool(_CLUMPS.search(_NO_CLUMPS.sub(" ", words)))


def procedure_may_raise(words: str) -> bool:
    """Whether the words of a procedure are of one that may have raised a platelet count."""
    return bool(_RAISING_PROCEDURE.search(words))


def is_atc(system: str | None) -> bool:
    """Whether a code system is that of the ATC classes, by whichever of its names."""
    return system == ATC or (system is not None and bool(_ATC_SYSTEM.search(system)))


def is_romiplostim(codes: Iterable[tuple[str | None, str]], words: str) -> bool:
    """Whether a medicine is romiplostim, by its ATC code, in whichever system, or, without one, by its name."""
    codes = list(codes)
    if any(code.strip().upper() == ROMIPLOSTIM for _, code in codes):
        return True
    return not any(is_atc(system) for system, _ in codes) and names_romiplostim(words)


def names_romiplostim(text: str) -> bool:
    """Whether the name of a medicine is that of romiplostim, or that mis-spelt by a letter."""
    if _NAMES.search(text):
        return True
    words = (word for word in re.findall(r"[^\W\d_]+", text.lower()) if len(word) >= _LEAST_LETTERS)
    return any(SequenceMatcher(None, word, name).ratio() >= _LIKE for word in words for name in _SPELT)
