"""The stages from frames to shots, one per file; each is a class with ``run(inbox, outbox)``."""
