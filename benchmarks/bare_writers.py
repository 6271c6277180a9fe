"""What a machine takes for arrays that bare processes make and write to new shared memory.

The floor under workloads whose results go to a new object store: no tasks, no store, no messages.
As many processes as there are cores each make their share of the arrays, reserve room in a file
in `/dev/shm`, and write them there.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

_WRITER = """
import os, sys, numpy as np
count, numbers = map(int, sys.argv[1:])
path = f"/dev/shm/bare_writer-{os.getpid()}"
file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
os.unlink(path)
print("ready", flush=True)
sys.stdin.readline()
for at in range(count):
    array = np.ones(numbers, dtype=np.int64)
    os.posix_fallocate(file, at * array.nbytes, array.nbytes)
    os.pwrite(file, array, at * array.nbytes)
print("done", flush=True)
"""


def seconds(arrays: int, numbers: int) -> float:
    """Give the seconds that it takes, once all processes are ready.

    Parameters
    ----------
    arrays : int
        How many in all, shared out among the processes.
    numbers : int
        Of eight bytes, in each.
    """
    cores = os.cpu_count() or 1
    shares = [arrays // cores + (at < arrays % cores) for at in range(cores)]
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(share), str(numbers)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for share in shares
    ]  # fmt: skip
    for writer in writers:
        assert writer.stdout is not None
        if writer.stdout.readline() != "ready\n":
            raise OSError("a bare process could not make its file in /dev/shm")
    start = time.perf_counter()
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    said = [writer.stdout.readline() for writer in writers if writer.stdout is not None]
    taken = time.perf_counter() - start
    for writer in writers:
        writer.communicate()
    if said != ["done\n"] * cores:
        raise OSError("a bare process could not write its arrays to /dev/shm")
    return taken
