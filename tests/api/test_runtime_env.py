"""Runtime environments: variables, directories, modules, and what cannot be had."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import ray_on_dask as ray
from ray_on_dask.exceptions import RuntimeEnvSetupError


@pytest.fixture(scope="module", autouse=True)
def session() -> Iterator[None]:
    """One session for all, with one CPU: an executor that is not given back shows."""
    ray.init(num_cpus=1, include_dashboard=False)
    yield
    ray.shutdown()


@ray.remote
def variable(name: str) -> str | None:
    """An environment variable of the process that runs this."""
    return os.environ.get(name)


def test_variables_are_there_before_the_interpreter_starts() -> None:
    environment = {"env_vars": {"ENGINE_TEST": "yes"}}
    assert ray.get(variable.options(runtime_env=environment).remote("ENGINE_TEST")) == "yes"
    assert ray.get(variable.remote("ENGINE_TEST")) is None


def test_a_working_directory_is_entered_and_importable(tmp_path: Path) -> None:
    (tmp_path / "module_of_working_dir.py").write_text("answer = 42\n")

    @ray.remote(runtime_env={"working_dir": str(tmp_path)})
    def look() -> tuple[str, int]:
        import module_of_working_dir  # type: ignore[import-not-found]

        return os.getcwd(), module_of_working_dir.answer

    assert ray.get(look.remote()) == (str(tmp_path), 42)


def test_modules_are_importable_from_where_they_lie(tmp_path: Path) -> None:
    package = tmp_path / "package_of_py_modules"
    package.mkdir()
    (package / "__init__.py").write_text("answer = 43\n")

    @ray.remote(runtime_env={"py_modules": [str(package)]})
    def look() -> int:
        import package_of_py_modules  # type: ignore[import-not-found]

        answer: int = package_of_py_modules.answer
        return answer

    assert ray.get(look.remote()) == 43


@pytest.mark.parametrize(
    "environment", [{"conda": "a"}, {"image_uri": "b"}, {"working_dir": "/no/such"}]
)
def test_what_cannot_be_had_fails_the_task_and_nothing_else(environment: dict[str, object]) -> None:
    """Whether or not an executor stands by: a class that has failed holds no lease."""
    with pytest.raises(RuntimeEnvSetupError):
        ray.get(variable.options(runtime_env=environment).remote("HOME"), timeout=20)
    assert ray.get(variable.remote("HOME"), timeout=20) == os.environ.get("HOME")


# -- the hook ----------------------------------------------------------------------------------


@ray.remote
def seen() -> tuple[str | None, bool]:
    """What the hook has left, and whether tasks run in the thread that it ran in."""
    import threading

    where = os.environ.get("HOOK_THREAD")
    return os.environ.get("HOOK_RAN"), where == str(threading.get_ident())


def test_a_hook_runs_once_before_the_first_task_in_the_main_thread() -> None:
    def hook() -> None:
        import threading

        os.environ["HOOK_RAN"] = os.environ.get("HOOK_RAN", "") + "x"
        os.environ["HOOK_THREAD"] = str(threading.get_ident())

    hooked = seen.options(runtime_env={"worker_process_setup_hook": hook})
    assert ray.get([hooked.remote() for _ in range(3)], timeout=30) == [("x", True)] * 3
    assert ray.get(seen.remote(), timeout=30)[0] is None

    @ray.remote(runtime_env={"worker_process_setup_hook": hook})
    class Actor:
        def __init__(self) -> None:
            self.ran = os.environ.get("HOOK_RAN")

        def look(self) -> str | None:
            return self.ran

    assert ray.get(Actor.remote().look.remote(), timeout=30) == "x"


def test_a_hook_may_be_named_and_one_that_fails_fails_the_tasks() -> None:
    named = seen.options(runtime_env={"worker_process_setup_hook": "os.getpid"})
    assert ray.get(named.remote(), timeout=30)[0] is None
    failing = seen.options(runtime_env={"worker_process_setup_hook": "os.nothing"})
    for _ in range(2):
        with pytest.raises(RuntimeEnvSetupError, match="worker_process_setup_hook raised"):
            ray.get(failing.remote(), timeout=30)
