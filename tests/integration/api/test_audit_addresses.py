"""From where somebody acts, in the audit: as the connection says it, or a proxy that is trusted."""

from collections.abc import Sequence

import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from tests.integration.api.apps import api_of
from tests.integration.api.test_acts import audit_of
from tests.integration.test_interventions import put
from tests.servers import serving
from uow import Database, Settings, TaskState
from uow.tasks.registry import Registry

TOKEN = {"authorization": "Bearer token-of-the-setting"}

FORGED = {
    "x-forwarded-for": "198.51.100.66",
    "x-real-ip": "198.51.100.66",
    "forwarded": "for=198.51.100.66",
    "client-ip": "198.51.100.66",
}


def app_of(settings: Settings, registry: Registry, trusted: Sequence[str]) -> FastAPI:
    update = {"trusted_proxies": tuple(trusted), "api_tokens": (SecretStr("token-of-the-setting"),)}
    return api_of(settings.model_copy(update=update), registry)


@pytest.mark.parametrize(
    ("trusted", "forwarded", "expected"),
    [
        # Nobody is trusted, or somebody else: what the peer says of itself is no address.
        ((), "198.51.100.66", "127.0.0.1"),
        (("10.0.0.0/8",), "198.51.100.66", "127.0.0.1"),
        # The peer is a proxy of ours; what stands before its own word is the client's, and forged.
        (("127.0.0.0/8",), "203.0.113.7", "203.0.113.7"),
        (("127.0.0.0/8",), "198.51.100.66, 203.0.113.7", "203.0.113.7"),
        (("127.0.0.0/8",), "198.51.100.66, nonsense", "127.0.0.1"),
    ],
)
async def test_an_address_that_somebody_has_made_up_is_never_in_the_audit(
    settings: Settings, registry: Registry, db: Database,
    trusted: Sequence[str], forwarded: str, expected: str,
) -> None:  # fmt: skip
    headers = {**TOKEN, **FORGED, "x-forwarded-for": forwarded}
    async with serving(app_of(settings, registry, trusted)) as http:
        http.headers.update(headers)
        task_id = await put(db, TaskState.QUEUED)
        assert (await http.post(f"/api/tasks/{task_id}/cancel")).status_code == 204
        assert (await http.post("/api/queues/mail/pause")).status_code == 204
        asked = {"act": "retry", "filter": {"user": "u"}}
        bulk_id = (await http.post("/api/bulk/preview", json=asked)).json()["id"]
        assert (await http.post("/api/bulk", json={"id": bulk_id})).status_code == 202
        assert (await http.get(f"/api/tasks/{task_id}?reveal=true")).status_code == 200
        entries = await audit_of(http)
    assert {entry["what"] for entry in entries} == {"cancel", "pause", "retry", "reveal"}
    assert {entry["address"] for entry in entries} == {expected}
