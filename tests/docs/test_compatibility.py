"""`docs/compatibility.md` says what is there: no more, and no less."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
from pathlib import Path
from typing import Any

import pytest
from pages import PAGES, ROOT, names, table, tables

import ray_on_dask as ray
from ray_on_dask import config, exceptions, util
from ray_on_dask.api import options
from ray_on_dask.api.init_options import _ALIASES, _OF_CLUSTER, _POSITIONS, _REFUSED, InitOptions

TEXT = (ROOT / "docs" / "compatibility.md").read_text(encoding="utf-8")
STATUSES = {"same", "differs", "no effect", "refused", "ours"}
ERAS = {"2016", "0.x", "1.x", "2.x"}
#: Fields of `InitOptions` that are no arguments.
INTERNAL = {"client", "ignored"}


def rows(heading: str) -> dict[str, dict[str, str]]:
    """{name: its row} of the table under a heading."""
    found = table(TEXT, heading).rows
    by_name = {names(next(iter(row.values())))[0]: row for row in found}
    assert len(by_name) == len(found), f"a name stands twice under {heading!r}"
    return by_name


def test_statuses_and_eras_are_the_ones_explained() -> None:
    for one in tables(TEXT):
        for row in one.rows:
            assert row.get("status", "same") in STATUSES, row
            if "status" in row and "era" in row:
                assert row["era"] in ERAS or row["status"] == "ours", row


def test_what_differs_or_is_refused_is_explained_but_for_the_obvious() -> None:
    silent = [
        row
        for one in tables(TEXT)
        for row in one.rows
        if row.get("status") == "differs" and not row["remarks"]
    ]
    assert silent == []


# -- names ---------------------------------------------------------------------------


def test_every_public_name_is_listed_and_every_name_listed_is_there() -> None:
    listed = rows("Names of the module")
    assert set(listed) == {name for name in dir(ray) if not name.startswith("__")}
    for name in listed:
        assert getattr(ray, name) is not None


def test_modules_listed_can_be_imported_and_all_others_are_internal() -> None:
    listed = {*rows("Modules"), *rows("Names of the module")}
    internal = {
        "api", "client_builder", "config", "core", "dashboard", "error_serialization", "errorlog",
            "graph",
        "ids", "label_syntax", "logging_config", "objectstore", "pickler", "plugins", "runtime",
        "serialization", "wire",
    }  # fmt: skip
    there = {
        path.stem
        for path in (ROOT / "ray_on_dask").iterdir()
        if (path.suffix == ".py" or (path / "__init__.py").exists()) and path.name[0] != "_"
    }
    assert there - internal == there & listed
    for name in rows("Modules"):
        importlib.import_module(f"ray_on_dask.{name}")


def test_every_name_of_util_is_listed_and_every_name_listed_is_there() -> None:
    listed = rows("Names of util")
    public = {*util.__all__, *util._MODULES}
    assert set(listed) >= public
    assert [name for name in listed if not hasattr(util, name)] == []
    assert set(listed) - public <= {*util._PLACEMENT_GROUPS}


@pytest.mark.parametrize("name", rows("Not there"))
def test_what_is_said_not_to_be_there_is_not(name: str) -> None:
    parent, _, last = f"ray_on_dask.{name}".rpartition(".")
    assert not hasattr(importlib.import_module(parent), last)
    assert importlib.util.find_spec(f"ray_on_dask.{name}") is None


# -- arguments of init ---------------------------------------------------------------


def test_every_argument_of_init_is_listed() -> None:
    fields = set(InitOptions.__dataclass_fields__) - INTERNAL
    assert set(rows("Arguments of init")) >= {*fields, *_ALIASES, *_REFUSED}


@pytest.mark.parametrize("name", rows("Arguments of init"))
def test_an_argument_of_init_is_taken_or_refused_as_listed(name: str) -> None:
    refused = rows("Arguments of init")[name]["status"] == "refused"
    if name == "address":
        assert "address" in inspect.signature(ray.init).parameters
        return
    try:
        InitOptions.parse(None, (), {name: object()})
    except RuntimeError as error:
        assert refused, error
        assert "not supported" in str(error)
    except (TypeError, ValueError):  # of a wrong type, but known
        assert not refused
    else:
        assert not refused


def test_positions_are_listed_in_their_order() -> None:
    paragraph = TEXT.partition("The oldest API's may be given by position")[2].partition("\n\n")[0]
    given = names(paragraph.partition(". An unknown")[0])
    assert given == ["redis_address", *_POSITIONS]


def test_what_has_no_effect_is_read_nowhere() -> None:
    """An argument that is said to have none must not be looked at outside of the checks."""
    sources = _sources(without="init_options.py")
    for name, row in rows("Arguments of init").items():
        if row["status"] == "no effect":
            plain = _ALIASES.get(name, name)
            assert not re.search(rf"options\.{plain}\b", sources), name
            assert plain not in _OF_CLUSTER


# -- options ---------------------------------------------------------------------------

OLD = {
    "num_return_vals": "num_returns",
    "num_custom_resource": "resources",
    "max_reconstructions": "max_restarts",
}
KINDS: dict[str, tuple[dict[str, Any], Any, Any]] = {
    "tasks": (options.TASK_OPTIONS, options.task_options, options.task_overrides),
    "actors": (options.ACTOR_OPTIONS, options.actor_options, options.actor_overrides),
    "methods": (options._METHOD_OVERRIDES, options.method_options, options.method_overrides),
}


@pytest.mark.parametrize("kind", KINDS)
def test_options_are_listed_where_they_are_accepted(kind: str) -> None:
    known, at_decoration, at_call = KINDS[kind]
    expected = {name: "yes" if option.in_options else "decorator" for name, option in known.items()}
    expected |= {old: "yes" for old, new in OLD.items() if new in known}
    if kind == "methods":
        expected |= dict.fromkeys(set(known) - set(options.METHOD_OPTIONS), "options")
    listed = {name: row[kind] for name, row in rows("Options").items() if row[kind]}
    assert listed == expected
    for old in OLD.keys() & listed:
        assert at_decoration(**{old: 2}) and at_call(**{old: 2})


def test_options_without_effect_are_read_nowhere() -> None:
    sources = _sources(without="option")
    idle = [name for name, row in rows("Options").items() if row["status"] == "no effect"]
    assert [name for name in idle if f'get("{name}"' in sources or f'["{name}"]' in sources] == []
    effective = set(rows("Options")) - {*idle, *OLD}
    assert [name for name in sorted(effective) if f'"{name}"' not in _sources("options.py")] == []


# -- the rest --------------------------------------------------------------------------


def test_every_exception_is_listed() -> None:
    there = {n for n in exceptions.__all__ if inspect.isclass(getattr(exceptions, n))}
    old = rows("Old names of exceptions")
    assert {*rows("Exceptions"), *old} == there
    for name, row in old.items():
        assert getattr(exceptions, name) is getattr(exceptions, names(row["name"])[0])


def test_exceptions_are_raised_or_not_as_listed() -> None:
    """By name: what nothing outside of the exceptions' own modules names, nothing raises."""
    sources = _sources(without="exceptions")
    for name, row in rows("Exceptions").items():
        if not row["raised when"].startswith("base of"):
            used = re.search(rf"\b{name}\b", sources) is not None
            assert used is not row["raised when"].startswith("never"), name


def test_settings_are_listed() -> None:
    assert set(rows("Settings")) == set(config.NAMES)


def test_variables_named_are_read() -> None:
    sources = _sources()
    for name in re.findall(r"`(RAY_[A-Z_]+)`", TEXT):
        assert f'"{name}"' in sources, name


def test_commands_are_listed() -> None:
    from ray_on_dask.cli import main

    assert set(rows("Commands")) == set(main.list_commands(None))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path) if path else page
        assert file.exists(), target
        if anchor:
            assert anchor in _anchors(file.read_text(encoding="utf-8")), target


def _anchors(text: str) -> set[str]:
    """Anchors of a page's headings, as they are made on GitHub."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    plain = [re.sub(r"[^\w\- ]", "", heading).strip().lower() for heading in headings]
    return {heading.replace(" ", "-") for heading in plain}


def _sources(without: str = "") -> str:
    """The package's sources, but for files with `without` in their names."""
    paths = sorted((ROOT / "ray_on_dask").rglob("*.py"))
    kept = [path for path in paths if not without or without not in path.name]
    return "\n".join(path.read_text(encoding="utf-8") for path in kept)
