"""Refs on all their ways between real processes: nothing reachable is lost, nothing else is kept.

`Trace` looks in the directory and in the store: when nobody can reach an object any more,
both are within two seconds as they were before.
"""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Callable, Iterator
from time import monotonic, sleep
from typing import Any

import numpy as np
import pytest

from ray_on_dask.exceptions import OwnerDiedError
from ray_on_dask.runtime import current

#: Seconds in which what nobody can reach is freed.
LIMIT = 2.0
#: Bytes: in its owner, in the directory; too large for that, and always in shared memory.
SIZES = {"small": 100, "medium": 50_000, "large": 1_000_000}


every_size = pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)


def value(size: int) -> np.ndarray:
    return np.full(size, 7, np.uint8)


def whole(array: np.ndarray, size: int) -> bool:
    return len(array) == size and int(array.min()) == int(array.max()) == 7


class Trace:
    """What the session has of objects, and had before."""

    def __init__(self) -> None:
        self.ids, self.used = self.now()

    @staticmethod
    def now() -> tuple[set[str], int]:
        gc.collect()
        process = current.require()
        process.flush()
        entries = process.asking.ask("objects")
        ids = {entry["object_id"] for entry in entries}
        return {id for id in ids if len(id) == 40}, process.storing.store.total_used()

    def gone(self) -> None:
        """Wait until nothing is left; fails if that takes too long."""
        end = monotonic() + LIMIT
        while True:
            ids, used = self.now()
            if ids <= self.ids and used <= self.used:
                return
            if monotonic() > end:
                kept = [
                    entry for entry in current.require().asking.ask("objects")
                    if entry["object_id"] not in self.ids
                ]  # fmt: skip
                pytest.fail(f"{used - self.used} bytes and {kept} after {LIMIT:g} s")
            sleep(0.02)


@pytest.fixture(scope="module")
def ray(ray_session: Callable[..., Any]) -> Any:
    ray = ray_session()

    @ray.remote
    def nothing() -> None:
        pass

    ray.get([nothing.remote() for _ in range(4)])
    return ray


@pytest.fixture
def trace(ray: Any) -> Iterator[Trace]:
    trace = Trace()
    yield trace
    trace.gone()


@pytest.fixture(params=["small", "large"])
def size(request: pytest.FixtureRequest) -> int:
    return SIZES[request.param]


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


class Keeper:
    """An actor that keeps what it is given."""

    def __init__(self, *kept: Any) -> None:
        self.kept = list(kept)

    def pid(self) -> int:
        return os.getpid()

    def keep(self, kept: Any) -> None:
        self.kept.append(kept)

    def make(self, size: int) -> Any:
        import ray_on_dask as ray

        return [ray.put(value(size))]

    def make_and_keep(self, size: int) -> Any:
        import ray_on_dask as ray

        self.kept = [[ray.put(value(size))]]
        return self.kept[0]

    def read(self, size: int) -> bool:
        import ray_on_dask as ray

        return whole(ray.get(self.kept[0][0]), size)

    def give(self) -> Any:
        return self.kept.pop()

    def drop(self) -> None:
        self.kept.clear()


# -- where refs can be ------------------------------------------------------------------------


def test_in_the_state_of_an_actor(ray: Any, trace: Trace, size: int) -> None:
    keeper = ray.remote(num_cpus=0)(Keeper).remote()
    ray.get(keeper.keep.remote([ray.put(value(size))]))
    assert ray.get(keeper.read.remote(size), timeout=20)
    ray.get(keeper.drop.remote())


def test_among_what_an_actor_was_made_with(ray: Any, trace: Trace, size: int) -> None:
    keeper = ray.remote(num_cpus=0)(Keeper).remote([ray.put(value(size))])
    assert ray.get(keeper.read.remote(size), timeout=20)


def test_in_the_state_of_an_actor_whose_calls_overlap(ray: Any, trace: Trace, size: int) -> None:
    keeper = ray.remote(num_cpus=0, max_concurrency=4)(Keeper).remote()
    ray.get(keeper.keep.remote([ray.put(value(size))]))
    assert ray.get(keeper.read.remote(size), timeout=20)


@every_size
def test_inside_values_inside_values(ray: Any, trace: Trace, size: int) -> None:
    @ray.remote
    def read(outer: Any) -> bool:
        return whole(ray.get(ray.get(ray.get(outer[0])["inner"])[0]), size)

    ref = ray.put([ray.put(value(size))])
    ref = ray.put({"inner": ref, "weight": value(size)})
    assert whole(ray.get(ray.get(ray.get(ref)["inner"])[0]), size)
    assert ray.get(read.remote([ref]), timeout=20)


@every_size
def test_in_a_result(ray: Any, trace: Trace, size: int) -> None:
    @ray.remote
    def make() -> Any:
        return {"ref": ray.put(value(size)), "weight": value(size)}

    ref = make.remote()
    assert whole(ray.get(ray.get(ref, timeout=20)["ref"], timeout=20), size)
    inner = ray.get(ref)["ref"]
    del ref
    gc.collect()
    sleep(0.3)
    assert whole(ray.get(inner, timeout=20), size)


def test_in_a_result_that_nobody_reads(ray: Any, trace: Trace, size: int) -> None:
    @ray.remote
    def make() -> Any:
        return [ray.put(value(size)), value(size)]

    ray.wait([make.remote()], timeout=20.0)
    make.remote()  # nor waits for
    ray.get(make.remote(), timeout=20)


def test_returned_through_several_processes(ray: Any, trace: Trace, size: int) -> None:
    @ray.remote
    def down(depth: int) -> Any:
        if not depth:
            return [ray.put(value(size))]
        return ray.get(down.remote(depth - 1))

    (ref,) = ray.get(down.remote(3), timeout=30)
    assert whole(ray.get(ref, timeout=20), size)


def test_returned_as_refs_of_refs(ray: Any, trace: Trace, size: int) -> None:
    @ray.remote
    def down(depth: int) -> Any:
        return [down.remote(depth - 1)] if depth else value(size)

    ref = down.remote(3)
    for _ in range(3):
        (ref,) = ray.get(ref, timeout=20)
    assert whole(ray.get(ref, timeout=20), size)


@every_size
def test_sent_back_to_its_owner(ray: Any, trace: Trace, size: int) -> None:
    """It goes to an actor, from there to another, and comes home when it is known no more."""
    first, second = [ray.remote(num_cpus=0)(Keeper).remote() for _ in range(2)]
    ref = ray.put(value(size))
    digits = ref.hex()
    ray.get(first.keep.remote([ref]))
    del ref
    ray.get(second.keep.remote(first.give.remote()))
    (ref,) = ray.get(second.give.remote())
    assert ref.hex() == digits
    assert whole(ray.get(ref, timeout=20), size)


def test_sent_back_to_the_actor_that_owns_it(ray: Any, trace: Trace, size: int) -> None:
    keeper = ray.remote(num_cpus=0)(Keeper).remote()
    refs = ray.get(keeper.make.remote(size))
    ray.get(keeper.keep.remote(refs))
    del refs
    assert ray.get(keeper.read.remote(size), timeout=20)


def test_promised_and_passed_on_before_it_is_there(ray: Any, trace: Trace, size: int) -> None:
    keeper = ray.remote(num_cpus=0)(Keeper).remote()

    @ray.remote
    def late() -> Any:
        sleep(0.3)
        return value(size)

    keeper.keep.remote([late.remote()])
    assert ray.get(keeper.read.remote(size), timeout=20)


# -- closures -----------------------------------------------------------------------------------


def test_in_the_closure_of_a_function(ray: Any, size: int) -> None:
    def make() -> Any:
        ref = ray.put(value(size))

        @ray.remote
        def read() -> bool:
            return whole(ray.get(ref), size)

        return read

    read = make()
    gc.collect()
    assert all(ray.get([read.remote() for _ in range(3)], timeout=20))


def test_in_the_closure_of_a_function_that_is_gone_before_its_tasks_begin(
    ray: Any, size: int
) -> None:
    @ray.remote
    def until(event: str) -> None:
        while not os.path.exists(event):
            sleep(0.01)

    def launch(after: Any) -> Any:
        ref = ray.put(value(size))

        @ray.remote
        def read(_: Any) -> bool:
            return whole(ray.get(ref, timeout=10), size)

        return read.remote(after)

    event = os.path.join(current.require().storing.directory, "x-event")
    waiting = until.remote(event)
    call = launch(waiting)
    gc.collect()
    sleep(0.5)
    with open(event, "w"):
        pass
    assert ray.get(call, timeout=20)
    os.unlink(event)


def test_in_the_closure_of_a_function_of_a_task_that_has_ended(ray: Any, size: int) -> None:
    @ray.remote
    def launch() -> Any:
        ref = ray.put(value(size))

        @ray.remote
        def read() -> bool:
            sleep(0.2)
            return whole(ray.get(ref, timeout=10), size)

        return [read.remote() for _ in range(3)]

    assert all(ray.get(ray.get(launch.remote(), timeout=20), timeout=20))


@pytest.mark.parametrize("size", [SIZES["large"]])
def test_in_the_closure_of_an_actor_class(ray: Any, size: int) -> None:
    """Also of one that is made again when the class is gone."""

    def make() -> Any:
        ref = ray.put(value(size))

        @ray.remote(num_cpus=0, max_restarts=1, max_task_retries=1)
        class Reader:
            def read(self) -> bool:
                return whole(ray.get(ref, timeout=10), size)

            def pid(self) -> int:
                return os.getpid()

        return Reader.remote()

    reader = make()
    gc.collect()
    assert ray.get(reader.read.remote(), timeout=20)
    kill(ray.get(reader.pid.remote()))
    sleep(1.5)  # the dead process's holds have lapsed
    assert ray.get(reader.read.remote(), timeout=20)


# -- deaths -------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [SIZES["large"]])
def test_a_borrower_is_killed_and_its_refs_go_with_it(ray: Any, trace: Trace, size: int) -> None:
    keeper = ray.remote(num_cpus=0)(Keeper).remote()
    pid = ray.get(keeper.pid.remote())
    ray.get(keeper.keep.remote([ray.put(value(size))]))
    assert ray.get(keeper.read.remote(size), timeout=20)
    kill(pid)
    trace.gone()


@pytest.mark.parametrize("size", [SIZES["large"]])
def test_a_borrower_is_killed_and_others_still_read(ray: Any, trace: Trace, size: int) -> None:
    first, second = [ray.remote(num_cpus=0)(Keeper).remote() for _ in range(2)]
    ref = ray.put(value(size))
    ray.get([keeper.keep.remote([ref]) for keeper in (first, second)])
    del ref
    kill(ray.get(first.pid.remote()))
    sleep(1.5)
    assert ray.get(second.read.remote(size), timeout=20)


def test_what_a_killed_owner_has_shared_outlives_it(ray: Any, trace: Trace, size: int) -> None:
    owner, keeper = [ray.remote(num_cpus=0)(Keeper).remote() for _ in range(2)]
    refs = ray.get(owner.make_and_keep.remote(size))
    ray.get(keeper.keep.remote(refs))
    del refs
    kill(ray.get(owner.pid.remote()))
    sleep(1.5)
    assert ray.get(keeper.read.remote(size), timeout=20)
    (ref,) = ray.get(keeper.give.remote())
    del keeper
    assert whole(ray.get(ref, timeout=20), size)


def test_what_a_killed_owner_had_to_itself_goes_with_it(ray: Any, trace: Trace) -> None:
    owner = ray.remote(num_cpus=0)(Keeper).remote()
    pid = ray.get(owner.pid.remote())

    def keep_own(keeper: Any) -> None:
        keeper.kept = [ray.put(value(SIZES["large"])) for _ in range(3)]
        sleep(0.3)  # its node knows them

    ray.get(owner.__ray_call__.remote(keep_own))
    kill(pid)
    trace.gone()


def test_what_a_killed_owner_had_promised_is_an_error(ray: Any, trace: Trace) -> None:
    owner, keeper = [ray.remote(num_cpus=0)(Keeper).remote() for _ in range(2)]

    def promise(_: Any) -> Any:
        @ray.remote
        def slow() -> None:
            sleep(100)

        return [slow.remote()]

    refs = ray.get(owner.__ray_call__.remote(promise))
    ray.get(keeper.keep.remote(refs))
    kill(ray.get(owner.pid.remote()))
    with pytest.raises(OwnerDiedError):
        ray.get(refs[0], timeout=20)

    def read_it(keeper: Any) -> str:
        try:
            ray.get(keeper.kept[0][0], timeout=20)
        except OwnerDiedError as error:
            return type(error).__name__
        return "a value"

    assert ray.get(keeper.__ray_call__.remote(read_it), timeout=20) == "OwnerDiedError"


def test_a_ref_known_by_its_number_alone_dies_with_its_owner(ray: Any, trace: Trace) -> None:
    """The owner never shared it: who has made a ref from its bytes is told that it died."""
    owner = ray.remote(num_cpus=0)(Keeper).remote()

    def keep_own(keeper: Any) -> str:
        keeper.kept = [ray.put(b"own")]
        return keeper.kept[0].hex()

    digits = ray.get(owner.__ray_call__.remote(keep_own))
    kill(ray.get(owner.pid.remote()))
    sleep(1.5)
    with pytest.raises(OwnerDiedError):
        ray.get(ray.ObjectRef.from_hex(digits), timeout=20)
