"""How processes ended, in words."""

from __future__ import annotations


def ended_how(status: int) -> str:
    """How a process ended, in words."""
    if status < 0:
        import signal

        try:
            return f"killed by {signal.Signals(-status).name}"
        except ValueError:
            return f"killed by signal {-status}"
    return f"exited with code {status}"
