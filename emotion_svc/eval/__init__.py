"""Scores: how right the answers are, by family and by slice, how sure, and how steady."""
