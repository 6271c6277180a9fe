"""What executors print goes to files in the order in which it was printed."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

from ray_on_dask.plugins import log_reader
from ray_on_dask.plugins.log_reader import LINES_MAX, LogReader


def test_lines_are_in_their_order_in_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, append, count = tmp_path / "out", log_reader._append, 4 * LINES_MAX
    slow = [0.2, 0.1]

    def late(*args: object) -> None:
        if slow:
            time.sleep(slow.pop(0))
        append(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(log_reader, "_append", late)

    async def story() -> None:
        read, write = os.pipe()
        LogReader(read, lambda name, lines: None, str(path))
        with open(write, "w") as file:
            file.writelines(f"{number}\n" for number in range(count))
        while not path.exists() or path.read_text().count("\n") < count:
            await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(story(), 20))

    assert path.read_text().split() == [str(number) for number in range(count)]
