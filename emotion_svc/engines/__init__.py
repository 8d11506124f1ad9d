"""Engines: turns in, verdicts out, same order. One file for each heavy library."""
