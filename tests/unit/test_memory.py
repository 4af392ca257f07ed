"""Where the test kit keeps its throwaway Postgres."""

import fcntl
from pathlib import Path

import pytest

from uow.testing import memory
from uow.testing.memory import directory_in_memory


@pytest.fixture(autouse=True)
def _room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "ENOUGH_BYTES", 0)


def test_it_is_there_for_the_block_alone(tmp_path: Path) -> None:
    with directory_in_memory(tmp_path) as path:
        assert path is not None
        assert path.is_dir()
    assert list(tmp_path.iterdir()) == []


def test_what_was_left_behind_is_removed_and_what_somebody_uses_is_not(tmp_path: Path) -> None:
    for name in ("dead", "alive"):
        (tmp_path / f"uow-testing-{name}").mkdir()
        (tmp_path / f"uow-testing-{name}" / "lock").touch()
    with (tmp_path / "uow-testing-alive" / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with directory_in_memory(tmp_path):
            assert not (tmp_path / "uow-testing-dead").exists()
            assert (tmp_path / "uow-testing-alive").exists()


def test_without_room_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with directory_in_memory(tmp_path / "nowhere") as path:
        assert path is None
    monkeypatch.setattr(memory, "ENOUGH_BYTES", 1 << 62)
    with directory_in_memory(tmp_path) as path:
        assert path is None
