"""The recognizers that teach, as networks in torch or OpenVINO."""
