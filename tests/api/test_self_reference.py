"""Functions and classes that refer to themselves: wrapped again in the middle of unpickling."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="module")
def ray(ray_session):
    return ray_session()


def test_a_task_launches_its_own_function_with_defaults_and_keywords(ray):
    @ray.remote
    def depth(n=3, *, step=1):
        if n <= 0:
            return 0
        return 1 + ray.get(depth.remote(n - step)) + ray.get(depth.remote(n=0))

    assert ray.get(depth.remote(), timeout=20) == 3
    assert ray.get(depth.remote(4, step=2), timeout=20) == 3


def test_an_actor_makes_others_of_its_own_class(ray):
    @ray.remote(num_cpus=0)
    class Node:
        def __init__(self, depth=0):
            self.depth = depth

        def deepest(self, below=1):
            if self.depth == 3:
                return self.depth
            return ray.get(Node.remote(self.depth + below).deepest.remote())

    assert ray.get(Node.remote().deepest.remote(), timeout=30) == 3


def test_a_wrong_call_of_it_is_refused_where_it_is_made(ray):
    @ray.remote
    def wrong(n):
        wrong.remote(1, 2, 3)

    with pytest.raises(TypeError, match="too many positional"):
        ray.get(wrong.remote(1), timeout=20)
