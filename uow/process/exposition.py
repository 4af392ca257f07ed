"""What `/metrics` is as text, as far as no library is needed: the formats, and several made one."""

import re
from collections.abc import Sequence
from importlib.util import find_spec

from uow.errors import SettingsError

METRICS = "/metrics"

METRICS_IN_FULL = f"{METRICS}?openmetrics"
"""In the format that has exemplars, whoever asks."""

OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

PLAIN = "text/plain; version=0.0.4; charset=utf-8"

_END = b"# EOF\n"

_HEADING = re.compile(rb"# (?:HELP|TYPE|UNIT) (\S+) ")


def is_openmetrics_wanted(accepted: str, query: str = "") -> bool:
    """Whether a scraper takes the format that has exemplars; Prometheus does."""
    return "application/openmetrics-text" in accepted or query == "openmetrics"


def content_type(*, openmetrics: bool) -> str:
    """How such a text is called in HTTP."""
    return OPENMETRICS if openmetrics else PLAIN


def check_installed() -> None:
    """Refuse a port for metrics that nobody could make.

    Raises:
        SettingsError: prometheus-client is not installed.
    """
    if find_spec("prometheus_client") is None:
        raise SettingsError(
            "WORKER_METRICS_PORT is set, but prometheus-client is not installed: "
            "pip install 'uow-worker[metrics]'"
        )


def merged(texts: Sequence[tuple[str, bytes]], *, openmetrics: bool) -> bytes:
    """The texts of several processes as one; each sample says whose it is, as label `process`.

    They are not summed: a process that is started again begins at zero, and whoever asks can only
    tell that of a series of its own.

    Args:
        texts: Each with the name of its process; in one format, as our processes write it.
    """
    headings: dict[bytes, list[bytes]] = {}
    samples: dict[bytes, list[bytes]] = {}
    for name, text in texts:
        family = b""
        for line in text.removesuffix(_END).split(b"\n"):  # \r is a character of a label's
            if not line:
                continue
            if (found := _HEADING.match(line)) is not None:
                family = found[1]
                known = headings.setdefault(family, [])
                if line not in known:
                    known.append(line)
            else:
                samples.setdefault(family, []).append(_labelled(line, name.encode()))
    lines = [one for family in headings for one in (*headings[family], *samples.get(family, ()))]
    return b"".join(b"%b\n" % line for line in lines) + (_END if openmetrics else b"")


def _labelled(sample: bytes, process: bytes) -> bytes:
    """A sample with one label more; what comes behind its value may have braces, too."""
    name, space, value = sample.partition(b" ")
    metric, brace, labels = sample.partition(b"{")
    if brace and len(metric) < len(name):
        return b'%b{process="%b",%b' % (metric, process, labels)
    return b'%b{process="%b"}%b%b' % (name, process, space, value)
