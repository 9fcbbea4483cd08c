"""The shell: thin Click commands that parse, call one method of `medcbir.api`, and render. See docs/commands.md."""

from medcbir.cli.main import main

__all__ = ["main"]
