"""The batched, paged, absorbed model against the plain one: the same logits, the same experts, however steps are cut."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch
from dense_reference import dense
from hypothesis import given, settings
from hypothesis import strategies as st

from instrumented_engine.model.decoder import Model, balance
from instrumented_engine.model.ragged import SPAN, TILE, Geometry, flatten
from instrumented_engine.model.runner import Chunk
from instrumented_engine.model.sizes import size_named
from instrumented_engine.model.tokens import token_ids
from instrumented_engine.model.weights import Weights, random_weights

SIZE = size_named("S")
GEOMETRY = Geometry(replicas=2, blocks=256, block_tokens=8)
TOLERANCE = 2e-4
"""Of logits whose standard deviation is about 1: float32 against float64, several layers deep."""


@pytest.fixture(scope="module")
def weights() -> Weights:
    made = random_weights(SIZE, seed=5)
    balance(made, seed=5)
    return made


def fresh(weights: Weights, kv: torch.dtype = torch.float32) -> Model:
    """A model whose cache holds ones wherever nothing was written, as if from an earlier request: attending there is seen."""
    return Model(weights, GEOMETRY, torch.ones(SIZE.layers, GEOMETRY.slots, SIZE.entry, dtype=kv))


def ids(key: int, count: int) -> list[int]:
    return token_ids(key, count, SIZE.vocabulary)


@dataclass(slots=True)
class Blocks:
    """Hands out the blocks of a pool in a shuffled order."""

    left: list[int] = field(default_factory=lambda: np.random.default_rng(9).permutation(GEOMETRY.blocks).tolist())

    def table(self, tokens: int) -> list[int]:
        return [self.left.pop() for _ in range(-(-tokens // GEOMETRY.block_tokens))]


@torch.inference_mode()
def compute(model: Model, steps: list[tuple[int, list[Chunk]]]) -> tuple[list[list[torch.Tensor]], np.ndarray]:
    """Logits [tokens, vocabulary] per step and chunk, and loads [steps, layers, experts]."""
    batch = flatten(steps, GEOMETRY)
    last = {row: place for place, row in enumerate(batch.sampled.tolist())}
    logits, load = model.forward(replace(batch, sampled=np.arange(len(batch.tokens))))
    answers = []
    for (_, chunks), places in zip(steps, batch.places, strict=True):
        rows = [next(row for row, index in last.items() if index == place) for place in places]
        pairs = zip(rows, chunks, strict=True)
        answers.append([logits[row - len(chunk.tokens) + 1 : row + 1] for row, chunk in pairs])
    return answers, load


def close(got: torch.Tensor, wanted: torch.Tensor, tolerance: float = TOLERANCE) -> bool:
    return got.shape == wanted.shape and bool((got.double() - wanted.double()).abs().max() < tolerance)


def test_logits_and_loads_are_those_of_the_plain_model(weights: Weights) -> None:
    model, blocks = fresh(weights), Blocks()
    lengths = [1, 7, 8, 33, SPAN - 1, TILE + 3, 2 * SPAN + 20]
    sequences = [ids(-length, length + 3) for length in lengths]
    tables = [blocks.table(length + 3) for length in lengths]
    plain = [dense(weights, sequence) for sequence in sequences]
    load = np.zeros((SIZE.layers, SIZE.experts), np.int64)
    done = [0] * len(lengths)
    for step in range(4):
        upto = [length + step for length in lengths]
        pieces = zip(sequences, done, upto, tables, strict=True)
        chunks = [Chunk(sequence[first:last], first, table, True) for sequence, first, last, table in pieces]
        (answers,), loads = compute(model, [(1, chunks)])
        for answer, (logits, _), first, last in zip(answers, plain, done, upto, strict=True):
            assert close(answer, logits[first:last])
        load += loads[0]
        done = upto
    expected = np.zeros_like(load)
    for _, chosen in plain:
        for token in chosen:
            for layer, best in enumerate(token):
                expected[layer, best] += 1
    assert (load == expected).all()


def test_half_precision_keys_change_logits_little(weights: Weights) -> None:
    sequence = ids(77, 200)
    (answers,), _ = compute(fresh(weights, torch.float16), [(0, [Chunk(sequence, 0, Blocks().table(200), True)])])
    error = (answers[0].double() - dense(weights, sequence)[0]).abs().amax(-1)
    # Where rounding changes the choice of an expert, that token's logits move by more.
    assert float(error.quantile(0.9)) < 0.02


@settings(max_examples=12)
@given(cuts=st.sets(st.integers(1, 299), max_size=6))
def test_a_prompt_in_chunks_is_the_prompt_at_once(weights: Weights, cuts: set[int]) -> None:
    model, blocks = fresh(weights), Blocks()
    sequence = ids(3, 300)
    (whole,), load = compute(model, [(0, [Chunk(sequence, 0, blocks.table(300), True)])])
    table = blocks.table(300)
    parts, total = [], np.zeros_like(load)
    for first, last in zip([0, *sorted(cuts)], [*sorted(cuts), 300], strict=True):
        (answer,), part_load = compute(model, [(0, [Chunk(sequence[first:last], first, table, True)])])
        parts.append(answer[0])
        total += part_load
    assert close(torch.cat(parts), whole[0])
    assert (total == load).all()


def test_shared_prefix_blocks_serve_as_well_as_own_ones(weights: Weights) -> None:
    model, blocks = fresh(weights), Blocks()
    prefix, tails = ids(1, 160), [ids(2, 21), ids(3, 90), ids(4, 1)]
    own = [Chunk(prefix + tail, 0, blocks.table(160 + len(tail)), True) for tail in tails]
    (alone,), _ = compute(model, [(0, own)])
    shared = blocks.table(160)
    compute(model, [(0, [Chunk(prefix, 0, shared, True)])])
    (after,), _ = compute(model, [(0, [Chunk(tail, 160, shared + blocks.table(len(tail)), True) for tail in tails])])
    for whole, answer, tail in zip(alone, after, tails, strict=True):
        assert close(answer, whole[-len(tail) :])


def test_company_changes_no_answer(weights: Weights) -> None:
    model, blocks = fresh(weights), Blocks()
    lengths = (130, 44, 9)
    sequences = [ids(key, length) for key, length in enumerate(lengths)]
    alone = []
    for sequence in sequences:
        (answer,), _ = compute(model, [(0, [Chunk(sequence, 0, blocks.table(len(sequence)), True)])])
        alone.append(answer[0])
    together = [Chunk(sequence, 0, blocks.table(len(sequence)), True) for sequence in sequences]
    strangers = [Chunk(ids(50 + i, 1 + 30 * i), 0, list(range(i * 16, i * 16 + 16)), True) for i in range(4)]
    (_, answers), _ = compute(model, [(1, strangers), (0, together)])
    for answer, before in zip(answers, alone, strict=True):
        assert close(answer, before)
        top = before.topk(2).values
        sure = (top[:, 0] - top[:, 1]) > 2 * TOLERANCE
        assert sure.float().mean() > 0.9
        assert (answer.argmax(-1) == before.argmax(-1))[sure].all()


def test_replicas_have_pools_of_their_own(weights: Weights) -> None:
    model = fresh(weights)
    first, second = ids(1, 24), ids(2, 24)
    table = [5, 0, 9, 7]
    compute(model, [(0, [Chunk(first, 0, table, True)]), (1, [Chunk(second, 0, table, True)])])
    (one, two), _ = compute(model, [(0, [Chunk([11], 24, table, True)]), (1, [Chunk([11], 24, table, True)])])
    assert close(one[0], dense(weights, [*first, 11])[0][-1:])
    assert close(two[0], dense(weights, [*second, 11])[0][-1:])


def test_the_last_position_of_the_context_is_computed(weights: Weights) -> None:
    model, table = fresh(weights), Blocks().table(SIZE.context)
    sequence = ids(8, SIZE.context)
    compute(model, [(0, [Chunk(sequence[:-1], 0, table, True)])])
    (answers,), _ = compute(model, [(0, [Chunk(sequence[-1:], SIZE.context - 1, table, True)])])
    assert bool(answers[0][0].isfinite().all())
    blocks = len(table) - 1
    (whole,), _ = compute(model, [(1, [Chunk(sequence, 0, list(range(blocks + 1)), True)])])
    assert close(answers[0][0], whole[0][-1])


def test_balancing_evens_out_fresh_experts() -> None:
    def spread(made: Weights) -> float:
        """Standard deviation of experts' shares over a fair share, averaged over layers, on data not balanced with."""
        model, total = fresh(made), np.zeros((SIZE.layers, SIZE.experts))
        for batch in range(5):
            chunks = [Chunk(ids(1000 * batch + i, 64), 0, list(range(i * 8, i * 8 + 8)), True) for i in range(30)]
            total += compute(model, [(0, chunks)])[1][0]
        return float((total.std(axis=1) / total.mean(axis=1)).mean())

    for seed in (1, 2):
        raw, balanced = random_weights(SIZE, seed), random_weights(SIZE, seed)
        balance(balanced, seed)
        assert spread(balanced) < 0.7 * spread(raw)


def test_tokens_of_a_block_depend_on_its_key_alone() -> None:
    for key in (0, -1, 1, -(2**63), 2**64 + 5):
        block = token_ids(key, 16, 4096)
        assert block == token_ids(key, 16, 4096)
        assert block[:5] == token_ids(key, 5, 4096)
        assert all(type(token) is int and 0 <= token < 4096 for token in block)
    assert token_ids(3, 0, 4096) == []
    many = np.array([token_ids(key, 16, 4096) for key in range(-2000, 2000)])
    assert len(np.unique(many, axis=0)) == len(many)
    counts = np.bincount(many.ravel() // 256, minlength=16)
    assert abs(counts / counts.sum() - 1 / 16).max() < 0.005


def test_a_chunk_that_fits_nowhere_is_refused() -> None:
    for chunk, words in (
        (Chunk([], 0, [1], True), "0 tokens at 0"),
        (Chunk([1, 2], 2047, list(range(256)), True), "2 tokens at 2047"),
        (Chunk([1], 8, [1], True), "only 1 KV blocks"),
    ):
        with pytest.raises(ValueError, match=words):
            GEOMETRY.check(chunk, SIZE.context)
