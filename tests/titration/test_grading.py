"""CTCAE grades at, below and above each border, by version; the published case's grades."""

from __future__ import annotations

from decimal import Decimal

import pytest

from titrator.titration.grading import Analyte, Version, grade

PLATELETS, NEUTROPHILS, HAEMOGLOBIN = Analyte
V5, V6 = Version

BORDERS = [
    (
        V5,
        PLATELETS,
        "150",
        [("150", 0), ("149.9", 1), ("75", 1), ("74.9", 2), ("50", 2), ("49.9", 3), ("25", 3), ("24.9", 4), ("0", 4)],
    ),
    (
        V6,
        PLATELETS,
        "150",
        [("150", 0), ("149.9", 1), ("75", 1), ("74.9", 2), ("50", 2), ("49.9", 3), ("10", 3), ("9.9", 4)],
    ),
    (
        V5,
        NEUTROPHILS,
        "1.8",
        [("1.8", 0), ("1.79", 1), ("1.5", 1), ("1.49", 2), ("1", 2), ("0.99", 3), ("0.5", 3), ("0.49", 4)],
    ),
    (
        V6,
        NEUTROPHILS,
        "1.8",
        [("1.8", 0), ("1.5", 0), ("1.49", 1), ("1", 1), ("0.99", 2), ("0.5", 2), ("0.49", 3), ("0.1", 3), ("0.09", 4)],
    ),
    (V5, HAEMOGLOBIN, "120", [("120", 0), ("119", 1), ("100", 1), ("99", 2), ("80", 2), ("79", 3), ("20", 3)]),
    (V6, HAEMOGLOBIN, "120", [("120", 0), ("119", 1), ("100", 1), ("99", 2), ("80", 2), ("79", 3), ("20", 3)]),
]


@pytest.mark.parametrize(
    ("version", "analyte", "normal", "value", "expected"),
    [(version, analyte, normal, *row) for version, analyte, normal, rows in BORDERS for row in rows],
)
def test_grades_at_each_border(version: Version, analyte: Analyte, normal: str, value: str, expected: int) -> None:
    assert grade(analyte, Decimal(value), lower_limit_of_normal=Decimal(normal), version=version) == expected


@pytest.mark.parametrize(
    ("version", "analyte", "value", "expected"),
    [
        (V5, PLATELETS, "75", None),
        (V5, PLATELETS, "74.9", 2),
        (V5, PLATELETS, "300", None),
        (V6, NEUTROPHILS, "1.5", 0),
        (V6, NEUTROPHILS, "1.4", 1),
        (V5, HAEMOGLOBIN, "100", None),
    ],
)
def test_without_the_limit_of_normal_grades_0_and_1_are_not_told_apart(
    version: Version, analyte: Analyte, value: str, expected: int | None
) -> None:
    assert grade(analyte, Decimal(value), version=version) == expected


def test_the_published_case() -> None:
    """Platelets of 60 were reported as grade 2, haemoglobin of 103 g/L as grade 1; the course began at 16."""
    assert grade(PLATELETS, Decimal(60)) == 2
    assert grade(HAEMOGLOBIN, Decimal(103), lower_limit_of_normal=Decimal(120)) == 1
    assert grade(PLATELETS, Decimal(16)) == 4
    assert grade(PLATELETS, Decimal(16), version=V6) == 3
