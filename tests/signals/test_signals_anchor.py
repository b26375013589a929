"""The anchor: against loops over pairs of images, and against autograd through a network written out."""

from __future__ import annotations

import copy
import dataclasses
import math

import pytest
import torch
from signal_steps import made_up
from torch import nn

from sadm.core.conditions import Cond
from sadm.core.errors import UserError
from sadm.signals import AnchorSignal, Source, row_divergence
from sadm.structure import Part, Schedule

LABELS = torch.tensor([3, 1, 2, 3])  # the source never learned class 0


class Net(nn.Module):
    """Two linear layers on the four columns of an image [B, 1, 5, 4], each a token, with a shift by label; float64."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        draws = torch.Generator().manual_seed(seed)
        self.first, self.last = nn.Linear(5, 3), nn.Linear(3, 5)
        self.shift = nn.Embedding(4, 3)
        for parameter in self.double().parameters():
            parameter.data = torch.randn(parameter.shape, generator=draws, dtype=torch.float64)

    def forward(self, x: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        tokens = self.first(x[:, 0].mT).tanh() + self.shift(label)[:, None]  # [B, 4, 3]
        return self.last(tokens).mT[:, None]


class Tokens(nn.Module):
    """`Net` with its tokens as a module's output."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.inner, self.tokens = Net(seed), nn.Identity()

    def forward(self, x: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        tokens = self.tokens(self.inner.first(x[:, 0].mT).tanh() + self.inner.shift(label)[:, None])
        return self.inner.last(tokens).mT[:, None]


class Denoiser(nn.Module):
    """x0_hat = x_t / (1 + sigma) + net(x_t, label)."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.net = Tokens(seed)

    def forward(self, x_t: torch.Tensor, sigma: torch.Tensor, cond: Cond) -> torch.Tensor:
        return x_t / (1 + sigma.reshape(-1, 1, 1, 1)) + self.net(x_t, cond.label)


def signal(**options) -> AnchorSignal:
    anchor = AnchorSignal("tokens", **{"weight": 1.0, **options})
    anchor.bind_source(Source(Denoiser(1).requires_grad_(False), LABELS))
    return anchor


def step(seed: int = 0, batch: int = 6):
    """A step of another network than the source, the denoised batch, and its tokens and x0_hat in the network's graph."""
    denoised, g_dsm = made_up(batch, seed, torch.float64)
    denoiser, found = Denoiser(2), []
    denoiser.net.tokens.register_forward_hook(lambda module, inputs, output: found.append(output))
    x0_hat = denoiser(denoised.x_t, denoised.sigma, denoised.cond)
    seen = dataclasses.replace(denoised, x0_hat=x0_hat.detach(), taps={"tokens": found[0].detach()})
    return seen, g_dsm, denoiser, found[0], x0_hat


def cosine(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True)) / (math.hypot(*a) * math.hypot(*b))


def divergence_by_hand(theirs: torch.Tensor, own: torch.Tensor) -> float:
    """Equations 2 and 3 of Ojha et al., image by image."""
    a, b = theirs.flatten(1).tolist(), own.flatten(1).tolist()
    total = 0.0
    for i in range(len(a)):
        others = [j for j in range(len(a)) if j != i]
        p, q = ([math.exp(cosine(e[i], e[j])) for j in others] for e in (a, b))
        total += sum(x / sum(p) * math.log(x / sum(p) * sum(q) / y) for x, y in zip(p, q, strict=True))
    return total / len(a)


def squared_by_hand(theirs: torch.Tensor, own: torch.Tensor) -> float:
    a, b = theirs.flatten(1).tolist(), own.flatten(1).tolist()
    pairs = [(i, j) for i in range(len(a)) for j in range(len(a)) if i != j]
    return sum((cosine(a[i], a[j]) - cosine(b[i], b[j])) ** 2 for i, j in pairs) / len(pairs)


def of_source(denoised, chosen: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens and x0_hat of the source, whose null class stands for the class that it never learned."""
    source = Denoiser(1)
    label = torch.tensor([{0: 3}.get(each, each) for each in denoised.cond.label[chosen].tolist()])
    x_t, inner = denoised.x_t[chosen], source.net.inner
    tokens = inner.first(x_t[:, 0].mT).tanh() + inner.shift.weight[label][:, None]
    x0_hat = x_t / (1 + denoised.sigma[chosen].reshape(-1, 1, 1, 1)) + inner.last(tokens).mT[:, None]
    return tokens.detach(), x0_hat.detach()


BY_HAND = {"softmax": divergence_by_hand, "cosine": squared_by_hand}


@pytest.mark.parametrize("relation", list(BY_HAND))
@pytest.mark.parametrize("place", ["hidden", "output", "both"])
def test_value_against_a_loop_and_gradient_against_differences(place: str, relation: str) -> None:
    denoised, g_dsm, *_ = step()
    assert (denoised.cond.label == 0).any()
    anchor = signal(place=place, relation=relation, weight=0.5)
    found = anchor(denoised, g_dsm)
    theirs = of_source(denoised, list(range(6)))
    which = {"hidden": [0], "output": [1], "both": [0, 1]}[place]
    own = [denoised.taps["tokens"], denoised.x0_hat]

    def by_hand() -> float:
        return sum(BY_HAND[relation](theirs[i], own[i]) for i in which)

    assert float(found.log["anchor"]) == pytest.approx(by_hand(), rel=1e-10)
    gradients = [found.taps.get("tokens"), found.gradient]
    assert [gradient is not None for gradient in gradients] == [0 in which, 1 in which]
    for i in which:
        for place_of in [0, 7, own[i].numel() - 1]:
            entries = own[i].view(-1)
            kept, values = float(entries[place_of]), []
            for shift in (1e-6, -1e-6):
                entries[place_of] = kept + shift
                values.append(by_hand())
            entries[place_of] = kept
            slope = 0.5 * (values[0] - values[1]) / 2e-6
            assert float(gradients[i].view(-1)[place_of]) == pytest.approx(slope, rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("relation", ["softmax", "cosine", "euclidean", "rbf", "tokens"])
def test_the_weights_get_what_autograd_gives_them(relation: str) -> None:
    """What a trainer does with the signal's gradients, against a backward pass through loss and network at once."""
    denoised, g_dsm, denoiser, tokens, x0_hat = step()
    found = signal(place="both", relation=relation)(denoised, g_dsm)
    torch.autograd.backward([x0_hat, tokens], [found.gradient, found.taps["tokens"]])
    _, _, twin, tokens, x0_hat = step()
    plain = signal(place="both", relation=relation)
    theirs = of_source(denoised, list(range(6)))
    (
        plain._gap(theirs[0], tokens, True, Part.alone(6)) + plain._gap(theirs[1], x0_hat, False, Part.alone(6))
    ).backward()
    for given, expected in zip(denoiser.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(given.grad, expected.grad)


def test_the_noisiest_images_alone_take_part() -> None:
    denoised, g_dsm, *_ = step()
    chosen = denoised.sigma.topk(3).indices.sort().values.tolist()
    anchor, seen = signal(fraction=0.5), []
    anchor.source.denoiser.register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0])))
    found = anchor(denoised, g_dsm)
    expected = divergence_by_hand(of_source(denoised, chosen)[0], denoised.taps["tokens"][chosen])
    assert float(found.log["anchor"]) == pytest.approx(expected, rel=1e-10)
    assert seen == [3]
    moved = found.taps["tokens"].flatten(1).norm(dim=1) > 0
    assert moved.nonzero().flatten().tolist() == chosen


@pytest.mark.parametrize("relation", ["softmax", "cosine", "euclidean", "rbf", "tokens"])
def test_at_the_start_nothing_pulls(relation: str) -> None:
    denoised, g_dsm, *_ = step()
    denoised = dataclasses.replace(denoised, cond=Cond(label=torch.full((6,), 3)))
    tokens, x0_hat = of_source(denoised, list(range(6)))
    denoised = dataclasses.replace(denoised, x0_hat=x0_hat, taps={"tokens": tokens})
    found = signal(place="both", relation=relation)(denoised, g_dsm)
    assert float(found.log["anchor"]) == pytest.approx(0, abs=1e-12)
    assert float(found.gradient.abs().max()) < 1e-8
    assert float(found.taps["tokens"].abs().max()) < 1e-8


def test_following_its_gradient_brings_the_relations_back() -> None:
    denoised, g_dsm, *_ = step()
    anchor = signal()
    first = float(anchor(denoised, g_dsm).log["anchor"])
    for _ in range(300):
        denoised.taps["tokens"].sub_(30 * anchor(denoised, g_dsm).taps["tokens"])
    assert float(anchor(denoised, g_dsm).log["anchor"]) < 0.1 * first


def test_warm_up_end_and_every() -> None:
    denoised, g_dsm, *_ = step()
    always = signal()(denoised, g_dsm).taps["tokens"]
    anchor, runs = signal(schedule=Schedule(warmup=4, end=5), every=2), []
    anchor.source.denoiser.register_forward_pre_hook(lambda module, inputs: runs.append(1))
    found = [anchor(denoised, g_dsm) for _ in range(7)]
    assert [number for number, each in enumerate(found) if each.taps] == [0, 2, 4]
    assert len(runs) == 3
    for number, strength in [(0, 0.25), (2, 0.75), (4, 1.0)]:
        torch.testing.assert_close(found[number].taps["tokens"], strength * always)


def test_a_weight_of_zero_costs_nothing() -> None:
    denoised, g_dsm, *_ = step()
    anchor = AnchorSignal("tokens", 0.0)  # no source at all
    assert anchor(denoised, g_dsm) == type(anchor(denoised, g_dsm))(None, {})


def test_a_restored_signal_goes_on_bit_for_bit() -> None:
    whole, restored = signal(schedule=Schedule(warmup=10)), signal(schedule=Schedule(warmup=10))
    for seed in range(2):
        whole(*step(seed)[:2])
    assert whole.state_dict() == {"step": 2}
    restored.load_state_dict(copy.deepcopy(whole.state_dict()))
    denoised, g_dsm, *_ = step(2)
    assert torch.equal(whole(denoised, g_dsm).taps["tokens"], restored(denoised, g_dsm).taps["tokens"])


def test_half_precision_activations_and_autocast() -> None:
    denoised, g_dsm, *_ = step()
    expected = signal(relation="cosine")(denoised, g_dsm).taps["tokens"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        anchor = signal(relation="cosine")
        anchor.source.denoiser.forward = torch.autocast("cpu", enabled=False)(anchor.source.denoiser.forward)
        found = anchor(denoised, g_dsm).taps["tokens"]
    torch.testing.assert_close(found, expected)


def test_rows_weigh_and_need_three_images() -> None:
    p, q = torch.randn(2, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rows = [float(row_divergence(p, q, torch.eye(4, dtype=torch.float64)[i])) for i in range(4)]
    weight = torch.tensor([1.0, 0.0, 2.0, 1.0], dtype=torch.float64)
    expected = (rows[0] + 2 * rows[2] + rows[3]) / 4
    assert float(row_divergence(p, q, weight)) == pytest.approx(expected)
    denoised, g_dsm, *_ = step(batch=2)
    with pytest.raises(UserError, match=r"stopped at step 0: .*at least 3 images, got 2"):
        signal()(denoised, g_dsm)


def test_what_can_not_work_is_refused() -> None:
    with pytest.raises(UserError, match="weight >= 0, got nan"):
        signal(weight=math.nan)
    with pytest.raises(UserError, match=r"no place 'x'; there are hidden, output, both"):
        signal(place="x")
    with pytest.raises(UserError, match=r"no relation 'x'; there are softmax, tokens, cosine"):
        signal(relation="x")
    with pytest.raises(UserError, match=r"no module 'tokenz'; did you mean 'tokens'"):
        AnchorSignal("tokenz", 1.0).bind_source(Source(Denoiser(1), None))
    denoised, g_dsm, *_ = step()
    denoised.taps["tokens"][3, 2, 1] = math.inf
    with pytest.raises(UserError, match=r"stopped at step 0: .*NaN or infinite"):
        signal()(denoised, g_dsm)
    with pytest.raises(ValueError, match="bind_source first"):
        AnchorSignal("tokens", 1.0)(denoised, g_dsm)
