"""Where faces are searched: regions, motion, scene cuts, and how often the whole frame is detected."""
