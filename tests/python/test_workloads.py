"""Routing and tensors of the main workload."""

from __future__ import annotations

import numpy as np
import pytest
from moe_act import oracle, workloads

SIZES = [(1, 256, 8), (7, 256, 8), (300, 64, 6), (50, 20, 3), (2, 8, 8), (33, 16, 1)]


@pytest.mark.parametrize(("tokens", "experts", "top_k"), SIZES)
def test_every_token_gets_distinct_experts_of_few_groups(tokens: int, experts: int, top_k: int) -> None:
    chosen = workloads.route(tokens, experts=experts, top_k=top_k).experts
    groups, used = workloads.expert_groups(experts)
    assert chosen.shape == (tokens, top_k)
    assert ((chosen >= 0) & (chosen < experts)).all()
    for row in chosen:
        assert len(set(row)) == top_k
        assert len(set(row // (experts // groups))) <= used


@pytest.mark.parametrize(("tokens", "experts", "top_k"), SIZES)
def test_rows_of_an_expert_are_contiguous_and_padded_to_tiles(tokens: int, experts: int, top_k: int) -> None:
    routing = workloads.route(tokens, experts=experts, top_k=top_k)
    rows, tile = routing.expanded_idx_to_permuted_idx.ravel(), routing.tile
    assert routing.expanded_idx_to_permuted_idx.dtype == np.int32
    assert len(np.unique(rows)) == tokens * top_k
    first = 0
    for expert in range(experts):
        mine = rows[routing.experts.ravel() == expert]  # in token order
        np.testing.assert_array_equal(mine, first + np.arange(len(mine)))
        first += -(-len(mine) // tile) * tile
    assert routing.total_num_padded_tokens == first


@pytest.mark.parametrize("experts", [256, 16, 12])
def test_selection_agrees_with_its_description(experts: int) -> None:
    random, top_k = np.random.default_rng(0), 5
    scores, bias = random.random((40, experts)), 0.1 * random.standard_normal(experts)
    groups, used = workloads.expert_groups(experts)
    for token, chosen in enumerate(workloads.select_experts(scores, bias, top_k)):
        biased = (scores[token] + bias).reshape(groups, -1)
        group_scores = np.sort(biased, axis=1)[:, -2:].sum(axis=1)
        for group in set(range(groups)) - set(np.argsort(group_scores)[-used:]):
            biased[group] = -np.inf
        assert set(chosen) == set(np.argsort(biased.ravel())[-top_k:])


def test_groups() -> None:
    assert workloads.expert_groups(256) == workloads.expert_groups(16) == (8, 4)
    assert workloads.expert_groups(8) == workloads.expert_groups(20) == (1, 1)


def test_tiles_follow_the_average_of_an_expert() -> None:
    tiles = {tokens: workloads.tile_rows(tokens, 8, 256) for tokens in (1, 256, 257, 1024, 4096, 16384)}
    assert tiles == {1: 8, 256: 8, 257: 16, 1024: 32, 4096: 128, 16384: 128}


@pytest.mark.parametrize(
    ("tokens", "experts", "top_k", "argument"),
    [
        (0, 256, 8, "tokens"),
        (1, 0, 1, "experts"),
        (1, 256, 129, "top_k"),
        (1, 12, 13, "top_k"),
        (1, 256, 0, "top_k"),
    ],
)
def test_impossible_routings_are_refused(tokens: int, experts: int, top_k: int, argument: str) -> None:
    with pytest.raises(ValueError, match=f"^{argument}: expected .*, got "):
        workloads.route(tokens, experts=experts, top_k=top_k)


def test_a_seed_decides_every_byte() -> None:
    same, again, other = (workloads.deepseek_v3(3, hidden=64, seed=seed).tensors for seed in (1, 1, 2))
    assert all(same[name].tobytes() == again[name].tobytes() for name in same)
    assert same["x"].tobytes() != other["x"].tobytes()


@pytest.mark.parametrize("hidden", [1, 192, 256])
def test_padding_is_garbage_and_the_rest_is_not(hidden: int) -> None:
    workload = workloads.deepseek_v3(5, hidden=hidden)
    x = oracle.decode(workload.tensors["x"], "e4m3")
    scales = workload.tensors["x_scale"].reshape(workloads.blocks(2 * hidden), workload.rows)
    assert x.shape == (workload.rows, 2 * hidden)
    assert workload.out.shape == (workload.rows, hidden)
    assert workload.out_scale.shape == (workloads.blocks(hidden) * workload.rows,)
    assert workload.live.sum() == workload.valid_rows == 40 < workload.rows
    assert np.isfinite(x[workload.live]).all()
    assert (scales[:, workload.live] > 0).all()
    assert np.isnan(x[~workload.live]).all()
    assert np.isnan(scales[:, ~workload.live]).all()


def test_scales_differ_between_rows_and_blocks() -> None:
    workload = workloads.deepseek_v3(64, hidden=256)
    scales = workload.tensors["x_scale"].reshape(4, -1)[:, workload.live]
    assert len(np.unique(scales)) > 0.9 * scales.size


def test_quantized_rows_keep_their_values() -> None:
    codes, scale = workloads.quantized_rows(20, 200, np.random.default_rng(0))
    expected = np.random.default_rng(0).standard_normal((20, 200), np.float32)
    values = oracle.decode(codes, "e4m3") * np.repeat(scale, 128, axis=1)[:, :200]
    assert scale.shape == (20, 2)
    assert np.abs(values - expected).max() < 2**-4 * np.abs(expected).max()


def test_bytes_are_those_of_valid_rows_and_the_map() -> None:
    assert workloads.deepseek_v3(1).bytes == 8 * (4096 + 4 * 32 + 2048 + 4 * 16) + 4 * 8
