"""Clusters that grow and shrink: `sdk` says what they should have room for."""

from ray_on_dask.autoscaler import sdk as sdk
