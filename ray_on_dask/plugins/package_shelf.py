"""The packages of a cluster's runtime environments, kept beside the control store.

Each lies in a file without a name, so that nothing is left when the scheduler dies. What no
running job has asked for goes when room is needed, the longest unused first.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any

from ray_on_dask.runtime.packages import PART, SIZE_MAX

if TYPE_CHECKING:
    from ray_on_dask.core.control import ControlStore

#: Bytes of all packages.
LIMIT = 4 << 30
#: Seconds after which a package of which nothing more comes is given up.
SILENCE = 120.0


@dataclass
class _Package:
    size: int
    file: IO[bytes] = field(default_factory=tempfile.TemporaryFile)
    jobs: set[int] = field(default_factory=set)
    written: int = 0
    used: float = 0.0


class PackageShelf:
    """Takes packages from drivers, part by part, and gives them to nodes.

    Parameters
    ----------
    store : ControlStore
        It hands on the questions, and knows whose process is of which job.
    now : callable
        The clock.
    """

    def __init__(self, store: ControlStore, now: Callable[[], float]):
        self._store = store
        self._now = now
        self._packages: dict[str, _Package] = {}
        #: {(who sends it, name): what has come so far}.
        self._coming: dict[tuple[str, str], _Package] = {}
        store.extra |= {
            "package_begin": self.begin, "package_part": self.part, "package_read": self.read,
        }  # fmt: skip

    def _job_of(self, process: str) -> int:
        member = self._store.members.get(process)
        return member.job if member is not None else 0

    def _runs(self, job: int) -> bool:
        found = self._store.jobs.get(job)
        return found is not None and not found.ended

    def begin(self, sender: str, name: str, size: int) -> bool:
        """Whether a package is to be sent; `ValueError` if there is no room for it."""
        package = self._packages.get(name)
        if package is None:
            if not 0 < size <= SIZE_MAX:
                raise ValueError(f"a package of {size:,} bytes, the most are {SIZE_MAX:,}")
            self._make_room(size)
            try:
                package = self._coming[sender, name] = _Package(size)
            except OSError as error:
                raise ValueError(f"no file can be made at the scheduler: {error}") from None
        package.jobs.add(self._job_of(sender))
        package.used = self._now()
        return name not in self._packages

    def part(self, sender: str, name: str, start: int, data: bytes) -> None:
        """The next bytes of a package."""
        package = self._coming.get((sender, name))
        if package is None or start != package.written or start + len(data) > package.size:
            raise ValueError(f"package {name} is not expected, or not from byte {start} on")
        package.used = self._now()
        try:
            package.file.seek(start)
            package.file.write(data)
            package.file.flush()
        except OSError as error:
            self._coming.pop((sender, name)).file.close()
            raise ValueError(f"the scheduler cannot keep it: {error}") from None
        package.written += len(data)
        if package.written == package.size:
            del self._coming[sender, name]
            other = self._packages.setdefault(name, package)
            if other is not package:  # someone else was faster
                other.jobs |= package.jobs
                package.file.close()

    def read(self, sender: str, name: str, start: int) -> list[Any]:
        """Size of a package, and bytes of it; `KeyError` if it is not there."""
        package = self._packages.get(name)
        if package is None:
            raise KeyError(f"the cluster has no package {name} (any more)")
        package.used = self._now()
        try:
            package.file.seek(start)
            return [package.size, package.file.read(PART)]
        except OSError as error:
            raise ValueError(f"the scheduler cannot read it: {error}") from None

    def _make_room(self, size: int) -> None:
        now = self._now()
        for key, package in list(self._coming.items()):
            if now - package.used > SILENCE:
                self._coming.pop(key).file.close()
        kept = [*self._packages.values(), *self._coming.values()]
        over = sum(package.size for package in kept) + size - LIMIT
        for name, package in sorted(self._packages.items(), key=lambda x: x[1].used):
            if over > 0 and not any(map(self._runs, package.jobs)):
                self._packages.pop(name).file.close()
                over -= package.size
        if over > 0:
            raise ValueError(
                f"the packages of running jobs leave no room for {size:,} bytes (all may have "
                f"{LIMIT:,})"
            )

    def close(self) -> None:
        """Let go of all."""
        for package in [*self._packages.values(), *self._coming.values()]:
            package.file.close()
        self._packages.clear()
        self._coming.clear()
