"""`python -m emotion_svc.train`: from `train_data/` to a model directory."""

from emotion_svc.train.cli import main

if __name__ == "__main__":
    main()
