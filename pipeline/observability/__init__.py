"""Observability of a run: the ledger of outcomes, the report, health and metrics, contact sheets."""
