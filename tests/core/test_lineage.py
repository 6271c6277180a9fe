"""What an owner keeps of tasks, and how it plans to make lost objects again."""

from __future__ import annotations

from typing import Any

from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ray_on_dask.core.lineage import (
    ATTEMPTS,
    BORROWED,
    DISABLED,
    EVICTED,
    PUT,
    RETRIES,
    Hopeless,
    Lineage,
    Redo,
)
from ray_on_dask.ids import PUT_INDEX, index_bytes

OWNER = b"owner..."


def a_task(number: int) -> bytes:
    return OWNER + number.to_bytes(8, "big")


def result(number: int, at: int = 0) -> bytes:
    return a_task(number) + index_bytes(at)


def lineage(limit: int = 1_000_000) -> Lineage:
    return Lineage(OWNER, limit)


def nothing(id: bytes) -> bool:
    return False


def everything(id: bytes) -> bool:
    return True


def keep(lineage: Lineage, number: int, *sources: bytes, retries: int = 3) -> None:
    assert lineage.keep(a_task(number), 100, retries, [result(number)], sources) == []


def test_a_task_comes_after_those_that_make_what_it_needs():
    """All of a chain is gone but its end: it is run from the beginning, each task once."""
    owner = lineage()
    keep(owner, 1)
    for number in range(2, 3_000):
        keep(owner, number, result(number - 1), result(number - 1))
        owner.released(result(number - 1))
    plan = owner.lost([result(2_999)], nothing)
    assert [what.task for what in plan] == [a_task(n) for n in range(1, 3_000)]
    assert owner.lost([result(2_998)], nothing) == [], "it is under way"
    owner.validate()


def test_what_is_there_is_not_made_again():
    owner = lineage()
    keep(owner, 1)
    keep(owner, 2, result(1))
    assert owner.lost([result(2)], everything) == [Redo(a_task(2), 2, (result(1),))]


def test_an_object_and_what_it_is_made_of_are_lost_together():
    """The ingredient is not there, although the owner still has a ref to it."""
    owner = lineage()
    keep(owner, 1)
    keep(owner, 2, result(1))
    plan = owner.lost([result(2), result(1)], everything)
    assert [what.task for what in plan] == [a_task(1), a_task(2)]


def test_each_run_takes_a_retry_until_there_are_none():
    owner = lineage()
    keep(owner, 1, retries=1)
    keep(owner, 2, retries=0)
    keep(owner, 3, retries=-1)
    assert owner.lost([result(1)], nothing) == [Redo(a_task(1), 0, ())]
    assert owner.done(a_task(1)) == []
    assert owner.lost([result(1)], nothing) == [Hopeless(result(1), ATTEMPTS)]
    assert owner.lost([result(2)], nothing) == [Hopeless(result(2), RETRIES)]
    for _ in range(5):
        assert owner.lost([result(3)], nothing) == [Redo(a_task(3), -1, ())]
        owner.done(a_task(3))


def test_it_is_said_what_stands_in_the_way():
    """Nothing is run for an object of which a part cannot be had, whatever part that is."""
    owner = lineage()
    put, theirs = a_task(99) + PUT_INDEX, b"another." + bytes(12)
    keep(owner, 1, put)
    keep(owner, 2, result(1))
    keep(owner, 3, theirs)
    keep(owner, 4)
    keep(owner, 5, result(4), result(2))
    assert owner.lost([put], nothing) == [Hopeless(put, PUT)]
    assert owner.lost([result(2)], nothing) == [Hopeless(result(2), PUT, put)]
    assert owner.lost([result(3)], nothing) == [Hopeless(result(3), BORROWED, theirs)]
    assert owner.lost([result(5)], nothing) == [Hopeless(result(5), PUT, put)]
    owner.validate()


def test_the_oldest_recipes_go_when_there_is_no_room():
    owner = lineage(limit=250)
    keep(owner, 1)
    keep(owner, 2)
    assert owner.keep(a_task(3), 100, 3, [result(3)], []) == [a_task(1)]
    assert owner.lost([result(1)], nothing) == [Hopeless(result(1), EVICTED)]
    assert owner.bytes == 200


def test_nothing_is_kept_where_nothing_is_to_be_made_again():
    owner = lineage(limit=0)
    assert owner.keep(a_task(1), 100, 3, [result(1)], []) == [a_task(1)]
    assert owner.lost([result(1)], nothing) == [Hopeless(result(1), DISABLED)]


def test_a_recipe_stays_as_long_as_one_that_needs_it():
    owner = lineage()
    keep(owner, 1)
    keep(owner, 2, result(1))
    assert owner.released(result(1)) == []
    assert set(owner.released(result(2))) == {a_task(1), a_task(2)}
    assert owner.bytes == 0


class RandomLosses(RuleBasedStateMachine):
    """Tasks with one or two results run, are let go, lost and made again; a model has the truth."""

    def __init__(self) -> None:
        super().__init__()
        self.owner = Lineage(OWNER, 3_000)
        self.tasks = 0
        #: Objects that are there, and those of them that somebody can reach.
        self.there: set[bytes] = set()
        self.reached: set[bytes] = set()
        self.sources: dict[bytes, list[bytes]] = {}
        self.runs: dict[bytes, int] = {}
        self.dropped: set[bytes] = set()
        self.running: list[Redo] = []

    def made_by(self, task: bytes) -> list[bytes]:
        return [task + index_bytes(at) for at in range(1 + task[-1] % 2)]

    @rule(data=st.data(), retries=st.sampled_from([-1, 0, 1, 2]))
    def run(self, data: Any, retries: int) -> None:
        self.tasks += 1
        task = a_task(self.tasks)
        pool = sorted(self.reached & self.there)
        sources = data.draw(st.lists(st.sampled_from(pool), max_size=3)) if pool else []
        self.sources[task], self.runs[task] = sources, retries
        made = self.made_by(task)
        self.there |= set(made)
        self.reached |= set(made)
        self.dropped |= set(self.owner.keep(task, 100, retries, made, sources))

    @precondition(lambda self: self.reached)
    @rule(data=st.data())
    def let_go(self, data: Any) -> None:
        id = data.draw(st.sampled_from(sorted(self.reached)))
        self.reached.discard(id)
        if id in self.there:
            self.there.discard(id)
            self.dropped |= set(self.owner.released(id))

    @precondition(lambda self: self.reached & self.there)
    @rule(data=st.data())
    def lose(self, data: Any) -> None:
        pool = sorted(self.reached & self.there)
        lost = set(data.draw(st.lists(st.sampled_from(pool), min_size=1)))
        self.there -= lost
        coming = {id for redo in self.running for id in self.made_by(redo.task)}
        plan = self.owner.lost(lost, lambda id: id in self.there)
        for what in plan:
            if isinstance(what, Redo):
                assert set(what.sources) <= self.there | coming, "an ingredient is missing"
                assert what.task not in self.dropped
                assert self.runs[what.task], "it has no run left"
                self.runs[what.task] -= self.runs[what.task] > 0
                assert what.retries == self.runs[what.task]
                self.running.append(what)
                coming |= set(self.made_by(what.task))
            else:
                assert self.is_hopeless(what.id, lost, coming)
                self.reached.discard(what.id)
                self.dropped |= set(self.owner.released(what.id))
        assert all(id in coming or id not in self.reached for id in lost)

    def is_hopeless(self, id: bytes, lost: set[bytes], coming: set[bytes]) -> bool:
        task = id[:16]
        if task in self.dropped or not self.runs[task]:
            return True
        missing = [x for x in self.sources[task] if x not in self.there | coming]
        return any(self.is_hopeless(x, lost, coming) for x in missing)

    @precondition(lambda self: self.running)
    @rule(failed=st.booleans())
    def end_a_run(self, failed: bool) -> None:
        redo = self.running.pop(0)
        made = set(self.made_by(redo.task)) - self.there
        if not failed:
            wanted = made & self.reached
            self.there |= wanted
            self.dropped |= set(self.owner.keep(redo.task, 0, 0, wanted, []))
        else:
            self.reached -= made
        self.dropped |= set(self.owner.done(redo.task, failed))
        for id in made - self.reached:
            self.dropped |= set(self.owner.released(id))

    @invariant()
    def it_agrees_with_itself(self) -> None:
        self.owner.validate()
        busy = sum(recipe.running for recipe in self.owner.recipes.values())
        assert self.owner.bytes <= 3_000 + 100 * busy

    @invariant()
    def what_can_be_reached_has_a_recipe(self) -> None:
        for id in self.reached & self.there:
            assert id[:16] in self.owner.recipes or id[:16] in self.dropped


RandomLosses.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestRandomLosses = RandomLosses.TestCase
