"""What a person does to tasks: each act is guarded, and its audit row is in its own transaction."""
