"""What a truth may call a mechanism: those of the analysis' catalogue, and those that happen and that it cannot name yet.

The second kind keeps the library honest: an analysis that knows nothing of a mechanism must say so, and is scored on that.
A mechanism that gets a file in the catalogue leaves this list.
"""

from __future__ import annotations

from collections.abc import Mapping

from analysis.mechanisms import catalogue

BEYOND: Mapping[str, str] = {
    "agent_snowball": "agents call more often and start sub-agents, while users are as many as ever",
    "breaker_backlog": "decisions taken while scheduling was paused are carried out at once, on a state long gone",
    "chat_store_overload": "the chat tier's history store is too slow for the turns that read and write it",
    "control_plane_overload": "the API server falls behind its callers, and discovery's records expire",
    "demand_release": "one release raises several factors of demand, each by little",
    "expert_rebalance_stall": "engines stand still while experts are moved between ranks",
    "health_check_flap": "probes that wait behind users take out whom they should protect, and the rest saturate",
    "hot_expert": "a mix of requests loads the ranks of a few experts, and every step waits for them",
    "kv_event_gaps": "lost block events leave gaps, each gap costs a dump of all blocks",
    "kv_transfer_bottleneck": "KV moves from prefill to decode more slowly than it is made",
    "lost_probes": "health checks get lost on the way, and healthy regions are taken out",
    "metadata_loss": "a new leader of the index begins with nothing",
    "output_length_shift": "answers are longer",
    "probe_restart": "a liveness probe that waits in the queue restarts the busy",
    "reconciler_redeploy": "a reconciler with a stale source puts back what was rolled back",
    "region_loss": "a region cannot be reached",
    "scale_down": "fewer replicas than the load needs, by plan",
    "slow_release": "a new version of the engine computes more slowly",
    "too_few_replicas": "the fleet has no headroom",
    "turns_growth": "users ask more often",
}


def mechanism_names() -> list[str]:
    """Every name that a truth may use."""
    return sorted({*catalogue(), *BEYOND})
