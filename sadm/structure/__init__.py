"""Structure guidance for anybody's training loop; needs torch alone.

    game = StructureGame(encoder)
    loss = loss + game(loss, x0, x0_hat, sigma)        # the paper's game, at the output

    hidden = HiddenStructure(encoder.trunk, net.blocks[-1])
    loss = loss + hidden(x0, loss)                     # the same idea in a hidden layer, and nobody plays

Source of the idea: Yang et al., CVPR 2024, arXiv 2402.17563. What the paper leaves open (encoder, relation, weights, update
ratio) is an option here, with a measured default.
"""

from sadm.structure.balance import Ratio, balance_coefficients, coefficients_of_norms
from sadm.structure.cache import EmbeddingCache
from sadm.structure.encoders.conv import ConvEncoder
from sadm.structure.encoders.features import DenoiserFeatures
from sadm.structure.encoders.pretrained import PretrainedEncoder, load_encoder
from sadm.structure.encoders.vit import ViTEncoder
from sadm.structure.energy import energy_distance
from sadm.structure.errors import StructureError
from sadm.structure.game import StructureGame
from sadm.structure.gap import PENALTIES, Gap, huber_gap, rank_gap, spectral_gap, squared_gap, structure_gap
from sadm.structure.gram import gram_gap
from sadm.structure.grids import on_grid, patch_grid
from sadm.structure.hidden import HiddenStructure, hidden_gap
from sadm.structure.noise_levels import (
    CHOICES,
    Choice,
    falling,
    growing,
    noisiest,
    uniform_weight,
    wiener_weight,
)
from sadm.structure.parts import Output, parts_gap
from sadm.structure.play import Play
from sadm.structure.players.adversaries import AscendingDiscriminator, FrozenDiscriminator
from sadm.structure.players.classifier import ClassifyingDiscriminator, RelationClassifier
from sadm.structure.players.discriminator import StructureDiscriminator
from sadm.structure.players.updates import UpdateRule
from sadm.structure.processes import ALONE, Part, Processes, processes_here
from sadm.structure.relations import (
    RELATIONS,
    Relation,
    angle_relations,
    cosine_relations,
    euclidean_relations,
    rbf_relations,
)
from sadm.structure.schedule import Schedule
from sadm.structure.targets import attribute_affinity, label_affinity
from sadm.structure.watchdog import Event, Watchdog

__all__ = [
    "ALONE",
    "CHOICES",
    "PENALTIES",
    "RELATIONS",
    "AscendingDiscriminator",
    "Choice",
    "ClassifyingDiscriminator",
    "ConvEncoder",
    "DenoiserFeatures",
    "EmbeddingCache",
    "Event",
    "FrozenDiscriminator",
    "Gap",
    "HiddenStructure",
    "Output",
    "Part",
    "Play",
    "PretrainedEncoder",
    "Processes",
    "Ratio",
    "Relation",
    "RelationClassifier",
    "Schedule",
    "StructureDiscriminator",
    "StructureError",
    "StructureGame",
    "UpdateRule",
    "ViTEncoder",
    "Watchdog",
    "angle_relations",
    "attribute_affinity",
    "balance_coefficients",
    "coefficients_of_norms",
    "cosine_relations",
    "energy_distance",
    "euclidean_relations",
    "falling",
    "gram_gap",
    "growing",
    "hidden_gap",
    "huber_gap",
    "label_affinity",
    "load_encoder",
    "noisiest",
    "on_grid",
    "parts_gap",
    "patch_grid",
    "processes_here",
    "rank_gap",
    "rbf_relations",
    "spectral_gap",
    "squared_gap",
    "structure_gap",
    "uniform_weight",
    "wiener_weight",
]
