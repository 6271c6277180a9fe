"""Built-in functions and functions compiled by Cython as tasks."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

import ray_on_dask as ray

SOURCE = """# cython: language_level=3, embedsignature=True, binding=True
def fibonacci(int n):
    cdef long a = 0, b = 1
    for _ in range(n):
        a, b = b, a + b
    return a

def fails():
    raise ValueError("from compiled code")

class Scaler:
    def __init__(self, factor):
        self.factor = factor
    def scale(self, x):
        return self.factor * x
"""


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A module compiled by Cython, importable here, and so in executors too."""
    pytest.importorskip("Cython")
    folder = tmp_path_factory.mktemp("compiled")
    (folder / "compiled_for_test.pyx").write_text(SOURCE)
    subprocess.run(
        [sys.executable, "-m", "Cython.Build.Cythonize", "-i", "-q", "compiled_for_test.pyx"],
        cwd=folder, check=True, timeout=110,
    )  # fmt: skip
    sys.path.insert(0, str(folder))
    try:
        yield importlib.import_module("compiled_for_test")
    finally:
        sys.path.remove(str(folder))


@pytest.fixture
def session(compiled: Any) -> Iterator[None]:
    """A session begun when the compiled module can be imported."""
    ray.init(num_cpus=1, include_dashboard=False)
    yield
    ray.shutdown()


def test_a_cython_function_is_a_task(session: None, compiled: Any) -> None:
    fibonacci = ray.remote(compiled.fibonacci)
    assert ray.get([fibonacci.remote(n) for n in range(10)]) == [0, 1, 1, 2, 3, 5, 8, 13, 21, 34]
    with pytest.raises(TypeError):
        fibonacci.remote(1, 2)


def test_an_error_in_compiled_code_arrives_with_its_class(session: None, compiled: Any) -> None:
    with pytest.raises(ValueError, match="from compiled code"):
        ray.get(ray.remote(compiled.fails).remote())


def test_a_compiled_class_is_an_actor(session: None, compiled: Any) -> None:
    scaler = ray.remote(compiled.Scaler).remote(3)
    assert ray.get(scaler.scale.remote(14)) == 42


def test_builtin_functions_and_methods_are_tasks(session: None) -> None:
    assert ray.get(ray.remote(len).remote("four")) == 4
    assert ray.get(ray.remote(sum).remote([1, 2, 3])) == 6
    assert ray.get(ray.remote("-".join).remote(["a", "b"])) == "a-b"
    assert ray.get(ray.remote(lambda x: x * 2).remote(21)) == 42
