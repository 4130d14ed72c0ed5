"""What names the rows of experts: at any address that suits its elements, with any value they can hold."""

from __future__ import annotations

from typing import Any

import moe_act
import numpy as np
import pytest
from moe_act.rows import ExpertEnds, ExpertOffsets, Masked
from tensors import DEVICES, get, on_device, put
from test_many_experts import FORMS, case

ROWS, COLUMNS = 6, 192
LEAST, MOST, BEYOND, BELOW = -(2**63), 2**63 - 1, 2**32 + 3, 3 - 2**32  # the low 32 bits are 0, -1, 3 and 3
MODELS: list[dict[str, Any]] = [{}, {"activation": "geglu"}]
FIELDS = {ExpertOffsets: "expert_offsets", ExpertEnds: "expert_ends", Masked: "expert_counts"}


def with_index(rows: Any, index: Any) -> Any:
    return type(rows)(**(vars(rows) | {FIELDS[type(rows)]: index}))


def bits(result: Any) -> list[bytes]:
    return [np.ascontiguousarray(get(tensor)).tobytes() for tensor in result]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("form", FORMS + MODELS[1:], ids=str)
@pytest.mark.parametrize(("index", "input"), [(np.int32, "fp32"), (np.int32, "bf16"), (np.int64, "fp32")])
@pytest.mark.parametrize("experts", [33, 513])
@pytest.mark.parametrize("kind", ["offsets", "ends", "masked"])
def test_an_index_behind_the_first_element(
    kind: str, experts: int, index: Any, input: str, form: dict[str, Any], device: str
) -> None:
    """Aligned to one element alone, between others that say something else: the bits of one that stands alone."""
    x, rows, _ = case(kind, experts)
    values = getattr(rows, FIELDS[type(rows)]).astype(index)
    x = put(x if input == "fp32" else (x.view(np.uint32) >> 16).astype(np.uint16), device)
    options = form | {"x_format": input}
    expected = bits(moe_act.gated_act_quant(x, rows=with_index(rows, put(values, device)), **options))
    longer = put(np.concatenate([[2**31 - 1], values, [2**31 - 1]]).astype(index), device)
    rows = with_index(rows, longer[1:-1])
    plan = moe_act.plan(x, rows=rows, **options)
    for each in (plan, *plan.alternatives()):
        assert bits(each.run(x, rows=rows)) == expected, str(each)


FAR = {
    "offsets": ExpertOffsets(np.array([LEAST, BELOW, 2, BEYOND, MOST])),
    "offsets from beyond": ExpertOffsets(np.array([BEYOND, MOST, MOST])),
    "offsets up to beyond": ExpertOffsets(np.array([0, 1, BEYOND])),
    "ends": ExpertEnds(np.array([LEAST, BELOW, 3, BEYOND, MOST]), 4),
    "ends below": ExpertEnds(np.array([LEAST, BELOW])),
    "counts": Masked(np.array([MOST, LEAST, BEYOND, 2, BELOW])),
}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("model", MODELS, ids=str)
@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("name", FAR)
def test_64_bits_are_clamped_not_cut(name: str, form: dict[str, Any], model: dict[str, Any], device: str) -> None:
    """The bits of values within the rows that there are, and on a GPU the rows that a CPU does."""
    rows = FAR[name]
    values = getattr(rows, FIELDS[type(rows)])
    lead = (len(values), ROWS) if isinstance(rows, Masked) else (ROWS,)
    x = np.random.default_rng(0).standard_normal((*lead, 2 * COLUMNS), np.float32)
    options = form | model
    done = get(moe_act.gated_act_quant(x, rows=rows, **options).out).any(axis=-1)
    call: dict[str, Any] = {"x": put(x, device), "rows": on_device(rows, device)}
    within = on_device(with_index(rows, np.clip(values, 0, ROWS)), device)
    expected = bits(moe_act.gated_act_quant(call["x"], rows=within, **options))
    plan = moe_act.plan(**call, **options)
    for each in (plan, *plan.alternatives()):
        result = each.run(**call)
        assert bits(result) == expected, str(each)
        assert (get(result.out).any(axis=-1) == done).all(), str(each)
