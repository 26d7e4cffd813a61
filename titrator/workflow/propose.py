"""Propose the next dose: the one way from a course document to an answer, taken by every door."""

from __future__ import annotations

from titrator.protocols import Catalogue
from titrator.titration.course import Request, read_text
from titrator.titration.errors import Fault, InvalidDocument
from titrator.titration.recommend import Recommendation, recommend

#: The largest course document taken, in bytes: lists of 5,000 entries fit, with room for white space.
LARGEST_DOCUMENT = 4_000_000


def read_request(catalogue: Catalogue, document: bytes) -> Request:
    """What a course document asks; raises InvalidDocument with every fault."""
    if len(document) > LARGEST_DOCUMENT:
        raise InvalidDocument([Fault("", f"larger than {LARGEST_DOCUMENT} bytes")])
    return read_text(document, catalogue.fault)


def propose(catalogue: Catalogue, document: bytes) -> Recommendation:
    """The answer to a course document; raises InvalidDocument with every fault."""
    request = read_request(catalogue, document)
    return recommend(catalogue.get(request.protocol), request.course, request.on)
