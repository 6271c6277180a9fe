"""`inspect_serializability` finds the culprit in closures, attributes and containers."""

from __future__ import annotations

import functools
import io
import threading

import pytest

from ray_on_dask.util.check_serialize import inspect_serializability

lock = threading.Lock()


class Holder:
    def __init__(self, **attributes):
        self.__dict__.update(attributes)

    def method(self):
        return 1


class Slotted:
    __slots__ = ("part",)

    def __init__(self, part):
        self.part = part


def closure(part):
    return lambda: part


def default(part):
    def function(x=part):
        return x

    return function


def culprits(value, **options):
    report = io.StringIO()
    good, failures = inspect_serializability(value, print_file=report, **options)
    assert good is (not failures)
    return failures, report.getvalue()


WAYS = {
    "itself": lambda part: part,
    "closure": closure,
    "default": default,
    "attribute": lambda part: Holder(part=part, other=1),
    "slot": Slotted,
    "method": lambda part: Holder(part=part).method,
    "partial": lambda part: functools.partial(print, part),
    "list": lambda part: [1, part],
    "dictionary": lambda part: {"a": 1, "b": part},
    "set": lambda part: {1, part},
    "class": lambda part: type("Made", (), {"part": part}),
    "deep": lambda part: Holder(x={"k": [part]}),
}


@pytest.mark.parametrize("way", WAYS)
def test_the_culprit_is_found(way):
    failures, report = culprits(WAYS[way](lock))
    assert [failure.obj for failure in failures] == [lock]
    assert repr(next(iter(failures))) in report


def test_global_variables_of_a_function_are_looked_at():
    namespace = {"culprit": lock, "__name__": "__main__"}
    exec("def f():\n    return [culprit for _ in range(3)]", namespace)
    (failure,) = culprits(namespace["f"])[0]
    assert (failure.obj, failure.path, failure.parent) == (lock, ("culprit",), namespace["f"])


def test_the_path_begins_with_the_name_given():
    (failure,) = culprits(Holder(x={"k": lock}), name="model")[0]
    assert failure.path == ("model", "x", "['k']")
    assert failure.parent == {"k": lock}


def test_the_search_ends_at_the_depth_given():
    value = Holder(x={"k": lock})
    assert [f.obj for f in culprits(value, depth=0)[0]] == [value]
    assert [f.obj for f in culprits(value, depth=1)[0]] == [value.x]


def test_several_culprits_are_all_found():
    other = threading.Lock()
    failures, _ = culprits(Holder(a=lock, b=[other], c=1))
    assert {failure.obj for failure in failures} == {lock, other}


def test_what_contains_itself_is_no_endless_search():
    value = Holder(part=lock)
    value.itself = value
    assert [f.obj for f in culprits(value)[0]] == [lock]


def test_what_can_be_serialized_has_no_culprits(capsys):
    assert inspect_serializability([1, 2]) == (True, set())
    assert "[1, 2]" in capsys.readouterr().out


def test_a_repr_that_fails_does_no_harm():
    class Awkward:
        def __init__(self):
            self.part = lock

        def __repr__(self):
            raise RuntimeError

    assert [f.obj for f in culprits(Awkward())[0]] == [lock]
