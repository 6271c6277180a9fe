"""Packages of runtime environments: installed once for a node, seen by who asked for them alone.

Nothing is fetched: what is installed is a wheel that the tests make themselves.
"""

from __future__ import annotations

import os
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import ray_on_dask as ray
from ray_on_dask.api.environments import packages_of, spelled
from ray_on_dask.exceptions import RuntimeEnvSetupError

OFFLINE = ["--no-index", "--no-deps"]


@pytest.fixture(scope="module", autouse=True)
def session() -> Iterator[None]:
    ray.init(num_cpus=2, include_dashboard=False)
    yield
    ray.shutdown()


@pytest.mark.parametrize("environment", [{"py_modules": "module"}, {"working_dir": 3}])
def test_what_is_no_path_or_list_is_refused_at_once(environment: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=next(iter(environment))):
        ray.remote(lambda: 1).options(runtime_env=environment).remote()


def wheel(folder: Path, name: str, version: str) -> str:
    """The path of a wheel of one module, which knows its version."""
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(f"{name}.py", f"version = {version!r}\n")
        about = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        file.writestr(f"{info}/METADATA", about)
        how = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        file.writestr(f"{info}/WHEEL", how)
        file.writestr(f"{info}/RECORD", "")
    return str(path)


@ray.remote
def version_of(name: str) -> tuple[str, str]:
    """A module's version, and the interpreter."""
    import importlib

    module: Any = importlib.import_module(name)
    return module.version, sys.prefix


def test_packages_are_there_for_who_asks_and_for_nobody_else(tmp_path: Path) -> None:
    packages = {"packages": [wheel(tmp_path, "rod_one", "1.0")], "pip_install_options": OFFLINE}
    with_it = version_of.options(runtime_env={"pip": packages, "env_vars": {"X": "1"}})
    start = time.monotonic()
    found = ray.get([with_it.remote("rod_one") for _ in range(4)], timeout=100)
    first = time.monotonic() - start
    assert {version for version, _ in found} == {"1.0"}
    assert len({prefix for _, prefix in found}) == 1 and found[0][1] != sys.prefix
    with pytest.raises(ModuleNotFoundError):
        ray.get(version_of.remote("rod_one"), timeout=30)

    @ray.remote(runtime_env={"pip": packages})
    class Actor:
        def look(self) -> tuple[str, str, Any]:
            import numpy as np
            import rod_one  # type: ignore[import-not-found]

            return rod_one.version, sys.prefix, np.ones(20_000)

    start = time.monotonic()
    version, prefix, array = ray.get(Actor.remote().look.remote(), timeout=60)
    assert (version, prefix, array.sum()) == ("1.0", found[0][1], 20_000)
    assert time.monotonic() - start < max(first, 3.0), "it is there already"


def test_each_version_has_an_environment_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "requirements.txt"
    file.write_text(f"# ours\n--no-index\n{wheel(tmp_path, 'rod_two', '1.0')}\n")
    two = {"packages": [wheel(tmp_path, "rod_two", "2.0")], "pip_install_options": OFFLINE}
    refs = [
        version_of.options(runtime_env={"pip": given}).remote("rod_two")
        for given in (str(file), two)
    ]
    assert [version for version, _ in ray.get(refs, timeout=100)] == ["1.0", "2.0"]


def test_what_pip_says_is_in_the_error(tmp_path: Path) -> None:
    gone = {"packages": ["rod-nowhere==9"], "pip_install_options": ["--no-index"]}
    with pytest.raises(RuntimeEnvSetupError, match=r"No matching distribution .* rod-nowhere"):
        ray.get(version_of.options(runtime_env={"pip": gone}).remote("x"), timeout=100)
    assert ray.get(ray.remote(os.getpid).remote(), timeout=30)


def test_it_has_a_time_to_be_ready_in(tmp_path: Path) -> None:
    slow = tmp_path / "slow"
    slow.mkdir()
    (slow / "setup.py").write_text("import time; time.sleep(60)\n")
    environment = {
        "pip": {"packages": [str(slow)], "pip_install_options": ["--no-build-isolation", *OFFLINE]},
        "config": {"setup_timeout_seconds": 2},
    }
    with pytest.raises(RuntimeEnvSetupError, match=r"not done within 2 s"):
        ray.get(version_of.options(runtime_env=environment).remote("x"), timeout=60)


def test_an_interpreter_can_be_named(tmp_path: Path) -> None:
    @ray.remote(runtime_env={"py_executable": f"{sys.executable} -X importtime_of_nothing"})
    def options() -> dict[str, Any]:
        return sys._xoptions

    assert "importtime_of_nothing" in ray.get(options.remote(), timeout=60)


# -- how they are spelled ------------------------------------------------------------------


def test_all_forms_say_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "requirements.txt").write_text("a\n\n# b\nc==1\n")
    monkeypatch.chdir(tmp_path)
    wanted = {"packages": ["a", "c==1"], "options": [], "check": False, "version": ""}
    for given in (["a", "c==1"], {"packages": ["a", "c==1"]}, "requirements.txt",
                  {"packages": "requirements.txt"}):  # fmt: skip
        assert packages_of("pip", given) == packages_of("uv", given) == wanted
    assert packages_of("pip", wanted) == wanted
    (tmp_path / "here").mkdir()
    assert packages_of("pip", ["./here"])["packages"] == [str(tmp_path / "here")]


@pytest.mark.parametrize(
    ("environment", "error", "text"),
    [
        ({"pip": 1}, TypeError, "a list of packages"),
        ({"pip": "/no/such.txt"}, ValueError, "cannot be read"),
        ({"uv": {"packages": [1]}}, TypeError, "a list of str"),
        ({"pip": {"packages": [], "pip_chek": True}}, ValueError, "pip_chek"),
        ({"worker_process_setup_hook": 1}, TypeError, "a function"),
    ],
)
def test_what_is_none_is_refused_at_the_call(
    environment: dict[str, Any], error: Any, text: str
) -> None:
    with pytest.raises(error, match=text):
        spelled(environment)
