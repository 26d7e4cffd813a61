"""What the processes of the MLLP server say to each other: addresses, in records of one length."""

from __future__ import annotations

import socket
from array import array
from typing import Final

#: Bytes of a record: more than any address has, with the zone of a link-local one.
LENGTH: Final = 96
#: What a process says first: it serves from now on; and last: it takes no more connections.
READY: Final = "ready"
LEAVING: Final = "leaving"


def recorded(said: str) -> bytes:
    """A record of an address, or of a word."""
    return said.encode().ljust(LENGTH)


def told(record: bytes) -> str:
    """What a record says."""
    return record.decode().rstrip()


def hand_over(line: socket.socket, address: str, file: int) -> None:
    """Hand a connection over, whose file stays open here, too; raises OSError where the line does not take it now."""
    socket.send_fds(line, [recorded(address)], [file])


def taken_over(line: socket.socket) -> tuple[str, int | None] | None:
    """An address and the file of a connection from there, None where there was no room for one more open file.

    None at the end of the line. Raises BlockingIOError where nothing has come.
    """
    # socket.recv_fds would do, but in Python 3.11 it leaves its flags out.
    said, beside, _, _ = line.recvmsg(LENGTH, socket.CMSG_SPACE(array("i").itemsize), socket.MSG_DONTWAIT)
    if not said:
        return None
    files = array("i")
    for level, kind, data in beside:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            files.frombytes(data[: len(data) - len(data) % files.itemsize])
    return told(said), files[0] if files else None
