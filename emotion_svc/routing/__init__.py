"""Tiers: which engine answers a turn, by when, and what that may cost (docs/tiers.md)."""
