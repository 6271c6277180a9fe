"""Names of actors: one living actor, or one about to be made, has a name in a namespace."""

from __future__ import annotations

from ray_on_dask.wire.messages import ActorSpec

Key = tuple[str, str]


class ActorNames:
    """Who has which name."""

    def __init__(self) -> None:
        #: {(namespace, name): actor}.
        self.holders: dict[Key, bytes] = {}
        #: The names of actors that are not created yet, and the processes that are to do it.
        self.reserved: dict[Key, str] = {}

    def reserve(self, process: str, key: Key, actor: bytes) -> None:
        """Keep a name for the actor that `process` is about to create.

        Raises
        ------
        ValueError
            If another actor has it, or is about to.
        """
        if self.holders.setdefault(key, actor) != actor:
            raise ValueError(taken(key))
        self.reserved[key] = process

    def claim(self, spec: ActorSpec) -> bool:
        """Give a created actor its name, if it wants one; False if another has it."""
        key = (spec.namespace, spec.name)
        if not spec.name:
            return True
        if self.holders.setdefault(key, spec.id) != spec.id:
            return False
        self.reserved.pop(key, None)
        return True

    def free(self, spec: ActorSpec) -> None:
        """The actor's name, if it has one, may be taken by another."""
        key = (spec.namespace, spec.name)
        if self.holders.get(key) == spec.id:
            del self.holders[key]
            self.reserved.pop(key, None)

    def forget_process(self, process: str) -> None:
        """Drop what a dead process reserved and did not use."""
        for key in [key for key, by in self.reserved.items() if by == process]:
            del self.reserved[key], self.holders[key]

    def find(self, name: str, namespace: str) -> bytes | None:
        """The created actor that has the name."""
        key = (namespace, name)
        return None if key in self.reserved else self.holders.get(key)

    def listed(self, namespace: str | None) -> list[dict[str, str]]:
        """Name and namespace of each created actor that has one; `None` for all namespaces."""
        return [
            {"name": name, "namespace": space}
            for space, name in self.holders
            if (space, name) not in self.reserved and namespace in (None, space)
        ]


def taken(key: Key) -> str:
    """Why a name cannot be had."""
    return f"The name {key[1]!r} is taken by another actor of the namespace {key[0]!r}."
