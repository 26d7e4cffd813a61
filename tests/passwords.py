"""Passwords that are soon hashed: to be slow is what protects those of people, and those of tests need none of it."""

from __future__ import annotations

from typing import Final

from argon2 import PasswordHasher

from titrator.security import passwords

#: The hasher of the program, for tests of it.
SLOW: Final = passwords._HASHER


def be_quick() -> None:
    """Hash with the least memory and time that argon2 takes, in this process."""
    passwords._HASHER = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)  # type: ignore[misc]
