"""The pictures in `docs/architecture.md` are true."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import psutil
import pytest
from pages import ROOT, blocks, names, table

PACKAGE = ROOT / "ray_on_dask"
TEXT = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
PROCESSES, PACKAGES, HOSTS = (b.text for b in blocks(TEXT) if b.language == "mermaid")
ARROW = re.compile(r"^\s*(\w+) (-->|-\.->) (\w+)$", re.MULTILINE)


# -- names ---------------------------------------------------------------------------


def modules_named(text: str) -> set[str]:
    return set(re.findall(r"\bray_on_dask\.[\w.]*\w", text))


@pytest.mark.parametrize("name", sorted(modules_named(PROCESSES + HOSTS)))
def test_a_module_in_the_picture_exists(name: str) -> None:
    importlib.import_module(name)


def test_modules_named_in_the_text_exist() -> None:
    """`runtime.lending`, `core/directory.py`, `plugins._dask_compat`."""
    packages = "api|util|core|wire|runtime|plugins|objectstore|errorlog"
    dotted = re.findall(rf"`((?:{packages})\.\w+)`", TEXT)
    files = re.findall(r"`(\w+/\w+)\.py`", TEXT)
    paths = [name.replace(".", "/") for name in dotted] + files
    assert [path for path in paths if not (PACKAGE / f"{path}.py").exists()] == []
    assert dotted and files


def test_packages_are_described() -> None:
    described = {names(row["package"])[0] for row in table(TEXT, "Packages").rows}
    there = {
        path.name
        for path in PACKAGE.iterdir()
        if (path / "__init__.py").exists() and len(list(path.glob("*.py"))) > 1
    }
    assert described <= there
    assert {name for pair in drawn().values() for edge in pair for name in edge} <= described
    assert there - described <= {"dag"}


# -- imports ---------------------------------------------------------------------------


def drawn() -> dict[str, set[tuple[str, str]]]:
    """{kind of arrow: (from, to) of each}."""
    found: dict[str, set[tuple[str, str]]] = {"-->": set(), "-.->": set()}
    for source, arrow, target in ARROW.findall(PACKAGES):
        found[arrow].add((source, target))
    return found


def imports(path: Path) -> Iterator[tuple[bool, str]]:
    """(whether at the top, package) of each import of our packages in a file."""

    def visit(node: ast.AST, top: bool) -> Iterator[tuple[bool, str]]:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            top = False
        modules = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = [f"{node.module}.{alias.name}" for alias in node.names]
        for module in modules:
            if module.startswith("ray_on_dask."):
                yield top, module.split(".")[1]
        for child in ast.iter_child_nodes(node):
            yield from visit(child, top)

    return visit(ast.parse(path.read_text(encoding="utf-8")), True)


def test_the_arrows_are_the_imports() -> None:
    packages = {name for pair in drawn().values() for edge in pair for name in edge}
    top, inside = set(), set()
    for path in PACKAGE.rglob("*.py"):
        source = path.relative_to(PACKAGE).parts[0]
        for at_top, target in imports(path):
            if {source, target} <= packages and source != target:
                (top if at_top else inside).add((source, target))
    assert drawn() == {"-->": top, "-.->": inside - top}, "draw the imports as they are"


# -- processes ---------------------------------------------------------------------------

MARKS = {
    "head": "ray_on_dask.runtime.head",
    "zygote": "ray_on_dask.runtime.zygote",
    "executor": "ray::",
    "redis": "redis-server",
}


def kind_of(process: psutil.Process) -> str:
    line = " ".join(process.cmdline())
    return next((kind for kind, mark in MARKS.items() if mark in line), line)


def kinds_of_children(process: psutil.Process) -> set[str]:
    return {kind_of(child) for child in process.children()}


def test_the_processes_of_a_session_are_those_drawn(ray_session: Callable[..., Any]) -> None:
    ray = ray_session()

    @ray.remote
    def parent() -> int:
        return psutil.Process().ppid()

    def redis_is_up() -> bool:
        return "redis" in kinds_of_children(head)

    zygote = psutil.Process(ray.get(parent.remote()))
    head = zygote.parent()
    assert head is not None
    end = monotonic() + 20
    while not redis_is_up() and monotonic() < end:
        sleep(0.05)
    assert head.ppid() == psutil.Process().pid
    assert (kind_of(head), kind_of(zygote)) == ("head", "zygote")
    assert kinds_of_children(head) == {"zygote", "redis"}
    assert kinds_of_children(zygote) == {"executor"}
    named = set(re.findall(r"^\s*(?:subgraph )?(\w+)\[", PROCESSES, re.MULTILINE))
    assert named - {"control", "node", "store"} == {"driver", *MARKS}
