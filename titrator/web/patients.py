"""A patient at a glance."""

from titrator.security.permissions import Permission
from titrator.web.frame import Context, Pages
from titrator.web.who import who
from titrator.workflow.visit import Visit

pages = Pages("patients")


@pages.page("/patients/<patient_id>", Permission.READ_PATIENTS, "patient.html")
def patient(visit: Visit, patient_id: str) -> Context:
    """A patient."""
    return {"who": who(visit, patient_id)}
