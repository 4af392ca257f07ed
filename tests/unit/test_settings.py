import re
from pathlib import Path

import pytest

from worker.errors import SettingsError
from worker.settings import Settings, load_settings, setting_names

ROOT = Path(__file__).parents[2]


def test_an_unknown_name_is_refused_with_the_nearest_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKER_CONCURENCY", "5")
    with pytest.raises(SettingsError, match="did you mean WORKER_CONCURRENCY"):
        load_settings()


@pytest.mark.parametrize("name", ["WORKER_FOO", "WORKER_SIZE_OF_IT", "WORKER_HOME"])
def test_a_name_that_is_like_none_gets_no_suggestion(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "5")
    with pytest.raises(SettingsError, match=f"{name} is not a setting; known are WORKER_API"):
        load_settings()


def test_an_unknown_name_in_the_env_file_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("WORKER_QUEU=x\nSOMETHING_ELSE=1\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        SettingsError, match="WORKER_QUEU is not a setting; did you mean WORKER_QUEUE"
    ):
        load_settings()


def test_the_env_file_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("WORKER_QUEUE=mine\nSOMETHING_ELSE=1\n")
    monkeypatch.chdir(tmp_path)
    assert load_settings().queue == "mine"


@pytest.mark.parametrize(
    "name",
    ["WORKER_SERVICE_HOST", "WORKER_SERVICE_PORT_HTTP", "WORKER_PORT", "WORKER_PORT_80_TCP_ADDR"],
)
def test_what_kubernetes_sets_is_no_error(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "10.0.0.1")
    load_settings()


def test_every_fault_is_in_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKER_CONCURRENCY", "many")
    monkeypatch.setenv("WORKER_LOG_LEVEL", "loud")
    with pytest.raises(SettingsError, match="WORKER_CONCURRENCY: .*; WORKER_LOG_LEVEL: "):
        load_settings()


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("WORKER_DATABASE_URL", "postgresql://user:canary@host:port/d"),
        ("WORKER_DATABASE_URL", "mysql://user:canary@host/d"),
        ("WORKER_REDIS_URL", "http://:canary@host"),
    ],
)
def test_a_malformed_url_is_refused_without_repeating_it(
    name: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, url)
    with pytest.raises(SettingsError, match=name) as caught:
        load_settings()
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("said", "meant"),
    [("true", True), ("0", False), ("transaction", "transaction"), ("session", "session")],
)
def test_a_pooler_is_of_a_kind(said: str, meant: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKER_DATABASE_POOLER", said)
    assert load_settings().database_pooler == meant


def test_a_pooler_of_no_known_kind_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKER_DATABASE_POOLER", "statement")
    with pytest.raises(SettingsError, match="WORKER_DATABASE_POOLER: .*'transaction' or 'session'"):
        load_settings()


def test_secrets_do_not_show_in_the_repr(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "WORKER_DATABASE_URL": "postgresql://user:canary@host/d",
        "WORKER_REDIS_URL": "redis://:canary@host",
        "WORKER_API_TOKENS": "canary-of-the-first,canary-of-the-second",
        "WORKER_SMTP_PASSWORD": "canary",
        "WORKER_WEBHOOK_SECRET": "canary",
    }.items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    assert "canary" not in repr(settings)
    assert "canary" not in repr(settings.require_database())
    assert [token.get_secret_value() for token in settings.api_tokens] == [
        "canary-of-the-first",
        "canary-of-the-second",
    ]


@pytest.mark.parametrize("tokens", ["canary", "canary-4711-471", "long-enough-for-this,canary"])
def test_a_token_that_could_be_guessed_is_refused_without_repeating_it(
    tokens: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKER_API_TOKENS", tokens)
    with pytest.raises(SettingsError, match="WORKER_API_TOKENS: every .* 16 characters") as caught:
        load_settings()
    assert "canary" not in str(caught.value)


def test_lists_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKER_TASK_MODULES", "app.tasks, app.more ,")
    assert load_settings().task_modules == ("app.tasks", "app.more")


def test_an_empty_value_means_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKER_POOL_SIZE", "")
    assert load_settings().pool_size is None


def test_a_missing_database_url_is_told_with_an_example() -> None:
    with pytest.raises(
        SettingsError, match=r"WORKER_DATABASE_URL is not set; .*postgresql\+asyncpg"
    ):
        Settings().require_database()


def test_the_pool_fits_the_concurrency_by_default() -> None:
    settings = Settings(database_url="postgresql://h/d", concurrency=50)  # type: ignore[arg-type]
    settings.check_concurrency_fits_pool()
    assert settings.require_database().pool_size == 54


def test_a_concurrency_that_does_not_fit_the_pool_is_refused_with_both_numbers() -> None:
    settings = Settings(database_url="postgresql://h/d", concurrency=50, pool_size=20)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="WORKER_CONCURRENCY=50 .*WORKER_POOL_SIZE=20"):
        settings.check_concurrency_fits_pool()


def test_the_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().queue = "other"  # type: ignore[misc]


def test_the_example_file_names_every_setting_and_no_other() -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()
    named = {line.lstrip("# ").split("=")[0] for line in lines if "WORKER_" in line and "=" in line}
    assert sorted(named) == setting_names()


def test_the_compose_file_passes_every_setting_on(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = (ROOT / "docker-compose.yml").read_text().splitlines()
    given = dict(re.findall(r"^    (WORKER_\w+): (.*)$", "\n".join(lines), re.MULTILINE))
    assert sorted(given) == setting_names()
    fixed = {"WORKER_DATABASE_URL", "WORKER_REDIS_URL", "WORKER_STORAGE_DIR", "WORKER_API_TOKENS"}
    passed = {name for name, value in given.items() if value == f"${{{name}:-}}"}
    assert passed == {*given} - fixed
    defaults = load_settings()
    for name in passed:
        monkeypatch.setenv(name, "")
    assert load_settings() == defaults


def test_the_readme_has_every_setting_in_its_table() -> None:
    readme = (ROOT / "README.md").read_text()
    assert [name for name in setting_names() if f"| `{name}` |" not in readme] == []
