"""`util.iter`: iterators whose items lie in actors."""

from __future__ import annotations

import collections
import itertools
import time
from typing import Any

import pytest

from ray_on_dask.util.iter import (
    LocalIterator,
    ParallelIteratorWorker,
    from_actors,
    from_items,
    from_iterators,
    from_range,
)


@pytest.fixture(autouse=True)
def _session(ray: Any) -> None:
    """All tests here use the module's session."""


def test_items_are_dealt_out_and_ranges_are_cut() -> None:
    dealt = from_items([1, 2, 3, 4, 5])
    assert repr(dealt) == "ParallelIterator[from_items[int, 5, shards=2]]"
    assert [list(shard) for shard in dealt.shards()] == [[1, 3, 5], [2, 4]]
    assert list(dealt.gather_sync()) == [1, 2, 3, 4, 5]
    cut = from_range(7, num_shards=3)
    assert cut.num_shards() == 3
    assert [list(cut.get_shard(place)) for place in range(3)] == [[0, 1], [2, 3], [4, 5, 6]]
    assert list(cut.gather_sync()) == [0, 2, 4, 1, 3, 5, 6]


def test_a_parallel_iterator_is_not_read_by_itself() -> None:
    with pytest.raises(TypeError, match="gather_sync"):
        iter(from_range(2))


def test_iterables_and_functions_that_give_them_are_shards() -> None:
    parts = from_iterators([range(2), lambda: iter(["a", "b", "c"])])
    assert list(parts.gather_sync()) == [0, "a", 1, "b", "c"]
    assert list(parts.gather_sync()) == [0, "a", 1, "b", "c"], "a second pass"


def test_repeated_items_never_end() -> None:
    assert from_items([1, 2], num_shards=1, repeat=True).take(5) == [1, 2, 1, 2, 1]


def test_actors_of_ones_own_are_shards(ray: Any) -> None:
    @ray.remote
    class Numbers(ParallelIteratorWorker):
        def __init__(self, first: int) -> None:
            super().__init__(lambda: range(first, first + 3), False)

    numbers = from_actors([Numbers.remote(0), Numbers.remote(10)])
    assert "from_actors[shards=2]" in str(numbers)
    assert list(numbers.for_each(lambda x: x + 1).gather_sync()) == [1, 11, 2, 12, 3, 13]


def test_the_old_methods_of_a_worker_are_there() -> None:
    worker = ParallelIteratorWorker([1, 2], False)
    worker.par_iter_init([lambda items: items.for_each(lambda x: -x)])
    assert [worker.par_iter_next(), worker.par_iter_next()] == [-1, -2]
    with pytest.raises(StopIteration):
        worker.par_iter_next()


def test_what_is_done_in_the_shards() -> None:
    base = from_range(8)
    assert list(base.filter(lambda x: x % 2).gather_sync()) == [1, 5, 3, 7]
    assert list(base.batch(3).gather_sync()) == [[0, 1, 2], [4, 5, 6], [3], [7]]
    assert list(base.batch(3).flatten().gather_sync()) == [0, 4, 1, 5, 2, 6, 3, 7]
    twice = base.combine(lambda x: [x] * (x % 3))
    assert sorted(twice.gather_sync()) == [1, 2, 2, 4, 5, 5, 7]
    sums = base.transform(lambda items: itertools.accumulate(items))
    assert list(sums.gather_sync()) == [0, 4, 1, 9, 3, 15, 6, 22]
    assert repr(base.for_each(str).filter(bool)).endswith("shards=2].for_each().filter()]")


def test_what_is_done_happens_in_the_actors_processes() -> None:
    import os

    pids = list(from_range(4, num_shards=2).for_each(lambda _: os.getpid()).gather_sync())
    assert len(set(pids)) == 2 and os.getpid() not in pids


def test_for_each_runs_in_tasks_where_asked() -> None:
    base = from_range(6)
    made = base.for_each(lambda x: x * 2, max_concurrency=2, resources={"num_cpus": 0})
    assert list(made.gather_sync()) == [0, 6, 2, 8, 4, 10]
    local = base.gather_sync().for_each(lambda x: x + 1, max_concurrency=0)
    assert list(local) == [1, 4, 2, 5, 3, 6]
    with pytest.raises(ValueError, match="max_concurrency"):
        base.gather_sync().for_each(str, max_concurrency=-1)


def test_items_come_as_they_are_made() -> None:
    def late() -> Any:
        time.sleep(1.0)
        yield "late"

    items = from_iterators([late, ["soon", "then"]]).gather_async()
    assert list(items) == ["soon", "then", "late"]
    many = from_range(100, num_shards=3)
    assert sorted(many.gather_async(batch_ms=5, num_async=3)) == list(range(100))
    for wrong in ({"num_async": 0}, {"batch_ms": -1}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            many.gather_async(**wrong)


def test_batches_across_shards_have_one_item_of_each() -> None:
    assert list(from_range(7, num_shards=3).batch_across_shards()) == [
        [0, 2, 4], [1, 3, 5], [6],
    ]  # fmt: skip


def test_two_passes_at_once_do_not_take_each_others_items() -> None:
    base = from_range(6)
    first, second = base.gather_sync(), base.gather_sync()
    assert [next(first), next(second), next(first), next(second)] == [0, 0, 3, 3]
    assert list(first) == list(second)


@pytest.mark.parametrize("partitions", [1, 3])
def test_items_are_dealt_out_anew(partitions: int) -> None:
    base = from_range(12, num_shards=2).for_each(lambda x: x * 10)
    anew = base.repartition(partitions)
    assert anew.num_shards() == partitions
    for _ in range(2):
        assert sorted(anew.gather_sync()) == [x * 10 for x in range(12)]
    sizes = [len(list(shard)) for shard in anew.shards()]
    assert sum(sizes) == 12 and max(sizes) - min(sizes) <= 2


def test_shards_are_joined_and_selected() -> None:
    both = from_range(4).union(from_items(["a", "b"]))
    assert both.num_shards() == 4
    assert list(both.gather_sync()) == [0, 2, "a", "b", 1, 3]
    assert list(both.select_shards([0, 2]).gather_sync()) == [0, "a", 1]
    for wrong in ([0, 0], [4]):
        with pytest.raises(ValueError, match="shard"):
            both.select_shards(wrong)
    with pytest.raises(TypeError, match="ParallelIterator"):
        both.union(both.gather_sync())  # type: ignore[arg-type]


def test_shuffling_keeps_the_items_and_a_seed_the_order() -> None:
    base = from_range(40)
    once = list(base.local_shuffle(8, seed=3).gather_sync())
    assert once == list(base.local_shuffle(8, seed=3).gather_sync())
    assert once != list(base.gather_sync()) and sorted(once) == list(range(40))
    assert sorted(base.gather_sync().shuffle(5)) == list(range(40))


def test_taking_and_showing(capsys: pytest.CaptureFixture[str]) -> None:
    items = from_range(10).gather_sync()
    assert items.take(3) == [0, 5, 1]
    assert items.take(100) == [6, 2, 7, 3, 8, 4, 9], "it goes on"
    from_range(4).show(2)
    assert capsys.readouterr().out == "0\n2\n"


def test_an_iterator_may_be_passed_on_and_read_elsewhere(ray: Any) -> None:
    @ray.remote
    def total(parts: Any) -> int:
        return sum(parts.gather_async())

    assert ray.get(total.remote(from_range(10).for_each(lambda x: x + 1))) == 55


def test_an_error_in_a_step_reaches_the_reader() -> None:
    items = from_items([1, 0]).for_each(lambda x: 1 // x).gather_sync()
    with pytest.raises(ZeroDivisionError):
        list(items)


def test_local_steps() -> None:
    items = from_range(6).gather_sync()
    assert "gather_sync()" in repr(items)
    made = items.filter(lambda x: x != 5).batch(2).for_each(sum).combine(lambda x: [x, -x])
    assert list(made) == [3, -3, 5, -5, 2, -2]
    with pytest.raises(ValueError, match="batch"):
        items.batch(0)


def test_an_iterator_is_duplicated() -> None:
    left, right = from_range(4).gather_sync().duplicate(2)
    assert left.take(3) == [0, 2, 1]
    assert list(right) == [0, 2, 1, 3]
    assert list(left) == [3]


def test_iterators_are_united() -> None:
    a, b = from_items(["a"] * 3, 1), from_items(["b"] * 2, 1)
    turns = a.gather_sync().union(b.gather_sync(), deterministic=True)
    assert list(turns) == ["a", "b", "a", "b", "a"]
    weighted = a.gather_async().union(b.gather_async(), round_robin_weights=[1, "*"])
    assert collections.Counter(weighted) == {"a": 3, "b": 2}
    assert collections.Counter(a.gather_sync().union(b.gather_async())) == {"a": 3, "b": 2}
    with pytest.raises(ValueError, match="weights"):
        a.gather_sync().union(b.gather_sync(), round_robin_weights=[1])


def test_a_slow_part_does_not_hold_up_a_union() -> None:
    def late() -> Any:
        time.sleep(1.0)
        yield "late"

    slow = from_iterators([late]).gather_sync()
    quick = from_items(["soon", "then"], 1).gather_sync()
    assert list(slow.union(quick)) == ["soon", "then", "late"]


def test_functions_may_count_and_know_where_an_item_is_from() -> None:
    def count(item: int) -> int:
        metrics = LocalIterator.get_metrics()
        metrics.counters["items"] += 1
        with metrics.timers["work"]:
            pass
        return metrics.counters["items"]

    items = from_range(4).gather_async().for_each(count)
    assert list(items) == [1, 2, 3, 4]
    metrics = items.shared_metrics.get()
    assert metrics.timers["work"].count == 4 and metrics.timers["work"].mean >= 0
    base = from_range(4)
    pairs = list(base.gather_sync().zip_with_source_actor())
    assert [item for _, item in pairs] == [0, 2, 1, 3]
    assert pairs[0][0] == pairs[2][0] != pairs[1][0]
    with pytest.raises(ValueError, match="get_metrics"):
        LocalIterator.get_metrics()


def test_what_is_not_read_to_its_end_is_forgotten_in_the_actors(ray: Any) -> None:
    base = from_range(1000)
    for _ in range(5):
        assert base.take(2) == [0, 500]
    actor = base._shards[0].actor
    deadline = time.monotonic() + 10
    while (left := ray.get(actor.__ray_call__.remote(lambda self: len(self._readings)))) > 1:
        assert time.monotonic() < deadline, left
        time.sleep(0.05)
