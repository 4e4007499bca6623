"""The status written by hand is the status that Google's own classes read."""

from __future__ import annotations

import json

from google.protobuf.json_format import Parse
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from hypothesis import given
from hypothesis import strategies as st

from collectors.receive.bad_request import HTTP_STATUS, RPC_CODE, BadRequest, outcome_of
from collectors.receive.door import Refused
from collectors.receive.rpc_status import status_json, status_protobuf

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)


@given(st.integers(0, 2**31 - 1), TEXT, st.none() | st.integers(0, 10**9))
def test_the_official_classes_read_it(code: int, message: str, retry_after_s: int | None) -> None:
    status = Status.FromString(status_protobuf(code, message, retry_after_s))
    assert (status.code, status.message, len(status.details)) == (code, message, retry_after_s is not None)
    if retry_after_s is not None:
        retry = RetryInfo()
        assert status.details[0].Unpack(retry)
        assert (retry.retry_delay.seconds, retry.retry_delay.nanos) == (retry_after_s, 0)


@given(st.integers(0, 2**31 - 1), TEXT)
def test_both_forms_say_the_same(code: int, message: str) -> None:
    assert Parse(status_json(code, message), Status()) == Status.FromString(status_protobuf(code, message))
    assert json.loads(status_json(code, message)) == {"code": code, "message": message}


def test_text_that_is_no_unicode_is_still_a_status() -> None:
    assert Status.FromString(status_protobuf(3, "\ud800")).message == "?"


def test_every_outcome_has_a_name_in_both_protocols() -> None:
    assert HTTP_STATUS.keys() == RPC_CODE.keys()
    assert {outcome for outcome, status in HTTP_STATUS.items() if status in (429, 502, 503, 504)} == {
        "queue_full", "journal_full", "disk_full", "stopping"}
    assert BadRequest("too_large", "x").status == 413
    assert [outcome_of(Refused(reason, 1, "")) for reason in ("disk_full", "unheard of")] == ["disk_full", "error"]
