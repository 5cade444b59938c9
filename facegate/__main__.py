"""``python -m facegate``."""

from facegate.cli import main

if __name__ == "__main__":
    main()
