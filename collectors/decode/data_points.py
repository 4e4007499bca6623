"""Numbers of OTLP data points as the contract holds them: checked, signed, NULL where nothing was sent."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    Exemplar,
    ExponentialHistogramDataPoint,
    HistogramDataPoint,
    NumberDataPoint,
    SummaryDataPoint,
)

from collectors.decode.attributes import Undecodable, text_map, time_or_none
from collectors.decode.exponential import Exponential, trimmed
from collectors.decode.limits import Drops, Limits

Point = NumberDataPoint | HistogramDataPoint | ExponentialHistogramDataPoint | SummaryDataPoint

NO_VALUE = 1
"""Flag of a point that says: the source has no value now."""

_ids = struct.Struct(">qq").unpack
_id = struct.Struct(">q").unpack


def number(point: NumberDataPoint | Exemplar) -> float | None:
    """The value as a double; None when none was sent."""
    which = point.WhichOneof("value")
    return point.as_double if which == "as_double" else None if which is None else float(point.as_int)


def check_counts(count: int, others: Sequence[int]) -> None:
    """Undecodable when a count does not fit the contract's 63 bits."""
    if count >= 1 << 63 or max(others, default=0) >= 1 << 63:
        raise Undecodable("a count is beyond 63 bits")


def check_buckets(point: HistogramDataPoint) -> None:
    """Undecodable when counts and bounds do not fit each other; a histogram without buckets is well."""
    check_counts(point.count, point.bucket_counts)
    if point.bucket_counts and len(point.bucket_counts) != len(point.explicit_bounds) + 1:
        raise Undecodable(f"{len(point.bucket_counts)} buckets for {len(point.explicit_bounds)} bounds")


def exponential(point: ExponentialHistogramDataPoint) -> Exponential:
    """The point's numbers; Undecodable when a count is beyond 63 bits or a bucket's index beyond 32."""
    sides = [(side.offset, list(side.bucket_counts)) for side in (point.positive, point.negative)]
    check_counts(point.count, [point.zero_count, *sides[0][1], *sides[1][1]])
    if any(offset + len(counts) > 1 << 31 for offset, counts in sides):
        raise Undecodable("a bucket's index is beyond 32 bits")
    threshold = point.zero_threshold if point.zero_threshold > 0 else 0.0
    return Exponential(point.count, point.sum if point.HasField("sum") else None, point.scale, point.zero_count, threshold,
                       trimmed(*sides[0]), trimmed(*sides[1]))


def exemplars(sent: Sequence[Exemplar], limits: Limits, drops: Drops) -> list[dict[str, Any]] | None:
    """Exemplars as rows of the contract's list, None when there are none. Undecodable: a time or an id that is none."""
    return [_exemplar(exemplar, limits, drops) for exemplar in sent] or None


def _exemplar(exemplar: Exemplar, limits: Limits, drops: Drops) -> dict[str, Any]:
    trace, span = exemplar.trace_id, exemplar.span_id
    try:
        trace_hi, trace_lo = _ids(trace) if trace else (0, 0)
        span_id, = _id(span) if span else (0,)
    except struct.error as error:
        raise Undecodable(f"an exemplar's id has the wrong length: {error}") from error
    if not (trace_hi or trace_lo):
        trace_hi = trace_lo = None
    return {"ts_ns": time_or_none(exemplar.time_unix_nano), "value": number(exemplar), "trace_hi": trace_hi,
            "trace_lo": trace_lo, "span_id": span_id or None,
            "attributes": list(text_map(exemplar.filtered_attributes, limits, drops).items())}
