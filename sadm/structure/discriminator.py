"""The structure discriminator: an encoder that makes the difference in structure visible, or is kept frozen.

Reading (a) of the paper's figure 3: the encoder *ascends* the structure gap while the denoiser descends it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from sadm.structure.errors import StructureError
from sadm.structure.gap import PENALTIES, structure_gap
from sadm.structure.relations import RELATIONS, Relation

ADVERSARIES = ("ascend", "frozen")


class StructureDiscriminator:
    """Owns the encoder and its optimiser; both players are served by one encoder pass.

    Args:
        encoder: module from [B, C, H, W] to [B, d]. It is changed in place when it ascends.
        relation: a name in `RELATIONS`, or a callable of that shape.
        penalty: see `structure_gap`.
        adversary: ``ascend`` or ``frozen``.
        learning_rate: of the ascending encoder's Adam.
        pull: strength of the pull towards the starting weights, added to the ascent as ``pull / 2 * |w - w_start|^2``.

    Raises:
        StructureError: an unknown name, or an encoder that mixes images (batch norm) or is random (dropout).
    """

    def __init__(
        self,
        encoder: nn.Module,
        relation: str | Relation = "cosine",
        penalty: str = "squared",
        adversary: str = "ascend",
        learning_rate: float = 2e-5,
        pull: float = 0.0,
    ) -> None:
        if adversary not in ADVERSARIES:
            raise StructureError(f"unknown adversary {adversary!r}; expected one of {', '.join(ADVERSARIES)}")
        if isinstance(relation, str) and relation not in RELATIONS:
            raise StructureError(
                f"unknown relation {relation!r}; expected one of {', '.join(RELATIONS)}, or a callable"
            )
        if penalty not in PENALTIES:
            raise StructureError(f"unknown penalty {penalty!r}; expected one of {', '.join(PENALTIES)}")
        self.encoder = encoder
        self.relation = RELATIONS[relation] if isinstance(relation, str) else relation
        self.penalty, self.adversary, self.pull = penalty, adversary, pull
        self.parameters: list[nn.Parameter] = []
        self.start: list[torch.Tensor] = []
        self.optimiser: torch.optim.Optimizer | None = None
        if adversary == "frozen":
            encoder.eval().requires_grad_(False)
        else:
            refuse_mixing(encoder)
            self.parameters = [p for p in encoder.parameters() if p.requires_grad]
            if not self.parameters:
                raise StructureError("adversary 'ascend' needs an encoder with trainable parameters; use 'frozen'")
            self.start = [p.detach().clone() for p in self.parameters] if pull else []
            self.optimiser = torch.optim.Adam(self.parameters, lr=learning_rate)

    def gap_and_gradient(
        self, x0: torch.Tensor, x0_hat: torch.Tensor, weight: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The structure gap and its gradient at x0_hat; leaves the ascent's gradients on the encoder for `ascend`.

        Args:
            x0: real images [B, C, H, W].
            x0_hat: denoised images [B, C, H, W]; the graph behind them is not touched.
            weight: of each image [B].

        Returns:
            The gap (scalar) and ``d gap / d x0_hat`` [B, C, H, W].
        """
        dtype = self._dtype(x0)
        leaf = x0_hat.detach().to(dtype).requires_grad_()
        # Relations and distances lose their digits in half precision, so autocast stops at this door.
        with torch.enable_grad(), torch.autocast(x0.device.type, enabled=False):
            gap = self._gap(x0.detach().to(dtype), leaf, weight)
            gradients = torch.autograd.grad(gap, [leaf, *self.parameters], allow_unused=True)
        for parameter, gradient in zip(self.parameters, gradients[1:], strict=True):
            parameter.grad = None if gradient is None else -gradient  # the optimiser descends: -gap
        if gradients[0] is None:
            raise StructureError("the encoder's output does not depend on its input")
        return gap.detach(), gradients[0]

    def ascend(self) -> None:
        """One step of the adversary with the gradients that the last `gap_and_gradient` left; nothing when frozen."""
        if self.optimiser is None:
            return
        for parameter, start in zip(self.parameters, self.start, strict=False):
            if parameter.grad is not None:
                parameter.grad.add_(parameter.detach() - start, alpha=self.pull)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)

    def state_dict(self) -> dict[str, Any]:
        """Encoder, optimiser and, with a pull, the starting point."""
        state: dict[str, Any] = {"encoder": self.encoder.state_dict(), "start": list(self.start)}
        if self.optimiser is not None:
            state["optimiser"] = self.optimiser.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` gave."""
        self.encoder.load_state_dict(state["encoder"])
        self.start = list(state["start"])
        if self.optimiser is not None:
            self.optimiser.load_state_dict(state["optimiser"])

    def _gap(self, x0: torch.Tensor, leaf: torch.Tensor, weight: torch.Tensor | None) -> torch.Tensor:
        if self.adversary == "frozen":
            with torch.no_grad():
                embedding = self.encoder(x0)  # [B, d]
            embedding_hat = self.encoder(leaf)  # [B, d]
        else:
            embedding, embedding_hat = self.encoder(torch.cat([x0, leaf])).chunk(2)
        relation, relation_hat = self.relation(embedding, embedding_hat)
        return structure_gap(relation, relation_hat, weight, self.penalty)

    def _dtype(self, x0: torch.Tensor) -> torch.dtype:
        own = next((p.dtype for p in self.encoder.parameters()), x0.dtype)
        return own if own.is_floating_point else x0.dtype


def refuse_mixing(encoder: nn.Module) -> None:
    """Refuses modules that mix the images of a batch or draw random numbers.

    Raises:
        StructureError: batch norm or dropout, with the module's name.
    """
    for name, module in encoder.named_modules():
        batch_norm = isinstance(module, nn.modules.batchnorm._BatchNorm)
        dropout = isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0
        if batch_norm or dropout:
            raise StructureError(
                f"the encoder's module '{name}' is a {type(module).__name__}: it mixes real and denoised images or makes the "
                "gap random. Use group or layer norm and no dropout, or adversary 'frozen'"
            )
