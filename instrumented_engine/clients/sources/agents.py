"""Agents in closed loops: real coding-agent sessions (WEKA's Claude Code traces), call after call.

The next call comes when the last one is answered and the session's think time is over, with nearly all of the last prompt as
its prefix. Load therefore grows with calls per task while users stay flat, and falls when answers get slower. A failed call is
tried again after a pause whose median is 9.8 s (Exgentic's agent spans, incident-facts 4). Thinking of more than five
minutes (somebody went to lunch) is cut to that.
"""

from __future__ import annotations

import random

from instrumented_engine.clients.sources.origin import Origin, parameters

_MOST_THINKING_S = 300.0
_AFTER_ERROR_S = 9.8
_BLOCK = 64
"""Tokens per block of the source's hashes."""


async def play_agents(origin: Origin) -> None:
    """Start the cohort's agents; its users and turns factors start more of them, and more calls."""
    started = 0
    while True:
        wanted = round(origin.cohort.settings.agents * origin.cohort.users_factor)
        while started < wanted:
            origin.loop.start(_agent(origin, started))
            started += 1
        await origin.loop.sleep_ns(1_000_000_000)


async def _agent(origin: Origin, number: int) -> None:
    """One agent: one session after the other, for ever."""
    sessions = parameters("weka_agents")
    luck = random.Random(f"{origin.luck.random()}:{number}")
    await origin.loop.sleep_ns(round(luck.random() * 10e9))
    task = 0
    while True:
        session = sessions[luck.randrange(len(sessions))]
        await _session(origin, luck, f"agent{number}-{task}", session)
        task += 1


async def _session(origin: Origin, luck: random.Random, name: str, calls: list[list[float]]) -> None:
    keys: tuple[int, ...] = ()
    span = origin.block_tokens / origin.workload.prompt_scale
    for think_s, prompt, output, kept in calls:
        await origin.loop.sleep_ns(round(min(think_s / origin.cohort.turns_factor, _MOST_THINKING_S) * 1e9))
        shared = keys[: int(kept * _BLOCK * origin.cohort.context_factor // span)]
        arrival = origin.arrival(name, int(prompt), int(output), shared)
        keys = arrival.blocks
        if luck.random() < origin.cohort.subagents:
            helper = origin.arrival(f"{name}-sub", int(prompt), int(output), shared)
            origin.start(helper)
        if not await origin.clients.use(origin.cohort, arrival):
            await origin.loop.sleep_ns(round(luck.expovariate(0.693 / _AFTER_ERROR_S) * 1e9))
