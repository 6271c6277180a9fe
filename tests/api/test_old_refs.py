"""Refs of a session that has ended go without a word to the next one."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

from ray_on_dask.runtime import current


def test_old_refs_leave_nothing_in_the_directory_of_the_next_session(
    ray_session: Callable[..., Any],
) -> None:
    ray = ray_session()

    @ray.remote
    def read(refs: list[Any]) -> int:
        return int(ray.get(refs[0]))

    old = ray.put(1)
    assert ray.get(read.remote([old])) == 1  # the directory knows it
    ray = ray_session()
    del old
    gc.collect()
    new = ray.put(2)
    assert ray.get(read.remote([new])) == 2
    process = current.require()
    process.flush()
    process.asking.sync()
    listed = process.asking.ask("objects")
    assert {entry["object_id"] for entry in listed} == {new.hex()}
