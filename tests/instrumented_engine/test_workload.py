"""Traces are read whole or refused by file and line; scaling keeps prefix sharing and counts what it clips."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
import zstandard

from collectors.errors import BadInput
from instrumented_engine.clients.traces import read_trace, shipped_workloads
from instrumented_engine.clients.workload import prepare
from instrumented_engine.scenario import Workload

SHARED = Path(__file__).parents[3] / "shared" / "data"


def trace(tmp_path: Path, rows: list[dict[str, object]], name: str = "t.jsonl") -> Path:
    path = tmp_path / name
    text = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(zstandard.compress(text) if name.endswith(".zst") else text)
    return path


def row(at_ms: int, prompt: int, output: int, ids: list[int]) -> dict[str, object]:
    return {"timestamp": at_ms, "input_length": prompt, "output_length": output, "hash_ids": ids}


@pytest.mark.parametrize("bad", [
    '{"timestamp": 1}',
    "not json",
    '{"timestamp": 1, "input_length": "x", "output_length": 1, "hash_ids": []}',
    '{"timestamp": 1, "input_length": 0, "output_length": 1, "hash_ids": []}',
    '{"timestamp": 1, "input_length": 5000, "output_length": 1, "hash_ids": [1]}',
])
def test_a_line_that_does_not_parse_is_named(tmp_path: Path, bad: str) -> None:
    path = trace(tmp_path, [row(0, 600, 10, [1, 2])])
    path.write_text(path.read_text() + bad + "\n")
    with pytest.raises(BadInput, match=r"t\.jsonl:2"):
        list(read_trace(path))


def test_a_bad_azure_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,374,44\n2023-11-16 18:15,x,4\n")
    with pytest.raises(BadInput, match=r"a\.csv:3"):
        list(read_trace(path))


def test_damaged_compression_and_missing_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl.zst"
    path.write_bytes(b"nonsense")
    with pytest.raises(BadInput, match=r"x\.jsonl\.zst"):
        list(read_trace(path))
    with pytest.raises(BadInput, match="cannot be read"):
        list(read_trace(tmp_path / "none"))


def test_compressed_and_plain_read_alike(tmp_path: Path) -> None:
    rows = [row(i * 10, 600 + i, 10, [0, i]) for i in range(20)]
    assert list(read_trace(trace(tmp_path, rows))) == list(read_trace(trace(tmp_path, rows, "t.jsonl.zst")))


@pytest.mark.parametrize(("scale", "block_tokens"), [(1 / 32, 16), (1 / 64, 8), (1 / 32, 8), (1 / 32, 32)])
def test_shared_prefixes_stay_shared_and_others_stay_apart(tmp_path: Path, scale: float, block_tokens: int) -> None:
    path = trace(tmp_path, [row(0, 4096, 10, [1, 2, 3, 4, 5, 6, 7, 8]), row(1, 4096, 10, [1, 2, 3, 4, 50, 60, 70, 80])])
    workload = Workload(file=str(path), prompt_scale=scale, output_scale=0.25)
    first, second = prepare(workload, block_tokens=block_tokens, context=2048, duration_s=9, seed=1).requests
    per_512 = 512 * scale / block_tokens
    shared = sum(1 for a, b in zip(first.blocks, second.blocks, strict=True) if a == b)
    assert shared == int(4 * per_512)
    assert first.blocks[:shared] == second.blocks[:shared]
    assert len(set(first.blocks + second.blocks)) == len(first.blocks) + len(second.blocks) - shared
    assert len(first.blocks) * block_tokens == first.engine_prompt == 4096 * scale


def test_blocks_that_do_not_fit_the_trace_are_refused(tmp_path: Path) -> None:
    path = trace(tmp_path, [row(0, 600, 10, [1, 2])])
    with pytest.raises(BadInput, match=r"workload\.prompt_scale"):
        prepare(Workload(file=str(path), prompt_scale=1 / 30), block_tokens=16, context=2048, duration_s=9, seed=1)


def test_what_exceeds_the_context_is_clipped_and_counted(tmp_path: Path) -> None:
    ids = list(range(200))
    path = trace(tmp_path, [row(0, 512 * 200, 400, ids), row(0, 512, 4, [0])])
    arrivals = prepare(Workload(file=str(path)), block_tokens=16, context=2048, duration_s=9, seed=1)
    assert arrivals.clipped == 1
    big = max(arrivals.requests, key=lambda arrival: arrival.engine_prompt)
    assert big.engine_prompt + big.engine_output <= 2048
    assert big.prompt_tokens == big.engine_prompt * 32


def test_an_empty_window_is_refused(tmp_path: Path) -> None:
    path = trace(tmp_path, [row(0, 512, 4, [0])])
    with pytest.raises(BadInput, match="no request falls into the run"):
        prepare(Workload(file=str(path), offset_s=100), block_tokens=16, context=2048, duration_s=9, seed=1)


@pytest.mark.parametrize("name", ["mooncake_conversation", "azure_conv_2023"])
def test_shipped_excerpts_read(name: str) -> None:
    rows = list(read_trace(shipped_workloads()[name]))
    assert len(rows) > 1_000
    assert all(a.at_s <= b.at_s for a, b in itertools.pairwise(rows))


@pytest.mark.skipif(not SHARED.exists(), reason="the full public traces are not beside this checkout")
@pytest.mark.parametrize("name", [
    "mooncake_fast25/conversation_trace.jsonl.zst", "azure_llm_2023/AzureLLMInferenceTrace_code.csv.zst",
])
def test_full_public_files_read(name: str) -> None:
    assert len(list(read_trace(SHARED / name))) > 8_000
