"""`python -m emotion_svc.eval`: scores an engine on gold turns."""

from emotion_svc.eval.cli import main

if __name__ == "__main__":
    main()
