"""Actors whose node is lost."""

from __future__ import annotations

from typing import Any

import pytest

import ray_on_dask as ray
from ray_on_dask.cluster_utils import Cluster

pytestmark = pytest.mark.cluster


class Counter:
    """Counts calls; its count is saved after each."""

    def __init__(self) -> None:
        self.count = 0

    def add(self) -> int:
        """One more."""
        self.count += 1
        return self.count

    def look(self) -> tuple[int, Any]:
        """The count, and where we are."""
        return self.count, ray.get_runtime_context().get_node_id()


def test_an_actor_whose_node_is_lost_starts_elsewhere_with_its_state_or_is_dead() -> None:
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        node = cluster.add_node(num_cpus=1, resources={"here": 2})
        cluster.connect()
        options: dict[str, Any] = {"num_cpus": 0, "resources": {"here": 0.5}}
        saved = ray.remote(max_restarts=-1, checkpoint_interval=1, **options)(Counter).remote()
        fresh = ray.remote(max_restarts=1, **options)(Counter).remote()
        mortal = ray.remote(**options)(Counter).remote()
        for actor in (saved, fresh, mortal):
            assert ray.get([actor.add.remote() for _ in range(3)], timeout=60)[-1] == 3
        cluster.remove_node(node, allow_graceful=False)
        other = cluster.add_node(num_cpus=1, resources={"here": 2})

        assert ray.get(saved.look.remote(), timeout=60) == (3, other.node_id)
        assert ray.get(fresh.look.remote(), timeout=60) == (0, other.node_id)
        with pytest.raises(ray.exceptions.ActorDiedError, match="its node died"):
            ray.get(mortal.look.remote(), timeout=60)
    finally:
        ray.shutdown()
        cluster.shutdown()
