"""Paired, reproducible measurements; README.md says what each shows."""
