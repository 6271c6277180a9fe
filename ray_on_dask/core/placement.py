"""Placement groups: sets of bundles of resources, reserved together or not at all.

A placed bundle is a lease that nobody runs under: it holds the bundle's resources on its node, and
the node's ledger gains as many under names of the group's own (`CPU_group_<id>` for any bundle,
`CPU_group_<index>_<id>` for one). Tasks within the group ask for those, so that the ledger of
leases needs to know nothing of groups.

A removed group gives back what a node holds for it when nothing runs there any more under its
names; those who do are ended at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ray_on_dask.core.bundles import Plan, Wanted, plan
from ray_on_dask.core.departed import Departed
from ray_on_dask.core.group_record import (
    CREATED,
    PENDING,
    REMOVED,
    RESCHEDULING,
    EndUser,
    Group,
    Shape,
)
from ray_on_dask.core.group_room import GroupRoom
from ray_on_dask.core.group_words import what_is_missing
from ray_on_dask.core.instructions import Send
from ray_on_dask.core.lease_records import Key
from ray_on_dask.core.leases import Leases
from ray_on_dask.core.resources import group_of
from ray_on_dask.wire.messages import CreateGroup, Demand, GroupState, Infeasible

#: Removed groups that are kept for listings.
REMOVED_KEPT = 10_000
#: Seconds after which people are told that a group fits nowhere.
WARN_AFTER = 1.0
#: Seconds between two looks at all that waits, for each node and each shape of groups.
LOOK = 2e-5
FEW_LOOKS = 100
#: Users of a group that are remembered before those that are gone are looked for.
_MANY_USERS = 64
_GONE = "The task's placement group was removed before the task could run."

Out = list[Any]


class PlacementGroups:
    """The state machine: each method takes one event and gives back what is to be done.

    Parameters
    ----------
    leases : Leases
        The ledger; what it decides when it gains room is among what is given back.
    make_error : callable
        `make_error(kind, facts)` gives a pickled exception of class `kind`.
    """

    def __init__(self, leases: Leases, make_error: Callable[[str, dict[str, Any]], bytes]) -> None:
        self.leases = leases
        self.make_error = make_error
        self.room = GroupRoom(leases)
        self.groups: dict[bytes, Group] = {}
        #: {(namespace, name): living group}.
        self.names: dict[tuple[str, str], bytes] = {}
        #: Groups that wait for room, by what they want: those of one shape fit or fail together.
        self.pending: dict[Shape, dict[bytes, Group]] = {}
        #: Removed groups of which something is still in use.
        self.removing: dict[bytes, Group] = {}
        #: Who asked about a group that nobody has created yet.
        self.early: dict[bytes, set[str]] = {}
        self._users: dict[str, set[Key]] = {}
        self._buried = Departed()
        #: State of the ledger when those of a shape were last tried; all that wait have been since.
        self._tried: dict[Shape, int] = {}
        self._all_tried = -1
        #: Shapes that have not been tried yet, or groups have come or gone.
        self._news = False
        #: Not before this time is all tried again because some node has gained room.
        self._again = 0.0

    # -- birth and end -----------------------------------------------------------------

    def create(self, sender: str, job: int, message: CreateGroup, now: float) -> Out:
        """Make a group; its creator is told of each change of its state."""
        if message.id in self.groups or message.id.hex() in self._buried:
            return []
        group = self.groups[message.id] = Group.of(message, sender, job, now)
        group.watchers = {sender} | self.early.pop(message.id, set())
        key = (message.namespace, message.name)
        if message.name and self.names.setdefault(key, group.id) != group.id:
            group.refused = f"a placement group named {message.name!r} already exists"
            return self._bury(group, now)
        self._wait(group)
        return []

    def _wait(self, group: Group) -> None:
        self.pending.setdefault(group.shape(), {})[group.id] = group
        self._news = True

    def _wait_no_more(self, group: Group) -> None:
        for shape in [shape for shape, groups in self.pending.items() if group.id in groups]:
            del self.pending[shape][group.id]
            if not self.pending[shape]:
                del self.pending[shape]
                self._tried.pop(shape, None)

    def remove(self, id: bytes, now: float) -> Out:
        """End a group and what runs in it; unknown ones and those that have ended are no error."""
        group = self.groups.get(id)
        if group is None or group.state == REMOVED:
            return []
        return self._bury(group, now)

    def _bury(self, group: Group, now: float) -> Out:
        if group.state != CREATED:
            self._wait_no_more(group)
        group.state, group.ended = REMOVED, now
        group.was_at = {index: seat.node for index, seat in group.seats.items()}
        if self.names.get(group.key) == group.id:
            del self.names[group.key]
        users = self._users.pop(group.hex, ())
        error = self.make_error("TaskPlacementGroupRemoved", {"message": _GONE}) if users else b""
        out: Out = [EndUser(key, group.hex, error) for key in users]
        out += self.room.let_go(group, now)
        out += self._tell(group)
        group.watchers.clear()
        self.removing[group.id] = group
        self._news = True
        self._buried.add(group.hex)
        self._forget_oldest()
        return out

    def _forget_oldest(self) -> None:
        while len(self._buried) > REMOVED_KEPT:
            oldest = bytes.fromhex(next(iter(self._buried)))
            if oldest in self.removing:
                return
            self._buried.popitem(last=False)
            del self.groups[oldest]

    def job_ended(self, job: int, now: float) -> Out:
        """A job's groups end with it, but for the detached ones."""
        mine = [x.id for x in self.groups.values() if x.job == job and not x.detached]
        return [what for id in mine for what in self.remove(id, now)]

    def node_lost(self, name: str, now: float) -> Out:
        """A node is gone, with what the ledger held there: its bundles need another."""
        out: Out = []
        for group in self.groups.values():
            lost = [index for index, seat in group.seats.items() if seat.node == name]
            for index in lost:
                del group.seats[index]
            if lost and group.state != REMOVED:
                self._wait_no_more(group)
                group.state, group.since = RESCHEDULING, now
                self._wait(group)
                out += self._tell(group)
        return out

    # -- who is told -------------------------------------------------------------------

    def watch(self, sender: str, id: bytes) -> Out:
        """Tell `sender` of the state now and at each change, until the group is removed."""
        group = self.groups.get(id)
        if group is None:
            self.early.setdefault(id, set()).add(sender)
            return []
        if group.state != REMOVED:
            group.watchers.add(sender)
        return [Send(sender, GroupState(id, group.state))]

    def process_lost(self, name: str) -> None:
        """It need not be told any more."""
        for watchers in [*(x.watchers for x in self.groups.values()), *self.early.values()]:
            watchers.discard(name)

    def _tell(self, group: Group) -> Out:
        return [Send(who, GroupState(group.id, group.state)) for who in group.watchers]

    # -- who is in a group -------------------------------------------------------------

    def entered(self, key: Key, resources: Iterable[str]) -> bytes:
        """A demand for resources; a pickled error if they are of a group that has been removed."""
        group = group_of(resources)
        if not group:
            return b""
        if group in self._buried:
            return self.make_error("TaskPlacementGroupRemoved", {"message": _GONE})
        users = self._users.setdefault(group, set())
        users.add(key)
        if len(users) > 2 * len(self.leases.demands) + _MANY_USERS:
            users &= self.leases.demands.keys()
        return b""

    def refuses(self, sender: str, message: Demand) -> bytes:
        """The error for a demand of tasks, b"" if it may stand."""
        key = (sender, message.class_id)
        if message.spec is not None:
            return self.entered(key, message.spec.resources)
        known = self.leases.demands.get(key)
        if known is None or not known.within or not message.wanted:
            return b""
        return self.entered(key, known.spec.resources)

    # -- room --------------------------------------------------------------------------

    def due(self, now: float) -> bool:
        """Whether `work` may have something to do."""
        if not (self.pending or self.removing):
            return False
        return self._news or (self._all_tried != self.leases.rooms and now >= self._again)

    def work(self, now: float) -> Out:
        """Give back what removed groups do not use any more, and place what fits."""
        self._news = False
        out: Out = []
        for group in list(self.removing.values()):
            out += self._release(group, now)
        late = now >= self._again
        for shape in list(self.pending):
            if self._tried.get(shape) != self.leases.rooms and (late or shape not in self._tried):
                out += self._try(shape, now)
        if late:
            self._all_tried = self.leases.rooms
            # Leases end all the time: what waits may take a small part of the store's time alone.
            looks = len(self.leases.nodes) * len(self.pending)
            self._again = now + (LOOK * looks if looks > FEW_LOOKS else 0.0)
        return out

    def _try(self, shape: Shape, now: float) -> Out:
        out: Out = []
        for group in list(self.pending[shape].values()):
            found = self.room.at_the_last(group)
            if found is None:
                found = plan(self._wanted(group), self.room.free(group))
            if found is None:
                self._tried[shape] = self.leases.rooms
                break
            out += self._place(group, found, now)
        return out

    def _wanted(self, group: Group) -> Wanted:
        used: dict[str, int] = {}
        for seat in group.seats.values():
            used[seat.node] = used.get(seat.node, 0) + 1
        return Wanted(group.needs(), group.strategy, used, group.target)

    def _place(self, group: Group, found: Plan, now: float) -> Out:
        self._wait_no_more(group)
        out = self.room.take(group, found, now)
        group.state, group.placed = CREATED, now
        return out + self._tell(group)

    def _release(self, group: Group, now: float) -> Out:
        out = self.room.give(group, now)
        if not group.seats:
            del self.removing[group.id]
        return out

    # -- time --------------------------------------------------------------------------

    def tick(self, now: float) -> Out:
        """To be called each 100 ms or so: see to it that who waits long gets room, or is told."""
        if not self.pending:
            return []
        out: Out = []
        for groups in self.pending.values():
            group = next(iter(groups.values()))
            if now - group.since >= WARN_AFTER and not group.warned:
                out += self._check(group, groups.values())
        oldest = min(
            (group for groups in self.pending.values() for group in groups.values()
             if not group.warned),
            key=lambda group: group.since, default=None,
        )  # fmt: skip
        if oldest is not None:
            wanted = self._wanted(oldest)
            out += self.room.make(oldest, lambda room: plan(wanted, room), now)
        return out

    def _check(self, group: Group, alike: Iterable[Group]) -> Out:
        """Tell people if it fits on the nodes there are in no way; once for each set of nodes."""
        if group.checked_at == self.leases.version:
            return []
        group.checked_at = self.leases.version
        total = self.room.total(group)
        if plan(self._wanted(group), total) is not None:
            return []
        return self._warn(alike, what_is_missing(group, total))

    def _warn(self, groups: Iterable[Group], missing: str) -> Out:
        out: Out = []
        for group in groups:
            if group.warned:
                continue
            group.warned = True
            text = (
                f"The placement group {group.title()} cannot be placed on this cluster: no nodes "
                f"have all of its bundles, {group.bundle_specs()}, with strategy {group.strategy} "
                f"({missing}). It waits for nodes that have."
            )
            out.append(Send(group.creator, Infeasible(group.title(), text)))
        return out

    def node_joined(self) -> None:
        """What did not fit may do so now."""
        for groups in self.pending.values():
            for group in groups.values():
                group.warned = False

    # -- questions ---------------------------------------------------------------------

    def about(self, id: bytes) -> dict[str, Any]:
        """Facts about a group, {} if there was none."""
        group = self.groups.get(id)
        return group.facts() if group is not None else {}

    def find(self, name: str, namespace: str) -> dict[str, Any]:
        """Facts about the living group of that name, {} if there is none."""
        id = self.names.get((namespace, name))
        return self.about(id) if id is not None else {}

    def listed(self) -> list[dict[str, Any]]:
        """Facts about each group, the oldest first; the last removed ones are among them."""
        return [group.facts() for group in self.groups.values()]

    def validate(self) -> None:
        """Assert what must hold between any two calls."""
        waiting = {id for groups in self.pending.values() for id in groups}
        for group in self.groups.values():
            placed = len(group.seats) == len(group.bundles)
            assert (group.state in (PENDING, RESCHEDULING)) == (group.id in waiting), group
            assert (group.state == CREATED) <= placed, group
            assert group.state != PENDING or not group.seats, group
            assert group.state != REMOVED or not group.seats or group.id in self.removing, group
        for id in self.names.values():
            assert self.groups[id].state != REMOVED
        self.room.validate(self.groups.values())
