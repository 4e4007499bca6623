"""Days on which much moves and nobody is worse off: lost cards with room to spare, a wave that is absorbed, restarts."""

from __future__ import annotations

from incidents.families.draft import START_S, Draft
from incidents.families.fleet import Topology


def spare_card(fleet: Topology, severity: float) -> Draft:
    """A card falls off the bus for five minutes, later the index is rebalanced, and the fleet has room for both."""
    draft = Draft(fleet, "A lost card in a fleet with room")
    draft.scenario["workload"]["compress"] = 0.55
    draft.scenario["hardware"] = {"gpus": 1, "restart_s": 30}
    gpu = f"gpu:{fleet.replica(1)}.0"
    draft.decoy("a lost card", draft.set(START_S, START_S + 300 * min(2.0, severity), gpu, "lost", True))
    draft.decoy("a rebalance", draft.call(
        900, "rebalance", f"kv_index:{fleet.named('kv_index')}", kind="rebalance",
        log="replica back: KV index partitions reassigned"))  # fmt: skip
    draft.proof(840, 1230)
    return draft


def absorbed_wave(fleet: Topology, severity: float) -> Draft:
    """A lunch hour: twice as many work on documents, with longer questions, and fewer chat; the fleet was built for it."""
    draft = Draft(fleet, "A lunch hour that the fleet was built for")
    draft.scenario["workload"]["compress"] = 0.5
    draft.scenario["cohorts"][0] |= {"share": 2.0}
    draft.scenario["cohorts"].append({
        "name": "documents", "share": 1.0, "tier": "paid", "ttft_timeout_s": 25, "max_retries": 2, "backoff_initial_s": 0.5,
    })  # fmt: skip
    draft.decoy("more users", draft.set(START_S, 900, "cohort:documents", "users_factor", round(1 + 1.0 * severity, 3)))
    fewer = round(max(0.2, 1 - 0.3 * severity), 3)
    draft.decoy("fewer chats", draft.set(START_S + 60, 900, "cohort:chat", "users_factor", fewer))
    draft.decoy("longer questions", draft.set(
        START_S + 60, 900, "cohort:documents", "context_factor", round(1 + 0.3 * severity, 3), kind="deploy",
        log="documents 3.0: whole chapters at once", log_until="documents back to 2.9"))  # fmt: skip
    draft.proof(840, 1230)
    return draft


def rolling_restart(fleet: Topology, severity: float) -> Draft:
    """Every replica's process is killed and started again, one after the other; retries hide it."""
    draft = Draft(fleet, "A restart of every replica, one by one")
    draft.scenario["workload"]["compress"] = 0.5
    draft.scenario["hardware"] = {"gpus": 1, "restart_s": 40}
    every_s = round(110 / max(1.0, severity), 1)
    for number in range(fleet.replicas):
        draft.decoy(f"a restart of {fleet.replica(number)}", draft.call(
            START_S + number * every_s, "xid", f"gpu:{fleet.replica(number)}.0", kind="deploy",
            log=f"driver update: {fleet.replica(number)} restarted"))  # fmt: skip
    draft.proof(840, 1230)
    return draft
