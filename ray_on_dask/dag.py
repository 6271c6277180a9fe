"""Graphs of calls that are bound now and run later: `f.bind(...)`, then `node.execute(...)`.

A graph is run by submitting its nodes as tasks and actor calls; a node that is used twice runs
once. Actors of class nodes are made at the first run and kept for later ones.
"""

from __future__ import annotations

import threading
from typing import Any

__all__ = [
    "ClassMethodNode", "ClassNode", "DAGNode", "FunctionNode", "InputAttributeNode", "InputNode",
    "MultiOutputNode",
]  # fmt: skip


class _Run:
    """One run of a graph: what it was given, and what its nodes have come to."""

    def __init__(self, args: tuple[Any, ...], kwargs: dict[str, Any]):
        self.args = args
        self.kwargs = kwargs
        self.done: dict[int, Any] = {}


class DAGNode:
    """A call, or an input, of a graph."""

    def __init__(self, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None):
        self._args = args
        self._kwargs = kwargs or {}

    def execute(self, *args: Any, **kwargs: Any) -> Any:
        """Run the graph that ends here.

        Parameters
        ----------
        *args, **kwargs
            What the graph's `InputNode` stands for.

        Returns
        -------
        ObjectRef, or a list of them for a `MultiOutputNode`
        """
        return self._result(_Run(args, kwargs))

    def _result(self, run: _Run) -> Any:
        key = id(self)
        if key not in run.done:
            run.done[key] = self._run(run)
        return run.done[key]

    def _run(self, run: _Run) -> Any:
        raise TypeError(f"{type(self).__name__} cannot be executed by itself")

    def _arguments(self, run: _Run) -> tuple[list[Any], dict[str, Any]]:
        args = [_settle(value, run) for value in self._args]
        return args, {name: _settle(value, run) for name, value in self._kwargs.items()}


def _settle(value: Any, run: _Run) -> Any:
    """A value with the nodes in it (at the top, and in lists, tuples and dicts) run."""
    if isinstance(value, DAGNode):
        return value._result(run)
    if type(value) in (list, tuple):
        return type(value)(_settle(item, run) for item in value)
    if type(value) is dict:
        return {key: _settle(item, run) for key, item in value.items()}
    return value


class FunctionNode(DAGNode):
    """A call of a remote function, from its `bind`."""

    def __init__(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]):
        super().__init__(args, kwargs)
        self._function = function

    def _run(self, run: _Run) -> Any:
        args, kwargs = self._arguments(run)
        return self._function.remote(*args, **kwargs)


class ClassNode(DAGNode):
    """An actor to be made, from a class's `bind`; its methods have a `bind` too."""

    def __init__(self, cls: Any, args: tuple[Any, ...], kwargs: dict[str, Any]):
        super().__init__(args, kwargs)
        self._class = cls
        self._actor: Any = None
        self._lock = threading.Lock()

    def _run(self, run: _Run) -> Any:
        with self._lock:
            if self._actor is None:
                args, kwargs = self._arguments(run)
                self._actor = self._class.remote(*args, **kwargs)
            return self._actor

    def __getattr__(self, name: str) -> _Unbound:
        if name.startswith("_"):
            raise AttributeError(name)
        return _Unbound(self, name)


class _Unbound:
    """A method of an actor that is not made yet."""

    def __init__(self, node: ClassNode, name: str):
        self._node = node
        self._name = name

    def bind(self, *args: Any, **kwargs: Any) -> ClassMethodNode:
        """A call of the method."""
        return ClassMethodNode(self._node, self._name, args, kwargs, {})


class ClassMethodNode(DAGNode):
    """A call of an actor's method, from the method's `bind`."""

    def __init__(
        self,
        actor: Any,
        name: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        options: dict[str, Any],
    ):
        super().__init__(args, kwargs)
        self._actor = actor
        self._name = name
        self._options = options

    def _run(self, run: _Run) -> Any:
        args, kwargs = self._arguments(run)
        method = getattr(_settle(self._actor, run), self._name)
        if self._options:
            method = method.options(**self._options)
        return method.remote(*args, **kwargs)


class InputNode(DAGNode):
    """What the graph is given when it is run; ``with InputNode() as x:`` while it is bound.

    ``x`` is the one argument of `execute`; ``x[i]`` and ``x.name`` are one of several.
    """

    def __enter__(self) -> InputNode:
        return self

    def __exit__(self, *exception: object) -> None:
        """Nothing to do: the graph is bound."""

    def __getitem__(self, key: int | str) -> InputAttributeNode:
        return InputAttributeNode(key)

    def __getattr__(self, name: str) -> InputAttributeNode:
        if name.startswith("_"):
            raise AttributeError(name)
        return InputAttributeNode(name)

    def _run(self, run: _Run) -> Any:
        if len(run.args) != 1 or run.kwargs:
            raise ValueError(
                f"the graph's input is used as a whole, so execute() takes one argument, got "
                f"{len(run.args) + len(run.kwargs)}; bind input[i] or input.name to take several"
            )
        return run.args[0]


class InputAttributeNode(DAGNode):
    """One of the arguments that the graph is given."""

    def __init__(self, key: int | str):
        super().__init__()
        self._key = key

    def _run(self, run: _Run) -> Any:
        try:
            return run.args[self._key] if isinstance(self._key, int) else run.kwargs[self._key]
        except (IndexError, KeyError):
            raise ValueError(f"execute() was not given the graph's input {self._key!r}") from None


class MultiOutputNode(DAGNode):
    """Several ends of one graph."""

    def __init__(self, nodes: list[DAGNode]):
        super().__init__(tuple(nodes))

    def _run(self, run: _Run) -> list[Any]:
        return self._arguments(run)[0]
