"""References to resources of this server, whichever way they are written."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit


class Local(NamedTuple):
    """What a reference names here; the type is None of an id alone."""

    kind: str | None
    ident: str


def local(reference: str, base: str) -> Local | None:
    """What a reference names on the server at `base`: relative or absolute, of a version or of none, or an id alone.

    None where it is of another server, or no reference to a resource at all.
    """
    kind, slash, ident = within(reference, base).partition("/_history/")[0].rpartition("/")
    if not slash:
        return None if ":" in ident else Local(None, ident)
    return Local(kind, ident) if kind.isalpha() and ident else None


def within(reference: str, base: str) -> str:
    """A reference without the address of the server at `base`, if it has it, by whichever scheme."""
    if "://" not in reference:
        return reference
    own, other = urlsplit(base), urlsplit(reference)
    here = own.path.rstrip("/") + "/"
    same = _host(own) == _host(other) and other.path.startswith(here)
    return other.path.removeprefix(here) if same else reference


def _host(address: SplitResult) -> str:
    """The host in small letters, with its port if that is not the usual one."""
    return address.netloc.lower().removesuffix({"http": ":80", "https": ":443"}.get(address.scheme, ""))


def patient_id(reference: str, base: str) -> str:
    """The id of the patient whom a reference names; empty where it names none of this server."""
    named = local(reference, base)
    return named.ident if named is not None and named.kind in (None, "Patient") else ""


def beside(full_url: str | None, reference: str) -> str | None:
    """The address that a relative reference has in an entry of a Bundle: that of the server of the entry's `fullUrl`.

    None where the reference is absolute, or the entry has no address of a resource on a server.
    """
    if full_url is None or "://" not in full_url or ":" in reference:
        return None
    server, *rest = full_url.rsplit("/", 2)
    return f"{server}/{reference}" if len(rest) == 2 and rest[0].isalpha() else None
