import re
from pathlib import Path

import pytest

from uow import Database, TaskClient
from uow.errors import SettingsError
from uow.settings.environment import GivenSettings, Settings, load_settings, setting_names
from uow.settings.types import SettingValues
from worker.demo.house import DemoSettings
from worker.settings import WorkerAppSettings, WorkerAppSettingValues

ROOT = Path(__file__).parents[2]


def test_an_unknown_name_is_refused_with_the_nearest_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKER_CONCURENCY", "5")
    with pytest.raises(SettingsError, match="did you mean WORKER_CONCURRENCY"):
        load_settings()


@pytest.mark.parametrize(
    "name", ["WORKER_JOB_TIMEOUT", "WORKER_NAME", "WORKER_HOME", "WORKER_MAX_JOBS", "WORKER_DEBUG"]
)
def test_a_name_that_is_like_none_of_ours_is_the_applications_own_and_told_of_once(
    name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(name, "5")
    load_settings()
    load_settings()
    said = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert said == [("WARNING", f"{name} is not a setting of ours, so it is ignored")]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("WORKER_DATABASE_URI", "WORKER_DATABASE_URL"),
        ("WORKER_LOGLEVEL", "WORKER_LOG_LEVEL"),
        ("WORKER_API_TOKEN", "WORKER_API_TOKENS"),
        ("worker_queu", "WORKER_QUEUE"),
        ("WORKER_SMTP_USER", "WORKER_SMTP_USERNAME"),
    ],
)
def test_a_name_that_is_near_one_of_ours_was_meant_to_be_it(
    name: str, meant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "5")
    with pytest.raises(SettingsError, match=f"is not a setting; did you mean {meant}\\?$"):
        load_settings(WorkerAppSettings)


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


@pytest.mark.parametrize("service", ["", "API_", "X_", "SMTP_", "QUEUE_", "MY_OTHER_1_"])
def test_what_kubernetes_sets_is_nothing_to_us(
    service: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name, value in {
        "SERVICE_HOST": "10.0.0.1",
        "SERVICE_PORT": "80",
        "SERVICE_PORT_HTTP": "80",
        "PORT": "tcp://10.0.0.1:80",
        "PORT_6379_TCP": "tcp://10.0.0.1:6379",
        "PORT_6379_TCP_PROTO": "tcp",
        "PORT_6379_TCP_PORT": "6379",
        "PORT_6379_TCP_ADDR": "10.0.0.1",
        "PORT_53_UDP_ADDR": "10.0.0.1",
    }.items():
        monkeypatch.setenv(f"WORKER_{service}{name}", value)
    assert load_settings() == Settings()
    assert load_settings(WorkerAppSettings).smtp_port == 587
    assert not caplog.records


def test_a_port_of_ours_is_no_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKER_SMTP_PORT", "25")
    assert load_settings(WorkerAppSettings).smtp_port == 25
    monkeypatch.setenv("WORKER_SMTP_PROT", "25")
    with pytest.raises(SettingsError, match="did you mean WORKER_SMTP_PORT"):
        load_settings(WorkerAppSettings)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WORKER_CONCURRENCY", "auto"),
        ("WORKER_RETENTION_DAYS", "a week"),
        ("WORKER_WEBHOOK_ALLOW_PRIVATE", "perhaps"),
        ("WORKER_SMTP_TLS", "ssl"),
        ("WORKER_LOG_LEVEL", "LOUD"),
    ],
)
def test_a_value_that_does_not_fit_is_one_line_with_the_value(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(
        SettingsError, match=f"^{name}: Input should .*it says '{value}'.$"
    ) as caught:
        load_settings(WorkerAppSettings)
    assert "\n" not in str(caught.value)


def test_a_secret_that_lies_in_a_file_ends_before_the_end_of_its_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WORKER_SMTP_PASSWORD", "p w\n")
    monkeypatch.setenv("WORKER_POOL_SIZE", "\n")
    settings = load_settings(WorkerAppSettings)
    assert settings.smtp_password is not None
    assert settings.smtp_password.get_secret_value() == "p w"
    assert settings.pool_size is None


def test_settings_that_are_given_in_code_know_neither_the_environment_nor_an_env_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("WORKER_QUEUE=theirs\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WORKER_CONCURRENCY", "auto")
    given = GivenSettings(database_url="postgres://u:p@h/d\n")
    assert (given.queue, given.concurrency) == ("arq:queue", 10)
    assert given.model_fields_set == {"database_url"}
    assert given.require_database().url == "postgres://u:p@h/d"


def test_what_type_checkers_know_of_the_settings_is_what_there_is() -> None:
    assert SettingValues.__optional_keys__ == Settings.model_fields.keys()
    assert WorkerAppSettingValues.__optional_keys__ == WorkerAppSettings.model_fields.keys()


def test_what_an_application_adds_is_known_where_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("WORKER_STALE_USER_DAYS", "30")
    assert load_settings(WorkerAppSettings).stale_user_days == 30
    load_settings()  # which reads it for nobody, and knows whose it is
    assert not caplog.records
    assert DemoSettings(stale_user_days=1).model_fields_set == {"stale_user_days"}
    assert DemoSettings().stale_user_days == 365


class ShopSettings(Settings):
    """An application's, as docs/applications.md has them; its name is like one of ours."""

    currency: str = "EUR"


def test_who_is_told_of_no_class_knows_the_names_of_those_that_are_imported(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("WORKER_CURRENCY", "USD")
    monkeypatch.setenv("WORKER_DATABASE_URL", "postgresql://h/d")
    assert load_settings(ShopSettings).currency == "USD"
    assert load_settings(WorkerAppSettings).concurrency == 10
    Database.from_settings()
    TaskClient.from_settings()
    assert not caplog.records
    monkeypatch.setenv("WORKER_CURENCY", "USD")
    with pytest.raises(SettingsError, match="did you mean WORKER_CURRENCY"):
        load_settings()


def test_what_is_empty_is_no_stranger(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("WORKER_OF_NOBODYS_EITHER=\nWORKER_OF_NOBODYS_AT_ALL\n")
    monkeypatch.setenv("WORKER_OF_NOBODYS", "")
    monkeypatch.setenv("WORKER_CONCURENCY", "")
    load_settings()
    assert not caplog.records


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
    settings = load_settings(WorkerAppSettings)
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


@pytest.mark.parametrize(
    ("said", "root_path"),
    [("", ""), ("/", ""), ("/ops", "/ops"), ("/ops/worker-1/", "/ops/worker-1")],
)
def test_a_prefix_is_a_path_without_a_slash_at_its_end(
    said: str, root_path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKER_API_ROOT_PATH", said)
    assert load_settings().api_root_path == root_path


@pytest.mark.parametrize(
    "said", ["ops", "//evil.example", "/a//b", "https://a.example", "/a b", "/a;b", "/a?b", "/%2f"]
)
def test_what_is_no_plain_path_is_no_prefix(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKER_API_ROOT_PATH", said)
    with pytest.raises(SettingsError, match="WORKER_API_ROOT_PATH: must be a path"):
        load_settings()


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
    settings = Settings(database_url="postgresql://h/d", concurrency=50)
    settings.check_concurrency_fits_pool()
    assert settings.require_database().pool_size == 54


def test_a_concurrency_that_does_not_fit_the_pool_is_refused_with_both_numbers() -> None:
    settings = Settings(database_url="postgresql://h/d", concurrency=50, pool_size=20)
    with pytest.raises(SettingsError, match="WORKER_CONCURRENCY=50 .*WORKER_POOL_SIZE=20"):
        settings.check_concurrency_fits_pool()


def test_the_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().queue = "other"  # type: ignore[misc]


def test_the_example_file_names_every_setting_and_no_other() -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()
    named = {line.lstrip("# ").split("=")[0] for line in lines if "WORKER_" in line and "=" in line}
    assert sorted(named) == setting_names(WorkerAppSettings)


def test_the_compose_file_passes_every_setting_on(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = (ROOT / "docker-compose.yml").read_text().splitlines()
    given = dict(re.findall(r"^    (WORKER_\w+): (.*)$", "\n".join(lines), re.MULTILINE))
    of_the_worker_alone = {"WORKER_STORAGE_DIR"}
    assert sorted({*given} | of_the_worker_alone) == setting_names(WorkerAppSettings)
    assert not of_the_worker_alone & {*given}  # another application would be told of it
    assert "      WORKER_STORAGE_DIR: /storage" in lines
    fixed = {"WORKER_DATABASE_URL", "WORKER_REDIS_URL", "WORKER_API_TOKENS"}
    passed = {name for name, value in given.items() if value == f"${{{name}:-}}"}
    assert passed == {*given} - fixed
    defaults = load_settings(WorkerAppSettings)
    for name in passed:
        monkeypatch.setenv(name, "")
    assert load_settings(WorkerAppSettings) == defaults


def test_the_reference_has_every_setting_in_its_table() -> None:
    page = (ROOT / "docs" / "reference" / "settings.md").read_text()
    assert [name for name in setting_names(WorkerAppSettings) if f"| `{name}` |" not in page] == []
