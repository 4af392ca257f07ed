"""``worker demo``: the main job on real input, with nothing installed and nothing configured.

Starts throwaway servers, a worker process and a local mail sink; imports users from a file, which
creates each one and welcomes each by mail; exports data for some; then checks in SQL that every row
of the file has exactly one user and one welcome.
"""

from worker.demo.show import show

__all__ = ["show"]
