"""The experiments of the paper, one file each; see `sadm.experiments.reproduction.targets`."""
