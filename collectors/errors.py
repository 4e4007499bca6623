"""Errors that a user can mend, and the exit code each one ends the command with.

Exit codes: 0 done, 1 finding (``store check`` found damage), 2 usage or bad input, 3 store unreadable, 130 interrupted.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection


def nearest(name: str, known: Collection[str]) -> str:
    """The end of a message about an unknown ``name``: the one that was perhaps meant, or all there are."""
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(known)}"


class FlashoverError(Exception):
    """A message for the user: names the file, the key, the bad value and the fix. Printed without a traceback."""

    exit_code = 2


class BadInput(FlashoverError):
    """A scenario, a workload, a setting or an argument that cannot be used."""


class StoreUnreadable(FlashoverError):
    """The path is no store, a half-written one, or one of a newer schema."""

    exit_code = 3


class StoreBusy(FlashoverError):
    """Another process owns the store's journal."""

    exit_code = 3


class StorageFull(FlashoverError):
    """The disk took no more bytes; what was acknowledged before is intact."""

    exit_code = 3
