"""``flashover store check|recover|stats|compact|vacuum STORE``: what a store holds and lacks, and keeping it small."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from collectors import console, settings
from collectors.check_store import Finding, check_store
from collectors.errors import StoreUnreadable
from collectors.intake import recover
from collectors.store import Store
from collectors.store_care import compact_store, vacuum_store
from collectors.store_stats import store_stats
from collectors.store_warnings import BEING_WRITTEN


class Action(StrEnum):
    """What to do with the store."""

    check = "check"
    recover = "recover"
    stats = "stats"
    compact = "compact"
    vacuum = "vacuum"


def main(argv: list[str]) -> int:
    """Run the verb; returns the exit code."""
    return console.run(keep_store, argv, "store")


def keep_store(
    action: Annotated[Action, typer.Argument(
        help="check: every file against its checksum and the log; recover: first decode what the journal holds, then check; "
             "stats: rows, bytes, files; compact: join small files; vacuum: delete files that nobody reads any more")],
    store: Annotated[str, typer.Argument(help="telemetry folder; check takes a sealed .duckdb too")],
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> int:
    """Check a store, say what it holds, or keep it small. Exit code 1 when a check finds damage or has warnings."""
    if action is Action.stats:
        return _stats(store, as_json)
    if action is Action.compact:
        return _compact(store, as_json)
    if action is Action.vacuum:
        return _vacuum(store, as_json)
    if action is Action.recover:
        recover(store)
    return _check(store, as_json)


def _check(store: str, as_json: bool) -> int:
    findings = check_store(Path(store)) if Path(store).is_dir() else []
    rows, warnings = _rows(store, findings)
    if as_json:
        print(json.dumps({"rows": rows, "findings": [finding.to_json() for finding in findings], "warnings": warnings}))
    else:
        print(console.columns([(name, str(count)) for name, count in rows.items()]))
        for finding in findings:
            console.say(f"flashover store: damage: {finding}")
        for warning in warnings:
            console.say(f"flashover store: warning: {warning}")
    grave = [warning for warning in warnings if not warning.startswith(BEING_WRITTEN)]
    return console.FINDING if findings or grave else console.DONE


def _rows(store: str, findings: list[Finding]) -> tuple[dict[str, int], list[str]]:
    """Rows of each table and the reader's warnings; nothing of a store that damage makes unreadable."""
    try:
        with Store.open(store) as source:
            counted = "count(*)" if Path(store).is_dir() else "count(*), bit_xor(hash(t))"  # which reads a sealed file whole
            return {name: int(source.query(f"SELECT {counted} FROM {name} t").column(0)[0].as_py())
                    for name in source.tables()}, source.warnings
    except StoreUnreadable:
        if findings:
            return {}, []
        raise


def _stats(store: str, as_json: bool) -> int:
    found = store_stats(Path(store))
    if as_json:
        print(json.dumps(found.to_json()))
        return console.DONE
    print(console.columns(found.lines()))
    for sentence in found.sentences():
        print(sentence)
    return console.DONE


def _compact(store: str, as_json: bool) -> int:
    done = compact_store(Path(store), _talk)
    print(json.dumps(done.to_json()) if as_json else
          f"{done.files_before} files of {done.bytes_before} bytes before, {done.files_after} of {done.bytes_after} after; "
          f"replaced files lie on disk until `flashover store vacuum {store}`")
    return console.DONE


def _vacuum(store: str, as_json: bool) -> int:
    after_s = settings.value("store.vacuum_after_s")
    done = vacuum_store(Path(store), after_s, on_piece=_talk)
    print(json.dumps(done.to_json()) if as_json else f"deleted {done.files} files, {done.bytes_won} bytes won")
    if done.wait_s:
        console.say(f"flashover store: readers may still use replaced files; run it again in {done.wait_s} s, or with "
                    "FLASHOVER_STORE_VACUUM_AFTER_S=0 when nobody reads")
    return console.DONE


def _talk(said: str) -> None:
    if sys.stderr.isatty():
        console.say(f"flashover store: {said}")
