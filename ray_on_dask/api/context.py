"""What `init` returns: addresses, as attributes, as a mapping, and in a notebook as a table."""

from __future__ import annotations

import html
import platform
from collections import namedtuple
from collections.abc import Iterator, Mapping
from typing import Any

#: As the oldest API shows it.
ObjectStoreAddress = namedtuple("ObjectStoreAddress", ["name", "manager_name", "manager_port"])


class RayContext(Mapping[str, Any]):
    """A session, as its driver sees it. ``with init(): …`` shuts it down at the end.

    A mapping over the addresses: ``node_ip_address``, ``redis_address``,
    ``object_store_addresses``, ``local_scheduler_socket_names``, ``webui_url``, ….
    """

    def __init__(self, info: dict[str, Any]):
        #: All addresses by name.
        self.address_info = info
        self.python_version = platform.python_version()

    @property
    def dashboard_url(self) -> str | None:
        """``host:port`` of the Dask dashboard, None if there is none."""
        url = self.address_info.get("webui_url") or ""
        return url.removeprefix("http://").partition("/")[0] or None

    @property
    def ray_version(self) -> str:
        """The version of this package."""
        from ray_on_dask import __version__

        return __version__

    @property
    def ray_commit(self) -> str:
        """No commit is recorded in a release."""
        return ""

    def __enter__(self) -> RayContext:
        return self

    def __exit__(self, *exception: object) -> None:
        self.disconnect()

    def disconnect(self) -> None:
        """End the session."""
        from ray_on_dask.api.init import shutdown

        shutdown()

    def __getitem__(self, key: str) -> Any:
        return self.address_info[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.address_info)

    def __len__(self) -> int:
        return len(self.address_info)

    def __repr__(self) -> str:
        return (
            f"RayContext(dashboard_url={self.dashboard_url!r}, "
            f"python_version={self.python_version!r}, ray_version={self.ray_version!r})"
        )

    def _repr_html_(self) -> str:
        rows = {
            "Scheduler": self.address_info.get("address"),
            "Dashboard": self.address_info.get("webui_url"),
            "Node": self.address_info.get("node_ip_address"),
            "Session": self.address_info.get("session_dir"),
            "Version": self.ray_version,
            "Python": self.python_version,
        }
        cells = "".join(
            f"<tr><th style='text-align:left'>{name}</th><td>{_cell(value)}</td></tr>"
            for name, value in rows.items()
            if value
        )
        return f"<div><strong>ray_on_dask</strong><table>{cells}</table></div>"


def _cell(value: Any) -> str:
    text = html.escape(str(value))
    return f"<a href='{text}' target='_blank'>{text}</a>" if text.startswith("http") else text


def address_info(driver: Any) -> dict[str, Any]:
    """The addresses of a session that a driver has joined."""
    facts = driver.session_facts
    store = ObjectStoreAddress(facts["shm"], driver.hub_path, 0)
    return {
        "node_ip_address": facts["ip"],
        "redis_address": facts.get("redis_address") or "",
        "object_store_addresses": [store],
        "object_store_address": facts["shm"],
        "local_scheduler_socket_names": [driver.hub_path],
        "raylet_socket_name": driver.hub_path,
        "webui_url": facts.get("dashboard_url") or "",
        "session_dir": facts["session_dir"],
        "gcs_address": facts["scheduler_address"],
        "address": facts["scheduler_address"],
        "metrics_export_port": facts.get("metrics_port") or 0,
        "dashboard_agent_listen_port": 0,
        "node_id": driver.node,
    }
