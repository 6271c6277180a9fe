"""What an owner keeps to make lost objects again: which task made what, of what. Decisions only.

Kept are *recipes*, one for each task of which a stored result can still be reached: what was
called with which small arguments, and the ids of the stored objects that it read; never a value.
An object that nobody can reach any more is freed, whether or not it is an ingredient of another;
its own recipe stays as long as one that needs it, so that it can be made once more.

`lost` plans how to make objects again: a task comes after those that make what it needs and is
not there. Nothing is run if part of what it takes cannot be had.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from ray_on_dask.ids import PUT_INDEX

#: Why an object cannot be made again.
PUT, DISABLED, RETRIES, ATTEMPTS, EVICTED, BORROWED, UNKNOWN, RELEASED = (
    "PUT", "LINEAGE_DISABLED", "RETRIES_DISABLED", "MAX_ATTEMPTS_EXCEEDED", "LINEAGE_EVICTED",
    "BORROWED", "REF_NOT_FOUND", "DASK_FUTURE_RELEASED",
)  # fmt: skip
#: Tasks remembered whose recipes had to go.
EVICTED_MAX = 10_000
#: Length of the part of an object's id that is its task's.
TASK = 16


@dataclass(slots=True)
class Recipe:
    """How the results of one task are made again."""

    task: bytes
    #: Bytes that it takes up.
    size: int
    #: Further runs that the task has, -1 for no end; and whether it ever had one.
    retries: int
    retried: bool
    #: Stored objects that it reads, and the recipes of those that had one.
    sources: tuple[bytes, ...]
    uses: tuple[bytes, ...]
    #: Stored results that somebody can reach.
    wanted: set[bytes] = field(default_factory=set)
    #: Recipes that read what this one makes.
    users: int = 0
    #: It is being made again, for these above all.
    running: bool = False
    lost: set[bytes] = field(default_factory=set)


@dataclass(slots=True, frozen=True)
class Redo:
    """Run the task again, with so many retries left; `sources` are there, or under way."""

    task: bytes
    retries: int
    sources: tuple[bytes, ...]


@dataclass(slots=True, frozen=True)
class Hopeless:
    """The object cannot be made again, because of itself or of `culprit`, which it is made of."""

    id: bytes
    reason: str
    culprit: bytes = b""


class Lineage:
    """The state machine of one owner.

    Parameters
    ----------
    owner : bytes
        Begins the ids of all objects that it has made.
    limit : int
        Bytes that the recipes may take up together; 0 keeps none.
    """

    def __init__(self, owner: bytes, limit: int):
        self.owner = owner
        self.limit = limit
        #: {task: recipe}, the oldest first.
        self.recipes: dict[bytes, Recipe] = {}
        self.bytes = 0
        self._evicted: dict[bytes, None] = {}

    # -- keeping ---------------------------------------------------------------------

    def keep(
        self, task: bytes, size: int, retries: int, made: Iterable[bytes], sources: Iterable[bytes]
    ) -> list[bytes]:
        """A task has made these stored objects; the tasks whose recipes are no longer kept."""
        if not self.limit:
            return [task]
        old = self.recipes.get(task)
        if old is not None:
            old.wanted.update(made)
            return []
        sources = tuple(sources)
        uses = tuple(id[:TASK] for id in sources if id[:TASK] in self.recipes)
        recipe = Recipe(task, size, retries, retries != 0, sources, uses, set(made))
        self.recipes[task] = recipe
        self.bytes += size
        for used in uses:
            self.recipes[used].users += 1
        return self._evict() if self.bytes > self.limit else []

    def _evict(self) -> list[bytes]:
        gone: list[bytes] = []
        for task, recipe in list(self.recipes.items()):
            if self.bytes <= self.limit:
                break
            if task in self.recipes and not recipe.running:
                self._evicted[task] = None
                gone += self._drop([task])
        while len(self._evicted) > EVICTED_MAX:
            del self._evicted[next(iter(self._evicted))]
        return gone

    def released(self, id: bytes) -> list[bytes]:
        """Nobody can reach this object any more; the tasks whose recipes are no longer kept."""
        recipe = self.recipes.get(id[:TASK])
        if recipe is None:
            return []
        recipe.wanted.discard(id)
        return self._sweep([recipe.task])

    def done(self, task: bytes, failed: bool = False) -> list[bytes]:
        """A task has run again; the tasks whose recipes are no longer kept.

        If it has failed, those of its results that were lost are errors from now on.
        """
        recipe = self.recipes.get(task)
        if recipe is None:
            return []
        recipe.running = False
        if failed:
            recipe.wanted -= recipe.lost
        recipe.lost.clear()
        return self._sweep([task])

    def _sweep(self, tasks: list[bytes]) -> list[bytes]:
        """Drop those of these that are of no more use."""
        recipes = (self.recipes.get(task) for task in tasks)
        return self._drop([r.task for r in recipes if r and not (r.wanted or r.users or r.running)])

    def _drop(self, tasks: list[bytes]) -> list[bytes]:
        """Drop these, and what only they needed."""
        gone: list[bytes] = []
        while tasks:
            task = tasks.pop()
            recipe = self.recipes.pop(task, None)
            if recipe is None:
                continue
            gone.append(task)
            self.bytes -= recipe.size
            for name in recipe.uses:
                used = self.recipes.get(name)
                if used is not None:
                    used.users -= 1
                    if not (used.wanted or used.users or used.running):
                        tasks.append(name)
        return gone

    # -- making again -----------------------------------------------------------------

    def lost(self, ids: Iterable[bytes], have: Callable[[bytes], bool]) -> list[Redo | Hopeless]:
        """These objects are lost: what to run, in order, and what cannot be had.

        Parameters
        ----------
        have : callable
            Whether an ingredient is there, or will be; not asked about lost ones.
        """
        gone = dict.fromkeys(ids)
        there: dict[bytes, bool] = {}

        def is_there(id: bytes) -> bool:
            if id not in there:
                there[id] = id not in gone and have(id)
            return there[id]

        verdicts: dict[bytes, Hopeless | None] = {}
        out: list[Redo | Hopeless] = []
        feasible: list[bytes] = []
        for id in gone:
            verdict = self._judge(id, is_there, verdicts)
            if verdict is None:
                feasible.append(id)
                self.recipes[id[:TASK]].lost.add(id)
            else:
                out.append(verdict)
        for id in feasible:
            out += self._plan(id, is_there)
        return out

    def _judge(
        self, id: bytes, there: Callable[[bytes], bool], known: dict[bytes, Hopeless | None]
    ) -> Hopeless | None:
        """Why the object cannot be made again; None if it can. No recursion: chains are long."""
        todo = [id]
        while todo:
            at = todo[-1]
            if at in known:
                todo.pop()
                continue
            reason = self._obstacle(at)
            if reason:
                known[at] = Hopeless(at, reason)
                continue
            recipe = self.recipes[at[:TASK]]
            missing = [] if recipe.running else [x for x in recipe.sources if not there(x)]
            unknown = [x for x in missing if x not in known]
            if unknown:
                todo += unknown
                continue
            bad = next((known[x] for x in missing if known[x] is not None), None)
            known[at] = None if bad is None else Hopeless(at, bad.reason, bad.culprit or bad.id)
        return known[id]

    def _obstacle(self, id: bytes) -> str:
        """What is in the way of making this object, its ingredients left aside."""
        recipe = self.recipes.get(id[:TASK])
        if recipe is not None:
            if recipe.running or recipe.retries:
                return ""
            return ATTEMPTS if recipe.retried else RETRIES
        if not id.startswith(self.owner):
            return BORROWED
        if id.endswith(PUT_INDEX):
            return PUT
        if not self.limit:
            return DISABLED
        return EVICTED if id[:TASK] in self._evicted else UNKNOWN

    def _plan(self, id: bytes, there: Callable[[bytes], bool]) -> list[Redo]:
        """Tasks to run for an object that can be made, what they need first."""
        out: list[Redo] = []
        todo = [(id, False)]
        while todo:
            at, ready = todo.pop()
            recipe = self.recipes[at[:TASK]]
            if recipe.running:
                continue
            if not ready:
                todo.append((at, True))
                todo += [(x, False) for x in recipe.sources if not there(x)]
                continue
            recipe.running = True
            if recipe.retries > 0:
                recipe.retries -= 1
            out.append(Redo(recipe.task, recipe.retries, recipe.sources))
        return out

    def validate(self) -> None:
        """Assert what must hold between any two calls."""
        assert self.bytes == sum(recipe.size for recipe in self.recipes.values())
        users = Counter(used for recipe in self.recipes.values() for used in recipe.uses)
        for task, recipe in self.recipes.items():
            assert recipe.task == task
            assert recipe.users == users[task]
            assert recipe.running or not recipe.lost
            assert recipe.wanted or recipe.users or recipe.running, "kept for nobody"
            assert all(id[:TASK] == task for id in recipe.wanted)
