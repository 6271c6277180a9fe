"""What a cluster that scales should have room for, whether or not it is wanted now.

Nodes come and go by Dask's `cluster.adapt()`, which follows this package's demand.
"""

from __future__ import annotations

from typing import Any

from ray_on_dask.api import session as sessions

__all__ = ["request_resources"]


def request_resources(
    num_cpus: int | None = None,
    bundles: list[dict[str, float]] | None = None,
    bundle_label_selectors: list[dict[str, str]] | None = None,
) -> None:
    """Have the cluster grow until so much fits on it, and not shrink below that.

    What runs already counts as part of it. The request holds until the next call, whoever makes
    it, also after the end of this driver; a call without arguments ends it.

    Parameters
    ----------
    num_cpus : int, optional
        So many tasks of one CPU each.
    bundles : list of dict, optional
        Sets of resources such as ``{"GPU": 1, "CPU": 4}``, each of which has to fit on one node.
    bundle_label_selectors : list of dict, optional
        Refused, but for selectors that are empty: nodes that Dask starts have the same labels.

    Raises
    ------
    TypeError, ValueError
        For values that are no such numbers and bundles.
    """
    if num_cpus is not None and (not isinstance(num_cpus, int) or isinstance(num_cpus, bool)):
        raise TypeError(f"num_cpus should be of type int, but is {num_cpus!r}")
    if num_cpus is not None and num_cpus < 0:
        raise ValueError(f"num_cpus should be 0 or more, but is {num_cpus}")
    if bundles is not None and not isinstance(bundles, list):
        raise TypeError(f"bundles should be a list of dicts, but is {bundles!r}")
    for bundle in bundles or ():
        _check_bundle(bundle)
    if any(bundle_label_selectors or ()):
        raise ValueError(
            f"bundle_label_selectors={bundle_label_selectors!r} is not supported: the nodes that "
            "cluster.adapt() starts are all alike"
        )
    process = sessions.running_session()
    if process is None:  # local mode: nothing grows
        return
    process.asking.ask("request_resources", num_cpus=num_cpus or 0, bundles=bundles or [])


def _check_bundle(bundle: Any) -> None:
    if not isinstance(bundle, dict):
        raise TypeError(f"each bundle should be a dict, but one is {bundle!r}")
    for name, quantity in bundle.items():
        if not isinstance(name, str):
            raise TypeError(f"each bundle key should be str, but one is {name!r}")
        if isinstance(quantity, bool) or not isinstance(quantity, int | float):
            raise TypeError(f"each bundle value should be a number, but {name} is {quantity!r}")
        if quantity < 0:
            raise ValueError(f"no bundle has less than 0 of anything, but {name} is {quantity}")
