"""Estimators as files: arrays plus JSON."""
