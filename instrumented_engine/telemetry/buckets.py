"""Upper bounds of histogram buckets.

The ``vllm:`` lists are vLLM's own (``vllm/v1/metrics/loggers.py``), as ``/metrics`` of a vLLM 0.32.0 server prints
them. They are kept though they are coarse (nothing below 0.3 s in the phase histograms), so that boards made for vLLM
read our engine and our analysis learns to live with what vLLM offers.
"""

from __future__ import annotations

TTFT_SECONDS = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
    160.0, 640.0, 2560.0,
)
REQUEST_SECONDS = (
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0,
    1920.0, 7680.0,
)
ITERATION_TOKENS = (1.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0, 16384.0)
STEP_SECONDS = (
    0.001, 0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0,
)
"""Ours: vLLM has no histogram of step durations. Dense where steps of serving engines lie (10-100 ms)."""

BOUNDS: dict[str, tuple[float, ...]] = {
    "vllm:time_to_first_token_seconds": TTFT_SECONDS,
    "vllm:e2e_request_latency_seconds": REQUEST_SECONDS,
    "vllm:request_queue_time_seconds": REQUEST_SECONDS,
    "vllm:request_prefill_time_seconds": REQUEST_SECONDS,
    "vllm:request_decode_time_seconds": REQUEST_SECONDS,
    "vllm:iteration_tokens_total": ITERATION_TOKENS,
    "flashover:step_duration_seconds": STEP_SECONDS,
}
"""The bounds a histogram gets by its name."""
