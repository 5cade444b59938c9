"""Finds cameras in the network: WS-Discovery, ONVIF, and known RTSP paths of vendors."""
