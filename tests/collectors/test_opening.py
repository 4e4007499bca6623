"""A store that this user cannot write, or read, is refused before anything is taken, by the name of what is in the way."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from collectors.errors import BadInput, FlashoverError, StoreUnreadable
from collectors.intake import Intake
from collectors.opening import own
from collectors.receive.receiver_options import ReceiverOptions
from collectors.settings import Settings

NOBODY = 65534


@contextmanager
def as_nobody() -> Iterator[None]:
    """Root may do everything: become somebody else for a while."""
    mine = os.geteuid()
    if mine == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if mine == 0:
            os.seteuid(0)


@pytest.fixture
def store() -> Iterator[Path]:
    """An empty store that belongs to whom ``as_nobody`` is."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store"
        Intake.open(path).close()
        path.parent.chmod(0o755)
        if os.geteuid() == 0:
            for one in (path, *path.rglob("*")):
                os.chown(one, NOBODY, NOBODY)
        yield path
        for one in (path, *path.iterdir()):
            one.chmod(0o700)


@pytest.mark.parametrize(("which", "mode", "said", "kind"), [
    (".", 0o500, "{}: this user cannot write to it", BadInput),
    ("journal", 0o500, "{}/journal: this user cannot write to it", BadInput),
    ("journal", 0o300, "{}/journal: this user cannot write to it", BadInput),
    ("tables", 0o500, "{}/tables: this user cannot write to it", BadInput),
    ("owner.lock", 0o400, "{}/owner.lock: cannot be written: Permission denied; ", BadInput),
    ("store.json", 0o000, "{}/store.json: cannot be read (Permission denied); let this user read it", StoreUnreadable),
    ("snapshot.json", 0o000, "{}/snapshot.json: cannot be read (Permission denied); let this user", StoreUnreadable)])
def test_a_store_that_cannot_be_used_is_named(store: Path, which: str, mode: int, said: str,
                                              kind: type[FlashoverError]) -> None:
    (store / which).chmod(mode)
    with as_nobody(), pytest.raises(kind) as refused:
        Intake.open(store)
    assert str(refused.value).startswith(said.format(store))
    (store / which).chmod(0o700)
    with as_nobody():
        own(store).release()


def test_a_folder_that_cannot_be_made_is_named_with_the_fix(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match="file/store: cannot be made a store: Not a directory; give a folder that"):
        own(tmp_path / "file" / "store")


@pytest.mark.parametrize("given", [lambda path: {"tls_cert": path, "tls_key": path}, lambda path: {"token_file": path}])
def test_files_that_cannot_be_read_are_named(store: Path, given: Callable[[str], dict[str, str]]) -> None:
    secret = store / "secret"
    secret.write_text("secret")
    secret.chmod(0o000)
    options = given(str(secret))
    with as_nobody(), pytest.raises(BadInput, match=rf"collect\.{next(iter(options))}: {secret}: "):
        ReceiverOptions.from_settings(**options)


def test_settings_in_a_home_that_cannot_be_reached_are_none_and_others_are_named(store: Path) -> None:
    home = store / "journal"
    (home / "flashover.toml").write_text("[collect]\nseries = 5\n")
    with as_nobody():
        assert Settings({}, [home / "flashover.toml"]).value("collect.series") == 5
    (home / "flashover.toml").chmod(0o000)
    with as_nobody(), pytest.raises(BadInput, match=r"flashover\.toml: cannot be read: Permission denied; let this user"):
        Settings({}, [home / "flashover.toml"])
    home.chmod(0o000)
    with as_nobody():
        assert Settings({}, [home / "flashover.toml"]).value("collect.series") == 200_000
