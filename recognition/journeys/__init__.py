"""Journeys: the visits of one person over several cameras."""
