"""What the driver shows of the lines that tasks print."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from ray_on_dask.runtime import log_lines
from ray_on_dask.runtime.log_lines import LogPrinter


@dataclass
class Terminal:
    """Collects what is written; its clock stands until it is set."""

    now: float = 100.0
    out: list[str] = field(default_factory=list)
    err: list[str] = field(default_factory=list)

    def write(self, text: str, is_err: bool) -> None:
        (self.err if is_err else self.out).append(text)

    def printer(self, **how: Any) -> LogPrinter:
        return LogPrinter(self.write, lambda: self.now, **{"color": False, **how})

    def take(self) -> list[str]:
        """What has been written since the last time, without the notice."""
        taken = [text.replace(log_lines._NOTICE, "").removesuffix("\n") for text in self.out]
        self.out.clear()
        return taken


@pytest.fixture
def terminal() -> Terminal:
    return Terminal()


def test_a_line_names_its_task_and_process(terminal: Terminal) -> None:
    printer = terminal.printer()
    printer.line("f", 7, None, "hello", False)
    printer.line("A", 8, "10.0.0.2", "  indented", False)
    assert terminal.out == ["(f pid=7) hello\n", "(A pid=8, ip=10.0.0.2)   indented\n"]


def test_lines_of_stderr_go_to_stderr(terminal: Terminal) -> None:
    terminal.printer().line("f", 7, None, "oh", True)
    assert (terminal.out, terminal.err) == ([], ["(f pid=7) oh\n"])


def test_prefix_is_cyan_and_count_green_where_color_is_wanted(terminal: Terminal) -> None:
    printer = terminal.printer(color=True)
    for pid in (1, 2, 3):
        printer.line("f", pid, None, "x", False)
    printer.tick(106.0)
    first, merged = terminal.out
    assert first == "\x1b[36m(f pid=1)\x1b[0m x\n"
    assert merged.startswith("\x1b[36m(f pid=3)\x1b[0m x\x1b[32m [repeated 2x across cluster]")
    assert merged.endswith("\x1b[0m\n")


def test_what_several_processes_print_is_shown_once_and_then_counted(terminal: Terminal) -> None:
    printer = terminal.printer()
    for pid in (1, 2, 3, 4):
        printer.line("f", pid, None, "go!", False)
    assert terminal.take() == ["(f pid=1) go!"]
    assert printer.pending
    printer.tick(104.9)
    assert terminal.take() == []
    printer.tick(105.0)
    assert terminal.take() == ["(f pid=4) go! [repeated 3x across cluster]"]
    assert not printer.pending


def test_one_line_held_back_is_shown_as_it_is(terminal: Terminal) -> None:
    printer = terminal.printer()
    printer.line("f", 1, None, "go!", False)
    printer.line("f", 2, None, "go!", False)
    printer.tick(105.0)
    assert terminal.take() == ["(f pid=1) go!", "(f pid=2) go!"]


def test_what_one_process_prints_is_never_merged(terminal: Terminal) -> None:
    printer = terminal.printer()
    for _ in range(5):
        printer.line("f", 1, None, "again", False)
    assert terminal.take() == ["(f pid=1) again"] * 5


def test_equal_process_ids_on_two_hosts_are_two_processes(terminal: Terminal) -> None:
    printer = terminal.printer()
    printer.line("f", 1, None, "x", False)
    printer.line("f", 1, "10.0.0.2", "x", False)
    assert len(terminal.take()) == 1
    assert printer.pending


def test_lines_that_differ_in_numbers_alone_are_the_same(terminal: Terminal) -> None:
    printer = terminal.printer()
    for pid in (1, 2, 3):
        printer.line("f", pid, None, f"step {pid} of 10", False)
    printer.line("f", 1, None, "path /a/b", False)
    printer.line("f", 2, None, "path /a/c", False)
    printer.tick(105.0)
    assert terminal.take() == [
        "(f pid=1) step 1 of 10",
        "(f pid=1) path /a/b",
        "(f pid=2) path /a/c",
        "(f pid=3) step 3 of 10 [repeated 2x across cluster]",
    ]


def test_the_same_text_on_stdout_and_stderr_is_not_merged(terminal: Terminal) -> None:
    printer = terminal.printer()
    printer.line("f", 1, None, "x", False)
    printer.line("f", 2, None, "x", True)
    assert (len(terminal.out), len(terminal.err)) == (1, 1)


def test_what_goes_on_being_printed_goes_on_being_merged(terminal: Terminal) -> None:
    printer = terminal.printer()
    for second in range(20):
        terminal.now = 100.0 + second
        for pid in (1, 2):
            printer.line("f", pid, None, "beat", False)
    shown = terminal.take()
    assert shown[0] == "(f pid=1) beat"
    assert shown[1:] == [
        "(f pid=2) beat [repeated 9x across cluster]",
        "(f pid=2) beat [repeated 10x across cluster]",
        "(f pid=2) beat [repeated 10x across cluster]",
    ]


def test_a_line_that_comes_late_is_shown_at_once(terminal: Terminal) -> None:
    printer = terminal.printer()
    printer.line("f", 1, None, "x", False)
    terminal.now = 105.0
    printer.line("f", 2, None, "x", False)
    assert terminal.take() == ["(f pid=1) x", "(f pid=2) x"]


def test_the_end_of_the_session_shows_all(terminal: Terminal) -> None:
    printer = terminal.printer()
    for pid in (1, 2, 3):
        printer.line("f", pid, None, "a", False)
        printer.line("f", pid, None, "b", False)
    printer.tick(float("inf"))
    assert len(terminal.take()) == 4
    assert not printer.pending


def test_how_to_see_all_lines_is_told_once(terminal: Terminal) -> None:
    printer = terminal.printer()
    for text in "ab":
        for pid in (1, 2, 3):
            printer.line("f", pid, None, text, False)
    printer.tick(105.0)
    assert sum("RAY_DEDUP_LOGS=0" in text for text in terminal.out) == 1


def test_a_flood_of_different_lines_does_not_fill_the_memory(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_lines, "REMEMBERED", 10)
    printer = terminal.printer()
    for pid in (1, 2):
        printer.line("f", pid, None, "held back", False)
    for i in range(100):
        printer.line("f", 1, None, "x" * i, False)
    assert len(printer._seen) <= 11
    printer.tick(float("inf"))
    assert len(terminal.take()) == 102


@pytest.mark.parametrize("window", [0.0, 5.0])
def test_no_line_is_lost_or_counted_twice(terminal: Terminal, window: float) -> None:
    printer = terminal.printer(window=window)
    for i in range(300):
        terminal.now += (i * 7 % 5) / 2
        printer.line("f", i * 31 % 4, None, "abc"[i % 3], False)
    printer.tick(float("inf"))
    counts = [
        int(line.split("[repeated ")[1].split("x")[0]) if "[repeated" in line else 1
        for line in terminal.take()
    ]
    assert sum(counts) == 300


# -- the environment ---------------------------------------------------------------------


def shown(terminal: Terminal, **environ: str) -> list[str]:
    printer = LogPrinter.from_environment(terminal.write, lambda: terminal.now, environ)
    for pid in (1, 2, 3):
        printer.line("f", pid, None, "x", False)
    return terminal.out


def test_colors_and_merging_are_on_by_default(terminal: Terminal) -> None:
    assert shown(terminal) == ["\x1b[36m(f pid=1)\x1b[0m x\n"]


def test_the_environment_turns_merging_off(terminal: Terminal) -> None:
    assert len(shown(terminal, RAY_DEDUP_LOGS="0")) == 3


@pytest.mark.parametrize("variable", [{"RAY_COLOR_PREFIX": "0"}, {"NO_COLOR": "1"}])
def test_the_environment_turns_colors_off(terminal: Terminal, variable: dict[str, str]) -> None:
    assert shown(terminal, **variable) == ["(f pid=1) x\n"]


def test_the_environment_sets_the_window(terminal: Terminal) -> None:
    environ = {"RAY_DEDUP_LOGS_AGG_WINDOW_S": "1", "NO_COLOR": "1"}
    printer = LogPrinter.from_environment(terminal.write, lambda: terminal.now, environ)
    for pid in (1, 2, 3):
        printer.line("f", pid, None, "x", False)
    printer.tick(101.0)
    assert len(terminal.out) == 2
