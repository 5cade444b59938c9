"""Face detectors behind one protocol, and the alignment that every path uses."""
