"""The responses of many patients as one flat table: a row a course, without names and birth dates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, cast

from titrator.store.base import Where
from titrator.store.records import Fact, Identifier, Patient
from titrator.titration.errors import Fault
from titrator.workflow.courses import history
from titrator.workflow.errors import Invalid
from titrator.workflow.response import ANALYTES, GRADES, TRANSFUSIONS, Recorded, responses
from titrator.workflow.visit import Visit

Row = dict[str, object]

#: Patients of one table.
MOST: Final = 5000
_PERIODS: Final = ("in_8_weeks_up_to_first_dose", "after_first_dose")
_OF_GRADE: Final = ("values", "first_on", "last_on")


def _grade_column(analyte: object, period: object, grade: object, key: str) -> str:
    """`platelets_after_first_dose_grade_4_values`; `..._without_grade_values` of those whose number tells none."""
    named = "without_grade" if grade is None else f"grade_{grade}"
    return f"{analyte}_{period}_{named}_{key}"


COLUMNS: Final = (
    *("patient", "identifier_system", "identifier_value", "clinic", "course", "protocol", "status"),
    *("started_on", "ended_on", "until", "first_dose_on"),
    *("first_count_above_target_on", "first_count_above_target_confounded"),
    *("weeks_above_target", "longest_weeks_above_target"),
    *(
        column
        for name in TRANSFUSIONS
        for column in (f"{name}_in_8_weeks_before_first_dose", f"{name}_since_first_dose", f"days_free_of_{name}")
    ),
    *("highest_micrograms_per_kg", "last_micrograms_per_kg"),
    *(
        _grade_column(analyte, period, grade, key)
        for analyte in ANALYTES
        for period in _PERIODS
        for grade in GRADES
        for key in _OF_GRADE
    ),
)


def response_table(visit: Visit, query: Mapping[str, str]) -> list[Row]:
    """A row for each course that began up to a day, of the patients of a clinic, of one patient or of all the actor's.

    The day is `on`, by default today at each patient's clinic. Rows are in order of patient and course, and have all of
    `COLUMNS`. Each patient shown is noted in the patient's chain, what was asked in the system's. Raises Unknown for a
    `patient` whom the actor may not see, and Invalid for more than `MOST` patients.
    """
    rows = [row for patient in _asked(visit, query) for row in _rows(visit, patient, query.get("on"))]
    shown = len({row["patient"] for row in rows})
    visit.note("read", "responses", asked=dict(query), patients=shown, courses=len(rows))
    return rows


def _asked(visit: Visit, query: Mapping[str, str]) -> list[Patient]:
    """The patients of a query, in order of id."""
    scope = visit.who.clinics if "clinic" not in query else visit.who.clinics & {query["clinic"]}
    if "patient" in query:
        patient = visit.patient(query["patient"])
        return [patient] if query.get("clinic", patient.clinic_id) == patient.clinic_id else []
    if not scope:
        return []
    mine = Where("clinic_id", "in", tuple(sorted(scope)))
    there = visit.session.count(Patient, mine)
    if there > MOST:
        less = "ask for each `patient` alone" if len(scope) == 1 else "name one `clinic`"
        raise Invalid(Fault("clinic", f"{there} patients are more than the {MOST} of one table: {less}"))
    return visit.session.find(Patient, mine, order=("id",))


def _rows(visit: Visit, patient: Patient, on: str | None) -> Iterator[Row]:
    """The rows of a patient, with an entry in the patient's chain if there are any."""
    day = on or visit.today(patient)
    versions = history(visit, patient)
    if not versions:
        return
    recorded = Recorded(patient, visit.session.course_facts(patient.id), _values(visit, patient, day))
    found = responses(visit.services.catalogue, recorded, versions, day)
    if found:
        visit.note("read", f"patient/{patient.id}/responses", patient=patient, on=day)
    first = visit.session.find(Identifier, Where("patient_id", "=", patient.id), order=("system", "value"), limit=1)
    about: Row = {
        "patient": patient.id,
        "identifier_system": first[0].system if first else None,
        "identifier_value": first[0].value if first else None,
        "clinic": patient.clinic_id,
    }
    yield from (about | _flat(response) for response in found)


def _values(visit: Visit, patient: Patient, day: str) -> list[Fact]:
    return visit.session.find(
        Fact,
        Where("patient_id", "=", patient.id),
        Where("current", "=", 1),
        Where("status", "=", "final"),
        Where("kind", "in", ("platelet-count", "observation")),
        Where("day", "<=", day),
    )


def _flat(response: Row) -> Row:
    """A response with a key for each of its grades' numbers and days, and its course by id."""
    course = cast(Row, response["course"])
    flat = {key: value for key, value in response.items() if key != "grades"} | {"course": course["id"]}
    for of_analyte in cast("list[Row]", response["grades"]):
        for period in _PERIODS:
            for of_grade in cast("list[Row]", of_analyte[period]):
                names = {key: _grade_column(of_analyte["analyte"], period, of_grade["grade"], key) for key in _OF_GRADE}
                flat |= {name: of_grade[key] for key, name in names.items()}
    return flat
