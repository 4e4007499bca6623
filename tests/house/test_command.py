"""The command: its table of verbs, what it imports, and how it ends."""

from __future__ import annotations

import errno
import importlib
import inspect
import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Annotated

import pytest
import typer

import flashover
from collectors import console
from collectors.errors import BadInput, StoreUnreadable

HEAVY = {"torch", "streamlit"}
COMMAND = Path(sys.executable).parent / "flashover"
LOADED = "import sys, flashover; code = flashover.main(sys.argv[1:]); print('MODULES', *sys.modules); sys.exit(code)"


def in_fresh_python(*argv: str) -> tuple[int, str, set[str]]:
    """Exit code, help text and top-level modules of ``flashover ARGV`` in an interpreter of its own."""
    done = subprocess.run([sys.executable, "-c", LOADED, *argv], capture_output=True, text=True, check=False)
    text, _, modules = done.stdout.rpartition("MODULES")
    return done.returncode, text + done.stderr, {name.split(".")[0] for name in modules.split()}


@pytest.mark.parametrize("verb", flashover.VERBS)
def test_every_verb_explains_itself_and_loads_neither_torch_nor_streamlit(verb: str) -> None:
    code, text, modules = in_fresh_python(verb, "--help")
    assert code == 0, text
    assert f"flashover {verb}" in text
    assert "collectors" in modules
    assert not HEAVY & modules


def test_help_loads_none_of_the_rooms() -> None:
    code, text, modules = in_fresh_python("--help")
    assert code == 0
    assert all(verb in text and summary in text for verb, (_, summary) in flashover.VERBS.items())
    assert not modules & (HEAVY | {"collectors", "analysis", "incidents", "instrumented_engine", "numpy", "typer"})


@pytest.mark.parametrize("verb", flashover.VERBS)
def test_a_verb_lives_in_a_file_of_its_name(verb: str) -> None:
    name, _ = flashover.VERBS[verb]
    room, folder, file = name.split(".")
    assert (folder, file) == ("commands", verb)
    assert room in {"collectors", "analysis", "incidents", "instrumented_engine", "dashboards"}
    assert list(inspect.signature(importlib.import_module(name).main).parameters) == ["argv"]


def test_every_file_of_verbs_is_in_the_table() -> None:
    root = Path(flashover.__file__).parent
    files = {path.stem for path in root.glob("*/commands/*.py")} - {"__init__"}
    assert files == set(flashover.VERBS)


def test_no_words_and_help_print_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    shown = []
    for argv in ([], ["--help"], ["-h"], ["help"]):
        assert flashover.main(argv) == 0
        shown.append(capsys.readouterr().out)
    assert len(set(shown)) == 1


def test_version_is_the_installed_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert flashover.main(["--version"]) == 0
    assert capsys.readouterr().out == f"flashover {metadata.version('flashover')}\n"


@pytest.mark.parametrize(("word", "hint"), [("investigat", "did you mean investigate?"), ("zzz", "flashover --help")])
def test_an_unknown_verb_is_a_usage_error_with_a_hint(word: str, hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert flashover.main([word]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert word in err
    assert hint in err
    assert err.count("\n") == 1


def test_an_unknown_option_is_a_usage_error() -> None:
    done = subprocess.run([COMMAND, "doctor", "--jsno"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "--json" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("verb", ["investigate", "sql", "seal"])
def test_a_path_that_is_no_store_ends_with_3_and_one_line(verb: str, tmp_path: Path) -> None:
    rest = {"investigate": [], "sql": ["SELECT 1"], "seal": [str(tmp_path / "out.duckdb")]}[verb]
    nowhere = tmp_path / "nowhere"
    done = subprocess.run([COMMAND, verb, str(nowhere), *rest], capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
    assert done.stdout == ""
    assert str(nowhere) in done.stderr
    assert done.stderr.count("\n") == 1


ENDS = [
    (BadInput("a\nb"), 2, "a b"),
    (StoreUnreadable("s/: not a store"), 3, "s/: not a store"),
    (KeyboardInterrupt(), 130, "interrupted"),
    (OSError(errno.ENOSPC, "full", "s/journal"), 3, "No space left on device: s/journal"),
    (FileNotFoundError(errno.ENOENT, "gone", "x.toml"), 2, "No such file or directory: x.toml"),
]


@pytest.mark.parametrize(("error", "code", "line"), ENDS, ids=[type(e[0]).__name__ for e in ENDS])
def test_what_a_user_can_cause_ends_in_one_line(
    error: BaseException, code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def verb() -> None:
        raise error

    assert console.run(verb, [], "verb") == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"flashover verb: {line}\n"


@pytest.mark.parametrize("defect", [ZeroDivisionError("ours"), OSError(errno.EBADF, "ours")])
def test_a_defect_of_ours_is_not_hidden(defect: Exception) -> None:
    def verb() -> None:
        raise defect

    with pytest.raises(type(defect), match="ours"):
        console.run(verb, [], "verb")


def test_arguments_and_exit_code_pass_through() -> None:
    seen: list[object] = []

    def verb(name: str, count: Annotated[int, typer.Option("--count")] = 2) -> int:
        seen.extend((name, count))
        return console.FINDING

    assert console.run(verb, ["x", "--count", "5"], "verb") == 1
    assert seen == ["x", 5]
    assert console.run(verb, ["x", "--count", "five"], "verb") == 2


def test_a_reader_that_leaves_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run([COMMAND, "doctor"], stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


def test_progress_is_silent_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with console.progress("label", 10) as advance:
        advance(5)
    assert capsys.readouterr() == ("", "")


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert console.columns([("a", "b"), ("long", "c")], indent="  ") == "  a     b\n  long  c"
    assert console.columns([("a", ""), ("b", "c")]) == "a\nb  c"
    assert console.columns([]) == ""


def test_doctor_as_json() -> None:
    done = subprocess.run([COMMAND, "doctor", "--json"], capture_output=True, text=True, check=True)
    report = json.loads(done.stdout)
    assert done.stderr == ""
    assert report["schema_version"] == 1
    assert report["packages"]["duckdb"]["version"] == metadata.version("duckdb")
    assert report["settings"]["demo.seed"]["source"] in ("default", "$FLASHOVER_DEMO_SEED")
