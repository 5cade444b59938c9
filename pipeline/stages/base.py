"""The stage protocol. A stage never swallows an error; the runner raises it with the stage's name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from facegate.pipeline.flow.channel import Channel, Lane

In = TypeVar("In")
Out = TypeVar("Out")


class Stage(Protocol[In, Out]):
    """Reads ``inbox`` until the end of the stream and writes ``outbox``, which the runner closes."""

    name: str

    def run(self, inbox: Channel[In], outbox: Lane[Out]) -> None:
        """Run until :class:`~facegate.pipeline.flow.channel.EndOfStream`."""
        ...


STAGE_CAPACITY = 16
"""Records that wait between two stages."""


def link(stage: Stage[In, Out], inbox: Channel[In], outbox: Channel[Out]) -> Callable[[], None]:
    """Return the function of a stage's thread, which closes its lane of ``outbox`` at the end."""
    lane = outbox.lane(STAGE_CAPACITY)

    def run() -> None:
        try:
            stage.run(inbox, lane)
        finally:
            lane.close()

    return run
