"""Many cases over several processes, one line of results each; a sweep that was killed goes on where it was.

A line is written whole and flushed to the disk before the case counts as done. A last line without its end, which a kill can
leave, is cut off when the sweep goes on, and its case runs again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from collectors.errors import BadInput
from incidents.benchmark.cases import Case
from incidents.benchmark.outcome import outcome
from incidents.parallel import run_all

Row = dict[str, Any]


def sweep(
    cases: Sequence[Case], results: Path, *, jobs: int = 1, on_done: Callable[[int, int], None] = lambda done, total: None,
    run: Callable[[Case], Row] = outcome,
) -> list[Row]:
    """Run what ``results`` does not hold yet, ``jobs`` at a time; the rows of ``cases`` in their order. Raises BadInput for a
    file that holds something else."""
    done = {row["name"]: row for row in read_results(results)}
    todo = [case for case in cases if case.name not in done]
    if todo:
        results.parent.mkdir(parents=True, exist_ok=True)
        with results.open("ab") as file:
            file.truncate(_whole(results))

            def keep(name: str, row: Row) -> None:
                file.write(json.dumps(row).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
                done[name] = row
                on_done(sum(case.name in done for case in cases), len(cases))

            run_all(run, {case.name: (case,) for case in todo}, jobs, keep)
    return [done[case.name] for case in cases]


def read_results(path: Path) -> list[Row]:
    """The rows of ``path``, a torn last one left out; none when there is no file. Raises BadInput naming file and line."""
    if not path.exists():
        return []
    rows = []
    for number, line in enumerate(path.read_bytes()[: _whole(path)].splitlines(), start=1):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise BadInput(f"{path}: line {number} is not JSON ({error}); take the line out, its case runs again") from error
        if not isinstance(row, dict) or "name" not in row or "methods" not in row:
            raise BadInput(f"{path}: line {number} is no result of a benchmark; give another --results file")
        rows.append(row)
    return rows


def _whole(path: Path) -> int:
    """So many bytes of ``path`` are whole lines."""
    return path.read_bytes().rfind(b"\n") + 1 if path.exists() else 0
