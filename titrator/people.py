"""The commands for who may come in and who is told: `clinics`, `channels`, `users`, `tokens`, `clients`.

docs/cli.md has each.
"""

from __future__ import annotations

import sys
from typing import Any, BinaryIO, Final

import click
from rich.text import Text

from schemas.account import ROLES, AccountChange, AccountIn, TokenIn
from schemas.clinic import WEEKDAYS, ClinicIn
from schemas.reminder import AUDIENCES, ChannelIn
from titrator import console
from titrator.local import NOT_DONE, acting, checked, looking, moment, refuse, settings, table, write_json
from titrator.notify.address import redacted
from titrator.security.permissions import Permission
from titrator.store.base import Where
from titrator.store.records import Account, ApiClient, ChannelRow, Clinic, Token
from titrator.titration.errors import Fault
from titrator.workflow import accounts, clients, record
from titrator.workflow.errors import Code, Invalid, Refusal
from titrator.workflow.reminders import manage
from titrator.workflow.visit import Visit, instant

#: In place of an address: it is asked for, as the arguments of a command are seen by others on the machine.
_ASKED_FOR: Final = "-"
#: Of a file of keys no more than this is read, one byte more than is accepted.
_MOST_KEYS: Final = 256 * 1024 + 1

as_json = click.option("--json", "as_json", is_flag=True, help="Answer as one line of JSON.")
username = click.argument("username")


@click.group("clinics")
def clinics_group() -> None:
    """The outpatient clinics of this installation."""


@clinics_group.command("add")
@click.argument("name")
@click.option("--time-zone", required=True, help="IANA name, like Europe/Berlin: it tells what day it is there.")
@click.option("--holiday", "holidays", multiple=True, metavar="DAY", help="A day on which it is closed; repeatable.")
@click.option(
    "--injection-day", "injection_days", multiple=True, type=click.Choice(WEEKDAYS), help="Repeatable; by default any."
)
@as_json
def add_clinic_command(as_json: bool, **body: Any) -> None:
    """Add a clinic."""
    with acting() as visit:
        clinic = record.add_clinic(visit, checked(ClinicIn, body | {name: list(body[name]) for name in _LISTS}))
    if as_json:
        write_json(record.clinic_fields(clinic))
    else:
        _say(f"Clinic {clinic.name} added. Its id is {clinic.id}; commands take its name, too.")


_LISTS = ("holidays", "injection_days")


@clinics_group.command("list")
@as_json
def list_clinics_command(as_json: bool) -> None:
    """List the clinics."""
    with acting() as visit:
        clinics = record.clinics(visit)
    if as_json:
        write_json({"items": [record.clinic_fields(clinic) for clinic in clinics]})
        return
    if not clinics:
        _say("No clinics yet: titrator clinics add NAME --time-zone ZONE")
        return
    rows = table("Name", "Time zone", "Injection days", "Holidays", "Id")
    for clinic in clinics:
        days = ", ".join(clinic.injection_days) or "any"
        rows.add_row(clinic.name, clinic.time_zone, days, str(len(clinic.holidays)), clinic.id)
    console.out().print(rows)


@click.group("channels")
def channels_group() -> None:
    """The channels by which a clinic is reminded."""


@channels_group.command("add")
@click.argument("clinic")
@click.argument("address")
@click.option("--label", required=True, help="A name for it.")
@click.option("--to", "audience", required=True, type=click.Choice(AUDIENCES), help="Whom it reaches.")
@click.option("--per-minute", type=click.IntRange(1, 100_000), help="How many messages it is sent at most. [60]")
@as_json
def add_channel_command(clinic: str, as_json: bool, **body: Any) -> None:
    """Add a channel to a CLINIC: an ADDRESS such as mailtos://user:password@smtp.example.org?to=ward@example.org.

    Give - as the ADDRESS: it is asked for and not shown, or read from standard input, a line. Others on this machine
    can see the arguments of a command, and with them a password.

    An address that begins with https:// is a webhook, whose secret is shown this once. One for single persons (--to
    gateway) has {to} where theirs comes.
    """
    if body["address"] == _ASKED_FOR:
        body["address"] = _address()
    kind = "webhook" if body["address"].startswith(("https://", "http://")) else "apprise"
    sent = {name: value for name, value in {**body, "kind": kind}.items() if value is not None}
    with acting() as visit:
        made, secret = manage.add_channel(visit, clinic_named(visit, clinic).id, checked(ChannelIn, sent))
    if as_json:
        write_json({"channel": manage.channel_fields(made), "secret": secret})
        return
    _say(f"Channel {made.label} added. Its id is {made.id}; try it: titrator channels test {made.id}")
    if secret is not None:
        _say(f"What it is sent is signed with {secret}, which is not shown again.")


def _address() -> str:
    """The address that somebody types unseen, or that stands in standard input."""
    if _typed_by_hand():
        return str(click.prompt("Address", hide_input=True, err=True)).strip()
    return sys.stdin.read().strip()


def _typed_by_hand() -> bool:
    return sys.stdin.isatty()


@channels_group.command("list")
@as_json
def list_channels_command(as_json: bool) -> None:
    """List the channels of all clinics."""
    with acting() as visit:
        found = [(one, row) for one in record.clinics(visit) for row in manage.channels(visit, one.id)]
    if as_json:
        write_json({"items": [manage.channel_fields(row) for _, row in found]})
        return
    if not found:
        _say("No channels yet: titrator channels add CLINIC - --label NAME --to AUDIENCE")
        return
    rows = table("Label", "Clinic", "To", "Address", "State", "Id")
    for one, row in found:
        state = "in use" if row.active else "out of use"
        rows.add_row(row.label, one.name, row.audience, redacted(row.address), row.error or state, row.id)
    console.out().print(rows)


@channels_group.command("test")
@click.argument("channel")
@click.option("--to", metavar="ADDRESS", help="To whom, by a gateway.")
def test_channel_command(channel: str, to: str | None) -> None:
    """Send a message by a CHANNEL that says only that it works; exit code 4 if it could not be sent."""
    with looking() as visit:
        row = _channel(visit, channel)
        error = manage.test_channel(visit, row.clinic_id, row.id, to)
    if error is not None:
        refuse(NOT_DONE, f"not sent: {error}")
    _say("Sent.")


@channels_group.command("stop")
@click.argument("channel")
def stop_channel_command(channel: str) -> None:
    """Take a CHANNEL out of use. What waits for it is given up, and on the worklist."""
    with acting() as visit:
        row = _channel(visit, channel)
        manage.change_channel(visit, row.clinic_id, row.id, {"active": False}, None)
    _say(f"Channel {row.label} is out of use.")


@click.group("users")
def users_group() -> None:
    """The accounts of people and of systems."""


@users_group.command("add")
@username
@click.option("--name", "display_name", required=True, help="The name to show.")
@click.option("--role", required=True, type=click.Choice(ROLES))
@click.option("--clinic", "clinics", multiple=True, metavar="CLINIC", help="By name or id; repeatable.")
@as_json
def add_user_command(clinics: tuple[str, ...], as_json: bool, **body: Any) -> None:
    """Add an account; prints a person's one-time link, which sets the password. A system (role ehr) gets tokens."""
    with acting() as visit:
        asked = checked(AccountIn, body | {"clinics": [clinic_named(visit, named).id for named in clinics]})
        account, issued = accounts.add_account(visit, asked)
        shown = accounts.account_fields(visit.session, account)
    _tell_account(shown, "added", issued, as_json=as_json)
    if issued is None and not as_json:
        _say(f"A system has no password: titrator tokens issue {account.username} --label ... --days ...")


@users_group.command("list")
@as_json
def list_users_command(as_json: bool) -> None:
    """List the accounts, and whether each can come in."""
    with acting() as visit:
        found = visit.session.find(Account, order=("username",))
        shown = [accounts.account_fields(visit.session, account) for account in found]
        names = {clinic.id: clinic.name for clinic in record.clinics(visit)}
        now = instant(visit.now)
    if as_json:
        write_json({"items": shown})
        return
    rows = table("Username", "Name", "Role", "Clinics", "State")
    for account, fields in zip(found, shown, strict=True):
        clinics = ", ".join(sorted(names[ident] for ident in account.clinics))
        state = _state(account, now) + (", second factor" if fields["second_factor"] else "")
        rows.add_row(account.username, account.display_name, account.role, clinics or "none", state)
    console.out().print(rows)


@users_group.command("change")
@username
@click.option("--name", "display_name", help="The name to show.")
@click.option("--role", type=click.Choice(ROLES), help="Another role ends the account's sessions and tokens.")
@click.option("--clinic", "clinics", multiple=True, metavar="CLINIC", help="Instead of those before; repeatable.")
@click.option("--no-clinics", is_flag=True, help="No clinic any more.")
@click.option("--active", is_flag=True, default=None, help="Let a disabled account in again.")
@as_json
def change_user_command(username: str, clinics: tuple[str, ...], no_clinics: bool, as_json: bool, **body: Any) -> None:
    """Change an account; what it may do follows at once. It is unlocked, too."""
    if clinics and no_clinics:
        raise click.UsageError("--clinic and --no-clinics exclude each other")
    with acting() as visit:
        chosen = [clinic_named(visit, named).id for named in clinics]
        asked = checked(AccountChange, body | {"clinics": chosen if chosen or no_clinics else None})
        account = accounts.change_account(visit, _account(visit, username).id, asked, None)
        shown = accounts.account_fields(visit.session, account)
    _tell_account(shown, "changed", None, as_json=as_json)


@users_group.command("invite")
@username
@as_json
def invite_user_command(username: str, as_json: bool) -> None:
    """Print a new one-time link for an account whose password is lost; earlier links and its sessions end."""
    with acting() as visit:
        account, issued = accounts.invite_again(visit, _account(visit, username).id)
        shown = accounts.account_fields(visit.session, account)
    _tell_account(shown, "invited", issued, as_json=as_json)


@users_group.command("disable")
@username
@as_json
def disable_user_command(username: str, as_json: bool) -> None:
    """Keep an account out at once: its sessions, tokens and links end. What it did stays under its name."""
    with acting() as visit:
        account = accounts.change_account(visit, _account(visit, username).id, {"active": False}, None)
        shown = accounts.account_fields(visit.session, account)
    _tell_account(shown, "disabled", None, as_json=as_json)


@users_group.command("second-factor-off")
@username
@as_json
def second_factor_off_command(username: str, as_json: bool) -> None:
    """Take the second factor of an account away, whose owner has lost it; its sessions end."""
    with acting() as visit:
        account = accounts.reset_factor(visit, _account(visit, username).id)
        shown = accounts.account_fields(visit.session, account)
    _tell_account(shown, "now comes in by the password alone", None, as_json=as_json)


@click.group("tokens")
def tokens_group() -> None:
    """Tokens with which programs come in, each for an account."""


@tokens_group.command("issue")
@username
@click.option("--label", required=True, help="What it is for.")
@click.option("--days", required=True, type=int, help="How long it lasts.")
@click.option(
    "--permission",
    "permissions",
    multiple=True,
    type=click.Choice(list(map(str, Permission))),
    metavar="PERMISSION",
    help="Only this of what the role may do; repeatable. By default all.",
)
@as_json
def issue_token_command(username: str, permissions: tuple[str, ...], as_json: bool, **body: Any) -> None:
    """Issue a token of an account. It is shown this once: only its hash is kept."""
    with acting() as visit:
        asked = checked(TokenIn, body | {"permissions": list(permissions) or None})
        issued = accounts.issue_token(visit, _account(visit, username).id, asked)
    if as_json:
        write_json({"token": accounts.token_fields(issued.token), "secret": issued.secret})
        return
    _say(f"Token {issued.token.id} of {username}, until {moment(issued.token.expires_at)}. It is shown this once:")
    click.echo(issued.secret)


@tokens_group.command("list")
@username
@as_json
def list_tokens_command(username: str, as_json: bool) -> None:
    """List the tokens, sessions and links of an account."""
    with acting() as visit:
        found = accounts.tokens(visit, _account(visit, username).id)
        now = instant(visit.now)
    if as_json:
        write_json({"items": [accounts.token_fields(token) for token in found]})
        return
    if not found:
        _say(f"{username} has no tokens.")
        return
    rows = table("Id", "Label", "Kind", "Permissions", "State")
    for token in found:
        permissions = "as the role" if token.permissions is None else ", ".join(token.permissions)
        if token.kind == "activation":
            permissions = "to set the password"
        rows.add_row(token.id, token.label, token.kind, permissions, _token_state(token, now))
    console.out().print(rows)


@tokens_group.command("revoke")
@username
@click.argument("token_id", metavar="ID")
@as_json
def revoke_token_command(username: str, token_id: str, as_json: bool) -> None:
    """End a token at once; `titrator tokens list` tells the ids."""
    with acting() as visit:
        token = accounts.revoke_token(visit, _account(visit, username).id, token_id)
    if as_json:
        write_json(accounts.token_fields(token))
    else:
        _say(f"Token {token.id} ({token.label}) of {username} has ended.")


@click.group("clients")
def clients_group() -> None:
    """Programs that get tokens of an account by assertions that they sign (SMART Backend Services)."""


@clients_group.command("add")
@username
@click.option("--label", required=True, help="What it is.")
@click.option("--scope", "scopes", multiple=True, required=True, help="The most that it gets; repeatable.")
@click.option("--jwks-url", metavar="URL", help="Where its public keys stand.")
@click.option("--jwks", "file", type=click.File("rb"), metavar="FILE", help="Its public keys, or - for standard input.")
@as_json
def add_client_command(  # noqa: PLR0913, PLR0917 (its options)
    username: str, label: str, scopes: tuple[str, ...], jwks_url: str | None, file: BinaryIO | None, as_json: bool
) -> None:
    """Register a client of an account of the role ehr, by the URL of its public keys or by the keys; prints its id."""
    jwks = None if file is None else file.read(_MOST_KEYS).decode(errors="replace")
    with acting() as visit:
        ident = _account(visit, username).id
        made = clients.add_client(visit, ident, label=label, scopes=" ".join(scopes), jwks=jwks, jwks_url=jwks_url)
    if as_json:
        write_json(clients.client_fields(made))
        return
    _say(f"Client {made.label} of {username} added. It asks for tokens at {settings().base_url}/auth/token as")
    click.echo(made.id)


@clients_group.command("list")
@as_json
def list_clients_command(as_json: bool) -> None:
    """List the clients, and those that were revoked."""
    with acting() as visit:
        found = clients.clients(visit.session)
        names = {account.id: account.username for account in visit.session.find(Account)}
    if as_json:
        write_json({"items": [clients.client_fields(client) for client in found]})
        return
    if not found:
        _say("No clients yet: titrator clients add USERNAME --label NAME --scope SCOPE --jwks-url URL")
        return
    rows = table("Id", "Label", "Account", "Scopes", "Keys", "State")
    for one in found:
        rows.add_row(one.id, one.label, names[one.account_id], " ".join(one.scopes), *_client_state(one))
    console.out().print(rows)


@clients_group.command("revoke")
@click.argument("client_id", metavar="ID")
@as_json
def revoke_client_command(client_id: str, as_json: bool) -> None:
    """End a client and all its tokens at once; `titrator clients list` tells the ids."""
    with acting() as visit:
        client = clients.revoke_client(visit, client_id)
    if as_json:
        write_json(clients.client_fields(client))
    else:
        _say(f"Client {client.id} ({client.label}) and its tokens have ended.")


def link(secret: str) -> str:
    """The one-time link of a secret."""
    return f"{settings().base_url}/activate/{secret}"


def tell_link(secret: str) -> None:
    """Print a one-time link on a line of its own, and how long it works."""
    days = settings().activation_days
    _say(f"This link sets the password, once, within {days} day{'s' if days != 1 else ''}:")
    click.echo(link(secret))


def _say(text: str) -> None:
    console.out().print(Text(text))


def _tell_account(shown: dict[str, object], done: str, issued: accounts.Issued | None, *, as_json: bool) -> None:
    if as_json:
        write_json({"account": shown, "link": issued and link(issued.secret)})
        return
    _say(f"{shown['username']} ({shown['display_name']}, {shown['role']}) {done}.")
    if issued is not None:
        tell_link(issued.secret)


def _account(visit: Visit, username: str) -> Account:
    found = visit.session.find(Account, Where("username", "=", username.casefold()))
    if not found:
        raise Refusal(f"There is no account {username}; titrator users list shows all.", code=Code.NOT_FOUND)
    return found[0]


def _channel(visit: Visit, ident: str) -> ChannelRow:
    """A channel by its id; raises Invalid."""
    found = visit.session.get(ChannelRow, ident)
    if found is None:
        raise Invalid(Fault("channel", "there is none of that id: titrator channels list"))
    return found


def clinic_named(visit: Visit, named: str) -> Clinic:
    """A clinic by its id or its name."""
    found = [clinic for clinic in record.clinics(visit) if named in (clinic.id, clinic.name)]
    if len(found) != 1:
        wrong = "no clinic of that name or id" if not found else "two clinics of that name; say which by its id"
        raise Invalid(Fault("--clinic", f"{wrong}: {named}"))
    return found[0]


def _state(account: Account, now: str) -> str:
    found = accounts.state(account, now)
    return f"locked until {moment(account.locked_until)}" if found == "locked" else found.replace("-", " ")


def _client_state(client: ApiClient) -> tuple[str, str]:
    """Where its keys are, and whether it may come."""
    state = "registered" if client.revoked_at is None else f"revoked {moment(client.revoked_at)}"
    return client.jwks_url or "given", state


def _token_state(token: Token, now: str) -> str:
    if token.revoked_at is not None:
        return f"ended {moment(token.revoked_at)}"
    return f"{'ended' if token.expires_at <= now else 'until'} {moment(token.expires_at)}"
