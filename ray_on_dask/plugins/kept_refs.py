"""Refs that stand in Dask graphs: held for as long as Dask has a key that is to be made of them.

A graph may outlive every ref and future of the process that made it, and Dask makes a key again
when a worker dies; so it is the scheduler that holds the ref, from before the key is there until
Dask forgets it.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from typing import Any

from ray_on_dask.wire.messages import Hold, Release

#: In whose name they are held: no process has it.
HOLDER = "dask"


class KeptRefs:
    """Keys of Dask's that are made of refs.

    Parameters
    ----------
    say : callable
        ``say(message)`` hands a message of the holder's to the control store.
    """

    def __init__(self, say: Callable[[Any], None]):
        self._say = say
        #: {key: (id of the ref, client that is to submit the key)}.
        self._kept: dict[Any, tuple[bytes, str]] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, ids: Mapping[Any, bytes], client: str) -> None:
        """A client is about to submit these keys, each made of a ref."""
        for key, id in ids.items():
            if key not in self._kept:
                self._kept[key] = (id, client)
                self._say(Hold(id, HOLDER))

    def forgotten(self, key: Any) -> None:
        """Dask has forgotten a key."""
        kept = self._kept.pop(key, None)
        if kept is not None:
            self._say(Release([(kept[0], 1)]))

    def client_gone(self, client: str, keys: Container[Any]) -> None:
        """A client is gone: what it has not submitted (it is not among `keys`) never comes."""
        for key, (_, whose) in list(self._kept.items()):
            if whose == client and key not in keys:
                self.forgotten(key)

    def clear(self) -> None:
        """Dask has forgotten all keys."""
        for key in list(self._kept):
            self.forgotten(key)
