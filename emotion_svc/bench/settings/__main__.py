"""`python -m emotion_svc.bench.settings`: measures vLLM's settings one at a time."""

from emotion_svc.bench.settings.cli import main

if __name__ == "__main__":
    main()
