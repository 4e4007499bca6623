"""Days on which nothing was noticed, and days on which two things went wrong."""

from __future__ import annotations

from incidents.families.draft import START_S, Draft
from incidents.families.fleet import Topology


def busy_but_healthy(fleet: Topology, severity: float) -> Draft:
    """A burst of users, a rebalance, a canary and a certificate, and nobody notices."""
    draft = Draft(fleet, "A busy quarter of an hour that nobody notices")
    draft.decoy("a burst of users", draft.set(180, 300, "cohort:chat", "users_factor", round(1 + 0.15 * severity, 3)))
    draft.decoy("a rebalance", draft.call(
        420, "rebalance", f"kv_index:{fleet.named('kv_index')}", kind="rebalance",
        log="routine load-balancing update: KV index partitions reassigned"))  # fmt: skip
    draft.decoy("a canary", draft.set(
        600, 900, f"scheduler:{fleet.replica(1)}", "watermark", 0.05, kind="deploy",
        log=f"canary on {fleet.replica(1)}: a watermark of 5 % of the KV blocks", log_until="canary ended"))  # fmt: skip
    draft.decoy("a certificate", draft.call(
        750, "note", f"gateway:{fleet.named('gateway')}", kind="note", log="certificate renewed"))  # fmt: skip
    draft.proof(840, 1230)
    return draft


def scaled_but_healthy(fleet: Topology, severity: float) -> Draft:
    """On a quiet morning a replica is drained and comes back, a version is rolled out, and a page fires for neither."""
    draft = Draft(fleet, "A replica drained and a version rolled out on a quiet morning")
    draft.scenario["workload"]["compress"] = 0.6
    draft.scenario["control_plane"] = {
        "schedule": [{"at_s": 180, "replicas": fleet.replicas - 1}, {"at_s": 480, "replicas": fleet.replicas}],
        "image_pull_s": 30, "warm_up_s": 20, "drain_s": 30, "rollout_speed": 1.0,
    }  # fmt: skip
    draft.decoy("a roll-out", draft.call(780, "rollout", "rollout:main", kind="deploy", log="engine 0.11.1 rolled out"))
    draft.decoy("an alert", draft.call(
        300, "note", f"gateway:{fleet.named('gateway')}", kind="note", log="alert: replica not ready for 2 min"))  # fmt: skip
    draft.decoy("a quiet minute", draft.set(1020, 1080, "cohort:chat", "users_factor", round(max(0.1, 1 - 0.3 * severity), 3)))
    draft.proof(840, 1230)
    return draft


def double_fault(fleet: Topology, severity: float) -> Draft:
    """A GPU at two thirds of its clock and a release with longer prompts: the fleet would have carried either."""
    draft = Draft(fleet, "A throttled GPU and a release, either of which would have been carried")
    draft.scenario["hardware"] = {"gpus": 1}
    draft.scenario["workload"]["compress"] = 0.95
    gpu = f"gpu:{fleet.replica(1)}.0"
    hot = draft.set(START_S, 780, gpu, "clock", round(max(0.1, 1 - 0.45 * severity), 4))
    release = draft.set(
        START_S + 60, 780, "cohort:chat", "context_factor", round(1 + 0.2 * severity, 4), kind="deploy",
        log="chat app 5.2 released: attachments are kept in the context", log_until="chat app rolled back to 5.1",
    )  # fmt: skip
    draft.trigger(f"replica:{fleet.replica(1)}", "slow_replica", START_S, {"actions": [hot]}, {"end": [hot]}, within_s=30)
    draft.trigger("cohort:chat", "prompt_mix_shift", START_S + 60, {"actions": [release]}, {"end": [release]})
    return draft.storm((330, 900), late_s=690)
