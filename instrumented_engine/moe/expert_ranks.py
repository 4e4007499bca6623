"""The ranks of one replica in lock-step: a step takes as long as its slowest rank, layer after layer.

Expert compute grows with the tokens of a rank, so an uneven load lengthens that part of a step by max over mean (DeepEP's
all-to-all waits for the last one; LMSYS saw prefill 1.49 and decode 2.54 times faster with EPLB). A slow rank slows all, a
stall of any rank stalls all: with n ranks a step is hit with probability 1 - (1 - p)^n.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from instrumented_engine.hardware.gpus import return_after
from instrumented_engine.mechanism import Measure
from instrumented_engine.model.runner import StepOutput
from instrumented_engine.moe.placement import balanced, imbalance, plain, rank_loads
from instrumented_engine.replica.engine import Engine
from instrumented_engine.replica.scheduler import Plan
from instrumented_engine.scenario.moe import Experts

if TYPE_CHECKING:
    from instrumented_engine.cluster import Cluster

_BLOCKER = "watchdog"
_ASYNC_STRETCH = 10
_LOOK_STEPS = 16
_SMOOTHING = 16 / 100
"""A scaled token stands for many real ones, and a step of a real unit holds many more requests than one of ours; what
averages out there is averaged here over a hundred steps, sixteen at a time."""


class Rank:
    """``rank_speed`` (1.0 as rated) and ``hung`` are switches."""

    def __init__(self) -> None:
        self.rank_speed = 1.0
        self.hung = False
        self.tokens = 0.0


class ExpertRanks:
    """The ranks of ``engine``. ``expert_rebalance``, ``rearrange_s``, ``stall_p`` and ``dummy_batch_on_idle`` are switches;
    ``rebalance_experts`` is the operation."""

    def __init__(self, cluster: Cluster, engine: Engine, settings: Experts) -> None:
        shape = cluster.runner.shape
        self.expert_rebalance: str = settings.rebalance
        self.rearrange_s = settings.rearrange_s
        self.stall_p = settings.stall_p
        self.dummy_batch_on_idle = settings.dummy_batch_on_idle
        self.ranks = [Rank() for _ in range(settings.ranks)]
        self.rearrangements = self.stalls = self.dummy_batches = self.hangs = 0
        self.rearranging_s = self.waited_s = 0.0
        self.imbalance = 1.0
        self._cluster = cluster
        self._engine = engine
        self._settings = settings
        self._shape = shape
        self._luck = cluster.random(f"ranks:{engine.entity}")
        self._share = plain(shape.layers, shape.experts, settings.ranks, settings.redundant)
        self._window = np.zeros((shape.layers, shape.experts))
        self._recent = np.zeros((shape.layers, shape.experts))
        self._loads: list[NDArray[np.int32]] = []
        self._uneven = 1.0
        self._busy_until_ns = 0
        self._hanging = False

    def stretch(self, plan: Plan, output: StepOutput, duration_ns: int) -> int:
        """By how many ns the slowest rank lengthens the step."""
        if not plan.parts:
            return 0
        idle, slowest = self._idle_ranks(plan), 1.0
        for rank in self.ranks:
            if rank.hung:
                return self._hang()
            slowest = min(slowest, rank.rank_speed)
        if idle and not self.dummy_batch_on_idle:
            return self._hang()
        self.dummy_batches += idle
        self._loads.append(output.expert_load)
        if len(self._loads) >= _LOOK_STEPS:
            self._take_in()
        extra = self._compute_ns(plan) * self._settings.moe_share * (self._uneven - 1.0) if self._uneven > 1.0 else 0.0
        if slowest < 1.0:
            extra += (duration_ns + extra) * (1.0 / slowest - 1.0)
        if self._cluster.loop.now_ns < self._busy_until_ns:
            extra += duration_ns * self._settings.async_cost
        if self.stall_p and sum(self._luck.random() < self.stall_p for _ in self.ranks):
            self.stalls += 1
            extra += self._settings.stall_ms * 1e6
        self.waited_s += extra / 1e9
        return round(extra)

    def _take_in(self) -> None:
        """Add the loads of the last steps to what is known."""
        if not self._loads:
            return
        if self._cluster.runner.reads_tokens:
            self._cluster.runner.settle()
        load = np.sum(self._loads, axis=0).reshape(self._shape.layers, self._shape.experts).astype(np.float64)
        self._window += load
        self._recent += (load / len(self._loads) - self._recent) * _SMOOTHING
        self._loads.clear()
        for rank, tokens in zip(self.ranks, rank_loads(load, self._share).sum(axis=0).tolist(), strict=True):
            rank.tokens += tokens
        self._uneven = imbalance(rank_loads(self._recent, self._share))

    def _compute_ns(self, plan: Plan) -> float:
        """The part of the step that grows with its tokens."""
        cost, speed = self._engine.cost, self._engine.speed * self._engine.clock
        growing = cost.decode_ns(plan.decoding, speed) - cost.decode_ns(1, speed) if plan.decoding else 0
        return cost.prefill_ns(plan.prefill_tokens, speed) + growing

    def _idle_ranks(self, plan: Plan) -> int:
        """Data-parallel attention ranks to which no sequence of the step belongs."""
        ranks = len(self.ranks)
        return ranks - len({(part.sequence.span_id >> 1) % ranks for part in plan.parts})

    def _hang(self) -> int:
        """A collective waits for a rank that does not come, until the watchdog kills the replica."""
        if not self._hanging:
            self._hanging = True
            self.hangs += 1
            self._cluster.spawn(self._watch())
        return round(self._settings.watchdog_s * 1e9)

    async def _watch(self) -> None:
        await self._cluster.loop.sleep_ns(round(self._settings.watchdog_s * 1e9) - 1)
        self._engine.blockers.add(_BLOCKER)
        self._engine.lose()
        self._hanging = False
        await return_after(self._cluster, self._engine, _BLOCKER, self._settings.restart_s)

    # -- re-balancing --------------------------------------------------------------------------------------------------

    async def keep_balanced(self) -> None:
        """Re-balance again and again, in the manner that the switch says."""
        while True:
            await self._cluster.loop.sleep_ns(round(self._settings.interval_s * 1e9))
            if self.expert_rebalance != "off":
                self._rebalance()
            self._measure_window()

    def rebalance_experts(self) -> None:
        """Re-balance now; synchronously unless the switch says otherwise."""
        self._rebalance()

    def _rebalance(self) -> None:
        self._take_in()
        if not self._window.any():
            return
        before = imbalance(rank_loads(self._window, self._share))
        placed = balanced(self._window, len(self.ranks), self._settings.redundant)
        after = imbalance(rank_loads(self._window, placed))
        self.rearrangements += 1
        if self.expert_rebalance == "async":
            seconds = self.rearrange_s * _ASYNC_STRETCH
            self._busy_until_ns = self._cluster.loop.now_ns + round(seconds * 1e9)
        else:
            self._engine.stall(round(self.rearrange_s * 1e9))
            self.rearranging_s += self.rearrange_s
        self._share = placed
        self._uneven = imbalance(rank_loads(self._recent, placed))
        self._cluster.tell(
            "rebalance", self._engine.entity, f"experts re-balanced: slowest rank over mean {before:.2f} -> {after:.2f}"
        )

    def _measure_window(self) -> None:
        """Note the imbalance of the window that ends, and begin the next one."""
        self._take_in()
        self.imbalance = imbalance(rank_loads(self._window, self._share))
        self._window[:] = 0.0

    def measures(self) -> Iterable[Measure]:
        """Load by rank, imbalance, waits, re-arrangements, stalls, dummy batches."""
        for number, rank in enumerate(self.ranks):
            yield Measure("flashover:moe_rank_tokens", rank.tokens, "tokens", counter=True, labels=(("rank", str(number)),))
        yield Measure("flashover:moe_imbalance", self.imbalance)
        yield Measure("flashover:moe_wait_seconds", self.waited_s, "s", counter=True)
        yield Measure("flashover:moe_rearrangements", self.rearrangements, counter=True)
        yield Measure("flashover:moe_rearranging_seconds", self.rearranging_s, "s", counter=True)
        yield Measure("flashover:moe_stalled_steps", self.stalls, counter=True)
        yield Measure("flashover:moe_dummy_batches", self.dummy_batches, counter=True)
        yield Measure("flashover:moe_hangs", self.hangs, counter=True)
