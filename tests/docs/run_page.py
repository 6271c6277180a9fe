"""Run the examples of one page, as a program of its own: ``python run_page.py PAGE``.

The blocks of a page share one namespace, that of a new `__main__` without a file, as in a
notebook. Those with ``>>>`` must print what stands there.
"""

from __future__ import annotations

import doctest
import sys
import types
from pathlib import Path
from typing import Any

from pages import Block, blocks

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def run(page: Path) -> None:
    """Run all blocks of a page; exits with 1 at the first that fails."""
    main = sys.modules["__main__"] = types.ModuleType("__main__")
    for block in blocks(page.read_text(encoding="utf-8")):
        if block.language == "python" and block.exempt is None:
            _run(block, page, main.__dict__)


def _run(block: Block, page: Path, namespace: dict[str, Any]) -> None:
    if ">>> " not in block.text:
        # Empty lines before it, so that a traceback names the page's line.
        code = compile("\n" * (block.line - 1) + block.text, str(page), "exec")
        exec(code, namespace)
        return
    test = doctest.DocTestParser().get_doctest(
        block.text, namespace, page.name, str(page), block.line - 1
    )
    test.globs = namespace  # not a copy: what one block defines is there for the next
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    runner.run(test, clear_globs=False)
    if runner.failures:
        sys.exit(1)


if __name__ == "__main__":
    run(Path(sys.argv[1]))
