"""The arguments of one call: serialized at call time, refs among them kept apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ray_on_dask.ids import PUT_INDEX
from ray_on_dask.runtime.object_ref import Entry, ObjectRef, ref_to
from ray_on_dask.runtime.storing import INLINE_MAX
from ray_on_dask.serialization import deserialize, explain_failure, serialize, to_bytes
from ray_on_dask.wire.messages import INLINE, PENDING, STORED, Dependency, Task, Value

if TYPE_CHECKING:
    from ray_on_dask.runtime.process import Process

#: What `((), {})` is on the wire: calls without arguments send no pickle.
NO_ARGUMENTS = Value(INLINE, b"")
#: `Dependency.place` of arguments that went to the store as a whole.
ALL = -1


class Arguments:
    """What a call was given: its serialized form, and the refs that live as long as it does."""

    __slots__ = ("dependencies", "handle", "inner", "value")

    def __init__(self) -> None:
        self.value = NO_ARGUMENTS
        #: (position or keyword, ref) of each argument that is a ref itself.
        self.dependencies: Sequence[tuple[int | str, ObjectRef[Any]]] = ()
        #: Refs inside other arguments: sent as refs.
        self.inner: Sequence[ObjectRef[Any]] = ()
        #: Counts the handle by which an actor was called.
        self.handle: ObjectRef[Any] | None = None


EMPTY = Arguments()
#: Of tasks without any, shared: never changed.
NO_DEPENDENCIES: list[Dependency] = []


def pack(process: Process, args: Sequence[Any], kwargs: Mapping[str, Any], what: str) -> Arguments:
    """Serialize arguments; `TypeError` naming what cannot be pickled. `what` is for that text."""
    packed = Arguments()
    given_args, given_kwargs = args, kwargs
    found: list[tuple[int | str, ObjectRef[Any]]] = [
        (place, process.as_ref(arg))
        for place, arg in enumerate(args)
        if isinstance(arg, ObjectRef) or _is_dask_future(arg)
    ]
    for key, arg in kwargs.items():
        if isinstance(arg, ObjectRef) or _is_dask_future(arg):
            found.append((key, process.as_ref(arg)))
    if kwargs or len(set(map(id, args))) < len(args):
        _separate(process, found, args, kwargs)
    if found:
        args, kwargs = _without(found, args, kwargs)
    try:
        serialized = serialize((tuple(args), dict(kwargs)))
    except Exception as error:
        raise explain_failure((given_args, given_kwargs), what, error) from error
    if serialized.inner:
        packed.inner = tuple(serialized.inner)
    if serialized.size <= INLINE_MAX:
        packed.value = Value(INLINE, to_bytes(serialized))
    else:
        entry = Entry(process.task_ids.next() + PUT_INDEX)
        entry.share().label = "arguments"
        ref = ref_to(entry)
        process.storing.store_value(entry, serialized)
        found.append((ALL, ref))
    if found:
        packed.dependencies = tuple(found)
    return packed


_IMMUTABLE = (int, float, bool, str, bytes, type(None))


def _separate(
    process: Process,
    found: list[tuple[int | str, ObjectRef[Any]]],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
) -> None:
    """One object given twice arrives as two: all but the first are stored by themselves."""
    seen: set[int] = set()
    taken = {place for place, _ in found}
    places: list[tuple[int | str, Any]] = [*enumerate(args), *kwargs.items()]
    for place, arg in places:
        if isinstance(arg, _IMMUTABLE) or place in taken:
            continue
        if id(arg) in seen:
            found.append((place, process.storing.put(arg)))
        seen.add(id(arg))


def _is_dask_future(arg: Any) -> bool:
    kind = type(arg)
    return kind.__name__ == "Future" and kind.__module__.startswith("distributed")


def _without(
    found: Sequence[tuple[int | str, Any]], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[list[Any], dict[str, Any]]:
    """The arguments with None where refs were."""
    plain, named = list(args), dict(kwargs)
    for place, _ in found:
        if isinstance(place, int):
            plain[place] = None
        else:
            named[place] = None
    return plain, named


def pending_of(packed: Arguments) -> list[Entry]:
    """Entries of dependencies that are not there yet, each once."""
    return list(
        {
            ref._entry.id: ref._entry
            for _, ref in packed.dependencies
            if ref._entry.kind == PENDING
        }.values()
    )


def attach(process: Process, task: Task, packed: Arguments) -> None:
    """Put the dependencies, all of them there, into the task; promote what becomes known by it."""
    references = process.references
    for ref in packed.inner:
        references.promote(ref)
    dependencies = []
    for place, ref in packed.dependencies:
        entry = ref._entry
        if entry.kind == STORED:
            references.promote(ref)
        dependencies.append(Dependency(place, entry.id, references.value_of(entry)))
    task.dependencies = dependencies


def unpack(process: Process, task: Task) -> tuple[list[Any], dict[str, Any]]:
    """The arguments as the function gets them, in the process that runs it."""
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    if task.args.data:
        given, kwargs = deserialize(task.args.data)
        args = list(given)
    if not task.dependencies:
        return args, kwargs
    opening = process.storing.opening
    asked = process.storing.to_be_opened(task.dependencies)
    held = opening.hold(process.storing.lent(asked), None) if asked else None
    try:
        return _load(process, task.dependencies, args, kwargs)
    finally:
        if held:
            opening.release(held)


async def unpack_on_loop(process: Process, task: Task) -> tuple[list[Any], dict[str, Any]]:
    """Likewise in an event loop, which goes on while the node is asked for what is stored."""
    opening = process.storing.opening
    asked = process.storing.to_be_opened(task.dependencies) if task.dependencies else None
    held = await opening.held(process.storing.lent(asked)) if asked else None
    try:
        return unpack(process, task)
    finally:
        if held:
            opening.release(held)


def _load(
    process: Process, rest: list[Dependency], args: list[Any], kwargs: dict[str, Any]
) -> tuple[list[Any], dict[str, Any]]:
    """Put the values of refs where they belong."""
    load = process.storing.load_dependency
    if rest[-1].place == ALL:
        given, kwargs = load(rest[-1])
        args, rest = list(given), rest[:-1]
    for dependency in rest:
        value = load(dependency)
        if isinstance(dependency.place, int):
            args[dependency.place] = value
        else:
            kwargs[dependency.place] = value
    return args, kwargs
