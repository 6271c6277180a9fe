"""Refs do not go into graphs of Dask as they are."""

from __future__ import annotations

import pytest
from distributed import Client, LocalCluster

import ray_on_dask as ray


def test_a_ref_is_no_part_of_a_graph(cluster: LocalCluster) -> None:
    """Dask's scheduler would have to read it, and its connection with the client would break."""
    with Client(cluster) as client, ray.init(client, log_to_driver=False):
        ref = ray.put("a value")
        for argument in (ref, {"inside": [ref]}):
            with pytest.raises(TypeError):
                client.submit(len, argument, pure=False)
        future = ref.dask_future(client)
        assert client.submit(len, future).result(timeout=30) == len("a value")
