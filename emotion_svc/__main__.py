"""`python -m emotion_svc` is `emotion-svc`."""

from emotion_svc.cli import main

if __name__ == "__main__":
    main(prog_name="emotion-svc")
