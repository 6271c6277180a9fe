"""joblib, and with it scikit-learn, on this cluster.

from ray_on_dask.util.joblib import register_ray
register_ray()
with joblib.parallel_backend("ray"):
    search.fit(X, y)
"""

from __future__ import annotations


def register_ray() -> None:
    """Make ``"ray"`` a backend of joblib.

    Raises
    ------
    ImportError
        If joblib is not installed.
    """
    from joblib.parallel import register_parallel_backend

    from ray_on_dask.util.joblib.backend import RayBackend

    register_parallel_backend("ray", RayBackend)


__all__ = ["register_ray"]
