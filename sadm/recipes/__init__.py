"""Packaged recipes: one YAML file each, a `sadm.training.config.TrainConfig` without its defaults."""
