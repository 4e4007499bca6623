"""An incident as a family writes it: the scenario and its truth grow together, so that neither forgets the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from incidents.families.fleet import Topology

START_S = 240.0
"""When things begin to happen."""
SHED_S, CALM_S = 900.0, 1080.0
"""When the operator sheds nine requests in ten, and when it ends."""


class Draft:
    """``scenario`` and ``truth`` as the files hold them. Every action gives its number, by which truth refers to it."""

    def __init__(self, fleet: Topology, title: str) -> None:
        self.fleet = fleet
        self.scenario: dict[str, Any] = {"title": title, **fleet.tables()}
        self.truth: dict[str, Any] = {"proof": {"late_s": 600.0, "duration_s": 2000.0}}
        self.actions: list[dict[str, Any]] = []

    # -- what happens --------------------------------------------------------------------------------------------------

    def set(
        self, at_s: float, until_s: float | str, target: str, key: str, value: Any, *,
        kind: str = "config_change", log: str = "", log_until: str = "",
    ) -> int:
        """A switch is set for a time; unlogged without ``log``."""
        action = {"at_s": at_s, "until_s": until_s, "do": "set", "target": target, "key": key, "value": value}
        return self._add(action, kind, log, log_until)

    def call(self, at_s: float, do: str, target: str, *, kind: str = "config_change", log: str = "") -> int:
        """An operation is carried out, or ``do = "note"`` written down."""
        return self._add({"at_s": at_s, "do": do, "target": target}, kind, log, "")

    def _add(self, action: dict[str, Any], kind: str, log: str, log_until: str) -> int:
        if log:
            action |= {"log_kind": kind, "log": log}
        if log_until:
            action["log_until"] = log_until
        self.actions.append(action)
        return len(self.actions) - 1

    @property
    def other_replicas(self) -> list[str]:
        """The entities of all replicas but the first."""
        return [f"replica:{self.fleet.replica(i)}" for i in range(1, self.fleet.replicas)]

    @property
    def gateways(self) -> list[str]:
        """The names of the gateways: one a region."""
        return [region["name"] for region in self.scenario.get("regions", [])] or [self.fleet.named("gateway")]

    def shed(self, at_s: float = SHED_S, until_s: float = CALM_S) -> None:
        """The operator's cure: nine requests in ten are turned away for three minutes. Experiments leave it out."""
        for name in self.gateways:
            number = self.set(
                at_s, until_s, f"gateway:{name}", "shed_share", 0.9, kind="load_shed",
                log="admission control: shedding 90 % of requests", log_until="admission control: shedding ended",
            )  # fmt: skip
            self.truth["proof"].setdefault("without", {"actions": []})["actions"].append(number)

    # -- what it means -------------------------------------------------------------------------------------------------

    def initiator(self, kind: str, entity: str, at_s: float, *actions: int) -> None:
        """The change that began it; without ``actions`` there is none."""
        self.truth["initiator"] = {"kind": kind, "entity": entity, "at_s": at_s, "without": {"actions": list(actions)}}

    def trigger(
        self, entity: str, mechanism: str, at_s: float, without: dict[str, Any], undo: dict[str, Any] | None = None,
        *, within_s: float = 20.0, also: Sequence[str] = (),
    ) -> None:
        """What failed first, from ``at_s`` on, and how to take it away: from the start, and late. ``also``: where else it was
        done alike."""
        one = {"entity": entity, "mechanism": mechanism, "onset_s": [at_s, at_s + within_s], "without": without}
        if also:
            one["also"] = list(also)
        self.truth.setdefault("triggers", []).append({**one, "undo": undo} if undo else one)

    def amplifier(self, mechanism: str, entity: str = "", **without: Any) -> None:
        """What made it larger."""
        one: dict[str, Any] = {"mechanism": mechanism, "without": without}
        self.truth.setdefault("amplifiers", []).append({**one, "entity": entity} if entity else one)

    def sustainer(self, mechanism: str, *, cohorts: tuple[str, ...] = (), **cut: Any) -> None:
        """A loop that kept it down, and what cuts it late."""
        one: dict[str, Any] = {"mechanism": mechanism, "cut": cut}
        self.truth.setdefault("sustainers", []).append({**one, "cohorts": list(cohorts)} if cohorts else one)

    def retries_amplify(self) -> None:
        """Retries made it larger."""
        self.amplifier("retry_storm", set={f"cohorts.{i}.max_retries": 0 for i in range(len(self.scenario["cohorts"]))})

    def storm(self, outage_from_s: tuple[float, float], late_s: float = 600, shed_s: float = SHED_S) -> Draft:
        """Retries made it larger and kept it down, and only the operator ended it."""
        self.retries_amplify()
        self.sustainer("retry_storm", cohorts=("chat",), do=[
            {"do": "set", "target": "clients", "key": "retries_on", "value": False},
        ])  # fmt: skip
        return self.shed_at_last(outage_from_s, late_s, shed_s)

    def shed_at_last(self, outage_from_s: tuple[float, float], late_s: float, shed_s: float = SHED_S) -> Draft:
        """The operator sheds load from ``shed_s`` on, which ends it; experiments intervene at ``late_s``."""
        self.shed(shed_s)
        self.impact(outage_from_s)
        self.proof(late_s)
        return self

    def mitigation(self, what: str, cohorts: tuple[str, ...], *actions: int) -> None:
        """What the operators did that saved ``cohorts``."""
        self.truth.setdefault("mitigations", []).append(
            {"what": what, "cohorts": list(cohorts), "without": {"actions": list(actions)}}
        )

    def decoy(self, what: str, *actions: int) -> None:
        """Something that changed and had no part in it."""
        self.truth.setdefault("decoys", []).append({"what": what, "without": {"actions": list(actions)}})

    def impact(
        self, outage_from_s: tuple[float, float], recovered_by_s: tuple[float, float] = (CALM_S, 1200.0), *cohorts: str
    ) -> None:
        """What users saw."""
        self.truth["impact"] = {
            "outage_from_s": list(outage_from_s), "recovered_by_s": list(recovered_by_s), "cohorts": list(cohorts or ("chat",)),
        }  # fmt: skip

    def proof(self, late_s: float, duration_s: float = 2000.0) -> None:
        """When experiments intervene, and how long they last."""
        self.truth["proof"] |= {"late_s": late_s, "duration_s": duration_s}

    def tables(self) -> dict[str, Any]:
        """The scenario, complete."""
        return {**self.scenario, "actions": self.actions}
