"""ipycam as an ONVIF device: ``python ipycam_device.py ONVIF_PORT RTSP_PORT WEB_PORT USER PASSWORD``."""

import sys
from threading import Event

from ipycam import CameraConfig, IPCamera

onvif, rtsp, web = map(int, sys.argv[1:4])
config = CameraConfig(local_ip="127.0.0.1", onvif_port=onvif, rtsp_port=rtsp, web_port=web)
config.set_credentials(*sys.argv[4:6])
camera = IPCamera(config)
camera.start()
Event().wait()
