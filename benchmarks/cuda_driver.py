"""As much of CUDA's driver as `gpu_check` needs, by `ctypes`: nothing has to be installed."""

from __future__ import annotations

import ctypes
from typing import Any


class CudaError(RuntimeError):
    """A call of the driver failed."""


class Cuda:
    """The first GPU that this process sees."""

    def __init__(self, library: str = "libcuda.so.1") -> None:
        self._cuda = ctypes.CDLL(library)
        self._do("cuInit", 0)
        self._device = ctypes.c_int()
        self._do("cuDeviceGet", ctypes.byref(self._device), 0)

    def _do(self, name: str, *arguments: Any) -> None:
        status = getattr(self._cuda, name)(*arguments)
        if status:
            raise CudaError(f"{name} gave {status}")

    def uuid(self) -> str:
        """What the GPU is called, whatever its number."""
        bytes16 = (ctypes.c_ubyte * 16)()
        self._do("cuDeviceGetUuid", ctypes.byref(bytes16), self._device)
        return bytes(bytes16).hex()

    def begin(self) -> None:
        """Take part in the GPU (make a context)."""
        context = ctypes.c_void_p()
        self._do("cuDevicePrimaryCtxRetain", ctypes.byref(context), self._device)
        self._do("cuCtxSetCurrent", context)

    def allocate(self, nbytes: int) -> None:
        """Take memory, write it, and keep it until the process ends."""
        pointer = ctypes.c_uint64()
        self._do("cuMemAlloc_v2", ctypes.byref(pointer), ctypes.c_size_t(nbytes))
        self._do("cuMemsetD8_v2", pointer, ctypes.c_ubyte(7), ctypes.c_size_t(nbytes))
        self._do("cuCtxSynchronize")

    def free(self) -> int:
        """Bytes that are free on the GPU."""
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        self._do("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
        return free.value
