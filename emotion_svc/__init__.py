"""Which face Pika wears, and whether the child just got an English exercise right."""

__version__ = "0.1.0"
