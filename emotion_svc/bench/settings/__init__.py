"""The vLLM settings study: what each setting is said to save, and what it saves here."""
