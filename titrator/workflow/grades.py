"""CTCAE 5.0 grades of stored blood values: of platelet counts, haemoglobin and neutrophils."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from titrator.store.records import Fact
from titrator.titration.grading import Analyte, Version, grade
from titrator.titration.quantities import GIGA_PER_LITRE_PER, GRAMS_PER_LITRE_PER, times

_UNITS: Final[Mapping[Analyte, Mapping[str, Decimal | None]]] = {
    Analyte.PLATELETS: GIGA_PER_LITRE_PER,
    Analyte.HAEMOGLOBIN: GRAMS_PER_LITRE_PER,
    Analyte.NEUTROPHILS: GIGA_PER_LITRE_PER,
}
_CODES: Final = {str(analyte): analyte for analyte in (Analyte.HAEMOGLOBIN, Analyte.NEUTROPHILS)}


def analyte_of(fact: Fact) -> Analyte | None:
    """What is graded of a fact, whatever its unit; None where nothing is."""
    if fact.kind == "platelet-count":
        return Analyte.PLATELETS
    return _CODES.get(fact.code or "") if fact.kind == "observation" else None


def unit_is_known(fact: Fact) -> bool:
    """Whether a blood value is in a unit that can be turned into that of its grades."""
    analyte = analyte_of(fact)
    return analyte is not None and fact.unit in _UNITS[analyte]


def base_value(fact: Fact) -> Decimal | None:
    """A blood value in the unit of its grades, 10⁹/L or g/L; None where its unit cannot be turned into that."""
    analyte = analyte_of(fact)
    if analyte is None or fact.value is None or fact.unit is None or fact.unit not in _UNITS[analyte]:
        return None
    return times(fact.value, _UNITS[analyte][fact.unit] or Decimal(1))


def ctcae_grade(fact: Fact) -> int | None:
    """The CTCAE 5.0 grade of a blood value, where its number tells it."""
    analyte = analyte_of(fact)
    if analyte is None or fact.value is None or fact.unit is None or fact.unit not in _UNITS[analyte]:
        return None
    factor = _UNITS[analyte][fact.unit] or Decimal(1)
    stated = fact.detail.get("lower_limit_of_normal")
    limit = None if stated is None else times(Decimal(str(stated)), factor)
    return grade(analyte, times(fact.value, factor), lower_limit_of_normal=limit, version=Version.V5)
