"""The groups of commands that look at what there is and act on it; their commands are beside it."""

import typer

from uow.cli.app import app

tasks = typer.Typer(help="Tasks: list, show, explain, act on them.", no_args_is_help=True)
queues = typer.Typer(help="Queues: what waits, runs and fails.", no_args_is_help=True)
names = typer.Typer(help="Task functions: what waits, runs and fails.", no_args_is_help=True)
users = typer.Typer(help="Users: what waits, runs and fails.", no_args_is_help=True)

for _name, _group in (("tasks", tasks), ("queues", queues), ("names", names), ("users", users)):
    app.add_typer(_group, name=_name)
