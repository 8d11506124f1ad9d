"""`python -m emotion_svc.bench`: measures engines beside each other."""

from emotion_svc.bench.cli import main

if __name__ == "__main__":
    main()
