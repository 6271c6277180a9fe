"""Actors: state, order of calls, handles, what methods may return."""

from __future__ import annotations

import os
from typing import Any

import pytest
from conformance_module import ray

pytestmark = pytest.mark.usefixtures("cluster")


@pytest.fixture
def counter() -> Any:
    """The class of an actor that counts."""

    @ray.remote
    class Counter:
        """Counts."""

        unit = "one"

        def __init__(self, start: int = 0, *, step: int = 1) -> None:
            self.value, self.step = start, step

        def add(self, times: int = 1) -> int:
            self.value += self.step * times
            return self.value

        def _hidden(self) -> str:
            return "hidden"

        @staticmethod
        def fixed() -> str:
            return "static"

        @classmethod
        def own(cls) -> str:
            return cls.unit

        @property
        def half(self) -> float:
            return self.value / 2

        def pid(self) -> int:
            return os.getpid()

    return Counter


def test_an_actor_keeps_its_state_in_one_process(counter: Any) -> None:
    one, two = counter.remote(), counter.remote(10, step=5)
    assert ray.get([one.add.remote(), one.add.remote(), two.add.remote(2)]) == [1, 2, 20]
    first, again, other = ray.get([one.pid.remote(), one.pid.remote(), two.pid.remote()])
    assert first == again != other


def test_calls_run_in_the_order_in_which_they_were_made(counter: Any) -> None:
    actor = counter.remote()
    assert ray.get([actor.add.remote() for _ in range(200)]) == list(range(1, 201))


def test_a_call_with_a_slow_argument_still_goes_first(gate: Any) -> None:
    @ray.remote
    def slow() -> str:
        gate.wait()
        return "slow"

    @ray.remote
    class Log:
        def __init__(self) -> None:
            self.words: list[str] = []

        def add(self, word: str) -> list[str]:
            self.words.append(word)
            return self.words

    log = Log.remote()
    log.add.remote(slow.remote())
    last = log.add.remote("quick")
    assert ray.wait([last], timeout=0.2) == ([], [last])
    gate.open()
    assert ray.get(last) == ["slow", "quick"]


def test_an_exception_in_a_method_leaves_the_actor_alive(counter: Any) -> None:
    actor = counter.remote()
    with pytest.raises(TypeError):
        ray.get(actor.add.remote("not a number"))
    assert ray.get(actor.add.remote()) == 1


def test_handles_are_equal_wherever_they_are(counter: Any) -> None:
    @ray.remote
    def echo(handles: list[Any]) -> tuple[Any, int]:
        return handles[0], hash(handles[0])

    @ray.remote
    class Self:
        def handle(self) -> Any:
            return ray.get_runtime_context().current_actor

    actor, other = counter.remote(), counter.remote()
    back, hashed = ray.get(echo.remote([actor]))
    assert back == actor
    assert hash(back) == hash(actor) == hashed
    assert actor != other
    itself = Self.remote()
    assert ray.get(itself.handle.remote()) == itself


def test_a_handle_shared_between_tasks_reaches_one_state(counter: Any) -> None:
    @ray.remote
    def count(actor: Any) -> int:
        return ray.get(actor.add.remote())

    actor = counter.remote()
    assert sorted(ray.get([count.remote(actor) for _ in range(6)])) == list(range(1, 7))
    assert ray.get(actor.add.remote()) == 7


def test_arguments_and_results_are_copies() -> None:
    @ray.remote
    class Holder:
        def __init__(self, items: list[int]) -> None:
            self.items = items

        def get(self) -> list[int]:
            return self.items

    mine = [1]
    holder = Holder.remote(mine)
    mine.append(2)
    theirs = ray.get(holder.get.remote())
    theirs.append(3)
    assert ray.get(holder.get.remote()) == [1]


def test_plain_base_classes_and_super_work() -> None:
    class Base:
        def __init__(self, x: int) -> None:
            self.x = x

        def get(self) -> int:
            return self.x

    @ray.remote
    class Derived(Base):
        def __init__(self, x: int) -> None:
            super().__init__(x + 1)

        def get(self) -> int:
            return super().get() * 10

    assert ray.get(Derived.remote(1).get.remote()) == 20


def test_an_actor_class_cannot_be_a_base_class(counter: Any) -> None:
    with pytest.raises(TypeError) as caught:

        class Sub(counter): ...

    assert isinstance(caught.value, ray.actor.ActorClassInheritanceException)


def test_private_static_and_class_methods_can_be_called(counter: Any) -> None:
    actor = counter.remote()
    refs = [actor._hidden.remote(), actor.fixed.remote(), actor.own.remote()]
    assert ray.get(refs) == ["hidden", "static", "one"]


def test_a_handle_has_methods_but_no_attributes(counter: Any) -> None:
    actor = counter.remote()
    for name in ("nothing", "value", "half", "unit"):
        with pytest.raises(AttributeError, match=f"no attribute '{name}'"):
            getattr(actor, name)
    assert {"add", "fixed", "own"} <= set(dir(actor))


def test_an_actor_class_shows_what_is_in_the_class() -> None:
    class Server:
        port = 8000

        class Settings:
            name = "main"

        def __init__(self, value: int = 1) -> None:
            self.value = value

        def get(self) -> int:
            return self.value

        @staticmethod
        def twice(x: int) -> int:
            return 2 * x

        @classmethod
        def address(cls) -> str:
            return f"localhost:{cls.port}"

    remote = ray.remote(Server)
    assert (remote.port, remote.Settings.name) == (8000, "main")
    assert (remote.twice(4), remote.address()) == (8, "localhost:8000")
    with pytest.raises(AttributeError, match=r"Server.*no attribute 'host'"):
        _ = remote.host
    plain = remote.__ray_metadata__.modified_class
    assert plain(5).get() == 5
    assert issubclass(plain, remote.__ray_actor_class__)


def test_a_handle_shows_its_class_and_id(counter: Any) -> None:
    actor = counter.remote()
    assert repr(actor).startswith("Actor(")
    assert repr(actor).endswith(f"Counter, {actor._actor_id.hex()})")
    assert len(actor._actor_id.hex()) == 32
    assert isinstance(actor, ray.actor.ActorHandle)


def test_ray_ready_and_ray_call_are_methods_of_every_actor(counter: Any) -> None:
    actor = counter.remote(3)
    ray.get(actor.__ray_ready__.remote())
    assert ray.get(actor.__ray_call__.remote(lambda self, by: self.value * by, 2)) == 6


def test_method_declares_returns_that_options_override() -> None:
    @ray.remote
    class Pairs:
        @ray.method(num_returns=2)
        def two(self) -> tuple[int, int]:
            return 1, 2

        @ray.method
        def bare(self) -> str:
            return "bare"

        def plain(self) -> tuple[int, int]:
            return 3, 4

    pairs = Pairs.remote()
    assert ray.get(pairs.two.remote()) == [1, 2]
    assert ray.get(pairs.two.options(num_returns=1).remote()) == (1, 2)
    assert ray.get(pairs.plain.options(num_returns=2).remote()) == [3, 4]
    assert ray.get(pairs.bare.remote()) == "bare"


def test_method_refuses_an_unknown_word() -> None:
    with pytest.raises(AssertionError):
        ray.method(num_cpus=1)


def test_method_options_refuse_what_is_not_theirs(counter: Any) -> None:
    actor = counter.remote()
    with pytest.raises(TypeError):
        actor.add.options(num_cpus=1).remote()


def test_an_actor_may_create_actors_and_tasks(counter: Any) -> None:
    @ray.remote
    class Boss:
        def __init__(self) -> None:
            self.workers = [counter.remote(10 * i) for i in range(2)]

        def run(self) -> list[int]:
            return ray.get([worker.add.remote() for worker in self.workers])

    assert ray.get(Boss.remote().run.remote()) == [1, 11]


def test_a_handle_made_in_a_task_outlives_the_task(counter: Any) -> None:
    @ray.remote
    def make() -> Any:
        return counter.remote(7)

    actor = ray.get(make.remote())
    assert ray.get(actor.add.remote()) == 8


def test_a_method_shows_class_and_name_as_process_title() -> None:
    @ray.remote
    class Titled:
        def title(self) -> str:
            with open("/proc/self/cmdline") as file:
                return file.read().strip("\0 ")

    titled = Titled.remote()
    title = ray.get(titled.title.remote())
    assert title.startswith("ray::")
    assert title.endswith("Titled.title")
    assert ray.get(titled.title.options(name="zz").remote()) == "ray::zz"


def test_too_many_pending_calls_are_refused_where_a_limit_is_set(gate: Any) -> None:
    @ray.remote(max_pending_calls=2)
    class Slow:
        def wait(self) -> None:
            gate.wait()

    slow = Slow.remote()
    with pytest.raises(ray.exceptions.PendingCallsLimitExceeded):
        for _ in range(10):
            slow.wait.remote()
