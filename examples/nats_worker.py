"""A worker on a NATS JetStream server; run as many as you like, on any host.

python examples/nats_worker.py [URL]
"""

import asyncio
import sys

import cv2
import msgspec
import nats
import numpy as np
from nats.js.api import ConsumerConfig


async def main() -> None:
    """Take shots until stopped, and acknowledge each when it is done."""
    client = await nats.connect(sys.argv[1] if len(sys.argv) > 1 else "nats://127.0.0.1:4222")
    stream = client.jetstream()
    consumer = ConsumerConfig(ack_wait=30, max_ack_pending=256, max_deliver=10)
    shots = await stream.pull_subscribe(
        "facegate.shots.>", durable="recognition", stream="FACEGATE", config=consumer
    )
    while True:
        try:
            found = await shots.fetch(8, timeout=5)
        except nats.errors.TimeoutError:
            continue
        for message in found:
            try:
                header, crop, *_ = msgspec.msgpack.decode(message.data)
                face = cv2.imdecode(np.frombuffer(crop, np.uint8), cv2.IMREAD_COLOR)  # 112x112 BGR, aligned
                print(header["shot_id"], header["camera"], header["quality"]["value"], face.shape, flush=True)
            except Exception as error:  # it would fail again: publish it as a dead letter, with the reason
                await stream.publish("facegate.dead", message.data, headers={"Reason": str(error)[:200]})
                await message.term()
            else:
                await message.ack()


asyncio.run(main())
