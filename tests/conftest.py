"""Fixtures that all tests share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from calling import Caller
from hypothesis import HealthCheck, settings

from dagdvid.config import Config
from dagdvid.server import Server

QUIET = [HealthCheck.too_slow, HealthCheck.filter_too_much]
"""What says something of the machine, or of how rarely a rule of a state machine has all that it needs."""

settings.register_profile("default", max_examples=50, deadline=None, suppress_health_check=QUIET)
settings.register_profile("soak", max_examples=2000, deadline=None, suppress_health_check=QUIET)
settings.load_profile("default")


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(data=tmp_path / "data")


@pytest.fixture
def server(config: Config) -> Any:
    opened = Server.open(config)
    yield opened
    opened.close()


@pytest.fixture
def call(server: Server) -> Caller:
    return Caller(server)
