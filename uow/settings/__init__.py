"""What is set from outside: `uow.settings.environment.Settings`, and what a value may be."""
