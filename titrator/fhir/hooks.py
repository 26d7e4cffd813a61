"""CDS Hooks 2.0 at `/cds-services`: one service for each usable protocol and each hook, and feedback on its cards.

1. who calls is told by a signed assertion, for the exact URL, or by a token of ours
2. the request is read, with every fault
3. what of the prefetch was not sent is fetched, from servers on the list only; then the store is opened
4. a patient who is on a course here is answered from what is stored, any other from the prefetch alone
5. the answer becomes cards

`add_to` puts all of it into an app; what the services need of the settings are the Terms.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from http import HTTPStatus
from typing import Any, Final, NamedTuple, cast
from zoneinfo import ZoneInfo

import marshmallow as ma
import structlog
from flask import Blueprint, Flask, Response, current_app, g, request
from flask_cors import CORS
from werkzeug.exceptions import UnsupportedMediaType

from schemas.cds_hooks import HOOKS, REQUESTS, Feedback
from schemas.fields import Object
from titrator.door import Door, audiences, by_token, count_nobody, done, door, guarded, refuse_without
from titrator.fhir import cards
from titrator.fhir.cards import Answer, Basis, Card, Decided, Draft
from titrator.fhir.elements import Place, decoded, may_be_modified
from titrator.fhir.fetching import Fetching, NotFetched, Server, query_of
from titrator.fhir.giving import NEVER_AN_ORDER, decided, is_open_again
from titrator.fhir.kinds import Accounts
from titrator.fhir.outcome import BadRequest, of_input, outcome
from titrator.fhir.prefetch import PATIENT, TEMPLATES, Found, Made, Sent, course_of, found_in, has_died, romiplostim
from titrator.security.assertions import Assertions, NotAccepted
from titrator.security.permissions import Permission
from titrator.security.scopes import read_needs
from titrator.security.secrets import PREFIX
from titrator.store.base import CourseFact
from titrator.store.records import CourseVersion, Decision, Identifier, Patient
from titrator.titration.answer import to_document
from titrator.titration.course import Count, read_document
from titrator.titration.documents import encode, join, reread
from titrator.titration.errors import Fault, InvalidDocument, InvalidInput
from titrator.titration.protocol import Protocol, Status, WeeklyProtocol
from titrator.titration.quantities import EXACT, iso, plain
from titrator.workflow.accounts import actor_of
from titrator.workflow.delivery import standing_decision
from titrator.workflow.errors import Conflict, Invalid, Refusal, Unauthorised, Unknown
from titrator.workflow.facts import ENTRIES
from titrator.workflow.feedback import keep_shown, new_card, read_feedback, suggestion_of, take_feedback
from titrator.workflow.propose import answer_document, course_document, open_course, usable_protocol
from titrator.workflow.standing import NextDose, next_dose
from titrator.workflow.visit import Actor, Visit, day_at, instant

PATH: Final = "/cds-services"
LARGEST_BODY: Final = 8_000_000
_NAME: Final = "titrator.cds"
_MOST_FAULTS: Final = 1000
#: Keys that are looked at, but not needed, of a patient whose course is kept here; so many differences are told.
_BESIDE: Final = ("doses", "procedures", "adverseEvents", "conditions")
_MOST_TOLD: Final = 10
#: The scopes of all that cards may tell of a patient whose course is kept here.
_OF_CARDS: Final = (
    "GuidanceResponse.r MedicationRequest.r Patient.r Observation.r "
    "MedicationAdministration.r AdverseEvent.r Procedure.r Condition.r"
)
_TITLES: Final = {
    "patient-view": "the next dose of romiplostim, when a record is opened",
    "order-select": "the next dose of romiplostim, when an order of it is selected",
    "order-sign": "orders of romiplostim held against the proposed dose, before they are signed",
}

blueprint = Blueprint("cds", __name__, url_prefix=PATH)


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What the services need of the settings.

    `protocols` are those that are offered, none for all that are usable; `fhir_servers` those that may be asked for
    data, by base URL without a slash at the end; `origins` those of pages in browsers that may call, at `/fhir`, too.
    """

    assertions: Assertions = field(default_factory=lambda: Assertions(()))
    base_url: str = ""
    protocols: frozenset[str] = frozenset()
    fhir_servers: frozenset[str] = frozenset()
    origins: frozenset[str] = frozenset()


class Service(NamedTuple):
    """A service: a protocol at a hook."""

    protocol: str
    hook: str

    @property
    def id(self) -> str:
        """As it is called."""
        return f"romiplostim-{self.protocol}-{self.hook}"


class Asked(NamedTuple):
    """A call that could be read: of whom, what was sent, where the rest may be had, orders to look at, all orders.

    What was sent is known to be `unmodified`, or may have something that turns the meaning of a resource round.
    """

    patient: str
    prefetch: Mapping[str, object]
    server: Server | None
    drafts: tuple[Draft, ...]
    beside: tuple[Draft, ...] = ()
    unmodified: bool = False


class Unsatisfied(BadRequest):
    """Data that the service needs were not sent and could not be had, or cannot be read; each with why."""

    def __init__(self, *faults: Fault) -> None:
        super().__init__(*faults)
        self.message = "What the service needs was not sent, could not be fetched or cannot be read; each with why."


def add_to(app: Flask, terms: Terms) -> None:
    """Offer the services in an app; pages of the origins may call them, and what is at `/fhir`."""
    app.extensions[_NAME] = terms
    app.register_blueprint(blueprint)
    if terms.origins:
        origins = [re.compile(re.escape(origin) + r"\Z") for origin in sorted(terms.origins)]
        CORS(
            app,
            resources={rf"{path}(?:/.*)?\Z": {"origins": origins} for path in (PATH, "/fhir")},
            allow_headers=["Authorization", "Content-Type", "If-Match", "If-None-Exist", "Prefer"],
            expose_headers=["ETag", "Last-Modified", "Location", "WWW-Authenticate", "X-Request-Id"],
            always_send=False,
            max_age=600,
        )


def caller(here: Door) -> Actor:
    """Who calls, by an assertion for the URL that is called or by a token of ours; raises Unauthorised, TooMany."""
    scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
    secret = secret.strip()
    if scheme.lower() != "bearer" or not secret or secret.startswith(PREFIX):
        return by_token(here)
    try:
        client = terms().assertions.verify(secret, audiences(terms().base_url), here.services.clock())
        return actor_of(here.services, client.account)
    except NotAccepted as error:
        structlog.get_logger().info("assertion-refused", request=g.request_id, why=error.reason, detail=error.detail)
        count_nobody()
        raise Unauthorised(f"The token is not accepted: {error.reason}.") from None
    except Unauthorised:
        count_nobody()
        raise


def terms() -> Terms:
    """Those of the app that answers now."""
    return cast(Terms, current_app.extensions[_NAME])


# Routes


def _discover() -> Response:
    services = [_described(Service(ident, hook)) for ident in _offered() for hook in HOOKS]
    return _json({"services": services})


def _call(service_id: str) -> Response:
    service = _service(service_id)
    asked = _asked(service, _body())
    if service.hook != "patient-view" and not asked.drafts:
        return _json({"cards": []})
    found = _obtained(asked)
    made: Dealt = done(lambda visit: _cards(visit, service, asked, found), writes=False, drafts=False)
    if (patient := made.patient) is not None:
        uuids = [cast(str, card["uuid"]) for card in made.cards]
        done(lambda visit: keep_shown(visit, service.id, uuids, patient), writes=True, drafts=True)
    return _sent(f'{{"cards": [{", ".join(map(cards.written, made.cards))}]}}')


def _feedback(service_id: str) -> Response:
    service = _service(service_id)
    items = read_feedback(_loaded(Feedback(), _body()))

    def keep(visit: Visit) -> None:
        take_feedback(visit, service.id, items)

    try:
        done(keep, writes=True, drafts=False)
    except Invalid as refusal:
        raise BadRequest(*refusal.faults) from None
    return _json({})


def _make_routes() -> None:
    for method, rule, needs, view in (
        ("GET", "", "PlanDefinition.s", _discover),
        ("POST", "/<service_id>", _OF_CARDS, _call),
        ("POST", "/<service_id>/feedback", "GuidanceResponse.u", _feedback),
    ):
        passed = guarded(view, Permission.RECOMMEND, needs=read_needs(needs), known_by=caller)
        passed.permission = Permission.RECOMMEND  # type: ignore[attr-defined]
        blueprint.add_url_rule(rule, view.__name__.strip("_"), passed, methods=[method])


_make_routes()


@blueprint.errorhandler(BadRequest)
def bad_request(refusal: BadRequest) -> Response:
    """What is wrong with a request, or with the data for it."""
    status = HTTPStatus.PRECONDITION_FAILED if isinstance(refusal, Unsatisfied) else HTTPStatus.BAD_REQUEST
    return _json(outcome(refusal), status)


@blueprint.errorhandler(InvalidInput)
def invalid_input(error: InvalidInput) -> Response:
    """What is wrong with the JSON of a request."""
    return _json(of_input(error), HTTPStatus.BAD_REQUEST)


def _json(value: object, status: HTTPStatus = HTTPStatus.OK) -> Response:
    return _sent(encode(value), status)


def _sent(text: str, status: HTTPStatus = HTTPStatus.OK) -> Response:
    return Response(text, status=status, content_type="application/json")


# Services


def _offered() -> list[str]:
    """The ids of the protocols for which there are services: those chosen, else all of weekly doses but case reports.

    What comes from one patient, and a single dose after radiation, nobody is offered who did not choose it.
    """
    return [ident for ident in door().services.catalogue.ids() if _is_offered(ident)]


def _is_offered(ident: str) -> bool:
    """Whether there are services for a protocol that is there."""
    catalogue, chosen = door().services.catalogue, terms().protocols
    if catalogue.fault(ident) is not None:
        return False
    return ident in chosen if chosen else _is_for_all(catalogue.get(ident))


def _is_for_all(protocol: Protocol) -> bool:
    return isinstance(protocol, WeeklyProtocol) and protocol.status is not Status.CASE_REPORT


def _service(service_id: str) -> Service:
    known = door().services.catalogue.ids()
    for hook in HOOKS:
        service = Service(service_id.removeprefix("romiplostim-").removesuffix(f"-{hook}"), hook)
        if service.id == service_id and service.protocol in known and _is_offered(service.protocol):
            return service
    raise Unknown("CDS service")


def _described(service: Service) -> dict[str, object]:
    protocol = door().services.catalogue.get(service.protocol)
    return {
        "hook": service.hook,
        "title": f"Romiplostim: {protocol.title}",
        "description": f"{protocol.source.cited_as}: {_TITLES[service.hook]}. {NEVER_AN_ORDER} "
        "Subscribe to the services of the label that you work by.",
        "id": service.id,
        "prefetch": dict(TEMPLATES),
    }


# What was asked


def _body() -> object:
    """The JSON of a request."""
    request.max_content_length = LARGEST_BODY
    if not (request.mimetype == "application/json" or request.mimetype.endswith("+json")):
        raise UnsupportedMediaType("The body must be application/json.")
    return decoded(request.get_data(cache=True))


def _loaded(schema: ma.Schema, body: object) -> dict[str, Any]:
    """What a schema makes of a body; raises BadRequest with every fault."""
    if not isinstance(body, dict):
        raise BadRequest(Fault("", "must be an object"))
    try:
        return cast("dict[str, Any]", schema.load(body))
    except ma.ValidationError as error:
        raise BadRequest(*list(_faults(error.messages))[:_MOST_FAULTS]) from None


def _at_once(schema: ma.Schema, body: object) -> dict[str, Any] | None:
    """What a schema makes of a body in which nothing is at fault, and nothing for a check of several keys together.

    None of any other: then the schema itself is asked, and tells what is wrong.
    """
    if type(body) is not dict or "fhirAuthorization" in body:
        return None
    made: dict[str, Any] = {}
    try:
        for name, one in schema.fields.items():
            key = one.data_key or name
            if key not in body:
                if one.required:
                    return None
            elif isinstance(one, Object):
                if (within := _at_once(one.schema, body[key])) is None:
                    return None
                made[name] = within
            else:
                made[name] = one.deserialize(body[key])
    except ma.ValidationError:
        return None
    return made


def _faults(messages: object, path: str = "") -> Iterator[Fault]:
    """The faults that marshmallow names, each with its path."""
    if isinstance(messages, Mapping):
        for key, below in messages.items():
            if key == ma.exceptions.SCHEMA:
                yield from _faults(below, path)
            else:
                yield from _faults(below, f"{path}[{key}]" if isinstance(key, int) else join(path, str(key)))
    elif isinstance(messages, list):
        for message in messages:
            yield from _faults(message, path)
    else:
        yield Fault(path, str(messages))


def _asked(service: Service, body: object) -> Asked:
    schema = REQUESTS[service.hook]
    found = _at_once(schema, body) or _loaded(schema, body)
    context = found["context"]
    drafts: tuple[Draft, ...] = ()
    beside: tuple[Draft, ...] = ()
    if service.hook != "patient-view":
        drafts = _drafts(context["draft_orders"], context.get("selections"))
        beside = tuple(one for one in _drafts(context["draft_orders"], None) if one.told)
    base = found.get("fhir_server")
    token = found.get("fhir_authorization", {}).get("access_token")
    server = None if base is None else Server(base.rstrip("/"), token)
    unmodified = not may_be_modified(request.get_data(cache=True))
    return Asked(context["patient_id"], found.get("prefetch", {}), server, drafts, beside, unmodified)


def _drafts(bundle: object, selections: list[str] | None) -> tuple[Draft, ...]:
    """The draft orders of romiplostim, of those selected if some are; raises BadRequest."""
    faults: list[Fault] = []
    place = Place(bundle, "context.draftOrders", faults)
    if place["resourceType"].text() != "Bundle":
        place["resourceType"].wrong("must be Bundle")
    medications = _medications(place)
    found = []
    for entry in place["entry"]:
        order = entry["resource"]
        kind = order["resourceType"].required(order["resourceType"].text())
        if kind != "MedicationRequest" or order["doNotPerform"].flag():
            continue
        apart = Place(order.value, order.path, unread := list[Fault]())
        if _names_nothing(apart):
            continue
        told = romiplostim(apart, medications) if not unread else None  # whose medicine cannot be read is told, too
        if told is not False and (selections is None or not _names(entry).isdisjoint(map(_relative, selections))):
            found.append(Draft(cast("Mapping[str, object]", order.value), order.path, told is True))
    named = set[str]().union(*map(_names, place["entry"]))
    for index, selected in enumerate(selections or ()):
        if _relative(selected) not in named:
            faults.append(Fault(f"context.selections[{index}]", "is none of draftOrders: as MedicationRequest/id"))
    if faults:
        raise BadRequest(*faults)
    return tuple(found)


def _names_nothing(order: Place) -> bool:
    """Whether an order names no medicine yet: it has just been begun."""
    medicine = order.choice("medication", "CodeableConcept", "Reference")
    said = "reference", "identifier", "display", "text", "coding"
    named = isinstance(medicine.value, dict) and any(medicine[key].value for key in said)
    return not (named or order.faults or order["medication"].there)


def _medications(bundle: Place) -> dict[str, object]:
    """The Medications among draft orders, by the references that may name them."""
    there = [entry for entry in bundle["entry"] if entry["resource"]["resourceType"].text() == "Medication"]
    return {name: entry["resource"].value for entry in there for name in _names(entry)}


def _names(entry: Place) -> set[str]:
    """By what a selection may name the resource of an entry."""
    resource, address = entry["resource"], entry["fullUrl"].text()
    own = f"{resource['resourceType'].text()}/{resource['id'].text()}"
    return {own} if address is None else {own, _relative(address)}


def _relative(reference: str) -> str:
    """A reference without the address of its server; one by a UUID as it is."""
    return "/".join(reference.split("/")[-2:])


# What was sent, and what is fetched


def _obtained(asked: Asked) -> Mapping[str, Found]:
    """What there is of each key: sent, or fetched where it was not."""
    sent = asked.prefetch
    found = {key: found_in(key, sent[key], unmodified=asked.unmodified) for key in TEMPLATES if key in sent}
    missing = [key for key in TEMPLATES if key not in found]
    if not missing:
        return found
    if asked.server is None or asked.server.base not in terms().fhir_servers:
        why = "was not sent, and there is no fhirServer of those that data may be fetched from"
        return found | {key: Found((), (Fault(f"prefetch.{key}", why),)) for key in missing}
    with Fetching(asked.server) as fetching:
        return found | {key: _fetched(fetching, key, asked.patient) for key in missing}


def _fetched(fetching: Fetching, key: str, patient: str) -> Found:
    try:
        return found_in(key, fetching.fetch(query_of(TEMPLATES[key], patient)))
    except NotFetched as error:
        return Found((), (Fault(f"prefetch.{key}", f"was not sent, and could not be fetched: {error}"),))


def _needed(found: Mapping[str, Found], *keys: str) -> list[Sent]:
    """The resources of keys; raises Unsatisfied where some cannot be had or read, with all that is known of why."""
    faults = [fault for key in keys for fault in found[key].faults]
    if faults:
        raise Unsatisfied(*faults[:_MOST_FAULTS])
    return [sent for key in keys for sent in found[key].sent]


# Answers


class Dealt(NamedTuple):
    """Cards as they are sent, and the id of the patient whose course is kept here, if it is one."""

    cards: list[Card]
    patient: str | None


def _cards(visit: Visit, service: Service, asked: Asked, found: Mapping[str, Found]) -> Dealt:
    if found[PATIENT].faults:
        _needed(found, *TEMPLATES)
    if has_died(Place(found[PATIENT].sent[0].resource, PATIENT, [])):
        return Dealt(_of_the_dead(visit, service, asked), None)
    patient = _stored(visit, asked, found[PATIENT].sent[0].resource)
    course = None if patient is None else open_course(visit, patient)
    if patient is None or course is None:
        made = _of_prefetch(visit, service, asked, found)
    elif course.protocol != service.protocol:
        return Dealt([], None)
    else:
        refuse_without(Permission.PROPOSE, visit.who)
        made = _of_stored(visit, service, asked, found, patient, course)
    key, account = visit.services.audit_key, visit.who.account_id
    dealt = [_marked(card, key, service, account) for card in made]
    return Dealt(dealt, patient.id if patient is not None and course is not None and dealt else None)


def _of_the_dead(visit: Visit, service: Service, asked: Asked) -> list[Card]:
    """A card for an order for who is recorded as having died; nothing where a record is only opened."""
    if not asked.drafts:
        return []
    protocol = visit.services.catalogue.get(service.protocol)
    card = cards.warning(protocol, "Draft order of romiPLOStim: the patient is recorded as having died")
    return [_marked(card | {"indicator": "critical"}, visit.services.audit_key, service, visit.who.account_id)]


def _marked(card: Card, key: bytes, service: Service, account: str) -> Card:
    """A card with the uuids by which feedback names it."""
    uuid = new_card(key, service.id, account)
    suggestions = [{**one, "uuid": suggestion_of(key, uuid)} for one in cast("list[Card]", card.get("suggestions", []))]
    return {**card, "uuid": uuid, "suggestions": suggestions}


def _stored(visit: Visit, asked: Asked, resource: object) -> Patient | None:
    """The patient of the account's clinics whom a call is about, if there is one; raises Unsatisfied for several."""
    ids = {asked.patient}
    for one in Place(resource, f"prefetch.{PATIENT}", [])["identifier"]:
        system, value = one["system"].text(), one["value"].text()
        named = visit.session.get(Identifier, system, value) if system and value else None
        ids |= set() if named is None else {named.patient_id}
    patients = [visit.session.get(Patient, ident) for ident in sorted(ids)]
    mine = [one for one in patients if one is not None and one.clinic_id in visit.who.clinics]
    if len(mine) > 1:
        raise Unsatisfied(Fault(f"prefetch.{PATIENT}.identifier", "has identifiers of several patients here"))
    return mine[0] if mine else None


def _of_prefetch(visit: Visit, service: Service, asked: Asked, found: Mapping[str, Found]) -> list[Card]:
    """Cards of what was sent alone; nothing is stored of it."""
    sent = _needed(found, *TEMPLATES)
    days = {clinic.time_zone: day_at(clinic, visit.now) for clinic in map(visit.clinic, sorted(visit.who.clinics))}
    if not days:
        raise Unsatisfied(
            Fault("", "the account of this client belongs to no clinic, so it is not known what day it is")
        )
    faults: list[Fault] = []
    made = [
        course_of(service.protocol, day, ZoneInfo(zone), sent, faults, patient=asked.patient, base=_base(asked))
        for zone, day in days.items()
    ]
    if faults:
        raise Unsatisfied(*list(dict.fromkeys(faults))[:_MOST_FAULTS])
    if any(one.document != made[0].document for one in made):
        text = "the clinics of this client's account do not agree on the day: a client needs an account of one clinic"
        raise Unsatisfied(Fault("", text))
    try:
        answer = to_document(answer_document(visit, made[0].document))
    except InvalidDocument as error:
        raise Unsatisfied(*(Fault(f"prefetch: {one.path}", one.message) for one in error.faults)) from None
    if service.hook == "patient-view" and not made[0].concerns:
        return []
    given = _given(made[0].document)
    basis = Basis(
        answer=answer,
        protocol=visit.services.catalogue.get(service.protocol),
        patient=asked.patient,
        at=instant(visit.now),
        notes=made[0].notes,
        given=given,
        zone=next(iter(days)),
        cautions=made[0].cautions,
        stops=made[0].stops,
        suggests=not asked.beside and made[0].concerns and not made[0].doubts,
        last_dose=_last_dose(given),
    )
    return _at_hook(service, asked, basis)


def _of_stored(  # noqa: PLR0913, PLR0917 (a call, and whom it is about)
    visit: Visit,
    service: Service,
    asked: Asked,
    found: Mapping[str, Found],
    patient: Patient,
    course: CourseVersion,
) -> list[Card]:
    """Cards of a course that is kept here, and of what the system has that is not recorded here."""
    sent = _needed(found, PATIENT, "platelets")
    protocol = usable_protocol(visit.services.catalogue, course.protocol)
    made, unread = _sent_of_stored(visit, asked, patient, course, sent, found)
    differing = _differing(visit, protocol, patient, course, made)
    live = standing_decision(visit, patient, visit.today(patient))
    try:
        answered = next_dose(visit, patient.id, None)
    except Conflict as refusal:
        visit.note("next-dose", f"patient/{patient.id}/next-dose", patient=patient, refused=str(refusal.code))
        return [*differing, _refused(protocol, refusal, _signed(visit, live, None), asked.drafts)]
    answer = cast(Answer, reread(answered.standing.answer))
    facts = visit.session.course_facts(patient.id)
    basis = Basis(
        answer=answer,
        protocol=protocol,
        patient=asked.patient,
        at=instant(visit.now),
        notes=[*_notes(visit, live, answered), *unread],
        decided=_signed(visit, live, answer),
        given=_given(made.document) | _by_day(_ours(facts)),
        zone=visit.clinic(patient.clinic_id).time_zone,
        cautions=made.cautions,
        stops=made.stops,
        suggests=not asked.beside and not made.doubts and not differing,
        last_dose=_last_dose(_given(course_document(patient, course, facts, visit.today(patient)))),
        stored=True,
    )
    return [*differing, *_at_hook(service, asked, basis)]


def _base(asked: Asked) -> str | None:
    return None if asked.server is None else asked.server.base


def _last_dose(doses: Mapping[str, Decimal]) -> str:
    """The last of doses by day in words."""
    return f"{plain(doses[max(doses)])} micrograms on {max(doses)}" if doses else ""


def _at_hook(service: Service, asked: Asked, basis: Basis) -> list[Card]:
    """The cards of an answer at a hook: what is next, and what departs from it."""
    alone = service.hook == "order-sign"
    held = [card for draft in asked.drafts if (card := cards.of_draft(basis, draft, alone=alone)) is not None]
    if len(asked.beside) > 1:
        held = [cards.several(basis, asked.beside), *held]
    if alone or (service.hook == "order-select" and not held and not cards.is_remarkable(basis)):
        return held
    return [cards.next_dose(basis), *held]


def _refused(protocol: Protocol, refusal: Refusal, signed: Decided | None, drafts: tuple[Draft, ...]) -> Card:
    """Why there is no answer for who is on a course here, and what was decided before."""
    faults = [str(fault) for fault in refusal.faults]
    card = cards.warning(
        protocol,
        f"romiPLOStim: no dose can be proposed ({refusal.code})",
        *([] if signed is None else [cards.decided_in_words(signed)]),
        cards.escaped(refusal.message),
        *([cards.bullets(faults)] if faults else []),
        f"**{NEVER_AN_ORDER}**",
    )
    if possible := [fault.message for fault in refusal.faults if fault.message.startswith("possible ")]:
        what = possible[0].removesuffix(", not verified")
        said = f"romiPLOStim: {what} is not verified: no dose until a pharmacist or prescriber has verified it"
        return card | {"indicator": "critical", "summary": cards.short(said)}
    if signed is None or (signed.dose is not None and (signed.supported or not drafts)):
        return card
    harm = "NO DOSE" if signed.dose is None else "it is no longer supported"
    return card | {"indicator": "critical", "summary": cards.short(f"{card['summary']}; decided already: {harm}")}


def _signed(visit: Visit, live: Decision | None, answer: Answer | None) -> Decided | None:
    """What was signed and waits to be carried out, beside today's answer; None if nothing was, or it was referred."""
    if live is None or live.status not in ("in-force", "awaiting-second"):
        return None
    names = Accounts(visit)
    upon = cast(Answer, reread(live.answer))
    forbidden = answer is not None and cards.is_urgent(answer) and not cards.is_urgent(upon)
    return Decided(
        dose=None if live.dose is None else cast(Answer, reread(live.dose)),
        due_on=live.due_on,
        text=decided(live, names) if live.reason_code or not live.comment else f"{decided(live, names)} {live.comment}",
        signed_by=names[live.signed_by],
        supported=not (is_open_again(live) or (forbidden and live.dose is not None)),
        awaits_second=live.status == "awaiting-second",
    )


def _notes(visit: Visit, live: Decision | None, answered: NextDose) -> list[str]:
    notes = ["The course that is kept here was used, not what the calling system sent."]
    if unverified := answered.standing.unverified:
        notes.append(f"Not verified, and so left out or not relied upon: {', '.join(unverified)}.")
    if live is not None and live.status == "referred":
        notes.append(decided(live, Accounts(visit)))
    return notes


# What the calling system has and we do not


def _sent_of_stored(  # noqa: PLR0913, PLR0917 (whom it is about, and what was sent)
    visit: Visit,
    asked: Asked,
    patient: Patient,
    course: CourseVersion,
    needed: list[Sent],
    found: Mapping[str, Found],
) -> tuple[Made, list[str]]:
    """What the system says of the patient; and in words what of it, beside what is needed, could not be read.

    Raises Unsatisfied for faults of what is needed.
    """
    zone = ZoneInfo(visit.clinic(patient.clinic_id).time_zone)
    read = partial(course_of, course.protocol, visit.today(patient), zone, patient=asked.patient, base=_base(asked))
    faults: list[Fault] = []
    made = read(needed, faults)
    if faults:
        raise Unsatisfied(*faults[:_MOST_FAULTS])
    sent, unread = list(needed), []
    for key in _BESIDE:
        faults = list(found[key].faults)
        read([*needed, *found[key].sent], faults)
        if faults:
            unread.append(f"{key} ({faults[0].message})")
        else:
            sent += found[key].sent
    notes = [f"Not compared with what is kept here: {'; '.join(unread)}."] if unread else []
    return (made if sent == needed else read(sent, [])), notes


def _differing(visit: Visit, protocol: Protocol, patient: Patient, course: CourseVersion, made: Made) -> list[Card]:
    """What the system says otherwise than is recorded here: the newest count, the birth date, doses and events."""
    born, on = made.document.get("born_on"), cast(str, made.document["on"])
    texts = []
    if born is not None and patient.born_on is not None and born != patient.born_on:
        texts.append(f"The birth date is {born} there and {patient.born_on} here: is it the same patient?")
    facts = visit.session.course_facts(patient.id)
    place, entry = ENTRIES["platelet-count"]
    theirs = _counts(made.document["platelet_counts"], on)
    ours = _counts([entry(fact) for fact in facts if ENTRIES.get(fact.kind, ("",))[0] == place], on)
    if theirs and not any((one.day, one.platelets) == (theirs[-1].day, theirs[-1].platelets) for one in ours):
        texts.append(f"The newest platelet count there is {_said(theirs)}; the newest one here is {_said(ours)}.")
    texts += _not_here(made.document, facts, course.started_on)
    if not texts:
        return []
    summary = f"romiPLOStim: data here and there differ. {texts[-1]}"
    ask = "Record or correct what is missing before a dose is decided."
    return [cards.warning(protocol, summary, cards.bullets(texts), ask)]


def _not_here(document: Mapping[str, object], facts: Sequence[CourseFact], since: str) -> list[str]:
    """The doses since the course began, and the events, that another system has and that are not recorded here."""
    ours, theirs = _by_day(_ours(facts)), _given(document)
    texts = []
    for day in sorted(day for day in theirs if day >= since and theirs[day] != ours.get(day)):
        here = f"{plain(ours[day])} micrograms here" if day in ours else "none here"
        texts.append(f"Of {day} there is a dose of {plain(theirs[day])} micrograms there, and {here}.")
    known = {(fact.code, fact.day) for fact in facts if fact.kind == "event"}
    texts += [
        f"Of {one['occurred_on']} there is a {one['kind'].replace('_', ' ')} there, and none here."
        for one in _entries(document, "events")
        if (one["kind"], one["occurred_on"]) not in known and "resolved_on" not in one
    ]
    return texts[-_MOST_TOLD:]


def _by_day(doses: Iterable[tuple[str, Decimal]]) -> dict[str, Decimal]:
    """The micrograms of each day: doses of one day are one dose."""
    found: dict[str, Decimal] = {}
    for day, micrograms in doses:
        found[day] = EXACT.add(found[day], micrograms) if day in found else micrograms
    return found


def _ours(facts: Iterable[CourseFact]) -> Iterator[tuple[str, Decimal]]:
    """The doses among facts, each with its day."""
    return ((fact.day, Decimal(fact.value or 0)) for fact in facts if fact.kind == "dose")


def _given(document: Mapping[str, object]) -> dict[str, Decimal]:
    """The micrograms that were given by a course document, by day."""
    return _by_day((one["given_on"], one["micrograms"]) for one in _entries(document, "doses"))


def _entries(document: Mapping[str, object], name: str) -> list[dict[str, Any]]:
    return cast("list[dict[str, Any]]", document[name])


def _counts(entries: object, on: str) -> tuple[Count, ...]:
    return read_document({"protocol": "", "on": on, "platelet_counts": entries}, lambda _: None).course.counts


def _said(counts: tuple[Count, ...]) -> str:
    if not counts:
        return "none"
    return f"{plain(counts[-1].platelets)} ×10⁹/L of {iso(counts[-1].day)}"
