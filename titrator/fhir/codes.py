"""What a code of a hospital system is here, and the other way round.

LOINC codes and units are those that US Core and public code use for these values; no code of a medicine is known but
the ATC class, so romiplostim is also known by its name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import SequenceMatcher
from typing import Final

from titrator.workflow.measured import BY_CONTENT as BY_CONTENT
from titrator.workflow.measured import BY_LOINC as BY_LOINC
from titrator.workflow.measured import CATEGORIES as CATEGORIES
from titrator.workflow.measured import LOINC as LOINC
from titrator.workflow.measured import MEASURED as MEASURED
from titrator.workflow.measured import OTHER_COUNTS as OTHER_COUNTS
from titrator.workflow.measured import PLATELETS
from titrator.workflow.measured import WRITTEN as WRITTEN
from titrator.workflow.measured import Measured as Measured
from titrator.workflow.measured import differ as differ
from titrator.workflow.measured import is_like_a_count as is_like_a_count
from titrator.workflow.measured import tells_of_clumps as tells_of_clumps

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
INTRAVENOUS: Final = {"system": SNOMED, "code": "47625008", "display": "Intravenous route"}
INTRAMUSCULAR: Final = {"system": SNOMED, "code": "78421000", "display": "Intramuscular route"}
PLATELET_TRANSFUSION: Final = "12719002"
RED_CELL_TRANSFUSION: Final = "116863004"

#: By route of a dose: SNOMED CT codes, codes of the tables of HL7 v2 and v3, and words.
_ROUTES: Final[Mapping[str, tuple[frozenset[str], frozenset[str], re.Pattern[str]]]] = {
    "subcutaneous": (
        frozenset({SUBCUTANEOUS["code"]}),
        frozenset({"SC", "SQ"}),
        re.compile(
            r"(?i:sub-?[ck]ut|sub-?q\b|\bs\. ?[ck]\.|sous[- ]?cutan|sotto ?cutan|onderhuid|подкож|皮下)|\b(?:SC|SQ)\b"
            r"|\A(?i:s[ckq])\Z"
        ),
    ),
    "intravenous": (
        frozenset({INTRAVENOUS["code"]}),
        frozenset({"IV", "IVINJ"}),
        re.compile(r"(?i:intra[- ]?ven|\bi\. ?v\.|ven(?:ous|ös)|внутривен|静脈|静注|点滴)|\bP?IV\b|\A(?i:iv)\Z"),
    ),
    "intramuscular": (
        frozenset({INTRAMUSCULAR["code"]}),
        frozenset({"IM"}),
        re.compile(r"(?i:intra[- ]?mus|\bi\. ?m\.|внутримыш|筋肉|筋注)|\bIM\b|\A(?i:im)\Z"),
    ),
    "other": (
        frozenset(),
        frozenset(),
        re.compile(
            r"(?i:\boral|by mouth|per os|\bp\. ?o\.|intra[- ]?(?:thec|derm|kut|cut|perit|osse|art|nas)|topi[ck]al|inhal"
            r"|rectal|rektal|transderm|sublingual|\binfusion|(?:another|other) route|経口|внутрь)|\bPO\b|\A(?i:po)\Z"
        ),
    ),
}
#: Systems of routes of HL7 v2 and v3, by whichever of their names.
_HL7_ROUTES: Final = re.compile(
    r"v2[-/]0162\Z|v3[-/]RouteOfAdministration\Z|2\.16\.840\.1\.113883\.(?:12\.162|5\.112)\Z", re.IGNORECASE
)
_SNOMED_BY_OID: Final = "urn:oid:2.16.840.1.113883.6.96"
#: Words that say by which route not.
_NOT_SO: Final = re.compile(
    r"\b(?:not|no|never|nicht|kein\w*|nie)\b[ :]*(?:for |by |via |als )?"
    r"(?:i\. ?[vm]\.|s\. ?c\.|\b(?:iv|im|sc|po)\b|intra\w*|sub[ck]ut\w*|oral\w*)",
    re.IGNORECASE,
)


#: Units of micrograms, as dose of a dose given: one of each in micrograms, as a power of ten.
MICROGRAMS: Final = {"ug": 0, "mcg": 0, "MCG": 0, "µg": 0, "μg": 0, "microgram": 0, "micrograms": 0, "mg": 3}
#: Units of a level, of micrograms by kg of body weight.
LEVELS: Final = ("ug/kg", "mcg/kg", "µg/kg", "μg/kg", "microgram/kg", "micrograms/kg")
#: UCUM codes of units that we know by another name.
UNIT_NAMES: Final = {"K/uL": "10*3/uL", "G/L": "10*9/L", "lb": "[lb_av]"}
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
        frozenset({"128053003", "59282003", "22298006", "230690007", "132281000119108", "443210003", "195080001"}),
        (
            *[
                "I21",
                "I22",
                "I23",
                "I24",
                "I26",
                "I63",
                "I64",
                "I676",
                "I74",
                "I80",
                "I81",
                "I82",
                "G08",
                "G45",
                "K550",
            ],
            *("O223", "O225", "O87", "O88", "H340", "H341", "H342", "H348"),
        ),
    ),
    "marrow disorder": (
        frozenset({"109995007", "91861009"}),
        ("C92", "C93", "C94", "C95", "D45", "D46", "D47"),
    ),
}
_SAFETY_WORDS: Final = {
    "thrombosis": re.compile(
        r"thrombos[ie]|thrombosen|thrombus|thrombi\b|thrombophleb|thrombotic (?:event|stroke|occlusion)"
        r"|embol(?:ism|ie|us|i\b|ic\b)|\b(?:DVTs?|TVT|VTE|PE(?! tube| exam)|LAE|TIA|N?STEMI|AMI)\b|\bacute MI\b"
        r"|\bCVA\b(?! tender)"
        r"|(?<!heat )\bstrokes?\b(?! volume)|schlaganf|apople[xk]|hirnschlag|hirninsult"
        r"|(?:isch(?:ä|ae|a)misch|zerebral)er insult"
        r"|cerebrovascular accident|transient isch|transitorische isch|infarct|infarkt|heart attack|herzanfall"
        r"|acute coronary|akutes koronar|vein occlusion|venenverschlu|budd.chiari|\bclots?\b|gerinnsel"
        r"|血栓(?!性血小板|溶解|予防)|塞栓|梗塞|脳卒中",
        re.IGNORECASE,
    ),
    "marrow disorder": re.compile(
        r"\b(?:MDS|AML|CML|CMML)\b|refractory an(?:ae|e)mia|myelodysplas|leuk(?:a?e|ä)mi|myelofibros|marrow fibros"
        r"|knochenmarks?fibros"
        r"|blast crisis|blastenkrise|reticulin|retikulin|骨髄異形成|白血病|骨髄線維",
        re.IGNORECASE,
    ),
}
#: Words that name one of these and do not say that there is one.
_NO_EVENT: Final = re.compile(
    r"(?:thrombose|embolie|schlaganfall)[ -]?(?:prophyla|risiko|neigung)\w*"
    r"|(?:thrombo(?:sis|embolism)|dvt|vte|stroke)[ -](?:prophyla\w*|prevention)"
    r"|family history (?:of|for)(?: \w+){1,4}|familienanamnese[: ]+(?:positiv )?(?:für |auf |mit )?\w+"
    r"|\brisk (?:of|for) (?:(?:venous|deep|vein|arterial) )*(?:thrombos\w*|thromboembol\w*|embol\w*|stroke|dvt)"
    r"|\bexam(?:ination)? PE\b|chroni(?:c|sche) lymph\w+ leuk\w+|lymphoblast\w+ leuk\w+"
    r"|\b(?:mds|myelodysplas\w*(?: syndromes?)?)[ ,:-]*(?:was |wurde )?(?:excluded|ruled out|ausgeschlossen)",
    re.IGNORECASE,
)
#: Words that say that something was, or is not.
_PAST: Final = re.compile(
    r"\b(?:history|hx|h/o) of\b|\bhistory\b(?! unknown)|\b(?:previous|prior|old|past|remote)\b|zustand nach"
    r"|\bz\.? ?n\."
    r"|anamnes|no (?:evidence|sign)s? of|ruled out|\bexcluded\b|ausgeschlossen|\bkein\w* (?:hinweis|anhalt)"
    r"|陳旧性|既往|否定",
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
    r"immun(?:o|e)?[ -]?globulin|globulina? inmun|inmunoglobulin|グロブリン|privigen|octagam|gammagard|gamunex|gammaked"
    r"|gammaplex|kiovig|intratect|flebogamma|panzyga|bivigam|asceniv|hizentra|cuvitru|xembify|sandoglobulin|"
    r"\b(?:IVIG|SCIG|IVIGG)\b|anti[- ]?D\b|\bRh[o0]? ?\(D\)|winrho|rhophylac|rhesogam"
)
_RAISING: Final = re.compile(
    _GLOBULINS + r"|(?:el|ava|lusu|he)trombopag|rilzabrutinib|revolade|promacta|doptelet|mulpleta|wayrilz"
    r"|fostamatinib|tavalisse|tavlesse|rituximab|mabthera|rituxan|efgartigimod|vyvgart|vincristin|エルトロンボパグ",
    re.IGNORECASE,
)
_STEROIDS: Final = re.compile(
    r"predniso|dexameth?as|medrol|decadron|urbason|プレドニゾロン|デキサメタゾン|betameth?as|[ck]ortison|steroid|gluco[ck]orti|glukokorti|triamcinolon|deflazacort",
    re.IGNORECASE,
)
#: Steroids that are put on or breathed in, by the beginnings of their ATC codes, and words.
_LOCAL_ATC: Final = ("A01", "A07", "C05", "D", "R", "S")
_LOCAL: Final = re.compile(
    r"cream|creme|ointment|salbe|lotion|\bgel\b|drops|tropfen|nasal|nasen|inhal|topical|spray", re.IGNORECASE
)
_RAISING_PROCEDURE: Final = re.compile(
    _GLOBULINS
    + rf"|{PLATELETS}.{{0,40}}(?:transfus|[kc]on[zc]entra|infus)|transfus.{{0,40}}{PLATELETS}"
    + r"|(?:plasma|blood|transfusion|therapeutic)[ -]?exchange|exchange[ -]transfus|exchange of (?:plasma|blood)"
    + r"|(?:plasma|blut)austausch|austauschtransfus|plasma?pheres",
    re.IGNORECASE,
)


def route_by(codes: Iterable[tuple[str | None, str]], texts: Iterable[str]) -> str | None:
    """How something was given or is to be given, by codes and words: one of ROUTES of a dose; None if nothing is said.

    It is `unknown` where that is not understood, and subcutaneous only if nothing says otherwise.
    """
    codes, words = list(codes), [text.strip() for text in texts if text.strip()]
    found = {_route_of_code(system, code, alone=not words) for system, code in codes}
    for text in words:
        said = _NOT_SO.sub(" ", text).strip()
        found.update(route for route, (_, _, named) in _ROUTES.items() if named.search(said))
    told = next((route for route in ("intravenous", "intramuscular", "other", "subcutaneous") if route in found), None)
    return told or ("unknown" if codes or words else None)


def _route_of_code(system: str | None, code: str, *, alone: bool) -> str | None:
    """The route of a code, None where it is not known; of a table that we know it is another one, if it is `alone`."""
    if system in (SNOMED, _SNOMED_BY_OID):
        known = next((route for route, (snomed, _, _) in _ROUTES.items() if code in snomed), None)
        return known or ("other" if alone else None)
    if system is None or not _HL7_ROUTES.search(system):
        return None
    return next((route for route, (_, hl7, _) in _ROUTES.items() if code.upper() in hl7), "other")


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


def is_of_the_past(words: str) -> bool:
    """Whether the words of a diagnosis say that it was once, or is not."""
    return bool(_PAST.search(words))


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


def procedure_may_raise(words: str) -> bool:
    """Whether the words of a procedure are of one that may have raised a platelet count."""
    return bool(_RAISING_PROCEDURE.search(words))


def is_atc(system: str | None) -> bool:
    """Whether a code system is that of the ATC classes, by whichever of its names."""
    return system == ATC or (system is not None and bool(_ATC_SYSTEM.search(system)))


def is_romiplostim(codes: Iterable[tuple[str | None, str]], texts: Iterable[str]) -> bool | None:
    """Whether a medicine is romiplostim: by its ATC code, in whichever system, or by its name; None if it may be.

    In one of the texts it must come first: "dexamethasone before romiplostim" is another medicine.
    """
    codes, texts = list(codes), list(texts)
    if any(code.strip().upper() == ROMIPLOSTIM for _, code in codes):
        return True
    if any(is_atc(system) for system, _ in codes) or not any(map(names_romiplostim, texts)):
        return False
    return True if any(map(_begins_with_it, texts)) else None


def _begins_with_it(text: str) -> bool:
    """Whether the first word of a name is romiplostim's, but for those that say how it is given or packed."""
    words = (word for word in re.finditer(r"[^\W\d_]+", text) if word[0].lower() not in _OF_ANY_MEDICINE)
    first = next(words, None)
    return first is not None and (names_romiplostim(first[0]) or bool(_NAMES.match(text, first.start())))


#: What may stand before the name of any medicine.
_OF_ANY_MEDICINE: Final = frozenset(
    (
        *("inj", "inject", "injection", "injektion", "injectable", "infusion", "sc", "s", "c", "subcut"),
        *("subcutaneous", "subkutan", "once", "weekly", "powder", "pulver", "solution", "lösung", "vial", "vials"),
        *("durchstechflasche", "of", "de", "di", "von", "the", "a", "mcg", "microgram", "micrograms", "µg", "μg", "ug"),
        *("mg", "kg", "ml", "x", "drug", "medication", "medicine", "medikament", "product", "wirkstoff", "rx"),
        *("recombinant", "atc"),
    )
)


def names_romiplostim(text: str) -> bool:
    """Whether the name of a medicine is that of romiplostim, or that mis-spelt by a letter."""
    if _NAMES.search(text):
        return True
    words = (word for word in re.findall(r"[^\W\d_]+", text.lower()) if len(word) >= _LEAST_LETTERS)
    return any(SequenceMatcher(None, word, name).ratio() >= _LIKE for word in words for name in _SPELT)
