"""The published case, week by week: 58.1 kg, from 60 µg to 500 µg in the ninth dose, and over 50 from then on."""

from __future__ import annotations

from titrator.protocols import Catalogue
from titrator.titration.codes import Action, Reason
from titrator.titration.course import read_document
from titrator.titration.documents import exact
from titrator.titration.grading import Analyte, Version, grade
from titrator.titration.quantities import iso
from titrator.workflow import demo
from titrator.workflow.replay import replay

# day, platelets, CTCAE grade, what was proposed, µg/kg, µg drawn up, mL
WEEKS = [
    ("2026-01-05", 16, 4, "start START", "1", "60", "0.12"),
    ("2026-01-12", 14, 4, "increase BELOW-TARGET", "2", "115", "0.23"),
    ("2026-01-19", 18, 4, "increase BELOW-TARGET", "3", "175", "0.35"),
    ("2026-01-26", 21, 4, "increase BELOW-TARGET", "4", "230", "0.46"),
    ("2026-02-02", 25, 3, "increase BELOW-TARGET", "5", "290", "0.58"),
    ("2026-02-09", 24, 4, "increase BELOW-TARGET", "6", "350", "0.7"),
    ("2026-02-16", 31, 3, "increase BELOW-TARGET", "7", "405", "0.81"),
    ("2026-02-23", 38, 3, "increase BELOW-TARGET", "8", "465", "0.93"),
    ("2026-03-02", 44, 3, "increase BELOW-TARGET", "8.6", "500", "1"),
    *(
        (day, platelets, 2, "maintain IN-RANGE", "8.6", "500", "1")
        for day, platelets in [
            ("2026-03-09", 57), ("2026-03-16", 66), ("2026-03-23", 71), ("2026-03-30", 64), ("2026-04-06", 69),
            ("2026-04-13", 62), ("2026-04-20", 68), ("2026-04-27", 73), ("2026-05-04", 65), ("2026-05-11", 61),
            ("2026-05-18", 67), ("2026-05-25", 70), ("2026-06-01", 63), ("2026-06-08", 66), ("2026-06-15", 60),
        ]
    ),
]  # fmt: skip


def test_the_case_week_by_week() -> None:
    catalogue = Catalogue()
    request = read_document(exact(demo.document()), catalogue.fault)
    told = []
    for answer, count, given in replay(catalogue.get(request.protocol), request.course, request.on):
        assert count is not None
        assert answer.dose is not None
        dose = answer.dose
        said = f"{answer.action} {' '.join(answer.reasons)}"
        graded = grade(Analyte.PLATELETS, count.platelets)
        drawn_up = str(dose.level), str(dose.delivered), str(dose.volume)
        told.append((iso(answer.on), count.platelets, graded, said, *drawn_up))
        assert given is None or given.micrograms == dose.delivered
    assert told == WEEKS


def test_the_case_keeps_what_the_report_tells() -> None:
    """First dose 60 µg at platelets of 16, ninth dose 500 µg, above 50 after two months and at the end, 60 by then."""
    catalogue = Catalogue()
    request = read_document(exact(demo.document()), catalogue.fault)
    course = request.course
    assert (course.counts[0].platelets, course.doses[0].micrograms, course.doses[0].level) == (16, 60, 1)
    assert next(dose for dose in course.doses if dose.micrograms == 500) is course.doses[8]
    assert course.doses[8].day - course.doses[0].day == 56
    over = [count.platelets > 50 for count in course.counts]
    assert over == [False] * 9 + [True] * 15
    assert course.counts[-1].platelets == 60
    assert all(event.day < course.doses[0].day for event in course.events)
    assert grade(Analyte.PLATELETS, course.counts[0].platelets, version=Version.V6) == 3


def test_the_other_labels_would_have_gone_on_to_ten() -> None:
    """The same course by the US label: no cap of 500 micrograms, so the week after the ninth dose changes nothing."""
    catalogue = Catalogue()
    document = demo.document() | {"protocol": "us-itp-adult", "on": "2026-03-02"}
    request = read_document(exact(document), catalogue.fault)
    days = list(replay(catalogue.get("us-itp-adult"), request.course, request.on))
    assert (days[-1].answer.action, days[-1].answer.reasons) == (Action.INCREASE, (Reason.BELOW_TARGET,))
    assert days[-1].answer.dose is not None
    assert days[-1].answer.dose.level == 9
