"""Muon against its definition, and against AdamW for the parameters that are not matrices."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.optim import AdamW

from deepdigits.training.muon import OTHERS, SMALLEST, Muon, orthogonalized


@given(st.integers(SMALLEST, 80), st.integers(SMALLEST, 300), st.integers(0, 100))
def test_all_directions_get_about_the_same_length(rows: int, columns: int, seed: int) -> None:
    matrix = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))
    found = orthogonalized(matrix)
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    aligned = left.T @ found @ right.T
    assert torch.allclose(aligned, torch.diag(aligned.diagonal()), atol=1e-3), "the singular vectors must stay the same"
    large = torch.linalg.svdvals(matrix) > 0.05 * torch.linalg.matrix_norm(matrix)
    lengths = aligned.diagonal()[large]
    assert 0.6 < lengths.min() <= lengths.max() < 1.3


def test_a_zero_gradient_gives_a_zero_update() -> None:
    assert not orthogonalized(torch.zeros(16, 20)).any()


def test_vectors_and_small_matrices_are_updated_by_adamw() -> None:
    torch.manual_seed(1)
    ours, theirs = nn.BatchNorm1d(20), nn.Linear(SMALLEST - 1, 30)
    peers = nn.BatchNorm1d(20), nn.Linear(SMALLEST - 1, 30)
    for net, peer in zip((ours, theirs), peers, strict=True):
        peer.load_state_dict(net.state_dict())
    decayed = [theirs.weight, peers[1].weight]
    optimizer = Muon([*ours.parameters(), *theirs.parameters()], lr=0.1, weight_decay=0.5)
    vectors = [*peers[0].parameters(), peers[1].bias]
    groups = [{"params": [decayed[1]], "weight_decay": 0.5}, {"params": vectors, "weight_decay": 0.0}]
    peer_optimizer = AdamW(groups, lr=OTHERS * 0.1, betas=(0.9, 0.99))
    for _ in range(5):
        data = torch.randn(8, 20), torch.randn(8, SMALLEST - 1)
        for nets, rule in (((ours, theirs), optimizer), (peers, peer_optimizer)):
            rule.zero_grad()
            sum((net(part) ** 3).mean() for net, part in zip(nets, data, strict=True)).backward()
            rule.step()
    assert torch.allclose(*decayed, rtol=1e-4, atol=1e-6)
    assert torch.allclose(theirs.bias, peers[1].bias, rtol=1e-4, atol=1e-6)


def test_a_kernel_moves_by_the_learning_rate_in_every_direction() -> None:
    torch.manual_seed(2)
    kernel = nn.Parameter(torch.randn(32, 16, 3, 3).to(memory_format=torch.channels_last))
    before = kernel.detach().clone()
    kernel.grad = torch.randn(32, 16, 3, 3).to(memory_format=torch.channels_last)
    Muon([kernel], lr=0.1, weight_decay=0.0).step()
    lengths = torch.linalg.svdvals((kernel.detach() - before).flatten(1)) / 0.1
    assert 0.6 < lengths.min() <= lengths.max() < 1.3
