"""`internal.free`: values that go although there are refs to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ray_on_dask.runtime.object_ref import ObjectRef
from ray_on_dask.wire.messages import FREED, INLINE, STORED, FreeRefs

if TYPE_CHECKING:
    from ray_on_dask.runtime.process import Process


def free(process: Process, refs: list[ObjectRef[Any]]) -> None:
    """Free the values at once, whoever holds refs to them.

    The directory may hear of it before it hears of the refs, from whoever has lent them. It keeps
    it in mind, for as long as they are held: so this process registers what it has borrowed for
    the length of a task.
    """
    with process.lock:
        seen: list[bytes] = []
        others: list[bytes] = []
        for ref in refs:
            entry = ref._entry
            process.references.make_known(ref)
            shared, has_value = entry.share(), entry.kind in (INLINE, STORED)
            if not (entry.owned or shared.owed):
                process.references.take_hold(entry, at_once=True)
            if shared.promoted or not entry.owned:
                (seen if has_value else others).append(entry.id)
            if has_value:
                if entry.kind == STORED and entry.owned:
                    process.storing.free_now(entry)
                entry.kind, entry.data = FREED, b""
        if seen:
            process.to_hub(FreeRefs(seen, seen=True))
        if others:
            process.to_hub(FreeRefs(others))
    process.send_out()
