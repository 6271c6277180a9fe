"""The scheduler's side of gateways: each has a link of its own, on which its messages come."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

import msgspec

from ray_on_dask.core.members import NodeFacts
from ray_on_dask.plugins.control_line import ControlLine
from ray_on_dask.plugins.relay import Relay

if TYPE_CHECKING:
    from ray_on_dask.plugins.scheduler_plugin import ControlPlugin

logger = logging.getLogger("ray_on_dask")


class Gateways:
    """Takes gateways in, and tells the control store when they are gone."""

    def __init__(self, plugin: ControlPlugin):
        self.plugin = plugin
        self.lines: dict[str, ControlLine] = {}
        self.relay = Relay("", _dial, self._take_in, time.monotonic, lambda *_: None)
        self.relay.make_end = ControlLine
        self._ticked = 0.0

    async def on_link(
        self, comm: Any, link: str = "", node: str = "", new: bool = False, received: int = 0,
        raw: bool = False,
    ) -> None:  # fmt: skip
        """A gateway has connected; lasts as long as the comm."""
        await self.relay.on_link(comm, link, node, new, received, raw)

    async def _take_in(self, line: ControlLine) -> None:
        """What opens a line to an executor says here what the gateway is."""
        plugin, store = self.plugin, self.plugin.store
        try:
            facts = NodeFacts(address="", **msgspec.json.decode(line.executor))
        except (ValueError, TypeError) as error:
            logger.warning("a gateway is not let in: %s", error)
            raise LookupError(f"no gateway: {error}") from error
        line.executor = ""
        if store is None:
            raise LookupError("the control store is not up")
        if line.closed:  # it was gone before it could be let in: nobody would tell of its end
            raise LookupError("the gateway has hung up")
        store.gateways.up(facts, plugin.now())
        self.lines[facts.name] = line
        line.on_end = lambda: self._gone(facts.name)
        line.listen(plugin.up)

    def _gone(self, name: str) -> None:
        self.lines.pop(name, None)
        if self.plugin.store is not None:
            reason = "its gateway is gone"
            self.plugin.dispatch(self.plugin.store.gateways.down(name, reason, self.plugin.now()))

    def tick(self, now: float) -> None:
        """To be called often; acts each second."""
        if now - self._ticked >= 1.0:
            self._ticked = now
            self.relay.tick(now)

    def close(self) -> None:
        """The scheduler closes."""
        for line in self.lines.values():
            line.on_end = lambda: None
        self.relay.close()


async def _dial(node: str) -> Any:
    raise LookupError("gateways connect themselves")
