"""A version of ours whose history ends earlier."""

import pytest

from uow.db import migrations


def up_to(monkeypatch: pytest.MonkeyPatch, revision: str) -> None:
    """Let `migrations.upgrade` end with `revision`."""
    chain = migrations._chain

    def cut(config: migrations.Config) -> list[str]:
        whole = chain(config)
        return whole[: whole.index(revision) + 1] if revision in whole else whole

    monkeypatch.setattr(migrations, "_chain", cut)
