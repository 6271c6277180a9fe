"""A notebook: a session in a kernel, whose thread is in an event loop while cells run."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[2]

CELLS = [
    "import asyncio, os\nimport ray_on_dask as ray\n"
    "ray.init(num_cpus=2, include_dashboard=False, configure_logging=False)",
    "@ray.remote\ndef square(x):\n    return x * x\n\n"
    "ray.get([square.remote(i) for i in range(4)])",
    "await square.remote(5)",
    "await asyncio.gather(*(square.remote(i) for i in range(3)))",
    # Defined in the notebook, changed in a later cell: the new one counts.
    "@ray.remote\ndef square(x):\n    return -x * x\n\nray.get(square.remote(3))",
    "@ray.remote\nclass Counter:\n    def __init__(self):\n        self.n = 0\n"
    "    async def add(self):\n        self.n += 1\n        return self.n\n\n"
    "counter = Counter.remote()\nawait counter.add.remote(), ray.get(counter.add.remote())",
    "@ray.remote\ndef fail():\n    raise KeyError('lost')\n\n"
    "try:\n    await fail.remote()\nexcept KeyError as error:\n    print(type(error).__name__)",
    "try:\n    await asyncio.wait_for(ray.test_utils.SignalActor.remote().wait.remote(), 0.05)\n"
    "except asyncio.TimeoutError:\n    print('waited')",
    "ray.shutdown()\nray.is_initialized()",
]


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> list[list[Any]]:
    """What the cells have put out, a list for each."""
    folder = tmp_path_factory.mktemp("notebook")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in CELLS])
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(paths))
        patch.setenv("IPYTHONDIR", str(folder))
        patch.setenv("JUPYTER_RUNTIME_DIR", str(folder))
        client = NotebookClient(
            notebook, timeout=60, kernel_name="python3",
            resources={"metadata": {"path": str(folder)}},
        )  # fmt: skip
        done = asyncio.run(client.async_execute())  # `execute` would leave a loop behind
    return [cell.outputs for cell in done.cells]


def result(cell: list[Any]) -> str:
    """The value of a cell's last line, as text."""
    (only,) = [out for out in cell if out.output_type == "execute_result"]
    return str(only.data["text/plain"])


def printed(cell: list[Any]) -> str:
    return "".join(out.text for out in cell if out.get("name") == "stdout")


def test_a_session_is_shown_as_a_table(outputs: list[list[Any]]) -> None:
    (shown,) = [out for out in outputs[0] if out.output_type == "execute_result"]
    assert "<table>" in shown.data["text/html"]
    assert "tcp://127.0.0.1:" in shown.data["text/html"]
    assert shown.data["text/plain"].startswith("RayContext(")


def test_a_cell_gets_values_of_tasks(outputs: list[list[Any]]) -> None:
    assert result(outputs[1]) == "[0, 1, 4, 9]"


def test_a_cell_awaits_refs(outputs: list[list[Any]]) -> None:
    assert result(outputs[2]) == "25"
    assert result(outputs[3]) == "[0, 1, 4]"


def test_a_function_that_is_defined_again_is_the_new_one(outputs: list[list[Any]]) -> None:
    assert result(outputs[4]) == "-9"


def test_an_async_actor_is_awaited_and_got_from(outputs: list[list[Any]]) -> None:
    assert result(outputs[5]) == "(1, 2)"


def test_an_awaited_failure_is_raised_in_the_cell(outputs: list[list[Any]]) -> None:
    assert printed(outputs[6]) == "RayTaskError(KeyError)\n"


def test_an_await_can_run_out_of_time(outputs: list[list[Any]]) -> None:
    assert printed(outputs[7]) == "waited\n"


def test_the_session_ends_in_a_cell(outputs: list[list[Any]]) -> None:
    assert result(outputs[8]) == "False"
