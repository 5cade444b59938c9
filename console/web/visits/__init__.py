"""Routes about visits: lists, single visits, corrections, exports."""
