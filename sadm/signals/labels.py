"""The same labels, used directly: a classifier's cross-entropy on x0_hat."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from sadm.core.errors import UserError
from sadm.signals.embeddings import embedding_of
from sadm.signals.pointwise import Balancing, PointwiseSignal


class LabelLoss(nn.Module):
    """``l_i = -log p(label_i | x0_hat_i)`` under a frozen classifier.

    What a structure encoder knows it has learned from the labels; this asks whether handing the labels on as an auxiliary
    classification loss does as well (the auxiliary classifier of Odena et al. 2017, arXiv 1610.09585, without its
    discriminator). It counts images whose label was dropped for the network, too: the game sees those as well.

    Args:
        encoder: from [B, C, H, W] to an embedding; see `embedding_of`.
        head: from [B, d] to logits [B, K].
    """

    def __init__(self, encoder: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head

    def forward(self, x0: torch.Tensor, x0_hat: torch.Tensor, label: torch.Tensor | None) -> torch.Tensor:
        """Losses [m] of x0_hat [m, C, H, W]; see the class.

        Raises:
            UserError: there are no labels.
        """
        if label is None:
            raise UserError("signal 'labels' needs labelled images; these have no labels. Use another --signal.")
        logits = self.head(embedding_of(self.encoder(x0_hat)))  # [m, K]
        return F.cross_entropy(logits, label, reduction="none")


def label_signal(encoder: nn.Module, head: nn.Module, balancing: Balancing) -> PointwiseSignal:
    """The control 'labels': `LabelLoss` with a pre-trained classifier, which is frozen here."""
    return PointwiseSignal("labels", LabelLoss(encoder, head), balancing)
