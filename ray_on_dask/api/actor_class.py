"""Actor classes: what `@remote` makes of a class."""

from __future__ import annotations

import functools
import os
import time
import types
from typing import Any, NoReturn

from ray_on_dask.api.actor_handle import ActorHandle, Methods, handle_for
from ray_on_dask.api.options import (
    actor_overrides,
    check_at_call,
    merge,
    resources_of,
)
from ray_on_dask.api.remote_function import runtime_env
from ray_on_dask.api.session import local_session, running_session
from ray_on_dask.api.signature import CallSignature
from ray_on_dask.api.strategy import strategy_of
from ray_on_dask.runtime import arguments
from ray_on_dask.runtime.function_table import pickle_function
from ray_on_dask.wire import messages as m


class ActorClassInheritanceException(TypeError):
    """A class was derived from an actor class; derive from the plain class instead."""


class ActorClass:
    """A class whose instances live in processes of their own.

    Made by `remote`; `remote(...)` makes an actor and gives a handle of it.
    """

    def __init__(self, cls: type, options: dict[str, Any]):
        self._cls = cls
        self._default_options = options
        self._session: object = None
        self._pickled: tuple[bytes, list[Any]] | None = None
        self._pickling = False
        self._function = b""
        self.__doc__ = cls.__doc__
        self.__module__ = cls.__module__

    # Looked at when they are first needed: a class that refers to itself is wrapped here in the
    # middle of its own unpickling, when it has no methods yet.

    @functools.cached_property
    def methods(self) -> Methods:
        """What handles know of the class."""
        return Methods.of(self._cls)

    @functools.cached_property
    def _signature(self) -> CallSignature:
        init: Any = self._cls.__init__  # type: ignore[misc]
        if init is object.__init__:
            return CallSignature(_nothing)
        return CallSignature(init, bound=True)

    def __getattr__(self, name: str) -> Any:
        cls = self.__dict__.get("_cls")  # none yet on its way out of a pickle
        if cls is None or (name.startswith("__") and name.endswith("__")):
            raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")
        try:
            return getattr(cls, name)
        except AttributeError:
            text = f"'ActorClass({cls.__name__})' object has no attribute '{name}'"
            raise AttributeError(text) from None

    @property
    def __ray_actor_class__(self) -> type:
        """The class as it was before `@remote`."""
        return self._cls

    @property
    def __ray_metadata__(self) -> types.SimpleNamespace:
        """Facts about the class under Ray's names: `modified_class` is the plain class."""
        return types.SimpleNamespace(
            modified_class=self._cls, class_name=self._cls.__name__, language="PYTHON"
        )

    def __mro_entries__(self, bases: tuple[Any, ...]) -> NoReturn:
        raise ActorClassInheritanceException(
            f"Attempted to define a subclass of the actor class {self._cls.__name__}. Inheriting "
            "from actor classes is not supported: derive from the class as it was before @remote."
        )

    def __call__(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Actors are made by `.remote`: this raises `TypeError`."""
        name = self._cls.__name__
        raise TypeError(
            f"Actors cannot be instantiated directly. Instead of '{name}()', use '{name}.remote()'."
        )

    def remote(self, *args: Any, **kwargs: Any) -> ActorHandle:
        """Make an actor; the arguments go to ``__init__``. Returns at once."""
        return self._create(args, kwargs, self._default_options)

    def options(self, **overrides: Any) -> OptionedClass:
        """This class with other options, for actors made by the returned object's `.remote`."""
        merged = merge(self._default_options, actor_overrides(**overrides))
        return OptionedClass(self, merged)

    def _remote(
        self,
        args: tuple[Any, ...] | None = None,
        kwargs: dict[str, Any] | None = None,
        **options: Any,
    ) -> ActorHandle:
        target = self.options(**options) if options else self
        return target.remote(*(args or ()), **(kwargs or {}))

    def bind(self, *args: Any, **kwargs: Any) -> Any:
        """A node of a task graph, to be run by its `execute`."""
        from ray_on_dask.dag import ClassNode

        return ClassNode(self, args, kwargs)

    # -- making ----------------------------------------------------------------------

    def _create(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], options: dict[str, Any]
    ) -> ActorHandle:
        session = running_session()
        check_at_call(options, "actor", self.methods.is_async)
        self._signature.check(args, kwargs)
        if session is None:
            local = local_session()
            return local.make_actor(self, options, args, kwargs)
        namespace = options.get("namespace") or session.config.namespace
        name = options.get("name") or ""
        id = bytes.fromhex(session.name) + os.urandom(8)
        if name:
            wanted = {"name": name, "namespace": namespace, "actor": id}
            taken = session.asking.ask("reserve_actor_name", **wanted)
            while taken and not taken["actor"] and options.get("get_if_exists"):
                time.sleep(0.01)  # another process is about to make it, or dies
                taken = session.asking.ask("reserve_actor_name", **wanted)
            if taken:
                return self._taken(session, taken, name, namespace, options)
        spec = self._spec(session, id, args, kwargs, options, name, namespace)
        return self._submit(session, spec)

    def _taken(
        self,
        session: Any,
        found: dict[str, Any],
        name: str,
        namespace: str,
        options: dict[str, Any],
    ) -> ActorHandle:
        if options.get("get_if_exists"):
            return handle_for(session, found)
        from ray_on_dask.exceptions import ActorAlreadyExistsError

        raise ActorAlreadyExistsError(
            f"The name {name} (namespace={namespace}) is already taken. Please use a different "
            "name, or get the existing actor using ray.get_actor(name)."
        )

    def _spec(
        self, session: Any, id: bytes, args: tuple[Any, ...], kwargs: dict[str, Any],
        options: dict[str, Any], name: str, namespace: str,
    ) -> tuple[m.ActorSpec, arguments.Arguments]:  # fmt: skip
        function, pickled, closure = self._define(session)
        packed = arguments.EMPTY
        if args or kwargs or closure:
            packed = arguments.pack(session, args, kwargs, "argument")
            packed.inner = (*packed.inner, *closure)
        placement, lifetime = resources_of(options, "actor")
        strategy, group, captures = strategy_of(options, lifetime, session)
        if group:
            placement = dict(lifetime)
        is_async = self.methods.is_async
        concurrency = options.get("max_concurrency") or 0
        groups = options.get("concurrency_groups") or {}
        if isinstance(groups, list):
            groups = {entry["name"]: entry["max_concurrency"] for entry in groups}
        out_of_order = options.get("allow_out_of_order_execution")
        if out_of_order is None:
            out_of_order = is_async or concurrency > 1 or bool(groups)
        spec = m.ActorSpec(
            id=id, function=function, pickled=pickled, class_name=self._cls.__name__,
            args=packed.value, dependencies=[], placement=placement, lifetime=lifetime, name=name,
            namespace=namespace, detached=options.get("lifetime") == "detached",
            max_restarts=options.get("max_restarts") or 0,
            max_task_retries=options.get("max_task_retries") or 0,
            max_concurrency=concurrency, concurrency_groups=groups, is_async=is_async,
            max_pending_calls=_or(options.get("max_pending_calls"), -1), out_of_order=out_of_order,
            runtime_env=runtime_env(options, session), strategy=strategy,
            methods=self.methods.pickle(),
            checkpoint_interval=max(0, options.get("checkpoint_interval") or 0),
            placement_group=group, captures=captures,
        )  # fmt: skip
        return spec, packed

    def _submit(self, session: Any, made: tuple[m.ActorSpec, arguments.Arguments]) -> ActorHandle:
        spec, packed = made
        return session.creating.create(spec, packed, self.methods)

    def _define(self, session: Any) -> tuple[bytes, bytes, list[Any]]:
        """The class's id, its pickle, and the refs in its closure."""
        if self._session is not session.session:
            if self._pickled is None or self._session is not None:
                self._pickling = True
                try:
                    self._pickled = pickle_function(self._cls)
                finally:
                    self._pickling = False
            name = f"{self.__module__}.{self._cls.__qualname__}"
            with session.lock:
                for ref in self._pickled[1]:
                    session.references.promote(ref)
            self._function = session.functions.define(name, self._pickled[0])
            self._session = session.session  # at the end: other threads go by it
        assert self._pickled is not None
        return self._function, *self._pickled

    def __reduce__(self) -> tuple[Any, ...]:
        if self._pickled is not None and not self._pickling and not self._pickled[1]:
            return _from_pickle, (self._pickled[0], self._default_options)
        return _Rebuilt, (), {"cls": self._cls, "options": self._default_options}

    def __repr__(self) -> str:
        return f"ActorClass({self._cls.__name__})"


class OptionedClass:
    """An actor class with some options changed: what `.options` returns."""

    def __init__(self, cls: ActorClass, options: dict[str, Any]):
        self._class = cls
        self._options = options

    def remote(self, *args: Any, **kwargs: Any) -> ActorHandle:
        """Make an actor with these options."""
        return self._class._create(args, kwargs, self._options)

    def bind(self, *args: Any, **kwargs: Any) -> Any:
        """A node of a task graph, with these options."""
        from ray_on_dask.dag import ClassNode

        return ClassNode(self, args, kwargs)


class _Rebuilt(ActorClass):
    """An actor class on its way out of a pickle: it is whole when its state has come."""

    def __init__(self) -> None:
        pass

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__class__ = ActorClass  # type: ignore[assignment]
        ActorClass.__init__(self, state["cls"], state["options"])


def _from_pickle(pickled: bytes, options: dict[str, Any]) -> ActorClass:
    """An actor class from the pickle that its first user made."""
    from ray_on_dask.serialization import deserialize

    made = ActorClass(deserialize(pickled), options)
    made._pickled = (pickled, [])
    return made


def _nothing() -> None:
    """The signature of a class without an ``__init__``."""


def _or(value: Any, default: Any) -> Any:
    return default if value is None else value
