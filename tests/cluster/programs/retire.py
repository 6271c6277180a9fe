"""Have the worker of a host leave in an orderly way."""

import sys

from distributed import Client

with Client(sys.argv[1], set_as_default=False) as client:
    gone = [x for x in client.scheduler_info()["workers"] if f"//{sys.argv[2]}:" in x]
    assert gone
    client.retire_workers(gone, close_workers=True)
    assert not [x for x in client.scheduler_info()["workers"] if x in gone]
