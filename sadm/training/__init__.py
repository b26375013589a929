"""Training: configuration, the trainer, encoder pre-training, checkpoints and what a run folder holds."""
