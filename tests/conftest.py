"""Fixtures that all tests share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from calling import Caller
from hypothesis import HealthCheck, settings

from dagdvid.config import Config
from dagdvid.server import Server

settings.register_profile("default", max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("soak", max_examples=2000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
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
