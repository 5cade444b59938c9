"""The command line: ``app.py`` gathers the verbs, ``verbs/`` has one file each, ``output/`` what people see."""

from facegate.cli.app import main

__all__ = ["main"]
