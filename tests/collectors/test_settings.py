"""Settings: which source wins, and what is said about a value that cannot be used."""

from __future__ import annotations

from pathlib import Path

import pytest

from collectors import settings
from collectors.errors import BadInput
from collectors.live_views import open_duckdb
from collectors.settings import SETTINGS, Settings

ROOT = Path(settings.__file__).parents[1]


def a_file(folder: Path, text: str, name: str = "flashover.toml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_flag_then_environment_then_files_then_default(tmp_path: Path) -> None:
    near = a_file(tmp_path, "[demo]\nseed = 4\n")
    far = a_file(tmp_path, "[demo]\nseed = 5\nrunner = 'recorded'\n", "config.toml")
    both = Settings({"FLASHOVER_DEMO_SEED": "3"}, [near, far])
    assert both.resolve("demo.seed", flag=2).value == 2
    assert both.resolve("demo.seed", flag=2).source == "flag"
    assert (both.resolve("demo.seed").value, both.resolve("demo.seed").source) == (3, "$FLASHOVER_DEMO_SEED")
    files = Settings({}, [near, far])
    assert (files.resolve("demo.seed").value, files.resolve("demo.seed").source) == (4, str(near))
    assert (files.resolve("demo.runner").value, files.resolve("demo.runner").source) == ("recorded", str(far))
    bare = Settings({}, [tmp_path / "absent.toml"])
    assert (bare.resolve("demo.seed").value, bare.resolve("demo.seed").source) == (1, "default")


def test_a_flag_of_zero_is_a_flag() -> None:
    assert Settings({}, []).resolve("demo.seed", flag=0).source == "flag"


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("demo.seed", "-1"),
        ("demo.seed", "1.5"),
        ("demo.seed", ""),
        ("demo.runner", "gpu"),
        ("demo.out", ""),
        ("store.duckdb_threads", "0"),
        ("store.duckdb_memory", "lots"),
        ("store.duckdb_memory", "4"),
    ],
)
def test_a_bad_variable_is_named_with_its_value_and_what_it_takes(name: str, bad: str) -> None:
    variable = "FLASHOVER_" + name.upper().replace(".", "_")
    accepts = next(s.accepts for s in SETTINGS if s.name == name)
    with pytest.raises(BadInput) as caught:
        Settings({variable: bad}, []).resolve(name)
    said = str(caught.value)
    assert f"${variable}" in said
    assert repr(bad) in said
    assert accepts in said


@pytest.mark.parametrize("bad", ["true", "1.0", "[1]", "'many'"])
def test_a_bad_value_in_a_file_is_named_with_file_and_key(tmp_path: Path, bad: str) -> None:
    path = a_file(tmp_path, f"[demo]\nseed = {bad}\n")
    with pytest.raises(BadInput) as caught:
        Settings({}, [path]).resolve("demo.seed")
    assert f"{path}, demo.seed" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[demo]\nsed = 1\n", "demo.sed is no setting; the nearest is demo.seed"),
        ("seed = 1\n", "seed is no setting; the nearest is demo.seed"),
        ("[demo\n", "not TOML"),
    ],
)
def test_a_file_that_cannot_be_used_says_where(tmp_path: Path, text: str, said: str) -> None:
    path = a_file(tmp_path, text)
    with pytest.raises(BadInput) as caught:
        Settings({}, [path])
    assert str(path) in str(caught.value)
    assert said in str(caught.value)


def test_a_file_that_is_no_text_says_so(tmp_path: Path) -> None:
    path = tmp_path / "flashover.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadInput, match="not TOML"):
        Settings({}, [path])


def test_this_process_reads_its_environment_and_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("FLASHOVER_DEMO_SEED", raising=False)
    (tmp_path / "home/.config/flashover").mkdir(parents=True)
    a_file(tmp_path / "home/.config/flashover", "[demo]\nseed = 8\nout = 'far'\n", "config.toml")
    a_file(tmp_path, "[demo]\nseed = 7\n")
    assert settings.value("demo.seed") == 7
    assert settings.value("demo.out") == "far"
    monkeypatch.setenv("FLASHOVER_DEMO_SEED", "9")
    assert settings.value("demo.seed") == 9
    assert settings.value("demo.seed", flag=10) == 10


def test_an_unknown_setting_is_our_mistake() -> None:
    with pytest.raises(KeyError):
        Settings({}, []).resolve("demo.sed")


def test_every_default_is_a_value_its_setting_takes() -> None:
    for setting in SETTINGS:
        assert setting.parse(setting.default) == setting.default
        assert setting.parse(str(setting.default)) == setting.default


def test_every_setting_is_read_by_some_code() -> None:
    sources = "\n".join(
        path.read_text()
        for room in ("collectors", "instrumented_engine", "analysis", "incidents", "dashboards")
        for path in (ROOT / room).rglob("*.py")
        if path.name != "settings.py"
    )
    unread = [setting.name for setting in SETTINGS if f'"{setting.name}"' not in sources]
    assert unread == []


def test_duckdb_gets_the_threads_and_the_memory_that_are_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLASHOVER_STORE_DUCKDB_THREADS", "3")
    monkeypatch.setenv("FLASHOVER_STORE_DUCKDB_MEMORY", "300MiB")
    held = open_duckdb().execute("SELECT current_setting('threads'), current_setting('memory_limit')").fetchone()
    assert held == (3, "300.0 MiB")
