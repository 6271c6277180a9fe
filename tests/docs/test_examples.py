"""Every example of the documentation runs, and prints what the page says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pages import PAGES, ROOT, Block, blocks

RUNNER = Path(__file__).with_name("run_page.py")
#: Seconds for all examples of a page together.
TIMEOUT = 90

SHOWN = [page for page in PAGES if "```python" in page.read_text(encoding="utf-8")]


def run_page(page: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a page's examples in a folder of their own."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return subprocess.run(
        [sys.executable, str(RUNNER), str(page)], cwd=folder, timeout=TIMEOUT, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


@pytest.mark.timeout(TIMEOUT + 30)
@pytest.mark.parametrize("page", SHOWN, ids=lambda page: page.name)
def test_the_examples_of_a_page_run(page: Path, tmp_path: Path) -> None:
    done = run_page(page, tmp_path)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("page", SHOWN, ids=lambda page: page.name)
def test_a_block_that_is_not_run_says_why(page: Path) -> None:
    found = list(blocks(page.read_text(encoding="utf-8")))
    assert [block.line for block in found if block.exempt == ""] == []


def test_wrong_output_on_a_page_is_noticed(tmp_path: Path) -> None:
    """The tests above are of no use if the runner is blind, so it is tried on offenders."""
    page = tmp_path / "page.md"
    page.write_text("```python\nx = 1\n```\n\n```python\n>>> x + 1\n3\n```\n")
    assert run_page(page, tmp_path).returncode == 1
    page.write_text("```python\nx = 1\n```\n\n```python\n>>> x + 1\n2\n```\n")
    assert run_page(page, tmp_path).returncode == 0
    page.write_text("text\n\n```python\nraise ValueError\n```\n")
    assert "line 4" in run_page(page, tmp_path).stdout


def test_a_comment_exempts_the_next_block_and_no_other() -> None:
    text = (
        "<!-- not run: needs a GPU -->\n```python\na\n```\n\n```python\nb\n```\n"
        "<!-- not run: x -->\n\nwords\n\n```bash\nc\n```\n"
    )
    assert list(blocks(text)) == [
        Block("python", "a\n", 3, "needs a GPU"),
        Block("python", "b\n", 7),
        Block("bash", "c\n", 14),
    ]
