"""One link between two nodes, and the lines on it: decisions only, no I/O.

**Flow control.** Each line may have `WINDOW` bytes under way that the process at the other end has
not taken yet. Who has used that up is not read any more, so what a node keeps for a slow process is
bounded, and the other lines of the link go on.

**Nothing lost, nothing doubled.** Records are numbered. A record is kept until the other side has
said that it came; when the comm under the link breaks, both say on the next one how many they
have, and what is missing is sent again. `HELD_MAX` bytes are kept at most: beyond that no line is
read until some have been acknowledged.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from ray_on_dask.wire.relay_messages import (
    Batch,
    LineCredit,
    LineData,
    LineEnd,
    OpenLine,
    Record,
)

#: Bytes of a line that may be under way.
WINDOW = 2 << 20
#: Bytes of a link that may be sent and not acknowledged.
HELD_MAX = 64 << 20
#: Records that may come in before the other side is told, if nothing else is to be said.
ACK_EVERY = 64


@dataclass(frozen=True, slots=True)
class Opened:
    """The other side wants a line to this executor."""

    line: int
    executor: str
    owner: str


@dataclass(frozen=True, slots=True)
class Deliver:
    """Bytes for the local end of a line."""

    line: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Ended:
    """A line is over: close its local end when what was delivered is written."""

    line: int


@dataclass(frozen=True, slots=True)
class Pause:
    """Read the line's local end no more."""

    line: int


@dataclass(frozen=True, slots=True)
class Resume:
    """Read the line's local end again."""

    line: int


Instruction = Opened | Deliver | Ended | Pause | Resume


@dataclass(slots=True)
class Line:
    """One line as this side sees it."""

    #: Bytes that may still be sent; below zero by what one read was too much.
    credit: int
    #: Bytes that the local process has taken and the other side does not know of.
    taken: int = 0
    paused: bool = False


class Link:
    """One side of a link.

    Parameters
    ----------
    first : bool
        Whether this side has made the link: its lines have odd numbers, the other's even ones.
    window, held_max : int
        The limits, the same on both sides.
    """

    def __init__(self, first: bool, window: int = WINDOW, held_max: int = HELD_MAX):
        self.window, self.held_max = window, held_max
        self.lines: dict[int, Line] = {}
        #: Records of the other side that have come, in all.
        self.received = 0
        self._next_line = 1 if first else 2
        self._last_opened = 0
        #: Records not acknowledged yet; the first of them has number `_acknowledged`.
        self._held: deque[Record] = deque()
        self._held_bytes = 0
        self._acknowledged = 0
        #: How many of `_held` have been sent on the present comm.
        self._sent = 0
        self._told = 0

    # -- the local ends ---------------------------------------------------------------

    def open(self, executor: str, owner: str) -> int:
        """A new line to an executor of the other node."""
        line = self._next_line
        self._next_line += 2
        self.lines[line] = Line(self.window)
        self._hold(OpenLine(line, executor, owner))
        return line

    def data(self, line: int, data: bytes) -> list[Instruction]:
        """Bytes from the local end."""
        state = self.lines.get(line)
        if state is None:
            return []
        state.credit -= len(data)
        self._hold(LineData(line, data))
        if (state.credit <= 0 or self._held_bytes > self.held_max) and not state.paused:
            state.paused = True
            return [Pause(line)]
        return []

    def taken(self, line: int, count: int) -> None:
        """The local process has taken bytes that were delivered."""
        state = self.lines.get(line)
        if state is not None:
            state.taken += count
            if state.taken >= self.window // 4:
                self._hold(LineCredit(line, state.taken))
                state.taken = 0

    def end(self, line: int) -> None:
        """The local end has closed."""
        if self.lines.pop(line, None) is not None:
            self._hold(LineEnd(line))

    # -- the comm under the link ---------------------------------------------------------

    def connected(self, received: int) -> list[Instruction]:
        """There is a new comm; the other side has so many records of this one's.

        Raises
        ------
        ValueError
            If it cannot have: it is not the one that this link was made with.
        """
        out = self._acknowledge(received)
        self._sent = 0
        self._told = self.received
        return out

    def take(self, limit: int) -> Batch | None:
        """What is to be sent next, about `limit` bytes of it; None if there is nothing."""
        held, start, size = self._held, self._sent, 0
        if start == len(held) and self.received - self._told < ACK_EVERY:
            return None
        records: list[Record] = []
        while self._sent < len(held) and size < limit:
            record = held[self._sent]
            records.append(record)
            size += _size(record)
            self._sent += 1
        return self._batch(start, records)

    def ping(self) -> Batch:
        """A batch with nothing new: this side lives, and has so many records."""
        return self._batch(self._sent, [])

    def _batch(self, start: int, records: list[Record]) -> Batch:
        self._told = self.received
        return Batch(self._acknowledged + start, self.received, records)

    def arrived(self, batch: Batch) -> list[Instruction]:
        """A batch has come.

        Raises
        ------
        ValueError
            If records are missing before it, or it acknowledges what was never sent.
        """
        out = self._acknowledge(batch.received)
        if batch.first > self.received:
            raise ValueError(f"records {self.received} to {batch.first} of a link are missing")
        for record in batch.records[self.received - batch.first :]:
            self.received += 1
            out += self._take_in(record)
        return out

    def lost(self) -> list[Instruction]:
        """The link is gone for good, and so are its lines."""
        lines, self.lines = self.lines, {}
        self._held.clear()
        self._held_bytes = self._sent = 0
        return [Ended(line) for line in lines]

    @property
    def waiting(self) -> bool:
        """Whether the other side has something yet to acknowledge."""
        return bool(self._held)

    @property
    def held_bytes(self) -> int:
        """Bytes that are kept until they are acknowledged."""
        return self._held_bytes

    # -- inside --------------------------------------------------------------------------

    def _hold(self, record: Record) -> None:
        self._held.append(record)
        self._held_bytes += _size(record)

    def _acknowledge(self, received: int) -> list[Instruction]:
        count = received - self._acknowledged
        if count < 0:
            return []  # a batch that was sent before another that has come
        if count > len(self._held):
            raise ValueError(f"{received} records acknowledged that were never sent")
        for _ in range(count):
            self._held_bytes -= _size(self._held.popleft())
        self._acknowledged = received
        self._sent = max(0, self._sent - count)
        if count and self._held_bytes <= self.held_max // 2:
            return [x for line, state in self.lines.items() for x in self._resume(line, state)]
        return []

    def _resume(self, line: int, state: Line) -> list[Instruction]:
        if state.paused and state.credit > 0 and self._held_bytes <= self.held_max:
            state.paused = False
            return [Resume(line)]
        return []

    def _take_in(self, record: Record) -> list[Instruction]:
        if type(record) is OpenLine:
            if record.line % 2 == self._next_line % 2 or record.line <= self._last_opened:
                raise ValueError(f"line {record.line} of a link cannot be opened")
            self._last_opened = record.line
            self.lines[record.line] = Line(self.window)
            return [Opened(record.line, record.executor, record.owner)]
        state = self.lines.get(record.line)
        if state is None:
            return []  # it has ended here, of which the other side did not know yet
        if type(record) is LineData:
            return [Deliver(record.line, record.data)]
        if type(record) is LineCredit:
            state.credit += record.count
            return self._resume(record.line, state)
        del self.lines[record.line]
        return [Ended(record.line)]

    def validate(self) -> None:
        """Assert what must hold between any two calls."""
        assert 0 <= self._sent <= len(self._held)
        assert self._held_bytes == sum(map(_size, self._held))
        assert self._told <= self.received
        for state in self.lines.values():
            assert state.credit <= self.window
            assert 0 <= state.taken < self.window // 4
            assert state.paused or state.credit > 0


def _size(record: Record) -> int:
    """About what a record takes on the wire."""
    return 16 + (len(record.data) if type(record) is LineData else 0)
