"""A version of ours whose history ends earlier."""

import pytest

from uow.db import migrations


def up_to(monkeypatch: pytest.MonkeyPatch, revision: str) -> None:
    """Let `migrations.upgrade` end with `revision` of the tasks."""
    chain = migrations._chain

    def cut(config: migrations.Config, branch: str) -> list[str]:
        whole = chain(config, branch)
        return whole[: whole.index(revision) + 1] if revision in whole else whole

    monkeypatch.setattr(migrations, "_chain", cut)
