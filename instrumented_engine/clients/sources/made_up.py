"""Demand of which no recording exists: enterprise batch jobs and botnets. Made up, and said so.

A batch keeps a fixed number of requests in flight until all are done: a step in concurrency. A flood is Poisson, with a
session per request, and part of it wants accounts only (DeepSeek limited registrations on 2025-01-28).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from instrumented_engine.clients.sources.origin import Origin

_LOOK_NS = 1_000_000_000
SignUp = Callable[[str], None]


async def play_batches(origin: Origin) -> None:
    """Send each batch that is asked for."""
    done = 0
    while True:
        await origin.loop.sleep_ns(_LOOK_NS)
        while done < origin.cohort.batches_asked:
            done += 1
            origin.loop.start(_batch(origin, done))


async def _batch(origin: Origin, number: int) -> None:
    places = asyncio.Semaphore(origin.cohort.settings.batch_concurrency)

    async def one(name: str) -> None:
        settings = origin.cohort.settings
        arrival = origin.arrival(name, settings.prompt_tokens, settings.output_tokens)
        await origin.clients.use(origin.cohort, arrival)
        places.release()

    for i in range(int(origin.cohort.batch_size)):
        await places.acquire()
        origin.loop.start(one(f"{origin.cohort.settings.name}-{number}-{i}"))


async def play_flood(origin: Origin, sign_up: SignUp | None) -> None:
    """Requests at ``flood_per_s``, and sign-ups for whoever takes them."""
    number = 0
    while True:
        rate = origin.cohort.flood_per_s * origin.level()
        if rate <= 0:
            await origin.loop.sleep_ns(_LOOK_NS)
            continue
        await origin.loop.sleep_ns(round(min(origin.luck.expovariate(rate), 60.0) * 1e9))
        number += 1
        settings = origin.cohort.settings
        name = f"{settings.name}-{number}"
        if origin.luck.random() < settings.sign_up_share:
            if sign_up is not None:
                sign_up(name)
            continue
        arrival = origin.arrival(name, settings.prompt_tokens, settings.output_tokens)
        origin.start(arrival)
