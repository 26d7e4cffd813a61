"""The audit trail for auditors: who did and saw what, when and why; whether what is shown is as it was written."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, Final, NamedTuple

from schemas.audit import AuditQuery
from titrator.security.permissions import Permission
from titrator.security.trail import SYSTEM
from titrator.store.base import Where
from titrator.store.records import Account, AuditRow
from titrator.titration.documents import encode
from titrator.titration.quantities import plain
from titrator.web.frame import Context, Pages, asked
from titrator.web.language import gettext as _
from titrator.web.language import lazy_gettext as _l
from titrator.workflow import trail
from titrator.workflow.visit import Visit

pages = Pages("audit")

_A_PAGE: Final = 50
_AT_ONCE: Final = 500
#: What stands in an entry beside what it was about.
_OF_ITS_OWN: Final = ("old", "new", "why", "with_token")

#: What was done, in words; a decision's changes begin with `decision-`.
DID: Final[Mapping[str, Any]] = {
    "accept": _l("accepted a proposal"),
    "acknowledge-reminder": _l("said that a reminder is seen to"),
    "activate": _l("set a password by a one-time link"),
    "activation-failed": _l("tried a one-time link that was no good"),
    "add-client": _l("registered a client"),
    "answer-again": _l("was sent a kept answer again"),
    "assign-result": _l("assigned a result to a patient"),
    "audit-titration": _l("asked how doses agree with a protocol"),
    "backup": _l("made a backup"),
    "begin-import": _l("began to import a table"),
    "begin-second-factor": _l("began to set up a second factor"),
    "break-glass": _l("opened a record of another clinic in an emergency"),
    "cancel-import": _l("cancelled an import"),
    "cancel-reminder": _l("cancelled a reminder"),
    "cds-card": _l("was shown a card"),
    "cds-feedback": _l("said what became of a card"),
    "change": _l("changed"),
    "change-contacts": _l("changed contacts"),
    "change-password": _l("changed the own password"),
    "compare-protocols": _l("saw what other protocols would do"),
    "confirm-eligibility": _l("confirmed eligibility"),
    "confirm-second-factor": _l("set up a second factor"),
    "copy": _l("copied the database"),
    "correct": _l("corrected"),
    "create": _l("made"),
    "decision-co-sign": _l("gave the second signature"),
    "decision-deliver": _l("a decision was given"),
    "decision-dose-taken-back": _l("a dose given was taken back"),
    "decision-not-given": _l("a dose was not given"),
    "decision-reopen": _l("a decision was opened again"),
    "decision-review": _l("reviewed a decision that was opened again"),
    "decision-same-again": _l("a decision holds again"),
    "decision-supersede": _l("a decision was replaced"),
    "decision-void": _l("a decision became void"),
    "decision-withdraw": _l("withdrew a decision"),
    "denied": _l("was refused, for want of a right or because it is not there"),
    "discontinue": _l("discontinued a course"),
    "dismiss-delivery": _l("saw to a message that was given up"),
    "dismiss-result": _l("dismissed a result"),
    "dose-mismatch": _l("a dose departs from the decision"),
    "end-import": _l("ended an import"),
    "enter-in-error": _l("marked as entered in error"),
    "entry-unreadable": _l("an entry that could not be read"),
    "explain-mismatch": _l("explained a dose that departs"),
    "export": _l("took patients out"),
    "export-audit": _l("exported the trail"),
    "go-on": _l("went on with a course"),
    "grant-token": _l("a client got a token"),
    "import": _l("recorded by an import"),
    "invite": _l("issued a one-time link"),
    "issue-calendar": _l("issued a calendar"),
    "issue-token": _l("issued a token"),
    "keep-result": _l("kept a result that could not be filed"),
    "link": _l("linked to what was there"),
    "list-reminders": _l("saw reminders"),
    "list-undelivered": _l("saw messages that were given up"),
    "lock": _l("an account was locked after failed logins"),
    "login": _l("logged in"),
    "login-code-asked": _l("gave the right password, and was asked for the code"),
    "login-failed": _l("failed to log in"),
    "login-refused": _l("was not let in"),
    "logout": _l("logged out"),
    "new-baseline": _l("took a new baseline weight"),
    "next-dose": _l("saw the next dose"),
    "override": _l("overrode a proposal"),
    "pause": _l("paused a course"),
    "proof-failed": _l("failed to prove who it is"),
    "put-off-reminder": _l("put a reminder off"),
    "read": _l("read"),
    "read-audit": _l("read the trail"),
    "read-calendar": _l("a calendar was read"),
    "recommend": _l("asked for a recommendation"),
    "record": _l("recorded"),
    "refer": _l("referred to a prescriber"),
    "refuse-token": _l("a client got no token"),
    "refused": _l("was refused, because of what is stored"),
    "remove-second-factor": _l("took the own second factor away"),
    "replay-decisions": _l("replayed decisions"),
    "reset-second-factor": _l("took the second factor of an account away"),
    "resolve": _l("resolved"),
    "restore": _l("restored a backup"),
    "retry-delivery": _l("had a message tried again"),
    "revoke-calendar": _l("revoked a calendar"),
    "revoke-client": _l("revoked a client"),
    "revoke-token": _l("revoked a token"),
    "search": _l("searched"),
    "send-import": _l("sent a table to be imported"),
    "start-course": _l("started a course"),
    "switch-protocol": _l("switched the protocol"),
    "take-evidence": _l("took the evidence file of a patient"),
    "tell": _l("a message was sent"),
    "test-channel": _l("tested a channel"),
    "verify": _l("verified"),
    "worklist": _l("saw the worklist"),
}


class Told(NamedTuple):
    """A value of an entry by name: what it was and what it is."""

    name: str
    old: str | None
    new: str | None


class Line(NamedTuple):
    """An entry for people: what was done in words, by whom and to which account or patient, what differs, what else."""

    row: AuditRow
    did: str
    who: str
    account: str | None
    patient: str | None
    differs: list[Told]
    why: str | None
    token: str | None
    beside: list[Told]


@pages.page("/audit", Permission.READ_AUDIT, "audit.html", before=trail.gather)
def audit(visit: Visit) -> Context:
    """Some entries of a chain, the newest first; by default the latest of the system's."""
    query = asked(AuditQuery)
    limit = query.get("limit", _A_PAGE)
    part = trail.stretch(visit, query.get("patient"), query.get("after"), limit)
    names = _names(visit, part.rows)
    return {
        "part": part,
        "limit": limit,
        "lines": [_line(row, names) for row in reversed(part.rows)],
        "patient": None if part.chain == SYSTEM else part.chain,
    }


def _names(visit: Visit, rows: Iterable[AuditRow]) -> dict[str, str]:
    """The usernames of who stands in entries, by account: as who did something, and as whom it was done to."""
    accounts = {row.account_id for row in rows} | {_named(row, "account") for row in rows}
    idents = sorted(ident for ident in accounts if ident is not None)
    parts = [tuple(idents[at : at + _AT_ONCE]) for at in range(0, len(idents), _AT_ONCE)]
    found = [one for part in parts for one in visit.session.find(Account, Where("id", "in", part))]
    return {one.id: one.username for one in found}


def _line(row: AuditRow, names: Mapping[str, str]) -> Line:
    detail = _detail(row.detail)
    old, new = (_object(detail.get(name)) for name in ("old", "new"))
    keys = [*old, *(key for key in new if key not in old)]
    differs = [Told(key, _text(old, key), _text(new, key)) for key in keys if old.get(key) != new.get(key)]
    beside = [Told(key, None, _text(detail, key)) for key in detail if key not in _OF_ITS_OWN]
    return Line(
        row,
        str(DID.get(row.action, row.action.replace("-", " "))),
        names.get(row.account_id, row.account_id) if row.account_id else _("the service, or nobody who was logged in"),
        names.get(_named(row, "account") or ""),
        _named(row, "patient"),
        differs,
        _text(detail, "why"),
        _text(detail, "with_token"),
        [one for one in beside if one.new is not None],
    )


def _named(row: AuditRow, noun: str) -> str | None:
    """The id of what an entry is about, if it is a thing of that kind."""
    found, _slash, rest = row.subject.partition("/")
    return rest.partition("/")[0] or None if found == noun else None


def _detail(text: str) -> dict[str, object]:
    """What an entry says beside its fields; of one that was tampered with until it is no JSON, nothing."""
    try:
        return _object(json.loads(text, parse_float=Decimal))
    except (ValueError, ArithmeticError, RecursionError):
        return {}


def _object(value: object) -> dict[str, object]:
    """An object; a list of old or new values under no name; nothing of nothing."""
    if isinstance(value, dict):
        return value
    return {} if value is None else {"": value}


def _text(values: Mapping[str, object], key: str) -> str | None:
    """A value as people read it; None where there is none."""
    value = values.get(key)
    if value is None or value == []:
        return None
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    if isinstance(value, Decimal):
        return plain(value)
    return value if isinstance(value, str) else encode(value)
