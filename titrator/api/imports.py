"""Imports: a table is sent, worked off behind, and asked about."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from flask import Response, g, request
from werkzeug.exceptions import UnsupportedMediaType

from schemas.imports import ImportMapping, ImportOut, Imports
from titrator.api.blueprint import Blueprint
from titrator.bulk.intake import jobs
from titrator.bulk.intake.plan import read_said
from titrator.door import door, faults_of, visiting
from titrator.security.permissions import Permission
from titrator.titration.documents import decode
from titrator.titration.errors import Fault
from titrator.workflow.errors import Invalid
from titrator.workflow.visit import Visit

CSV: Final = "text/csv"
_AT_ONCE: Final = 65536
_PARTS: Final = frozenset({"file", "mapping"})


blueprint = Blueprint("imports", __name__, description="Tables of a hospital, moved in as a job: sent, asked about.")

Fields = dict[str, object]


@blueprint.operation(
    "POST",
    "/imports",
    Permission.IMPORT,
    "closed",
    gives=ImportOut,
    status=202,
    upload=ImportMapping,
    alone=True,
)
def send_import() -> tuple[Fields, dict[str, str]]:
    """Send a table to be imported; it is worked off behind. 422 names what has to be said of it first."""
    request.max_content_length = jobs.LARGEST_FILE
    services = door().services
    request._get_file_stream = lambda *_, **__: jobs.spool(services)  # type: ignore[method-assign]  # noqa: SLF001
    if request.mimetype != "multipart/form-data":
        raise UnsupportedMediaType("The body must be multipart/form-data, with the parts file and mapping.")
    file, mapping = request.files.get("file"), _mapping()
    if faults := [Fault(name, "unknown part") for name in (*request.files, *request.form) if name not in _PARTS]:
        raise Invalid(*faults)
    if file is None or not file.filename:
        raise Invalid(Fault("file", "required: a part with a file name"))
    sure = mapping.pop("accept_guesses", False) is True
    upload = jobs.Upload(file.filename, file.stream)
    job = jobs.take(lambda: visiting(g.actor), services, upload, _said(mapping), sure=sure)
    return jobs.fields(job), {"Location": f"/api/v1/imports/{job.id}"}


def _mapping() -> dict[str, Any]:
    """The part that says how the table is read."""
    document = decode(request.form.get("mapping", "{}"))
    if not isinstance(document, dict):
        raise Invalid(Fault("mapping", "must be an object"))
    if messages := ImportMapping().validate(document):
        raise Invalid(*(_in_mapping(fault) for fault in faults_of(messages)))
    return document


def _said(mapping: dict[str, Any]) -> Any:
    try:
        return read_said(mapping)
    except Invalid as refusal:
        raise Invalid(*(_in_mapping(fault) for fault in refusal.faults)) from None


def _in_mapping(fault: Fault) -> Fault:
    return fault._replace(path=f"mapping.{fault.path}")


@blueprint.operation("GET", "/imports", Permission.IMPORT, "closed", gives=Imports)
def list_imports(visit: Visit) -> Fields:
    """The last imports into the clinics of the account, the newest first."""
    return {"items": [jobs.fields(job) for job in jobs.jobs(visit)]}


@blueprint.operation("GET", "/imports/<import_id>", Permission.IMPORT, "closed", gives=ImportOut)
def get_import(visit: Visit, import_id: str) -> Fields:
    """An import: how far it is, and its report."""
    return jobs.fields(jobs.job_of(visit, import_id))


@blueprint.operation("POST", "/imports/<import_id>/cancellation", Permission.IMPORT, "closed", gives=ImportOut)
def cancel_import(visit: Visit, import_id: str) -> Fields:
    """End an import; what was recorded stays."""
    return jobs.fields(jobs.cancel(visit, import_id))


class _Tables(Blueprint):
    """Routes whose answers are tables: described as what they are, text/csv."""

    def response(self, status_code: int, schema: object = None, **told: Any) -> Any:
        """The decorator of flask-smorest, which takes whatever is sent for JSON unless told."""
        return super().response(status_code, schema or {"type": "string"}, content_type=CSV, **told)


tables = _Tables("import_tables", __name__, description="Rows that were not taken.")


@tables.operation("GET", "/imports/<import_id>/rejected", Permission.IMPORT, "closed", gives=None)
def get_rejected(visit: Visit, import_id: str) -> Response:
    """The rows that an import did not take, as they were, each with its line and why; once it has ended."""
    file = jobs.rejected_of(visit, import_id)
    named = {"Content-Disposition": f'attachment; filename="{file.name}"'}
    return Response(_read(file), content_type=f"{CSV}; charset=utf-8", headers=named)


def _read(file: Path) -> Iterator[bytes]:
    with file.open("rb") as stream:
        yield from iter(lambda: stream.read(_AT_ONCE), b"")
