"""A word to others that a server starts (DVID: startWebhook and startJaneliaConfig, server/server_local.go)."""

from __future__ import annotations

import json
from collections.abc import Mapping

import httpx

from dagdvid.errors import RemoteError

__all__ = ["tell"]

_TIMEOUT = 30.0


def tell(url: str, said: Mapping[str, str], *, form: bool = False) -> None:
    """Post what a server is as JSON, or as a form whose field `config` has the JSON.

    Raises:
        RemoteError: it does not answer 200.
    """
    text = json.dumps(said)
    try:
        if form:
            answer = httpx.post(url, data={"config": text}, timeout=_TIMEOUT)
        else:
            answer = httpx.post(url, content=text, headers={"Content-Type": "application/json"}, timeout=_TIMEOUT)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise RemoteError(f"{url}, which must be told that the server starts: {error}") from None
    if answer.status_code != 200:
        raise RemoteError(f"{url}, which must be told that the server starts, answered {answer.status_code}")
