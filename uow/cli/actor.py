"""Who acts at the shell."""

import getpass
import os

from uow.acts.actor import Actor


def actor_here() -> Actor:
    """The account that has typed the command."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # in a container there may be none of that number
        name = f"uid {os.getuid()}"
    return Actor(name, "shell")
