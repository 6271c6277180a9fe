"""Runtime environments: variables, directories, modules, and what cannot be had."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
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


@ray.remote
def look_around() -> tuple[list[str], int, str]:
    """The files where this runs, what a module there says, and to a program started from here."""
    import module_of_working_dir  # type: ignore[import-not-found]

    code = "import module_of_working_dir as m; print(m.answer)"
    said = subprocess.run([sys.executable, "-c", code], cwd="/", capture_output=True, text=True)
    return sorted(os.listdir()), module_of_working_dir.answer, said.stdout.strip()


def test_a_copy_of_a_working_directory_is_entered_and_importable(tmp_path: Path) -> None:
    module = tmp_path / "module_of_working_dir.py"
    module.write_text("answer = 42\n")
    (tmp_path / "a.log").write_text("")
    files = ["module_of_working_dir.py"]
    environment = {"working_dir": str(tmp_path), "excludes": ["*.log"]}
    first = look_around.options(runtime_env=environment)
    assert ray.get(first.remote(), timeout=30) == (files, 42, "42")
    module.write_text("answer = 5\n")
    assert ray.get(first.remote(), timeout=30)[1] == 42  # as it was when it was taken along
    then = look_around.options(runtime_env=environment)
    assert ray.get(then.remote(), timeout=30)[1] == 5


def test_a_working_directory_may_be_a_zip_file(tmp_path: Path) -> None:
    packed = tmp_path / "packed.zip"
    with zipfile.ZipFile(packed, "w") as file:
        file.writestr("module_of_working_dir.py", "answer = 44\n")
    zipped = look_around.options(runtime_env={"working_dir": str(packed)})
    files = ["module_of_working_dir.py"]
    assert ray.get(zipped.remote(), timeout=30) == (files, 44, "44")


def test_a_folder_that_is_too_large_is_refused_with_its_largest_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ray_on_dask.runtime.packages.SIZE_MAX", 10_000)
    (tmp_path / "small").write_bytes(b"x")
    (tmp_path / "large").write_bytes(os.urandom(20_000))
    large = variable.options(runtime_env={"working_dir": str(tmp_path)})
    with pytest.raises(RuntimeEnvSetupError, match=r"excludes=.*largest files are large \("):
        large.remote("HOME")


def test_a_zip_file_that_cannot_be_unpacked_fails_the_task(tmp_path: Path) -> None:
    packed = tmp_path / "packed.zip"
    with zipfile.ZipFile(packed, "w") as file:
        file.writestr("a", "word " * 50)
    packed.write_bytes(packed.read_bytes().replace(b"word word", b"worm word"))
    broken = variable.options(runtime_env={"working_dir": str(packed)})
    with pytest.raises(RuntimeEnvSetupError, match="cannot be had on this node"):
        ray.get(broken.remote("HOME"), timeout=30)
    assert ray.get(variable.remote("HOME"), timeout=30) == os.environ.get("HOME")


def test_an_actor_and_what_it_launches_are_in_its_folders(tmp_path: Path) -> None:
    (tmp_path / "module_of_working_dir.py").write_text("answer = 45\n")
    (tmp_path / "alone.py").write_text("answer = 46\n")

    @ray.remote(num_cpus=0)
    class Actor:
        def look(self) -> tuple[int, int]:
            import alone  # type: ignore[import-not-found]
            import module_of_working_dir

            return module_of_working_dir.answer, alone.answer

    environment = {"working_dir": str(tmp_path), "py_modules": [str(tmp_path / "alone.py")]}
    actor = Actor.options(runtime_env=environment).remote()
    assert ray.get(actor.look.remote(), timeout=30) == (45, 46)


def test_modules_are_importable(tmp_path: Path) -> None:
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


@pytest.mark.parametrize(
    ("environment", "why"),
    [
        ({"py_executable": "/nowhere/python"}, "no executor comes up"),
        ({"py_executable": "python 'of nothing"}, "No closing quotation"),
        ({"env_vars": {"MUCH": "x" * 200_000}}, "too long"),
        ({"env_vars": {"PYTHONHOME": "/nowhere"}}, "no executor comes up"),
    ],
    ids=["no interpreter", "no command", "too much", "an interpreter that ends"],
)
def test_an_interpreter_that_cannot_be_had_is_an_error(
    environment: dict[str, object], why: str
) -> None:
    with pytest.raises(RuntimeEnvSetupError, match=why):
        ray.get(variable.options(runtime_env=environment).remote("A"), timeout=60.0)
    assert ray.get(variable.remote("ENGINE_TEST"), timeout=60.0) is None, "its CPU is not free"
