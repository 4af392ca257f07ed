"""What is redacted, in the eyes of each role."""

from pathlib import Path

from sqlalchemy import text

from tests.servers import serving
from uow import Database, Settings
from uow.api import token_file
from uow.api.app import create_app
from uow.api.roles import Role
from uow.tasks.registry import Registry


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


async def test_what_is_redacted_is_revealed_to_admins_alone_and_noted(
    settings: Settings, registry: Registry, db: Database, tmp_path: Path
) -> None:
    file = tmp_path / "tokens"
    tokens = {role: token_file.add(file, f"an-{role}", role) for role in Role}
    app = create_app(settings.model_copy(update={"api_tokens_file": file}), registry)
    async with serving(app) as api:
        body = {"name": "echo", "args": {"x": {"password": "hunter3"}}}
        asked = await api.post("/tasks", json=body, headers=bearer(tokens[Role.OPERATOR]))
        id_ = asked.json()["id"]
        hidden, shown = {"x": {"password": "[redacted]"}}, {"x": {"password": "hunter3"}}
        viewer, admin = bearer(tokens[Role.VIEWER]), bearer(tokens[Role.ADMIN])
        for path in (f"/tasks/{id_}", f"/api/tasks/{id_}"):
            assert (await api.get(path, headers=viewer)).json()["args"] == hidden
        refused = await api.get(f"/api/tasks/{id_}?reveal=true", headers=viewer)
        assert refused.status_code == 403
        assert (await api.get(f"/api/tasks/{id_}", headers=admin)).json()["args"] == hidden
        revealed = await api.get(f"/api/tasks/{id_}?reveal=true", headers=admin)
        assert revealed.json()["args"] == shown
        noted = await db.execute_once(text("SELECT what, task_id FROM audit"), {})
        assert [(one.what, str(one.task_id)) for one in noted] == [("reveal", id_)]
