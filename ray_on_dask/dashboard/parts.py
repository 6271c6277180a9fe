"""Parts of pages: a table, and a chart of bars, each kept up to date from rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bokeh.core.properties import without_property_validation
from bokeh.models import (
    ColumnDataSource,
    DataTable,
    HTMLTemplateFormatter,
    NumberFormatter,
    Range1d,
    TableColumn,
)
from bokeh.plotting import figure

from ray_on_dask.dashboard.rows import Row

#: How a kind of column is written.
_FORMATS: dict[str, Any] = {
    "bytes": lambda: NumberFormatter(format="0.0 b", text_align="right"),
    "number": lambda: NumberFormatter(format="0,0", text_align="right"),
    "seconds": lambda: NumberFormatter(format="0,0.0", text_align="right"),
    "code": lambda: HTMLTemplateFormatter(
        template='<code title="<%- value %>"><%- value %></code>'
    ),
    "text": lambda: HTMLTemplateFormatter(
        template='<span title="<%- value %>"><%- value %></span>'
    ),
    "state": lambda: HTMLTemplateFormatter(template=_STATE),
}
#: A dot in the colour of the state, and its name.
_STATE = """<span style="color:<%=
  ({ALIVE: '#2ca02c', actor: '#2ca02c', CREATED: '#2ca02c', leased: '#1f77b4',
    blocked: '#ff8c00', RESTARTING: '#ff8c00', PENDING: '#ff8c00', RESCHEDULING: '#ff8c00',
    DEAD: '#b0b0b0', REMOVED: '#b0b0b0', idle: '#b0b0b0'})[value] || '#d62728'
%>">&#9679;</span> <%- value %>"""

#: Name of a field, its title, its width, the kind of its values.
Column = tuple[str, str, int, str]


class Table:
    """Rows as a table that can be sorted.

    Parameters
    ----------
    rows : callable
        Gives them.
    columns : list
        What is shown of them.
    update : callable
        ``update(source, data)`` gives a source other data, if they are other.
    hidden : tuple of str
        Further fields that come along.
    """

    def __init__(
        self,
        rows: Callable[[], list[Row]],
        columns: list[Column],
        update: Callable[[Any, dict[str, list[Any]]], None],
        hidden: tuple[str, ...] = (),
        height: int = 300,
    ):
        self._rows, self._update = rows, update
        self._fields = [*(name for name, *_ in columns), *hidden]
        self.source = ColumnDataSource({name: [] for name in self._fields})
        self.root = DataTable(
            source=self.source, reorderable=False, sortable=True, index_position=None,
            height=height, sizing_mode="stretch_width",
            columns=[
                TableColumn(field=name, title=title, width=width, formatter=_FORMATS[kind]())
                for name, title, width, kind in columns
            ],
        )  # fmt: skip
        self.update()

    @without_property_validation
    def update(self) -> None:
        """Show what there is now."""
        rows = self._rows()
        self._update(self.source, {name: [row[name] for row in rows] for name in self._fields})


class Bars:
    """Rows as horizontal bars of stacked parts, a text beside each.

    Parameters
    ----------
    rows : callable
        Gives them, with the fields `label`, those of `parts`, and ``text``.
    parts : list of (field, colour, name in the legend)
    full : str
        The field that says how long the whole bar is, "" for 1.
    """

    def __init__(
        self,
        title: str,
        rows: Callable[[], list[Row]],
        label: str,
        parts: list[tuple[str, str, str]],
        full: str = "",
    ):
        self._rows, self._label, self._full = rows, label, full
        self._parts = [name for name, _, _ in parts]
        self.source = ColumnDataSource({name: [] for name in self._fields()})
        self.root = figure(
            title=title, y_range=[], x_range=Range1d(0, 1.6), toolbar_location=None, tools="",
            sizing_mode="stretch_width", height=120,
        )  # fmt: skip
        self.root.hbar(
            y="label", left=0, right="full", height=0.72, source=self.source, fill_color="#ececec",
            line_color=None,
        )  # fmt: skip
        left = "zero"
        for name, color, legend in parts:
            self.root.hbar(
                y="label", left=left, right=f"to_{name}", height=0.72, source=self.source,
                fill_color=color, line_color=None, legend_label=legend,
            )  # fmt: skip
            left = f"to_{name}"
        self.root.text(
            x="full", y="label", text="text", source=self.source, text_baseline="middle",
            x_offset=8, text_font_size="12px", text_color="#444444",
        )  # fmt: skip
        self._dress()
        self.update()

    def _fields(self) -> list[str]:
        return ["label", "text", "zero", "full", *(f"to_{name}" for name in self._parts)]

    def _dress(self) -> None:
        root = self.root
        root.xaxis.visible = False
        root.xgrid.visible = root.ygrid.visible = False
        root.yaxis.major_label_text_font_size = "12px"
        root.outline_line_color = None
        root.legend.orientation, root.legend.label_text_font_size = "horizontal", "11px"
        root.legend.border_line_color = None
        root.legend.glyph_height = root.legend.glyph_width = 12
        root.legend.padding = root.legend.margin = 2
        root.add_layout(root.legend[0], "above")

    @without_property_validation
    def update(self) -> None:
        """Show what there is now."""
        rows = self._rows()
        data: dict[str, list[Any]] = {name: [] for name in self._fields()}
        for row in rows:
            data["label"].append(row[self._label])
            data["text"].append(row["text"])
            data["zero"].append(0.0)
            data["full"].append(row[self._full] if self._full else 1.0)
            end = 0.0
            for name in self._parts:
                end += row[name]
                data[f"to_{name}"].append(end)
        if dict(self.source.data) == data:
            return
        labels = list(reversed(data["label"]))
        if list(self.root.y_range.factors) != labels:
            self.root.y_range.factors = labels
            self.root.height = 68 + 26 * max(1, len(labels))
        longest = max([1e-9, *data["full"], *(data[f"to_{self._parts[-1]}"])])
        self.root.x_range.end = 1.6 * longest
        self.source.data = data
