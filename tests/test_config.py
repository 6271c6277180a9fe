"""Settings from Dask's configuration, read without Dask."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import ray_on_dask
from ray_on_dask import config

FOLDER = Path(ray_on_dask.__file__).parent


def run(code: str, **variables: str) -> str:
    """What a program prints that has only these variables about us."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30,
        env={"PYTHONPATH": str(FOLDER.parent), "PATH": "/usr/bin:/bin", **variables},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


READ = (
    "import sys; from ray_on_dask.config import setting; "
    "print(setting({!r}), 'dask' in sys.modules)"
)


def test_a_variable_is_read_as_dask_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DASK_RAY_ON_DASK__NODE_TIMEOUT", "2.5")
    monkeypatch.setenv("DASK_RAY_ON_DASK__LOG_TO_DRIVER", "false")
    monkeypatch.setenv("DASK_RAY_ON_DASK__ADDRESS", "tcp://a:1")
    assert config.setting("node-timeout") == 2.5
    assert config.setting("log-to-driver", True) is False
    assert config.setting("address") == "tcp://a:1"


def test_a_number_out_of_its_limits_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert config.number("spread-threshold", 0.5, most=1.0) == 0.5
    for value in ("1.5", "-1", "true", "half"):
        monkeypatch.setenv("DASK_RAY_ON_DASK__SPREAD_THRESHOLD", value)
        with pytest.raises(ValueError, match=r"spread-threshold is .*: a number from 0 to 1"):
            config.number("spread-threshold", 0.5, most=1.0)


def test_a_file_with_our_section_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("ray-on-dask:\n  address: tcp://a:1\n")
    assert run(READ.format("address"), DASK_CONFIG=str(tmp_path)) == "tcp://a:1 True"


def test_dask_is_not_imported_for_files_that_do_not_name_us(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("distributed:\n  version: 2\n")
    assert run(READ.format("address"), DASK_CONFIG=str(tmp_path)) == "None False"


def test_what_the_program_has_set_counts() -> None:
    import dask.config

    with dask.config.set({"ray-on-dask.namespace": "mine"}):
        assert config.setting("namespace") == "mine"
    assert config.setting("namespace", "default") == "default"


def test_file_schema_and_code_name_the_same_settings() -> None:
    defaults = yaml.safe_load((FOLDER / "ray-on-dask.yaml").read_text())["ray-on-dask"]
    schema = yaml.safe_load((FOLDER / "ray-on-dask-schema.yaml").read_text())
    properties = schema["properties"]["ray-on-dask"]["properties"]
    assert set(defaults) == set(properties) == set(config.NAMES)
    assert all("description" in about for about in properties.values())


def test_sizes_are_written_as_dask_writes_them() -> None:
    assert config.nbytes("4GB") == 4_000_000_000
    assert config.nbytes(None) is None
    with pytest.raises(ValueError):
        config.nbytes("much")


def test_init_takes_its_address_from_the_configuration() -> None:
    code = (
        "import ray_on_dask as ray\n"
        "try: ray.init()\n"
        "except ConnectionError as error: print(error)\n"
    )
    said = run(code, DASK_RAY_ON_DASK__ADDRESS="tcp://127.0.0.1:1",
               DASK_RAY_ON_DASK__CONNECT_TIMEOUT="0.1")  # fmt: skip
    assert "No Dask scheduler answers at tcp://127.0.0.1:1" in said
