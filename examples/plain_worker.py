"""A minimal worker in pyzmq and msgspec, to connect any recognizer to a gate.

python examples/plain_worker.py [ENDPOINT]
"""

import sys
import time

import cv2
import msgspec
import numpy as np
import zmq

socket = zmq.Context().socket(zmq.DEALER)
socket.connect(sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:5570")
ready = [b"READY", msgspec.msgpack.encode({"window": 4})]
beat = 0.0
while True:
    if time.monotonic() >= beat:
        socket.send_multipart(ready)
        beat = time.monotonic() + 1
    if not socket.poll(200):
        continue
    kind, *body = socket.recv_multipart()
    if kind == b"END":
        break
    header = msgspec.msgpack.decode(body[0])
    crop = cv2.imdecode(np.frombuffer(body[1], np.uint8), cv2.IMREAD_COLOR)  # 112x112 BGR, aligned
    print(header["camera"], header["track_id"], header["quality"]["value"], crop.shape, flush=True)
    ack = {"shot_id": header["shot_id"], "latency_ms": 0.0}
    socket.send_multipart([b"ACK", msgspec.msgpack.encode(ack)])
