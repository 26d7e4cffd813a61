"""Assertions: signed tokens (JWT) by which another program says who it is, on each call anew.

They are those of CDS clients (CDS Hooks 2.0, "Trusting CDS Clients") and of SMART Backend Services (SMART App Launch
2.2, "Client Authentication: Asymmetric"; RFC 7523). Both are told by issuer: who is not on the list is not let in, and
keys come from where the list says, never from where a token says. `Assertions` has a list that stays, `Registered` asks
for each client anew.

What costs nothing is looked at first, so that no forged token makes us fetch keys that an expired one would not. What a
token says counts once its signature does; only then is its id remembered.
"""

from __future__ import annotations

import ipaddress
import json
import re
import threading
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from heapq import heappop, heappush
from math import inf
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal, NamedTuple, Protocol, cast
from urllib.parse import urlsplit

import requests
from joserfc import jws
from joserfc.errors import BadSignatureError, JoseError
from joserfc.jwk import ECKey, RSAKey
from joserfc.util import urlsafe_b64decode
from urllib3.exceptions import HTTPError

from titrator.outgoing import Deadline, new_session
from titrator.security.secrets import sha256

#: Why an assertion is not accepted.
Reason = Literal[
    "too long", "not a JWT", "algorithm", "type", "critical header", "no key id", "unknown issuer", "other key address",
    "wrong audience", "wrong subject", "no exp", "expired", "lives too long", "no iat", "not yet issued", "too old",
    "not yet valid", "no jti", "keys unavailable", "unknown key", "unfit key", "signature", "replayed", "too many",
]  # fmt: skip
#: The algorithms of signatures that are accepted.
ALGORITHMS: Final = ("ES256", "ES384", "RS256", "RS384")

_LONGEST: Final = 8192
_LONGEST_ID: Final = 200
_LEEWAY_SECONDS: Final = 60
_LATEST: Final = 2**40
#: How many clients' keys are kept in memory; with more, they are read anew.
_MOST_HELD: Final = 1000
_MOST_BYTES: Final = 256 * 1024
#: How long fetched keys hold: at most, and where their server does not say.
_MOST_SECONDS: Final = 3600
_USUAL_SECONDS: Final = 300
#: For so long they hold for who has fetched them, so that they are of use to somebody.
_AT_ONCE_SECONDS: Final = 0.001
#: Between two fetches while there are keys that hold, and while there are none.
_PAUSE_SECONDS: Final = 60
_RETRY_SECONDS: Final = 10
_TOO_LONG: Final = "the server of the keys took too long"
_MAX_AGE: Final = re.compile(r"(?:^|[\s,])max-age=\"?([0-9]{1,9})(?![0-9])", re.IGNORECASE)
_CURVES: Final[Mapping[object, tuple[str, ...]]] = MappingProxyType({"P-256": ("ES256",), "P-384": ("ES384",)})
_SECRET: Final = frozenset({"d", "k", "p", "q", "dp", "dq", "qi", "oth"})
#: Digits in base64url of RSA moduli of 2048 and of 8192 bits: weaker ones are refused, longer ones take too long.
_SHORTEST_MODULUS: Final = 342
_LONGEST_MODULUS: Final = 1366
_LONGEST_EXPONENT: Final = 8

_Object = Mapping[str, object]
_Key = ECKey | RSAKey
#: By key id, then by algorithm. A key that is good for none of ours is there with nothing in it.
_Keys = Mapping[str, Mapping[str, _Key]]


class NotAccepted(Exception):
    """An assertion that is not accepted.

    `reason` may be told to the client and the log; `detail`, if there is one, is for the log. Neither quotes the token.
    """

    def __init__(self, reason: Reason, detail: str = "") -> None:
        self.reason: Final = reason
        self.detail: Final = detail
        super().__init__(f"{reason}: {detail}" if detail else reason)


@dataclass(frozen=True, slots=True)
class Client:
    """A program whose assertions are accepted: `account` is the username of ours as which its calls count.

    Its public keys are a JWK Set (RFC 7517) at a URL, in a file or as a text. Raises ValueError unless there is exactly
    one of them, and where a URL is neither https:// nor http:// to this computer.
    """

    issuer: str
    account: str
    jwks_url: str | None = None
    jwks_file: Path | None = None
    jwks: str | None = None

    def __post_init__(self) -> None:
        if [self.jwks_url, self.jwks_file, self.jwks].count(None) != 2:
            raise ValueError("there must be either jwks_url or jwks_file, or jwks itself")
        if self.jwks_url is not None and not is_safe(self.jwks_url):
            raise ValueError("jwks_url must begin with https://; http:// only to this computer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a protocol asks of its assertions beyond what is asked of all.

    `life` is how long after `iat` they may expire and how old they may be; where `iat` may be left out and is, how far
    ahead of now they may expire. To each, and to all comparisons with now, a minute is added for clocks that differ.
    Fetched keys hold for `keys_hold` seconds at least, whatever their server says.
    """

    life: timedelta
    needs_iat: bool
    subject_is_issuer: bool
    algorithms: tuple[str, ...] = ALGORITHMS
    keys_hold: int = 60


CDS_HOOKS: Final = Terms(life=timedelta(hours=1), needs_iat=True, subject_is_issuer=False)
BACKEND_SERVICES: Final = Terms(
    life=timedelta(minutes=5),
    needs_iat=False,
    subject_is_issuer=True,
    algorithms=("RS384", "ES384"),
    keys_hold=0,  # SHALL NOT cache a JWKS for longer than the cache-control header indicates
)


class Assertions:
    """Tells the clients of a list by their assertions; for any number of threads.

    Keys and the ids of tokens are kept in the memory of the process: each process takes a token once. Of a client,
    `most_remembered` tokens that have not expired are remembered; beyond them no more are accepted until some have.
    `timeout_seconds` is for all of a fetch of keys, from the connection to the end of the answer.
    Raises ValueError where an issuer stands twice.
    """

    def __init__(
        self,
        clients: Iterable[Client],
        terms: Terms = CDS_HOOKS,
        *,
        timeout_seconds: float = 5,
        most_remembered: int = 100_000,
    ) -> None:
        self._terms = terms
        self._known: dict[str, _Known] = {}
        for client in clients:
            if client.issuer in self._known:
                raise ValueError(f"two clients have the issuer {client.issuer}")
            self._known[client.issuer] = _Known(client, _source(client, terms, timeout_seconds), _Seen(most_remembered))

    def verify(self, token: str, audience: str | Container[str], now: datetime) -> Client:
        """The client whose assertion a token is, at an aware instant; raises NotAccepted.

        `audience` is the URL that was called, or all that may be named for it. A token is accepted once.
        """
        instant = now.timestamp()
        found = _judged(token, audience, instant, self._terms, self._known.get)
        self._known[found.client.issuer].seen.note(found.ident, found.ends, instant)
        return found.client


class Accepted(NamedTuple):
    """An assertion that is accepted: of whom, what its id is, and from when on it is not, in seconds since 1970."""

    client: Client
    ident: str
    ends: float


class Registered:
    """Tells clients that may come and go, each looked up anew; for any number of threads.

    Fetched keys are kept in the memory of the process, with the client whose they are. Whoever asks keeps the ids of
    what was accepted: here none is remembered, and so the same assertion is accepted again.
    """

    def __init__(self, terms: Terms = BACKEND_SERVICES, *, timeout_seconds: float = 5) -> None:
        self._terms = terms
        self._timeout_seconds = timeout_seconds
        self._lock = threading.Lock()
        self._held: dict[str, _Known] = {}

    def verify(
        self, token: str, audience: str | Container[str], now: datetime, find: Callable[[str], Client | None]
    ) -> Accepted:
        """What a token says at an aware instant, of the client that `find` has of its issuer; raises NotAccepted."""

        def known(issuer: str) -> _Known | None:
            client = find(issuer)
            return None if client is None else self._known(client)

        found = _judged(token, audience, now.timestamp(), self._terms, known)
        return found._replace(ident=sha256(json.dumps(found.ident)))

    def _known(self, client: Client) -> _Known:
        """A client with the source of its keys, the same one as long as it is registered alike."""
        with self._lock:
            held = self._held.get(client.issuer)
            if held is None or held.client != client:
                if len(self._held) >= _MOST_HELD:
                    self._held.clear()
                held = self._held[client.issuer] = _Known(
                    client, _source(client, self._terms, self._timeout_seconds), _Seen(0)
                )
        return held


def _judged(
    token: str, audience: str | Container[str], now: float, terms: Terms, find: Callable[[str], _Known | None]
) -> Accepted:
    """What a token says, and its id as it is there; raises NotAccepted."""
    header, claims = _opened(token)
    algorithm, kid = _of_header(header, terms.algorithms)
    known = find(_text(claims, "iss"))
    if known is None:
        raise NotAccepted("unknown issuer")
    client = known.client
    # Keys that were given as a file are those of the file, wherever else the client says that they lie.
    if client.jwks_file is None and "jku" in header and header["jku"] != client.jwks_url:
        raise NotAccepted("other key address")
    _check_names(claims, audience, client.issuer if terms.subject_is_issuer else None)
    ends = _check_times(claims, terms, now)
    ident = _text(claims, "jti")
    if not 1 <= len(ident) <= _LONGEST_ID:
        raise NotAccepted("no jti")
    _check_signature(token, _chosen(known.source.keys(kid, now), kid, algorithm))
    return Accepted(client, ident, ends)


class _Seen:
    """The ids of the accepted tokens of a client that could come again."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._ids: set[str] = set()
        self._ends: list[tuple[float, str]] = []

    def note(self, ident: str, ends: float, now: float) -> None:
        """Note a token that is not accepted any more from `ends` on. Raises NotAccepted."""
        with self._lock:
            # A minute more than needed: another thread's now may be a little behind.
            while self._ends and self._ends[0][0] + _LEEWAY_SECONDS <= now:
                self._ids.discard(heappop(self._ends)[1])
            if ident in self._ids:
                raise NotAccepted("replayed")
            if len(self._ids) >= self._most:
                raise NotAccepted("too many")
            self._ids.add(ident)
            heappush(self._ends, (ends, ident))


class _Source(Protocol):
    """Where the keys of a client come from."""

    def keys(self, kid: str, now: float) -> _Keys:
        """The keys that hold now, asked for again if that one is not among them. Raises NotAccepted."""


class _Known(NamedTuple):
    client: Client
    source: _Source
    seen: _Seen


class _Unusable(Exception):
    """Keys that could not be had, with why in words."""


class _Given:
    """Keys of a text, read once."""

    def __init__(self, text: str) -> None:
        try:
            self._keys, self._failed = _read_keys(text.encode()), ""
        except _Unusable as error:
            self._keys, self._failed = {}, str(error)

    def keys(self, kid: str, now: float) -> _Keys:  # noqa: ARG002
        """The keys that stand in the text. Raises NotAccepted."""
        if self._failed:
            raise NotAccepted("keys unavailable", self._failed)
        return self._keys


class _Read(NamedTuple):
    """A file as it was read: what it was known by, and its keys or why there are none."""

    stamp: tuple[int, int, int] | None
    keys: _Keys
    failed: str = ""


class _File:
    """Keys of a file, read when it has changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._held = _Read(None, {})

    def keys(self, kid: str, now: float) -> _Keys:  # noqa: ARG002
        """The keys that stand in the file. Raises NotAccepted."""
        try:
            found = self._path.stat()
        except OSError:
            raise NotAccepted("keys unavailable", "the file is not there") from None
        stamp = (found.st_mtime_ns, found.st_size, found.st_ino)
        with self._lock:
            if self._held.stamp != stamp:
                self._held = self._read(stamp)
            held = self._held
        if held.failed:
            raise NotAccepted("keys unavailable", held.failed)
        return held.keys

    def _read(self, stamp: tuple[int, int, int]) -> _Read:
        try:
            with self._path.open("rb") as file:
                return _Read(stamp, _read_keys(file.read(_MOST_BYTES + 1)))
        except OSError:
            return _Read(stamp, {}, "the file cannot be read")
        except _Unusable as error:
            return _Read(stamp, {}, str(error))


@dataclass(frozen=True, slots=True)
class _Fetched:
    """Keys that were fetched, and until when they hold; when they were last asked for, and what came between."""

    keys: _Keys
    ends: float = -inf
    tried: float = -inf
    failed: str = "nobody has fetched them"

    def holds(self, now: float) -> bool:
        return now < self.ends

    def has(self, kid: str, now: float) -> bool:
        return self.holds(now) and kid in self.keys

    def rests(self, now: float) -> bool:
        """Whether it is too early to ask again; the now of another thread may be a little before that of the last."""
        pause = _PAUSE_SECONDS if self.holds(now) else _RETRY_SECONDS if self.failed else 0
        return abs(now - self.tried) < pause


class _Url:
    """Keys at a URL: fetched by one thread at a time. Others wait for it only while no keys hold, and no longer."""

    def __init__(self, url: str, least_seconds: float, timeout_seconds: float) -> None:
        self._url = url
        self._least_seconds = max(least_seconds, _AT_ONCE_SECONDS)
        self._timeout_seconds = timeout_seconds
        self._lock = threading.Lock()
        self._held = _Fetched({})

    def keys(self, kid: str, now: float) -> _Keys:
        """The keys that hold, fetched if that one is not among them and it is time. Raises NotAccepted."""
        if not self._held.has(kid, now) and not self._held.rests(now):
            self._renew(kid, now)
        held = self._held
        if not held.holds(now):
            raise NotAccepted("keys unavailable", held.failed)
        return held.keys

    def _renew(self, kid: str, now: float) -> None:
        if not self._lock.acquire(timeout=0 if self._held.holds(now) else self._timeout_seconds):
            return
        try:
            held = self._held
            if not held.has(kid, now) and not held.rests(now):
                self._held = self._fetched(held, now)
        finally:
            self._lock.release()

    def _fetched(self, held: _Fetched, now: float) -> _Fetched:
        try:
            content, seconds = _fetch(self._url, self._timeout_seconds)
            ends = now + max(seconds, self._least_seconds)
            return _Fetched(_read_keys(content), ends=ends, tried=now, failed="")
        except _Unusable as error:
            return replace(held, tried=now, failed=str(error))


class _Registry(jws.JWSRegistry):
    """The four algorithms; members of headers that we do not know are passed over (RFC 7515, section 4)."""

    max_header_length = max_payload_length = max_signature_length = _LONGEST


_REGISTRY: Final = _Registry(algorithms=ALGORITHMS, strict_check_header=False)


def is_safe(url: str) -> bool:
    """Whether what comes from a URL comes from its host, unread and unchanged by others."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
        loopback = host == "localhost" or (parts.scheme == "http" and ipaddress.ip_address(host).is_loopback)
    except ValueError:
        return False
    return bool(host) and (parts.scheme == "https" or (parts.scheme == "http" and loopback))


def _source(client: Client, terms: Terms, timeout_seconds: float) -> _Source:
    if client.jwks_file is not None:
        return _File(client.jwks_file)
    if client.jwks is not None:
        return _Given(client.jwks)
    return _Url(client.jwks_url or "", terms.keys_hold, timeout_seconds)


def _opened(token: str) -> tuple[_Object, _Object]:
    """The header and the claims of a token. Raises NotAccepted."""
    if len(token) > _LONGEST:
        raise NotAccepted("too long")
    parts = token.split(".")
    if len(parts) != 3 or not token.isascii():
        raise NotAccepted("not a JWT")
    try:
        return _object(urlsafe_b64decode(parts[0].encode())), _object(urlsafe_b64decode(parts[1].encode()))
    except ValueError:
        raise NotAccepted("not a JWT") from None


def _object(content: bytes) -> _Object:
    """A JSON object of numbers that are numbers and members that stand once. Raises ValueError."""
    try:
        found = json.loads(content.decode(), object_pairs_hook=_once, parse_constant=_no_number)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(found, dict):
        raise ValueError("not an object")  # noqa: TRY004
    return found


def _once(members: Sequence[tuple[str, object]]) -> dict[str, object]:
    found = dict(members)
    if len(found) < len(members):
        raise ValueError("a member stands twice")
    return found


def _no_number(sign: str) -> object:
    raise ValueError(f"{sign} is not JSON")


def _of_header(header: _Object, algorithms: Container[str]) -> tuple[str, str]:
    """The algorithm and the id of the key. Raises NotAccepted."""
    algorithm, kid = _text(header, "alg"), _text(header, "kid")
    if algorithm not in algorithms:
        raise NotAccepted("algorithm")
    if header.get("typ", "JWT") != "JWT":
        raise NotAccepted("type")
    if "crit" in header:  # we understand no extension, and so none that must be understood
        raise NotAccepted("critical header")
    if not kid:
        raise NotAccepted("no key id")
    return algorithm, kid


def _check_names(claims: _Object, audience: str | Container[str], subject: str | None) -> None:
    """Whether a token is for us, and of whom it should be. Raises NotAccepted."""
    aud = claims.get("aud")
    if isinstance(aud, list) and len(aud) == 1:
        aud = aud[0]
    if not isinstance(aud, str) or aud not in ({audience} if isinstance(audience, str) else audience):
        raise NotAccepted("wrong audience")
    if subject is not None and claims.get("sub") != subject:
        raise NotAccepted("wrong subject")


def _check_times(claims: _Object, terms: Terms, now: float) -> float:
    """From when on a token is not accepted any more, in seconds since 1970. Raises NotAccepted."""
    expires, issued = _seconds(claims, "exp", "no exp"), _seconds(claims, "iat", "no iat")
    begins = _seconds(claims, "nbf", "not yet valid")
    life = terms.life.total_seconds()
    if expires is None:
        raise NotAccepted("no exp")
    if issued is None and terms.needs_iat:
        raise NotAccepted("no iat")
    faults: tuple[tuple[Reason, bool], ...] = (
        ("expired", expires + _LEEWAY_SECONDS <= now),
        ("not yet issued", issued is not None and issued > now + _LEEWAY_SECONDS),
        ("too old", issued is not None and issued < now - life - _LEEWAY_SECONDS),
        ("lives too long", expires > (now if issued is None else issued) + life + _LEEWAY_SECONDS),
        ("not yet valid", begins is not None and begins > now + _LEEWAY_SECONDS),
    )
    for reason, wrong in faults:
        if wrong:
            raise NotAccepted(reason)
    return expires + _LEEWAY_SECONDS


def _seconds(claims: _Object, name: str, wrong: Reason) -> float | None:
    """A NumericDate (RFC 7519, section 2), if it is there. Raises NotAccepted where it is no such number."""
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= _LATEST:
        raise NotAccepted(wrong)
    return float(value)


def _text(members: _Object, name: str) -> str:
    value = members.get(name)
    return value if isinstance(value, str) else ""


def _chosen(keys: _Keys, kid: str, algorithm: str) -> _Key:
    if kid not in keys:
        raise NotAccepted("unknown key")
    if algorithm not in keys[kid]:
        raise NotAccepted("unfit key")
    return keys[kid][algorithm]


def _check_signature(token: str, key: _Key) -> None:
    try:
        jws.deserialize_compact(token, key, registry=_REGISTRY)
    except BadSignatureError:
        raise NotAccepted("signature") from None
    except (JoseError, ValueError):
        raise NotAccepted("not a JWT") from None


def unfit_keys(text: str, terms: Terms = BACKEND_SERVICES) -> str | None:
    """What is wrong with a JWK Set that a client is to be known by; None if a key of it will do, and none is secret."""
    try:
        keys = _read_keys(text.encode())
        listed = [one for one in cast("list[object]", _object(text.encode())["keys"]) if isinstance(one, dict)]
    except (_Unusable, UnicodeEncodeError) as error:
        return str(error)
    if any(not _SECRET.isdisjoint(one) for one in listed):
        return "has a secret key: keep it where it is, and register the public one"
    if not any(not keys[kid].keys().isdisjoint(terms.algorithms) for kid in keys):
        return f"has no public key with a kid that is fit for {' or '.join(terms.algorithms)}"
    return None


def _read_keys(content: bytes) -> _Keys:
    """The keys of a JWK Set. One without an id is passed over, and the second of two that differ in nothing we ask for.

    Raises _Unusable where it is none.
    """
    if len(content) > _MOST_BYTES:
        raise _Unusable(f"the key set is longer than {_MOST_BYTES} bytes")
    try:
        found = _object(content).get("keys")
    except ValueError:
        raise _Unusable("the key set is not JSON, or no object") from None
    if not isinstance(found, list):
        raise _Unusable("the key set has no list of keys")
    keys: dict[str, dict[str, _Key]] = {}
    for jwk in found:
        if isinstance(jwk, dict) and (kid := _text(jwk, "kid")):
            fitting = keys.setdefault(kid, {})
            if (algorithms := _algorithms(jwk)) and (key := _public_key(jwk)):
                fitting.update({name: key for name in algorithms if name not in fitting})
    return keys


def _algorithms(jwk: _Object) -> list[str]:
    """What a key may verify; nothing if it is for something else, or no secret any more."""
    operations = jwk.get("key_ops", ["verify"])
    if jwk.get("use", "sig") != "sig" or not isinstance(operations, list) or "verify" not in operations:
        return []
    if not _SECRET.isdisjoint(jwk):
        return []
    curve = _text(jwk, "crv")
    fitting = {"EC": _CURVES.get(curve, ()), "RSA": ("RS256", "RS384")}.get(_text(jwk, "kty"), ())
    return [name for name in fitting if jwk.get("alg", name) == name]


def _public_key(jwk: _Object) -> _Key | None:
    """A key of its own members alone, so that no other makes it unusable; None if it is none, or too weak or long."""
    kind, modulus, exponent = (_text(jwk, name) for name in ("kty", "n", "e"))
    try:
        if kind == "EC":
            return ECKey.import_key({name: _text(jwk, name) for name in ("kty", "crv", "x", "y")})
        if not _SHORTEST_MODULUS <= len(modulus) <= _LONGEST_MODULUS or len(exponent) > _LONGEST_EXPONENT:
            return None
        return RSAKey.import_key({"kty": kind, "n": modulus, "e": exponent})
    except (JoseError, ValueError):
        return None


def _fetch(url: str, timeout_seconds: float) -> tuple[bytes, int]:
    """What stands at a URL, and for how many seconds it holds. Raises _Unusable."""
    with new_session() as session, Deadline(timeout_seconds) as deadline:
        try:
            found = _answered(session, url, timeout_seconds)
        except _Unusable:
            if deadline.passed:
                raise _Unusable(_TOO_LONG) from None
            raise
        if deadline.passed:  # what was cut off looks as if it were all
            raise _Unusable(_TOO_LONG)
        return found


def _answered(session: requests.Session, url: str, timeout_seconds: float) -> tuple[bytes, int]:
    headers = {"accept": "application/json", "accept-encoding": "identity", "user-agent": "titrator"}
    try:
        with session.get(url, headers=headers, timeout=timeout_seconds, allow_redirects=False, stream=True) as response:
            if response.status_code != requests.codes.ok:
                raise _Unusable(f"the server of the keys answered {response.status_code}")
            return _body(response), _holds_seconds(response.headers.get("cache-control", ""))
    except requests.Timeout:
        raise _Unusable(_TOO_LONG) from None
    except requests.exceptions.SSLError:
        raise _Unusable("the certificate of the server of the keys is not trusted") from None
    except (requests.RequestException, HTTPError, OSError, UnicodeError):
        raise _Unusable("the server of the keys could not be reached, or broke off") from None


def _body(response: requests.Response) -> bytes:
    """All of an answer, up to one byte more than is accepted."""
    content = b""
    while len(content) <= _MOST_BYTES and (part := response.raw.read1(_MOST_BYTES + 1 - len(content))):
        content += part
    return content


def _holds_seconds(cache_control: str) -> int:
    """How long keys hold by Cache-Control (RFC 9111, section 5.2.2), an hour at the most."""
    if re.search(r"no-store|no-cache", cache_control, re.IGNORECASE):
        return 0
    found = _MAX_AGE.search(cache_control)
    return min(int(found[1]), _MOST_SECONDS) if found else _USUAL_SECONDS
