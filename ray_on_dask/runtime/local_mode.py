"""Local mode: a program runs serially in its driver, for debugging.

There is no cluster. `.remote()` runs the task at once, in the calling thread, on copies of its
arguments; the ref that it gives holds the value. So the program is unchanged: refs are refs,
errors come out of `get`, actors keep their state, generators run as far as they are read.
Asynchronous actors alone run beside the driver, each in a thread with an event loop, since
their calls may wait for one another.
"""

from __future__ import annotations

import concurrent.futures
import os
import socket
import time
import uuid
from typing import Any

from ray_on_dask.core.resources import as_floats, to_units
from ray_on_dask.exceptions import GetTimeoutError, RaySystemError
from ray_on_dask.ids import PUT_INDEX, TaskIds, new_process_name
from ray_on_dask.runtime import current
from ray_on_dask.runtime.background import Terminal
from ray_on_dask.runtime.here import Here, worker_id
from ray_on_dask.runtime.local_actors import LocalActors
from ray_on_dask.runtime.local_calls import LocalCall, LocalCalls
from ray_on_dask.runtime.local_refs import LocalRefs
from ray_on_dask.runtime.object_ref import Entry, ObjectRef, ref_to
from ray_on_dask.serialization import deserialize, explain_failure, serialize
from ray_on_dask.wire.messages import ERROR, INLINE, PENDING, ErrorRecord, JobConfig

_IP = "127.0.0.1"


class LocalSession:
    """What stands in for a session in local mode.

    Parameters
    ----------
    options : InitOptions
        What `init` was given.
    """

    kind = "driver"

    def __init__(self, options: Any):
        import json

        environment = options.runtime_env
        self.config = JobConfig(
            namespace=options.namespace or str(uuid.uuid4()),
            runtime_env=json.dumps(environment, sort_keys=True) if environment else "",
            wait_milliseconds=options.wait_timeout_unit == "ms",
        )
        self.job = 1
        self.name = new_process_name()
        self.node = os.urandom(28).hex()
        self.hub_path = os.path.join("/tmp/ray_on_dask", "session_local", "hub")
        self.session_facts = {"session_name": "session_local", "scheduler_address": "local_mode"}
        seed = options.object_id_seed
        self.task_ids = TaskIds.random() if seed is None else TaskIds.seeded(seed)
        self.references = LocalRefs()
        self.calls = LocalCalls(self)
        self.actors = LocalActors(self)
        self._totals = _totals(options)
        self._errors: list[dict[str, Any]] = []
        self._terminal = Terminal(errors=True)

    # -- tasks and actors ---------------------------------------------------------------

    def run_task(
        self, function: Any, options: dict[str, Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Run a remote function now; its ref, list of refs, generator of refs, or None."""
        name = options.get("name") or getattr(function._function, "__name__", function._name)
        call = LocalCall(
            self.task_ids.next(), function._function, name,
            f"{function.__module__}.{function._name}", function._returns(options),
            _retries(options), options.get("retry_exceptions") or False,
            _held(options, 1),
        )  # fmt: skip
        return self.calls.run(call, self.calls.pack(args, kwargs))

    def make_actor(
        self, cls: Any, options: dict[str, Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """A handle of a new actor, which lives in this process."""
        return self.actors.make(cls, options, self.calls.pack(args, kwargs))

    def call_actor(
        self, handle: Any, name: str, options: dict[str, Any], returns: tuple[int, int],
        args: tuple[Any, ...], kwargs: dict[str, Any],
    ) -> Any:  # fmt: skip
        """Call an actor's method now; its ref, list of refs, generator of refs, or None."""
        return self.actors.call(handle, name, options, returns, self.calls.pack(args, kwargs))

    def get_actor(self, name: str, namespace: str | None = None) -> Any:
        """A handle of the actor with this name; None if there is none."""
        return self.actors.find(name, namespace or self.config.namespace)

    def kill(self, handle: Any, no_restart: bool) -> None:
        """End an actor, or have it begin anew."""
        self.actors.kill(handle, no_restart)

    def own_handle(self) -> Any:
        """A handle of the actor that the running call belongs to."""
        return self.actors.handle_of(current.call.get().actor)

    # -- objects --------------------------------------------------------------------------

    def put(self, value: Any) -> ObjectRef[Any]:
        """A ref that holds a copy of a value; raises as `ray_on_dask.put`."""
        if isinstance(value, ObjectRef):
            raise TypeError(
                "Calling 'put' on an ray.ObjectRef is not allowed. If you really want to, wrap "
                "the ObjectRef in a list and call 'put' on that."
            )
        try:
            serialized = serialize(value)
        except Exception as error:
            raise explain_failure(value, "put value", error) from error
        entry = Entry(self.task_ids.next() + PUT_INDEX)
        self.references.fill(entry, self.references.packed(serialized))
        return ref_to(entry)

    def get(self, given: Any, timeout: float | None = None) -> Any:
        """Values of refs; what is no ref is its own value, as it was in the oldest API."""
        deadline = None if timeout is None or timeout < 0 else time.monotonic() + timeout
        if not isinstance(given, list):
            return self._value_of(given, deadline)
        for ref in given:
            if isinstance(ref, ObjectRef) and ref._entry.kind == ERROR:
                self.value(ref._entry)
        return [self._value_of(ref, deadline) for ref in given]

    def _value_of(self, ref: Any, deadline: float | None) -> Any:
        if not isinstance(ref, ObjectRef):
            return ref
        entry = ref._entry
        self.check_session(entry)
        if entry.kind == PENDING:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            try:
                self.references.future_of(entry).result(left)
            except concurrent.futures.TimeoutError:
                raise GetTimeoutError("Get timed out: some object(s) not ready.") from None
        return self.value(entry)

    def check_session(self, entry: Entry) -> None:
        """Raise `ValueError` for a ref of a session that has ended."""
        if not entry.id.startswith(self.task_ids.prefix):
            raise ValueError(f"ObjectRef({entry.id.hex()}) belongs to a session that has ended.")

    @staticmethod
    def value(entry: Entry) -> Any:
        """The value of an entry that is not pending; raises what its task raised."""
        if entry.kind == INLINE:
            return deserialize(entry.data)
        from ray_on_dask.error_serialization import loads_error

        raise loads_error(entry.data)

    def wait(
        self, refs: list[Any], count: int, timeout: float | None
    ) -> tuple[list[Any], list[Any]]:
        """Up to `count` refs that are ready, and the others; async actors leave some pending."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            ready = [ref for ref in refs if ref._entry.kind != PENDING][:count]
            left = None if deadline is None else deadline - time.monotonic()
            if len(ready) == count or (left is not None and left <= 0):
                return ready, [ref for ref in refs if ref not in ready]
            pending = [
                self.references.future_of(ref._entry) for ref in refs if ref._entry.kind == PENDING
            ]
            concurrent.futures.wait(pending, left, concurrent.futures.FIRST_COMPLETED)

    def future(self, ref: ObjectRef[Any]) -> concurrent.futures.Future[Any]:
        """A future of the ref's value."""
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()
        future.set_running_or_notify_cancel()

        def settle(_: Any) -> None:
            try:
                future.set_result(self.value(ref._entry))
            except BaseException as error:
                future.set_exception(error)

        if ref._entry.kind == PENDING:
            self.references.future_of(ref._entry).add_done_callback(settle)
        else:
            settle(None)
        return future

    # -- what other parts ask a session for --------------------------------------------------

    @property
    def getting(self) -> LocalSession:
        """This: waits and futures."""
        return self

    @property
    def asking(self) -> LocalSession:
        """This: answers questions about the cluster."""
        return self

    @property
    def interop(self) -> Any:
        """There is none: `RaySystemError`."""
        raise RaySystemError("In local mode there is no Dask cluster: refs are not Dask futures.")

    def as_ref(self, future: Any) -> Any:
        """A Dask future has no place here: `RaySystemError`."""
        return self.interop

    as_awaited_ref = as_ref

    def ask(self, what: str, **args: Any) -> Any:
        """The answer to a question, as the control store gives it; [] for what is not kept."""
        return self.state(what, **args)

    def state(self, what: str, **args: Any) -> Any:
        """Nodes, resources, named actors, …"""
        if what in ("cluster_resources", "available_resources"):
            return dict(self._totals)
        if what == "nodes":
            return [self._node_facts()]
        if what == "named_actors":
            return self.actors.named(args.get("namespace"))
        return []

    def _node_facts(self) -> dict[str, Any]:
        return {
            "name": self.node, "address": "local_mode", "ip": _IP, "pid": os.getpid(),
            "hostname": socket.gethostname(), "hub": "", "shm": "", "host": "", "alive": True,
            "reason": "", "labels": {}, "session_dir": "", "head": True, "draining": False,
            "resources": dict(self._totals), "executors": 0,
        }  # fmt: skip

    def errors(self) -> list[dict[str, Any]]:
        """Failures, oldest first, as `error_info` shows them."""
        return list(self._errors)

    def report(self, call: LocalCall, error: Any) -> None:
        """A call has failed: keep it for `errors`, and print it."""
        message = (
            f"Remote function \x1b[31m{call.function_name}\x1b[39m failed with:\n\n"
            f"{error.traceback_str}\n"
        )
        data = repr({"function_name": call.function_name, "task": call.id.hex()})
        now = time.time()
        self._errors.append(
            {"type": "task", "message": message, "data": data, "timestamp": now, "job_id": "1"}
        )
        self._terminal.error(ErrorRecord(self.job, "task", message, data, now))

    def here(self) -> Here:
        """What `get_runtime_context` tells."""
        found = Here(
            self.job, self.node, worker_id(self.name), self.config.namespace,
            self.config.runtime_env,
        )  # fmt: skip
        call = current.call.get()
        if call is None:
            return found
        found.is_worker = True
        found.task, found.task_name, found.function_name = call.id, call.name, call.function_name
        found.resources = as_floats(call.resources)
        if call.actor is not None:
            actor = call.actor
            found.actor, found.actor_name = actor.id, actor.name
            found.is_async, found.restarts = actor.loop is not None, actor.restarts
        return found

    def close(self) -> None:
        """The end: actors go, refs are of no use any more."""
        self.actors.close()
        self._terminal.close()


def _retries(options: dict[str, Any]) -> int:
    retries = options.get("max_retries")
    return 3 if retries is None else retries


def _held(options: dict[str, Any], default_cpus: int) -> dict[str, int]:
    """What a task holds, in units."""
    cpus = options.get("num_cpus")
    held = {"CPU": to_units(default_cpus if cpus is None else cpus)}
    held["GPU"] = to_units(options.get("num_gpus") or 0)
    for name, quantity in (options.get("resources") or {}).items():
        held[name] = to_units(quantity)
    return held


def _totals(options: Any) -> dict[str, float]:
    """What this machine is said to have."""
    import psutil

    memory = float(psutil.virtual_memory().total)
    cpus = options.num_cpus
    totals = {
        "CPU": float(len(os.sched_getaffinity(0)) if cpus is None else cpus),
        "GPU": float(options.num_gpus or 0),
        "memory": float(options.memory or memory * 0.7),
        "object_store_memory": float(options.object_store_memory or memory * 0.3),
        f"node:{_IP}": 1.0, "node:__internal_head__": 1.0,
        **{name: float(quantity) for name, quantity in (options.resources or {}).items()},
    }  # fmt: skip
    if options.num_custom_resource:
        totals["custom"] = float(options.num_custom_resource)
    return {name: quantity for name, quantity in totals.items() if quantity}
