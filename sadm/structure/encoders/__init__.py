"""Encoders: images to embeddings whose arrangement is compared; each file stands alone.

Any module from [B, C, H, W] to [B, d], to [B, P, d] or to a tuple of those will do (see `sadm.structure.parts`), provided
that it treats images independently: no batch norm, no dropout.
"""
