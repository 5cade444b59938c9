"""The gate alone: cost of decisions, and whether its target recall holds."""
