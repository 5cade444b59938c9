"""One file a stage, from frames to shots; each is a class with ``run(inbox, outbox)``."""
