"""State that outlives an actor's process and node: `checkpoint_interval`, `Checkpointable`."""

from __future__ import annotations

import os
import pickle
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import ray_on_dask
from ray_on_dask.api.options import actor_options


@pytest.fixture(scope="module", name="ray")
def ray_fixture() -> Iterator[Any]:
    ray_on_dask.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield ray_on_dask
    ray_on_dask.shutdown()


def with_hooks() -> type:
    class Counter:
        def __init__(self) -> None:
            self.count = 0
            self.born = "init"

        def add(self) -> int:
            self.count += 1
            return self.count

        def look(self) -> tuple[int, str]:
            return self.count, self.born

        def die(self) -> None:
            os._exit(1)

        def __ray_save__(self) -> dict[str, int]:
            return {"count": self.count}

        def __ray_restore__(self, state: dict[str, int]) -> None:
            self.count, self.born = state["count"], "restore"

    return Counter


def plain() -> type:
    class Counter:
        def __init__(self, friend: Any = None, kept: Any = None) -> None:
            self.count = 0
            self.friend, self.kept = friend, kept

        def add(self) -> int:
            self.count += 1
            return self.count

        def ask(self) -> Any:
            import ray_on_dask as ray

            return ray.get([self.friend.add.remote(), self.kept])

        def die(self) -> None:
            os._exit(1)

    return Counter


def crash(ray: Any, actor: Any) -> None:
    with pytest.raises(ray.exceptions.RayActorError):
        ray.get(actor.die.options(max_task_retries=0).remote())


def test_an_actor_begins_again_with_the_state_of_its_last_checkpoint(ray: Any) -> None:
    Counter = ray.remote(max_restarts=-1, checkpoint_interval=5)(with_hooks())
    counter = Counter.remote()
    assert ray.get([counter.add.remote() for _ in range(7)])[-1] == 7
    crash(ray, counter)
    assert ray.get(counter.look.remote()) == (5, "restore")
    assert ray.get([counter.add.remote() for _ in range(6)])[-1] == 11
    crash(ray, counter)
    assert ray.get(counter.look.remote())[0] >= 9


def test_without_hooks_the_whole_instance_is_saved(ray: Any) -> None:
    counter = ray.remote(max_restarts=1, checkpoint_interval=1)(plain()).remote()
    assert ray.get([counter.add.remote() for _ in range(3)])[-1] == 3
    crash(ray, counter)
    assert ray.get(counter.add.remote()) == 4


def test_before_its_first_checkpoint_an_actor_begins_with_init(ray: Any) -> None:
    Counter = ray.remote(max_restarts=1, checkpoint_interval=100)(with_hooks())
    counter = Counter.remote()
    ray.get(counter.add.remote())
    crash(ray, counter)
    assert ray.get(counter.look.remote()) == (0, "init")


def test_an_asynchronous_actor_has_checkpoints_too(ray: Any) -> None:
    @ray.remote(max_restarts=1, checkpoint_interval=1)
    class Counter:
        def __init__(self) -> None:
            self.count = 0

        async def add(self) -> int:
            self.count += 1
            return self.count

        async def die(self) -> None:
            os._exit(1)

    counter = Counter.remote()
    ray.get([counter.add.remote() for _ in range(3)])
    crash(ray, counter)
    assert ray.get(counter.add.remote()) == 4


def test_handles_and_refs_in_the_state_are_held_by_the_checkpoint(ray: Any) -> None:
    """While the actor's process is dead nobody but the checkpoint holds them."""
    Plain = ray.remote(plain())
    friend, kept = Plain.remote(), ray.put(b"kept" * 50_000)
    Counter = ray.remote(max_restarts=1, checkpoint_interval=1)(plain())
    counter = Counter.remote(friend, [kept][0])
    ray.get(counter.add.remote())
    holder = ray.remote(max_restarts=1, checkpoint_interval=1)(
        type("Holder", (plain(),), {"take": _take})
    ).remote()
    ray.get(holder.take.remote([friend, kept]))
    del friend, kept, counter
    crash(ray, holder)
    time.sleep(1.5)  # a dead process's own holds lapse after a second
    assert ray.get(holder.ask.remote(), timeout=20) == [1, b"kept" * 50_000]


def _take(self: Any, things: list[Any]) -> None:
    self.friend, self.kept = things


def test_a_state_that_is_too_large_is_told_and_the_actor_goes_on(
    ray: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    @ray.remote(max_restarts=1, checkpoint_interval=1)
    class Large:
        def fill(self) -> int:
            from ray_on_dask.runtime import checkpoints

            checkpoints.STATE_MAX = 1000
            self.data = bytes(10_000)
            return len(self.data)

    large = Large.remote()
    assert ray.get(large.fill.remote()) == 10_000
    until = time.monotonic() + 10
    while not any("save_checkpoint" in error["message"] for error in ray.error_info()):
        assert time.monotonic() < until
        time.sleep(0.05)


def saving(folder: str, loads: str = "latest") -> type:
    from ray_on_dask.actor import Checkpointable

    class Saving(Checkpointable):
        def __init__(self) -> None:
            self.count = 0
            self.loaded: list[Any] = []
            self.contexts: list[tuple[int, bool]] = []

        def add(self) -> int:
            self.count += 1
            return self.count

        def look(self) -> Any:
            return self.count, self.loaded, self.contexts

        def die(self) -> None:
            os._exit(1)

        def should_checkpoint(self, context: Any) -> bool:
            same = context.actor_id.hex() == _own_id()
            self.contexts.append((context.num_tasks_since_last_checkpoint, same))
            assert context.time_elapsed_ms_since_last_checkpoint >= 0
            return self.count > 0 and self.count % 2 == 0

        def save_checkpoint(self, actor_id: Any, checkpoint_id: Any) -> None:
            with open(os.path.join(folder, checkpoint_id.hex()), "wb") as file:
                pickle.dump(self.count, file)

        def load_checkpoint(self, actor_id: Any, available_checkpoints: list[Any]) -> Any:
            if loads == "wrong":
                return type(available_checkpoints[0].checkpoint_id).from_random()
            latest = available_checkpoints[0]
            with open(os.path.join(folder, latest.checkpoint_id.hex()), "rb") as file:
                self.count = pickle.load(file)
            self.loaded = [checkpoint.timestamp for checkpoint in available_checkpoints]
            return latest.checkpoint_id

        def checkpoint_expired(self, actor_id: Any, checkpoint_id: Any) -> None:
            os.unlink(os.path.join(folder, checkpoint_id.hex()))

    return Saving


def _own_id() -> str:
    return str(ray_on_dask.get_runtime_context().get_actor_id())


def test_a_checkpointable_actor_saves_and_loads_by_itself(ray: Any, tmp_path: Path) -> None:
    actor = ray.remote(max_restarts=-1)(saving(str(tmp_path))).remote()
    assert ray.get([actor.add.remote() for _ in range(5)])[-1] == 5
    assert ray.get(actor.look.remote())[2] == [
        (1, True),
        (2, True),
        (1, True),
        (2, True),
        (1, True),
    ]
    crash(ray, actor)
    count, loaded, _ = ray.get(actor.look.remote())
    assert count == 4
    assert len(loaded) == 2 and loaded == sorted(loaded, reverse=True)


def test_checkpoints_before_the_latest_twenty_expire(ray: Any, tmp_path: Path) -> None:
    actor = ray.remote(max_restarts=-1)(saving(str(tmp_path))).remote()
    ray.get([actor.add.remote() for _ in range(50)])
    assert len(list(tmp_path.iterdir())) == 20
    crash(ray, actor)
    assert ray.get(actor.look.remote())[0] == 50


def test_an_actor_that_loads_what_is_not_there_is_dead(ray: Any, tmp_path: Path) -> None:
    actor = ray.remote(max_restarts=-1)(saving(str(tmp_path), "wrong")).remote()
    ray.get([actor.add.remote() for _ in range(2)])
    crash(ray, actor)
    with pytest.raises(ray.exceptions.ActorDiedError, match="load_checkpoint of Saving must"):
        ray.get(actor.look.remote())


def test_what_cannot_be_kept_is_refused_and_old_names_are_understood() -> None:
    from ray_on_dask.api.options import check_at_call

    options = actor_options(checkpoint_interval=2, max_concurrency=4)
    with pytest.raises(ValueError, match="one at a time"):
        check_at_call(options, "actor")
    assert actor_options(max_reconstructions=3)["max_restarts"] == 3
    with pytest.raises(ValueError, match="max_reconstructions=3"):
        actor_options(max_reconstructions=3, max_restarts=2)
