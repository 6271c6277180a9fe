"""Calls of a threaded actor that have an argument in common, and what ends while others go on."""

from __future__ import annotations

import gc
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

SIZE = 50_000
LIMIT = 20.0


@pytest.fixture
def ray(ray_session: Any) -> Any:
    return ray_session()


def test_a_call_that_has_read_an_argument_does_not_close_it_for_another(ray: Any) -> None:
    @ray.remote(max_concurrency=2)
    class Reader:
        def __init__(self) -> None:
            from ray_on_dask.runtime import storing

            self.first = threading.Event()
            self.second = threading.Event()
            read = storing.deserialize_view

            def late(view: Any) -> Any:
                if self.first.is_set():
                    self.second.set()
                    time.sleep(0.2)  # the other call has read it, and closes it
                else:
                    self.first.set()
                    self.second.wait(LIMIT)
                return read(view)

            storing.deserialize_view = late

        def total(self, array: Any) -> int:
            return int(array.sum())

    reader, ref = Reader.remote(), ray.put(np.ones(SIZE))

    assert ray.get([reader.total.remote(ref) for _ in range(2)], timeout=LIMIT) == [SIZE] * 2


def test_an_argument_that_another_call_drops_just_now_is_kept(ray: Any) -> None:
    """What is dropped is looked at whenever somebody leads: here just after it was found again."""

    @ray.remote(max_concurrency=2)
    class Keeper:
        def keep(self, array: Any) -> None:
            self.kept = array

        def keep_again(self) -> None:
            """From now on, what is kept is dropped when an argument is about to be read."""
            from ray_on_dask.runtime import current, storing

            process: Any = current.process
            read, value = storing.deserialize_view, process.getting.value

            def drop() -> None:
                self.kept = None
                gc.collect()
                with process.lock:
                    process.references.drain()

            def late_read(view: Any) -> Any:
                drop()
                return read(view)

            def late_value(*args: Any) -> Any:
                drop()
                return value(*args)

            storing.deserialize_view, process.getting.value = late_read, late_value

        def total(self) -> float:
            return float(self.kept.sum())

    keeper = Keeper.remote()
    ref = ray.put(np.ones(SIZE))
    ray.get([keeper.keep.remote(ref), keeper.keep_again.remote()])
    ray.get(keeper.keep.remote(ref))

    del ref
    end = time.monotonic() + 1.0
    while time.monotonic() < end:
        ray.put(np.zeros(SIZE))
        time.sleep(0.02)

    assert ray.get(keeper.total.remote()) == SIZE


def test_an_argument_that_cannot_be_read_is_let_go(ray: Any) -> None:
    class Broken:
        def __init__(self) -> None:
            self.array = np.ones(SIZE)

        def __setstate__(self, state: Any) -> None:
            raise ValueError("it cannot be read")

    @ray.remote(max_concurrency=2)
    class Reader:
        def read(self, value: Any) -> None:
            pass

        def known(self) -> int:
            from ray_on_dask.runtime import current

            process: Any = current.process
            with process.lock:
                return sum(not entry.alive for entry in process.references.known.values())

    reader, ref = Reader.remote(), ray.put(Broken())
    with pytest.raises(ValueError, match="it cannot be read"):
        ray.get(reader.read.remote(ref))

    end = time.monotonic() + LIMIT
    while ray.get(reader.known.remote()):
        assert time.monotonic() < end, "it is held for ever"
        time.sleep(0.05)


def test_an_actor_that_several_threads_end_ends_once(ray: Any, tmp_path: Path) -> None:
    from ray_on_dask.exceptions import ActorDiedError

    @ray.remote(max_concurrency=4)
    class Ending:
        def __init__(self, path: str) -> None:
            import atexit

            self.together = threading.Barrier(4)

            def at_exit() -> None:
                with open(path, "a") as file:
                    file.write("end\n")
                time.sleep(0.2)

            atexit.register(at_exit)

        def end(self) -> None:
            self.together.wait(LIMIT)
            ray.actor.exit_actor()

    path = tmp_path / "ends"
    ending = Ending.remote(str(path))
    for ref in [ending.end.remote() for _ in range(4)]:
        with pytest.raises(ActorDiedError):
            ray.get(ref, timeout=LIMIT)

    assert path.read_text() == "end\n"
