"""What is sent instead of an answer: RFC 9457, with a stable code and every fault."""

from __future__ import annotations

from schemas.fields import Many, Object, Schema, Text, Whole
from schemas.recommendation import NextDose


class FaultOut(Schema):
    """One thing wrong: where (`platelet_counts[2].unit`, empty for the whole), and what."""

    path = Text(required=True, shortest=0, longest=10_000)
    message = Text(required=True, longest=10_000)


class Problem(Schema):
    """`type` and `code` name the kind of problem, `faults` are all that is wrong with what was sent."""

    type = Text(required=True)
    title = Text(required=True)
    status = Whole(required=True, least=400, most=599)
    code = Text(required=True, metadata={"description": "Stable; docs/problems.md lists them all."})
    detail = Text(required=True, longest=10_000)
    faults = Many(Object(FaultOut), required=True, most=100_000)
    questions = Many(Text(), required=True, metadata={"description": "What `confirm` must name to send it again."})
    request_id = Text(required=True)
    proposal = Object(NextDose, metadata={"description": "Of PROPOSAL-CHANGED: the proposal that stands now."})
