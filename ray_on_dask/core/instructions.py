"""What the state machines of the control store want done; the composing plugin carries it out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Send:
    """Send `message` to the process or node named `to`; drop it if there is none such any more."""

    to: str
    message: Any


@dataclass(frozen=True, slots=True)
class HandlesGone:
    """No process can reach a handle of this actor any more: tell `Actors.handles_gone`."""

    actor: bytes


@dataclass(frozen=True, slots=True)
class WantActor:
    """Find a node for an actor, then call `Actors.placed`, or `Actors.unplaceable` if none can be.

    Quantities are 1/10,000 units: `placement` must be free on the node, `lifetime` is what is
    subtracted from it while the actor lives.
    """

    actor: bytes
    job: int
    incarnation: int
    owner: str
    placement: dict[str, int]
    lifetime: dict[str, int]
    strategy: str = "DEFAULT"
    placement_group: bytes = b""
    runtime_env: str = ""
    #: For people.
    name: str = ""


@dataclass(frozen=True, slots=True)
class CancelActorLease:
    """The actor's last `WantActor`, not answered yet, is void."""

    actor: bytes


@dataclass(frozen=True, slots=True)
class ReleaseLease:
    """What this lease holds is free again. A lease unknown by now is no error."""

    lease: int


@dataclass(frozen=True, slots=True)
class HoldFor:
    """Hold these refs in an actor's name, for its checkpoint; let go of those of the one before."""

    actor: bytes
    taken: list[bytes]
    released: list[bytes]


Instruction = Send | HandlesGone | WantActor | CancelActorLease | ReleaseLease | HoldFor
