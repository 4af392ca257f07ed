"""Where this process is asked for its metrics: a port of its own, or a supervisor's."""

from uow.metrics.metrics import Metrics, of_this_process
from uow.process.exposition import METRICS, check_installed, content_type, is_openmetrics_wanted
from uow.process.http_server import Answer, HttpRequest
from uow.process.reception import Routes
from uow.settings.environment import Settings


def routes_of(settings: Settings) -> Routes:
    """What is answered, if anything is to be.

    Raises:
        SettingsError: prometheus-client is not installed.
    """
    if settings.metrics_port is None:
        return {}
    check_installed()
    return {METRICS: _Teller(of_this_process()).tell}


class _Teller:
    """Answers with the text; on the thread that does nothing else."""

    def __init__(self, metrics: Metrics) -> None:
        from uow.metrics.families import text_of  # with prometheus-client, which is an extra

        self._metrics, self._text_of = metrics, text_of

    async def tell(self, request: HttpRequest) -> Answer:
        openmetrics = is_openmetrics_wanted(request.headers.get("accept", ""), request.query)
        text = self._text_of(self._metrics, openmetrics=openmetrics)
        return Answer(200, text, content_type(openmetrics=openmetrics))
