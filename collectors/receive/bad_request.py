"""Why a request was not taken through its sender's fault, and what HTTP and gRPC call each outcome."""

from __future__ import annotations

from collections.abc import Mapping

from collectors.receive.door import Refused
from collectors.service.own_metrics import Outcome

HTTP_STATUS: Mapping[Outcome, int] = {
    "ok": 200, "duplicate": 200, "malformed": 400, "unauthorised": 401, "timed_out": 408, "too_large": 413, "unsupported": 415,
    "queue_full": 429, "journal_full": 503, "disk_full": 503, "stopping": 503, "error": 500,
}  # fmt: skip
"""Of these, OTLP senders try 429 and 503 again, after ``Retry-After``."""

RPC_CODE: Mapping[Outcome, int] = {
    "ok": 0, "duplicate": 0, "malformed": 3, "unsupported": 3, "timed_out": 4, "too_large": 8, "queue_full": 8, "error": 13,
    "journal_full": 14, "disk_full": 14, "stopping": 14, "unauthorised": 16,
}  # fmt: skip
"""Numbers of google.rpc.Code. OTLP senders try 4 and 14 again, and 8 when the status carries a RetryInfo."""

_BUSY: Mapping[str, Outcome] = {"queue_full": "queue_full", "journal_full": "journal_full", "disk_full": "disk_full",
                                "stopping": "stopping"}


class BadRequest(Exception):
    """What was sent cannot be taken as it is; sending it again changes nothing.

    ``outcome`` is one of ``malformed``, ``too_large``, ``unsupported``, ``unauthorised``, ``timed_out``. ``status`` is an HTTP
    status that says it better than the outcome's own. The message goes back to the sender and quotes nothing that was sent.
    """

    def __init__(self, outcome: Outcome, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.outcome = outcome
        self.status = HTTP_STATUS[outcome] if status is None else status


def outcome_of(refused: Refused) -> Outcome:
    """The outcome of a body that the door did not keep; ``error`` for a reason that is none of its own."""
    return _BUSY.get(refused.reason, "error")
