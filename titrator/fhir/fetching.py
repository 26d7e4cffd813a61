"""Fetching what a CDS client has not sent, from its own FHIR server, with the authorisation that its call carries.

Which servers may be asked is for the caller to check. No redirect is followed and no page beyond the same base, so that
a token never goes elsewhere; answers are bounded in size, pages and time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple, Self
from urllib.parse import quote, urljoin, urlsplit

import requests
from urllib3.exceptions import HTTPError

from titrator.fhir.elements import decoded
from titrator.outgoing import Deadline, new_session
from titrator.titration.errors import InvalidDocument

#: Of one call: how long it may fetch, in seconds, and how many bytes; of one search, how many pages.
MOST_SECONDS: Final = 10.0
MOST_BYTES: Final = 8_000_000
MOST_PAGES: Final = 20
_CHUNK: Final = 65_536
_TOO_LONG: Final = "the server took too long"
_HEADERS: Final = {"Accept": "application/fhir+json", "Accept-Encoding": "identity", "User-Agent": "titrator"}


class NotFetched(Exception):
    """What could not be fetched, with why in words that quote nothing of what was answered."""


class Server(NamedTuple):
    """A FHIR server, by its base without a slash at the end, and the access token for it, if there is one."""

    base: str
    token: str | None


class Fetching:
    """Fetches from a server for one call; raises NotFetched. Close it after use, as a context."""

    def __init__(self, server: Server, seconds: float = MOST_SECONDS) -> None:
        self._server = server
        self._deadline = Deadline(seconds)
        self._seconds = seconds
        self._left = MOST_BYTES
        self._session = new_session()
        self._session.headers.update(_HEADERS)
        if server.token is not None:
            self._session.headers["Authorization"] = f"Bearer {server.token}"

    def __enter__(self) -> Self:
        self._deadline.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._deadline.__exit__()
        self._session.close()

    def fetch(self, query: str) -> object:
        """What a read or a search gives, by the query relative to the base; of a search all pages as one Bundle."""
        if not {".", ".."}.isdisjoint(query.partition("?")[0].split("/")):  # an id that would lead elsewhere
            raise NotFetched("there is no such address")
        url = f"{self._server.base}/{query}"
        first = found = self._get(url)
        entries, seen = _entries(found), {url}
        while (following := self._next(found)) is not None:
            if following in seen or len(seen) >= MOST_PAGES:
                raise NotFetched(f"the search has more than {MOST_PAGES} pages, or no end")
            seen.add(following)
            found = self._get(following)
            if not isinstance(found, dict) or found.get("resourceType") != "Bundle":
                raise NotFetched("a page of the search is no Bundle")
            entries += _entries(found)
        return first if len(seen) == 1 else _joined(first, entries)

    def _next(self, page: object) -> str | None:
        links = page.get("link") if isinstance(page, dict) else None
        for link in links if isinstance(links, list) else []:
            if isinstance(link, dict) and link.get("relation") == "next":
                url = link.get("url")
                joined = urljoin(f"{self._server.base}/", url) if isinstance(url, str) and url else ""
                if not _is_within(joined, self._server.base):
                    raise NotFetched("the next page of the search is on another server")
                return joined
        return None

    def _get(self, url: str) -> object:
        try:
            content = self._answered(url)
        except NotFetched:
            if self._deadline.passed:
                raise NotFetched(_TOO_LONG) from None
            raise
        if self._deadline.passed:  # what was cut off looks as if it were all
            raise NotFetched(_TOO_LONG)
        try:
            return decoded(content)
        except InvalidDocument as error:
            raise NotFetched(f"the answer cannot be read: {error.faults[0].message}") from None

    def _answered(self, url: str) -> bytes:
        try:
            with self._session.get(url, timeout=self._seconds, allow_redirects=False, stream=True) as response:
                if response.status_code != requests.codes.ok:
                    raise NotFetched(f"the server answered {response.status_code}")
                return self._body(response)
        except requests.Timeout:
            raise NotFetched(_TOO_LONG) from None
        except requests.exceptions.SSLError:
            raise NotFetched("the certificate of the server is not trusted") from None
        except (requests.RequestException, HTTPError, OSError, UnicodeError):
            raise NotFetched("the server could not be reached, or broke off") from None

    def _body(self, response: requests.Response) -> bytes:
        content = bytearray()
        while part := response.raw.read1(_CHUNK):
            content += part
            self._left -= len(part)
            if self._left < 0:
                raise NotFetched(f"the answers are larger than {MOST_BYTES} bytes")
        return bytes(content)


def query_of(template: str, patient: str) -> str:
    """The query that a template of a prefetch asks, for a patient."""
    return template.replace("{{context.patientId}}", quote(patient, safe=""))


def _is_within(url: str, base: str) -> bool:
    """Whether a URL is one of a base: nothing above it, however it is written."""
    path = urlsplit(url).path.lower()
    plain = ".." not in path and "%2e" not in path and "\\" not in url
    return plain and url.startswith((f"{base}/", f"{base}?"))


def _entries(page: object) -> list[object]:
    entries = page.get("entry") if isinstance(page, dict) else None
    return list(entries) if isinstance(entries, list) else []


def _joined(first: object, entries: list[object]) -> dict[str, Any]:
    bundle: Mapping[str, Any] = first if isinstance(first, dict) else {}
    kept = {key: value for key, value in bundle.items() if key not in ("link", "entry")}
    return kept | {"entry": entries}
