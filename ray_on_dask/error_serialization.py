"""Exceptions as bytes that can always be read again, if not always as the same class.

Beside the pickle goes the text of the error, so that whatever fails to be
pickled, or cannot be unpickled where it arrives, still tells what happened.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from functools import partial
from typing import Any

from ray_on_dask.exceptions import RayError, RayTaskError, UnserializableException
from ray_on_dask.serialization import collecting, without_refs


def _cloudpickle(value: Any) -> bytes:
    import cloudpickle

    data: bytes = cloudpickle.dumps(value, protocol=5)
    return data


def _cloudpickle_without_refs(value: Any) -> bytes:
    return without_refs(_cloudpickle, value)


def dumps_error(
    err: BaseException, dumps: Callable[[Any], bytes] = _cloudpickle_without_refs
) -> bytes:
    """The error as bytes for `loads_error`.

    Nothing is raised for an error that cannot be pickled: a `RayTaskError`
    then carries the text of its cause in the cause's place, and any other
    error becomes a `RayError` with its text.

    Parameters
    ----------
    err : BaseException
        A dual goes as the `RayTaskError` that it stands for.
    dumps : callable, optional
        Pickles a value; cloudpickle by default.
    """
    try:
        pickled = dumps(err)
    except Exception:
        try:
            pickled = _dumps_unchained(err, dumps)
        except Exception as reason:
            pickled = pickle.dumps(_without_what_does_not_pickle(err, reason), protocol=5)
    return pickle.dumps((_text(err), pickled), protocol=5)


def dumps_error_and_refs(err: BaseException) -> tuple[bytes, list[Any]]:
    """The error as from `dumps_error`, and the refs inside it: somebody has to hold them.

    For errors of which nobody holds the refs there is `dumps_error`: it leaves out the whole cause.
    """
    refs: list[Any] = []
    data = dumps_error(err, partial(collecting, refs, _cloudpickle))
    return data, refs


def loads_error(
    data: bytes | memoryview, loads: Callable[[bytes], Any] = pickle.loads
) -> Exception:
    """The error to raise: new at each call, and a dual if it is what a task raised.

    An error whose class cannot be imported here, or cannot be made again,
    comes as an `UnserializableException` with the text of the original.

    Parameters
    ----------
    data : bytes
        From `dumps_error`.
    loads : callable, optional
        The inverse of the `dumps` that was used.
    """
    text, pickled = pickle.loads(data)
    try:
        error = loads(pickled)
    except Exception:
        return UnserializableException(text)
    if isinstance(error, RayTaskError):
        return error.as_instanceof_cause()
    return error if isinstance(error, Exception) else RayError(text)


def _dumps_unchained(err: BaseException, dumps: Callable[[Any], bytes]) -> bytes:
    """Pickle the error without what it was raised from, which its text tells of.

    Exceptions do not pickle that by themselves, but they do once Dask is imported, whose tblib
    sees to it; then one that does not pickle would take the others with it.
    """
    cause = getattr(err, "cause", None)
    top = cause if isinstance(cause, BaseException) else err
    chain = top.__cause__, top.__context__, top.__traceback__, top.__suppress_context__
    top.__cause__ = top.__context__ = top.__traceback__ = None
    try:
        return dumps(err)
    finally:
        top.__cause__, top.__context__, top.__traceback__ = chain[:3]
        top.__suppress_context__ = chain[3]


def _text(err: BaseException) -> str:
    kind = type(err)
    try:
        return f"{kind.__module__}.{kind.__qualname__}: {err}"
    except Exception:
        return f"{kind.__module__}.{kind.__qualname__} (its text cannot be made)"


def _without_what_does_not_pickle(err: BaseException, reason: Exception) -> RayError:
    if not isinstance(err, RayTaskError):
        return RayError(f"{_text(err)}\n(The exception cannot be pickled: {reason})")
    plain: RayTaskError = getattr(err, "_ray_task_error", err)
    cause = RayError(
        f"{_text(plain.cause)}\n(The exception cannot be pickled: {reason})\n{plain.traceback_str}"
    )
    replaced = RayTaskError(plain.function_name, plain.traceback_str, cause)
    replaced.__dict__.update({**plain.__dict__, "cause": cause})
    return replaced
