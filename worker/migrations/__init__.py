"""The application's own Alembic.

`worker migrate` runs it after the library's; the plain command ``alembic`` makes the next revision.
"""
