"""Remote functions: what `@remote` makes of a function."""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Callable
from typing import Any

from ray_on_dask.api.environments import spelled
from ray_on_dask.api.options import (
    check_at_call,
    check_generator,
    merge,
    resources_of,
    task_overrides,
)
from ray_on_dask.api.session import local_session, running_session
from ray_on_dask.api.signature import CallSignature
from ray_on_dask.api.strategy import strategy_of
from ray_on_dask.runtime.function_table import PreparedCall, pickle_function
from ray_on_dask.wire import messages as m


class RemoteFunction:
    """A function whose calls are tasks.

    Made by `remote`; `remote(...)` submits a task, `options(...)` changes options for one call.
    """

    def __init__(self, function: Callable[..., Any], options: dict[str, Any]):
        if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
            raise ValueError(
                "'async def' should not be used for remote tasks. You can wrap the async function "
                "with `asyncio.run(f())`, or use an actor with async methods."
            )
        generates = inspect.isgeneratorfunction(function)
        check_generator(options, generates)
        self._function = function
        self._default_options = options
        self._generates = generates
        self._signature = CallSignature(function)
        #: Pickle of the function and the refs in it, and the session that they belong to.
        self._pickled: tuple[bytes, list[Any]] | None = None
        self._session: object = None
        #: The session and placement group that `_prepared` was made in.
        self._surroundings: object = None
        self._prepared: PreparedCall | None = None
        self._pickling = False
        self.__doc__ = function.__doc__
        self.__module__ = getattr(function, "__module__", None) or "__main__"
        remote = self._make_remote()
        functools.update_wrapper(remote, function)
        self.remote = remote

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Remote functions run elsewhere: this raises `TypeError`."""
        name = f"{self.__module__}.{self._name}"
        raise TypeError(
            f"Remote functions cannot be called directly. Instead of running '{name}()', "
            f"try '{name}.remote()'."
        )

    @property
    def _name(self) -> str:
        for attribute in ("__qualname__", "__name__"):
            name = getattr(self._function, attribute, None)
            if isinstance(name, str):
                return name
        return type(self._function).__name__

    def _make_remote(self) -> Callable[..., Any]:
        def remote(*args: Any, **kwargs: Any) -> Any:
            session = running_session()
            if session is None:
                return self._run_here(self._default_options, args, kwargs)
            prepared = self._prepared
            if prepared is None or self._surroundings is not session.surroundings:
                prepared = self._prepare(session)
            self._signature.check(args, kwargs)
            return session.submitting.submit(prepared, args, kwargs)

        return remote

    def _run_here(
        self, options: dict[str, Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Run a task in local mode."""
        check_at_call(options)
        self._signature.check(args, kwargs)
        return local_session().run_task(self, options, args, kwargs)

    # -- options -----------------------------------------------------------------------

    def options(self, **overrides: Any) -> OptionedFunction:
        """This function with other options, for calls of the returned object's `.remote`.

        Raises
        ------
        ValueError, TypeError
            For unknown options and values that cannot be.
        """
        merged = merge(self._default_options, task_overrides(**overrides))
        check_generator(merged, self._generates)
        return OptionedFunction(self, merged)

    def _remote(
        self,
        args: tuple[Any, ...] | None = None,
        kwargs: dict[str, Any] | None = None,
        **options: Any,
    ) -> Any:
        target = self.options(**options) if options else self
        return target.remote(*(args or ()), **(kwargs or {}))

    def bind(self, *args: Any, **kwargs: Any) -> Any:
        """A node of a task graph, to be run by its `execute`."""
        from ray_on_dask.dag import FunctionNode

        return FunctionNode(self, args, kwargs)

    # -- preparing -----------------------------------------------------------------------

    def _prepare(self, session: Any) -> PreparedCall:
        check_at_call(self._default_options)
        self._prepared = prepared = self._plan(session, self._default_options)
        self._surroundings = session.surroundings
        return prepared

    def _define(self, session: Any) -> bytes:
        """Pickle the function, at its first call in a session; its id."""
        if self._pickled is None or (
            self._session is not None and self._session is not session.session
        ):
            self._pickling = True
            try:
                self._pickled = pickle_function(self._function)
            finally:
                self._pickling = False
        pickled, refs = self._pickled
        self._session = session.session
        with session.lock:
            for ref in refs:
                session.references.promote(ref)
        id: bytes = session.functions.define(f"{self.__module__}.{self._name}", pickled)
        return id

    def _plan(self, session: Any, options: dict[str, Any]) -> PreparedCall:
        function = self._define(session)
        returns, flags = self._returns(options)
        retries = options.get("max_retries")
        retries = 3 if retries is None else retries
        name: str = options.get("name") or self._name.rpartition(".")[2]
        resources = resources_of(options, "task")
        max_calls = options.get("max_calls") or (1 if resources.get("GPU") else 0)
        strategy, group, captures = strategy_of(options, resources, session)
        spec = m.SchedulingClass(
            resources, strategy, runtime_env(options, session), function if max_calls else b"",
            max_calls, name if max_calls else "",
        )  # fmt: skip
        exceptions = options.get("retry_exceptions") or False
        if retries == 0:
            flags |= m.FLUSH
        return PreparedCall(
            function, name, returns, flags, retries, session.submitting.class_of(spec, name),
            max(0, options.get("_generator_backpressure_num_objects") or 0),
            exceptions if isinstance(exceptions, bool) else tuple(exceptions), captures, group,
            self._pickled[1] if self._pickled is not None else (),
        )  # fmt: skip

    def _returns(self, options: dict[str, Any]) -> tuple[int, int]:
        returns = options.get("num_returns")
        if returns == "streaming" or (returns is None and self._generates):
            return 0, m.STREAM
        if returns == "dynamic":
            return 1, m.DYNAMIC
        return (1 if returns is None else returns), 0

    def __reduce__(self) -> tuple[Any, ...]:
        if self._pickled is not None and not self._pickling and not self._pickled[1]:
            return _from_pickle, (self._pickled[0], self._default_options, self.__module__)
        return _Rebuilt, (), {"function": self._function, "options": self._default_options}


class OptionedFunction:
    """A remote function with some options changed: what `.options` returns."""

    def __init__(self, function: RemoteFunction, options: dict[str, Any]):
        self._function = function
        self._options = options
        self._surroundings: object = None
        self._prepared: PreparedCall | None = None

    def remote(self, *args: Any, **kwargs: Any) -> Any:
        """Submit a task with these options."""
        function = self._function
        session = running_session()
        if session is None:
            return function._run_here(self._options, args, kwargs)
        if self._prepared is None or self._surroundings is not session.surroundings:
            check_at_call(self._options)
            self._prepared = function._plan(session, self._options)
            self._surroundings = session.surroundings
        function._signature.check(args, kwargs)
        return session.submitting.submit(self._prepared, args, kwargs)

    def bind(self, *args: Any, **kwargs: Any) -> Any:
        """A node of a task graph, with these options."""
        from ray_on_dask.dag import FunctionNode

        return FunctionNode(self, args, kwargs)


class _Rebuilt(RemoteFunction):
    """A remote function on its way out of a pickle: it is whole when its state has come."""

    def __init__(self) -> None:
        pass

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__class__ = RemoteFunction  # type: ignore[assignment]
        RemoteFunction.__init__(self, state["function"], state["options"])


def _from_pickle(pickled: bytes, options: dict[str, Any], module: str) -> RemoteFunction:
    """A remote function from the pickle that its first caller made."""
    from ray_on_dask.serialization import deserialize

    function = RemoteFunction(deserialize(pickled), options)
    function._pickled = (pickled, [])
    function.__module__ = module
    return function


def runtime_env(options: dict[str, Any], session: Any) -> str:
    """The runtime environment of options over the job's, in one spelling; "" for the job's."""
    environment = options.get("runtime_env")
    if not environment:
        return ""
    job = json.loads(session.config.runtime_env) if session.config.runtime_env else {}
    merged = {**job, **environment}
    if "env_vars" in job or "env_vars" in environment:
        merged["env_vars"] = {**job.get("env_vars", {}), **environment.get("env_vars", {})}
    return spelled(merged)
