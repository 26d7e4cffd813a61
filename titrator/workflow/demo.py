"""The published case, week by week: the course that this program started from.

J Immunother Cancer 2021;9:e002721 reports a woman of 66 with platelets of 16 ×10⁹/L about three months after CAR-T
cells, in need of transfusions; romiplostim from 60 µg (1 µg/kg) step by step to 500 µg (8.6 µg/kg); platelets above 50
after two months, no transfusion since the first dose, 60 at six months. The weight of 58.1 kg is computed from 500 µg
and 8.6 µg/kg. The report prints no weekly counts: those here are made up to fit it, but for the first and the last.
"""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from typing import Final

from titrator.titration.preparation import prepare

PROTOCOL: Final = "cart-2021-case"
FIRST_DOSE: Final = date(2026, 1, 5)
KG: Final = Decimal("58.1")
#: Platelets in 10⁹/L before each weekly dose; the first and the last are the report's.
PLATELETS: Final = (16, 14, 18, 21, 25, 24, 31, 38, 44, 57, 66, 71, 64, 69, 62, 68, 73, 65, 61, 67, 70, 63, 66, 60)
TRANSFUSED_BEFORE: Final = (21, 14)  # days before the first dose, made up
STORY: Final = (
    "A published case (J Immunother Cancer 2021;9:e002721): a woman of 66, three months after CAR-T cells for "
    "lymphoma, platelets 16 ×10⁹/L and in need of transfusions. Romiplostim every week from 60 micrograms "
    "(1 microgram/kg) step by step to 500 micrograms (8.6 micrograms/kg); platelets above 50 after two months, no "
    "transfusion since the first dose. From the report: the doses at the start and at the end, the first count, and 60 "
    "at six months. Made up to fit it: the dates, the counts between, the days of transfusions. Off label.\n"
)


def document() -> dict[str, object]:
    """The course document of the case, asked about on the day of its last count."""
    days = [FIRST_DOSE + timedelta(weeks=week) for week in range(len(PLATELETS))]
    levels = [min(Decimal(week + 1), Decimal("8.6")) for week in range(len(days))]
    given = [prepare(level, KG, Decimal(500), (125, 250, 500)) for level in levels]
    return {
        "protocol": PROTOCOL,
        "on": days[-1].isoformat(),
        "born_on": "1959-05-01",
        "weights": [{"measured_on": day.isoformat(), "value": KG, "unit": "kg"} for day in days[::8]],
        "platelet_counts": [
            {"collected_on": day.isoformat(), "value": Decimal(count), "unit": "10*9/L"}
            for day, count in zip(days, PLATELETS, strict=True)
        ],
        "doses": [
            {"given_on": day.isoformat(), "micrograms": dose.delivered, "micrograms_per_kg": dose.level}
            for day, dose in zip(days[:-1], given, strict=False)
        ],
        "events": [
            {"kind": "platelet_transfusion", "occurred_on": (FIRST_DOSE - timedelta(days=days_before)).isoformat()}
            for days_before in TRANSFUSED_BEFORE
        ],
        "eligibility": ["marrow-infiltration-excluded", "mds-excluded"],
    }
