"""Which frames workers died of, so that no body can stop a collector for good.

After three deaths in the decoding of one round the next workers take its frames in smaller rounds, smaller with each death. A
frame that three of them died of while they decoded it alone is rejected unread. A death while something else is done makes
no frame suspect.
"""

from __future__ import annotations

from collectors.service.worker_pipe import Report

PATIENCE = 3
"""Deaths in one round before it is taken apart, and of one frame before it is skipped."""
SMALLER = 16
"""A round is taken apart into so many."""


class Suspects:
    """``skip``: the frame to reject unread; 0 for none."""

    def __init__(self) -> None:
        self.skip = 0
        self._first, self._deaths = 0, 0
        self._frames, self._until = 0, 0

    def died(self, report: Report) -> None:
        """A worker died, and this was its last report."""
        first, last = report.seq + 1, report.trying
        if last < first:
            return
        self._deaths = self._deaths + 1 if first == self._first else 1
        self._first = first
        apart = last <= self._until
        if first == last and self._deaths >= PATIENCE:
            self.skip = first
        elif apart or self._deaths >= PATIENCE:
            self._frames = max(1, (last - first + 1) // SMALLER)
            self._until = self._until if apart else last
            self._deaths = self._deaths if first == last else 0

    def options(self, decoded_seq: int) -> list[str]:
        """What the next worker is told, which goes on after ``decoded_seq``."""
        told = ["--skip", str(self.skip)] if self.skip > decoded_seq else []
        return told + (["--small-rounds", str(self._frames), "--until", str(self._until)] if self._until > decoded_seq else [])
