"""The file of tokens: a line each, ``name role sha256``, and never a token itself.

Whoever changes it writes a new file beside it and moves that one into its place, under a lock on
the folder: readers see all of the old file or all of the new one, and no line is lost.
"""

import contextlib
import fcntl
import hashlib
import os
import re
import secrets
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from uow.api.roles import Role
from uow.errors import SettingsError

OF_SETTINGS = "WORKER_API_TOKENS"
"""The name of the tokens that stand in that setting; no line may have it."""

MAX_BYTES = 1_048_576
"""Of a file of tokens: some 10,000 lines. What is larger is another file."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Token:
    """A token as it is kept.

    Attributes:
        name: Whose it is; acts stand under it in the audit.
        role: What it may do.
        sha256: The SHA-256 of the token.
    """

    name: str
    role: Role
    sha256: bytes

    def __str__(self) -> str:
        return f"{self.name} {self.role} {self.sha256.hex()}"


@dataclass(frozen=True, slots=True)
class Signature:
    """What tells two states of a file apart without reading it."""

    inode: int
    size: int
    modified_ns: int
    changed_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> "Signature":
        """The state that `stat` has found."""
        return cls(status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def digest(token: bytes) -> bytes:
    """What is kept of a token."""
    return hashlib.sha256(token).digest()


def read(path: Path) -> tuple[tuple[Token, ...], Signature]:
    """The tokens of a file, and the state in which it was read.

    Raises:
        SettingsError: A line is broken, or there are two of one name; it says which.
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        signature = Signature.of(os.fstat(file.fileno()))
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise SettingsError(f"{path} has more than {MAX_BYTES:,} bytes: it is no file of tokens")
    lines = content.decode("utf-8", "replace").splitlines()
    return _tokens_in(lines, path), signature


def read_or_refuse(path: Path) -> tuple[tuple[Token, ...], Signature]:
    """As `read`, for where a file that cannot be read is an end.

    Raises:
        SettingsError: It cannot be read, or is broken.
    """
    try:
        return read(path)
    except OSError as error:
        raise SettingsError(
            f"the file of tokens {path} cannot be read: {error.strerror}; "
            "`worker tokens new NAME --role ROLE` makes one"
        ) from None


def add(path: Path, name: str, role: Role) -> str:
    """Make a token and append its line; the file is made, for its owner alone, if need be.

    Returns:
        The token, which is kept nowhere.

    Raises:
        SettingsError: The name cannot be one or is taken, or the file is broken or not ours.
    """
    token = f"uow_{secrets.token_urlsafe(32)}"
    with _changing(path) as lines:
        if any(one.name == name for one in _tokens_in(lines, path)):
            raise SettingsError(f"{path} has a token {name!r}: revoke it first, or take another")
        _check_name(name)
        lines.append(str(Token(name, role, digest(token.encode()))))
    return token


def remove(path: Path, name: str) -> None:
    """Take a token's line out; whoever shows the token is refused from then on.

    Raises:
        SettingsError: There is none of that name, or the file is broken or not ours.
    """
    with _changing(path) as lines:
        left = [line for line in lines if not _is_named(line, name)]
        if len(left) == len(lines):
            raise SettingsError(f"{path} has no token {name!r}; `worker tokens list` shows them")
        lines[:] = left


def _tokens_in(lines: Sequence[str], path: Path) -> tuple[Token, ...]:
    found: dict[str, Token] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            token = _token_of(line)
        except SettingsError as error:
            raise SettingsError(f"{path}, line {number}: {error}") from None
        if token.name in found:
            raise SettingsError(f"{path}, line {number}: a second token {token.name!r}")
        found[token.name] = token
    return tuple(found.values())


def _token_of(line: str) -> Token:
    """Its faults are told without repeating it: somebody may have written the token itself."""
    parts = line.split()
    if len(parts) != 3:
        raise SettingsError("a line is `name role sha256`; `worker tokens new` writes one")
    name, role, sha256 = parts
    _check_name(name)
    if role not in {*Role}:
        raise SettingsError(f"the role of {name} is none of {', '.join(Role)}")
    if not _SHA256.fullmatch(sha256):
        raise SettingsError(f"what {name} has is no SHA-256: 64 digits of 0-9 and a-f")
    return Token(name, Role(role), bytes.fromhex(sha256))


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name) or name == OF_SETTINGS:
        raise SettingsError(
            "a name has 1 to 64 letters, digits and . _ @ -, begins with a letter or a digit, and "
            f"is not {OF_SETTINGS}"
        )


def _is_named(line: str, name: str) -> bool:
    return line.split()[:1] == [name]


@contextlib.contextmanager
def _changing(path: Path) -> Iterator[list[str]]:
    """The file's lines, to be changed; what they are in the end is written, or nothing of it."""
    place = path.resolve()  # of a link, what it leads to is changed
    try:
        with _locked(place.parent):
            lines = place.read_text(encoding="utf-8").splitlines() if place.exists() else []
            _tokens_in(lines, path)
            yield lines
            _replace(place, "".join(f"{line}\n" for line in lines))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise SettingsError(f"{path} cannot be changed: {reason}") from None


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    held = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield
    finally:
        os.close(held)  # and the lock with it


def _replace(place: Path, content: str) -> None:
    written, name = tempfile.mkstemp(dir=place.parent, prefix=f".{place.name}.")  # 0600
    try:
        with os.fdopen(written, "w", encoding="utf-8") as file:
            if place.exists():
                _take_over_access(written, place)
            file.write(content)
            file.flush()
            os.fsync(written)
        Path(name).replace(place)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _take_over_access(written: int, place: Path) -> None:
    """Whoever could read the file can read it afterwards: the API may run as another user."""
    was = place.stat()
    with contextlib.suppress(PermissionError):
        os.fchown(written, was.st_uid, was.st_gid)
    os.fchmod(written, was.st_mode & 0o777)
