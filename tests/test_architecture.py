"""The shape of the house: imports point one way, names and files stay small."""

import ast
import os
import re
import subprocess
import sys
import tokenize
import tomllib
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

import uow

ROOT = Path(__file__).parents[1]
SOURCES = sorted([*(ROOT / "uow").rglob("*.py"), *(ROOT / "worker").rglob("*.py")])


def _module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {_module_of(path): path for path in SOURCES}


def test_imports_point_one_way() -> None:
    # In a process of its own: it switches off every logger that other tests listen to.
    checked = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stdout


def test_the_layers_of_the_picture_are_those_that_are_checked() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    checked = contracts["contracts"][0]["layers"]
    text = (ROOT / "docs" / "internals.md").read_text().partition("\n## Layers\n")[2]
    shown = text.split("```")[1].partition("the library, uow:\n")[2].splitlines()
    assert [re.split(r"\s{2,}", line)[0] for line in shown] == checked


def test_the_public_names_are_sorted_and_there() -> None:
    assert uow.__all__ == sorted(uow.__all__)
    for name in uow.__all__:
        assert getattr(uow, name) is not None


def test_no_module_hides_a_public_name() -> None:
    """An import of `uow.task` would make `from uow import task` give the module."""
    assert [name for name in uow.__all__ if f"uow.{name}" in MODULES] == []
    assert [name for name in uow.__all__ if isinstance(getattr(uow, name), ModuleType)] == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_is_a_role_that_fits_on_a_few_screens(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 320
    assert path.stem not in {"utils", "helpers", "common", "manager", "misc"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_the_settings_read_the_environment(path: Path) -> None:
    """Children get an environment of ours, and the failpoints are read before anything else."""
    allowed = {"failpoints.py", "launch.py", "home.py", "process.py", "binaries.py"}
    allowed.add("environment.py")  # of the settings
    allowed |= {"check.py", "supervised.py"}  # which has no time for those; which is about children
    allowed.add("wallclock.py")  # TZ, which is the machine's
    allowed.add("log_level.py")  # the only one that counts for an arq class
    allowed.add("tracing.py")  # of the settings, too: names of OpenTelemetry's
    if path.name in allowed:
        return
    for node in ast.walk(ast.parse(path.read_text())):
        is_environ = isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv")
        assert not is_environ, f"{path}:{getattr(node, 'lineno', 0)}"


def test_importing_the_package_connects_to_nothing_and_needs_no_settings() -> None:
    import subprocess
    import sys

    code = "import uow, uow.main, uow.db.models; print('fine')"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("WORKER_")}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**environment, "WORKER_CONCURRENCY": "not a number"},
        capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.stdout == "fine\n", done.stderr


def test_the_commands_are_there_without_what_they_do() -> None:
    """`worker --help` imports neither an ORM nor a server's client."""
    heavy = "{'sqlalchemy', 'arq', 'redis', 'pydantic_settings', 'pydantic_core', 'rich'}"
    show = "uow.cli.app(['--help'], standalone_mode=False)"
    code = f"import sys, uow.cli; {show}; print({heavy} & {{*sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.stdout.endswith("\nset()\n"), done.stdout + done.stderr


def test_every_error_of_enqueueing_can_be_caught_by_a_public_name() -> None:
    from uow import errors

    assert {kind.__name__ for kind in uow.EnqueueError.__subclasses__()} <= {*uow.__all__}
    assert all(
        getattr(uow, name) is getattr(errors, name) for name in uow.__all__ if hasattr(errors, name)
    )


def test_an_application_without_the_extra_of_its_tasks_is_told_what_is_missing_and_where() -> None:
    code = """
import sys
sys.modules["aiosmtplib"] = None
from uow.tasks.registry import Registry
try:
    Registry().load((), of_app=["worker.tasks"])
except Exception as error:
    print(type(error).__name__, error, sep=": ")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.stdout == (
        "SettingsError: the application's modules: cannot import worker.tasks: "
        "ModuleNotFoundError: import of aiosmtplib halted; None in sys.modules "
        "(worker/tasks/mail.py:7)\n"
    ), done.stderr


def test_the_demo_without_what_the_clone_needs_says_how_to_install_it() -> None:
    code = """
import sys
sys.modules["aiosmtpd"] = None
sys.argv = ["worker", "demo"]
from uow.__main__ import main
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT
    )
    told = "worker: aiosmtpd is not installed: pip install --group demo\n"
    assert (done.returncode, done.stderr) == (1, told)


def test_a_service_that_only_enqueues_needs_no_extra() -> None:
    """Hide every optional dependency: the public names still import."""
    import subprocess
    import sys

    code = """
import sys
for name in ("fastapi", "starlette", "uvicorn", "typer", "rich", "alembic", "httpx",
             "aiosmtplib", "aiosmtpd", "uvloop", "watchfiles"):
    sys.modules[name] = None
import uow
names = [name for name in uow.__all__ if name != "SessionDep"]
assert all(getattr(uow, name) for name in names)
print("fine")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.stdout == "fine\n", done.stderr


TWICE = {
    "Redaction": "of what somebody is shown, and of what Sentry is told",
    "Task": "the API's schema is named as the thing that it shows",
    "TaskError": "the API's schema, and what is raised to whoever waits for a result",
    "TaskClient": "with asyncio, and in `uow.sync` without",
    "TaskHandle": "with asyncio, and in `uow.sync` without",
}
"""Names that two public classes have, and why."""


def test_a_public_class_has_its_name_for_itself() -> None:
    """Migrations aside, which are what they were."""
    names = Counter(
        node.name
        for path in (ROOT / "uow").rglob("*.py")
        if "versions" not in path.parts
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    assert {name for name, times in names.items() if times > 1} - TWICE.keys() == set()


LONGEST_BODY = 31


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_function_fits_on_a_screen(path: Path) -> None:
    """Its body, without the docstring."""
    if "versions" in path.parts:
        return
    functions = (
        node
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    too_long = {one.name for one in functions if _length_of_body(one) > LONGEST_BODY}
    assert too_long == set()


def _length_of_body(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]


@pytest.mark.parametrize(
    "path", [*SOURCES, *DOCUMENTS], ids=lambda path: str(path.relative_to(ROOT))
)
def test_what_is_named_in_backticks_is_there(path: Path) -> None:
    """A module of ours, and what in it is named; or a file of ours in a folder."""
    named = {name for text in _prose(path) for name in re.findall(r"`([^`\n]+)`", text)}
    ours = {name for name in named if re.fullmatch(r"uow(\.[A-Za-z_]\w*)+", name)}
    files = {name for name in named if re.fullmatch(r"[a-z_]+(/[a-z_]+)*/[a-z_]+\.(py|lua)", name)}
    assert [name for name in sorted(ours) if not _is_there(name)] == []
    assert [name for name in sorted(files) if not _is_file(name)] == []


def _prose(path: Path) -> list[str]:
    """A document; or the comments and the docstrings of a source."""
    if path.suffix == ".md":
        return [path.read_text()]
    with tokenize.open(path) as source:
        tokens = [*tokenize.generate_tokens(source.readline)]
    return [
        one.string
        for one in tokens
        if one.type == tokenize.COMMENT or (one.type == tokenize.STRING and '"""' in one.string)
    ]


def _is_there(name: str) -> bool:
    """Whether the module is, and says the rest of the name somewhere."""
    parts = name.split(".")
    longest = next(n for n in range(len(parts), 0, -1) if ".".join(parts[:n]) in MODULES)
    source = MODULES[".".join(parts[:longest])].read_text()
    return all(re.search(rf"\b{part}\b", source) for part in parts[longest:])


def _is_file(name: str) -> bool:
    folders = (ROOT, ROOT / "uow", ROOT / "worker")
    examples = ("app/", "billing/", "orders/")  # of the pages, which tests write and run
    return name.startswith(examples) or any((folder / name).exists() for folder in folders)


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Also not for the type checker alone, or inside a function."""
    imported = {name: _imports(path) for name, path in MODULES.items()}
    assert _circles(imported) == []


def _imports(path: Path) -> set[str]:
    """The modules of ours that a file imports, wherever it does."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            submodules = {f"{node.module}.{alias.name}" for alias in node.names} & MODULES.keys()
            found |= submodules or {node.module}
    return found & MODULES.keys()


def _circles(imported: dict[str, set[str]]) -> list[set[str]]:
    """Sets of modules each of which reaches the others."""
    reached = {name: _reached(name, imported) for name in imported}
    circles: list[set[str]] = []
    for name in imported:
        circle = {other for other in reached[name] if name in reached[other]}
        if circle and circle not in circles:
            circles.append(circle)
    return circles


def _reached(start: str, imported: dict[str, set[str]]) -> set[str]:
    reached: set[str] = set()
    left = [*imported[start]]
    while left:
        name = left.pop()
        if name not in reached:
            reached.add(name)
            left.extend(imported[name])
    return reached
