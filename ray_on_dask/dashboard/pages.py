"""The pages: an overview, executors, actors, placement groups, errors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from bokeh.layouts import column
from bokeh.models import CustomJS, Div, PreText
from jinja2 import ChoiceLoader, Environment, FileSystemLoader

from ray_on_dask.dashboard.parts import Bars, Table
from ray_on_dask.dashboard.rows import Rows

#: Milliseconds between two looks.
EVERY = 1_000
#: Pages in the order of the menu: url, name.
PAGES = (
    ("ray", "Overview"), ("ray-executors", "Executors"), ("ray-actors", "Actors"),
    ("ray-groups", "Placement groups"), ("ray-errors", "Errors"),
)  # fmt: skip
#: What stands in the menu beside the pages.
LINKS = (("ray/metrics", "Metrics"),)

Doc = Callable[[Any, dict[str, Any], Any], None]


def applications(plugin: Any, dask: Any) -> dict[str, Doc]:
    """The pages as `{path: function(scheduler, variables, document)}`.

    Parameters
    ----------
    plugin : ControlPlugin
    dask
        What Dask's own pages are made with: `loader` of its templates, `theme`,
        `every(doc, part, milliseconds)`, `update(source, data)`.
    """
    loader = ChoiceLoader([dask.loader, FileSystemLoader(Path(__file__).parent / "templates")])
    template = Environment(loader=loader, autoescape=False).get_template("ray.html")
    rows = Rows(plugin)
    makers = (overview, executors, actors, groups, errors)
    return {
        f"/{url}": _page(url, name, template, dask, rows, make)
        for (url, name), make in zip(PAGES, makers, strict=True)
    }


def _page(
    url: str, name: str, template: Any, dask: Any, rows: Rows, make: Callable[..., list[Any]]
) -> Doc:
    def show(scheduler: Any, extra: dict[str, Any], doc: Any) -> None:
        parts = make(rows, dask)
        doc.title = f"Dask: Ray {name.lower()}"
        doc.add_root(column([getattr(part, "root", part) for part in parts],
                            sizing_mode="stretch_width"))  # fmt: skip
        doc.template = template
        doc.template_variables.update(extra)
        doc.template_variables.update(ray_pages=[*PAGES, *LINKS], ray_page=url)
        doc.theme = dask.theme
        for part in parts:
            if isinstance(part, Table | Bars):
                dask.every(doc, part, EVERY)

    return show


def _heading(text: str) -> Any:
    style = "font: 600 14px Helvetica, Arial, sans-serif; margin: 14px 0 2px; color: #333"
    return Div(text=f'<div style="{style}">{text}</div>', sizing_mode="stretch_width")


def overview(rows: Rows, dask: Any) -> list[Any]:
    """Resources by node, the object stores, what waits and why."""
    return [
        Bars(
            "Resources by node", rows.resources, "bar",
            [("used", "#1f77b4", "in use"), ("dask", "#9467bd", "Dask's own tasks"),
             ("lent", "#ffb347", "lent by blocked tasks, free now")],
        ),
        Bars(
            "Object store by node", rows.stores, "node",
            [("used", "#1f77b4", "in shared memory"), ("warm", "#aec7e8", "free, kept mapped"),
             ("spilled", "#8c8c8c", "spilled to disk")], full="capacity",
        ),
        _heading("Pending demand, and why it waits"),
        Table(
            rows.demands,
            [("what", "for", 120, "code"), ("kind", "kind", 50, "text"),
             ("job", "job", 70, "text"), ("wanted", "wanted", 55, "number"),
             ("granted", "has", 45, "number"), ("resources", "each takes", 150, "text"),
             ("seconds", "waits (s)", 65, "seconds"), ("why", "why", 420, "text")],
            dask.update, height=200,
        ),
        _heading("Executors"),
        Table(rows.executors, _EXECUTORS, dask.update, height=320),
    ]  # fmt: skip


_EXECUTORS = [
    ("pid", "pid", 60, "number"), ("state", "state", 80, "state"), ("what", "for", 140, "code"),
    ("running", "runs now", 160, "code"), ("memory", "memory", 80, "bytes"),
    ("holds", "holds", 130, "text"), ("done", "done", 70, "number"),
    ("failed", "failed", 60, "number"), ("waiting", "queued", 60, "number"),
    ("node", "node", 130, "text"), ("job", "job", 80, "text"),
]  # fmt: skip


def executors(rows: Rows, dask: Any) -> list[Any]:
    """Each executor and what it runs."""
    return [Table(rows.executors, _EXECUTORS, dask.update, height=760)]


def actors(rows: Rows, dask: Any) -> list[Any]:
    """Each actor: where and how it is, its calls, its restarts."""
    columns = [
        ("class_name", "class", 120, "code"), ("name", "name", 100, "text"),
        ("state", "state", 90, "state"), ("pid", "pid", 60, "number"),
        ("node", "node", 120, "text"), ("done", "calls done", 75, "number"),
        ("failed", "failed", 55, "number"), ("waiting", "pending", 60, "number"),
        ("restarts", "restarts", 60, "number"), ("holds", "holds", 100, "text"),
        ("job", "job", 70, "text"), ("actor", "id", 245, "code"),
        ("cause", "how it ended", 260, "text"),
    ]  # fmt: skip
    return [Table(rows.actors, columns, dask.update, height=760)]


def groups(rows: Rows, dask: Any) -> list[Any]:
    """Each placement group and where its bundles are."""
    columns = [
        ("name", "name", 100, "text"), ("state", "state", 90, "state"),
        ("strategy", "strategy", 110, "code"), ("bundles", "bundles", 460, "text"),
        ("job", "job", 80, "text"), ("detached", "detached", 70, "text"),
        ("group", "id", 270, "code"), ("note", "remark", 200, "text"),
    ]  # fmt: skip
    return [Table(rows.groups, columns, dask.update, height=760)]


def errors(rows: Rows, dask: Any) -> list[Any]:
    """The latest failures; the one that is chosen with its traceback."""
    columns = [
        ("time", "time", 70, "text"), ("kind", "kind", 80, "text"),
        ("function", "function", 180, "code"), ("error", "error", 420, "code"),
        ("job", "job", 80, "text"), ("node", "node", 120, "text"),
    ]  # fmt: skip
    table = Table(rows.errors, columns, dask.update, hidden=("message",), height=340)
    found = table.source.data["message"]
    text = PreText(text=found[0] if len(found) else "No failures.", sizing_mode="stretch_width")
    table.source.selected.js_on_change(
        "indices",
        CustomJS(
            args={"source": table.source, "text": text},
            code="const i = cb_obj.indices[0]; if (i != null) text.text = source.data.message[i]",
        ),
    )
    return [table, _heading("Traceback of the chosen failure (the newest, until one is)"), text]
