"""Files of the store that are gone or cut short behind our back: results are made again."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import ray_on_dask as ray
from ray_on_dask.exceptions import ObjectLostError, ObjectReconstructionFailedError

SIZE = 50_000


@ray.remote(max_calls=1)  # a process writes into a file of its own that is gone, and knows not
def numbers(seed: int) -> np.ndarray:
    return np.arange(SIZE) + seed


@ray.remote
def first_of(arrays: list[Any]) -> int:
    return int(ray.get(arrays[0])[0])


def spoil(ref: Any, how: Callable[[str], None]) -> None:
    """Do something to the file that an object lies in."""
    ray.wait([ref], timeout=60.0)
    how(ref._entry.data.segment)


def cut(path: str) -> None:
    os.truncate(path, 4096)


@pytest.mark.parametrize("how", [os.unlink, cut])
def test_a_result_is_made_again(ray_session: Any, how: Callable[[str], None]) -> None:
    ray_session()
    ref = numbers.remote(3)
    spoil(ref, how)
    assert ray.get(ref, timeout=60)[0] == 3


def test_a_borrower_finds_out_and_is_served_when_the_owner_has_made_it_again(
    ray_session: Any,
) -> None:
    ray_session()
    ref = numbers.remote(4)
    spoil(ref, os.unlink)
    assert ray.get(first_of.remote([ref]), timeout=60) == 4
    assert ray.get(ref, timeout=60)[0] == 4


def test_it_is_said_when_objects_are_not_to_be_made_again(ray_session: Any) -> None:
    ray_session(_enable_object_reconstruction=False)
    ref = numbers.remote(3)
    spoil(ref, os.unlink)
    with pytest.raises(ObjectReconstructionFailedError, match="_enable_object_reconstruction"):
        ray.get(ref, timeout=60)


def test_a_put_is_lost_for_good(ray_session: Any) -> None:
    ray_session()
    ref = ray.put(np.arange(SIZE))
    with pytest.raises(ObjectLostError, match=r"put\(\)"):
        ray.get(lose_and_read.remote([ref]), timeout=60)


@ray.remote
def lose_and_read(refs: list[Any]) -> int:
    ray.wait(refs, timeout=60.0)
    os.unlink(refs[0]._entry.data.segment)
    return int(ray.get(refs[0])[0])
