"""An executor as its node knows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ray_on_dask.core.gpus import GpuId
from ray_on_dask.plugins.environments import Interpreter
from ray_on_dask.plugins.log_reader import LogReader

if TYPE_CHECKING:
    from ray_on_dask.plugins.hub import Line


@dataclass(eq=False)
class ExecutorRecord:
    """An executor as its node knows it."""

    name: str
    address: str
    pid: int = 0
    line: Line | None = None
    job: int = 0
    runtime_env: str = ""
    #: What `max_calls` function it is kept for, b"" for any.
    function: bytes = b""
    lease: int = 0
    #: Whose tasks it runs under its lease.
    owner: str = ""
    actor: bytes = b""
    gpus: list[GpuId] = field(default_factory=list)
    #: It held a GPU and may still have memory there: not used for another one.
    used_gpu: bool = False
    retiring: bool = False
    idle_since: float = 0.0
    busy_since: float = 0.0
    #: Why it is being killed, for those who will ask.
    doom: str = ""
    #: What to do when it has said hello.
    on_hello: Callable[[ExecutorRecord], None] | None = None
    #: What to do when none can be had for that, with the reason.
    on_failed: Callable[[str], None] | None = None
    #: How many died before they were up that were to be in its place.
    tries: int = 0
    #: What it was started in, None if it was forked.
    interpreter: Interpreter | None = None
    logs: list[LogReader] = field(default_factory=list)

    @property
    def idle(self) -> bool:
        """Whether it can be given away."""
        return bool(self.line) and not (self.lease or self.actor or self.retiring or self.doom)
