"""CTCAE grades of blood counts, by version: 5.0, and 6.0 for those who have moved on. docs/grading.md has the table.

A grade is a number from 0 to 4, or None where the value alone does not tell it: a count that is not below the border of
grades 1 and 2 is grade 1 below the laboratory's lower limit of normal and grade 0 from there on, so without that limit
it is not known which. Haemoglobin has no number for grade 4, a clinical judgement; it is never given here.

Sources: CTCAE v5.0 of 2017, rows as quoted alike by several public implementations; v6.0 rows as in the grading
metadata of the R package admiral 1.5 (pharmaverse), a secondary source.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from typing import Final, NamedTuple


class Version(StrEnum):
    """A version of the Common Terminology Criteria for Adverse Events."""

    V5 = "5.0"
    V6 = "6.0"


class Analyte(StrEnum):
    """What is graded: platelets and neutrophils in 10⁹/L, haemoglobin in g/L."""

    PLATELETS = "platelets"
    NEUTROPHILS = "neutrophils"
    HAEMOGLOBIN = "haemoglobin"


class _Borders(NamedTuple):
    """Below each value the next grade begins, from the mildest; whether grade 1 is bounded by the limit of normal."""

    below: tuple[Decimal, ...]
    first_grade: int


def _from_normal(*below: str) -> _Borders:
    """Grade 1 lies between the first value and the lower limit of normal; below the first value, grade 2 begins."""
    return _Borders(tuple(map(Decimal, below)), 2)


def _from_fixed(*below: str) -> _Borders:
    """Below the first value, grade 1 begins, whatever the laboratory calls normal."""
    return _Borders(tuple(map(Decimal, below)), 1)


_BORDERS: Final[Mapping[tuple[Version, Analyte], _Borders]] = {
    (Version.V5, Analyte.PLATELETS): _from_normal("75", "50", "25"),
    (Version.V5, Analyte.NEUTROPHILS): _from_normal("1.5", "1.0", "0.5"),
    (Version.V5, Analyte.HAEMOGLOBIN): _from_normal("100", "80"),
    (Version.V6, Analyte.PLATELETS): _from_normal("75", "50", "10"),
    (Version.V6, Analyte.NEUTROPHILS): _from_fixed("1.5", "1.0", "0.5", "0.1"),
    (Version.V6, Analyte.HAEMOGLOBIN): _from_normal("100", "80"),
}


def grade(
    analyte: Analyte, value: Decimal, *, lower_limit_of_normal: Decimal | None = None, version: Version = Version.V5
) -> int | None:
    """The grade of a value, in the analyte's unit, as its limit is; None where only that limit could tell."""
    borders = _BORDERS[version, analyte]
    passed = sum(value < border for border in borders.below)
    if passed:
        return borders.first_grade + passed - 1
    if borders.first_grade == 1:
        return 0
    return None if lower_limit_of_normal is None else int(value < lower_limit_of_normal)
