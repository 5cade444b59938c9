"""The gate by itself: what deciding costs, and whether what it promises holds."""
