"""Map-reduce over the sources of the standard library: names counted, imports as a graph.

What every task needs to know (the names of all modules) is `put` once. Tasks each read a
chunk of files; tasks add their findings up in pairs, in the order in which they come
(a tree). At the end the same files are read by the same function in this process alone.
"""

from __future__ import annotations

import ast
import keyword
import os
import sysconfig
import time
import tokenize
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from _common import Cluster, Steps, compare, console, parser, runs_on_ray, say
from rich.table import Table

if runs_on_ray():
    import ray
else:
    import ray_on_dask as ray

EXAMPLES = """\
  python examples/stdlib_mapreduce.py
  python examples/stdlib_mapreduce.py --chunks 200 --top 20
  python examples/stdlib_mapreduce.py --module ray       the same program on Ray"""

#: Folders that are not the library proper.
SKIPPED = {"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"}


@dataclass
class Findings:
    """What some files hold."""

    files: int = 0
    lines: int = 0
    names: Counter[str] = field(default_factory=Counter)
    #: {module: modules that it imports when it is imported itself}.
    imports: dict[str, set[str]] = field(default_factory=dict)
    pids: set[int] = field(default_factory=set)

    def add(self, other: Findings) -> None:
        """Take `other`'s findings in."""
        self.files += other.files
        self.lines += other.lines
        self.names.update(other.names)
        self.imports.update(other.imports)
        self.pids |= other.pids

    def ranked(self) -> list[tuple[str, int]]:
        """All names, the most common first, equals by name: the same in whatever order added."""
        return sorted(self.names.items(), key=lambda item: (-item[1], item[0]))


def module_name(path: Path, root: Path) -> str:
    """The name under which `path` is imported: `asyncio` for `asyncio/__init__.py`."""
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def import_time(tree: ast.Module) -> Iterator[ast.Import | ast.ImportFrom]:
    """The import statements that run when the module is imported.

    Those in functions do not, nor those under ``if __name__ == "__main__"``.
    """
    waiting: list[ast.AST] = [tree]
    while waiting:
        match waiting.pop():
            case ast.Import() | ast.ImportFrom() as statement:
                yield statement
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda():
                pass
            case ast.If(test=ast.Compare(left=ast.Name(id="__name__"))):
                pass
            case node:
                waiting.extend(ast.iter_child_nodes(node))


def imported(tree: ast.Module, module: str, is_package: bool, known: frozenset[str]) -> set[str]:
    """Which of the modules `known` are imported by `module`, whose source is `tree`."""
    parts = module.split(".")
    found = set()

    def package(node: ast.ImportFrom) -> str:
        up = node.level - is_package
        return ".".join(parts[: len(parts) - up]) if node.level else ""

    for node in import_time(tree):
        if isinstance(node, ast.Import):
            wanted = [alias.name for alias in node.names]
        else:
            base = ".".join(filter(None, [package(node), node.module]))
            wanted = [f"{base}.{alias.name}" for alias in node.names]
        for name in wanted:
            while name and name not in known:
                name = name.rpartition(".")[0]
            found.add(name)
    return found - {"", module}


def read(path: Path, root: Path, known: frozenset[str]) -> Findings:
    """The findings in one file; nothing if it is no Python of this version."""
    try:
        with tokenize.open(path) as file:
            text = file.read()
        tree = ast.parse(text)
        tokens = list(tokenize.generate_tokens(iter(text.splitlines(keepends=True)).__next__))
    except (SyntaxError, UnicodeDecodeError, tokenize.TokenError):
        return Findings()
    names = Counter(
        token.string
        for token in tokens
        if token.type == tokenize.NAME and not keyword.iskeyword(token.string)
    )
    module = module_name(path, root)
    graph = {module: imported(tree, module, path.name == "__init__.py", known)}
    return Findings(1, text.count("\n"), names, graph)


def read_all(paths: Sequence[Path], root: Path, known: frozenset[str]) -> Findings:
    """The findings in several files: tasks and baseline both call this."""
    findings = Findings(pids={os.getpid()})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)
        for path in paths:
            findings.add(read(path, root, known))
    return findings


@ray.remote
def map_chunk(paths: Sequence[Path], shared: tuple[Path, frozenset[str]]) -> Findings:
    """One chunk of files as a task."""
    return read_all(paths, *shared)


@ray.remote
def merge(left: Findings, right: Findings) -> Findings:
    """Two findings made one: a node of the tree."""
    left.add(right)
    left.pids.add(os.getpid())
    return left


def map_reduce(
    chunks: Sequence[Sequence[Path]], root: Path, known: frozenset[str]
) -> tuple[Findings, int]:
    """Read all chunks on the cluster: the findings, and the number of tasks it took."""
    shared = ray.put((root, known))
    pending = [map_chunk.remote(chunk, shared) for chunk in chunks]
    tasks = 2 * len(chunks) - 1
    with Steps("map and reduce", tasks) as steps:
        while len(pending) > 1:
            ready, pending = ray.wait(pending, num_returns=2)
            pending.append(merge.remote(*ready))
            steps.step(2)
        findings = ray.get(pending[0])
        steps.step()
    return findings, tasks


def reachable(graph: dict[str, set[str]], start: str) -> set[str]:
    """The modules that `start` imports, straight or through others."""
    found: set[str] = set()
    waiting = [start]
    while waiting:
        new = graph.get(waiting.pop(), set()) - found
        found |= new
        waiting.extend(new)
    return found


def components(graph: dict[str, set[str]]) -> list[list[str]]:
    """The strongly connected components of more than one module, largest first.

    A module's component are those it reaches that reach it: with some hundred modules
    there is no need for anything cleverer.
    """
    reach = {module: reachable(graph, module) for module in graph}
    groups = {
        tuple(sorted(other for other in targets if module in reach.get(other, ())))
        for module, targets in reach.items()
    }
    return sorted((list(g) for g in groups if len(g) > 1), key=lambda g: (-len(g), g))


def show(findings: Findings, top: int) -> dict[str, Any]:
    """Print the most common names, the most imported modules, the largest cycle; give them."""
    names = findings.ranked()[:top]
    users = Counter(module for targets in findings.imports.values() for module in targets)
    modules = sorted(users.items(), key=lambda item: (-item[1], item[0]))[:top]
    cycles = components(findings.imports)
    table = Table(title=f"{findings.files} files, {findings.lines:,} lines")
    for heading, side in zip(
        ("identifier", "times", "module", "imported by"), ("left", "right") * 2, strict=True
    ):
        table.add_column(heading, justify=side)
    for (name, times), (module, by) in zip(names, modules, strict=False):
        table.add_row(name, f"{times:,}", module, str(by))
    console.print(table)
    if cycles:
        shown = ", ".join(cycles[0][:12]) + (", ..." if len(cycles[0]) > 12 else "")
        say(f"import cycles: {len(cycles)}; the largest has {len(cycles[0])}: {shown}")
    return {"names": names, "modules": modules, "cycles": cycles}


def sources(root: Path, limit: int | None) -> list[Path]:
    """The library's files, in order of name."""
    found = (p for p in root.rglob("*.py") if not SKIPPED.intersection(p.relative_to(root).parts))
    return sorted(found)[:limit]


def chunked(paths: Sequence[Path], count: int) -> list[Sequence[Path]]:
    """`count` chunks of about equal size in bytes: large files first, each to the lightest."""
    chunks: list[list[Path]] = [[] for _ in range(min(count, len(paths)))]
    weights = [0] * len(chunks)
    for path in sorted(paths, key=lambda p: -p.stat().st_size):
        lightest = weights.index(min(weights))
        chunks[lightest].append(path)
        weights[lightest] += path.stat().st_size
    return list(chunks)


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Run the map-reduce and print it; give findings of both runs, speed-up, tasks, pids."""
    switches = parser(__doc__ or "", EXAMPLES)
    switches.add_argument("--chunks", type=int, default=64, help="of files, one task each (64)")
    switches.add_argument("--top", type=int, default=12, help="how many names to show (12)")
    options = switches.parse_args(arguments)
    root = Path(sysconfig.get_paths()["stdlib"])
    paths = sources(root, 60 if options.small else None)
    known = frozenset(module_name(path, root) for path in paths)

    with Cluster(ray, options) as cluster:
        start = time.perf_counter()
        findings, tasks = map_reduce(chunked(paths, options.chunks), root, known)
        parallel = time.perf_counter() - start
        shown = show(findings, options.top)
        figures = cluster.report(tasks, findings.pids)
    start = time.perf_counter()
    here = read_all(paths, root, known)
    serial = time.perf_counter() - start
    same = (findings.names, findings.imports) == (here.names, here.imports)
    speedup = compare(parallel, serial, same, "one thread per process in both")
    return {"findings": findings, "serial_findings": here, "speedup": speedup, **shown, **figures}


if __name__ == "__main__":
    main()
