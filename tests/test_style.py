"""The style of the package, as far as it can be told without taste.

Run as a program, this prints the table of sizes: ``python tests/test_style.py``.
"""

from __future__ import annotations

import ast
import importlib.util
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "ray_on_dask"
LONGEST_FILE = 400
LONGEST_BODY = 60
IMPORT_BUDGET_MS = 60.0

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Source:
    """One file of the package, parsed."""

    path: Path

    @cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, str(self.path))

    @property
    def name(self) -> str:
        return self.path.relative_to(ROOT).as_posix()

    @property
    def package(self) -> str:
        return ".".join(self.path.relative_to(ROOT).parent.parts)

    @property
    def lines(self) -> int:
        return len(self.text.splitlines())

    def at(self, node: ast.AST) -> str:
        return f"{self.name}:{getattr(node, 'lineno', 1)}"

    def functions(self) -> Iterator[Function]:
        return (node for node in ast.walk(self.tree) if isinstance(node, Function))

    def public(self) -> Iterator[Function | ast.ClassDef]:
        """Functions and classes at the top of the file whose name has no underscore."""
        for node in self.tree.body:
            if isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_"):
                yield node

    def imports(self) -> Iterator[tuple[ast.AST, str]]:
        """Every imported module with its statement, at the top or inside a function."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from ((node, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = self._absolute(node)
                yield from ((node, f"{base}.{alias.name}") for alias in node.names)

    def _absolute(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        above = self.package.split(".")[: len(self.package.split(".")) - node.level + 1]
        return ".".join([*above, node.module] if node.module else above)


SOURCES = [Source(path) for path in sorted((ROOT / PACKAGE).rglob("*.py"))]


def body_lines(function: Function) -> int:
    """The length of a function in lines, without decorators and docstring."""
    first = function.body[0]
    documented = ast.get_docstring(function, clean=False) is not None
    docstring = (first.end_lineno or first.lineno) - first.lineno + 1 if documented else 0
    return (function.end_lineno or function.lineno) - function.lineno + 1 - docstring


def test_no_file_is_longer_than_400_lines() -> None:
    assert [f"{s.name}: {s.lines}" for s in SOURCES if s.lines > LONGEST_FILE] == []


def test_no_function_body_is_longer_than_60_lines() -> None:
    assert [
        f"{source.at(function)} {function.name}: {body_lines(function)}"
        for source in SOURCES
        for function in source.functions()
        if body_lines(function) > LONGEST_BODY
    ] == []


def test_every_public_top_level_name_has_a_docstring() -> None:
    assert [
        f"{source.at(node)} {node.name}"
        for source in SOURCES
        for node in source.public()
        if not ast.get_docstring(node)
    ] == []


def inside(module: str, *packages: str) -> bool:
    """Whether `module` is one of `packages` or lies in one."""
    return any(module == package or module.startswith(package + ".") for package in packages)


@pytest.mark.parametrize("part", ["core", "wire"])
def test_the_pure_parts_import_only_the_standard_library_and_each_other(part: str) -> None:
    """`from ray_on_dask import ids` counts as `ray_on_dask.ids`, as do relative imports."""
    ours = [f"{PACKAGE}.{name}" for name in ("ids", "exceptions", "core", "wire")]
    assert [
        f"{source.at(node)} {module}"
        for source in SOURCES
        if inside(source.package, f"{PACKAGE}.{part}")
        for node, module in source.imports()
        if not inside(module, "msgspec", *ours)
        and module.partition(".")[0] not in sys.stdlib_module_names
    ] == []


DASK_OBJECT = re.compile(r"(^|_)(scheduler|worker|client|nanny)$", re.IGNORECASE)


def is_private(name: str) -> bool:
    """One leading underscore; dunder names belong to Python."""
    return name.startswith("_") and not name.startswith("__")


def is_dask_object(node: ast.expr) -> bool:
    """`scheduler`, `self.worker`, `Client`, `dask_scheduler`: what names one of Dask's own."""
    name = getattr(node, "id", None) or getattr(node, "attr", None) or ""
    return bool(DASK_OBJECT.search(name))


def dask_privates(source: Source) -> Iterator[str]:
    """Each place where `source` names what is private to Dask."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            if is_dask_object(node.value):
                yield f"{source.at(node)} {ast.unparse(node)}"
        elif isinstance(node, ast.Call) and len(node.args) > 1:
            match node.func, node.args[1]:
                case ast.Name(id="getattr" | "setattr" | "hasattr"), ast.Constant(value=str(name)):
                    if is_private(name) and is_dask_object(node.args[0]):
                        yield f"{source.at(node)} {ast.unparse(node)}"
    for node, module in source.imports():
        if inside(module, "dask", "distributed") and any(map(is_private, module.split("."))):
            yield f"{source.at(node)} {module}"


def test_only_the_doors_to_dask_name_what_is_private_there() -> None:
    door = f"{PACKAGE}/plugins/_dask_compat"
    others = [source for source in SOURCES if not source.name.startswith(door)]
    assert [use for source in others for use in dask_privates(source)] == []


def test_the_search_for_private_names_finds_each_form() -> None:
    """The rule above holds trivially if the search is blind, so it is tried on offenders."""
    source = Source(ROOT / PACKAGE / "offender.py")
    source.__dict__["text"] = (
        "from distributed.comm import _private\n"
        "import distributed._stories\n"
        "self.scheduler._remove(1)\n"
        "dask_worker._x = Client._y\n"
        "getattr(worker, '_z')\n"
        "self._own; worker.address; worker.__class__; getattr(worker, 'z')\n"
    )
    assert len(list(dask_privates(source))) == 6


def run_python(code: str) -> str:
    """What a fresh interpreter prints for `code`, started in the repository's root."""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def loaded_after(module: str, among: tuple[str, ...]) -> list[str]:
    """Which of the packages `among` a fresh interpreter has loaded after importing `module`."""
    return run_python(
        f"import sys, {module}; print(*(n for n in {among!r} if n in sys.modules))"
    ).split()


def test_importing_the_package_loads_neither_dask_nor_numpy() -> None:
    assert loaded_after(PACKAGE, ("dask", "distributed", "numpy")) == []


def test_executors_do_not_import_distributed() -> None:
    executor = f"{PACKAGE}.runtime.executor"
    if importlib.util.find_spec(executor) is None:
        pytest.skip("no executor yet")
    assert loaded_after(executor, ("distributed",)) == []


def test_importing_the_package_is_quick() -> None:
    """Best of five, each timed inside a fresh interpreter, so its own start does not count."""
    code = (
        "import time; start = time.perf_counter()\n"
        f"import {PACKAGE}\n"
        "print((time.perf_counter() - start) * 1000)"
    )
    assert min(float(run_python(code)) for _ in range(5)) < IMPORT_BUDGET_MS


# Written in pieces, so that this file does not name them itself.
WORKPLACE = re.compile(
    "|".join(
        [
            r"(?<![\w.-])/" + r"work\b(?!-)",
            r"/opt/" + r"v/",
            r"(?i:\bf" + r"arm\b|f" + r"arm-)",
            r"(?<![\w-])sha" + r"red/(design|style|perf|api_surface|dask_points|seeds|hooks)\b",
            r"\.lib" + r"rary/",
        ]
    )
)


def repository_files() -> list[Path]:
    """Tracked files and new ones that are not ignored; without git, the known folders."""
    git = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(git, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        folders = (PACKAGE, "tests", "docs", "examples", "benchmarks", ".ci")
        found = [*ROOT.glob("*"), *(p for name in folders for p in (ROOT / name).rglob("*"))]
    else:
        found = [ROOT / name for name in listed.split("\0") if name]
    return sorted(path for path in found if path.is_file() and path.suffix != ".pyc")


def test_no_file_names_the_place_where_it_was_written() -> None:
    named = []
    for path in repository_files():
        text = path.read_bytes().decode("utf-8", errors="ignore")
        for number, line in enumerate(text.splitlines(), 1):
            if WORKPLACE.search(line):
                named.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}")
    assert named == []


def table() -> str:
    """Sizes of the package: lines a file, lines a body, share with docstring and annotation."""
    lines = sorted(source.lines for source in SOURCES)
    functions = [function for source in SOURCES for function in source.functions()]
    bodies = sorted(map(body_lines, functions))
    public = [node for source in SOURCES for node in source.public()]
    documented = sum(ast.get_docstring(node) is not None for node in public) / len(public)
    annotated = sum(f.returns is not None for f in functions) / len(functions)
    return (
        f"files {len(lines)} | lines/file median {statistics.median(lines):.0f} max {lines[-1]} | "
        f"body median {statistics.median(bodies):.0f} p90 {bodies[len(bodies) * 9 // 10]} "
        f"max {bodies[-1]} | public with docstring {documented:.0%} | returns annotated "
        f"{annotated:.0%}"
    )


if __name__ == "__main__":
    print(table())
