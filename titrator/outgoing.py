"""Calls that go out over HTTP: trusted as this computer trusts, and as their URL says, nothing else."""

from __future__ import annotations

import ssl

import requests
from requests.adapters import HTTPAdapter


class Trusting(HTTPAdapter):
    """Trusts what this computer trusts, too: the servers of a hospital have certificates of its own authority."""

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **kwargs: object) -> None:
        """Make the pool with the trust store of the system."""
        super().init_poolmanager(connections, maxsize, block, ssl_context=ssl.create_default_context(), **kwargs)


def new_session(adapter: HTTPAdapter | None = None) -> requests.Session:
    """A session without proxies and logins of the environment: the URL says it all. Close it after use."""
    session = requests.Session()
    session.trust_env = False
    session.mount("https://", adapter or Trusting())
    return session
