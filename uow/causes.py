"""The walk along the causes of an error."""

from collections.abc import Iterator

LONGEST_CHAIN = 20
"""Causes of causes that are looked at: a chain may be a ring."""


def chain_of(error: BaseException, *links: str) -> Iterator[BaseException]:
    """`error`, what it comes from, what that comes from, and so on.

    Args:
        links: Attributes that lead on, as ``"__cause__"``; the first that does is followed.
    """
    link: BaseException | None = error
    for _ in range(LONGEST_CHAIN):
        if link is None:
            return
        yield link
        further = (getattr(link, name, None) for name in links)
        link = next((one for one in further if isinstance(one, BaseException)), None)
