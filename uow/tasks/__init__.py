"""What a task is, and asking for one: `@task`, its arguments and options, its row, its handle."""
