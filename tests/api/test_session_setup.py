"""What `init` and its elders take: environments, job configurations, loggers, the builder."""

from __future__ import annotations

import json
import logging
import pickle
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

import ray_on_dask as ray
from ray_on_dask.api import logging_setup
from ray_on_dask.job_config import JobConfig
from ray_on_dask.plugins.detect import given_name
from ray_on_dask.runtime_env import RuntimeEnv, RuntimeEnvConfig


@pytest.fixture(autouse=True)
def loggers_as_before() -> Iterator[None]:
    loggers = [logging.getLogger(), logging.getLogger("ray_on_dask")]
    before = [(logger.handlers[:], logger.level, logger.propagate) for logger in loggers]
    yield
    ray.shutdown()
    for logger, (handlers, level, propagate) in zip(loggers, before, strict=True):
        logger.handlers[:], logger.propagate = handlers, propagate
        logger.setLevel(level)


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: RuntimeEnv(env_vars={"a": 1}), TypeError),
        (lambda: RuntimeEnv(env_vars="x"), TypeError),
        (lambda: RuntimeEnv(working_dir=3), TypeError),
        (lambda: RuntimeEnv(working_dir="/nonexistent"), ValueError),
        (lambda: RuntimeEnv(py_modules="x"), TypeError),
        (lambda: RuntimeEnv(pip=["a"], conda=["b"]), ValueError),
        (lambda: RuntimeEnv(image_uri="x", pip=["a"]), ValueError),
        (lambda: RuntimeEnv(excludes="a"), TypeError),
        (lambda: RuntimeEnv(config=3), TypeError),
        (lambda: RuntimeEnvConfig(setup_timeout_seconds=0), ValueError),
        (lambda: RuntimeEnvConfig(eager_install="x"), TypeError),
        (lambda: JobConfig(default_actor_lifetime="x"), ValueError),
        (lambda: ray.LoggingConfig(encoding="X"), ValueError),
        (lambda: ray.LoggingConfig(additional_log_standard_attrs=["bogus"]), ValueError),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(make: Callable[[], Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        make()


def test_an_environment_is_a_dict() -> None:
    environment = RuntimeEnv(env_vars={"a": "b"}, unknown=3)
    assert environment == {"env_vars": {"a": "b"}, "unknown": 3}
    assert RuntimeEnv.deserialize(environment.serialize()) == environment
    assert pickle.loads(pickle.dumps(environment)) == environment
    with pytest.raises(TypeError):
        environment["env_vars"] = {"a": 1}


def test_modules_are_where_they_lie() -> None:
    alone, package = RuntimeEnv(py_modules=[pickle, json])["py_modules"]
    assert alone == pickle.__file__
    assert f"{package}/__init__.py" == json.__file__


def test_a_node_has_the_name_that_it_was_given() -> None:
    from ray_on_dask.util import state

    ray.init(num_cpus=1, include_dashboard=False, _node_name="mine")
    assert [node["NodeName"] for node in ray.nodes()] == ["mine"]
    assert [node.node_name for node in state.list_nodes()] == ["mine"]
    ray.shutdown()
    with pytest.raises(ValueError, match=r"node_name=.*together with an address"):
        ray.init("tcp://127.0.0.1:1", node_name="mine")
    with pytest.raises(TypeError, match="node_name=3"):
        ray.init(node_name=3)


@pytest.mark.parametrize(("name", "shown"), [("a", "a"), (0, ""), ("tcp://127.0.0.1:9", "")])
def test_a_dask_worker_gives_its_node_its_name(name: Any, shown: str) -> None:
    assert given_name(SimpleNamespace(name=name)) == shown


def test_a_job_config_sets_up_a_session() -> None:
    config = JobConfig(runtime_env=RuntimeEnv(env_vars={"LEVEL": "3"}), ray_namespace="mine")
    ray.init(num_cpus=1, include_dashboard=False, job_config=config)

    @ray.remote
    def level() -> str | None:
        import os

        return os.environ.get("LEVEL")

    assert ray.get(level.remote(), timeout=30) == "3"
    assert ray.get_runtime_context().namespace == "mine"


def test_the_client_builder_begins_and_ends_a_session() -> None:
    builder = ray.client("local").namespace("built").env({"env_vars": {"A": "b"}})
    with builder.connect():
        assert ray.get_runtime_context().namespace == "built"
        assert ray.get_runtime_context().runtime_env == {"env_vars": {"A": "b"}}
    assert not ray.is_initialized()


def test_the_package_logs_as_told(capsys: pytest.CaptureFixture[str]) -> None:
    logging_setup.configure("warning", "%(levelname)s says %(message)s")
    logging.getLogger("ray_on_dask").info("too quiet")
    logging.getLogger("ray_on_dask.part").warning("loud")
    assert capsys.readouterr().err == "WARNING says loud\n"


def test_a_logging_config_structures_the_root_logger(capsys: pytest.CaptureFixture[str]) -> None:
    logging_setup.apply(ray.LoggingConfig("JSON", "INFO", ["name"]))
    logging.getLogger("mine").info("a message", extra={"key": 1})
    found = json.loads(capsys.readouterr().err)
    assert (found["message"], found["name"], found["key"]) == ("a message", "mine", 1)
    logging_setup.apply(ray.LoggingConfig("TEXT"))
    logging.getLogger("mine").info("a message", extra={"key": 1})
    assert capsys.readouterr().err.rstrip().endswith("a message key=1")
