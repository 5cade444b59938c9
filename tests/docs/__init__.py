"""Tests of the documentation: reference pages are generated, links lead somewhere, names that occur exist."""
