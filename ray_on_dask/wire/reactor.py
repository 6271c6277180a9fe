"""One thread of many reads all sockets of a process: whoever waits, leads.

A thread that blocks for a result does not sleep until a reader thread has been scheduled, has
taken the GIL, has read and has woken it: it reads the sockets itself. So a round trip
costs no switch of threads at all. The rules:

- `lead` is a lock: its holder polls and handles messages, nobody else does.
- A thread that waits takes the lead if it is free, else it *follows*: it sleeps until its
  waiter is done or the lead is handed to it. A leader hands on when it stops.
- When no thread waits, the reactor's own thread leads, but only after nobody else has for
  `GRACE` seconds: a loop of submit-and-get would else have to take the lead back each time. While
  the waits go on it sleeps; the first thread that stops leading then pokes it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import socket
import threading
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Any

from ray_on_dask.wire.channel import CHUNK, Channel, peer_is_ours
from ray_on_dask.wire.waiter import Waiter as Waiter

logger = logging.getLogger("ray_on_dask")

#: Seconds for which the reactor's own thread leaves the lead to a thread that led last.
GRACE = 0.003
#: Longest nap between two looks whether it is needed: each costs the others half a millisecond.
NAP_MAX = 8 * GRACE
#: Seconds for which a wait looks around before it sleeps, and bounds of the count that decides it.
SPIN, LUCK_MIN, LUCK_MAX = 0.00015, -8, 8
#: Seconds between two looks of an asyncio loop that polls us, while there is work and when idle;
#: and seconds that it may be late before it counts as stuck.
HOST_BUSY, HOST_IDLE, HOST_LATE = 0.05, 1.0, 0.2


class Reactor:
    """Polls channels, listeners and a tick.

    Parameters
    ----------
    on_tick : callable
        ``on_tick(now)``, called by the leader each `interval()` seconds.
    interval : callable
        Seconds to the next tick; -1 for none as long as nothing happens.
    """

    def __init__(self, on_tick: Callable[[float], None], interval: Callable[[], float]):
        self.on_tick = on_tick
        self.interval = interval
        self.closed = False
        #: Whether messages are being handled, by which thread; Ctrl-C waits for their end.
        self.handling = False
        self.leader = 0
        self.interrupted = False
        self._epoll = select.epoll()
        self._channels: dict[int, Channel] = {}
        self._listeners: dict[int, tuple[socket.socket, Callable[[socket.socket], None]]] = {}
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._wake_fd, select.EPOLLIN)
        self._lead = threading.Lock()
        self._followers: deque[Waiter] = deque()
        self._buffer = memoryview(bytearray(CHUNK))
        self._dropped: deque[Channel] = deque()
        self._calls: deque[Callable[[], None]] = deque()
        self._next_tick = 0.0
        self._last_led = 0.0
        self._asleep = False
        self._nap = threading.Lock()
        self._nap.acquire()
        self._thread: threading.Thread | None = None
        self._host = False
        #: When the loop that polls us is to look next, if nothing comes before.
        self._host_due = 0.0
        #: Above zero while short waits outnumber long ones.
        self._luck = 0
        #: The leader sleeps until something comes, for no tick was due when it looked.
        self._unlimited = False

    # -- what is polled -----------------------------------------------------------

    def add(self, channel: Channel) -> None:
        """Begin to read a channel."""
        self._channels[channel.fd] = channel
        self._epoll.register(channel.fd, select.EPOLLIN)

    def listen(self, sock: socket.socket, on_accept: Callable[[socket.socket], None]) -> None:
        """Accept connections of this user's processes; others are closed at once."""
        self._listeners[sock.fileno()] = (sock, on_accept)
        self._epoll.register(sock.fileno(), select.EPOLLIN)

    def remove(self, channel: Channel) -> None:
        """Stop reading a channel (its socket is closed next)."""
        if self._channels.pop(channel.fd, None) is not None:
            with contextlib.suppress(OSError, ValueError):
                self._epoll.unregister(channel.fd)

    def channels(self) -> list[Channel]:
        """The channels that are open."""
        return list(self._channels.values())

    def want_write(self, channel: Channel, wanted: bool) -> None:
        """Tell when the channel's socket takes more, or no longer."""
        events = select.EPOLLIN | (select.EPOLLOUT if wanted else 0)
        with contextlib.suppress(OSError, ValueError):
            self._epoll.modify(channel.fd, events)

    def drop_soon(self, channel: Channel) -> None:
        """A channel was found broken outside the poll: close it there."""
        self._dropped.append(channel)
        self.wake()

    def call_soon(self, call: Callable[[], None]) -> None:
        """Have the leader call this, from any thread."""
        self._calls.append(call)
        self.wake()

    def wake(self) -> None:
        """Make the leader look around."""
        with contextlib.suppress(OSError):
            os.eventfd_write(self._wake_fd, 1)

    # -- leading -------------------------------------------------------------------

    def wait(self, waiter: Waiter, timeout: float | None = None) -> bool:
        """Block until the waiter is done, leading if nobody does; False on timeout or `close`."""
        deadline = None if timeout is None else monotonic() + timeout
        while not (waiter.done or self.closed):
            left = -1.0
            if deadline is not None:
                left = deadline - monotonic()
                if left <= 0:
                    self.poll_now()
                    return waiter.done
            if self._lead.acquire(False):
                try:
                    while not waiter.done and not self.closed:
                        self._poll(left)
                        if deadline is not None:
                            left = deadline - monotonic()
                            if left <= 0:
                                break
                finally:
                    self._stop_leading()
            else:
                self._follow(waiter, left)
        return waiter.done

    def _follow(self, waiter: Waiter, left: float) -> None:
        waiter.arm()
        self._followers.append(waiter)
        if self._unlimited and self.interval() >= 0:
            self._unlimited = False
            self.wake()  # it sleeps without limit, and by now a tick is due
        goes_on = False
        try:
            # Between our try and our entry in the list the leader may have stopped, or `close`
            # have nudged all it found there; it takes the lead itself and hands it to nobody.
            if self._lead.locked() and not (waiter.done or self.closed):
                waiter.sleep(left if left >= 0 else -1)
            goes_on = not (waiter.done or self.closed)  # then the next is to see it, too
        finally:
            with contextlib.suppress(ValueError):
                self._followers.remove(waiter)
            if not goes_on and not self._lead.locked():
                self._hand_on()  # the lead was perhaps handed to us, who do not want it any more

    def _stop_leading(self) -> None:
        self._last_led = monotonic()
        self._lead.release()
        self._hand_on()
        if self._asleep:
            self._poke()

    def _hand_on(self) -> None:
        if self._followers:
            with contextlib.suppress(IndexError):
                self._followers[0].nudge()

    def _poke(self) -> None:
        self._asleep = False
        with contextlib.suppress(RuntimeError):
            self._nap.release()

    def poll_now(self) -> None:
        """Handle what has come, without waiting; nothing if another thread leads."""
        if self._lead.acquire(False):
            try:
                if not self.closed:
                    self._poll(0)
            finally:
                self._stop_leading()

    def hosted(self, loop: Any, busy: Callable[[], bool]) -> None:
        """Be polled by an asyncio loop from now on: it watches the one descriptor that is ours.

        It also looks by itself, for the tick: often while it is `busy`, seldom when nothing is
        due, so that a thousand idle actors cost next to nothing.
        """
        self._host = True
        timer: list[Any] = []
        delay = HOST_BUSY

        def look(came: bool) -> None:
            nonlocal delay
            self.poll_now()
            if self.closed:
                return
            if came and delay == HOST_BUSY:
                return  # the timer is short anyway
            idle = not (came or busy() or self.interval() >= 0)
            delay = min(2 * delay, HOST_IDLE) if idle else HOST_BUSY
            self._host_due = monotonic() + delay
            while timer:
                timer.pop().cancel()
            timer.append(loop.call_later(delay, look, False))

        loop.add_reader(self._epoll.fileno(), look, True)
        look(False)

    # -- polling (leader only) --------------------------------------------------------

    def _poll(self, timeout: float) -> None:
        self.leader = threading.get_ident()
        now = monotonic()
        events = self._look_around(now) if timeout and self._luck > 0 else None
        if not events:
            events = self._await_events(timeout, now)
            now = monotonic()
        for fd, event in events:
            channel = self._channels.get(fd)
            if channel is not None:
                if event & select.EPOLLOUT:
                    channel.on_writable()
                if event & ~select.EPOLLOUT:
                    self._read(channel)
            elif fd == self._wake_fd:
                with contextlib.suppress(BlockingIOError):
                    os.eventfd_read(fd)
            elif fd in self._listeners:
                self._accept(fd)
        while self._calls:
            self._calls.popleft()()
        while self._dropped:
            self._uninterrupted(self._drop, self._dropped.popleft())
        if now >= self._next_tick:
            interval = self.interval()
            if interval >= 0:
                self._next_tick = now + interval
                self._uninterrupted(self.on_tick, now)

    def _look_around(self, start: float) -> list[tuple[int, int]] | None:
        """What comes within `SPIN` seconds, without going to sleep.

        To be woken costs as much as a whole call where the processor has gone idle meanwhile. So
        while waits are short, the next one begins so; a few in vain, and that ends for a while.
        """
        poll, end = self._epoll.poll, start + SPIN
        while True:
            events = poll(0)
            if events:
                if self._luck < LUCK_MAX:
                    self._luck += 1
                return events
            if monotonic() >= end:
                self._luck -= 4
                return None

    def _await_events(self, timeout: float, start: float) -> list[tuple[int, int]]:
        """Block until anything comes, a tick is due, or `timeout` is over."""
        if not timeout:
            return self._epoll.poll(0)
        self._unlimited = timeout < 0  # first: who has something due later looks at it
        interval = self.interval()
        if interval >= 0:
            self._unlimited = False
            if timeout < 0 or timeout > interval:
                timeout = interval
        events = self._epoll.poll(timeout)
        if monotonic() - start < SPIN:
            if self._luck < LUCK_MAX:
                self._luck += 1
        elif self._luck > LUCK_MIN:
            self._luck -= 1
        return events

    def _read(self, channel: Channel) -> None:
        try:
            count = channel.sock.recv_into(self._buffer)
            messages = channel.reader.feed(self._buffer[:count]) if count else []
        except (BlockingIOError, InterruptedError):
            return
        except (OSError, ValueError):
            count, messages = 0, []  # broken, closed, or garbage: this line ends, nothing else
        if messages:
            self._uninterrupted(channel.on_messages, channel, messages)
        if not count:
            self._uninterrupted(self._drop, channel)

    def _uninterrupted(self, call: Callable[..., None], *args: Any) -> None:
        """Make a call that changes state; a Ctrl-C comes after it, an error is not the leader's."""
        self.handling = True
        try:
            call(*args)
        except Exception:
            logger.exception("a message, the end of a line or a tick could not be handled")
        finally:
            self.handling = False
        if self.interrupted:
            self.interrupted = False
            raise KeyboardInterrupt

    def _drop(self, channel: Channel) -> None:
        if not channel.closed:
            channel.close()
            channel.on_close(channel)

    def _accept(self, fd: int) -> None:
        sock, on_accept = self._listeners[fd]
        for _ in range(64):
            try:
                new, _address = sock.accept()
            except OSError:
                return
            if not peer_is_ours(new):
                new.close()
                continue
            new.setblocking(False)
            on_accept(new)

    # -- the reactor's own thread ---------------------------------------------------------

    def start(self) -> None:
        """Start the thread that leads when nobody else does."""
        self._thread = threading.Thread(target=self._run, name="ray_on_dask-io", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        quiet, nap = 0, GRACE
        while not self.closed:
            if self._host:
                wait = max(self._host_due, self._last_led) + HOST_LATE - monotonic()
                if wait > 0:
                    self._nap.acquire(timeout=wait)  # the loop polls; look whether it is stuck
                    continue
            if self._followers or not self._lead.acquire(False):
                quiet += 1
                if quiet > 20 and self._lead.locked():
                    self._asleep = True
                    # Without a limit: an idle process should not wake. Whoever stops leading pokes.
                    if self._lead.locked():  # else the leader has stopped without poking us
                        self._nap.acquire()
                    self._asleep = False
                    quiet = 0
                    continue
            elif monotonic() - self._last_led < GRACE:
                self._lead.release()
                self._hand_on()
            else:
                quiet, nap = 0, GRACE
                self._lead_alone()
                continue
            self._nap.acquire(timeout=nap)
            nap = min(2 * nap, NAP_MAX)

    def _lead_alone(self) -> None:
        try:
            while not self._followers and not self.closed:
                self._poll(0.01 if self._host else -1)
                if self._host:
                    break
        finally:
            self._lead.release()
            self._hand_on()

    def close(self) -> None:
        """Stop polling and close every channel."""
        self.closed = True
        self.wake()
        self._poke()
        for waiter in list(self._followers):
            waiter.nudge()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(2.0)
        for channel in list(self._channels.values()):
            channel.close()
        for sock, _ in self._listeners.values():
            sock.close()
        with self._lead:
            self._epoll.close()
            wake_fd, self._wake_fd = self._wake_fd, -1  # first: nobody is to write to another file
            os.close(wake_fd)
