"""CDS Hooks 2.0: what a client sends when a hook fires, and what it says became of a card.

Keys that the specification does not name are taken and passed over: clients add their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import marshmallow as ma

from schemas.fields import Choice, Instant, Many, Object, Schema, Text, Whole, keys_of

HOOKS: Final = ("patient-view", "order-select", "order-sign")
OUTCOMES: Final = ("accepted", "overridden")
_UUID: Final = "[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_ID: Final = r"[A-Za-z0-9.\-]{1,64}"


class _Open(Schema):
    """An object to which others may add."""

    class Meta:
        """Pass over what is not known."""

        unknown = ma.EXCLUDE


class Resources(ma.fields.Dict):
    """An object whose content is read elsewhere."""

    default_error_messages = {"invalid": "must be an object", "null": "must not be null", "required": "required"}  # noqa: RUF012


class _Moment(Text):
    """An instant with its offset."""

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> str:
        text = super()._deserialize(value, attr, data, **kwargs)
        try:
            moment = datetime.fromisoformat(text)
            if moment.tzinfo is not None:
                moment.astimezone(UTC)  # there is no such instant in UTC at the ends of time
                return text
        except (ValueError, OverflowError):
            pass
        raise ma.ValidationError("must be an instant with its offset, YYYY-MM-DDThh:mm:ssZ")


class Authorization(_Open):
    """By which data may be fetched."""

    access_token = Text(required=True, longest=16_384, pattern=r"[!-~]+")
    token_type = Choice(("Bearer", "bearer"), required=True)


class Context(_Open):
    """Of whom a hook fires, and for whom."""

    user_id = Text(required=True, data_key="userId")
    patient_id = Text(required=True, data_key="patientId", pattern=_ID)


class OrderSignContext(Context):
    """With the orders that are to be signed."""

    draft_orders = Resources(required=True, data_key="draftOrders")


class OrderSelectContext(OrderSignContext):
    """With the orders, of which those just selected are named."""

    selections = Many(Text(longest=300), required=True, most=1000)


class _Request(_Open):
    """A call of a service."""

    hook_instance = Text(required=True, data_key="hookInstance", pattern=_UUID)
    fhir_server = Text(data_key="fhirServer", longest=2000, pattern="https?://[!-~]+")
    fhir_authorization = Object(Authorization, data_key="fhirAuthorization")
    prefetch = Resources()

    @ma.validates_schema(pass_original=True, skip_on_field_errors=False)
    def server_of_token(self, data: Mapping[str, object], sent: object, **_: Any) -> None:
        """Refuse an authorisation for a server that is not named."""
        del data
        there = keys_of(sent)
        if "fhirAuthorization" in there and "fhirServer" not in there:
            raise ma.ValidationError({"fhirServer": ["required where there is fhirAuthorization"]})


class PatientView(_Request):
    """A record was opened."""

    hook = Choice(("patient-view",), required=True)
    context = Object(Context, required=True)


class OrderSelect(_Request):
    """Orders were selected."""

    hook = Choice(("order-select",), required=True)
    context = Object(OrderSelectContext, required=True)


class OrderSign(_Request):
    """Orders are to be signed."""

    hook = Choice(("order-sign",), required=True)
    context = Object(OrderSignContext, required=True)


REQUESTS: Final[Mapping[str, Schema]] = {
    "patient-view": PatientView(),
    "order-select": OrderSelect(),
    "order-sign": OrderSign(),
}


class AcceptedSuggestion(_Open):
    """A suggestion that was accepted, by its uuid."""

    id = Text(required=True, pattern=_UUID)


class Coding(_Open):
    """A reason, by code."""

    code = Text(required=True)
    system = Text(longest=2000)
    display = Text(longest=1000)


class OverrideReason(_Open):
    """Why a card was overridden: a reason, a comment or both."""

    reason = Object(Coding)
    user_comment = Text(data_key="userComment", longest=10_000, lines=True)

    @ma.validates_schema(pass_original=True, skip_on_field_errors=False)
    def says_something(self, data: Mapping[str, object], sent: object, **_: Any) -> None:
        """Refuse one that gives neither."""
        del data
        if keys_of(sent).keys().isdisjoint(("reason", "userComment")):
            raise ma.ValidationError({"reason": ["required: reason or userComment"]})


class CardFeedback(_Open):
    """What became of a card."""

    card = Text(required=True, pattern=_UUID)
    outcome = Choice(OUTCOMES, required=True)
    outcome_timestamp = _Moment(required=True, data_key="outcomeTimestamp", longest=40)
    accepted_suggestions = Many(Object(AcceptedSuggestion), data_key="acceptedSuggestions")
    override_reason = Object(OverrideReason, data_key="overrideReason")

    @ma.validates_schema(pass_original=True, skip_on_field_errors=False)
    def goes_together(self, data: Mapping[str, object], sent: object, **_: Any) -> None:
        """Refuse what does not go with the outcome, and what is missing for it."""
        del data
        there = keys_of(sent)
        outcome, wrong = there.get("outcome"), {}
        if outcome == "accepted" and not there.get("acceptedSuggestions"):
            wrong["acceptedSuggestions"] = ["required with accepted: which"]
        if outcome == "accepted" and "overrideReason" in there:
            wrong["overrideReason"] = ["does not go with accepted"]
        if outcome == "overridden" and there.get("acceptedSuggestions"):
            wrong["acceptedSuggestions"] = ["does not go with overridden"]
        if wrong:
            raise ma.ValidationError(wrong)


class Feedback(_Open):
    """What became of cards."""

    feedback = Many(
        Object(CardFeedback), required=True, most=1000, validate=ma.validate.Length(min=1, error="required")
    )


class FeedbackOut(Schema):
    """What became of a card, as the client of an account said last."""

    card = Text(required=True)
    service = Text(required=True)
    account = Text(required=True)
    patient = Text(required=True, allow_none=True)
    outcome = Choice(OUTCOMES, required=True)
    reason_code = Text(required=True, allow_none=True)
    reason_display = Text(required=True, allow_none=True, longest=1000)
    comment = Text(required=True, allow_none=True, longest=10_000, lines=True)
    suggestions = Many(Text(), required=True)
    at = Instant(required=True)
    received_at = Instant(required=True)


class FeedbackList(Schema):
    """Feedback, the newest first."""

    items = Many(Object(FeedbackOut), required=True, most=1000)


class FeedbackQuery(Schema):
    """How many, at most."""

    limit = Whole(least=1, most=1000, digits=True)
