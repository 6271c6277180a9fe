"""What a driver is told when it is taken in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ray_on_dask.core.members import Member
from ray_on_dask.wire.messages import Welcome

if TYPE_CHECKING:
    from ray_on_dask.plugins.scheduler_plugin import ControlPlugin


def welcome(plugin: ControlPlugin, member: Member) -> Welcome:
    """The session's facts, and those of the driver's node or gateway."""
    store = plugin.store
    assert store is not None
    facts = store.nodes.get(member.node) or store.gateways.facts[member.node]
    session = {
        **plugin.session,
        "scheduler_address": plugin.scheduler.address,
        "session_dir": facts.session_dir, "shm": facts.shm, "ip": facts.ip,
        "capacity": facts.resources.get("object_store_memory", 0) // 10_000,
        "cluster": store.questions._sum("total"),
    }  # fmt: skip
    return Welcome(member.job, member.node, msgspec.json.encode(session).decode())
