"""`cloudpickle`, under the name by which Ray's users import it."""

from __future__ import annotations

from cloudpickle import *  # noqa: F403
from cloudpickle import (
    CloudPickler as CloudPickler,
    dump as dump,
    dumps as dumps,
    load as load,
    loads as loads,
    register_pickle_by_value as register_pickle_by_value,
    unregister_pickle_by_value as unregister_pickle_by_value,
)
