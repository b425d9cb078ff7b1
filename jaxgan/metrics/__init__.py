"""Scores of what a generator makes: pure functions of samples."""
