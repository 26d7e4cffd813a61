"""HL7 v2 over HTTP: one message POSTed, its acknowledgement as the answer.

Whatever the acknowledgement says, the status is 200: the message came through, and it says the rest. Other statuses are
of what is no message of somebody who may send one.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from flask import Blueprint, Response, g, request

from titrator.door import door, guarded
from titrator.hl7.receiving import Sender, answer_all
from titrator.security.permissions import Permission
from titrator.security.scopes import read_needs
from titrator.workflow.errors import Forbidden
from titrator.workflow.visit import Actor

MEDIA_TYPES: Final = ("application/hl7-v2", "x-application/hl7-v2+er7")

blueprint = Blueprint("hl7", __name__)


def _receive() -> Response:
    """Take a message; the acknowledgement is of the type that was sent."""
    kind = request.mimetype
    if kind not in MEDIA_TYPES:
        said = f"Send a message of the type {' or '.join(MEDIA_TYPES)}."
        return Response(said, HTTPStatus.UNSUPPORTED_MEDIA_TYPE, content_type="text/plain; charset=utf-8")
    actor: Actor = g.actor
    if not actor.is_feed:
        raise Forbidden("Messages are taken from accounts of systems only, of the role ehr.")
    services = door().services
    feeds = [feed for feed in services.feeds if feed.account.casefold() == actor.username]
    (answer,) = answer_all(services, [(Sender(feeds, actor), request.get_data())])
    return Response(answer.sent, content_type=f"{kind}; charset=utf-8")


_NEEDS: Final = read_needs("Observation.c Observation.u")
_guarded: Final = guarded(_receive, Permission.RECORD_FACTS, needs=_NEEDS)
_guarded.permission = Permission.RECORD_FACTS  # type: ignore[attr-defined]
_guarded.needs = _NEEDS  # type: ignore[attr-defined]
blueprint.add_url_rule("/hl7", "receive", _guarded, methods=["POST"])
