"""Which task launched which, and which data went where: what processes have recorded of it.

Recorded only for jobs that ask for it (`init(record_graph=True)`), for
`visualize_computation_graph`.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

#: Records kept of one job, and jobs of which any are kept; the oldest go first.
RECORDS_MAX, JOBS_MAX = 20_000, 20

#: Kind ("task", "call", "actor", "put"), id, name, id of the task that launched it (b"" for the
#: driver), number of results, ids of the objects that are its arguments.
GraphRecord = list[Any]


class GraphRecords:
    """Keeps the records of jobs."""

    def __init__(self) -> None:
        self._jobs: OrderedDict[int, OrderedDict[bytes, GraphRecord]] = OrderedDict()

    def take(self, job: int, records: list[GraphRecord]) -> None:
        """A process of a job has launched these; one that is tried again counts once."""
        kept = self._jobs.setdefault(job, OrderedDict())
        if len(self._jobs) > JOBS_MAX:
            self._jobs.popitem(last=False)
        for record in records:
            kept.setdefault(bytes(record[1]), record)
        while len(kept) > RECORDS_MAX:
            kept.popitem(last=False)

    def of_job(self, job: int) -> list[GraphRecord]:
        """The records of a job, the oldest first."""
        return list(self._jobs.get(job, {}).values())
