"""Why a request is refused. Codes are stable, words are not; docs/problems.md lists each code with what to do.

Refusal
├── Invalid        what was sent cannot be taken; every fault with its path
├── Asked          it can be taken, once the questions that it raises are answered
├── Unknown        there is no such thing, or none that the account may know of
├── Forbidden      the account may not do this
│   └── Beyond        its token has not the scope for it
├── Unauthorised   nobody is logged in, or the login failed
├── Conflict       it contradicts what is stored
│   └── ProposalChanged  what it decides upon has changed; the new proposal comes with it
├── Outdated       what it would change has been changed since
├── VersionNeeded  it does not say which version it would change
├── Unready        the service may not answer now
└── TooMany        more requests than allowed
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from titrator.titration.errors import Fault


class Code(StrEnum):
    """What is wrong, for programs."""

    ACCOUNT_INACTIVE = "ACCOUNT-INACTIVE"
    ACTIVATION_USED = "ACTIVATION-USED"
    ALREADY_DECIDED = "ALREADY-DECIDED"
    ALREADY_RESOLVED = "ALREADY-RESOLVED"
    BIRTH_DATE_MISSING = "BIRTH-DATE-MISSING"
    BODY_TOO_LARGE = "BODY-TOO-LARGE"
    CEILING_EXCEEDED = "CEILING-EXCEEDED"
    COUNT_FAR_FROM_LAST = "COUNT-FAR-FROM-LAST"
    COURSE_NOT_ACTIVE = "COURSE-NOT-ACTIVE"
    COURSE_OPEN = "COURSE-OPEN"
    DATABASE_UNAVAILABLE = "DATABASE-UNAVAILABLE"
    DECISION_CLOSED = "DECISION-CLOSED"
    DOSES_BEFORE_COURSE = "DOSES-BEFORE-COURSE"
    DOSES_TOO_CLOSE = "DOSES-TOO-CLOSE"
    DOSE_FAR_FROM_LAST = "DOSE-FAR-FROM-LAST"
    DOSE_ROUTE = "DOSE-ROUTE"
    DOSE_MISMATCH_DECISION = "DOSE-MISMATCH-DECISION"
    DOSE_WITHOUT_COURSE = "DOSE-WITHOUT-COURSE"
    DOSING_WEIGHT_WOULD_CHANGE = "DOSING-WEIGHT-WOULD-CHANGE"
    ENTERED_IN_ERROR = "ENTERED-IN-ERROR"
    EXTERNAL_ID_TAKEN = "EXTERNAL-ID-TAKEN"
    FACTS_LATER = "FACTS-LATER"
    FACTS_UNVERIFIED = "FACTS-UNVERIFIED"
    FEED_MAY_NOT_CORRECT = "FEED-MAY-NOT-CORRECT"
    FORBIDDEN = "FORBIDDEN"
    IDEMPOTENCY_KEY_REUSED = "IDEMPOTENCY-KEY-REUSED"
    IDENTIFIER_TAKEN = "IDENTIFIER-TAKEN"
    IMPORT_ENDED = "IMPORT-ENDED"
    INSUFFICIENT_SCOPE = "INSUFFICIENT-SCOPE"
    INTERNAL = "INTERNAL"
    INVALID = "INVALID"
    LOGIN_FAILED = "LOGIN-FAILED"
    METHOD_NOT_ALLOWED = "METHOD-NOT-ALLOWED"
    NOTHING_TO_ACCEPT = "NOTHING-TO-ACCEPT"
    NOTHING_TO_PREPARE = "NOTHING-TO-PREPARE"
    NOTHING_TO_REVIEW = "NOTHING-TO-REVIEW"
    NOT_ACCEPTABLE = "NOT-ACCEPTABLE"
    NO_CHANNELS = "NO-CHANNELS"
    NOT_FOR_BATCH = "NOT-FOR-BATCH"
    NOT_FOUND = "NOT-FOUND"
    NOT_UNVERIFIED = "NOT-UNVERIFIED"
    OVERRIDE_FAR_FROM_LAST = "OVERRIDE-FAR-FROM-LAST"
    PATIENT_INACTIVE = "PATIENT-INACTIVE"
    PROPOSAL_CHANGED = "PROPOSAL-CHANGED"
    PROTOCOL_UNUSABLE = "PROTOCOL-UNUSABLE"
    REMINDER_CLOSED = "REMINDER-CLOSED"
    REMINDER_STANDS = "REMINDER-STANDS"
    RESULT_PRELIMINARY = "RESULT-PRELIMINARY"
    RESULT_SETTLED = "RESULT-SETTLED"
    SECOND_FACTOR_MISSING = "SECOND-FACTOR-MISSING"
    SECOND_FACTOR_NEEDED = "SECOND-FACTOR-NEEDED"
    SECOND_FACTOR_SET = "SECOND-FACTOR-SET"
    SECOND_PERSON_NEEDED = "SECOND-PERSON-NEEDED"
    SELF_TEST_FAILED = "SELF-TEST-FAILED"
    TOO_MANY_ENTRIES = "TOO-MANY-ENTRIES"
    TOO_MANY_IMPORTS = "TOO-MANY-IMPORTS"
    TOO_MANY_REQUESTS = "TOO-MANY-REQUESTS"
    UNAUTHORISED = "UNAUTHORISED"
    UNSUPPORTED_MEDIA_TYPE = "UNSUPPORTED-MEDIA-TYPE"
    USERNAME_TAKEN = "USERNAME-TAKEN"
    VALUE_FAR_FROM_LAST = "VALUE-FAR-FROM-LAST"
    VERSION_NEEDED = "VERSION-NEEDED"
    VERSION_STALE = "VERSION-STALE"
    WEIGHT_FAR_FROM_LAST = "WEIGHT-FAR-FROM-LAST"
    WEIGHT_NEEDED = "WEIGHT-NEEDED"
    WEIGHT_UNUSUAL = "WEIGHT-UNUSUAL"


class Refusal(Exception):
    """A request that is not done. `faults` says where, if a place is to blame."""

    code: Code

    def __init__(self, message: str, *, code: Code | None = None, faults: Iterable[Fault] = ()) -> None:
        super().__init__(message)
        self.code = code or type(self).code
        self.message = message
        self.faults = tuple(faults)


class Invalid(Refusal):
    """What was sent cannot be taken."""

    code = Code.INVALID

    def __init__(self, *faults: Fault) -> None:
        super().__init__("What was sent cannot be taken; each fault is named.", faults=faults)


class Asked(Refusal):
    """It can be taken once its questions are answered: the request sent again with their codes under `confirm`."""

    code = Code.INVALID

    def __init__(self, questions: Iterable[tuple[Code, str]]) -> None:
        asked = tuple(questions)
        self.questions = tuple(str(code) for code, _ in asked)
        super().__init__(
            " ".join(text for _, text in asked) + " Send it again with the codes under `confirm` if it is right.",
            code=asked[0][0],
            faults=[Fault("confirm", f"{code}: {text}") for code, text in asked],
        )


class Unknown(Refusal):
    """There is no such thing, or none that the account may know of."""

    code = Code.NOT_FOUND

    def __init__(self, what: str) -> None:
        super().__init__(f"No such {what}, or none in the clinics of this account.")


class Forbidden(Refusal):
    """The account may not do this."""

    code = Code.FORBIDDEN


class Beyond(Forbidden):
    """The token has not the scopes for this; `scope` are those that it would take, empty where none would do."""

    code = Code.INSUFFICIENT_SCOPE

    def __init__(self, scope: str) -> None:
        takes = f"it takes {scope}" if scope else "none is for this"
        super().__init__(f"This token has not the scope for this: {takes}.")
        self.scope = scope


class Unauthorised(Refusal):
    """Nobody is logged in, or the login failed."""

    code = Code.UNAUTHORISED


class Conflict(Refusal):
    """It contradicts what is stored."""

    def __init__(self, code: Code, message: str, *, faults: Iterable[Fault] = ()) -> None:
        super().__init__(message, code=code, faults=faults)


class ProposalChanged(Conflict):
    """The proposal that a decision names is not the one that stands now; `proposal` is that one, as it is sent."""

    def __init__(self, message: str, proposal: str) -> None:
        super().__init__(Code.PROPOSAL_CHANGED, message, faults=[Fault("proposal_sha256", "is not the one of now")])
        self.proposal = proposal


class Outdated(Refusal):
    """What it would change has been changed since it was read."""

    code = Code.VERSION_STALE


class VersionNeeded(Refusal):
    """A change must say which version it changes."""

    code = Code.VERSION_NEEDED


class Unready(Refusal):
    """The service may not answer now; after `retry_after` seconds it may, where that is known."""

    code = Code.SELF_TEST_FAILED

    def __init__(self, message: str, *, code: Code | None = None, retry_after: int | None = None) -> None:
        super().__init__(message, code=code)
        self.retry_after = retry_after


class TooMany(Refusal):
    """More requests than allowed; `retry_after` in seconds."""

    code = Code.TOO_MANY_REQUESTS

    def __init__(self, retry_after: int) -> None:
        super().__init__("More requests than this service takes from one account or address; try again later.")
        self.retry_after = retry_after
