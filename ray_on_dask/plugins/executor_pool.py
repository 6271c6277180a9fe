"""The executors of one node: made, given to leases and actors, kept a while, ended."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from ray_on_dask.core.gpus import GpuId
from ray_on_dask.core.resources import GPU, plain_names
from ray_on_dask.ids import new_process_name
from ray_on_dask.plugins.endings import ended_how
from ray_on_dask.plugins.environments import SITE, Environments, Interpreter
from ray_on_dask.plugins.executor_record import ExecutorRecord
from ray_on_dask.plugins.gpu_desk import GpuDesk
from ray_on_dask.plugins.log_reader import LogReader
from ray_on_dask.runtime.job_environment import own_first
from ray_on_dask.runtime.memory_monitor import Candidate, MemoryMonitor
from ray_on_dask.runtime.status_page import StatusPage
from ray_on_dask.wire import messages as m

if TYPE_CHECKING:
    from ray_on_dask.plugins.hub import Line
    from ray_on_dask.plugins.node import NodeManager

logger = logging.getLogger("ray_on_dask")

#: Seconds that an executor beyond the number of CPUs is kept idle.
KEEP_IDLE = 3.0
#: Seconds for an executor to say hello.
START_TIMEOUT = 60.0
#: Executors that may die before they are up, one after the other, until their lease is given up.
TRIES = 10
ZYGOTE_DIED = "its zygote died"
#: Ended jobs that are remembered: executors for them may still be on their way.
ENDED_MAX = 10_000


class ExecutorPool:
    """Finds an executor for each lease: one that has served the job, a blank one, a new one."""

    def __init__(self, node: NodeManager, gpu_ids: list[GpuId]):
        self.node = node
        self.executors: dict[str, ExecutorRecord] = {}
        #: Those that are no actors: a thousand actors are not looked through for each new one.
        self.hands: dict[str, ExecutorRecord] = {}
        self.gpus = GpuDesk(gpu_ids)
        self.by_lease: dict[int, ExecutorRecord] = {}
        #: Blank executors to have at hand.
        self.spares = 0
        self.forked = 0
        self._ended_jobs: dict[int, None] = {}
        self._monitor = MemoryMonitor()
        self.environments = Environments(node)

    # -- making ------------------------------------------------------------------------

    def start(
        self,
        on_hello: Callable[[ExecutorRecord], None] | None = None,
        interpreter: Interpreter | None = None,
        on_failed: Callable[[str], None] | None = None,
        tries: int = 0,
    ) -> ExecutorRecord:
        """Fork an executor, or start it in a fresh interpreter.

        Raises
        ------
        ValueError
            If what it is to be told is too much.
        """
        node = self.node
        name = new_process_name()
        address = os.path.join(node.directories.session_dir, f"x-{name}")
        record = ExecutorRecord(
            name, address, on_hello=on_hello, interpreter=interpreter, on_failed=on_failed,
            tries=tries,
        )  # fmt: skip
        params = {
            "entry": "ray_on_dask.runtime.executor:main", "name": name, "hub": node.hub_path,
            "address": address, "node": node.name, "shm": node.directories.shm_dir,
            "capacity": node.capacity, "ip": node.ip,
        }  # fmt: skip
        self.forked += 1
        if interpreter is None:
            node.zygote.fork(name, params)
        else:
            start = (
                "import sys, json; sys.path[:] = json.loads(sys.argv.pop(1)); "
                "from ray_on_dask.runtime.executor import main; "
                "sys.exit(main(json.loads(sys.argv.pop(1))))"
            )
            paths = own_first(sys.path, interpreter.env.get(SITE, ""))
            program = [*interpreter.command, "-c", start, json.dumps(paths), json.dumps(params)]
            node.zygote.spawn(name, program, env=interpreter.env)
        self.executors[name] = self.hands[name] = record
        return record

    def keep_spares(self, count: int) -> None:
        """Have so many blank executors at hand from now on."""
        self.spares = count
        self._restock()

    def _restock(self) -> None:
        if self.node.closing:
            return
        blank = sum(not x.job and not x.lease and not x.on_hello for x in self.hands.values())
        for _ in range(self.spares - blank):
            self.start()

    def on_hello(self, line: Line, hello: m.Hello) -> None:
        """An executor is up."""
        record = self.executors.get(hello.process)
        if record is None:
            line.close()
            return
        record.line = line
        record.pid = hello.pid
        record.idle_since = self.node.now()
        waiting, record.on_hello = record.on_hello, None
        if waiting is not None:
            waiting(record)
            if record.job in self._ended_jobs:
                self.kill(record.name, "its driver has exited")

    def on_forked(self, name: str, pid: int, out: int | None, err: int | None) -> None:
        """The zygote has made it; its output comes in these."""
        record = self.executors.get(name)
        for fd, is_error in ((out, False), (err, True)):
            if fd is None:
                continue
            if record is None:
                os.close(fd)
                continue
            record.logs.append(LogReader(fd, self._log_sender(record, is_error)))
        if record is not None:
            record.pid = pid

    def _log_sender(
        self, record: ExecutorRecord, is_error: bool
    ) -> Callable[[str, list[str]], None]:
        def send(name: str, lines: list[str]) -> None:
            self.node.up(
                self.node.name,
                m.LogLines(record.job, name, record.pid, self.node.ip, lines, is_error),
            )

        return send

    # -- leases --------------------------------------------------------------------------

    def lease(self, msg: m.StartLease) -> None:
        """Find an executor for a lease of tasks."""
        units = plain_names(msg.spec.resources).get(GPU, 0)
        self.gpus.want(msg.lease, units, lambda ids: self._lease(msg, ids))

    def _lease(self, msg: m.StartLease, gpus: list[GpuId]) -> None:
        spec = msg.spec
        runtime_env = spec.runtime_env or msg.config.runtime_env
        function = spec.function if spec.max_calls else b""

        def begin(record: ExecutorRecord) -> None:
            self._adopt(record, msg.job, msg.config, runtime_env)
            record.lease, record.gpus, record.function = msg.lease, gpus, function
            record.owner = msg.owner
            record.busy_since = self.node.now()
            record.used_gpu = record.used_gpu or bool(gpus)
            self.by_lease[msg.lease] = record
            assert record.line is not None
            record.line.send(m.BeginLease(msg.lease, msg.owner, spec, gpus))
            self.node.up(
                self.node.name,
                m.LeaseStarted(msg.lease, record.name, record.address, record.pid, gpus),
            )

        self._with_executor(msg.lease, msg.job, runtime_env, function, gpus, begin, msg.config.cwd)

    def actor(self, msg: m.StartActor) -> None:
        """Find an executor for an actor."""
        units = plain_names(msg.spec.lifetime).get(GPU, 0)
        self.gpus.want(msg.lease, units, lambda ids: self._actor(msg, ids))

    def _actor(self, msg: m.StartActor, gpus: list[GpuId]) -> None:
        runtime_env = msg.spec.runtime_env or msg.config.runtime_env

        def begin(record: ExecutorRecord) -> None:
            self._adopt(record, msg.job, msg.config, runtime_env)
            record.lease, record.actor, record.gpus = msg.lease, msg.spec.id, gpus
            self.hands.pop(record.name, None)
            record.busy_since = self.node.now()
            self.by_lease[msg.lease] = record
            assert record.line is not None
            become = m.BecomeActor(msg.lease, msg.spec, msg.incarnation, gpus, msg.checkpoint)
            record.line.send(become)
            self.node.up(
                self.node.name,
                m.LeaseStarted(msg.lease, record.name, record.address, record.pid, gpus),
            )

        self._with_executor(msg.lease, msg.job, runtime_env, b"", gpus, begin, msg.config.cwd)

    def _with_executor(
        self, lease: int, job: int, runtime_env: str, function: bytes, gpus: list[GpuId],
        begin: Callable[[ExecutorRecord], None], cwd: str,
    ) -> None:  # fmt: skip
        record = self._find(job, runtime_env, function, gpus)
        if record is not None:
            begin(record)
            self._restock_soon()
            return

        def failed(problem: str) -> None:
            self.gpus.give(lease)
            self.node.up(self.node.name, m.LeaseStarted(lease, "", "", 0, [], problem))

        def start(found: Interpreter | None) -> None:
            try:
                self.start(begin, found, failed)
            except ValueError as error:  # it says more than fits into a request to the zygote
                failed(f"no executor can be started: {error}")

        if not runtime_env:
            start(None)
            return
        self.environments.prepare(json.loads(runtime_env), cwd, start, failed)

    def _restock_soon(self) -> None:
        asyncio.get_running_loop().call_later(0.05, self._restock)

    def _find(
        self, job: int, runtime_env: str, function: bytes, gpus: list[GpuId]
    ) -> ExecutorRecord | None:
        blank = None
        for record in self.hands.values():
            if not record.idle:
                continue
            if record.used_gpu and record.gpus != gpus:
                continue
            if record.job == job and record.runtime_env == runtime_env:
                if record.function == function:
                    return record
            elif not record.job and blank is None:
                blank = record
        forkable = not runtime_env or self.environments.is_forkable(json.loads(runtime_env))
        return blank if forkable else None

    def _adopt(
        self, record: ExecutorRecord, job: int, config: m.JobConfig, runtime_env: str
    ) -> None:
        if record.job:
            return
        record.job, record.runtime_env = job, runtime_env
        assert record.line is not None
        record.line.send(m.Adopt(job, config, runtime_env))
        if config.redirect_output:
            logs = os.path.join(self.node.directories.session_dir, "logs")
            os.makedirs(logs, exist_ok=True)
            for reader, end in zip(record.logs, ("out", "err"), strict=False):
                reader.log_to(os.path.join(logs, f"worker-{record.name}-{record.pid}.{end}"))

    def end_lease(self, lease: int) -> None:
        """A lease is over: tell its executor, which is free for others."""
        record = self.by_lease.pop(lease, None)
        if record is not None and record.gpus and record.function:
            self.gpus.keep(record.name, lease)  # it may be about to end: its own word decides
        else:
            self.gpus.give(lease)
        if record is None or record.actor:
            return
        record.lease = 0
        record.idle_since = self.node.now()
        if record.line is not None:
            record.line.send(m.EndLease(lease))

    def lease_ended(self, name: str, lease: int) -> None:
        """The executor says that nothing of a lease is left."""
        record = self.executors.get(name)
        if record is not None and record.lease == lease and not record.actor:
            record.lease = 0
            record.idle_since = self.node.now()
        self.by_lease.pop(lease, None)
        if record is not None and record.retiring:
            self.gpus.keep(name, lease)
        else:
            self.gpus.give(lease)

    def retire(self, name: str) -> None:
        """An executor takes no more work."""
        record = self.executors.get(name)
        if record is not None:
            record.retiring = True

    # -- ends ---------------------------------------------------------------------------------

    def kill(self, name: str, reason: str) -> None:
        """End an executor's process now."""
        record = self.executors.get(name)
        if record is not None:
            record.doom = record.doom or reason
            if record.pid:
                self.node.zygote.kill(record.pid)

    def kill_lease(self, lease: int, reason: str) -> None:
        """End the executor that serves a lease."""
        record = self.by_lease.get(lease)
        if record is not None:
            self.kill(record.name, reason)

    def owner_lost(self, name: str, owner: str) -> None:
        """The way to an owner is broken for good: it will have its tasks run elsewhere."""
        record = self.executors.get(name)
        if record is not None and record.lease and record.owner == owner and not record.actor:
            self.kill(name, "the link to the node of its tasks' owner is lost")

    def end_job(self, job: int) -> None:
        """The driver is gone: so are its executors, those that are being started too."""
        self._ended_jobs[job] = None
        if len(self._ended_jobs) > ENDED_MAX:
            del self._ended_jobs[next(iter(self._ended_jobs))]
        for record in list(self.executors.values()):
            if record.job == job:
                self.kill(record.name, "its driver has exited")

    def on_exited(self, name: str, pid: int, status: int) -> None:
        """A process is gone: who depended on it is told, what it left is cleared away."""
        record = self.executors.pop(name, None)
        self.hands.pop(name, None)
        if record is None:
            return
        for reader in record.logs:
            reader.flush()
        if self.node.closing:
            return  # its files go with the node's directories, and the node's end tells the rest
        page = os.path.join(self.node.directories.shm_dir, f"p-{name}")
        running = b""
        if os.path.exists(page):
            running = StatusPage.read(page)
            os.unlink(page)
        if os.path.exists(record.address):
            os.unlink(record.address)
        if record.lease:
            self.by_lease.pop(record.lease, None)
            self.gpus.give(record.lease)
        self.gpus.gone(name)
        reason = record.doom or ended_how(status)
        self.node.store.process_gone(name, pid)
        self.node.up(self.node.name, m.Lost(name, reason, running, status))
        if record.on_hello is not None:
            self._try_again(record, reason)

    def _try_again(self, record: ExecutorRecord, reason: str) -> None:
        """It died before it was up: the lease it was for needs another, or ends."""
        tries = record.tries + (record.doom != ZYGOTE_DIED)
        if tries < TRIES or record.on_failed is None:
            self.start(record.on_hello, record.interpreter, record.on_failed, tries)
            return
        record.on_failed(
            f"no executor comes up: {tries} have ended before they were up, the last one {reason}"
        )

    def on_all_lost(self) -> None:
        """The zygote has died, and all executors with it."""
        for record in list(self.executors.values()):
            record.doom = ZYGOTE_DIED
            self.on_exited(record.name, record.pid, -9)

    def watch_memory(self) -> None:
        """When memory runs out, end the newest executor that can be replaced; never the node."""
        busy = [x for x in self.executors.values() if x.pid and (x.lease or x.actor)]
        victim = self._monitor.victim(
            Candidate(x.name, x.pid, x.busy_since, not x.actor) for x in busy
        )
        if victim is not None:
            logger.warning("memory runs out: executor %d is ended", victim.pid)
            self.kill(
                victim.name,
                f"out of memory: the node's memory ran out, and this executor ({victim.memory:,} "
                "bytes) was the newest that could be replaced",
            )

    def reap(self, now: float) -> None:
        """End executors that have been idle for long, if there are more than CPUs."""
        idle = sorted(
            (x for x in self.hands.values() if x.idle and x.job), key=lambda x: x.idle_since
        )
        spare = idle[: max(0, len(idle) - self.node.cpus)]
        for record in {*spare, *(x for x in idle if x.used_gpu)}:
            if now - record.idle_since > KEEP_IDLE and record.line is not None:
                record.retiring = True
                record.line.send(m.Exit(False, "idle"))
        self._restock()
