"""How every verb meets the terminal: arguments in, exit code out, data on stdout, talk on stderr.

A verb is one typer-annotated function. ``run`` parses the arguments, calls it, and turns whatever a user can cause
into one line and an exit code. Only a defect of Flashover itself ends in a traceback.

Exit codes: 0 done, 1 finding (``store check`` found damage), 2 usage or bad input, 3 store unreadable, 130 interrupted.
"""

from __future__ import annotations

import errno
import functools
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from collectors.clock import parse_iso
from collectors.errors import BadInput, FlashoverError

DONE, FINDING, USAGE, UNREADABLE, INTERRUPTED = 0, 1, 2, 3, 130


def run(function: Callable[..., int | None], argv: list[str], name: str) -> int:
    """Parse ``argv`` for the typer-annotated ``function`` of verb ``name``, call it, return the exit code.

    The function returns its exit code, or None for 0. ``name`` is what help and errors print after ``flashover``.
    """
    import typer  # here, so that printing one line to stderr does not pay for it

    @functools.wraps(function)
    def guarded(*args: object, **kwargs: object) -> None:
        raise typer.Exit(_guard(lambda: function(*args, **kwargs), name))

    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command(name=name)(guarded)

    def parse() -> int:
        try:
            app(args=argv, prog_name=f"flashover {name}")
        except SystemExit as end:
            return end.code if isinstance(end.code, int) else USAGE
        return DONE

    return _guard(parse, name)


def say(text: str) -> None:
    """Print talk: a line on stderr, which leaves stdout to data."""
    print(text, file=sys.stderr, flush=True)


def instant(option: str, text: str | None) -> int | None:
    """The UTC nanoseconds that ``text``, given for ``option``, means; None when it was not given. Raises BadInput."""
    try:
        return None if text is None else parse_iso(text)
    except ValueError as error:
        raise BadInput(f"{option}: {error}") from error


@contextmanager
def progress(label: str, total: float) -> Iterator[Callable[[float], None]]:
    """Yield ``advance_to(done)``, which moves a bar from 0 to ``total``. Silent unless stderr is a terminal."""
    if not sys.stderr.isatty():
        yield lambda done: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(label, total=total)
        yield lambda done: bars.update(task, completed=done)


def columns(rows: Sequence[tuple[str, ...]], indent: str = "", gap: str = "  ") -> str:
    """``rows`` of equally many cells as text, every column as wide as its widest cell, the last one ragged."""
    if not rows:
        return ""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]) - 1)]
    lines = []
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=True)]
        lines.append((indent + gap.join([*cells, row[-1]])).rstrip())
    return "\n".join(lines)


def _guard(call: Callable[[], int | None], name: str) -> int:
    """The exit code of ``call``, with everything a user can cause reported on one line."""
    try:
        code = call()
        sys.stdout.flush()
        return DONE if code is None else code
    except FlashoverError as error:
        say(f"flashover {name}: {_one_line(error)}")
        return error.exit_code
    except KeyboardInterrupt:
        say(f"flashover {name}: interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        _discard_stdout()
        return DONE
    except OSError as error:
        if error.errno not in _USERS:
            raise
        where = f": {error.filename}" if error.filename else ""
        say(f"flashover {name}: {os.strerror(error.errno)}{where}")
        return UNREADABLE if error.errno in _DISK else USAGE


_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO}
_USERS = _DISK | {errno.ENOENT, errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG}
"""What the operating system says about a path or a disk that the user named."""


def _one_line(error: FlashoverError) -> str:
    return " ".join(str(error).split())


def _discard_stdout() -> None:
    """The reader of our output has left (``| head``): send the rest nowhere, so that nothing complains at exit."""
    try:
        descriptor = sys.stdout.fileno()
    except (OSError, ValueError):
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)
