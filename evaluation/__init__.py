"""Judging face image quality: degradations, error-versus-discard curves, baselines and data sets."""
