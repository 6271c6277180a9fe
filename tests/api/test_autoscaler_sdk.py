"""What `request_resources` refuses; what it does is in `tests/cluster/test_scaling.py`."""

from __future__ import annotations

from typing import Any

import pytest

import ray_on_dask as ray
from ray_on_dask.autoscaler.sdk import request_resources


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        ({"num_cpus": 1.5}, TypeError, "num_cpus should be of type int"),
        ({"num_cpus": -1}, ValueError, "0 or more"),
        ({"bundles": {"CPU": 1}}, TypeError, "a list of dicts"),
        ({"bundles": [1]}, TypeError, "each bundle should be a dict"),
        ({"bundles": [{1: 1}]}, TypeError, "each bundle key should be str"),
        ({"bundles": [{"CPU": True}]}, TypeError, "each bundle value should be a number"),
        ({"bundles": [{"CPU": -1}]}, ValueError, "less than 0"),
        ({"bundle_label_selectors": [{"a": "b"}]}, ValueError, "not supported"),
    ],
)
def test_what_is_no_request_is_refused(given: dict[str, Any], error: Any, text: str) -> None:
    with pytest.raises(error, match=text):
        request_resources(**given)
    assert not ray.is_initialized(), "it is looked at before anything is started"


def test_the_module_is_there_without_an_import_of_its_own() -> None:
    assert ray.autoscaler.sdk.request_resources is request_resources
