"""Who is told of which actor, also of actors whose creation is not known yet."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from ray_on_dask.wire.messages import KillActor

#: Actors known only from messages that overtook their creation, at most.
EARLY_KEPT = 10_000


@dataclass(slots=True)
class Watched:
    """What processes have said of one actor."""

    #: Who is told of each change, in order.
    watchers: dict[str, None] = field(default_factory=dict)
    #: It was killed before its creation was known.
    kill: KillActor | None = None


class ActorWatchers:
    """Watchers by actor and actors by watcher."""

    def __init__(self) -> None:
        self._watched: dict[bytes, Watched] = {}
        self._watching: dict[str, dict[bytes, None]] = {}
        #: Actors not created yet, oldest first.
        self.early: OrderedDict[bytes, None] = OrderedDict()

    def add(self, actor: bytes, process: str) -> None:
        """Tell `process` of this actor from now on."""
        self._watched.setdefault(actor, Watched()).watchers[process] = None
        self._watching.setdefault(process, {})[actor] = None

    def of(self, actor: bytes) -> list[str]:
        """Who is told of this actor, in order."""
        watched = self._watched.get(actor)
        return list(watched.watchers) if watched is not None else []

    def too_early(self, actor: bytes, kill: KillActor | None = None) -> None:
        """Something was said of an actor that is not created yet, to be remembered until then."""
        watched = self._watched.setdefault(actor, Watched())
        watched.kill = kill or watched.kill
        self.early[actor] = None
        if len(self.early) > EARLY_KEPT:
            self.drop(next(iter(self.early)))

    def created(self, actor: bytes) -> KillActor | None:
        """It is created now; the message that killed it already, if one did."""
        self.early.pop(actor, None)
        watched = self._watched.get(actor)
        return watched.kill if watched is not None else None

    def drop(self, actor: bytes) -> list[str]:
        """Nobody is told of this actor any more: who was until now."""
        watchers = self.of(actor)
        for process in watchers:
            del self._watching[process][actor]
        self._watched.pop(actor, None)
        self.early.pop(actor, None)
        return watchers

    def forget_process(self, process: str) -> None:
        """A process is dead and told nothing any more."""
        for actor in self._watching.pop(process, ()):
            del self._watched[actor].watchers[process]

    def validate(self, living: set[bytes]) -> None:
        """Assert that both indexes agree, and that each actor is `living` or early."""
        watching = {(p, id) for p, ids in self._watching.items() for id in ids}
        assert watching == {(p, id) for id, w in self._watched.items() for p in w.watchers}
        assert self._watched.keys() <= living | self.early.keys()
        assert not living & self.early.keys()
