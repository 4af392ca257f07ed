"""``worker demo``: the main job on real input, with nothing installed and nothing configured.

Starts throwaway servers, a worker process and a local mail sink; imports users from a file, which
creates each one and welcomes each by mail; exports data for some; then checks in SQL that every row
of the file has exactly one user and one welcome. With ``--chaos`` there are several workers, and
workers and servers are killed meanwhile; the check is the same.

What each file is:

- `house.py`, `workers.py`: what has to run.
- `work.py`, `chaos.py`: what is done, and what is done to those who do it.
- `check.py`: whether it came out right.
- `show.py`, `bars.py`, `summary.py`: what a person sees; `pages.py` what they see in a browser.
"""

from worker.demo.show import show

__all__ = ["show"]
