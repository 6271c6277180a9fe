"""Actors in local mode: instances in the driver's process, called on the spot."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ray_on_dask.error_serialization import dumps_error, loads_error
from ray_on_dask.exceptions import ActorAlreadyExistsError, ActorDiedError, RayTaskError
from ray_on_dask.runtime import current
from ray_on_dask.runtime.local_calls import LocalCall, PackedArguments, inside
from ray_on_dask.runtime.local_refs import Packed, failure
from ray_on_dask.runtime.object_ref import Entry, ref_to
from ray_on_dask.wire import messages as m

if TYPE_CHECKING:
    from ray_on_dask.runtime.local_mode import LocalSession

#: Turns of an actor's loop, and seconds, after which a call that goes on does so beside the driver.
TURNS, PATIENCE = 10, 0.2


class LocalActor:
    """One actor."""

    def __init__(self, id: bytes, cls: Any, options: dict[str, Any], namespace: str):
        self.id = id
        self.cls = cls._cls
        self.class_name: str = cls._cls.__name__
        self.methods = cls.methods
        self.options = options
        self.name: str = options.get("name") or ""
        self.namespace = namespace
        self.instance: Any = None
        self.made_with: PackedArguments | None = None
        self.restarts = 0
        self.loop: ActorLoop | None = None
        #: Of a dead one, what its calls raise; b"" while it lives.
        self.error = b""

    def repr(self) -> str:
        """What the actor says of itself, for error texts."""
        try:
            return repr(self.instance)
        except Exception:
            return self.class_name

    def die(self, error: ActorDiedError) -> None:
        """All calls from now on raise this."""
        self.error = dumps_error(error)
        self.instance = None
        if self.loop is not None:
            self.loop.stop()

    def left_by(self, error: BaseException) -> bool:
        """Whether what a call has raised ends the actor: `exit_actor`, `sys.exit`."""
        from ray_on_dask.runtime.actor_host import ActorExit

        if self.error or not isinstance(error, ActorExit | SystemExit):
            return bool(self.error)
        reason = str(error) if isinstance(error, ActorExit) else "sys.exit was called"
        self.die(ActorDiedError(f"The actor is dead: {reason}", self.id.hex()))
        return True

    def method(self, name: str) -> Callable[..., Any]:
        """The bound method that a call means."""
        if name == "__ray_call__":
            return lambda function, *args, **kwargs: function(self.instance, *args, **kwargs)
        if name == "__ray_ready__":
            return lambda: True
        if name == "__ray_terminate__":
            return _terminate
        method: Callable[..., Any] = getattr(self.instance, name)
        return method


def _terminate() -> None:
    from ray_on_dask.runtime.actor_host import ActorExit

    raise ActorExit("__ray_terminate__ was called")


class LocalActors:
    """All actors of a local session."""

    def __init__(self, session: LocalSession):
        self.session = session
        self._actors: dict[bytes, LocalActor] = {}
        self._names: dict[tuple[str, str], LocalActor] = {}

    # -- making ------------------------------------------------------------------------

    def make(self, cls: Any, options: dict[str, Any], packed: PackedArguments) -> Any:
        """A handle of a new actor, or of the one that has the name if that is wanted."""
        namespace = options.get("namespace") or self.session.config.namespace
        id = self.session.task_ids.prefix + os.urandom(8)
        actor = LocalActor(id, cls, options, namespace)
        key = (actor.namespace, actor.name)
        if actor.name and key in self._names:
            if options.get("get_if_exists"):
                return self.handle_of(self._names[key])
            raise ActorAlreadyExistsError(
                f"The name {actor.name} (namespace={actor.namespace}) is already taken. Please "
                "use a different name, or get the existing actor using ray.get_actor(name)."
            )
        if actor.name:
            self._names[key] = actor
        self._actors[actor.id] = actor
        ref = ref_to(Entry(actor.id, m.INLINE, b""))
        self.session.references.make_known(ref)
        if options.get("lifetime") != "detached":
            weakref.finalize(ref, self._forget, actor.id).atexit = False
        actor.made_with = packed
        if actor.methods.is_async:
            actor.loop = ActorLoop(options.get("max_concurrency") or 1000)
        self._begin(actor)
        return self.handle_of(actor, ref)

    def _begin(self, actor: LocalActor) -> None:
        given = actor.made_with
        assert given is not None
        actor.instance = actor.cls.__new__(actor.cls)
        call = self._call(actor, "__init__", actor.instance.__init__, (1, 0))
        calls = self.session.calls
        if actor.loop is None:
            outcome = calls.outcome(call, given)
        else:
            outcome = actor.loop.run_plain(lambda: calls.outcome(call, given))
        if outcome[0].kind == m.ERROR and not actor.error:
            error: Any = loads_error(outcome[0].data)
            error = getattr(error, "_ray_task_error", error)
            cause = error if isinstance(error, RayTaskError) else str(error)
            actor.die(ActorDiedError(cause, actor.id.hex()))

    def _call(
        self, actor: LocalActor, name: str, function: Any, returns: tuple[int, int], title: str = ""
    ) -> LocalCall:
        cls = actor.cls
        return LocalCall(
            self.session.task_ids.next(), function, title or f"{actor.class_name}.{name}",
            f"{cls.__module__}.{cls.__qualname__}.{name}", returns, actor=actor,
        )  # fmt: skip

    def handle_of(self, actor: LocalActor, ref: Any = None) -> Any:
        """A handle of an actor; weak without its ref."""
        from ray_on_dask.api.actor_handle import ActorHandle

        facts = {
            "function": b"", "groups": list(actor.options.get("concurrency_groups") or ()),
            "retries": actor.options.get("max_task_retries") or 0, "out_of_order": False,
            "max_pending": -1,
        }  # fmt: skip
        return ActorHandle(actor.id, actor.class_name, actor.methods, facts, ref)

    # -- finding ---------------------------------------------------------------------------

    def find(self, name: str, namespace: str) -> Any:
        """A handle of the actor with this name; None if there is none."""
        actor = self._names.get((namespace, name))
        return None if actor is None else self.handle_of(actor)

    def named(self, namespace: str | None) -> list[dict[str, str]]:
        """Name and namespace of each named actor."""
        return [
            {"name": name, "namespace": space}
            for space, name in self._names
            if namespace in (None, space)
        ]

    # -- calling -----------------------------------------------------------------------------

    def call(
        self, handle: Any, name: str, options: dict[str, Any], returns: tuple[int, int],
        packed: PackedArguments,
    ) -> Any:  # fmt: skip
        """Call a method."""
        actor = self._actors.get(handle._id)
        if actor is None or actor.error:
            return self._refuse(handle, actor, returns)
        call = self._call(actor, name, actor.method(name), returns, options.get("name") or "")
        retries = options.get("max_task_retries")
        call.retries = (handle._facts["retries"] if retries is None else retries) or 0
        call.exceptions = options.get("retry_exceptions") or False
        if actor.loop is not None and not call.streams:
            return actor.loop.submit(self.session, call, packed)
        return self.session.calls.run(call, packed)

    def _refuse(self, handle: Any, actor: LocalActor | None, returns: tuple[int, int]) -> Any:
        """The refs of a call to a dead actor."""
        calls = self.session.calls
        error = (
            actor.error
            if actor is not None
            else dumps_error(
                ActorDiedError("The actor is gone, or is of another session.", handle._id.hex())
            )
        )

        def fail() -> None:
            raise loads_error(error)

        call = LocalCall(self.session.task_ids.next(), fail, "", "", returns)
        if call.streams:
            return calls.run(call, calls.pack((), {}))
        entries = calls.entries(call)
        calls.fill(entries, [failure(error)])
        return calls.refs(call, entries)

    # -- the end -------------------------------------------------------------------------------

    def kill(self, handle: Any, no_restart: bool) -> None:
        """End an actor, or have it begin anew if it may."""
        actor = self._actors.get(handle._id)
        if actor is None or actor.error:
            return
        most = actor.options.get("max_restarts") or 0
        if not no_restart and (most < 0 or actor.restarts < most):
            actor.restarts += 1
            self._begin(actor)
            return
        self._free_name(actor)
        text = "The actor is dead because it was killed by `ray.kill`."
        actor.die(ActorDiedError(text, actor.id.hex()))

    def _forget(self, id: bytes) -> None:
        """The last handle has gone."""
        actor = self._actors.pop(id, None)
        if actor is not None:
            self._free_name(actor)
            if actor.loop is not None:
                actor.loop.stop_when_idle()

    def _free_name(self, actor: LocalActor) -> None:
        if self._names.get((actor.namespace, actor.name)) is actor:
            del self._names[actor.namespace, actor.name]

    def close(self) -> None:
        """End all of them."""
        for actor in list(self._actors.values()):
            if actor.loop is not None:
                actor.loop.stop()
        self._actors.clear()
        self._names.clear()


class ActorLoop:
    """The event loop of an asynchronous actor, in a thread of its own."""

    def __init__(self, concurrency: int):
        self._loop = asyncio.new_event_loop()
        self._gate = asyncio.Semaphore(concurrency)
        self._active: set[asyncio.Task[None]] = set()
        self._leaving = False
        self._thread = threading.Thread(
            target=self._run, name="AsyncIO Thread: default", daemon=True
        )
        self._thread.start()

    def _run(self) -> None:
        self._loop.run_forever()
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    def run_plain(self, function: Callable[[], Any]) -> Any:
        """Run a plain function in the loop's thread, to its end."""

        async def plain() -> Any:
            return function()

        return asyncio.run_coroutine_threadsafe(plain(), self._loop).result()

    def run(self, call: LocalCall, function: Callable[[], Any]) -> Any:
        """Run a coroutine function as part of a call, to its end."""

        async def within() -> Any:
            with inside(call):
                return await function()

        return asyncio.run_coroutine_threadsafe(within(), self._loop).result()

    def submit(self, session: LocalSession, call: LocalCall, packed: PackedArguments) -> Any:
        """Begin a call; what does not wait for anything is over when this returns."""
        calls = session.calls
        entries = calls.entries(call)
        refs = calls.refs(call, entries)

        def begin() -> None:
            task = self._loop.create_task(self._serve(session, call, packed, entries))
            self._active.add(task)
            task.add_done_callback(self._over)

        self._loop.call_soon_threadsafe(begin)
        self._settle()
        return refs

    async def _serve(
        self, session: LocalSession, call: LocalCall, packed: PackedArguments, entries: list[Entry]
    ) -> None:
        calls = session.calls
        current.call.set(call)
        try:
            async with self._gate:
                for entry in packed.pending():
                    await asyncio.wrap_future(session.references.future_of(entry))
                outcome = await self._outcome(session, call, packed)
        except asyncio.CancelledError:
            error = ActorDiedError("The actor ended while the call ran.", call.actor.id.hex())
            outcome = [failure(call.actor.error or dumps_error(error))]
        calls.fill(entries, outcome)

    @staticmethod
    async def _outcome(
        session: LocalSession, call: LocalCall, packed: PackedArguments
    ) -> list[Packed]:
        calls = session.calls
        while True:
            try:
                args, kwargs = calls.unpack(packed)
                value = call.function(*args, **kwargs)
                if inspect.isawaitable(value):
                    value = await value
                return calls.values(call, value)
            except (asyncio.CancelledError, GeneratorExit):
                raise
            except BaseException as error:
                if not call.tries_again(error):
                    return [calls.failed(call, error)]

    def _settle(self) -> None:
        """Let the loop go on until it has nothing to do at once."""
        if threading.current_thread() is self._thread:
            return
        done = threading.Event()

        def turn(left: int) -> None:
            if left:
                self._loop.call_soon(turn, left - 1)
            else:
                done.set()

        self._loop.call_soon_threadsafe(turn, TURNS)
        done.wait(PATIENCE)

    def _over(self, task: asyncio.Task[None]) -> None:
        self._active.discard(task)
        if self._leaving and not self._active:
            self._loop.stop()

    def stop_when_idle(self) -> None:
        """No call will come any more."""

        def leave() -> None:
            self._leaving = True
            if not self._active:
                self._loop.stop()

        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(leave)

    def stop(self) -> None:
        """End now: calls that wait for something fail."""

        def cancel() -> None:
            self._leaving = True
            for task in self._active:
                if task is not asyncio.current_task():
                    task.cancel()
            if not self._active:
                self._loop.stop()

        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(cancel)
