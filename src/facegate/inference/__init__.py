"""Networks on a device: sessions, devices, ONNX graphs."""
