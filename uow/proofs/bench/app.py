"""What the benchmark's workers run: an application of its own."""

from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from pydantic import Field

from uow.application import App
from uow.settings.environment import GivenSettings, Settings
from uow.settings.types import SettingValues

NAME = "uow.proofs.bench.app:app"


class BenchSettingValues(SettingValues, total=False):
    """The arguments of `BenchSettings`, for type checkers."""

    tally_dir: str | Path


class BenchSettings(Settings):
    """The settings, and where it is counted what runs."""

    tally_dir: Path = Field(Path(), description="The folder of orders and tallies.")

    if TYPE_CHECKING:

        def __init__(self, **values: Unpack[BenchSettingValues]) -> None: ...


class GivenBenchSettings(GivenSettings, BenchSettings):
    """Those of throwaway servers."""


app = App(settings=BenchSettings, modules=["uow.proofs.bench.tasks"])
