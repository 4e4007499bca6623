"""The one table of settings: what can be set, by which flag, variable and file key, and which value holds now.

The first of these that is given wins: flag, environment variable, file, default. The file is ``flashover.toml`` in the
current folder, then ``~/.config/flashover/config.toml``. This module alone reads the process environment.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from collectors.errors import BadInput


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting. ``name`` is also its key in the file: ``demo.seed`` is ``seed`` in table ``[demo]``.

    ``parse`` turns text, or the file's value, into the value and raises ValueError; ``accepts`` says what it takes.
    """

    name: str
    flag: str
    default: Any
    parse: Callable[[Any], Any]
    accepts: str
    meaning: str

    @property
    def variable(self) -> str:
        """The environment variable: ``FLASHOVER_DEMO_SEED`` for ``demo.seed``."""
        return "FLASHOVER_" + self.name.upper().replace(".", "_")


@dataclass(frozen=True, slots=True)
class Resolved:
    """The value of a setting and where it comes from: ``flag``, ``$VARIABLE``, a file's path, or ``default``."""

    setting: Setting
    value: Any
    source: str


def _whole(low: int, high: int) -> Callable[[Any], int]:
    def parse(given: Any) -> int:
        if isinstance(given, bool | float):
            raise ValueError
        number = int(given)
        if not low <= number <= high:
            raise ValueError
        return number

    return parse


def _size(low: int, high: int) -> Callable[[Any], int]:
    whole = _whole(low, high)

    def parse(given: Any) -> int:
        found = re.fullmatch(r"(\d+)\s*([KMGT]?)i?B?", given.strip()) if isinstance(given, str) else None
        return whole(int(found[1]) << 10 * " KMGT".index(found[2] or " ") if found else given)

    return parse


def _yes_or_no(given: Any) -> bool:
    if isinstance(given, bool):
        return given
    return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}[str(given).lower()]


def _matching(pattern: str) -> Callable[[Any], str]:
    def parse(given: Any) -> str:
        if not isinstance(given, str) or re.fullmatch(pattern, given) is None:
            raise ValueError
        return given

    return parse


SETTINGS = (
    Setting("store.duckdb_threads", "", 2, _whole(1, 1024), "a whole number from 1 to 1024",
            "threads of each DuckDB that reads a store"),
    Setting("store.duckdb_memory", "", "2GB", _matching(r"\d+(\.\d+)?\s*[KMGT]i?B"), "a size like 512MB or 4GB",
            "memory of each DuckDB that reads a store; a query that needs more fails"),
    Setting("store.keep_hours", "", 0, _whole(0, 10**6), "a whole number of hours, 0 for all",
            "telemetry older than this is removed; 0 keeps all"),
    Setting("store.keep_bytes", "", 0, _size(0, 2**60), "a size like 200GB, 0 for no bound",
            "bytes of tables beyond which the oldest hours are removed; 0 keeps all"),
    Setting("store.vacuum_after_s", "", 3600, _whole(0, 10**8), "a whole number of seconds",
            "replaced files are deleted after this: longer than the longest query"),
    Setting("collect.http", "--http", "127.0.0.1:4318", _matching(r"off|\S+:\d{1,5}"), "HOST:PORT, or off",
            "where OTLP over HTTP, /metrics and /health are served; port 0 takes a free one"),
    Setting("collect.grpc", "--grpc", "127.0.0.1:4317", _matching(r"off|\S+:\d{1,5}"), "HOST:PORT, or off",
            "where OTLP over gRPC is served; port 0 takes a free one"),
    Setting("collect.tls_cert", "--tls-cert", "", _matching(r".*"), "a PEM file", "certificate chain; without one, no TLS"),
    Setting("collect.tls_key", "--tls-key", "", _matching(r".*"), "a PEM file", "key of the certificate"),
    Setting("collect.token_file", "--token-file", "", _matching(r".*"), "a file with one line",
            "bearer token that senders must give; needed for every address but loopback unless clients are trusted"),
    Setting("collect.max_body", "", 16 << 20, _size(1 << 10, 1 << 30), "a size from 1KB to 1GB",
            "bytes of one body as sent; more is refused"),
    Setting("collect.max_plain", "", 64 << 20, _size(1 << 10, 1 << 30), "a size from 1KB to 1GB",
            "bytes of one body unpacked; more is refused"),
    Setting("collect.read_timeout_s", "", 15, _whole(1, 3600), "a whole number of seconds from 1 to 3600",
            "a client that has not sent its whole request by then is cut off"),
    Setting("collect.max_connections", "", 1000, _whole(1, 10**6), "a whole number from 1", "HTTP connections at one time"),
    Setting("collect.queue_bytes", "", 64 << 20, _size(1 << 20, 1 << 40), "a size from 1MB, like 64MB",
            "bytes of bodies that wait for the disk; beyond it senders are told to come back"),
    Setting("collect.journal_bytes", "", 4 << 30, _size(1 << 20, 1 << 50), "a size from 1MB, like 4GB",
            "bytes of journal that wait for decoding; beyond it senders are told to come back"),
    Setting("collect.disk_reserve", "", 256 << 20, _size(0, 1 << 50), "a size like 256MB",
            "free bytes of the disk that the journal leaves alone"),
    Setting("collect.stuck_after_s", "", 60, _whole(1, 10**6), "a whole number of seconds from 1",
            "/health fails when decoding made no progress for so long"),
    Setting("collect.attributes", "", 256, _whole(1, 10**6), "a whole number from 1",
            "attributes of one record; the rest is left out and counted"),
    Setting("collect.value_chars", "", 16_384, _whole(16, 10**9), "a whole number from 16",
            "characters of one attribute, name or message; the rest is cut and counted"),
    Setting("collect.body_chars", "", 65_536, _whole(16, 10**9), "a whole number from 16",
            "characters of one log body; the rest is cut and counted"),
    Setting("collect.series", "", 200_000, _whole(1, 10**9), "a whole number from 1",
            "metric series of a store; samples of others are counted in one overflow series"),
    Setting("collect.keep_text", "--keep-text", False, _yes_or_no, "true or false",
            "whether prompt and completion text is kept"),
    Setting("demo.out", "--out", "flashover-demo", _matching(r".+"), "a folder", "folder that the demo fills"),
    Setting("demo.seed", "--seed", 1, _whole(0, 2**31 - 1), "a whole number from 0 to 2147483647",
            "seed of the demo's run"),
    Setting("demo.runner", "--runner", "torch", _matching(r"torch|recorded"), "torch or recorded",
            "torch computes every token, recorded samples expert loads and needs no torch"),
)  # fmt: skip


class Settings:
    """Resolves settings against an environment and files. Raises BadInput, naming source, value and fix."""

    def __init__(self, environ: Mapping[str, str], files: Sequence[Path]) -> None:
        self._environ = environ
        self._files = [(path, _read(path)) for path in files if _is_there(path)]

    def resolve(self, name: str, flag: Any = None) -> Resolved:
        """Setting ``name`` (KeyError when the table has none); ``flag`` is the flag's value, None when not given."""
        setting = _BY_NAME[name]
        if flag is not None:
            return Resolved(setting, _parsed(setting, flag, setting.flag or "flag"), "flag")
        text = self._environ.get(setting.variable)
        if text is not None:
            source = f"${setting.variable}"
            return Resolved(setting, _parsed(setting, text, source), source)
        for path, values in self._files:
            if name in values:
                return Resolved(setting, _parsed(setting, values[name], f"{path}, {name}"), str(path))
        return Resolved(setting, setting.default, "default")

    def resolve_all(self) -> list[Resolved]:
        """Every setting as it holds without flags, in the table's order."""
        return [self.resolve(setting.name) for setting in SETTINGS]

    def value(self, name: str, flag: Any = None) -> Any:
        """The value alone of ``resolve``."""
        return self.resolve(name, flag).value


def current() -> Settings:
    """The settings of this process: its environment and files, as they are now."""
    return Settings(os.environ, (Path("flashover.toml"), Path.home() / ".config/flashover/config.toml"))


def variables() -> Mapping[str, str]:
    """The environment of this process, for protocols that come through it, such as a service manager's."""
    return os.environ


def value(name: str, flag: Any = None) -> Any:
    """Setting ``name`` as it holds in this process; ``flag`` is the flag's value, None when the user gave none."""
    return current().value(name, flag)


def markdown() -> str:
    """The table of settings as the README shows it."""
    lines = ["| setting (file key) | flag | variable | default | meaning |", "|---|---|---|---|---|"]
    for s in SETTINGS:
        flag = f"`{s.flag}`" if s.flag else ""
        lines.append(f"| `{s.name}` | {flag} | `{s.variable}` | `{s.default}` | {s.meaning} |")
    return "\n".join(lines)


_BY_NAME = {setting.name: setting for setting in SETTINGS}


def _parsed(setting: Setting, given: Any, source: str) -> Any:
    try:
        return setting.parse(given)
    except (ValueError, TypeError, KeyError):
        raise BadInput(f"{source}: {given!r} is no value for {setting.name}; it takes {setting.accepts}") from None


def _is_there(path: Path) -> bool:
    try:
        return path.is_file()
    except PermissionError:  # in a folder of others, such as the home that a service does not have
        return False


def _read(path: Path) -> dict[str, Any]:
    """The file's values by dotted setting name; a key that is no setting is refused with the nearest that is."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: not TOML: {error}") from None
    except OSError as error:
        raise BadInput(f"{path}: cannot be read: {error.strerror}; let this user read it, or take it away") from None
    values: dict[str, Any] = {}
    for table, entries in tables.items():
        keys = entries.items() if isinstance(entries, dict) else [("", entries)]
        values |= {f"{table}.{key}" if key else table: given for key, given in keys}
    for name in values:
        if name not in _BY_NAME:
            near = difflib.get_close_matches(name, _BY_NAME, n=1, cutoff=0.0)
            raise BadInput(f"{path}: {name} is no setting; the nearest is {near[0]}")
    return values
