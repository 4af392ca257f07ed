"""The Postgres side, blind to Redis: sessions, tables, statements and their history."""
