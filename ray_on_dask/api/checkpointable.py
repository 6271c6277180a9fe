"""Actors that save their state themselves and load it when they start again (Ray 0.7)."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from typing import NamedTuple

from ray_on_dask.ids import ActorID, UniqueID


class CheckpointContext(NamedTuple):
    """What `should_checkpoint` decides by."""

    actor_id: ActorID
    #: Calls that have ended since the last checkpoint, or since the actor began.
    num_tasks_since_last_checkpoint: int
    time_elapsed_ms_since_last_checkpoint: int


class Checkpoint(NamedTuple):
    """A checkpoint that there is."""

    checkpoint_id: UniqueID
    #: Milliseconds since 1970.
    timestamp: int


class Checkpointable(metaclass=ABCMeta):
    """Base of classes that are asked after each call whether to save their state.

    Where they save it is theirs to choose: a file that every node has, another actor, a data base.
    Which checkpoints there are is kept with the control store, so it outlives the actor's
    process and node. Of the latest 20; those before are told of by `checkpoint_expired`.
    """

    @abstractmethod
    def should_checkpoint(self, checkpoint_context: CheckpointContext) -> bool:
        """Whether to save now; asked after each call, before its result is sent."""

    @abstractmethod
    def save_checkpoint(self, actor_id: ActorID, checkpoint_id: UniqueID) -> None:
        """Save the state under this id. If it raises, there is no such checkpoint."""

    @abstractmethod
    def load_checkpoint(
        self, actor_id: ActorID, available_checkpoints: list[Checkpoint]
    ) -> UniqueID | None:
        """Load one of these, latest first, and say which; None to begin anew.

        Called after ``__init__`` when the actor starts again, if there is any checkpoint.
        """

    @abstractmethod
    def checkpoint_expired(self, actor_id: ActorID, checkpoint_id: UniqueID) -> None:
        """This checkpoint will not be asked for any more: what it takes may be freed."""
