"""What must hold of the ledger of leases between any two calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ray_on_dask.core.lease_records import Node
    from ray_on_dask.core.leases import Leases


def validate(leases: Leases) -> None:
    """Assert that leases, demands and ledgers agree."""
    for node in leases.nodes.values():
        _validate_node(leases, node)
    for key, demand in leases.demands.items():
        assert demand.key == key
        assert (demand.lacks > 0) == (key in leases.lacking.demands), (key, demand.wanted)
        assert demand.leases or demand.owner not in leases._gone
        assert demand.ending == sum(lease.ending for lease in demand.leases.values())
        assert demand.reserves is None or demand.reserves.reserved is demand
    assert {lease.id for lease in leases.leases.values() if lease.ending} == set(leases._ending)
    assert leases._gone <= {key[0] for key in leases.demands}
    leases.lacking.validate()


def _validate_node(leases: Leases, node: Node) -> None:
    node.ledger.validate()
    used: dict[str, int] = {}
    for lease in node.leases.values():
        assert leases.leases[lease.id] is lease and lease.node is node
        for name, units in lease.held.items():
            used[name] = used.get(name, 0) + units
        for name, units in lease.lent.items():
            used[name] = used.get(name, 0) - units
    for name, total in node.ledger.total.items():
        assert node.ledger.free.get(name, 0) == total - used.get(name, 0), name
