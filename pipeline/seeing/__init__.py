"""Pure logic on what is in view: masks and regions, still scenes, cuts, and which face is which track."""
