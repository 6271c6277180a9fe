"""The arguments of `init`: all eras' names, checked, in one form."""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass, field
from typing import Any

from ray_on_dask.api.modes import PYTHON_MODE, SCRIPT_MODE, SILENT_MODE, WORKER_MODE
from ray_on_dask.config import setting

#: Positions of the arguments in the API of 2017, after `redis_address`.
_POSITIONS = (
    "node_ip_address", "object_id_seed", "num_workers", "driver_mode", "redirect_output",
    "num_cpus", "num_gpus", "num_custom_resource", "num_redis_shards", "plasma_directory",
    "huge_pages",
)  # fmt: skip

#: Refused, with the reason.
_REFUSED = {
    "storage": "it was removed from Ray; give tasks paths that all nodes can reach",
    "scheduler_address": "the scheduler is Dask's: pass its address as `address`",
    "num_objstores": "there is one object store a node",
    "proxy_server_url": "the dashboard is Dask's: see the `distributed.dashboard` configuration",
    "cgroup_path": "memory is watched without control groups",
    "system_reserved_cpu": "reserve CPUs by `num_cpus`",
    "system_reserved_memory": "reserve memory by `_memory`",
}

#: Arguments that belong to the start of a cluster.
_OF_CLUSTER = (
    "num_cpus", "num_gpus", "resources", "labels", "object_store_memory", "num_workers",
    "num_custom_resource", "plasma_directory", "huge_pages", "num_redis_shards", "memory",
    "object_spilling_directory", "node_name",
)  # fmt: skip

_ALIASES = {
    "_memory": "memory", "_plasma_directory": "plasma_directory", "_temp_dir": "temp_dir",
    "_node_ip_address": "node_ip_address", "_redis_password": "redis_password",
    "_redis_username": "redis_username", "_node_name": "node_name",
    "_enable_object_reconstruction": "enable_object_reconstruction",
}  # fmt: skip


@dataclass
class InitOptions:
    """What `init` was given; None where it was given nothing."""

    address: Any = None
    num_cpus: float | None = None
    num_gpus: int | None = None
    resources: dict[str, float] | None = None
    labels: dict[str, str] | None = None
    object_store_memory: int | None = None
    memory: int | None = None
    local_mode: bool = False
    ignore_reinit_error: bool = False
    include_dashboard: bool | None = None
    dashboard_host: str = "127.0.0.1"
    dashboard_port: int | None = None
    job_config: Any = None
    configure_logging: bool = True
    logging_level: Any = "info"
    logging_format: str | None = None
    logging_config: Any = None
    log_to_driver: bool = True
    namespace: str | None = None
    runtime_env: dict[str, Any] | None = None
    enable_resource_isolation: bool = False
    object_spilling_directory: str | None = None
    # -- the old API's
    redis_address: str | None = None
    redis_password: str | None = None
    redis_username: str | None = None
    node_ip_address: str | None = None
    object_id_seed: int | None = None
    num_workers: int | None = None
    driver_mode: int = SCRIPT_MODE
    redirect_output: bool = False
    num_custom_resource: float | None = None
    num_redis_shards: int | None = None
    plasma_directory: str | None = None
    huge_pages: bool = False
    start_ray_local: bool | None = None
    # -- this package's
    temp_dir: str | None = None
    node_name: str | None = None
    enable_object_reconstruction: bool = True
    wait_timeout_unit: str = "ms"
    record_graph: bool = False
    #: The user's own Dask client, if `address` is one.
    client: Any = None
    #: `_`-names of Ray's that change nothing here, accepted with their defaults.
    ignored: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, address: Any, args: tuple[Any, ...], given: dict[str, Any]) -> InitOptions:
        """Check what `init` was given.

        Raises
        ------
        TypeError, ValueError, RuntimeError
            Naming the argument, what was given and what is accepted.
        """
        if len(args) > len(_POSITIONS):
            raise TypeError(f"init() takes at most {len(_POSITIONS) + 1} positional arguments")
        for name, value in zip(_POSITIONS, args, strict=False):
            if name in given:
                raise TypeError(f"init() got multiple values for argument {name!r}")
            given[name] = value
        options = cls(
            address,
            wait_timeout_unit=setting("wait-timeout-unit", "ms"),
            log_to_driver=bool(setting("log-to-driver", True)),
            namespace=setting("namespace"), temp_dir=setting("temp-dir"),
        )  # fmt: skip
        known = set(cls.__dataclass_fields__) - {"client", "ignored"}
        for name, value in given.items():
            options._take(name, value, known)
        options._settle()
        return options

    def _take(self, name: str, value: Any, known: set[str]) -> None:
        target = _ALIASES.get(name, name)
        if target in _REFUSED:
            if value is not None:
                raise RuntimeError(f"init({name}=...) is not supported: {_REFUSED[target]}.")
            return
        if target in known:
            if value is not None:
                setattr(self, target, value)
        elif name in ("_skip_env_hook", "_metrics_export_port", "_tracing_startup_hook",
                      "_driver_object_store_memory", "_system_config"):  # fmt: skip
            if value not in (None, False):
                raise RuntimeError(f"init({name}={value!r}) is not supported by ray_on_dask.")
        else:
            near = difflib.get_close_matches(name, known, 1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise RuntimeError(f"Unknown keyword argument(s): {name}.{hint}")

    def _settle(self) -> None:
        self._check_types()
        if self.driver_mode not in (SCRIPT_MODE, PYTHON_MODE, SILENT_MODE):
            word = "an executor's mode" if self.driver_mode == WORKER_MODE else "unknown"
            raise ValueError(
                f"init(driver_mode={self.driver_mode!r}) is {word}; it is one of SCRIPT_MODE, "
                "PYTHON_MODE and SILENT_MODE"
            )
        if self.driver_mode == PYTHON_MODE:
            self.local_mode = True
        if self.wait_timeout_unit not in ("s", "ms"):
            raise ValueError(f"init(wait_timeout_unit={self.wait_timeout_unit!r}): 's' or 'ms'")
        if self.huge_pages and not self.plasma_directory:
            raise ValueError("init(huge_pages=True) requires plasma_directory, a hugetlbfs mount")
        self._find_address()
        if self.starts_cluster and not self.local_mode:
            self._check_directories()
        if not self.starts_cluster:
            self._refuse_with_address()
        if self.job_config is not None:
            self.runtime_env = self.runtime_env or getattr(self.job_config, "runtime_env", None)
            self.namespace = self.namespace or getattr(self.job_config, "ray_namespace", None)
            self.logging_config = self.logging_config or getattr(
                self.job_config, "py_logging_config", None
            )

    def _check_types(self) -> None:
        for name, kinds in (
            ("num_cpus", (int, float)), ("num_gpus", (int, float)), ("num_workers", (int,)),
            ("object_store_memory", (int, float)), ("object_id_seed", (int,)),
            ("num_redis_shards", (int,)), ("num_custom_resource", (int, float)),
        ):  # fmt: skip
            value = getattr(self, name)
            if value is None:
                continue
            if not isinstance(value, kinds) or isinstance(value, bool):
                raise TypeError(f"init({name}={value!r}): a number is expected")
            if value < 0 and name != "object_id_seed":
                raise ValueError(f"init({name}={value!r}): it cannot be negative")
        if self.resources is not None:
            self._check_resources(self.resources)
        for name in ("namespace", "plasma_directory", "object_spilling_directory", "node_name"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, str):
                raise TypeError(f"init({name}={value!r}): a str is expected")

    def _check_directories(self) -> None:
        from ray_on_dask.runtime.mounts import problem

        for name, huge_pages in (
            ("plasma_directory", self.huge_pages), ("object_spilling_directory", False),
        ):  # fmt: skip
            value = getattr(self, name)
            why = problem(value, huge_pages) if value else ""
            if why:
                raise ValueError(f"init({name}={value!r}): {why}")

    @staticmethod
    def _check_resources(resources: Any) -> None:
        if not isinstance(resources, dict):
            raise TypeError(f"init(resources={resources!r}): a dict of quantities is expected")
        for name, quantity in resources.items():
            if name in ("CPU", "GPU"):
                raise ValueError(f"init(resources=...): give {name} by num_{name.lower()}s")
            if not isinstance(quantity, int | float) or quantity < 0:
                raise ValueError(
                    f"init(resources={{{name!r}: {quantity!r}}}): a quantity of 0 or more, please"
                )

    def _find_address(self) -> None:
        if self.start_ray_local is True and (self.address or self.redis_address):
            raise ValueError("init(start_ray_local=True) starts a cluster: give it no address")
        if self.address is None and not self.redis_address and not self.local_mode:
            given = os.environ.get("RAY_ON_DASK_ADDRESS") or os.environ.get("RAY_ADDRESS")
            given = given or setting("address")
            if given and self.start_ray_local is not True:
                self.address = given
            elif self.start_ray_local is False:
                self.address = "auto"
        if self.address == "local":
            self.address = None
        if isinstance(self.address, str) and _is_redis(self.address) and not self.redis_address:
            self.redis_address, self.address = self.address, None

    @property
    def starts_cluster(self) -> bool:
        """Whether a new local cluster is to be started."""
        return self.address is None and self.redis_address is None

    def _refuse_with_address(self) -> None:
        given = [name for name in _OF_CLUSTER if getattr(self, name) not in (None, False)]
        if given:
            raise ValueError(
                f"init({given[0]}=...) cannot be given together with an address: resources belong "
                "to the cluster, and are set where it is started (`dask worker --nthreads … "
                "--resources …`)."
            )


def _is_redis(address: str) -> bool:
    """Whether an address can only be a Redis server's: ``host:port`` without a protocol."""
    if address in ("auto", "local") or "://" in address:
        return address.startswith(("redis://", "rediss://"))
    return ":" in address
