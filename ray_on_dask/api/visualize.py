"""`visualize_computation_graph`: a drawing of what a program has launched."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

from ray_on_dask.api import session as sessions
from ray_on_dask.runtime import current

#: Nodes that are drawn one by one; beyond it they are grouped by function.
MAX_NODES = 200
_FORMATS = (".svg", ".png", ".pdf", ".dot")
#: Seconds for the last records of executors to come in.
SETTLE = 0.4


def visualize_computation_graph(
    filename: str | os.PathLike[str] | None = None,
    view: bool = False,
    *,
    file_path: str | os.PathLike[str] | None = None,
    max_nodes: int = MAX_NODES,
) -> str:
    """Draw the tasks that this program has launched so far, and the objects between them.

    Boxes are tasks (and actors, and calls of their methods), ovals are objects, *script* is the
    program. A dashed line leads from a task to one that it has launched, a solid one from a task to
    what it has made, and from there to the tasks that got it as an argument.

    The session must record it: ``init(record_graph=True)``, or ``init(start_ray_local=True)`` as in
    the API of 2016. The last 20,000 launches are kept.

    Parameters
    ----------
    filename : path, optional
        Its suffix says what is written: ``.svg``, ``.png``, ``.pdf`` or ``.dot``. Default: an SVG
        file in the directory for temporary files.
    view : bool
        Show it in the web browser, if there is one.
    file_path : path, optional
        As `filename`: the name that it had in 2016.
    max_nodes : int
        Programs with more tasks and objects are drawn grouped: one box for all tasks of a function,
        with their number.

    Returns
    -------
    str
        The file's path, which is printed too.

    Raises
    ------
    RuntimeError
        When nothing is recorded in this session.
    ValueError
        For another suffix.
    """
    from ray_on_dask.graph.model import build

    path = _path(filename if filename is not None else file_path)
    records = _records()
    graph = build(records, max_nodes)
    _write(graph, path)
    print(f"Wrote {path}")
    if view:
        import webbrowser

        webbrowser.open(path.resolve().as_uri())
    return str(path)


def _path(given: str | os.PathLike[str] | None) -> Path:
    if given is None:
        fd, name = tempfile.mkstemp(prefix="computation-graph-", suffix=".svg")
        os.close(fd)
        return Path(name)
    path = Path(given)
    if path.suffix.lower() not in _FORMATS:
        raise ValueError(
            f"visualize_computation_graph({str(given)!r}): the file's name ends in one of "
            f"{', '.join(_FORMATS)}"
        )
    return path


def _records() -> list[list[object]]:
    process = current.process
    if process is None and sessions.local is not None:
        raise RuntimeError("visualize_computation_graph(): nothing is recorded in local mode")
    process = current.require()
    if not process.config.record_graph:
        raise RuntimeError(
            "visualize_computation_graph(): this session records nothing; begin it with "
            "init(record_graph=True)"
        )
    if process.recorder is not None:
        process.recorder.send()
    time.sleep(SETTLE)
    found: list[list[object]] = process.asking.ask("graph", job=process.job)
    return found


def _write(graph: object, path: Path) -> None:
    from ray_on_dask.graph.dot import dot
    from ray_on_dask.graph.layout import lay_out
    from ray_on_dask.graph.model import Graph

    assert isinstance(graph, Graph)
    kind = path.suffix.lower()
    if kind == ".dot":
        path.write_text(dot(graph), encoding="utf-8")
    elif kind == ".svg":
        from ray_on_dask.graph.svg import svg

        path.write_text(svg(graph, lay_out(graph)), encoding="utf-8")
    else:
        from ray_on_dask.graph.raster import image

        image(graph, lay_out(graph)).save(path, kind[1:].upper())
