"""The API as the application of this repository has it."""

from functools import partial

from uow.api.app import create_app
from worker.main import app as application

api_of = partial(create_app, application=application)
"""With the users' routes."""
