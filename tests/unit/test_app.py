"""Which application is run: the one that is named, the one that is here, or none."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from uow import App, Settings, SettingsError
from uow.app import find_app

Write = Callable[..., None]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """A current directory of the test's own, in which this writes files."""

    def forget() -> dict[str, object]:
        ours = [name for name in sys.modules if name.partition(".")[0] in ("worker", "mine")]
        return {name: sys.modules.pop(name) for name in ours}

    def write(**files: str) -> None:
        for name, text in files.items():
            path = tmp_path / f"{name.replace('__', '/')}.py"
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)

    there = forget()
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield write
    forget()
    sys.modules.update(there)  # type: ignore[arg-type]


MAIN = """
from uow import App, Settings
class Mine(Settings): ...
app = App(settings=Mine, modules=["mine"])
"""


def package(here: Write, main: str, init: str = "") -> None:
    here(worker__main=main)
    Path("worker/__init__.py").write_text(init)


def test_it_is_the_one_that_is_here(here: Write) -> None:
    package(here, MAIN)
    found = find_app(None)
    assert (found.settings.__name__, found.modules) == ("Mine", ["mine"])


@pytest.mark.parametrize("said", ["environment", ".env"])
def test_whoever_sets_task_modules_has_them_alone(
    here: Write, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    package(here, MAIN)
    if said == ".env":
        Path(".env").write_text("WORKER_TASK_MODULES=mine\n")
    else:
        monkeypatch.setenv("worker_task_modules", "mine")
    assert find_app(None) == App()
    assert find_app("worker.main:app") != App()
    monkeypatch.setenv("worker_task_modules", "")  # which wins, and means that it is not set
    assert find_app(None) != App()
    monkeypatch.delenv("worker_task_modules")
    Path(".env").write_text("WORKER_TASK_MODULES=\n")
    assert find_app(None) != App()


def test_it_is_none_where_nothing_is(here: Write) -> None:
    assert find_app(None) == App()
    assert App().settings is Settings


@pytest.mark.parametrize("main", [None, "from fastapi import FastAPI\nboom()", "\x00", "# no App"])
def test_somebody_elses_package_is_left_alone(here: Write, main: str | None) -> None:
    package(here, main or "", init="" if main == "# no App" else "raise SystemExit('imported')")
    if main is None:
        Path("worker/main.py").unlink()
    assert find_app(None) == App()


@pytest.mark.parametrize("text", ["raise SystemExit('imported')", MAIN])
def test_somebody_elses_module_is_left_alone(here: Write, text: str) -> None:
    here(worker=text)
    assert find_app(None) == App()
    assert "worker" not in sys.modules


def test_an_app_that_is_no_app_of_ours_is_left_alone(here: Write) -> None:
    package(here, "class App: ...\napp = App()")
    assert find_app(None) == App()


def test_one_that_cannot_be_imported_is_told_with_its_place(here: Write) -> None:
    package(here, f"{MAIN}\nimport os\nos.environ['NOT_SET']")
    with pytest.raises(
        SettingsError,
        match=r"^worker.main:app: cannot import worker.main: KeyError: .*\(worker/main.py:7\)$",
    ):
        find_app(None)


@pytest.mark.parametrize(
    ("named", "why"),
    [
        ("mine:app", "^mine:app is no App: name one as module:name, as in worker.main:app$"),
        ("mine:other", "mine:other is no App"),
        ("mine:", "mine: is no App"),
        ("absent.main:app", "cannot import absent.main: there is no absent; the current directory"),
        (":app", "^:app is no App"),
    ],
)
def test_a_name_that_leads_nowhere_is_told(here: Write, named: str, why: str) -> None:
    here(mine="app = 1")
    with pytest.raises(SettingsError, match=why):
        find_app(named)


def test_one_that_is_named_is_found(here: Write) -> None:
    here(mine=MAIN)
    assert find_app("mine:app").modules == ["mine"]
