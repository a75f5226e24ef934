"""The command line: one file per command."""

from hebm.cli.app import app, main

__all__ = ["app", "main"]
