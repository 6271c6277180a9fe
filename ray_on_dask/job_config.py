"""`JobConfig`: what `init(job_config=...)` takes, for programs that set a job up ahead of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_LIFETIMES = ("detached", "non_detached")


class JobConfig:
    """Settings of one driver's session.

    Parameters
    ----------
    jvm_options, code_search_path : list of str, optional
        For other languages than Python: kept, of no effect.
    runtime_env : dict, optional
        The environment of the job's tasks and actors, as ``init(runtime_env=...)``.
    metadata : dict of str to str, optional
        Kept with the job.
    ray_namespace : str, optional
        As ``init(namespace=...)``.
    default_actor_lifetime : str
        ``"non_detached"`` or ``"detached"``: kept, of no effect; an actor that is to outlive its
        job says so itself (``lifetime="detached"``).

    Raises
    ------
    ValueError
        For another lifetime.
    """

    def __init__(
        self,
        jvm_options: list[str] | None = None,
        code_search_path: list[str] | None = None,
        runtime_env: dict[str, Any] | None = None,
        _client_job: bool = False,
        metadata: dict[str, str] | None = None,
        ray_namespace: str | None = None,
        default_actor_lifetime: str = "non_detached",
        _disable_job_level_lineage_reconstruction: bool = False,
        _py_driver_sys_path: list[str] | None = None,
    ):
        self.jvm_options = jvm_options or []
        self.code_search_path = code_search_path or []
        self.metadata = metadata or {}
        self.ray_namespace = ray_namespace
        self.runtime_env: dict[str, Any] = {}
        self.py_logging_config: Any = None
        self._client_job = _client_job
        self.set_runtime_env(runtime_env)
        self.set_default_actor_lifetime(default_actor_lifetime)

    def set_metadata(self, key: str, value: str) -> None:
        """Add to the metadata."""
        self.metadata[key] = value

    def set_runtime_env(self, runtime_env: dict[str, Any] | None, validate: bool = False) -> None:
        """Replace the environment; `validate` checks it as `RuntimeEnv` does."""
        if validate and runtime_env:
            from ray_on_dask.runtime_env import RuntimeEnv

            runtime_env = RuntimeEnv(**runtime_env)
        self.runtime_env = runtime_env or {}

    def set_ray_namespace(self, ray_namespace: str) -> None:
        """Replace the namespace."""
        self.ray_namespace = ray_namespace

    def set_py_logging_config(self, logging_config: Any = None) -> None:
        """Have the driver and its executors write their logs as a `LoggingConfig` says."""
        self.py_logging_config = logging_config

    def set_default_actor_lifetime(self, default_actor_lifetime: str) -> None:
        """Replace the lifetime of actors that say nothing about theirs."""
        if default_actor_lifetime not in _LIFETIMES:
            raise ValueError(
                f"default_actor_lifetime must be one of {_LIFETIMES}, but is "
                f"{default_actor_lifetime!r}"
            )
        self.default_actor_lifetime = default_actor_lifetime

    @classmethod
    def from_json(cls, job_config_json: Mapping[str, Any]) -> JobConfig:
        """The settings from a mapping with any of the constructor's names."""
        names = {"namespace": "ray_namespace", "client_job": "_client_job"}
        return cls(**{names.get(key, key): value for key, value in job_config_json.items()})
