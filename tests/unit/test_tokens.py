"""The file of tokens: what it may say, how it is changed, and what holds while it is broken."""

import hashlib
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import SecretStr

from uow.api import token_file
from uow.api.roles import Caller, Role
from uow.api.tokens import KnownTokens
from uow.errors import SettingsError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tokens"


def known(path: Path | None, *of_settings: str) -> KnownTokens:
    return KnownTokens([SecretStr(one) for one in of_settings], path)


def test_a_new_token_is_known_by_its_name_and_role_and_only_its_hash_is_kept(path: Path) -> None:
    token = token_file.add(path, "grafana", Role.VIEWER)
    assert path.read_text() == f"grafana viewer {hashlib.sha256(token.encode()).hexdigest()}\n"
    assert path.stat().st_mode & 0o777 == 0o600
    assert known(path).find(token.encode()) == Caller("grafana", Role.VIEWER)
    assert known(path).find(hashlib.sha256(token.encode()).hexdigest().encode()) is None
    assert known(path).find(b"") is None
    assert list(path.parent.iterdir()) == [path]


def test_those_of_the_setting_are_admins_beside_the_file(path: Path) -> None:
    token = token_file.add(path, "ci", Role.ENQUEUER)
    both = known(path, "of-the-setting-1", "of-the-setting-2")
    assert both.find(b"of-the-setting-2") == Caller("WORKER_API_TOKENS", Role.ADMIN)
    assert both.find(token.encode()) == Caller("ci", Role.ENQUEUER)


def test_who_is_revoked_is_out_at_once_and_the_others_stay(path: Path) -> None:
    path.write_text("# ours\n\n")
    tokens = {name: token_file.add(path, name, Role.OPERATOR) for name in ("ann", "ben")}
    now = known(path)
    token_file.remove(path, "ann")
    assert now.find(tokens["ann"].encode()) is None
    assert now.find(tokens["ben"].encode()) == Caller("ben", Role.OPERATOR)
    assert path.read_text().startswith("# ours\n\nben operator ")
    with pytest.raises(SettingsError, match="no token 'ann'"):
        token_file.remove(path, "ann")


def test_who_is_added_is_in_at_once(path: Path) -> None:
    path.touch()
    now = known(path)
    token = token_file.add(path, "ann", Role.ADMIN)
    assert now.find(token.encode()) == Caller("ann", Role.ADMIN)


def test_a_line_that_is_changed_in_place_counts_too(path: Path) -> None:
    token = token_file.add(path, "ann", Role.VIEWER)
    now = known(path)
    path.write_text(path.read_text().replace("viewer", "admin "))
    assert now.find(token.encode()) == Caller("ann", Role.ADMIN)


@pytest.mark.parametrize("fault", ["gone", "broken", "a folder"])
def test_while_the_file_is_broken_or_gone_the_last_good_state_holds_and_is_told_once(
    path: Path, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    token = token_file.add(path, "ann", Role.VIEWER)
    now = known(path)
    good = path.read_text()
    path.unlink()
    if fault == "broken":
        path.write_text(f"{good}ben viewer {token}\n")
    elif fault == "a folder":
        path.mkdir()
    for _ in range(3):
        assert now.find(token.encode()) == Caller("ann", Role.VIEWER)
    (record,) = caplog.records
    assert (record.levelno, token in record.message) == (logging.ERROR, False)
    assert "the 1 that were last read" in record.message
    if fault == "a folder":
        path.rmdir()
    path.write_text("")
    assert now.find(token.encode()) is None


def test_at_the_start_a_file_that_is_gone_is_an_error(path: Path) -> None:
    with pytest.raises(SettingsError, match=r"tokens cannot be read: No such file .*tokens new"):
        known(path)


HASH = "0" * 64


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("ann viewer", "line 2: a line is `name role sha256`"),
        (f"ann viewer {HASH} more", "line 2: a line is"),
        (f"ann root {HASH}", "the role of ann is none of enqueuer, viewer, operator, admin"),
        (f"ann Viewer {HASH}", "the role of ann is none of"),
        ("ann viewer secret-secret", "what ann has is no SHA-256"),
        (f"ann viewer {HASH.upper().replace('0', 'A')}", "no SHA-256"),
        (f"../x viewer {HASH}", "a name has 1 to 64"),
        (f"WORKER_API_TOKENS admin {HASH}", "is not WORKER_API_TOKENS"),
        (f"first viewer {HASH}", "line 2: a second token 'first'"),
        ("\x00 viewer x", "a name has"),
    ],
)
def test_a_broken_line_is_told_with_its_number_and_without_what_may_be_a_secret(
    path: Path, line: str, says: str
) -> None:
    path.write_text(f"first admin {HASH}\n{line}\n")
    with pytest.raises(SettingsError, match=says) as caught:
        known(path)
    assert "secret-secret" not in str(caught.value)
    with pytest.raises(SettingsError, match=says):
        token_file.add(path, "another", Role.VIEWER)


def test_a_file_that_is_none_of_tokens_is_not_read_into_memory(path: Path) -> None:
    path.write_bytes(b"#" * (token_file.MAX_BYTES + 1))
    with pytest.raises(SettingsError, match="more than 1,048,576 bytes"):
        known(path)


@pytest.mark.parametrize("name", ["", "a b", "a\nb", "#ann", "WORKER_API_TOKENS", "x" * 65])
def test_a_name_that_would_break_the_file_is_refused(path: Path, name: str) -> None:
    with pytest.raises(SettingsError, match="a name has 1 to 64"):
        token_file.add(path, name, Role.VIEWER)
    assert not path.exists()


def test_a_name_is_taken_until_it_is_revoked(path: Path) -> None:
    token_file.add(path, "ann", Role.VIEWER)
    with pytest.raises(SettingsError, match="has a token 'ann'"):
        token_file.add(path, "ann", Role.ADMIN)


def test_whoever_could_read_the_file_still_can_and_a_link_stays_one(path: Path) -> None:
    real = path.with_name("real")
    real.touch()
    real.chmod(0o640)
    path.symlink_to(real)
    token_file.add(path, "ann", Role.VIEWER)
    assert path.is_symlink()
    assert real.stat().st_mode & 0o777 == 0o640


def test_a_folder_that_is_not_ours_is_told(path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be changed: No such file"):
        token_file.add(path / "not" / "there", "ann", Role.VIEWER)


def test_of_many_that_are_made_at_once_none_is_lost(path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from uow.api import token_file;"
        "[token_file.add(Path(sys.argv[1]), f'{sys.argv[2]}{n}', 'viewer') for n in range(10)]"
    )
    making = [
        subprocess.Popen([sys.executable, "-c", code, path, name], env={**os.environ})
        for name in ("a", "b", "c")
    ]
    assert [one.wait(50) for one in making] == [0, 0, 0]
    assert len(path.read_text().splitlines()) == 30


def test_a_file_of_tokens_needs_no_fastapi() -> None:
    code = (
        "import sys; sys.modules['fastapi'] = sys.modules['starlette'] = None;"
        "import uow.api.tokens, uow.cli.tokens"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=50)
