"""Many runs over several processes: each result is handed over as it comes, and nothing goes on after an error."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from typing import Any, TypeVar

Key = TypeVar("Key")
Result = TypeVar("Result")


def workers(jobs: int) -> int:
    """How many processes ``--jobs`` means; 0 is one a core."""
    return jobs or len(os.sched_getaffinity(0))


def run_all(
    run: Callable[..., Result], work: Mapping[Key, tuple[Any, ...]], jobs: int, on_result: Callable[[Key, Result], None]
) -> None:
    """Call ``run`` with each tuple of arguments, ``jobs`` at a time, and ``on_result`` with its key as each ends. Raises what
    either raises; what has not begun by then never does."""
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        waiting = {pool.submit(run, *arguments): key for key, arguments in work.items()}
        try:
            for future in as_completed(waiting):
                on_result(waiting[future], future.result())
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
