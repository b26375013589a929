"""Those who play against the denoiser: what they see, how they judge, how they learn."""
