"""A grid of training options, ranked on the engine of comparisons."""
