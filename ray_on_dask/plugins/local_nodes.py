"""Nodes and control stores that share a process, as in a local session: they talk by calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ray_on_dask.plugins.node import NodeManager

#: {name: node} of this process, for a scheduler in it.
nodes: dict[str, NodeManager] = {}
