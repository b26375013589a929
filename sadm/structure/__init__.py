"""Structure guidance for anybody's training loop; needs torch alone.

    game = StructureGame(encoder)
    loss = loss + game(loss, x0, x0_hat, sigma)

Source of the idea: Yang et al., CVPR 2024, arXiv 2402.17563. What the paper leaves open (encoder, relation, weights, update
ratio) is an option here, with a measured default.
"""

from sadm.structure.balance import balance_coefficients
from sadm.structure.discriminator import StructureDiscriminator
from sadm.structure.encoders import ConvEncoder
from sadm.structure.errors import StructureError
from sadm.structure.game import Play, Schedule, StructureGame
from sadm.structure.gap import structure_gap
from sadm.structure.noise_levels import noisiest, uniform_weight, wiener_weight
from sadm.structure.relations import RELATIONS, Relation, cosine_relations, euclidean_relations

__all__ = [
    "RELATIONS",
    "ConvEncoder",
    "Play",
    "Relation",
    "Schedule",
    "StructureDiscriminator",
    "StructureError",
    "StructureGame",
    "balance_coefficients",
    "cosine_relations",
    "euclidean_relations",
    "noisiest",
    "structure_gap",
    "uniform_weight",
    "wiener_weight",
]
