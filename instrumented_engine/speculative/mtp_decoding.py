"""What drafts save and cost: iterations that yield several tokens, each checking several positions.

Greedy verification leaves the text as it is, so only time changes. A step that advances n sequences by one scaled token
stands for 1 / output_scale iterations without drafts. With k drafts, of which a are right on average, it takes 1 / (1 + a) as
many; each reads the weights and the sequences' caches once, computes n * k positions more, at the rate of prefill, and
drafts. At small n reading dominates and almost all of 1 + a is gained (R1's k = 1: 81 % accepted, 1.63 times at one request a
second); at large n the positions that were computed in vain cost more than the reading saved.

Acceptance is what the MTP head does: with torch each token is held against the draft for it; recorded runs draw from what
was measured when the head was distilled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from instrumented_engine.mechanism import Measure
from instrumented_engine.model.runner import StepOutput
from instrumented_engine.replica.engine import Engine
from instrumented_engine.replica.scheduler import Plan
from instrumented_engine.scenario.speculative import Speculative

if TYPE_CHECKING:
    from instrumented_engine.cluster import Cluster

_LOOK_STEPS = 8
"""Recorded runs draw how many drafts were right in every so many steps."""
_MEMORY = 0.05
"""How fast the measured acceptance follows: it is averaged over some twenty looks."""


class MtpDecoding:
    """Speculation on one replica. ``spec_k`` and ``disable_above`` are switches. ``acceptance``: of the first draft, as
    recorded."""

    def __init__(self, cluster: Cluster, engine: Engine, settings: Speculative, acceptance: float) -> None:
        self.spec_k: float = settings.k
        self.disable_above: float = settings.disable_above
        self.drafts = self.drafted = self.accepted = self.saved_ns = 0
        self._cluster = cluster
        self._engine = engine
        self._settings = settings
        self._recorded = acceptance
        self._measured = acceptance
        self._steps = 0
        self._tallying = cluster.runner.reads_tokens
        self._luck = cluster.random(f"speculation:{engine.entity}")
        self._tally: Callable[[StepOutput, int], tuple[int, int]] = (
            self._computed if cluster.runner.reads_tokens else self._drawn
        )

    def stretch(self, plan: Plan, output: StepOutput, duration_ns: int) -> int:
        """By how many ns (mostly fewer than none) drafts change the step."""
        n, k = plan.decoding, int(self.spec_k)
        if not n or not k or n > self.disable_above:
            return 0
        self._steps += 1
        if self._tallying or self._steps % _LOOK_STEPS == 0:
            checked, right = self._tally(output, n)
            if checked:
                self._measured += _MEMORY * (right / checked - self._measured)
        cost, speed = self._engine.cost, self._engine.speed * self._engine.clock
        plain_ns = cost.decode_ns(n, speed)
        per_iteration = plain_ns * cost.output_scale
        base_ns = cost.profile.decode_base_ms * 1e6 / speed
        in_vain_ns = n * k * 1e9 / cost.profile.prefill_tokens_per_s / speed
        gained = sum(self._measured**position for position in range(1, k + 1))
        iteration_ns = per_iteration + in_vain_ns + k * self._settings.draft_share * base_ns
        with_drafts_ns = iteration_ns / cost.output_scale / (1.0 + gained)
        self._count(n, k, gained, 1.0 / cost.output_scale / (1.0 + gained))
        self.saved_ns += round(plain_ns - with_drafts_ns)
        return round(with_drafts_ns - plain_ns)

    def _computed(self, output: StepOutput, n: int) -> tuple[int, int]:
        self._cluster.runner.settle()
        return output.drafted, output.accepted

    def _drawn(self, output: StepOutput, n: int) -> tuple[int, int]:
        return n, sum(self._luck.random() < self._recorded for _ in range(n))

    def _count(self, n: int, k: int, gained: float, iterations: float) -> None:
        self.drafts += round(n * iterations)
        self.drafted += round(n * k * iterations)
        self.accepted += round(n * gained * iterations)

    @property
    def acceptance(self) -> float:
        """Share of first drafts that were right lately."""
        return self._measured

    def measures(self) -> Iterable[Measure]:
        """vLLM's names, and what was saved."""
        yield Measure("vllm:spec_decode_num_drafts", self.drafts, counter=True)
        yield Measure("vllm:spec_decode_num_draft_tokens", self.drafted, "tokens", counter=True)
        yield Measure("vllm:spec_decode_num_accepted_tokens", self.accepted, "tokens", counter=True)
        yield Measure("flashover:spec_decode_saved_seconds", self.saved_ns / 1e9, "s")
