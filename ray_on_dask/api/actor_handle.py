"""Handles of actors, and their methods."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any, NoReturn

from ray_on_dask.api.options import merge, method_overrides
from ray_on_dask.api.session import local_session, running_session
from ray_on_dask.api.signature import CallSignature
from ray_on_dask.ids import ActorID
from ray_on_dask.runtime import arguments, current
from ray_on_dask.runtime.current import require
from ray_on_dask.runtime.object_ref import ObjectRef
from ray_on_dask.serialization import without_refs
from ray_on_dask.wire import messages as m

#: What every object has is the handle's own; other special methods are the actor's.
_OBJECT_HAS = frozenset(dir(type("", (), {})))
_SPECIAL = ("__ray_ready__", "__ray_call__", "__ray_terminate__")


@dataclass(slots=True)
class MethodPlan:
    """How calls of a method are made: what follows from the handle and the options alone."""

    signature: CallSignature | None
    #: What the function table knows the class by.
    function: bytes
    returns: int
    #: Of `Task`.
    flags: int
    #: What people call the task.
    name: str
    backpressure: int
    group: str
    retries: int
    exceptions: bool | tuple[type[BaseException], ...]
    out_of_order: bool
    max_pending: int
    ref: ObjectRef[Any] | None


class Methods:
    """The methods of a class, as its handles know them."""

    def __init__(self) -> None:
        self.signatures: dict[str, CallSignature] = {}
        self.options: dict[str, dict[str, Any]] = {}
        self.generators: set[str] = set()
        self.is_async = False

    @classmethod
    def of(cls, actor_class: type) -> Methods:
        """Look through a class."""
        methods = cls()
        for name, value in _members(actor_class).items():
            function = value
            bound = True
            if isinstance(value, staticmethod | classmethod):
                function, bound = value.__func__, isinstance(value, classmethod)
            if not inspect.isroutine(function) and not _is_cython(function):
                continue
            if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
                methods.is_async = True
            if name in _OBJECT_HAS:
                continue
            methods.signatures[name] = CallSignature(function, bound)
            methods.options[name] = getattr(function, "__ray_method_options__", {})
            if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
                methods.generators.add(name)
        return methods

    def pickle(self) -> bytes:
        """For handles in other processes."""
        import cloudpickle

        facts = (
            {name: signature.signature for name, signature in self.signatures.items()},
            self.options, self.generators, self.is_async,
        )  # fmt: skip
        try:
            data: bytes = without_refs(cloudpickle.dumps, facts)
        except Exception:  # defaults that cannot be pickled: calls are checked where they run
            data = cloudpickle.dumps((dict.fromkeys(self.signatures), *facts[1:]))
        return data

    @classmethod
    def unpickle(cls, data: bytes) -> Methods:
        """What `pickle` has made."""
        import pickle

        methods = cls()
        signatures, methods.options, methods.generators, methods.is_async = pickle.loads(data)
        for name, signature in signatures.items():
            methods.signatures[name] = CallSignature.of(signature)
        return methods


def _members(actor_class: type) -> dict[str, Any]:
    """All attributes of a class, inherited ones too, as they are defined."""
    members: dict[str, Any] = {}
    for base in reversed(actor_class.__mro__[:-1]):
        members.update(vars(base))
    return members


def _is_cython(value: Any) -> bool:
    return type(value).__name__ == "cython_function_or_method"


class ActorHandle:
    """A handle of an actor: ``handle.method.remote(...)`` calls it.

    Handles may be passed anywhere; while any is left, the actor lives. Two handles of one actor
    are equal.
    """

    def __init__(
        self, id: bytes, class_name: str, methods: Methods, facts: dict[str, Any],
        ref: ObjectRef[Any] | None,
    ):  # fmt: skip
        self._id = id
        self._class_name = class_name
        self._methods = methods
        self._facts = facts
        #: Counts this handle; None in weak handles, from `get_actor`.
        self._ref = ref
        #: How methods are called, by name; none of it refers to this handle.
        self._plans: dict[str, MethodPlan] = {}
        self._session = getattr(current.process, "session", None)

    def __getattr__(self, name: str) -> ActorMethod:
        methods = self.__dict__.get("_methods")  # none yet while the handle is being made
        if methods is None or (name not in methods.signatures and name not in _SPECIAL):
            raise AttributeError(f"'ActorHandle' object has no attribute '{name}'")
        return ActorMethod(self, name)

    @property
    def _actor_id(self) -> ActorID:
        return ActorID(self._id)

    _ray_actor_id = _actor_id

    def __dir__(self) -> list[str]:
        return [*self._methods.signatures, *_SPECIAL]

    def __repr__(self) -> str:
        return f"Actor({self._class_name}, {self._id.hex()})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ActorHandle) and other._id == self._id

    def __hash__(self) -> int:
        return hash(int.from_bytes(self._id, "little"))  # the same in every process

    def __reduce__(self) -> tuple[Any, ...]:
        ref = self._ref
        if ref is None:  # a weak handle becomes a counted one for whoever gets it
            ref = require().references.received(self._id)
        return _restore, (
            self._id, self._class_name, self._methods.pickle(), self._facts, ref,
        )  # fmt: skip


class ActorMethod:
    """A method of an actor, to be called with `.remote(...)`."""

    __slots__ = ("_handle", "_name", "_options")

    def __init__(self, handle: ActorHandle, name: str, options: dict[str, Any] | None = None):
        self._handle = handle
        self._name = name
        self._options = options

    def __call__(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Methods run elsewhere: this raises `TypeError`."""
        name = self._name
        raise TypeError(
            f"Actor methods cannot be called directly. Instead of running 'object.{name}()', "
            f"try 'object.{name}.remote()'."
        )

    def options(self, **overrides: Any) -> ActorMethod:
        """This method with other options, for calls of the returned object's `.remote`."""
        given = method_overrides(**overrides)
        base = self._handle._methods.options.get(self._name, {})
        return ActorMethod(self._handle, self._name, merge(self._options or base, given))

    def bind(self, *args: Any, **kwargs: Any) -> Any:
        """A node of a task graph, to be run by its `execute`."""
        from ray_on_dask.dag import ClassMethodNode

        return ClassMethodNode(self._handle, self._name, args, kwargs, self._options or {})

    def _remote(
        self,
        args: tuple[Any, ...] | None = None,
        kwargs: dict[str, Any] | None = None,
        **options: Any,
    ) -> Any:
        target = self.options(**options) if options else self
        return target.remote(*(args or ()), **(kwargs or {}))

    def remote(self, *args: Any, **kwargs: Any) -> Any:
        """Call the method; its ref, list of refs, generator of refs, or None. Returns at once."""
        handle, name = self._handle, self._name
        plan = handle._plans.get(name) if self._options is None else None
        if plan is None:
            plan = self._plan()
        if plan.signature is not None:
            plan.signature.check(args, kwargs)
        session = running_session()
        if session is None:
            shape = plan.returns, plan.flags
            return local_session().call_actor(handle, name, self._chosen(), shape, args, kwargs)
        if handle._session is not session.session:
            raise RuntimeError(f"Failed to submit task to actor {handle!r}: its session has ended.")
        packed = arguments.EMPTY
        if args or kwargs:
            packed = arguments.pack(session, args, kwargs, "argument")
        elif plan.ref is not None:
            packed = arguments.Arguments()
        task = m.Task(
            session.task_ids.next(), plan.function, packed.value, arguments.NO_DEPENDENCIES,
            plan.returns, plan.flags, 0, plan.name, name, plan.backpressure, plan.group,
        )  # fmt: skip
        return session.calling.call(handle._id, task, packed, plan)

    def _chosen(self) -> dict[str, Any]:
        if self._options is not None:
            return self._options
        return self._handle._methods.options.get(self._name, _NO_OPTIONS)

    def _plan(self) -> MethodPlan:
        """What calls have in common; the handle keeps it for calls without `options`."""
        handle, name, options = self._handle, self._name, self._chosen()
        facts = handle._facts
        group = options.get("concurrency_group") or ""
        if group and group not in facts["groups"]:
            raise ValueError(
                f"{group!r} is no concurrency group of {handle._class_name}; it has "
                f"{sorted(facts['groups']) or 'none'}"
            )
        retries = options.get("max_task_retries")
        exceptions = options.get("retry_exceptions") or False
        returns, flags = self._returns(options)
        plan = MethodPlan(
            handle._methods.signatures.get(name), facts["function"], returns, flags,
            options.get("name") or f"{handle._class_name}.{name}",
            max(0, options.get("_generator_backpressure_num_objects") or 0), group,
            facts["retries"] if retries is None else retries,
            exceptions if isinstance(exceptions, bool) else tuple(exceptions),
            facts["out_of_order"], facts["max_pending"], handle._ref,
        )  # fmt: skip
        if self._options is None:
            handle._plans[name] = plan
        return plan

    def _returns(self, options: dict[str, Any]) -> tuple[int, int]:
        returns = options.get("num_returns")
        if returns is None:
            streams = self._name in self._handle._methods.generators
            return (0, m.METHOD | m.STREAM) if streams else (1, m.METHOD)
        if returns == "streaming":
            return 0, m.METHOD | m.STREAM
        if returns == "dynamic":
            return 1, m.METHOD | m.DYNAMIC
        return returns, m.METHOD


_NO_OPTIONS: dict[str, Any] = {}


def facts_of(spec: m.ActorSpec) -> dict[str, Any]:
    """What a handle has to know of its actor."""
    return {
        "function": spec.function, "groups": list(spec.concurrency_groups),
        "retries": spec.max_task_retries, "out_of_order": spec.out_of_order,
        "max_pending": spec.max_pending_calls,
    }  # fmt: skip


def handle_for(session: Any, found: dict[str, Any]) -> ActorHandle:
    """A weak handle for an actor that the control store has found by name."""
    facts = {
        "function": found["function"], "groups": list(found["concurrency_groups"]),
        "retries": found["max_task_retries"], "out_of_order": found["out_of_order"],
        "max_pending": found["max_pending_calls"],
    }  # fmt: skip
    return ActorHandle(
        found["actor"], found["class_name"], Methods.unpickle(found["methods"]), facts, None
    )


def _restore(
    id: bytes, class_name: str, methods: bytes, facts: dict[str, Any], ref: ObjectRef[Any] | None
) -> ActorHandle:
    """A handle that has come from another process."""
    return ActorHandle(id, class_name, Methods.unpickle(methods), facts, ref)
