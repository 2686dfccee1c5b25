"""Estimators of the log-ratio: single ones, their parts, averages of several."""
