"""Room in a node's store: who waits for it, and which objects go to disk to make it.

Nothing is moved before the node's processes ask for leave to read (`runtime.opening`): the first
process that waits for room begins *pressure*; when all processes have told what they read, which is
*pinned*, the objects that nobody reads are copied to disk, least recently used first, a batch at a
time. A copied object that nobody has opened meanwhile moves: its place in memory is given back,
and it is read from its file from then on. It never moves back: the kernel keeps what is read often
in memory anyway, and a `get` so needs no room.

Room that has come free is promised to those who wait, in their order: the node counts it as used
until they have counted it themselves, so that nobody who came later takes it.

Pressure ends when nothing has been on disk, and nobody has waited, for a while.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

from ray_on_dask.core.pins import Pins

#: Seconds for places to be given back by their writers before more objects are moved.
SETTLE = 0.05
#: Seconds without need after which pressure ends.
CALM = 5.0

#: A process, and the number that it gave its request.
Request = tuple[str, int]


@dataclass(slots=True, frozen=True)
class Press:
    """Set the flag, then ask these processes what they read."""

    epoch: int
    processes: tuple[str, ...]


@dataclass(slots=True, frozen=True)
class Relax:
    """Take the flag back."""


@dataclass(slots=True, frozen=True)
class Spill:
    """Copy these to disk; `spilled` or `failed` says how it went."""

    ids: tuple[bytes, ...]


@dataclass(slots=True, frozen=True)
class GiveRoom:
    """So many bytes are counted for the process: tell it."""

    request: Request
    size: int


@dataclass(slots=True, frozen=True)
class Refuse:
    """There will be no room for the process: tell it; `disk` says what the disk had against it."""

    request: Request
    size: int
    disk: str


Instruction = Press | Relax | Spill | GiveRoom | Refuse


@dataclass(slots=True)
class Need:
    """A process that waits for room."""

    size: int
    #: The file system is full, whatever the count says.
    no_memory: bool
    #: Seconds that it waits while nothing moves.
    patience: float
    deadline: float
    #: Bytes moved since it began to wait.
    moved: int = 0


@dataclass(slots=True)
class Spilling:
    """The state machine.

    Parameters
    ----------
    batch : int
        Bytes that are moved at a time, at least, if there are so many.
    """

    batch: int = 64 << 20
    pins: Pins = field(default_factory=Pins)
    #: {object in memory: bytes that it takes}, least recently used first.
    memory: OrderedDict[bytes, int] = field(default_factory=OrderedDict)
    #: {object on disk: bytes}.
    disk: dict[bytes, int] = field(default_factory=dict)
    #: Whether processes ask before they read.
    pressed: bool = False
    epoch: int = 0
    #: Processes that have not told yet what they read.
    unanswered: set[str] = field(default_factory=set)
    #: What is being copied.
    copying: frozenset[bytes] = frozenset()
    needs: OrderedDict[Request, Need] = field(default_factory=OrderedDict)
    #: {request: bytes that count for it until it has counted them itself}.
    promised: dict[Request, int] = field(default_factory=dict)
    #: Nothing is moved before this time: places are about to come free.
    settled_at: float = 0.0
    calm_since: float = 0.0

    # -- objects ---------------------------------------------------------------------------

    def sealed(self, id: bytes, size: int) -> None:
        """An object lies in memory."""
        self.memory[id] = size

    def freed(self, id: bytes) -> None:
        """It is no more, or lies elsewhere."""
        if self.memory.pop(id, None) is None:
            self.disk.pop(id, None)

    def opened(self, process: str, id: bytes) -> None:
        """A process reads it from now on."""
        self.pins.opened(process, id)
        if id in self.memory:
            self.memory.move_to_end(id)

    def closed(self, process: str, ids: Iterable[bytes]) -> list[bytes]:
        """It reads these no more; those that nobody reads now."""
        return self._let_go(self.pins.closed(process, ids))

    def _let_go(self, unread: list[bytes]) -> list[bytes]:
        for id in unread:
            if id in self.memory:
                self.memory.move_to_end(id)
        return unread

    def viewed(self, process: str, epoch: int, ids: Iterable[bytes]) -> None:
        """It reads these; if `epoch` is the present one, that is all that it reads."""
        for id in ids:
            self.opened(process, id)
        if epoch == self.epoch:
            self.unanswered.discard(process)

    def process_gone(self, process: str) -> tuple[list[bytes], int]:
        """A process is dead: what nobody reads now, and bytes promised to it that are free."""
        self.unanswered.discard(process)
        for request in [request for request in self.needs if request[0] == process]:
            del self.needs[request]
        mine = [request for request in self.promised if request[0] == process]
        return self._let_go(self.pins.gone(process)), sum(map(self.promised.pop, mine))

    # -- room --------------------------------------------------------------------------------

    def need(
        self, request: Request, size: int, no_memory: bool, now: float, patience: float
    ) -> None:
        """A process waits for room, so many seconds after something has moved last."""
        self.needs[request] = Need(size, no_memory, patience, now + patience)

    def took(self, request: Request) -> int:
        """It has counted its room, or wants it no more: bytes that were promised to it."""
        self.needs.pop(request, None)
        return self.promised.pop(request, 0)

    def spilled(self, copied: Iterable[bytes], now: float) -> list[bytes]:
        """The copies are made; which of the objects move."""
        moved = [id for id in copied if id in self.memory and id not in self.pins]
        self.copying, self.settled_at = frozenset(), now + SETTLE
        size = 0
        for id in moved:
            self.disk[id] = self.memory.pop(id)
            size += self.disk[id]
        for need in self.needs.values() if moved else ():
            need.moved += size
            need.deadline = now + need.patience
        return moved

    def failed(self, why: str) -> list[Refuse]:
        """The copies could not be made: those who wait are told why."""
        self.copying = frozenset()
        refused = [Refuse(request, need.size, why) for request, need in self.needs.items()]
        self.needs.clear()
        return refused

    @property
    def waiting(self) -> bool:
        """Whether `work` should be called again soon."""
        return bool(self.needs)

    def work(
        self, now: float, charge: Callable[[int], bool], processes: Collection[str]
    ) -> list[Instruction]:
        """What is to be done now.

        Parameters
        ----------
        now : float
        charge : callable
            ``charge(size)`` counts that many bytes as used, if they are free; whether they were.
        processes : collection of str
            Those that would have to be asked what they read.
        """
        out: list[Instruction] = []
        while self.needs:
            request, need = next(iter(self.needs.items()))
            if not self._served(need, charge):
                break
            del self.needs[request]
            self.promised[request] = need.size
            out.append(GiveRoom(request, need.size))
        for request, need in list(self.needs.items()):
            late = need.deadline <= now and not self.copying
            if late or (need.no_memory and self._hopeless()):
                del self.needs[request]
                out.append(Refuse(request, need.size, ""))
        if self.needs:
            out += self._make_room(now, processes)
        elif self.pressed and not self.disk and not self.copying and not self.promised:
            if now - self.calm_since >= CALM:
                self.pressed = False
                self.unanswered.clear()
                out.append(Relax())
            return out
        self.calm_since = now
        return out

    @staticmethod
    def _served(need: Need, charge: Callable[[int], bool]) -> bool:
        if need.no_memory and need.moved < need.size:
            return False
        return charge(need.size)

    def _hopeless(self) -> bool:
        """Whether nothing here can give memory back to the system."""
        return self.pressed and not self.unanswered and not self.copying and not self._movable(1)

    def _make_room(self, now: float, processes: Collection[str]) -> list[Instruction]:
        if not self.pressed:
            self.pressed = True
            self.epoch += 1
            self.unanswered = set(processes)
            return [Press(self.epoch, tuple(processes))]
        if self.unanswered or self.copying or now < self.settled_at:
            return []
        chosen = self._movable(max(self.batch, sum(need.size for need in self.needs.values())))
        self.copying = frozenset(chosen)
        return [Spill(tuple(chosen))] if chosen else []

    def _movable(self, wanted: int) -> list[bytes]:
        """Objects that nobody reads, least recently used first, of `wanted` bytes or all."""
        chosen: list[bytes] = []
        for id, size in self.memory.items():
            if wanted <= 0:
                break
            if id not in self.pins:
                chosen.append(id)
                wanted -= size
        return chosen

    def validate(self) -> None:
        """Assert what must hold between any two events."""
        self.pins.validate()
        assert not self.memory.keys() & self.disk.keys()
        assert not self.needs.keys() & self.promised.keys()
        assert self.pressed or not (self.disk or self.copying or self.unanswered)
