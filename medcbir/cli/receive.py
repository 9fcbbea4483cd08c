"""medcbir receive."""

from typing import TYPE_CHECKING

import click

from medcbir.cli.options import database, device, encoders, output_format
from medcbir.cli.watch import tell, until_stopped

if TYPE_CHECKING:
    from medcbir.api import Database, Device


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="Where to listen.")
@click.option("--port", type=click.IntRange(0, 65535), default=11112, show_default=True, help="0 takes a free one.")
@click.option("--aet", default="MEDCBIR", show_default=True, metavar="TITLE", help="The AE title to be called by.")
@click.option(
    "--allow-aet", multiple=True, metavar="TITLE", help="A calling AE title to accept, and no other; may be repeated."
)
@click.option(
    "--max-associations", type=click.IntRange(min=1), default=10, show_default=True, metavar="N", help="At a time."
)
@click.option("--name", default="received", show_default=True, metavar="NAME", help="Name of the dataset to store.")
@encoders
@device
@output_format("text", "json")
@database
def receive(
    db: "Database",
    host: str,
    port: int,
    aet: str,
    allow_aet: tuple[str, ...],
    max_associations: int,
    name: str,
    encoder: tuple[str, ...],
    no_encode: bool,
    device: "Device",
    output: str,
) -> None:
    """Ingest what modalities and archives push by DICOM C-STORE.

    An instance is acknowledged when it is safely on disk; the catalogue and the encoders follow in batches. A killed
    command loses nothing that it has acknowledged: started again, it first catalogues that. Before it listens to other
    machines, read docs/pacs.md: an AE title is a name, not a password. Ctrl-C or SIGTERM ends it, with exit code 0.
    """

    def listening(port: int) -> None:
        click.echo(f"listening on {host} port {port} as {aet}", err=True)

    with until_stopped():
        batches = db.receive(
            host=host,
            port=port,
            aet=aet,
            allow=allow_aet,
            max_associations=max_associations,
            name=name,
            encoder=encoder,
            encode=not no_encode,
            device=device,
            on_listening=listening,
        )
        tell(batches, output)
