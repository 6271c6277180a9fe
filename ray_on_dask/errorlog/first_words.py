"""A few words with a Redis server of our own, before anybody needs the client library.

The library takes 6 MB and a fifth of a second of a head that may never log an error. What is said
here is that the server is up and whose it is, and the scheduler's address.
"""

from __future__ import annotations

import socket
from typing import BinaryIO


class Refused(OSError):
    """The server has answered with an error."""


def ask(host: str, port: int, password: str, *words: str, timeout: float = 2.0) -> bytes:
    """The answer to one command that has a short one.

    Parameters
    ----------
    words : str
        The command and its arguments.

    Raises
    ------
    Refused
        If the server refuses the password or the command.
    OSError
        If it cannot be reached or says nothing that can be understood within `timeout` seconds.
    """
    with socket.create_connection((host, port), timeout) as sock, sock.makefile("rb") as answers:
        sock.sendall(_packed("AUTH", password) + _packed(*words))
        _answer(answers)
        return _answer(answers)


def _packed(*words: str) -> bytes:
    encoded = [word.encode() for word in words]
    parts = [b"$%d\r\n%b\r\n" % (len(word), word) for word in encoded]
    return b"*%d\r\n" % len(parts) + b"".join(parts)


def _answer(answers: BinaryIO) -> bytes:
    line = answers.readline(65536)
    kind, rest = line[:1], line[1:].strip()
    if kind == b"-":
        raise Refused(rest.decode(errors="replace"))
    if kind in (b"+", b":"):
        return rest
    if kind == b"$" and rest.isdigit():
        return answers.read(int(rest) + 2)[:-2]
    raise ConnectionError(f"no answer of a Redis server: {line[:40]!r}")
