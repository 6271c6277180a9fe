"""Where refs were made: file and line, where `RAY_record_ref_creation_sites` asks for it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest

from ray_on_dask.api import memory_listing
from ray_on_dask.internal import memory_summary


def line() -> int:
    return sys._getframe(1).f_lineno


@pytest.fixture
def ray(ray_session: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("RAY_record_ref_creation_sites", "1")
    return ray_session()


def sites(*refs: Any) -> list[str]:
    """Keep the refs somewhere else, then look at the listing."""
    found = {row["object_id"]: row["call_site"] for row in memory_listing.rows()}
    return [found[ref.hex()] for ref in refs]


def test_each_ref_is_listed_with_its_line(ray: Any) -> None:
    @ray.remote
    def make() -> Any:
        return [ray.put(1)], line()

    @ray.remote(num_cpus=0)
    class Keeper:
        def keep(self, refs: list[Any]) -> int:
            self.refs = refs
            return len(refs)

    keeper = Keeper.remote()
    first, here = ray.put(0), line()
    task, there = make.remote(), line()
    call, calling = keeper.keep.remote([first, task]), line()
    assert ray.get(call, timeout=20) == 2
    assert ray.get(keeper.keep.remote([first, task, call]), timeout=20) == 3
    (inner,), inside = ray.get(task)
    assert sites(first, task, call, inner) == [
        f"{__file__}:{here} (put)", f"{__file__}:{there} (make)",
        f"{__file__}:{calling} (Keeper.keep)", f"{__file__}:{inside} (put)",
    ]  # fmt: skip
    assert first.call_site() == f"{__file__}:{here} (put)"
    assert f"stack trace: {__file__}:{there} (make)" in memory_summary(group_by="STACK_TRACE")


def test_nothing_is_noted_unless_it_is_asked_for(ray_session: Callable[..., Any]) -> None:
    ray = ray_session()

    @ray.remote
    def read(refs: list[Any]) -> None:
        pass

    ref = ray.put(0)
    ray.get(read.remote([ref]), timeout=20)
    assert sites(ref) == ["-"]
