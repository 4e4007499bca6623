"""Outages by what the fleet knows of its caches: an index too slow, with gaps, or lost; KV on its way."""

from __future__ import annotations

from incidents.families.draft import START_S, Draft
from incidents.families.fleet import Topology

_UPDATE = "routine load-balancing update: KV index partitions reassigned"


def kv_sync_rebalance(fleet: Topology, severity: float) -> Draft:
    """A rebalance makes every replica announce its blocks again, faster than the index can write them down."""
    draft = Draft(fleet, "A routine rebalance drowns the KV index")
    index = f"kv_index:{fleet.named('kv_index')}"
    draft.scenario["kv_index"] = {"writer_ops_per_s": round(130 / severity, 1), "stream_buffer_events": 10_000}
    update = draft.call(START_S, "rebalance", index, kind="rebalance", log=_UPDATE)
    draft.initiator("rebalance", index, START_S, update)
    draft.trigger(index, "kv_sync_bottleneck", START_S, {"set": {"kv_index.writer_ops_per_s": 100_000.0}},
                  {"do": [{"do": "undo_rebalance", "target": index}]}, within_s=10)  # fmt: skip
    return draft.storm((270, 600), late_s=840)


def kv_event_gaps(fleet: Topology, severity: float) -> Draft:
    """A new message bus loses block events: for each gap a dump of all blocks, too much for the index."""
    draft = Draft(fleet, "Lost block events, and a dump of every cache for each gap")
    draft.scenario["kv_index"] = {"writer_ops_per_s": 130, "stream_buffer_events": 2_000}
    losses = [
        draft.set(
            START_S, 780, f"stream:{fleet.replica(i)}", "loss", round(min(0.9, 0.05 * severity), 4), kind="deploy",
            log="message bus of the KV events moved to a new broker" if i == 0 else "",
        )
        for i in range(fleet.replicas)
    ]  # fmt: skip
    index = f"kv_index:{fleet.named('kv_index')}"
    draft.initiator("deploy", index, START_S, *losses)
    draft.trigger(index, "kv_event_gaps", START_S, {"set": {f"actions.{i}.value": 0.0 for i in losses}}, {"end": losses},
                  within_s=60)  # fmt: skip
    draft.retries_amplify()
    draft.sustainer("kv_event_gaps", cohorts=("chat",), do=[
        {"do": "set", "target": index, "key": "writer_ops_per_s", "value": 100_000.0},
        {"do": "set", "target": "clients", "key": "retries_on", "value": False},
    ])  # fmt: skip
    return draft.shed_at_last((270, 900), 690)


def metadata_failover(fleet: Topology, severity: float) -> Draft:
    """The index' leader fails over to one that begins with nothing and fills slowly."""
    draft = Draft(fleet, "The new leader of the KV index knows nothing")
    draft.scenario["kv_index"] = {"writer_ops_per_s": round(130 / severity, 1), "lookups_wait": False}
    draft.scenario["metadata_master"] = {"metadata_persisted": False, "election_s": 10}
    master = "metadata_master:main"
    lost = draft.call(START_S, "fail_over", master, kind="failover", log="metadata master failed over")
    draft.initiator("failover", master, START_S, lost)
    draft.trigger(master, "metadata_loss", START_S, {"set": {"metadata_master.metadata_persisted": True}}, within_s=30)
    return draft.storm((270, 900), late_s=690)


def spike_meets_rebalance(fleet: Topology, severity: float) -> Draft:
    """An enterprise's batch and a rebalance, both of which the fleet survives alone, meet."""
    draft = Draft(fleet, "An enterprise batch meets a rebalance: neither alone would have been noticed")
    index = f"kv_index:{fleet.named('kv_index')}"
    draft.scenario["kv_index"] = {"writer_ops_per_s": round(300 / severity, 1), "stream_buffer_events": 10_000}
    draft.scenario["cohorts"].append({
        "name": "enterprise", "tier": "enterprise", "source": "batch", "batch_size": round(150 * severity),
        "batch_concurrency": 12,
        "prompt_tokens": 8000, "output_tokens": 300, "ttft_timeout_s": 120, "max_retries": 2,
    })  # fmt: skip
    update = draft.call(START_S, "rebalance", index, kind="rebalance", log=_UPDATE)
    batch = draft.call(START_S + 30, "start_batch", "cohort:enterprise")
    draft.trigger(index, "kv_sync_bottleneck", START_S, {"actions": [update]},
                  {"do": [{"do": "undo_rebalance", "target": index}]}, within_s=10)  # fmt: skip
    draft.trigger("cohort:enterprise", "external_load", START_S + 30, {"actions": [batch]}, within_s=30)
    return draft.storm((270, 900), late_s=840)


def kv_transfer(fleet: Topology, severity: float) -> Draft:
    """Prefill and decode apart: a decode replica's NIC drops to a trickle, and KV queues up on its way."""
    draft = apart(fleet, "KV waits on its way from prefill to decode")
    links = decoders(fleet)
    slow = [
        draft.set(START_S, 780, f"link:{name}-nic", "bandwidth_gbps", round(0.35 / severity, 4), kind="config_change",
                  log="network: new traffic class for storage" if name == links[0] else "")
        for name in links
    ]  # fmt: skip
    draft.initiator("config_change", f"link:{links[0]}-nic", START_S, *slow)
    draft.trigger(f"link:{links[0]}-nic", "kv_transfer_bottleneck", START_S, {"actions": slow}, {"end": slow}, within_s=60)
    return draft.storm((270, 900), late_s=690)


def apart(fleet: Topology, title: str, bandwidth_gbps: float = 10.0) -> Draft:
    """A fleet whose first half computes prompts and whose second half answers, each NIC so fast."""
    draft = Draft(fleet, title)
    draft.scenario["workload"]["compress"] = 0.5  # half the fleet computes prompts
    draft.scenario["disaggregation"] = {
        "prefill": fleet.replicas - len(decoders(fleet)), "bandwidth_gbps": bandwidth_gbps, "waiting_timeout_s": 30,
        "bootstrap_timeout_s": 30,
    }  # fmt: skip
    return draft


def decoders(fleet: Topology) -> list[str]:
    """The replicas of the second half."""
    return [fleet.replica(i) for i in range(fleet.replicas // 2, fleet.replicas)]
