"""Values of other libraries, and values with a structure, come back exactly as they were."""

from __future__ import annotations

import os
import threading
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from hypothesis.extra import numpy as hnp

from ray_on_dask.serialization import (
    Serialized,
    deserialize,
    deserialize_view,
    parts,
    serialize,
    to_bytes,
)


def inline(value: Any) -> Any:
    return deserialize(to_bytes(serialize(value)))


def stored(store: Any, value: Any) -> Any:
    serialized = serialize(value)
    view = store.open(store.write(parts(serialized), serialized.size))
    try:
        return deserialize_view(view)
    finally:
        view.close()


@pytest.fixture(params=["inline", "stored"])
def travel(request: Any, store: Any) -> Any:
    return inline if request.param == "inline" else lambda value: stored(store, value)


# -- arrays of any layout ------------------------------------------------------------------

#: What makes an array with another layout, and perhaps other content, of an array.
LAYOUTS = {
    "as it is": lambda a: a,
    "Fortran": np.asfortranarray,
    "transposed": np.transpose,
    "every other": lambda a: a[::2] if a.ndim else a,
    "backwards": lambda a: a[::-1] if a.ndim else a,
    "one of many": lambda a: np.broadcast_to(a, (2, *a.shape)),
    "a window": lambda a: np.pad(a, 1)[tuple(slice(1, -1) for _ in a.shape)] if a.ndim else a,
    "misaligned": lambda a: np.frombuffer(b"x" + a.tobytes(), a.dtype, offset=1).reshape(a.shape),
    "read-only": lambda a: np.require(a.copy(), requirements="C") if a.ndim else a,
}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    array=hnp.arrays(
        hnp.integer_dtypes() | hnp.complex_number_dtypes() | hnp.unicode_string_dtypes(),
        hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
    ),
    layout=st.sampled_from(sorted(LAYOUTS)),
    wrap=st.sampled_from([lambda x: x, lambda x: [x, {"again": x}], lambda x: (x,) * 20]),
)
def test_arrays_of_any_layout(travel: Any, array: Any, layout: str, wrap: Any) -> None:
    if layout == "misaligned" and not array.size:
        return
    sent = LAYOUTS[layout](array)
    back = travel(wrap(sent))
    while not isinstance(back, np.ndarray):
        back = back[0]
    assert back.shape == sent.shape
    contiguous = sent.flags.c_contiguous or sent.flags.f_contiguous
    # What is copied by NumPy's own pickling comes out of it in the machine's byte order.
    assert back.dtype == (sent.dtype if contiguous else sent.dtype.newbyteorder("="))
    assert back.astype(sent.dtype).tobytes() == sent.tobytes()
    if contiguous:
        assert (back.flags.c_contiguous, back.flags.f_contiguous) == (
            sent.flags.c_contiguous, sent.flags.f_contiguous,
        )  # fmt: skip
        assert not back.flags.writeable
    else:
        assert back.flags.writeable  # a copy of its own: the pickle has none of its layout


def test_times_strings_and_structures(travel: Any) -> None:
    record = np.array([(1, 2.5, "a")], [("n", "i4"), ("x", "f8"), ("s", "U3")])
    for array in (
        np.array(["2020-01-01", "NaT"], "datetime64[ns]"),
        np.array([1, 2], "timedelta64[h]"),
        np.array([b"a", b"bc"]),
        record,
        record.view(np.recarray),
        np.array(["a", "long" * 50], dtype=np.dtypes.StringDType()),
        np.zeros(3, np.float16),
        np.array(5),
    ):
        back = travel([array])[0]
        assert type(back) is type(array) and back.dtype == array.dtype
        assert back.tolist() == array.tolist() or str(back) == str(array)


# -- structure ------------------------------------------------------------------------------


def test_what_is_one_object_stays_one(travel: Any) -> None:
    shared, array = ["shared"], np.arange(1000)
    back = travel({"a": shared, "b": [shared, (array, array)]})
    assert back["a"] is back["b"][0]
    assert back["b"][1][0] is back["b"][1][1]


def test_what_contains_itself_still_does(travel: Any) -> None:
    value: dict[str, Any] = {"array": np.arange(3)}
    value["self"] = [value]
    back = travel(value)
    assert back["self"][0] is back


class Text(str):
    """No plain string."""


class Numbers(list):  # type: ignore[type-arg]
    """No plain list."""


def test_subclasses_of_plain_types_stay_what_they_are(travel: Any) -> None:
    back = travel([Text("a"), Numbers([1, 2]), True, 1])
    assert [type(x) for x in back] == [Text, Numbers, bool, int]


# -- large parts are not copied ---------------------------------------------------------------

LARGE = 8 << 20


@pytest.mark.parametrize("wrap", [
    lambda x: x, lambda x: [x], lambda x: {"a": x, "b": 1}, lambda x: [[[[x]]]], lambda x: [x] * 20,
    lambda x: [x, np.zeros(LARGE, np.uint8)],
])  # fmt: skip
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_large_bytes_are_not_copied_wherever_they_are(wrap: Any, kind: Any) -> None:
    value = wrap(kind(bytes(LARGE)))
    serialize([])  # what is imported for the first value
    tracemalloc.start()
    serialized = serialize(value)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < LARGE // 8
    assert serialized.size >= LARGE


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.recursive(
        st.sampled_from([b"", b"small", b"x" * 70_000, bytearray(b"y" * 70_000), 1, "z" * 70_000]),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=2), inner),
        max_leaves=8,
    ),
    st.booleans(),
)
def test_large_and_small_parts_come_back_in_order(
    travel: Any, value: Any, with_array: bool
) -> None:
    sent = [value, np.arange(5)] if with_array else [value]
    serialized = serialize(sent)
    assert sum(map(len, parts(serialized))) == serialized.size == len(to_bytes(serialized))
    assert travel(sent)[0] == value


# -- other libraries ----------------------------------------------------------------------------


def test_frames_of_all_kinds_of_columns(travel: Any) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(
        {
            "int": range(100), "float": np.arange(100.0), "text": [f"row {i}" for i in range(100)],
            "time": pandas.date_range("2020", periods=100, tz="Europe/Berlin"),
            "kind": pandas.Categorical(["a", "b"] * 50), "object": [(i,) for i in range(100)],
            "missing": pandas.array([None, 1] * 50, dtype="Int64"),
        },
        index=pandas.MultiIndex.from_product([range(10), range(10)], names=["x", "y"]),
    )  # fmt: skip
    back = travel({"frame": frame})["frame"]
    pandas.testing.assert_frame_equal(back, frame)
    pandas.testing.assert_series_equal(travel(frame["text"]), frame["text"])


def test_arrow_tables_share_the_stored_bytes(store: Any) -> None:
    arrow = pytest.importorskip("pyarrow")
    table = arrow.table({"n": np.arange(100_000), "s": ["a", None] * 50_000})
    serialized = serialize([table])
    assert sum(buffer.nbytes for buffer in serialized.buffers) > 800_000
    view = store.open(store.write(parts(serialized), serialized.size))
    one, two = deserialize_view(view)[0], deserialize_view(view)[0]
    assert one.equals(table)
    address = one["n"].chunk(0).buffers()[1].address
    assert address == two["n"].chunk(0).buffers()[1].address
    view.close()
    assert two["n"].chunk(0).buffers()[1].is_mutable is False
    assert two.equals(table)  # the closed view's bytes stay for as long as the table lives


@pytest.mark.parametrize("form", ["csr", "csc", "coo", "bsr", "dia", "lil"])
def test_sparse_matrices_of_all_forms(travel: Any, form: str) -> None:
    sparse = pytest.importorskip("scipy.sparse")
    matrix = sparse.random(30, 40, 0.2, form, random_state=0)
    back = travel([matrix])[0]
    assert type(back) is type(matrix) and (back != matrix).nnz == 0


@pytest.mark.parametrize("shared", ["0", "1"])
def test_tensors_come_back_as_ones_own_or_shared_if_asked_to(
    store: Any, monkeypatch: pytest.MonkeyPatch, shared: str
) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setenv("RAY_ENABLE_ZERO_COPY_TORCH_TENSORS", shared)
    for tensor in (
        torch.arange(1000.0), torch.ones(3, 4).T, torch.zeros(0), torch.tensor(5),
        torch.ones(10, dtype=torch.bfloat16), torch.ones(4, requires_grad=True),
        torch.tensor([True, False]),
    ):  # fmt: skip
        serialized = serialize({"x": [tensor]})
        view = store.open(store.write(parts(serialized), serialized.size))
        one, two = (deserialize_view(view)["x"][0] for _ in range(2))
        view.close()
        assert torch.equal(one, tensor) and one.dtype == tensor.dtype
        assert one.requires_grad == tensor.requires_grad
        if one.numel():
            assert (one.data_ptr() == two.data_ptr()) is (shared == "1")
        if shared == "0":
            one.detach().zero_()  # a write to shared bytes would end the process


# -- threads, forks -----------------------------------------------------------------------------


def test_many_threads_serialize_at_once(store: Any) -> None:
    wrong: list[Any] = []

    def work(number: int) -> None:
        for i in range(30):
            value = {"n": number, "a": np.full(1000, i), "f": (lambda x: lambda: x)(i)}
            for back in (inline(value), stored(store, value)):
                if (back["n"], int(back["a"][-1]), back["f"]()) != (number, i, i):
                    wrong.append(back)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_forked_child_serializes_and_writes_to_no_store(store: Any) -> None:
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            fine = inline([np.arange(3), {"x": b"y" * 100_000}])[1]["x"] == b"y" * 100_000
            serialized: Serialized = serialize(np.zeros(1000))
            try:
                store.write(parts(serialized), serialized.size)
            except ValueError:
                status = 0 if fine else 2
        finally:
            os._exit(status)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
