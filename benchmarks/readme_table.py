"""The tables of figures in the README, made from the newest results that are committed.

    python -m benchmarks.readme_table           write it into README.md
    python -m benchmarks.readme_table FILE      from these results, to be committed with it

Results of quick runs are passed over: half a second a workload is too short for figures that
people are to rely on.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import two_hosts
from benchmarks.results import ANCHOR, PROJECT, cells

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
FOLDER = "benchmarks/results"
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
#: Likewise for the table of calls and arrays between two hosts.
BEGIN_HOSTS, END_HOSTS = "<!-- two hosts: begin -->", "<!-- two hosts: end -->"
NO_FIGURES = "No results are committed yet: `make bench`, then `make bench-table`."

Document = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the table into the README; give 0."""
    given = sys.argv[1:] if arguments is None else arguments
    document = _read(Path(given[0])) if given else newest()
    text = inserted(README.read_text("utf-8"), render(document))
    text = inserted(text, render_hosts(newest_of_hosts()), BEGIN_HOSTS, END_HOSTS)
    README.write_text(text, "utf-8")
    print(f"{README.name}: {'no figures' if document is None else document['date']}")
    return 0


def newest(root: Path = ROOT) -> Document | None:
    """Give the newest committed or staged results of all rows, not of quick runs; or None."""
    return _newest_where(root, lambda suite: suite not in ("quick", two_hosts.SUITE))


def newest_of_hosts(root: Path = ROOT) -> Document | None:
    """Likewise for results of `benchmarks.two_hosts`."""
    return _newest_where(root, lambda suite: suite == two_hosts.SUITE)


def _newest_where(root: Path, wanted: Callable[[str], bool]) -> Document | None:
    documents = [_read(root / path) for path in _committed(root)]
    settings = [(d, d["settings"]) for d in documents]
    fitting = [d for d, how in settings if wanted(how["suite"]) and "only" not in how]
    return max(fitting, key=lambda d: d["date"], default=None)


def _committed(root: Path) -> list[str]:
    """Give the paths of results that git knows; without git, of all that are there."""
    command = ["git", "ls-files", "-z", f"{FOLDER}/*.json"]
    try:
        listed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return [str(path.relative_to(root)) for path in (root / FOLDER).glob("*.json")]
    return [path for path in listed.stdout.split("\0") if path and (root / path).exists()]


def _read(path: Path) -> Document:
    document: Document = json.loads(path.read_text("utf-8"))
    return document


def inserted(text: str, table: str, begin_mark: str = BEGIN, end_mark: str = END) -> str:
    """Give `text` with `table` between its two marks.

    Raises
    ------
    ValueError
        If the marks are not there, in this order.
    """
    before, begin, rest = text.partition(begin_mark)
    _, end, after = rest.partition(end_mark)
    if not begin or not end:
        raise ValueError(f"the README needs the lines {begin_mark} and {end_mark}")
    return f"{before}{begin_mark}\n{table}\n{end_mark}{after}"


def between(text: str, begin_mark: str = BEGIN, end_mark: str = END) -> str:
    """Give what stands between the two marks."""
    return text.partition(begin_mark)[2].partition(end_mark)[0].strip("\n")


def render(document: Document | None) -> str:
    """Lay the results out in Markdown, with a line that says where they come from."""
    if document is None:
        return NO_FIGURES
    modules = _modules(document)
    head = ["workload", "unit", *modules]
    head += ["÷ Ray", "goal", ""]
    ruler = ["---", "---", *["---:"] * (len(modules) + 2), "---"]
    rows = [cells(line, modules) for line in document["rows"]]
    return f"{_origin(document)}\n\n{_table([head, ruler, *rows])}"


def render_hosts(document: Document | None) -> str:
    """Likewise for results of `benchmarks.two_hosts`."""
    if document is None:
        return NO_FIGURES.replace("make bench`", "make bench-two-hosts`")
    head = [["between two hosts", ANCHOR, PROJECT, "÷ Ray"], ["---", "---:", "---:", "---:"]]
    rows = map(two_hosts.cells, document["rows"])
    return f"{_origin(document)}\n\n{_table([*head, *rows])}"


def _table(rows: Sequence[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _modules(document: Document) -> list[str]:
    """Give the modules that were measured: Ray, this project, and what else there was."""
    found = list(document["modules"])
    first = [name for name in (ANCHOR, PROJECT) if name in found]
    return [*first, *(name for name in found if name not in first)]


def _origin(document: Document) -> str:
    machine, settings = document["machine"], document["settings"]
    versions = ", ".join(
        f"{name} {facts['version']} (Python {facts['python']})"
        for name, facts in document["modules"].items()
    )
    return (
        f"{document['date'][:10]}, {machine['cores']} cores of {machine['processor']}, "
        f"{machine['memory']} of memory: medians of {settings['rounds']} rounds of "
        f"{settings['seconds']:g} s each. {versions}."
    )


if __name__ == "__main__":
    sys.exit(main())
