"""Values survive both ways of travelling, and come back as the API promises."""

from __future__ import annotations

import collections
import fractions
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from hypothesis.extra import numpy as hnp

from ray_on_dask import serialization
from ray_on_dask.serialization import (
    current_refs,
    deregister_serializer,
    deserialize,
    deserialize_view,
    explain_failure,
    note_ref,
    parts,
    register_serializer,
    serialize,
    to_bytes,
    write_into,
)

scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary()
)
# Without times of foreign byte order: NumPy's own pickling turns them to native.
dtypes = (
    hnp.boolean_dtypes()
    | hnp.integer_dtypes()
    | hnp.floating_dtypes()
    | hnp.complex_number_dtypes()
    | hnp.byte_string_dtypes()
    | hnp.unicode_string_dtypes()
    | hnp.datetime64_dtypes(endianness="=")
    | hnp.timedelta64_dtypes(endianness="=")
)
arrays = hnp.arrays(
    dtypes | hnp.array_dtypes(dtypes, max_size=3),
    hnp.array_shapes(min_dims=0, min_side=0, max_side=4),
)
values = st.recursive(
    scalars | arrays | st.dates() | st.fractions() | st.sets(st.integers(), max_size=3),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=12,
)


def inline(value):
    return deserialize(to_bytes(serialize(value)))


def stored(store, value):
    serialized = serialize(value)
    view = store.open(store.write(parts(serialized), serialized.size))
    try:
        return deserialize_view(view)
    finally:
        view.close()


@pytest.fixture(params=["inline", "stored"])
def travel(request, store):
    return inline if request.param == "inline" else lambda value: stored(store, value)


def assert_same(a, b):
    assert type(a) is type(b)
    if isinstance(a, np.ndarray):
        assert a.dtype == b.dtype and a.shape == b.shape
        assert a.tobytes() == b.tobytes()
    elif isinstance(a, dict):
        assert list(a) == list(b)
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, list | tuple):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
    else:
        assert a == b or (a != a and b != b)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50
)
@given(value=values)
def test_any_nested_value_comes_back_the_same(travel, value):
    assert_same(travel(value), value)


@settings(deadline=None, max_examples=50)
@given(value=values)
def test_all_three_ways_to_lay_a_value_out_agree(value):
    serialized = serialize(value)
    data = to_bytes(serialized)
    assert len(data) == serialized.size
    assert b"".join(parts(serialized)) == data
    target = bytearray(serialized.size + 10)
    write_into(serialized, memoryview(target))
    assert target == data + bytes(10)


@pytest.mark.parametrize("size", [0, 100, 1 << 16, 1 << 20])
@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_bytes_of_any_size_come_back_as_what_they_were(travel, kind, size):
    value = kind(b"x" * size)
    assert_same(travel(value), value)
    assert_same(travel([value]), [value])


def test_large_bytes_are_not_copied_to_be_serialized():
    data = b"x" * 1_000_000
    assert serialize(data).buffers[0].obj is data


def test_a_value_without_buffers_is_the_plain_pickle():
    for value in (5, [1, 2], {"a": "b"}, {1, 2}, collections.OrderedDict(a=1)):
        data = to_bytes(serialize(value))
        assert data[0] == 0x80
        assert pickle.loads(data) == value


@pytest.mark.parametrize(
    "wrap", [lambda a: a, lambda a: [a], lambda a: {"x": (a, 1)}, lambda a: [a] * 40]
)
@pytest.mark.parametrize("length", [0, 3, 100_000])
def test_arrays_are_read_only_wherever_they_come_from(travel, wrap, length):
    value = travel(wrap(np.arange(float(length))))
    while not isinstance(value, np.ndarray):
        value = value["x"] if isinstance(value, dict) else value[0]
    assert value.shape == (length,)
    with pytest.raises(ValueError, match="read-only"):
        value[...] = 0
    with pytest.raises(ValueError):
        value.flags.writeable = True


def test_containers_around_arrays_are_copies_that_may_be_changed(travel):
    value = travel({"a": [np.zeros(3)]})
    value["a"].append(1)
    assert len(value["a"]) == 2


def test_strided_and_object_arrays_come_back_writable(travel):
    for array in (np.arange(10)[::2], np.array([1, "a", None], dtype=object)):
        value = travel(array)
        assert value.flags.writeable
        assert (value == array).all()


def test_fortran_order_is_kept_without_a_copy(store):
    array = np.asfortranarray(np.arange(12.0).reshape(3, 4))
    value = stored(store, array)
    assert value.flags.f_contiguous and not value.flags.writeable
    assert (value == array).all()


def test_stored_arrays_are_the_store_s_own_bytes(store):
    """Not a copy, and aligned for vector instructions."""
    serialized = serialize({"a": np.zeros(1000), "b": np.zeros(17, np.uint8), "c": np.ones(3)})
    located = store.write(parts(serialized), serialized.size)
    first, second = store.open(located), store.open(located)
    for name in "abc":
        one, two = deserialize_view(first)[name], deserialize_view(second)[name]
        assert one.ctypes.data == two.ctypes.data
        assert one.ctypes.data % 64 == 0
    first.close()
    second.close()


def test_subclasses_and_scalars_of_numpy_keep_their_type(travel):
    masked = np.ma.masked_array([1.0, 2.0], mask=[True, False])
    for value in (
        masked,
        np.float32(1.5),
        np.bool_(True),
        np.datetime64("2020-01-01"),
        np.str_("a"),
    ):
        back = travel(value)
        assert type(back) is type(value)
        assert str(back) == str(value)


def test_pandas_frames_share_the_stored_bytes(store):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": np.arange(1000.0), "b": np.arange(1000.0)})
    assert serialize(frame).buffers
    back = stored(store, {"frame": frame})["frame"]
    assert back.equals(frame)
    assert not back.to_numpy(copy=False).flags.writeable


def test_sparse_matrices_share_the_stored_bytes(store):
    sparse = pytest.importorskip("scipy.sparse")
    matrix = sparse.random(50, 50, 0.2, "csr", random_state=0)
    back = stored(store, [matrix])[0]
    assert (back != matrix).nnz == 0
    assert not back.data.flags.writeable


def test_memoryviews_come_back_as_bytes(travel):
    assert travel(memoryview(b"abc")) == b"abc"


# -- cloudpickle ------------------------------------------------------------------------


def test_functions_and_classes_made_here_travel_by_value(travel):
    offset = 10

    class Local:
        def add(self, x):
            return x + offset

    function, made = travel((lambda x: x + offset, Local()))
    assert function(1) == made.add(1) == 11


def test_main_s_classes_travel_by_value_even_inside_fast_paths():
    program = """
import sys, numpy
from ray_on_dask.serialization import serialize, to_bytes
class Mine(int): pass
class Array(numpy.ndarray): pass
record = numpy.zeros(2, numpy.dtype((numpy.record, [("a", "i4")])))
value = [(Mine(5), Mine), {"x": numpy.zeros(3).view(Array)}, record]
sys.stdout.buffer.write(to_bytes(serialize(value)))
"""
    data = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout
    (five, mine), arrays, record = deserialize(data)
    assert five == 5 and type(five) is mine and mine.__name__ == "Mine"
    assert type(arrays["x"]).__name__ == "Array"
    assert record.dtype.type is np.record


def test_scalars_and_containers_import_neither_numpy_nor_cloudpickle():
    program = """
import sys
from ray_on_dask.serialization import serialize, deserialize, to_bytes
for value in (1, "a", [1, (2, 3)], {"a": {"b": None}}, b"x" * 100000):
    assert deserialize(to_bytes(serialize(value))) == value
print([name for name in ("numpy", "cloudpickle", "dask", "distributed") if name in sys.modules])
"""
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert output.stdout.strip() == "[]", output.stderr


def test_a_recursive_list_is_still_one(travel):
    value: list = [1]
    value.append(value)
    back = travel(value)
    assert back[1] is back


# -- refs ---------------------------------------------------------------------------------


class Ref:
    """What an `ObjectRef` does when it is pickled."""

    def __init__(self, number):
        self.number = number

    def __reduce__(self):
        note_ref(self)
        return Ref, (self.number,)


def test_refs_inside_a_value_are_found():
    refs = [Ref(i) for i in range(3)]
    found = serialize({"a": refs[:2], "f": lambda: refs[2]}).inner
    assert set(found) == set(refs)
    assert serialize(5).inner == ()


def test_refs_are_collected_per_thread_and_per_value():
    outer, inner = Ref(1), Ref(2)
    nested = []

    class Nesting:
        def __reduce__(self):
            nested.append(serialize([inner]).inner)
            other = threading.Thread(target=lambda: nested.append(current_refs()))
            other.start()
            other.join()
            return int, ()

    assert serialize([Nesting(), outer]).inner == [outer]
    assert nested == [[inner], None]
    assert current_refs() is None


def test_collecting_ends_when_pickling_fails():
    with pytest.raises(TypeError):
        serialize([Ref(1), threading.Lock()])
    assert current_refs() is None
    note_ref(Ref(1))


# -- serializers of one's own ---------------------------------------------------------------


@pytest.fixture
def registered():
    classes = []

    def register(cls, **functions):
        classes.append(cls)
        register_serializer(cls, **functions)

    yield register
    for cls in classes:
        deregister_serializer(cls)
    assert not serialization._reducers


class Locked:
    """Cannot be pickled by itself."""

    def __init__(self, x):
        self.x = x
        self.lock = threading.Lock()


def test_a_registered_serializer_applies_at_any_depth(travel, registered):
    registered(Locked, serializer=lambda value: value.x, deserializer=lambda x: Locked(x + 1))
    assert travel(Locked(1)).x == 2
    assert travel([{"a": (Locked(5),)}])[0]["a"][0].x == 6


def test_its_deserializer_travels_with_the_value(registered):
    registered(
        fractions.Fraction, serializer=lambda f: f.numerator, deserializer=lambda n: ("made of", n)
    )
    data = to_bytes(serialize(fractions.Fraction(3, 4)))
    program = (
        "import sys\nfrom ray_on_dask.serialization import deserialize\n"
        "print(deserialize(sys.stdin.buffer.read()))"
    )
    output = subprocess.run([sys.executable, "-c", program], input=data, capture_output=True)
    assert output.stdout.strip() == b"('made of', 3)"


def test_a_serializer_for_arrays_comes_before_the_fast_path(travel, registered):
    registered(np.ndarray, serializer=lambda a: a.tolist(), deserializer=tuple)
    assert travel(np.arange(3)) == (0, 1, 2)
    assert travel([np.arange(3)]) == [(0, 1, 2)]


def test_after_deregistering_it_is_as_before(registered):
    registered(Locked, serializer=lambda value: value.x, deserializer=Locked)
    deregister_serializer(Locked)
    deregister_serializer(Locked)
    with pytest.raises(TypeError):
        serialize(Locked(1))


# -- what cannot be serialized -----------------------------------------------------------------


def failure_of(value, *args):
    with pytest.raises(TypeError) as raised:
        serialize(value)
    return explain_failure(value, args[0], raised.value, *args[1:])


def test_the_error_names_what_cannot_be_serialized():
    lock = threading.Lock()

    def uses_it():
        return lock

    error = failure_of(uses_it, "function")
    assert str(error).startswith("Could not serialize the function ")
    assert "uses_it" in str(error).splitlines()[0]
    assert "FailTuple(lock [path=lock, " in str(error)
    assert isinstance(error.__cause__, TypeError)


def test_the_error_says_what_the_value_was_for():
    error = failure_of(Locked(1), "argument", " for a task or actor f")
    first = str(error).splitlines()[0]
    assert first.startswith("Could not serialize the argument <")
    assert " for a task or actor f:" in first
    assert str(failure_of([threading.Lock()], "put value")).startswith(
        "Could not serialize the put value ["
    )
