"""Requests sampled from the parameters of real clients: ServeGen's DeepSeek-R1 and image clients (arXiv 2505.09999).

Each client is a Gamma renewal process with its hour's rate and coefficient of variation; lengths come from its quantiles.
The parameters say nothing of shared prefixes, so there are none. Image tokens are prompt tokens. Where the cohort follows a
day's curve, the clients' own day is taken out of their sum first: it changes who sends, and the curve how much is sent. A
``rate_factor`` below 1 samples a client's requests, and what is left is nearer to Poisson: cv^2 - 1 shrinks by the factor
(thinned renewal processes, Renyi 1956).
"""

from __future__ import annotations

from typing import Any

from instrumented_engine.clients.sources.origin import Origin, parameters

_IDLE_S = 60.0
_INPUTS = ("input_tokens", "text_tokens", "image_tokens")


async def play_servegen(origin: Origin) -> None:
    """Let every client of the cohort's source send, for ever."""
    clients = parameters(origin.cohort.settings.source)
    totals = [sum(rates) for rates in zip(*(client["rate_per_s"] for client in clients), strict=True)]
    mean = sum(totals) / len(totals)
    levels = [mean / total if origin.cohort.settings.curve else 1.0 for total in totals]
    for client in clients:
        origin.loop.start(_client(origin, client, levels))


async def _client(origin: Origin, client: dict[str, Any], levels: list[float]) -> None:
    number = 0
    while True:
        hour = (origin.cohort.settings.hour + int(origin.loop.now_ns / 3.6e12)) % len(levels)
        rate, cv = client["rate_per_s"][hour] * levels[hour] * origin.level(), client["cv"][hour] or 1.0
        variance = max(0.01, 1.0 + min(1.0, origin.cohort.settings.rate_factor) * (cv**2 - 1.0))
        if rate <= 0:
            await origin.loop.sleep_ns(round(_IDLE_S * 1e9))
            continue
        shape = 1.0 / variance
        gap_s = min(origin.luck.gammavariate(shape, 1.0 / (rate * shape)), 3_600.0)
        await origin.loop.sleep_ns(round(gap_s * 1e9))
        number += 1
        prompt = sum(_drawn(origin, client[field]) for field in _INPUTS if field in client)
        arrival = origin.arrival(f"{client['client']}-{number}", prompt, _drawn(origin, client["output_tokens"]))
        origin.start(arrival)


def _drawn(origin: Origin, quantiles: list[int]) -> int:
    """A value between two neighbouring quantiles."""
    place = origin.luck.random() * (len(quantiles) - 1)
    low = int(place)
    return round(quantiles[low] + (place - low) * (quantiles[low + 1] - quantiles[low]))
