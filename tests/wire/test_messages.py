"""Every message of the protocol: there and back, and what is refused at the door."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings, strategies as st

from ray_on_dask.wire import messages as m

KINDS = sorted(m.TAGS.values(), key=lambda kind: kind.__struct_config__.tag)


def values_of(hint: object) -> st.SearchStrategy[object]:
    """Values for a field of a message."""
    kind = msgspec.inspect.type_info(hint)
    return values(kind)


def values(kind: object) -> st.SearchStrategy[object]:
    match kind:
        case msgspec.inspect.IntType():
            return st.integers(-(2**63), 2**63 - 1)
        case msgspec.inspect.FloatType():
            return st.floats(allow_nan=False)
        case msgspec.inspect.BoolType():
            return st.booleans()
        case msgspec.inspect.StrType():
            return st.text(max_size=8)
        case msgspec.inspect.BytesType():
            return st.binary(max_size=8)
        case msgspec.inspect.NoneType():
            return st.none()
        case msgspec.inspect.AnyType():
            return st.none() | st.text(max_size=3) | st.lists(st.booleans(), max_size=2)
        case msgspec.inspect.ListType():
            return st.lists(values(kind.item_type), max_size=3)
        case msgspec.inspect.TupleType():
            return st.tuples(*map(values, kind.item_types))
        case msgspec.inspect.DictType():
            return st.dictionaries(values(kind.key_type), values(kind.value_type), max_size=3)
        case msgspec.inspect.UnionType():
            return st.one_of(*map(values, kind.types))
        case msgspec.inspect.StructType():
            return instances(kind)
    raise AssertionError(f"the protocol uses a type that this test does not know: {kind}")


def instances(kind: msgspec.inspect.StructType) -> st.SearchStrategy[object]:
    return st.builds(kind.cls, *(values(field.type) for field in kind.fields))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_message_comes_out_as_it_went_in(kind):
    @given(values_of(kind))
    @settings(max_examples=8, deadline=None, database=None)
    def there_and_back(message):
        back = m.decode(m.encode(message))
        assert type(back) is kind
        assert back == message

    there_and_back()


def test_every_message_has_a_number_of_its_own():
    structs = [
        thing for thing in vars(m).values()
        if isinstance(thing, type) and issubclass(thing, msgspec.Struct)
        and thing.__struct_config__.tag is not None
    ]  # fmt: skip
    assert set(structs) == set(KINDS), "a message that Message does not name"
    assert len({kind.__struct_config__.tag for kind in structs}) == len(structs)


def test_messages_are_records_that_nobody_changes():
    for kind in KINDS:
        assert kind.__struct_config__.frozen and kind.__struct_config__.array_like, kind


def test_a_number_that_no_message_has_is_refused():
    with pytest.raises(msgspec.ValidationError):
        m.decode(msgspec.msgpack.encode([max(m.TAGS) + 1, 1]))


def test_fields_of_the_wrong_type_are_refused():
    with pytest.raises(msgspec.ValidationError):
        m.decode(msgspec.msgpack.encode([m.Sync.__struct_config__.tag, "seven"]))


def test_missing_fields_are_refused_and_additional_ones_ignored():
    """A newer peer may say more than we know, never less."""
    tag = m.Sync.__struct_config__.tag
    with pytest.raises(msgspec.ValidationError):
        m.decode(msgspec.msgpack.encode([tag]))
    assert m.decode(msgspec.msgpack.encode([tag, 7, "news"])) == m.Sync(7)
