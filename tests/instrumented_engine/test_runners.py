"""Both runners keep the protocol's promises, and the recorded one loads experts as the torch one does."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.errors import BadInput
from instrumented_engine.model.expert_profile import ExpertProfile, Tally, load_expert_profile, shipped
from instrumented_engine.model.record_experts import main, record
from instrumented_engine.model.recorded_runner import RecordedRunner
from instrumented_engine.model.runner import Chunk, Runner, StepOutput
from instrumented_engine.model.sizes import size_named
from instrumented_engine.model.tokens import token_ids
from instrumented_engine.model.torch_runner import TorchRunner

SHAPE = size_named("S").shape
REPLICAS, BLOCKS, BLOCK_TOKENS = 3, 512, 8
SHARE_TOLERANCE = 0.02
"""Difference allowed between runners in an expert's share of its layer's tokens, in prefill or in decode (fair: 1/16)."""
Make = Callable[[int], Runner]


def make_torch(seed: int) -> Runner:
    # Half precision would make one token's rounding another's expert; float32 leaves no such chance to these tests.
    return TorchRunner("S", replicas=REPLICAS, blocks=BLOCKS, block_tokens=BLOCK_TOKENS, seed=seed, kv_dtype="float32")


def make_recorded(seed: int) -> Runner:
    return RecordedRunner("S", replicas=REPLICAS, blocks=BLOCKS, block_tokens=BLOCK_TOKENS, seed=seed)


@pytest.fixture(params=[make_torch, make_recorded], ids=["torch", "recorded"])
def make(request: pytest.FixtureRequest) -> Make:
    made: Make = request.param
    return made


def workload(key: int, steps: int, vocabulary: int = SHAPE.vocabulary) -> list[list[list[Chunk]]]:
    """Steps of every replica: four requests each, prefilled in two chunks and then fed seeded ids, as if these had been
    sampled, so that both runners can be given the very same."""
    source = np.random.default_rng(key)
    lengths = source.integers(30, 120, (REPLICAS, 4))
    per = BLOCKS // 4

    def chunk(replica: int, place: int, step: int) -> Chunk:
        length = int(lengths[replica, place])
        bounds = [0, length // 2, *range(length, length + steps)]
        first, last = bounds[step], bounds[step + 1]
        ids = token_ids(key * 1000 + replica * 10 + place, length + steps, vocabulary)
        return Chunk(ids[first:last], first, range(place * per, (place + 1) * per), step > 0)

    return [[[chunk(r, p, step) for p in range(4)] for r in range(REPLICAS)] for step in range(steps)]


def play(runner: Runner, steps: list[list[list[Chunk]]], together: bool = True) -> list[list[StepOutput]]:
    """Outputs [step][replica], settled and read; ``together``: everything waits until the end."""
    outputs = []
    for step in steps:
        outputs.append([])
        for replica, chunks in enumerate(step):
            outputs[-1].append(runner.submit(replica, chunks))
            if not together:
                runner.settle()
    runner.settle()
    return [[StepOutput(runner.read(one.tokens), one.expert_load) for one in step] for step in outputs]


def sample(runner: Runner, replica: int, chunk: Chunk) -> int:
    """What a step of this one chunk samples."""
    (token,) = runner.read(runner.submit(replica, [chunk]).tokens)
    return token


def same(one: list[list[StepOutput]], other: list[list[StepOutput]]) -> bool:
    """Whether tokens and expert loads are equal, to the bit."""
    pairs = [(a, b) for step, twin in zip(one, other, strict=True) for a, b in zip(step, twin, strict=True)]
    return all(a.tokens == b.tokens and a.expert_load.tobytes() == b.expert_load.tobytes() for a, b in pairs)


def test_every_computed_token_is_counted_in_every_layer(make: Make) -> None:
    steps = workload(1, 5)
    for step, outputs in zip(steps, play(make(1), steps), strict=True):
        for chunks, output in zip(step, outputs, strict=True):
            tokens = sum(len(chunk.tokens) for chunk in chunks)
            load = output.expert_load
            assert load.dtype == np.int32
            assert load.shape == (SHAPE.layers * SHAPE.experts,)
            per_layer = load.reshape(SHAPE.layers, SHAPE.experts)
            assert (per_layer.sum(axis=1) == SHAPE.top_k * tokens).all()
            assert 0 <= per_layer.min() <= per_layer.max() <= tokens  # a token's experts are different ones


def test_only_chunks_that_sample_get_tokens(make: Make) -> None:
    mixed = [Chunk([5, 6], 0, [0], False), Chunk([7], 0, [1], True), Chunk([8, 9, 10], 0, [2], True), Chunk([1], 0, [3], False)]
    runner = make(1)
    tokens = runner.read(runner.submit(0, mixed).tokens)
    assert [token >= 0 for token in tokens] == [False, True, True, False]
    assert all(type(token) is int and -1 <= token < SHAPE.vocabulary for token in tokens)


def test_a_step_without_chunks_is_answered(make: Make) -> None:
    runner = make(1)
    empty, other = runner.submit(0, []), runner.submit(1, [Chunk([5], 0, [0], True)])
    runner.settle()
    assert empty.tokens == []
    assert empty.expert_load.tolist() == [0] * (SHAPE.layers * SHAPE.experts)
    assert other.expert_load.sum() == SHAPE.layers * SHAPE.top_k


def test_a_seed_gives_the_same_bits_and_another_seed_others(make: Make) -> None:
    steps = workload(2, 4)
    first = play(make(7), steps)
    assert same(first, play(make(7), steps))
    assert not same(first, play(make(8), steps))


def test_what_waits_for_each_other_is_what_is_computed_at_once(make: Make) -> None:
    steps = workload(3, 5)
    assert same(play(make(1), steps), play(make(1), steps, together=False))


def crowd(runner: Runner, source: np.random.Generator, eager: bool) -> list[list[int]]:
    """Thirty steps of requests that come, prefill, decode what they were promised and leave, all on twelve blocks that
    change hands at once. Loads and tokens of each step."""
    free, live, outputs = list(range(12)), [], []
    for _ in range(30):
        if len(free) >= 3:
            live.append({"blocks": [free.pop(int(source.integers(len(free)))) for _ in range(3)], "done": 0, "prompt": 9,
                         "ids": token_ids(int(source.integers(99)), 9, SHAPE.vocabulary)})
        chunks = []
        for one in live:
            count = max(1, min(4, one["prompt"] - one["done"]))
            chunks.append(Chunk(one["ids"][one["done"] : one["done"] + count], one["done"], one["blocks"],
                                one["done"] + count >= one["prompt"]))
        output = runner.submit(0, chunks)
        outputs.append(output)
        if eager:
            runner.settle()
        for one, chunk, token in zip(live, chunks, output.tokens, strict=True):
            one["done"] += len(chunk.tokens)
            if chunk.sample:
                one["ids"].append(token)
        gone = [one for one in live if (one["done"] >= 9 and source.random() < 0.4) or one["done"] >= 20]
        free += [block for one in gone for block in one["blocks"]]
        live = [one for one in live if one not in gone]
    runner.settle()
    return [[*runner.read(output.tokens), *output.expert_load.tolist()] for output in outputs]


@settings(max_examples=15)
@given(seed=st.integers(0, 1 << 32))
def test_blocks_that_change_hands_keep_their_order(seed: int) -> None:
    runs = [crowd(make_torch(1), np.random.default_rng(seed), eager) for eager in (False, True)]
    assert runs[0] == runs[1]


def test_promises_are_read_back_more_than_once() -> None:
    runner = make_torch(1)
    output = runner.submit(0, [Chunk([5, 6, 7], 0, [0], True)])
    runner.submit(0, [Chunk([9], 3, [0], True)])
    assert runner.read(output.tokens) == runner.read(output.tokens)
    assert runner.read(output.tokens)[0] >= 0


def test_chunks_that_do_not_fit_are_refused(make: Make) -> None:
    for chunk in (Chunk([], 0, [0], True), Chunk([1], SHAPE.context, range(BLOCKS), True), Chunk([1] * 9, 0, [0], True)):
        with pytest.raises(ValueError, match="chunk"):
            make(1).submit(0, [chunk])


def test_decoding_feeds_on_the_cache_of_earlier_steps() -> None:
    runner, other = make_torch(1), make_torch(1)
    ids = token_ids(4, 40, SHAPE.vocabulary)
    table = [9, 2, 30, 4, 17, 5]
    generated = [sample(runner, 2, Chunk(ids, 0, table, True))]
    for i in range(6):
        generated.append(sample(runner, 2, Chunk([generated[-1]], 40 + i, table, True)))
    whole = [sample(other, 0, Chunk(ids + generated[:i], 0, table, True)) for i in range(7)]
    assert generated == whole
    assert len(set(generated)) > 1


def test_unknown_sizes_and_types_are_named() -> None:
    with pytest.raises(BadInput, match=r"'XXL'.*there are: S"):
        RecordedRunner("XXL", replicas=1, blocks=1, block_tokens=8, seed=1)
    with pytest.raises(BadInput, match=r"'int3'.*float16, float32"):
        TorchRunner("S", replicas=1, blocks=1, block_tokens=8, seed=1, kv_dtype="int3")


def shares(outputs: list[list[StepOutput]]) -> np.ndarray:
    load = sum(output.expert_load.astype(np.int64) for step in outputs for output in step)
    load = np.asarray(load).reshape(SHAPE.layers, SHAPE.experts)
    return load / load.sum(axis=1, keepdims=True)


def imbalance(outputs: list[list[StepOutput]]) -> float:
    """Busiest expert's load over the mean, averaged over steps and layers."""
    load = np.array([output.expert_load for step in outputs for output in step]).reshape(-1, SHAPE.experts)
    return float((load.max(axis=1) / load.mean(axis=1)).mean())


def test_recorded_loads_are_like_computed_ones() -> None:
    torch, recorded = make_torch(1), make_recorded(1)
    steps = [workload(key, 32) for key in range(8)]
    got = {name: [play(runner, run) for run in steps] for name, runner in (("torch", torch), ("recorded", recorded))}
    for phase in (slice(0, 2), slice(2, None)):
        computed, drawn = ([step for run in got[name] for step in run[phase]] for name in ("torch", "recorded"))
        assert np.abs(shares(computed) - shares(drawn)).max() < SHARE_TOLERANCE
        assert imbalance(drawn) == pytest.approx(imbalance(computed), rel=0.15)


@settings(max_examples=60)
@given(start=st.integers(0, 1 << 62), count=st.integers(0, 130), tokens=st.integers(1, 50), seed=st.integers(0, 9))
def test_a_run_of_recorded_tokens_is_their_sum(start: int, count: int, tokens: int, seed: int) -> None:
    choices = np.random.default_rng(seed).integers(0, 5, (tokens, 3, 2)).astype(np.uint8)
    expected = np.zeros((3, 5), np.int64)
    for i in range(count):
        for layer in range(3):
            for expert in choices[(start + i) % tokens, layer]:
                expected[layer, expert] += 1
    assert Tally(choices, 5).load(start, count).tolist() == expected.ravel().tolist()


def test_the_shipped_profile_says_where_it_comes_from() -> None:
    profile = load_expert_profile(shipped("S"), SHAPE)
    assert profile.provenance["size"] == "S"
    assert {"made_by", "seed", "torch", "data"} <= profile.provenance.keys()
    assert profile.prefill.shape == profile.decode.shape
    assert (np.diff(np.sort(profile.decode, axis=2), axis=2) > 0).all()


def test_recording_again_gives_the_same_file(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("one.npz", "two.npz")]
    for path in paths:
        assert main(["--seed", "3", "--tokens", "100", "--out", str(path)]) == 0
    assert paths[0].read_bytes() == paths[1].read_bytes()
    loaded = load_expert_profile(paths[0], SHAPE)
    assert loaded.prefill.shape == (100, SHAPE.layers, SHAPE.top_k)
    assert (loaded.decode == record("S", 3, 100).decode).all()


def test_a_file_that_is_no_profile_is_named(tmp_path: Path) -> None:
    bad = tmp_path / "bad.npz"
    missing = tmp_path / "missing.npz"
    bad.write_text("no zip")
    for path in (bad, missing):
        with pytest.raises(BadInput, match=f"{path.name}: not an expert profile"):
            load_expert_profile(path, SHAPE)
    alien = ExpertProfile(np.zeros((4, 3, 2), np.uint8), np.zeros((4, 3, 2), np.uint8), {})
    alien.save(bad)
    with pytest.raises(BadInput, match="not of a model of 4 layers"):
        load_expert_profile(bad, SHAPE)


def test_the_recorded_runner_loads_no_torch() -> None:
    code = "import sys, instrumented_engine.model.recorded_runner; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=Path(__file__).parents[2]).returncode == 0
