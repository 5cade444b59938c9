"""Publishes a clip in a loop with rtsp-rs: ``python rtsp_rs_server.py CLIP HOST:PORT``."""

import itertools
import sys
import time

import av
import rtsp

server = rtsp.Server(sys.argv[2])
server.start()
for _ in itertools.count():
    with av.open(sys.argv[1]) as clip:
        stream = clip.streams.video[0]
        to_annex_b = av.bitstream.BitStreamFilterContext("h264_mp4toannexb", stream)
        rate, began, number = float(stream.average_rate), time.monotonic(), 0
        for packet in clip.demux(stream):
            for part in to_annex_b.filter(packet):
                number += 1
                time.sleep(max(0.0, began + number / rate - time.monotonic()))
                server.send_frame(bytes(part), int(90_000 / rate))
