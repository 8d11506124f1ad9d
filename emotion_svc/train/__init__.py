"""Makes the model directory: tokenizer, training, export, calibration, model card. Nothing that serves imports it."""
