"""Outages by demand: more users, longer prompts, longer answers, more calls, or visitors who are no users."""

from __future__ import annotations

from incidents.families.draft import START_S, Draft
from incidents.families.fleet import Topology


def user_spike(fleet: Topology, severity: float) -> Draft:
    """Half as many users again come for one minute, unannounced."""
    draft = Draft(fleet, "A spike of users that lasts a minute")
    spike = draft.set(START_S, START_S + 60, "cohort:chat", "users_factor", 1 + 0.6 * severity)
    draft.trigger("cohort:chat", "external_load", START_S, {"actions": [spike]}, {"end": [spike]}, within_s=10)
    return draft.storm((START_S, 540))


def context_release(fleet: Topology, severity: float) -> Draft:
    """A release of the chat app sends more context with every question."""
    draft = Draft(fleet, "A release raises the context by a fifth")
    release = draft.set(
        START_S, 780, "cohort:chat", "context_factor", 1 + 0.2 * severity, kind="deploy",
        log="chat app 5.2 released: attachments are kept in the context", log_until="chat app rolled back to 5.1",
    )  # fmt: skip
    draft.initiator("deploy", "cohort:chat", START_S, release)
    draft.trigger("cohort:chat", "prompt_mix_shift", START_S, {"set": {f"actions.{release}.value": 1.0}}, {"end": [release]})
    return draft.storm((420, 900), late_s=690)


def reasoning_shift(fleet: Topology, severity: float) -> Draft:
    """A release thinks longer before it answers: the same questions, three times the tokens."""
    draft = Draft(fleet, "A release makes answers three times as long")
    draft.scenario["replica"] |= {"max_running": 64 // fleet.replicas}  # what limits such fleets is the batch, not the card
    release = draft.set(
        START_S, 780, "cohort:chat", "output_factor", 1 + 2.0 * severity, kind="deploy",
        log="chat app: deep thinking is on for everybody", log_until="chat app: deep thinking is off again",
    )  # fmt: skip
    draft.initiator("deploy", "cohort:chat", START_S, release)
    draft.trigger("cohort:chat", "output_length_shift", START_S, {"set": {f"actions.{release}.value": 1.0}}, {"end": [release]})
    return draft.storm((300, 900), late_s=690, shed_s=810)


def big_release(fleet: Topology, severity: float) -> Draft:
    """One release raises users, turns, context and answers together, each by little."""
    draft = Draft(fleet, "A release raises users, turns, context and answers together")
    factors = {"users_factor": 0.06, "turns_factor": 0.06, "context_factor": 0.08, "output_factor": 0.15}
    logs = {"users_factor": "chat app 6.0 released: announced to everybody, agents on, longer context, longer thinking"}
    numbers = {
        key: draft.set(START_S, 780, "cohort:chat", key, round(1 + more * severity, 4), kind="deploy", log=logs.get(key, ""))
        for key, more in factors.items()
    }
    draft.initiator("deploy", "cohort:chat", START_S, *numbers.values())
    everything = list(numbers.values())
    draft.trigger("cohort:chat", "demand_release", START_S, {"actions": everything}, {"end": everything})
    for key, mechanism in (("users_factor", "external_load"), ("context_factor", "prompt_mix_shift")):
        # The other two are too small to be missed: without one of them alone as many users are lost.
        draft.amplifier(mechanism, "cohort:chat", actions=[numbers[key]])
    return draft.storm((300, 900), late_s=690)


def botnet(fleet: Topology, severity: float) -> Draft:
    """Five minutes of requests from senders nobody knows."""
    draft = Draft(fleet, "A botnet asks short questions for five minutes")
    draft.scenario["cohorts"].append(
        {"name": "unknown", "source": "flood", "prompt_tokens": 6000, "output_tokens": 200, "max_retries": 0}
    )
    flood = draft.set(START_S, START_S + 300, "cohort:unknown", "flood_per_s", round(2.5 * severity, 3))
    draft.trigger("cohort:unknown", "external_load", START_S, {"actions": [flood]}, {"end": [flood]}, within_s=10)
    return draft.storm((START_S, 600))


def few_cards(fleet: Topology, severity: float) -> Draft:
    """A third-party provider has one card too few for the evening."""
    draft = Draft(fleet, "A third-party provider with too few cards")
    evening = draft.set(START_S, 780, "cohort:chat", "users_factor", 1 + 0.25 * severity)
    draft.trigger("cohort:chat", "external_load", START_S, {"actions": [evening]}, {"end": [evening]}, within_s=60)
    draft.amplifier("too_few_replicas", set={"cluster.replicas": fleet.replicas + 2})
    return draft.storm((300, 900), late_s=690, shed_s=810)


def agent_snowball(fleet: Topology, severity: float) -> Draft:
    """Agents of a few users take more and more steps for one task: as many users as ever, and many more calls."""
    draft = Draft(fleet, "Agents snowball: the same users, many more calls")
    draft.scenario["cohorts"][0] |= {"share": 3.0}
    draft.scenario["cohorts"].append({
        "name": "agents", "tier": "agents", "share": 1.0, "ttft_timeout_s": 25, "max_retries": 2, "backoff_initial_s": 0.5,
    })  # fmt: skip
    steps = draft.set(
        START_S, 780, "cohort:agents", "turns_factor", round(1 + 14.0 * severity, 4), kind="deploy",
        log="agents 2.0: they check their own work", log_until="agents taken back to 1.9",
    )  # fmt: skip
    draft.initiator("deploy", "cohort:agents", START_S, steps)
    draft.trigger("cohort:agents", "agent_snowball", START_S, {"actions": [steps]}, {"end": [steps]}, within_s=60)
    return draft.storm((270, 840), late_s=690, shed_s=810)
