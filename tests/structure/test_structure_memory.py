"""Memory and cache: what is kept changes the number of pairs or of encoder passes, and nothing else."""

from __future__ import annotations

import copy

import pytest
import torch
from structure_oracles import SmallEncoder, images, naive_gap, naive_relations
from structure_setup import PIXELS, D, same
from torch import nn

from sadm.structure import AscendingDiscriminator, ConvEncoder, FrozenDiscriminator, StructureError, UpdateRule
from sadm.structure.cache import EmbeddingCache
from sadm.structure.players.memory import Memory

SHAPE = (2, 3, 3)


def batch(seed: int, count: int = 3, dtype: torch.dtype = D) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """x0, x0_hat and weights."""
    x0, other = images(seed, 2, count, *SHAPE, dtype=dtype)
    return x0, x0 + 0.5 * other, images(seed + 70, count, dtype=dtype).abs()


# ---- the memory ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [AscendingDiscriminator, FrozenDiscriminator])
@pytest.mark.parametrize("relation", ["cosine", "euclidean"])
@pytest.mark.parametrize("capacity", [4, 100])
def test_past_pairs_join_the_relation_as_if_the_batches_were_one(kind, relation: str, capacity: int) -> None:
    encoder = SmallEncoder(PIXELS, dtype=D)
    options = {"rule": UpdateRule(0.01)} if kind is AscendingDiscriminator else {}
    player = kind(encoder, relation, memory=capacity, **options)
    past: tuple[torch.Tensor, ...] = ()  # real and denoised embeddings and weights, newest first, as they were then
    for step, count in enumerate((3, 2, 3)):
        x0, x0_hat, weight = batch(step, count)
        leaf = x0_hat.clone().requires_grad_()
        own = copy.deepcopy(encoder)
        for parameter in own.parameters():
            parameter.requires_grad_(True)
        now = (own(x0), own(leaf), weight)
        joined = now if not past else tuple(torch.cat([a, b]) for a, b in zip(now, past, strict=True))
        expected = naive_gap(*naive_relations(relation, *joined[:2]), joined[2].tolist())
        (gradient,) = torch.autograd.grad(expected, leaf, retain_graph=True)
        ascent = torch.autograd.grad(expected, list(own.parameters()))
        found = player.gap_and_gradient(x0, x0_hat, weight)
        assert float(found.gap) == pytest.approx(float(expected.detach()), rel=1e-10)
        torch.testing.assert_close(found.gradient, gradient, rtol=1e-9, atol=1e-13)
        if kind is AscendingDiscriminator:
            for g, e in zip(player._gradients, ascent, strict=True):
                torch.testing.assert_close(g, -e, rtol=1e-8, atol=1e-13)
        player.learn()
        past = tuple(part.detach()[:capacity] for part in joined)
        assert len(player.memory) == len(past[0])


def test_a_memory_of_several_stages_keeps_them_together() -> None:
    encoder = ConvEncoder(2, width=8, stages=2, embedding=6, outputs="stages").double()
    player = FrozenDiscriminator(encoder, memory=10)
    first, second = batch(1), batch(2)
    player.gap_and_gradient(*first)
    player.learn()
    found = player.gap_and_gradient(*second)
    at_once = FrozenDiscriminator(encoder).gap_and_gradient(
        *(torch.cat([new, old]) for new, old in zip(second, first, strict=True))
    )
    assert float(found.gap) == pytest.approx(float(at_once.gap), rel=1e-12)
    torch.testing.assert_close(found.gradient, at_once.gradient[:3], rtol=1e-9, atol=1e-14)
    assert [stage.shape for stage in player.memory.real] == [(3, 4, 8), (3, 4, 16), (3, 6)]


def test_without_weights_all_images_count_alike() -> None:
    players = [FrozenDiscriminator(SmallEncoder(PIXELS, dtype=D), memory=5) for _ in range(2)]
    for seed in range(2):
        x0, x0_hat, _ = batch(seed)
        bare = players[0].gap_and_gradient(x0, x0_hat)
        ones = players[1].gap_and_gradient(x0, x0_hat, torch.ones(3, dtype=D))
        assert torch.equal(bare.gradient, ones.gradient)
        for player in players:
            player.learn()


def test_it_is_bounded_detached_and_holds_no_more_than_it_shows() -> None:
    memory = Memory(5)
    for seed in range(6):
        e = images(seed, 4, 3).requires_grad_()
        memory.remember((e * 2,), (e * 3,), torch.ones(4))
    assert len(memory) == 5
    for tensor in (*memory.real, *memory.denoised):
        assert tensor.shape == (5, 3)
        assert not tensor.requires_grad
        assert tensor.untyped_storage().nbytes() == 5 * 3 * 4
    newest, before = images(5, 4, 3), images(4, 4, 3)
    assert torch.equal(memory.real[0], torch.cat([newest, before])[:5] * 2)


def test_a_memory_of_nothing_keeps_nothing() -> None:
    memory = Memory(0)
    memory.remember((torch.ones(2, 3),), (torch.ones(2, 3),), torch.ones(2))
    assert len(memory) == 0
    stages = (torch.ones(2, 3),)
    assert memory.join(stages, stages, torch.ones(2))[0] is stages


def test_its_state_goes_on() -> None:
    memory, other = Memory(5), Memory(5)
    memory.remember((images(1, 4, 3),), (images(2, 4, 3),), torch.ones(4))
    other.load_state_dict(copy.deepcopy(memory.state_dict()))
    for each in (memory, other):
        each.remember((images(3, 2, 3),), (images(4, 2, 3),), torch.zeros(2))
    assert same([*other.real, *other.denoised, other.weight], [*memory.real, *memory.denoised, memory.weight])
    other.load_state_dict(Memory(5).state_dict())
    assert len(other) == 0


def test_embeddings_of_another_shape_are_refused() -> None:
    memory = Memory(5)
    memory.remember((torch.ones(2, 3),), (torch.ones(2, 3),), torch.ones(2))
    with pytest.raises(StructureError, match=r"holds embeddings of shape \[\(3,\)\], these are \[\(4,\)\].*memory=0"):
        memory.join((torch.ones(2, 4),), (torch.ones(2, 4),), torch.ones(2))


def test_a_target_knows_nothing_of_past_images() -> None:
    player = FrozenDiscriminator(SmallEncoder(PIXELS), memory=5)
    with pytest.raises(StructureError, match=r"know nothing of past images: use memory=0 with a target"):
        player.gap_and_gradient(*batch(1, dtype=torch.float32)[:2], target=torch.eye(3))


# ---- the cache of real embeddings -----------------------------------------------------------------------------------------


def drawn(pool: torch.Tensor, step: int, count: int = 8) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Index, x0 and x0_hat of a batch from a pool of images."""
    index = torch.randint(len(pool), (count,), generator=torch.Generator().manual_seed(step))
    return index, pool[index], pool[index] + 0.3 * images(step, count, *pool.shape[1:])


def calls_of(encoder: nn.Module) -> list[int]:
    calls: list[int] = []
    encoder.register_forward_hook(lambda module, inputs, output: calls.append(len(inputs[0])))
    return calls


@pytest.mark.parametrize("outputs", ["embedding", "stages"])
@pytest.mark.parametrize("memory", [0, 6])
def test_kept_embeddings_change_no_digit(outputs: str, memory: int) -> None:
    """So that a run that was resumed, whose cache is empty, goes on as one that was not."""
    torch.manual_seed(0)
    encoder = ConvEncoder(1, width=8, stages=2, embedding=6, outputs=outputs)
    bare, cached, resumed = (FrozenDiscriminator(copy.deepcopy(encoder), memory=memory) for _ in range(3))
    pool, calls = images(1, 12, 1, 8, 8), calls_of(cached.encoder)
    for step in range(20):
        index, x0, x0_hat = drawn(pool, step)
        found = cached.gap_and_gradient(x0, x0_hat, index=index)
        resumed.cache = EmbeddingCache(resumed.encoder)
        empty = resumed.gap_and_gradient(x0, x0_hat, index=index)
        for part in ("gap", "gradient", "moments"):
            assert torch.equal(getattr(found, part), getattr(empty, part))
        # In batches of 8, whose last rows some processors sum in another order.
        expected = bare.gap_and_gradient(x0, x0_hat)
        for part in ("gap", "gradient", "moments"):
            torch.testing.assert_close(getattr(found, part), getattr(expected, part), rtol=1e-4, atol=1e-7)
        for player in (bare, cached, resumed):
            player.learn()
    assert len(cached.cache) == 12
    assert calls[:2] == [32, 8]  # real, with repetitions, then denoised
    assert len(calls) < 30
    before = len(calls)
    cached.gap_and_gradient(x0, x0_hat, index=index)
    assert len(calls) == before + 1  # the denoised images alone


def test_the_cache_is_bounded() -> None:
    encoder = FrozenDiscriminator(ConvEncoder(1, width=8, stages=1, embedding=6)).encoder
    cache = EmbeddingCache(encoder, max_bytes=5 * 6 * 4)
    pool = images(1, 12, 1, 8, 8)
    for start in range(0, 12, 4):
        index = torch.arange(start, start + 4)
        assert cache.get(index, pool[index]) is None
        cache.put(index, pool[index], (encoder(pool[index]),))
    assert len(cache) == 5
    assert cache.bytes == 5 * 6 * 4
    stages = cache.get(torch.tensor([4, 0]), pool[[4, 0]])
    assert stages is not None
    torch.testing.assert_close(stages[0], encoder(pool[[4, 0]]), rtol=1e-5, atol=1e-6)
    assert cache.get(torch.tensor([4, 5]), pool[[4, 5]]) is None  # all or nothing


def test_images_of_several_sizes_are_kept_side_by_side() -> None:
    torch.manual_seed(0)
    encoder = ConvEncoder(1, width=8, stages=2, embedding=6, outputs="stages")
    bare, cached = (FrozenDiscriminator(copy.deepcopy(encoder)) for _ in range(2))
    pools, calls = [images(1, 6, 1, 8, 8), images(2, 5, 1, 4, 12)], calls_of(cached.encoder)
    for step in range(16):
        index, x0, x0_hat = drawn(pools[step % 2], step)
        expected = bare.gap_and_gradient(x0, x0_hat)
        found = cached.gap_and_gradient(x0, x0_hat, index=index + 6 * (step % 2))
        assert torch.equal(found.gap, expected.gap)
        torch.testing.assert_close(found.gradient, expected.gradient, rtol=1e-5, atol=1e-9)
    assert len(cached.cache) == 11
    assert len(calls) < 24
    with pytest.raises(StructureError, match=r"of another size than those.*leave index out"):
        cached.gap_and_gradient(pools[1], pools[1], index=torch.arange(2, 7))


def test_images_of_several_sizes_share_the_bound() -> None:
    encoder = FrozenDiscriminator(ConvEncoder(1, width=8, stages=1, embedding=6)).encoder
    cache = EmbeddingCache(encoder, max_bytes=10 * 6 * 4)
    for step, size in enumerate([(8, 8), (4, 4), (8, 8)]):
        pool, index = images(step, 6, 1, *size), torch.arange(6 * step, 6 * step + 6)
        assert cache.get(index, pool) is None
        cache.put(index, pool, (encoder(pool),))
    assert len(cache) == 10
    assert cache.bytes == 10 * 6 * 4


def test_an_encoder_that_changes_empties_the_cache() -> None:
    player, pool = FrozenDiscriminator(ConvEncoder(1, width=8, stages=1, embedding=6)), images(1, 8, 1, 8, 8)
    index, x0, x0_hat = torch.arange(8), pool, pool + 1
    player.gap_and_gradient(x0, x0_hat, index=index)
    with torch.no_grad():  # as an average of weights is updated
        player.encoder.project.weight.add_(0.1)
    found = player.gap_and_gradient(x0, x0_hat, index=index)
    assert torch.equal(found.gap, FrozenDiscriminator(player.encoder).gap_and_gradient(x0, x0_hat, index=index).gap)
    other = ConvEncoder(1, width=8, stages=1, embedding=6)
    player.encoder.load_state_dict(other.state_dict())
    found = player.gap_and_gradient(x0, x0_hat, index=index)
    assert torch.equal(found.gap, FrozenDiscriminator(other).gap_and_gradient(x0, x0_hat).gap)


def test_of_an_encoder_without_weights_nothing_is_kept() -> None:
    player, pool = FrozenDiscriminator(nn.Flatten()), images(1, 8, 1, 8, 8)
    player.gap_and_gradient(pool, pool + 1, index=torch.arange(8))
    assert len(player.cache) == 0


@pytest.mark.parametrize("change", [lambda x: x.flip(-1), lambda x: x.roll(1, -1), lambda x: x + 0.01])
def test_an_image_that_has_changed_is_refused(change) -> None:
    player, pool = FrozenDiscriminator(ConvEncoder(1, width=8, stages=1, embedding=6)), images(1, 8, 1, 8, 8)
    index = torch.arange(3, 11)
    player.gap_and_gradient(pool, pool + 1, index=index)
    changed = pool.clone()
    changed[4] = change(pool[4])
    with pytest.raises(StructureError, match=r"image 7 is not what it was.*augmentation leave index out"):
        player.gap_and_gradient(changed, pool + 1, index=index)
    with pytest.raises(StructureError, match=r"of another size than those.*leave index out"):
        player.gap_and_gradient(pool[..., :6], pool[..., :6] + 1, index=index)


@pytest.mark.parametrize("index", [torch.arange(3), torch.zeros(8), torch.arange(8).reshape(8, 1)])
def test_an_index_of_another_kind_is_refused(index: torch.Tensor) -> None:
    player, pool = FrozenDiscriminator(ConvEncoder(1, width=8, stages=1, embedding=6)), images(1, 8, 1, 8, 8)
    with pytest.raises(StructureError, match=r"expected an integer index \[8\], one for each image, got torch"):
        player.gap_and_gradient(pool, pool + 1, index=index)


def test_an_ascending_encoder_takes_no_notice_of_the_index() -> None:
    pool = images(1, 8, 2, 3, 3)
    player = AscendingDiscriminator(SmallEncoder(PIXELS), rule=UpdateRule(0.1))
    for _ in range(2):
        with_index = player.gap_and_gradient(pool, pool + 1, index=torch.arange(8))
        assert torch.equal(with_index.gap, player.gap_and_gradient(pool, pool + 1).gap)
        player.learn()
