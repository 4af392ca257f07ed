"""The services of docs/sync-services.md, as Flask and Django run them, and a worker of theirs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import make_url, text

from tests.processes import ROOT, environment_of
from uow import Database, Settings
from uow.urls.libpq import LibpqAddress

GUIDE = (ROOT / "docs" / "sync-services.md").read_text()

FLASK = """
from shop import app, Base, engine
Base.metadata.create_all(engine)
http = app.test_client()
answer = http.post("/orders")
assert answer.status_code == 201, answer.text
print(answer.json["task"])
assert http.get(f"/tasks/{answer.json['task']}").json == {"state": "queued", "result": None}
"""

DJANGO = """
import os, django
from django.conf import settings
settings.configure(
    ALLOWED_HOSTS=["testserver"], ROOT_URLCONF="urls", INSTALLED_APPS=["orders"], SECRET_KEY="x",
    DATABASES={"default": {
        "ENGINE": "django.db.backends.postgresql", "USER": "postgres", "NAME": os.environ["NAME"],
        "HOST": os.environ["HOST"], "PORT": os.environ["PORT"],
    }},
)
if os.environ["DRIVER"] == "psycopg2":
    import sys
    sys.modules["psycopg"] = None
django.setup()
from django.db import connection, transaction
from django.test import Client
from orders.models import Order
from orders.tasks import confirm
from orders.views import tasks
import uow, uow.sync
with connection.schema_editor() as editor:
    editor.create_model(Order)

answer = Client().post("/orders")
assert answer.status_code == 201, answer.content
print(answer.json()["task"])
tasks.flush()
assert tasks._redis.zcard("arq:queue") == 1, "pushed by on_commit"

def refused(kind):
    try:
        with connection.cursor() as cursor:
            uow.sync.enqueue_with_cursor(cursor, confirm, order_id=2)
    except kind as error:
        return str(error)

assert "transaction.atomic" in refused(uow.InvalidOptions)
with transaction.atomic():
    with connection.cursor() as cursor:
        cursor.execute("CREATE ROLE nobody_of_django; SET LOCAL ROLE nobody_of_django")
    assert "GRANT" in refused(uow.SchemaError)
    transaction.set_rollback(True)

with transaction.atomic():
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            transaction.on_commit(uow.sync.enqueue_with_cursor(cursor, confirm, order_id=2).push)
            raise KeyError
    except KeyError:
        pass
tasks.flush()
assert tasks._redis.zcard("arq:queue") == 1, "rolled back with its savepoint"
with connection.cursor() as cursor:
    cursor.execute("SELECT count(*) FROM worker.task")
    assert cursor.fetchone() == (1,)
"""

URLS = """
from django.urls import path
from orders.views import create_order
urlpatterns = [path("orders", create_order)]
"""


@pytest.fixture
def services(tmp_path: Path) -> Path:
    """The files of the guide, in a folder of their own."""
    files = re.findall(r"`([\w/]+\.py)`[^\n`]*:\n\n```python\n(.*?)```", GUIDE, re.DOTALL)
    assert len(files) == GUIDE.count("```python")
    for name, source in [*files, ("urls.py", URLS), ("orders/__init__.py", "")]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(source)
    return tmp_path


def run(where: Path, environment: dict[str, str], *command: str) -> str:
    done = subprocess.run(
        [sys.executable, *command], cwd=where, env=environment,
        capture_output=True, text=True, timeout=40, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
@pytest.mark.parametrize("service", [FLASK, DJANGO], ids=["flask", "django"])
async def test_the_service_does_what_its_page_says(
    services: Path, settings: Settings, db: Database, service: str, driver: str
) -> None:
    url = settings.require_database().url
    parts = make_url(url)
    environment = environment_of(
        settings,
        WORKER_TASK_MODULES="orders.tasks",
        SHOP_DATABASE_URL=LibpqAddress.read(url, driver).url.render_as_string(hide_password=False),
        NAME=str(parts.database),
        HOST=str(parts.host or parts.query["host"]),
        PORT=str(parts.port or parts.query["port"]),
        DRIVER=driver,
    )
    (services / "call.py").write_text(service)
    task_id = run(services, environment, "call.py").strip()
    run(services, environment, "-m", "uow", "run", "--burst")
    found = await db.execute_once(
        text("SELECT CAST(id AS text), CAST(result AS text) FROM task"), {}
    )
    assert [tuple(row) for row in found] == [(task_id, '"order 1 is confirmed"')]
    found = await db.execute_once(text("SELECT confirmed FROM orders"), {})
    assert [tuple(row) for row in found] == [(True,)]


async def test_the_script_prints_the_result(
    services: Path, settings: Settings, db: Database
) -> None:
    await db.execute_once(text("CREATE TABLE orders (id bigint, confirmed boolean)"), {})
    environment = environment_of(settings, WORKER_TASK_MODULES="orders.tasks")
    with subprocess.Popen(
        [sys.executable, "confirm_one.py", "7"], cwd=services, env=environment,
        stdout=subprocess.PIPE, text=True,
    ) as script:  # fmt: skip
        while not (await db.execute_once(text("SELECT FROM task"), {})).all():
            assert script.poll() is None
        run(services, environment, "-m", "uow", "run", "--burst")
        said, _ = script.communicate(timeout=30)
    assert said == "order 7 is confirmed\n"
