"""Reads the addresses of servers as providers, secret files and people hand them out.

What is clear is read, also if it is not quite a URL: a line end, quotes, an ``@`` in a password, a
word of another driver. What is not is a `ValueError` whose text is one line: what is wrong, and
what to write. It never holds a piece that could be of the password.

- `parts.py`: what any such URL is made of.
- `postgres.py` with `meaning.py`, and `redis.py`: what its words mean to our drivers.
- `engine.py` and `libpq.py`: as asyncpg takes it, and as drivers of libpq's do.
- `certificates.py`: the files that it names.
"""
