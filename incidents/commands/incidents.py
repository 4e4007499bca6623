"""``flashover incidents [list|show SLUG|new SLUG]``: what the library holds, and new cases of its families."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from collectors import console
from collectors.errors import BadInput
from incidents.library_index import incidents, scenario_path
from incidents.outages.record import load_outage, outages
from incidents.outages.told import as_json as as_json_of
from incidents.outages.told import compared, shown
from incidents.truth import load_truth
from instrumented_engine.loading import load_scenario
from instrumented_engine.mechanism_page import mechanisms_page
from instrumented_engine.scenario import Scenario


class Action(StrEnum):
    """What to do."""

    list = "list"
    show = "show"
    new = "new"
    families = "families"
    compare = "compare"


Do = Annotated[Action, typer.Argument(help="list them; show one; write a new one; list families; compare a public outage")]
Slug = Annotated[str, typer.Argument(help="show, compare: which one; new: the folder to write")]
Json = Annotated[bool, typer.Option("--json", help="print JSON")]
Mechanisms = Annotated[bool, typer.Option("--mechanisms", help="print the page docs/mechanisms.md: what scenarios can switch")]
Family = Annotated[str, typer.Option("--family", help="new: of which family")]
Hypothesis = Annotated[str, typer.Option("--hypothesis", metavar="NAME", help="compare: only this one; new: OUTAGE/NAME")]
Seeds = Annotated[int, typer.Option("--seeds", min=1, help="compare: how many seeds, from 1 on")]
Jobs = Annotated[int, typer.Option("--jobs", min=0, help="compare: runs at a time; 0: one a core")]
Severity = Annotated[float, typer.Option("--severity", help="new: 1 is the canonical severity")]
Topology = Annotated[str, typer.Option("--topology", help="new: four, three, six or eight replicas")]
Seed = Annotated[int, typer.Option("--seed", help="new: other luck")]
Decoys = Annotated[bool, typer.Option("--decoys", help="new: with changes that have nothing to do with it")]


def run(
    action: Do = Action.list, slug: Slug = "", as_json: Json = False, mechanisms: Mechanisms = False, family: Family = "",
    severity: Severity = 1.0, topology: Topology = "four", seed: Seed = 1, decoys: Decoys = False, hypothesis: Hypothesis = "",
    seeds: Seeds = 1, jobs: Jobs = 0,
) -> None:
    """List the incidents of the library and public outages, show one, write a new one of a family, or play every explanation
    of a public outage and say which reproduce its official marks."""
    if mechanisms:
        print(mechanisms_page(), end="")
    elif action is Action.list:
        _list(as_json)
    elif action is Action.families:
        _families(as_json)
    elif not slug:
        raise BadInput(f"flashover incidents {action.value}: which? give a slug")
    elif action is Action.show:
        _show(slug, as_json)
    elif action is Action.compare:
        _compare(slug, hypothesis, seeds, jobs, as_json)
    elif hypothesis:
        _explained(Path(slug), hypothesis, seed)
    else:
        _new(Path(slug), family, severity, topology, seed, decoys)


def _list(as_json: bool) -> None:
    rows = [_row("library", i.slug, i.scenario) for i in incidents()]
    for name in outages():
        outage = load_outage(name)
        rows.append({**_row("public", name, outage.scenario(outage.hypotheses[0], 1)), "title": outage.title})
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    for row in rows:
        kind = "" if row["kind"] == "library" else "public, "
        print(f"{row['slug']:<24} {row['title']}  ({kind}{row['minutes']:g} min, {row['replicas']} replicas)")


def _row(kind: str, slug: str, scenario: Scenario) -> dict[str, Any]:
    return {"kind": kind, "slug": slug, "title": scenario.title, "minutes": scenario.duration_s / 60,
            "replicas": scenario.cluster.replicas}  # fmt: skip


def _families(as_json: bool) -> None:
    from incidents.families.registry import FAMILIES

    rows = [{"family": one.name, "split": "test" if one.held_out else "train", "story": one.story} for one in FAMILIES.values()]
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    for row in rows:
        print(f"{row['family']:<24} {row['split']:<6} {row['story']}")


def _show(slug: str, as_json: bool) -> None:
    if slug in outages():
        told = load_outage(slug)
        print(json.dumps(as_json_of(told, []), indent=2) if as_json else shown(told))
        return
    path = scenario_path(slug)
    scenario = load_scenario(path)
    truth = load_truth(path.with_name("truth.toml"), scenario)
    if as_json:
        print(json.dumps({"scenario": scenario.model_dump(mode="json", exclude_unset=True),
                          "truth": truth.model_dump(mode="json", exclude_unset=True)}, indent=2))
        return
    story = path.with_name("README.md")
    print(story.read_text() if story.exists() else f"# {scenario.title}\n")
    print(f"## What happens\n\n{scenario.duration_s:g} s from {scenario.start}, {scenario.cluster.replicas} replicas")
    for number, action in enumerate(scenario.actions):
        what = f"{action.key} = {action.value}" if action.do == "set" else action.do
        until = f" until {action.until_s}" if action.until_s is not None else ""
        print(f"{number:>3}. {action.at_s:g} s{until}: {action.target} {what}{f'  ({action.log})' if action.log else ''}")
    if truth.impact is None:
        print("\nUsers notice nothing.")
        return
    low, high = truth.impact.outage_from_s
    print(f"\nOutage for {', '.join(truth.impact.cohorts)}: begins within {low:g} to {high:g} s, over by "
          f"{truth.impact.recovered_by_s[1]:g} s.")


def _compare(slug: str, name: str, seeds: int, jobs: int, as_json: bool) -> None:
    from incidents.outages.compare import compare
    from incidents.parallel import workers

    outage = load_outage(slug)
    chosen = [outage.hypothesis(name)] if name else outage.hypotheses
    with console.progress(f"{len(chosen)} explanations, {seeds} seeds", 1.0) as advance:
        found = compare(outage, chosen, range(1, seeds + 1), jobs=workers(jobs),
                        on_done=lambda done, total: advance(done / total))  # fmt: skip
    print(json.dumps(as_json_of(outage, found), indent=2) if as_json else compared(outage, found))


def _new(folder: Path, name: str, severity: float, topology: str, seed: int, decoys: bool) -> None:
    from incidents.families.registry import drafted, family
    from incidents.families.writing import write_incident

    if not name:
        raise BadInput("flashover incidents new: --family is missing; `flashover incidents families` lists them")
    draft = drafted(name, severity, topology, seed, decoys)
    flags = f"--family {name} --severity {severity:g} --topology {topology} --seed {seed}{' --decoys' if decoys else ''}"
    write_incident(folder, draft, family(name).story, f"Made by `flashover incidents new {flags}`.")
    print(folder / "scenario.toml")


def _explained(folder: Path, name: str, seed: int) -> None:
    """One explanation as a scenario, to replay and investigate. It has no truth: nobody knows it."""
    from incidents.families.writing import write_scenario

    slug, _, one = name.partition("/")
    outage = load_outage(slug)
    hypothesis = outage.hypothesis(one)
    write_scenario(folder, outage.scenario(hypothesis, seed, outage.fixes), " ".join(hypothesis.claim.split()),
                   f"Made by `flashover incidents new --hypothesis {name} --seed {seed}`; {hypothesis.standing}.")  # fmt: skip
    print(folder / "scenario.toml")


def main(argv: list[str]) -> int:
    """Run the verb."""
    return console.run(run, argv, "incidents")
