"""SADM: structure-guided adversarial training of diffusion models (Yang et al., CVPR 2024, arXiv 2402.17563).

from sadm.structure import StructureGame
game = StructureGame(encoder)
loss = loss + game(loss, x0, x0_hat, sigma)
"""

__version__ = "0.1.0"
