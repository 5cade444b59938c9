"""Matching: templates, decision rules, impostor score tails."""
