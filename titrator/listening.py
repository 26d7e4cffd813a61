"""Sockets that listen, and whom they can be reached by."""

from __future__ import annotations

import errno
import ipaddress
import socket
from typing import Any, Final

_BACKLOG: Final = 1024


class Unbound(OSError):
    """The address cannot be listened on; says why in words."""


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens on an address; on a free port for port 0. Raises Unbound."""
    try:
        family, kind, protocol, _, address = _resolved(host, port)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise Unbound(f"{host}: {error.strerror}") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        said = (
            f"{error.strerror}; is it running already? --port takes another"
            if error.errno == errno.EADDRINUSE
            else error.strerror
        )
        raise Unbound(f"cannot listen on {host}, port {port}: {said}") from error
    return listener


def is_loopback(host: str) -> bool:
    """Whether a host is this computer for this computer only. Raises Unbound."""
    try:
        return all(ipaddress.ip_address(str(found[4][0])).is_loopback for found in _resolved(host, 0))
    except OSError as error:
        raise Unbound(f"{host}: {error.strerror}") from error


def url_of(host: str, listener: socket.socket) -> str:
    """The URL of what listens."""
    port = listener.getsockname()[1]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _resolved(host: str, port: int) -> list[Any]:
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
