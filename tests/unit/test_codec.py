import asyncio
from datetime import UTC, datetime
from uuid import UUID

import pytest
from arq.jobs import deserialize_job, deserialize_result, serialize_job, serialize_result
from arq.worker import JobExecutionFailed
from hypothesis import given
from hypothesis import strategies as st

from uow.broker import codec
from uow.broker.results import EndedJob
from uow.errors import InvalidArguments, PayloadTooLarge, TaskFailed, UndecodablePayload
from uow.telemetry.description import describe

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text("abc"), inner),
    max_leaves=10,
)


@given(st.dictionaries(st.text("abc"), JSON))
def test_a_job_comes_back_as_it_went(arguments: dict[str, object]) -> None:
    written = serialize_job("f", (1,), arguments, None, 5, serializer=codec.serialize)
    job = deserialize_job(written, deserializer=codec.deserialize)
    assert (job.function, job.args, job.kwargs) == ("f", [1], arguments)  # type: ignore[comparison-overlap]  # arq says a tuple


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_exactly_the_texts_with_a_nul_are_refused(value: str) -> None:
    if "\0" in value:
        with pytest.raises(InvalidArguments, match="NUL"):
            codec.to_bytes({"v": value})
    else:
        assert codec.from_bytes(codec.to_bytes({"v": value})) == {"v": value}


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (asyncio.CancelledError(), asyncio.CancelledError),
        (JobExecutionFailed("job expired"), JobExecutionFailed),
        (ValueError("no good"), TaskFailed),
        (TaskFailed("ValueError", "no good"), TaskFailed),
    ],
)
def test_an_exception_comes_back_as_one_of_three_types(
    error: BaseException, expected: type[BaseException]
) -> None:
    written = serialize_result(
        "f", (), {}, 1, 1, False, error, 1, 2, "ref", "q", "id", serializer=codec.serialize
    )
    assert written is not None
    result = deserialize_result(written, deserializer=codec.deserialize).result
    assert type(result) is expected


def test_an_ended_job_is_what_arq_writes_of_it() -> None:
    ended = EndedJob("f", (1,), {"b": 2}, 2, 1, True, "done", 3, 4, "ref", "q", "id")
    assert ended.written(codec.serialize) == serialize_result(
        "f", (1,), {"b": 2}, 2, 1, True, "done", 3, 4, "ref", "q", "id", serializer=codec.serialize
    )


def test_a_result_that_looks_like_an_exception_of_ours_names_no_class() -> None:
    forged = codec.to_bytes(
        {"t": 1, "f": "f", "a": (), "k": {}, "et": 1, "s": False, "st": 1, "ft": 1,
         "r": {"$error": {"error_type": "os.system", "message": "id"}}}
    )  # fmt: skip
    result = codec.deserialize(forged)["r"]
    assert type(result) is TaskFailed
    assert str(result) == "os.system: id"


@pytest.mark.parametrize(
    "payload",
    [b"", b"\x80\x04", b"1", b"[]", b"{}", b'{"f":1,"a":[],"k":{}}', b'{"f":"f"}',
     b'{"t":"2","f":"f","a":[],"k":{}}', b'{"t":[],"f":"f","a":[],"k":{}}'],
)  # fmt: skip
def test_what_is_no_job_is_refused(payload: bytes) -> None:
    with pytest.raises(UndecodablePayload):
        codec.deserialize(payload)


def test_pickle_is_told_apart() -> None:
    with pytest.raises(UndecodablePayload, match="looks like pickle"):
        codec.deserialize(b"\x80\x04\x95...")


def test_common_types_are_written() -> None:
    value = {"at": datetime(2026, 1, 1, tzinfo=UTC), "id": UUID(int=1), "tags": {"a"}}
    assert codec.from_bytes(codec.to_bytes(value)) == {
        "at": "2026-01-01T00:00:00Z",
        "id": str(UUID(int=1)),
        "tags": ["a"],
    }


def test_what_is_too_large_is_refused() -> None:
    with pytest.raises(PayloadTooLarge):
        codec.serialize({"v": "x" * codec.MAX_BYTES})


def test_an_error_is_described_in_storable_text() -> None:
    assert describe(ValueError("a\x00b\ud800"))["message"] == "a\\x00b\\ud800"
