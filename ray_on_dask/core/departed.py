"""Names of processes and nodes that are gone, so that their late messages are known as such."""

from __future__ import annotations

from collections import OrderedDict

#: Names remembered. A message that names somebody dead is on its way for seconds at most, so
#: the bound is reached only by names that nothing mentions any more.
REMEMBERED = 100_000


class Departed(OrderedDict[str, None]):
    """A set of names that forgets the oldest beyond `REMEMBERED`."""

    def add(self, name: str) -> None:
        """Remember `name`, which will never be used again."""
        self[name] = None
        if len(self) > REMEMBERED:
            self.popitem(last=False)


def promised_owner(id: bytes) -> str:
    """The process that made an id and so is to promote it: its name is the id's first 8 bytes."""
    return id[:8].hex()
