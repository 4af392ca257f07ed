"""Who acts at the shell."""

import getpass

from uow.acts.actor import Actor


def at_the_shell() -> Actor:
    """The account that runs the command; one without a name is called by its number."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a container whose account has no entry
        import os

        name = f"uid {os.getuid()}"
    return Actor(name, "shell")
