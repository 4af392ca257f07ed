"""A "task module" that does what the environment variable PROBE says, instead of having tasks."""

import os

exec(os.environ["PROBE"])
