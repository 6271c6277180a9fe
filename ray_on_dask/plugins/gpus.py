"""Which GPUs a node has: found through NVML, as `CUDA_VISIBLE_DEVICES` allows, and not twice.

Several Dask workers on one host may all see all of its GPUs. So a node *claims* those it has, by a
name for each that the kernel gives to one process at a time. Workers of one cluster never
have the same GPU twice, whoever comes first. With dask-cuda, which starts a worker for each GPU and
shows it all of them in an order that begins with its own, a node claims the first alone.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import socket
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from ray_on_dask.core.gpus import GpuId

logger = logging.getLogger("ray_on_dask")

#: The model within NVML's name of it, as Ray has it: capitals up to the first word with a digit.
_MODEL = re.compile(r"\w+\s+((?:[A-Z]+\s+)*[A-Z0-9]*\d[A-Z0-9]*)")
_NOTHING = ("", "NoDevFiles")


@dataclass(frozen=True)
class Gpu:
    """A GPU, or a part of one, that this process may use."""

    #: As it stands in `CUDA_VISIBLE_DEVICES`.
    id: GpuId
    #: Such as "A100", "V100", "GeForce-RTX-4090"; "" if nobody knows.
    kind: str
    #: What is the same for all who see it.
    uuid: str


@dataclass
class Claim:
    """The GPUs of one node, claimed until `release`."""

    ids: list[GpuId] = field(default_factory=list)
    kinds: set[str] = field(default_factory=set)
    locks: list[socket.socket] = field(default_factory=list)

    def release(self) -> None:
        """Let others claim them."""
        while self.locks:
            self.locks.pop().close()


def visible() -> list[Gpu]:
    """The GPUs that this process may use, in the order of `CUDA_VISIBLE_DEVICES`."""
    text = os.environ.get("CUDA_VISIBLE_DEVICES")
    if text is not None and text.strip() in _NOTHING:
        return []
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:
        return []
    try:
        found = [x for index in range(pynvml.nvmlDeviceGetCount()) for x in _gpus(pynvml, index)]
    finally:
        pynvml.nvmlShutdown()
    return [gpu for gpu, _ in found] if text is None else list(_chosen(text, found))


def _gpus(nvml: Any, index: int) -> list[tuple[Gpu, int]]:
    """A GPU, or the parts it is divided in, with its number."""
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    kind, uuid = _kind(_text(nvml.nvmlDeviceGetName(handle))), f"GPU-{index}"
    try:
        uuid = _text(nvml.nvmlDeviceGetUUID(handle))
        if nvml.nvmlDeviceGetMigMode(handle)[0] != 1:
            return [(Gpu(index, kind, uuid), index)]
        parts = []
        for at in range(nvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
            try:
                part = nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, at)
            except Exception:  # there is none at this place
                continue
            name = _text(nvml.nvmlDeviceGetUUID(part))
            parts.append((Gpu(name, kind, name), index))
    except Exception:  # an old driver, or a GPU that cannot be divided
        return [(Gpu(index, kind, uuid), index)]
    return parts


def _chosen(text: str, found: Iterable[tuple[Gpu, int]]) -> Iterable[Gpu]:
    """As CUDA reads it: what comes after a name that is none does not count."""
    known = list(found)
    for word in (word.strip() for word in text.split(",")):
        if word.isdecimal():
            match = next((gpu for gpu, index in known if index == int(word)), None)
        elif word.startswith(("GPU-", "MIG-")):
            whole = next((gpu for gpu, _ in known if gpu.uuid.startswith(word)), None)
            match = Gpu(word, whole.kind, whole.uuid) if whole else None
            if whole is None and word.startswith("MIG-"):  # named as old drivers do
                match = Gpu(word, "", word)
        else:
            match = None
        if match is None:
            return
        yield match


def _text(given: str | bytes) -> str:
    return given.decode() if isinstance(given, bytes) else given


def _kind(name: str) -> str:
    """The model as Ray names it: "Tesla V100-SXM2-16GB" is "V100"."""
    match = _MODEL.match(name)
    if match is not None and len(match[1]) > 1:
        return match[1].replace(" ", "-")
    return re.sub(r"^NVIDIA\s+", "", name).strip().replace(" ", "-")


def claim(cluster: str, wanted: int | None) -> Claim:
    """Claim GPUs for a node of a cluster.

    Parameters
    ----------
    cluster : str
        The scheduler's address: nodes of different clusters do not know of each other.
    wanted : int or None
        How many the node was told that it has; None for all that it sees, and nobody has claimed.
    """
    found = visible() if wanted != 0 else []
    if wanted is None and "dask_cuda" in sys.modules:
        found = found[:1]
    most = len(found) if wanted is None else wanted
    made = Claim()
    for gpu in found:
        if len(made.ids) >= most:
            break
        lock = _lock(cluster, gpu.uuid)
        if lock is not None:
            made.locks.append(lock)
            made.ids.append(gpu.id)
            made.kinds |= {gpu.kind} - {""}
    if wanted is not None and len(made.ids) < wanted:
        _make_up(made, wanted, found)
    return made


def _make_up(made: Claim, wanted: int, found: list[Gpu]) -> None:
    """It was told that it has more than there are, or than are left: so it is, as it was told."""
    if found:
        logger.warning(
            "this node was told that it has %d GPUs, but only %d of the %d that it sees are left "
            "by other workers of this host: some are used twice", wanted, len(made.ids), len(found)
        )  # fmt: skip
    taken = set(made.ids)
    others: list[GpuId] = [gpu.id for gpu in found if gpu.id not in taken]
    others += [number for number in range(wanted + len(found)) if number not in {*taken, *others}]
    made.ids += others[: wanted - len(made.ids)]
    made.kinds |= {gpu.kind for gpu in found if gpu.id in made.ids} - {""}


def _lock(cluster: str, uuid: str) -> socket.socket | None:
    """What holds the name of one GPU until it is closed, None if another process has it.

    A socket's name without a file, to which nobody connects: nothing is left of it when its process
    dies, however that comes about.
    """
    name = hashlib.sha256(f"{os.geteuid()} {cluster} {uuid}".encode()).hexdigest()[:32]
    held = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        held.bind(f"\0ray_on_dask-gpu-{name}")
    except OSError:
        held.close()
        return None
    return held
