"""The shell: thin Click commands that parse, call one method of `api.py`, and render. See docs/commands.md."""

from medcbir.cli.main import main

__all__ = ["main"]
