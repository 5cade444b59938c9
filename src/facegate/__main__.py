"""``python -m facegate``."""

from facegate.cli import command

if __name__ == "__main__":
    command()
