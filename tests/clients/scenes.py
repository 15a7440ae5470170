"""What Neuroglancer shows of a DVID server, as pixels: its own client in a headless browser, driven from Python."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import Browser, chromium
from numpy.typing import NDArray

from dagdvid.cli.child import ServerProcess

__all__ = ["Scenes", "scenes"]

SIZE = (400, 300)
"""Pixels of the picture along x and y."""
VOXEL = 8
"""Nanometres of a voxel at the finest scale, along each axis."""
PATIENCE = 60.0
"""Seconds that a picture may take until all of it is loaded."""


class Scenes:
    """Pictures of layers that a server has."""

    def __init__(self, server: ServerProcess, browser: Browser, viewer: Any) -> None:
        """Use `scenes`."""
        self.url = server.url
        self._browser = browser
        self._viewer = viewer

    def shown(
        self, layers: Sequence[dict[str, Any]], position: tuple[float, float, float], scale: float
    ) -> NDArray[np.uint8]:
        """What the plane z = `position[2]` looks like once all is loaded: array [y, x, channel], RGB.

        Args:
            layers: Neuroglancer's, as in its JSON state, the lowest first.
            position: the middle of the picture, x, y, z in voxels of the finest scale.
            scale: such voxels a pixel.
        """
        state = {
            "dimensions": {axis: [VOXEL * 1e-9, "m"] for axis in "xyz"},
            "position": list(position),
            "crossSectionScale": scale,
            "layout": "xy",
            "layers": list(layers),
            **dict.fromkeys(("showAxisLines", "showScaleBar", "showDefaultAnnotations"), False),
        }
        self._viewer.set_state(state)
        taken: list[Any] = []
        self._viewer.async_screenshot(taken.append, include_depth=False)
        deadline = time.monotonic() + PATIENCE
        while not taken:
            assert time.monotonic() < deadline, f"not all is shown after {PATIENCE} s: {self._browser.problems()}"
            self._browser.evaluate("0")  # takes what it has to say, lest it waits for us
            time.sleep(0.02)
        pixels = np.asarray(taken[0].screenshot.image_pixels)
        assert pixels.shape == (SIZE[1], SIZE[0], 4)
        return pixels[:, :, :3]


@contextmanager
def scenes(folder: Path) -> Iterator[Scenes]:
    """A server on an empty folder, whose data a page of Neuroglancer can show."""
    program = chromium()
    if program is None:
        pytest.skip("there is no Chromium here: apt-get install chromium")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        neuroglancer = pytest.importorskip("neuroglancer", reason="pip install dagdvid[browser]")
    (folder / "dvid.toml").write_text('[server]\ncorsDomains = ["*"]\n')
    neuroglancer.set_server_bind_address("127.0.0.1")
    with (
        pytest.MonkeyPatch.context() as patch,
        ServerProcess(folder / "data", "127.0.0.1:0", str(folder / "dvid.toml")) as server,
        Browser(program, folder / "profile", SIZE) as browser,
    ):
        patch.setenv("DVID_CREDENTIALS", f"{server.url}=none")  # it asks for some, and sends none
        try:
            viewer = neuroglancer.Viewer()
            with viewer.config_state.txn() as config:
                config.show_ui_controls = False
                config.show_panel_borders = False
            browser.call("Page.navigate", url=viewer.get_viewer_url())
            yield Scenes(server, browser, viewer)
        finally:
            neuroglancer.stop()
