"""Which application is run: the one that is named, the one that is here, or none."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from uow import App, Settings, SettingsError
from uow.app import AppParts, find_app, look_for_app

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
    assert isinstance(found.settings, type)
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
    assert find_app(None) == AppParts()
    assert find_app("worker.main:app") != App()
    monkeypatch.setenv("worker_task_modules", "")  # which wins, and means that it is not set
    assert find_app(None) != App()
    monkeypatch.delenv("worker_task_modules")
    Path(".env").write_text("WORKER_TASK_MODULES=\n")
    assert find_app(None) != App()


def test_it_is_none_where_nothing_is(here: Write) -> None:
    assert find_app(None) == AppParts()
    assert App().settings is Settings


@pytest.mark.parametrize("main", [None, "from fastapi import FastAPI\nboom()", "\x00", "# no App"])
def test_somebody_elses_package_is_left_alone(here: Write, main: str | None) -> None:
    package(here, main or "", init="" if main == "# no App" else "raise SystemExit('imported')")
    if main is None:
        Path("worker/main.py").unlink()
    assert find_app(None) == AppParts()


@pytest.mark.parametrize("text", ["raise SystemExit('imported')", MAIN])
def test_somebody_elses_module_is_left_alone(here: Write, text: str) -> None:
    here(worker=text)
    assert find_app(None) == AppParts()
    assert "worker" not in sys.modules


def test_an_app_that_is_no_app_of_ours_is_left_alone(here: Write) -> None:
    package(here, "class App: ...\napp = App()")
    assert find_app(None) == AppParts()


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
        ("mine:app", "^mine:app is no App: name one as module:name, as in .* .it is of type int.$"),
        ("mine:other", r"mine:other is no App: .* \(there is none of that name\)$"),
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


NAMED = 'from uow import App\napp = App(modules=["named"])\n'


@pytest.mark.parametrize("said", ["environment", ".env"])
def test_it_is_the_one_that_the_environment_names_unless_somebody_names_another(
    here: Write, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    package(here, MAIN)
    here(mine=NAMED)
    if said == ".env":
        Path(".env").write_text("WORKER_APPLICATION=mine:app\n")
    else:
        monkeypatch.setenv("WORKER_APPLICATION", "mine:app")
    monkeypatch.setenv("WORKER_TASK_MODULES", "more")  # which come beside its own
    assert find_app(None).modules == ["named"]
    assert find_app("worker.main:app").modules == ["mine"]
    monkeypatch.delenv("WORKER_TASK_MODULES")
    monkeypatch.setenv("WORKER_APPLICATION", "")
    assert find_app(None).modules == ["mine"]


@pytest.mark.parametrize(
    ("named", "why"),
    [
        ("mine:other", "^WORKER_APPLICATION: mine:other is no App: name one as module:name"),
        ("absent:app", "^WORKER_APPLICATION: cannot import absent: there is no absent"),
    ],
)
def test_a_name_in_the_environment_that_leads_nowhere_is_told(
    here: Write, named: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    here(mine=NAMED)
    monkeypatch.setenv("WORKER_APPLICATION", named)
    with pytest.raises(SettingsError, match=why):
        find_app(None)


def test_the_log_says_which_it_is(here: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    assert look_for_app(None).said is None
    package(here, MAIN)
    assert look_for_app(None).said == "application worker.main:app"
    here(mine=NAMED)
    assert look_for_app("mine:app").said == "application mine:app"
    monkeypatch.setenv("WORKER_TASK_MODULES", "mine")
    assert look_for_app(None).said == (
        "no application: WORKER_TASK_MODULES is set, so not worker.main:app from here"
    )
    monkeypatch.setenv("WORKER_APPLICATION", "mine:app")
    assert look_for_app(None).said == "application mine:app"


def test_another_worker_that_an_import_would_find_first_is_left_alone(
    here: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package(here, MAIN)
    installed = tmp_path / "installed" / "worker"
    installed.mkdir(parents=True)
    for name in ("__init__.py", "main.py"):
        (installed / name).write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(installed.parent)
    assert find_app(None) == AppParts()


@pytest.mark.parametrize(
    "main",
    [
        "from slack_bolt import App\napp = App()",
        "from uow import SessionDep\nfrom fastapi import FastAPI\napp = FastAPI()",
        "from uow import App\nother = App()",
        "from uow_of_ours import App\napp = App()",
        "# from uow import App\nApp = 1\napp = App",
    ],
)
def test_a_main_that_only_resembles_ours_is_not_imported(here: Write, main: str) -> None:
    package(here, f"{main}\nraise SystemExit('imported')")
    assert find_app(None) == AppParts()


@pytest.mark.parametrize(
    "main",
    [
        "import uow\napp = uow.App(modules=['mine'])",
        "from uow.application import App\napp: App = App(modules=['mine'])",
        "from uow import (\n    App,\n)\n\napp=App(modules=['mine'])",
    ],
)
def test_an_app_may_be_written_in_any_way(here: Write, main: str) -> None:
    package(here, main)
    assert find_app(None).modules == ["mine"]
