"""`Private`: what no list, page or log of ours shows."""


class Private:
    """Marks an argument, a result or a field in one that nobody is to see who looks at tasks.

    ``card: Annotated[str, Private]``: the task function gets it as it is, and Postgres stores it as
    it is; every face of ours shows ``[redacted]`` in its place.
    """
