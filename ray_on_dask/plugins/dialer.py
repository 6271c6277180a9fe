"""The other nodes of the cluster, as one node reaches them: over Dask comms, by their names."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from ray_on_dask.runtime.within import within
from ray_on_dask.wire import messages as m

#: Seconds for the control store to answer.
ANSWER = 10.0

#: ``await connect(address)`` gives a Dask comm; `OSError` if nobody answers there in time.
Connect = Callable[[str], Awaitable[Any]]


class Dialer:
    """Asks the control store where nodes are, and connects to them.

    Parameters
    ----------
    name : str
        This node's.
    up : callable
        ``up(sender, message)`` hands a message to the control store.
    """

    def __init__(self, name: str, up: Callable[[str, Any], None]):
        self.name = name
        self._up = up
        self._addresses: dict[str, str] = {}
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._requests = 0
        #: Set by the plugin around the node.
        self.connect: Connect = _no_way

    async def ask(self, what: str, **args: Any) -> Any:
        """The control store's answer to a question; `OSError` if there is none in time.

        Raises
        ------
        LookupError
            With the control store's words, if it cannot answer that.
        """
        self._requests += 1
        number = self._requests
        future = self._asked[number] = asyncio.get_running_loop().create_future()
        self._up(self.name, m.Ask(number, what, args))
        try:
            return await within(ANSWER, future)
        except asyncio.TimeoutError:
            raise OSError(f"the control store does not answer ({what})") from None
        finally:
            del self._asked[number]

    def on_answer(self, message: m.Answer) -> None:
        """The control store has answered."""
        future = self._asked.get(message.request)
        if future is not None and not future.done():
            if message.error:
                future.set_exception(LookupError(message.error))
            else:
                future.set_result(message.value)

    async def dial(self, node: str) -> Any:
        """A comm to another node.

        Raises
        ------
        OSError
            If it cannot be reached now.
        LookupError
            If it is dead, or nobody may connect to it.
        """
        # Asked each time, for to connect to one that is dead takes seconds; comms are kept.
        try:
            self._addresses[node] = str(await self.ask("node_address", node=node))
        except OSError:
            if node not in self._addresses:
                raise
        return await self.connect(self._addresses[node])


async def _no_way(address: str) -> Any:
    raise OSError("this node has no way to others")
