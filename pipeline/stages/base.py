"""What a stage is. A stage never swallows an error: what it cannot handle goes up to the runner, which names it."""

from __future__ import annotations

from typing import Protocol, TypeVar

from facegate.pipeline.flow.channel import Channel, Lane

In = TypeVar("In")
Out = TypeVar("Out")


class Stage(Protocol[In, Out]):
    """Takes from ``inbox`` until the end of the stream, puts to ``outbox``. The runner closes ``outbox``."""

    name: str

    def run(self, inbox: Channel[In], outbox: Lane[Out]) -> None:
        """Work until :class:`~facegate.pipeline.flow.channel.EndOfStream`."""
        ...
