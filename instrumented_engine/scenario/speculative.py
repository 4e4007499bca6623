"""Speculative decoding."""

from __future__ import annotations

from pydantic import Field

from instrumented_engine.scenario.strict import Strict


class Speculative(Strict):
    """Draft tokens by the multi-token-prediction head.

    ``k``: drafts per iteration (0: none). Later drafts build on earlier ones, so the i-th is right with the i-th power of the
    first's acceptance. ``draft_share``: what drafting one token costs, as a share of reading the weights once (one layer's
    worth). ``disable_above``: with more sequences than this in the batch there are no drafts.
    """

    k: int = Field(1, ge=0, le=4)
    draft_share: float = Field(0.04, ge=0, le=1)
    disable_above: int = Field(10_000, ge=0)
