"""The one setting that counts for somebody's arq class."""

import pytest

from uow.errors import SettingsError
from uow.settings.environment import Settings, setting_names
from uow.settings.log_level import NAME, log_level


@pytest.mark.parametrize("given", [None, ""])
def test_a_level_that_is_not_set_is_the_default_of_the_settings(
    given: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if given is not None:
        monkeypatch.setenv(NAME, given)
    assert log_level() == Settings.model_fields["log_level"].default


def test_a_level_is_read_as_the_settings_read_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NAME, "debug")
    assert log_level() == "DEBUG" == Settings().log_level
    assert NAME in setting_names()


def test_what_is_no_level_is_refused_with_those_that_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NAME, "loud")
    with pytest.raises(
        SettingsError, match=r"WORKER_LOG_LEVEL is none of DEBUG, INFO, WARNING, ERROR"
    ):
        log_level()
