"""Measures: how fast the engines answer, what a user would have instead, and how far both are from the floor."""
