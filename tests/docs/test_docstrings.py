"""The examples in the package's docstrings hold."""

from __future__ import annotations

import ast
import doctest
import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pages import ROOT

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
#: Examples in these begin a session of their own.
ALONE = {"ray_on_dask.client_builder"}


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def examples(path: Path) -> Iterator[doctest.DocTest]:
    """The docstrings of a file that show something.

    Read from the source: what a decorator has replaced, as an actor class, has none to look at.
    """
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        text = ast.get_docstring(node) or ""
        line = getattr(node, "lineno", 1)
        name = f"{module_name(path)}.{getattr(node, 'name', '')}"
        test = doctest.DocTestParser().get_doctest(text, {}, name, str(path), line)
        test.examples = [x for x in test.examples if not x.options.get(doctest.SKIP)]
        if test.examples:
            yield test


SHOWN = {
    test.name: test
    for path in sorted((ROOT / "ray_on_dask").rglob("*.py"))
    for test in examples(path)
}


@pytest.fixture(scope="module")
def session(ray_session: Callable[..., Any]) -> Callable[..., Any]:
    """A function that sees to it that there is a session, the same for all examples."""
    import ray_on_dask as ray

    def begin() -> Any:
        return ray if ray.is_initialized() else ray_session()

    return begin


@pytest.mark.parametrize("name", SHOWN)
def test_the_examples_of_a_docstring_hold(name: str, session: Callable[..., Any]) -> None:
    ray, test = session(), SHOWN[name]
    module = name.rpartition(".")[0]
    if module in ALONE:
        ray.shutdown()
    test.globs = {**vars(importlib.import_module(module)), "ray": ray}
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    runner.run(test)
    assert runner.failures == 0, "what differs is in the output above"


def test_there_are_examples() -> None:
    assert {"ray_on_dask.api.get.get", "ray_on_dask.test_utils.SignalActor"} <= set(SHOWN)
