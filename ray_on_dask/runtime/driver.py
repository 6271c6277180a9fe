"""A driver: the user's process, a member of the session that runs no tasks."""

from __future__ import annotations

import logging
import os
import sys
import threading
from typing import Any

import msgspec

from ray_on_dask.ids import TaskIds, new_process_name
from ray_on_dask.runtime import background
from ray_on_dask.runtime.process import Process
from ray_on_dask.wire import messages as m
from ray_on_dask.wire.channel import Channel
from ray_on_dask.wire.reactor import Waiter

logger = logging.getLogger("ray_on_dask")

#: Seconds between two switches of threads while calls are out: a main thread that computes would
#: else keep the reactor's thread from the interpreter for 5 ms at each turn.
SWITCH = 0.0002


class Driver(Process):
    """The driver's side of a session.

    Parameters
    ----------
    hub : str
        Path of the hub of the node that it joins.
    config : JobConfig
    show : Terminal
        Prints what tasks print, and errors.
    """

    kind = "driver"

    def __init__(self, hub: str, config: m.JobConfig, show: background.Terminal):
        self._show = show
        self._switch = sys.getswitchinterval()
        self._quick = False
        super().__init__(new_process_name(), hub)
        self.config = config
        self.session_facts: dict[str, Any] = {}
        self._welcomed = Waiter()
        self.prefix = self.task_ids.prefix
        self.handlers |= {
            m.Welcome: self.on_welcome,
            m.LogLines: self.on_log_lines,
            m.ErrorRecord: self.on_error_record,
            m.Exit: self.on_exit,
        }
        self.hub.send(m.Hello(self.name, "driver", os.getpid(), config))

    def join(self, timeout: float) -> None:
        """Wait until the session has taken this driver in."""
        if not self.reactor.wait(self._welcomed, timeout):
            self.reactor.close()
            raise ConnectionError(
                f"The node at {self.hub_path} did not take this driver in within {timeout:g} s."
            )
        self.reactor.start()

    def on_welcome(self, channel: Channel, message: m.Welcome) -> None:
        """The session has taken this driver in."""
        self.job, self.node = message.job, message.node
        facts = self.session_facts = msgspec.json.decode(message.session)
        self.cluster = facts["cluster"]
        self.storing.configure(facts["shm"], facts["capacity"])
        if self.config.id_seed is not None:
            self.task_ids = TaskIds.seeded(self.config.id_seed)
            self.prefix = self.task_ids.prefix
        self._welcomed.finish()

    def on_log_lines(self, channel: Channel, message: m.LogLines) -> None:
        """Tasks have printed something."""
        self._show.lines(message)

    def on_error_record(self, channel: Channel, message: m.ErrorRecord) -> None:
        """A task has failed."""
        self._show.error(message)

    def on_exit(self, channel: Channel, message: m.Exit) -> None:
        """The node is about to end, and says why."""
        self.close_reason = message.reason

    def on_hub_closed(self, channel: Channel) -> None:
        """The node is gone: blocked calls end with an error."""
        if not self.closing:
            self.close_reason = self.close_reason or self.node_died()
            self.reactor.closed = True
            self.getting.session_over()

    # -- time ---------------------------------------------------------------------------

    def interval(self) -> float:
        """Seconds until the next tick; switches threads quickly while anything is out."""
        busy = self.submitting.tasks.busy
        if busy is not self._quick and threading.current_thread() is not threading.main_thread():
            self._quick = busy
            sys.setswitchinterval(SWITCH if busy else self._switch)
        seconds = super().interval()
        return min(seconds, 0.2) if seconds >= 0 else (0.2 if self._show.pending else -1.0)

    def tick(self, now: float) -> None:
        """Look after what nobody calls for."""
        super().tick(now)
        self._show.tick(now)

    def close(self) -> None:
        """Leave the session."""
        sys.setswitchinterval(self._switch)
        super().close()
        self._show.close()
