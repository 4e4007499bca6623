"""The command: a table of verbs, nothing else. A verb's module is imported when the verb is used."""

from __future__ import annotations

import difflib
import importlib
import sys
from importlib import metadata

VERBS = {
    "demo": ("incidents.commands.demo", "the first incident end to end: replay, collect, investigate, print"),
    "incidents": ("incidents.commands.incidents", "list, show and make incidents; hold public outages against explanations"),
    "replay": ("incidents.commands.replay", "run one incident on the engine and fill a store"),
    "verify": ("incidents.commands.verify", "prove an incident's labels by taking its parts away, one at a time"),
    "benchmark": ("incidents.commands.benchmark", "how often the analysis is right, beside ten baselines"),
    "counterfactual": ("incidents.commands.counterfactual", "play a replayed store again without what the analysis names"),
    "investigate": ("analysis.commands.investigate", "say what set an outage off, what fed it, what kept it burning"),
    "compare": ("analysis.commands.compare", "two incidents side by side"),
    "history": ("analysis.commands.history", "what weeks of outages have in common: hours, lengths, relapses"),
    "collect": ("collectors.commands.collect", "receive OTLP over HTTP and gRPC into a store"),
    "seal": ("collectors.commands.seal", "write one portable .duckdb with a window's rows"),
    "sql": ("collectors.commands.sql", "read-only SQL over any store"),
    "store": ("collectors.commands.store", "what a store holds, whether it is intact, and keeping it small"),
    "schema": ("collectors.commands.schema", "print the telemetry contract"),
    "doctor": ("collectors.commands.doctor", "what works here, what is missing, and the fix"),
}


def usage() -> str:
    """What ``flashover`` prints: the verbs with their summaries."""
    verbs = "\n".join(f"  {verb:<14} {summary}" for verb, (_, summary) in VERBS.items())
    return (
        "Usage: flashover VERB ...\n\n"
        "Records what an LLM serving fleet does and says what its outages came from.\n\n"
        f"Verbs:\n{verbs}\n\n"
        "flashover VERB --help tells more; start with flashover demo.\n"
        "Exit codes: 0 done, 1 finding, 2 usage, 3 store unreadable, 130 interrupted."
    )


def main(argv: list[str] | None = None) -> int:
    """Run ``flashover`` with ``argv`` (the process's arguments when None) and return the exit code."""
    words = sys.argv[1:] if argv is None else argv
    if not words or words[0] in ("--help", "-h", "help"):
        print(usage())
        return 0
    if words[0] == "--version":
        print(f"flashover {metadata.version('flashover')}")
        return 0
    verb, *rest = words
    if verb not in VERBS:
        near = difflib.get_close_matches(verb, VERBS, n=1)
        hint = f"did you mean {near[0]}?" if near else "flashover --help lists them"
        print(f"flashover: there is no verb {verb!r}; {hint}", file=sys.stderr)
        return 2
    code: int = importlib.import_module(VERBS[verb][0]).main(rest)
    return code


if __name__ == "__main__":
    sys.exit(main())
