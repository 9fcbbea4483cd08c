"""Writes the generated pages: docs/commands.md from the commands' own help, docs/data-model.md from the schema.

python docs/generate.py          # `make docs`; a test fails where the pages are behind
"""

from collections.abc import Iterator
from pathlib import Path

import click
from sqlalchemy import Table
from sqlalchemy.dialects import postgresql

from medcbir.cli.main import cli
from medcbir.store.sqlfiles import packaged_folder
from medcbir.store.tables import metadata

HERE = Path(__file__).parent

GONE = {"precision_group"}
"""Files of objects that a later migration dropped; going back needs them."""

COMMANDS_HEAD = """# Commands

Generated from `--help`; do not edit.

Exit codes: 0 done; 1 an error, told in one line; 2 wrong usage; 3 done, but files, rows or vectors were left out (see
table `medcbir.rejected`); 130 interrupted by Ctrl-C, after which the same command goes on where it was.

Settings: options win over environment variables (`MEDCBIR_DATA_DIR`, `MEDCBIR_WEIGHTS_DIR`, `MEDCBIR_ENCODERS_DIR`,
`MEDCBIR_MAX_PIXELS`, `MEDCBIR_PATIENT_KEY`, `DATABASE_URL` or libpq's `PGHOST`, `PGSERVICE`, ...; for a PACS see
docs/pacs.md), those over `config.toml` in the user's configuration folder for medcbir (keys `data_dir`, `weights_dir`,
`database_url`, ...).
"""

MODEL_HEAD = """# Data model

Generated from the schema; do not edit. Everything lives in PostgreSQL schema `medcbir`; keys are `<table>_id`.

- `image` has one row per frame of a file. `uri` is its name as its source writes it, `path` where its bytes are (NULL
  when it was catalogued from a manifest alone), `pixel_sha256` the digest of its decoded pixels.
- `label` is a class `MODALITY/region/finding`; an image may have several (evaluation uses those with exactly one).
- `encoder` is a recipe: architecture, checkpoint, preprocessing, precision. A changed recipe is another encoder.
- `embedding` holds the vectors, partitioned by encoder: `embedding_<name>` has a plain, unit-length vector per image.
- `run` is an evaluation's retrieval; `run_query` has one row per query with its hits as arrays, partitioned by run.
  View `hit` shows them a row each, view `neighbour` with their metadata. `unfinished_run` and `run_block` are for those
  being computed, which nothing else shows.
- `rejected` keeps every file or row that could not be used, with the reason.
"""


def commands_page() -> str:
    """The command reference as Markdown."""
    return "\n".join([COMMANDS_HEAD, *_help(cli, "medcbir", None)])


def _help(command: click.Command, name: str, parent: click.Context | None) -> Iterator[str]:
    context = click.Context(command, info_name=name, parent=parent, max_content_width=100, terminal_width=100)
    yield f"## {context.command_path}\n\n```text\n{command.get_help(context)}\n```\n"
    if isinstance(command, click.Group):
        for child in command.list_commands(context):
            found = command.get_command(context, child)
            if found is not None:
                yield from _help(found, child, context)


def model_page() -> str:
    """The data model as Markdown with a Mermaid diagram."""
    tables = [*metadata.sorted_tables]
    links = [
        f"    {key.column.table.name} ||--o{{ {table.name} : {key.parent.name}"
        for table in tables
        for key in sorted(table.foreign_keys, key=lambda key: key.parent.name)
    ]
    entities = [line for table in tables for line in _entity(table)]
    diagram = "\n".join(["```mermaid", "erDiagram", *links, *entities, "```"])
    live = (
        "- `image_vectors`: one row per image with its metadata and one typed vector column per encoder.\n"
        "- `filtered_image`: all named filters as one view, one row per filter and image that passes it.\n"
        "- `evaluation_query`: all metrics as one view, one row per metric, labelled query and N."
    )
    views, functions = _objects("views"), _objects("functions")
    return f"{MODEL_HEAD}\n{diagram}\n\n## Views\n\n{views}\n{live}\n\n## Functions\n\n{functions}\n"


def _objects(folder: str) -> str:
    files = sorted((packaged_folder("sql") / folder).glob("*.sql"))
    newest = {file.stem.rpartition("_v")[0]: file for file in files}
    return "\n".join(f"- `{name}`: {_purpose(file)}" for name, file in newest.items() if name not in GONE)


def _entity(table: Table) -> Iterator[str]:
    yield f"    {table.name} {{"
    for column in table.columns:
        kind = column.type.compile(dialect=postgresql.dialect()).lower()
        kind = kind.replace("timestamp with time zone", "timestamptz").replace(" ", "_").replace("[]", "_array")
        marks = [mark for mark, there in (("PK", column.primary_key), ("FK", column.foreign_keys)) if there]
        comment = f' "{column.comment}"' if column.comment else ""
        yield f"        {kind} {column.name}{' ' if marks else ''}{', '.join(marks)}{comment}"
    yield "    }"


def _purpose(file: Path) -> str:
    """The header comment of an SQL file up to its first sentence's end."""
    lines = [line.removeprefix("-- ") for line in file.read_text().splitlines() if line.startswith("--")]
    text = " ".join(lines).partition(": ")[2]
    return text.partition(". ")[0].rstrip(".") + "."


PAGES = {"commands.md": commands_page, "data-model.md": model_page}

if __name__ == "__main__":
    for file, page in PAGES.items():
        (HERE / file).write_text(page(), encoding="utf-8")
