"""Object refs and the other ids: equality, bytes, futures, awaiting."""

from __future__ import annotations

import asyncio
import concurrent.futures
import copy
import pickle
from typing import Any

import pytest
from conformance_module import eventually, exceptions, import_submodule, ray

pytestmark = pytest.mark.usefixtures("cluster")


def test_a_ref_is_equal_to_itself_after_a_journey() -> None:
    @ray.remote
    def echo(refs: list[Any]) -> Any:
        return refs[0]

    ref = ray.put(1)
    back = ray.get(echo.remote([ref]))
    assert back == ref
    assert hash(back) == hash(ref)
    assert {ref: "found"}[back] == "found"
    assert ref != ray.put(1)
    assert ref != 1


def test_a_ref_shows_its_hex() -> None:
    ref = ray.put(1)
    assert repr(ref) == f"ObjectRef({ref.hex()})"
    assert bytes.fromhex(ref.hex()) == ref.binary()
    assert len(ref.binary()) == ray.ObjectRef.size()


def test_a_ref_is_made_again_from_its_bytes() -> None:
    ref = ray.put(1)
    assert ray.ObjectRef(ref.binary()) == ref
    assert ray.ObjectRef.from_random() != ray.ObjectRef.from_random()


def test_the_nil_ref_knows_that_it_is_nil() -> None:
    assert ray.ObjectRef.nil().is_nil()
    assert set(ray.ObjectRef.nil().hex()) == {"f"}
    assert not ray.put(1).is_nil()


def test_a_ref_cannot_be_iterated_or_unpacked() -> None:
    with pytest.raises(TypeError):
        _a, _b = ray.put((1, 2))
    with pytest.raises(TypeError):
        iter(ray.put([1]))


def test_object_id_is_the_old_name_of_object_ref() -> None:
    assert ray.ObjectID is ray.ObjectRef


def test_a_ref_names_its_task_and_job() -> None:
    @ray.remote
    def own() -> str:
        return ray.get_runtime_context().get_task_id()

    ref = own.remote()
    assert ref.task_id().hex() == ray.get(ref)
    assert ref.job_id().hex() == ray.get_runtime_context().get_job_id()


def test_future_gives_a_concurrent_future() -> None:
    future = ray.put(5).future()
    assert isinstance(future, concurrent.futures.Future)
    assert future.result(timeout=30) == 5


def test_a_future_raises_as_get_does() -> None:
    @ray.remote
    def fail() -> None:
        raise KeyError("k")

    error = fail.remote().future().exception(timeout=30)
    assert isinstance(error, KeyError)
    assert isinstance(error, exceptions.RayTaskError)


def test_on_completed_calls_back_with_the_value(gate: Any) -> None:
    @ray.remote
    def gated() -> int:
        gate.wait()
        return 9

    seen: list[int] = []
    ref = gated.remote()
    ref._on_completed(seen.append)
    gate.open()
    eventually(lambda: seen == [9])


def test_refs_can_be_awaited_and_gathered() -> None:
    @ray.remote
    def double(x: int) -> int:
        return 2 * x

    async def main() -> tuple[int, list[int]]:
        one = await double.remote(1)
        return one, await asyncio.gather(*[double.remote(i) for i in range(5)])

    assert asyncio.run(main()) == (2, [0, 2, 4, 6, 8])


def test_awaiting_raises_the_error_of_the_task_and_times_out(gate: Any) -> None:
    @ray.remote
    def fail() -> None:
        raise KeyError("k")

    @ray.remote
    def gated() -> None:
        gate.wait()

    async def main() -> None:
        with pytest.raises(KeyError):
            await fail.remote()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(gated.remote(), 0.1)

    asyncio.run(main())


def test_refs_are_values_in_containers_of_every_kind() -> None:
    class Box:
        def __init__(self, ref: Any) -> None:
            self.ref = ref

    @ray.remote
    def read(box: Any, table: dict[str, Any], several: set[Any]) -> int:
        refs = [box.ref, table["r"], *several]
        return sum(ray.get(refs))

    refs = [ray.put(i) for i in (1, 10, 100)]
    assert ray.get(read.remote(Box(refs[0]), {"r": refs[1]}, {refs[2]})) == 111


def test_an_object_lives_as_long_as_a_stored_list_refers_to_it() -> None:
    outer = ray.put([ray.put("inner")])
    assert ray.get(ray.get(outer)[0]) == "inner"


def test_a_ref_made_in_a_task_outlives_the_task() -> None:
    @ray.remote
    def makes() -> list[Any]:
        return [ray.put("kept"), work.remote()]

    @ray.remote
    def work() -> str:
        return "worked"

    assert ray.get(ray.get(makes.remote())) == ["kept", "worked"]


def test_a_ref_closed_over_by_a_function_can_be_read() -> None:
    ref = ray.put("closed over")

    @ray.remote
    def read() -> str:
        return ray.get(ref)

    assert ray.get(read.remote()) == "closed over"


def test_a_copy_of_a_ref_is_the_same_ref() -> None:
    ref = ray.put(1)
    assert copy.copy(ref) == ref


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("ActorID", 16),
        ("JobID", 4),
        ("NodeID", None),
        ("TaskID", 24),
        ("PlacementGroupID", 18),
        ("WorkerID", 28),
    ],
)
def test_the_other_ids_convert_likewise(name: str, size: int | None) -> None:
    kind = getattr(ray, name)
    nil = kind.nil()
    assert nil.is_nil()
    assert kind.from_binary(nil.binary()) == nil
    assert kind.from_hex(nil.hex()) == nil
    assert repr(nil) == f"{name}({nil.hex()})"
    assert pickle.loads(pickle.dumps(nil)) == nil
    assert size in (None, len(nil.binary()))


def test_a_ref_knows_its_owner() -> None:
    ref = ray.put(1)
    assert isinstance(ref.owner_address(), bytes)
    assert isinstance(ref.call_site(), (str, bytes))


@pytest.mark.filterwarnings("ignore:as_future is deprecated")
def test_as_future_is_the_old_way_into_asyncio() -> None:
    async def main() -> int:
        return await ray.put(5).as_future()

    assert asyncio.run(main()) == 5


def test_a_ref_that_is_pickled_by_hand_is_kept() -> None:
    import gc
    import time

    dumps = import_submodule("cloudpickle").dumps
    pickled = dumps({"ref": ray.put("x" * 1_000_000)})
    gc.collect()
    time.sleep(0.5)

    def read(data: bytes) -> int:
        return len(ray.get(pickle.loads(data)["ref"]))

    assert ray.get(ray.remote(read).remote(pickled)) == 1_000_000
    assert len(ray.get(pickle.loads(pickled)["ref"])) == 1_000_000


def test_a_handle_that_is_pickled_by_hand_can_be_used() -> None:

    class Counter:
        def __init__(self) -> None:
            self.count = 0

        def add(self) -> int:
            self.count += 1
            return self.count

    def add(data: bytes) -> Any:
        return ray.get(pickle.loads(data).add.remote())

    counter = ray.remote(Counter).remote()
    pickled = pickle.dumps(counter)
    assert ray.get(counter.add.remote()) == 1
    assert ray.get(ray.remote(add).remote(pickled)) == 2
    assert ray.get(pickle.loads(pickled).add.remote()) == 3
