"""Where a task's large dependencies are: tasks go there, if there is room for them.

Leases are granted per scheduling class. So tasks with much to read on one other node are a
class of their own, near that node; the control store prefers it when it grants their leases.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ray_on_dask.wire.values import STORED, SchedulingClass

if TYPE_CHECKING:
    from ray_on_dask.runtime.arguments import Arguments

#: Bytes on one node that are worth going there.
LARGE = 1 << 20


def near(packed: Arguments, own: str) -> str:
    """The node with most bytes of the dependencies that are there; "" for few, or `own`."""
    where: dict[str, int] = {}
    for _, ref in packed.dependencies:
        entry = ref._entry
        if entry.kind == STORED:
            at = entry.data
            where[at.node] = where.get(at.node, 0) + at.size
    node = max(where, key=where.__getitem__, default="")
    return node if node != own and where.get(node, 0) >= LARGE else ""


def class_near(spec: SchedulingClass, node: str) -> SchedulingClass:
    """The class of such tasks; the same where a strategy says where they go."""
    if spec.strategy != "DEFAULT" or not node:
        return spec
    return msgspec.structs.replace(spec, near=node)
