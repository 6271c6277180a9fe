"""Packages of runtime environments on one node: fetched and unpacked once, gone with the node."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ray_on_dask.runtime import package_names, packages

if TYPE_CHECKING:
    from ray_on_dask.plugins.node import NodeManager

#: Times that a part is asked for, of a control store that does not answer.
TRIES = 3


class PackageCache:
    """The packages that a node has."""

    def __init__(self, node: NodeManager):
        self.node = node
        self._here: set[str] = set()
        #: Those that are on their way: leases that want the same one wait together.
        self._coming: dict[str, asyncio.Task[None]] = {}
        self._bringing: set[asyncio.Task[None]] = set()

    def has(self, environment: dict[str, Any]) -> bool:
        """Whether all packages of an environment are here."""
        return self._here.issuperset(package_names.names_in(environment))

    def bring(
        self, environment: dict[str, Any], ready: Callable[[], object],
        failed: Callable[[str], object],
    ) -> None:  # fmt: skip
        """Call `ready` when all are here, or `failed` with the reason."""
        if self.has(environment):
            ready()
            return
        task = asyncio.get_running_loop().create_task(self._bring(environment, ready, failed))
        self._bringing.add(task)
        task.add_done_callback(self._bringing.discard)

    async def _bring(
        self, environment: dict[str, Any], ready: Callable[[], object],
        failed: Callable[[str], object],
    ) -> None:  # fmt: skip
        try:
            for name in package_names.names_in(environment):
                await self._one(name)
        except Exception as error:  # what a zip file may hold, `zipfile` has many words for
            text = str(error.args[0]) if isinstance(error, KeyError) else str(error)
            failed(f"runtime_env: package {name} cannot be had on this node: {text}")
            return
        ready()

    async def _one(self, name: str) -> None:
        if name in self._here:
            return
        task = self._coming.get(name)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._fetch(name))
            self._coming[name] = task
            task.add_done_callback(lambda _: self._coming.pop(name, None))
        await asyncio.shield(task)

    async def _fetch(self, name: str) -> None:
        loop = asyncio.get_running_loop()
        folder = package_names.folder_of(self.node.directories.session_dir, name)
        await loop.run_in_executor(None, os.makedirs, os.path.dirname(folder), 0o700, True)
        packed = f"{folder}.zip"
        try:
            file = await loop.run_in_executor(None, open, packed, "wb")
            with file:
                start, size = 0, 1
                while start < size:
                    size, data = await self._part(name, start)
                    if not data:
                        raise ValueError("part of it is missing")
                    await loop.run_in_executor(None, file.write, data)
                    start += len(data)
            await loop.run_in_executor(None, _unpack, packed, name, folder)
        finally:
            await loop.run_in_executor(None, _remove, packed)
        self._here.add(name)

    async def _part(self, name: str, start: int) -> tuple[int, bytes]:
        for tries in range(TRIES):
            try:
                size, data = await self.node.dialer.ask("package_read", name=name, start=start)
                break
            except OSError:
                if tries == TRIES - 1:
                    raise
        return int(size), data

    def close(self) -> None:
        """The node ends."""
        for task in [*self._bringing, *self._coming.values()]:
            task.cancel()


def _unpack(packed: str, name: str, folder: str) -> None:
    """Check what has come, and let the folder appear whole or not at all."""
    with open(packed, "rb") as file:
        is_it = package_names.name_of(package_names.uri(packages.digest(file))) == name
    if not is_it:
        raise ValueError("what has come is not what was sent")
    half = f"{folder}.half"
    shutil.rmtree(half, ignore_errors=True)
    packages.unpack(packed, half)
    os.rename(half, folder)


def _remove(path: str) -> None:
    if os.path.exists(path):
        os.unlink(path)
