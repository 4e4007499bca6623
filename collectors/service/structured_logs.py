"""What a running collector says: one JSON object a line, or plain text when a person watches.

An event is a name with fields that its caller chose: counts, addresses, sentences of ours. Bodies and what is in them must
never get here. So an error that is not Flashover's own is told by its type and place, without its message; a record of a
library by its place, and its template without arguments where the library is known. An event that repeats is written
once in a while, with a count of those that were not.
"""

from __future__ import annotations

import json
import logging
import math
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from collectors.clock import Clock, iso
from collectors.errors import FlashoverError

Field = str | int | float | bool | BaseException | None
_EVENTS = "flashover.events"
_KNOWN = ("asyncio", "grpc", "uvicorn")
_LONGEST = 500


@dataclass(slots=True)
class _Repeat:
    """When an event was last written, and how many were held back since."""

    written_s: float
    level: int
    held: int = 0


class EventLog(logging.Handler):
    """Writes events, and what libraries log from ``WARNING`` on, to ``stream``, while it is used as a context.

    ``repeat_s``: the same event is written at most once in so many seconds of ``elapsed_s``; how many were held back is
    said after that, and at the end. ``unwritten`` counts lines that the stream did not take.
    """

    def __init__(self, stream: TextIO, clock: Clock, *, repeat_s: float = 10.0,
                 elapsed_s: Callable[[], float] = time.monotonic) -> None:
        super().__init__(logging.INFO)
        self.unwritten = 0
        self._stream = stream
        self._clock = clock
        self._repeat_s = repeat_s
        self._elapsed_s = elapsed_s
        self._line = _as_text if stream.isatty() else _as_json
        self._repeats: dict[str, _Repeat] = {}
        self._own = logging.getLogger(_EVENTS)

    def info(self, event: str, **fields: Field) -> None:
        """Something went as it should."""
        self._own.info(event, extra={"fields": fields})

    def warning(self, event: str, **fields: Field) -> None:
        """Something to look at; nothing is lost."""
        self._own.warning(event, extra={"fields": fields})

    def error(self, event: str, **fields: Field) -> None:
        """Something to mend."""
        self._own.error(event, extra={"fields": fields})

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record unless the same event was written just now, and counts of held ones that are due."""
        now = self._elapsed_s()
        event, fields, key = _understood(record)
        repeat = self._repeats.get(key)
        if repeat is not None and now - repeat.written_s < self._repeat_s:
            repeat.held += 1
        else:
            if repeat is not None and repeat.held:
                fields = {**fields, "suppressed": repeat.held}
            self._repeats[key] = _Repeat(now, record.levelno)
            self._write(record.levelno, event, fields)
        self._write_held(now - self._repeat_s)

    def __enter__(self) -> EventLog:
        self._own.setLevel(logging.INFO)
        logging.getLogger().addHandler(self)
        return self

    def __exit__(self, *error: object) -> None:
        logging.getLogger().removeHandler(self)
        self._write_held(math.inf)
        self.close()

    def _write_held(self, before_s: float) -> None:
        """Say how many were held back of each event last written up to ``before_s``, and forget these events."""
        for key, repeat in [(k, r) for k, r in self._repeats.items() if r.written_s <= before_s]:
            del self._repeats[key]
            if repeat.held:
                self._write(repeat.level, key, {"suppressed": repeat.held})

    def _write(self, level: int, event: str, fields: Mapping[str, Field]) -> None:
        shown = {name: _shown(value) for name, value in fields.items()}
        line = self._line(iso(self._clock.now_ns()), logging.getLevelName(level).lower(), event, shown)
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except (OSError, ValueError):  # gone, or closed: telemetry goes on without a reader of this
            self.unwritten += 1


def _understood(record: logging.LogRecord) -> tuple[str, Mapping[str, Field], str]:
    """Event, fields, and what makes two records the same."""
    if record.name == _EVENTS:
        return str(record.msg), getattr(record, "fields", {}), str(record.msg)
    fields: dict[str, Field] = {"logger": record.name, "place": f"{record.filename}:{record.lineno}"}
    if record.name.partition(".")[0] in _KNOWN:
        fields["text"] = str(record.msg).partition("\n")[0].partition("(")[0]
    if record.exc_info and record.exc_info[1] is not None:
        fields["error"] = record.exc_info[1]
    return "library", fields, f"library {record.name} {fields['place']}"


def _shown(value: Field) -> str | int | float | bool | None:
    if isinstance(value, FlashoverError):
        value = str(value)
    elif isinstance(value, BaseException):
        frames = traceback.extract_tb(value.__traceback__)
        place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
        value = type(value).__name__ + place
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value[:_LONGEST] if isinstance(value, str) else value


def _as_json(at: str, level: str, event: str, fields: Mapping[str, object]) -> str:
    return json.dumps({"ts": at, "level": level, "event": event, "fields": fields}, default=lambda value: type(value).__name__)


def _as_text(at: str, level: str, event: str, fields: Mapping[str, object]) -> str:
    shown = [f"{name}={json.dumps(value, default=lambda given: type(given).__name__)}" for name, value in fields.items()]
    return " ".join([at, f"{level:<7}", event, *shown])
