"""`dagdvid serve`."""

from __future__ import annotations

from pathlib import Path

import click

from dagdvid.config import DEFAULT_DATA, DEFAULT_HTTP, DURABILITIES, HTTP_SERVERS, load

__all__ = ["serve"]


@click.command
@click.argument("config", required=False, type=click.Path(path_type=Path, dir_okay=False), metavar="[CONFIG.toml]")
@click.option(
    "--data",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help=f"The data directory, made if it is not there; else the file's, else {DEFAULT_DATA}.",
)
@click.option("--http", metavar="HOST:PORT", help=f"Where to listen; else the file's, else {DEFAULT_HTTP}.")
@click.option("--workers", metavar="N", type=click.IntRange(min=1), help="Processes; else as the file says, else 1.")
@click.option("--readonly", is_flag=True, help="Take no writes.")
@click.option("--fullwrite", is_flag=True, help="Take writes to committed versions, too, from everybody.")
@click.option(
    "--http-server",
    type=click.Choice(HTTP_SERVERS),
    default=HTTP_SERVERS[0],
    show_default=True,
    help="What carries HTTP.",
)
@click.option(
    "--durability",
    type=click.Choice(DURABILITIES),
    help="When what was answered is on disk: at once (full), or within a second, so that a power cut may take the last "
    "second but the end of the process nothing (relaxed). Else the file's, else full.",
)
@click.option("--quiet", is_flag=True, help="Log only what is wrong.")
def serve(
    config: Path | None,
    data: Path | None,
    http: str | None,
    *,
    workers: int | None,
    readonly: bool,
    fullwrite: bool,
    http_server: str,
    durability: str | None,
    quiet: bool,
) -> None:
    """Serve a data directory until interrupted.

    CONFIG.toml is DVID's configuration file; dagdvid config keys lists what may stand in it. The environment variable
    DVID_ADMIN_TOKEN is the admin token.
    """
    settings = load(
        config,
        data=data,
        http=http,
        workers=workers,
        readonly=readonly,
        fullwrite=fullwrite,
        access_log=not quiet,
        http_server=http_server,
        durability=durability,
    )
    from dagdvid.api import serve as service  # noqa: PLC0415 - heavy

    service.serve(settings)
