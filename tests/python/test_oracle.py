"""The oracle, judged by plain fp32 arithmetic and by errors planted in good results."""

import numpy as np
import pytest
from moe_act import oracle
from oracle_cases import CODES, COLUMNS, DTYPES, NAN, OUTPUTS, ROWS, TOTAL, cast, fp32_result, inputs


@pytest.mark.parametrize("gate", ["first_half", "second_half"])
@pytest.mark.parametrize("layout", ["column_major", "row_major", "padded_total"])
@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize("output", OUTPUTS)
def test_the_midpoint_conforms(name, output, layout, gate):
    x, x_scale, options = inputs(name, layout)
    options |= OUTPUTS[output] | {"gate": gate}
    if output == "block" and layout == "row_major":
        options["out_scale_layout"] = layout
    out, out_scale = oracle.reference(x, x_scale, **options)
    rows = 4 if layout == "padded_total" else ROWS
    report = oracle.check(x, x_scale, out=out, out_scale=out_scale, **options)
    assert report == oracle.Report(True, rows, rows * COLUMNS, 0, "")
    assert np.any(out), "not all results are 0"

    x, out = x.view(CODES[name]), out.view(CODES[options.get("out_format", "e4m3")])  # the same as codes
    assert oracle.check(x, x_scale, out=out, out_scale=out_scale, x_format=name, **options)


@pytest.mark.parametrize("gate", ["first_half", "second_half"])
@pytest.mark.parametrize("layout", ["column_major", "row_major"])
@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("relative_error", [0.0, 2.0**-22])
def test_fp32_arithmetic_conforms(name, output, layout, gate, relative_error):
    x, x_scale, options = inputs(name, layout, columns=320)
    options |= OUTPUTS[output] | {"gate": gate, "out_scale_layout": layout}
    out, out_scale = fp32_result(x, x_scale, relative_error=relative_error, **options)
    report = oracle.check(x, x_scale, out=out, out_scale=out_scale, **options)
    assert report, report.message
    assert report.elements == ROWS * 320
    assert report.differing <= (report.elements if output == "fp32" else 5)


@pytest.mark.parametrize("columns", [1, 2, 64, 127, 128, 129, 1408])
def test_any_number_of_columns(columns):
    x, x_scale, options = inputs(columns=columns, rows=200)
    out, out_scale = fp32_result(x, x_scale, **options)
    report = oracle.check(x, x_scale, out=out, out_scale=out_scale, **options)
    assert report, report.message
    assert (report.rows, report.elements) == (200, 200 * columns)


@pytest.mark.parametrize("gate", [-87.0, -20.0, -1.0, -1e-3, 1e-3, 1.0, 20.0, 1e4])
def test_width_of_the_interval(gate):
    """fp32 output shows the interval itself, which grows no more once the exponential is saturated."""
    x = np.float32([[3, gate]])
    middle = 3 * np.float64(x[0, 1]) / (1 + np.exp(-np.float64(x[0, 1])))
    width = 2.0**-20 * (1 + min(abs(gate), 104) / 16)
    for error, conforms in [(-1.2, False), (-0.8, True), (0.0, True), (0.8, True), (1.2, False)]:
        out = np.float32([[middle * (1 + error * width)]])
        assert oracle.check(x, out=out, out_format="fp32").ok is conforms, error


def test_rows_of_the_map_alone_are_looked_at():
    x, x_scale, options = inputs(layout="padded_total")
    out, out_scale = oracle.reference(x, x_scale, **options)
    assert out_scale.shape == (2 * ROWS,)
    assert not out[[2, 5]].any()
    assert out_scale[[2, 2 + TOTAL]].tolist() == [1, 1]
    out[[2, 5]] = 0x55
    out_scale[[2, 2 + TOTAL, 2 * TOTAL, 2 * TOTAL + 1]] = NAN
    x[2], x_scale[2::TOTAL] = NAN, NAN
    doubled = options | {"expanded_idx_to_permuted_idx": np.int32([3, 3, -1, 0, 4, 1, -1])}
    for case in (options, doubled):
        assert oracle.check(x, x_scale, out=out, out_scale=out_scale, **case).rows == 4
    nothing = options | {"expanded_idx_to_permuted_idx": np.int32([-1, -1])}
    report = oracle.check(x, x_scale, out=out, out_scale=out_scale, **nothing)
    assert report == oracle.Report(True, 0, 0, 0, "")


def test_given_rows_alone_are_looked_at():
    x, x_scale, options = inputs()
    out, out_scale = oracle.reference(x, x_scale, **options)
    out[3, 5] ^= 1
    good = oracle.check(x, x_scale, out=out, out_scale=out_scale, only=[5, 0, 0, 2], **options)
    bad = oracle.check(x, x_scale, out=out, out_scale=out_scale, only=np.int32([0, 3]), **options)
    assert (good.ok, good.rows, good.message) == (True, 3, "")
    assert (bad.ok, bad.rows, bad.differing) == (False, 2, 1)
    assert bad.message.startswith("row 3, column 5 (block 0)")


def code_off_by_one(row, column):
    def plant(case):
        case["out"].view(np.uint8)[row, column] ^= 1

    return plant


def scale_off(row, block, factor):
    def plant(case):
        case["out_scale"][block, row] *= np.float32(factor)

    return plant


def rows_swapped(case):
    case["out"][[1, 4]] = case["out"][[4, 1]]


def rows_and_scales_swapped(case):
    rows_swapped(case)
    case["out_scale"][:, [1, 4]] = case["out_scale"][:, [4, 1]]


def gate_and_up_swapped(case):
    case["gate"] = "first_half"


def input_stride_wrong(case):
    case["x_scale"] = np.roll(case["x_scale"].reshape(-1), 1).reshape(case["x_scale"].shape)


def input_blocks_counted_per_half(case):
    case["x_scale"] = case["x_scale"][[0, 1, 0]]


def output_stride_wrong(case):
    case["out_scale"] = case["out_scale"].T.reshape(case["out_scale"].shape).copy()


def nan_for_a_number(case):
    case["out"][2, 100] = NAN


def sign_flipped(case):
    case["out"].view(np.uint8)[5, 191] ^= 0x80


def scale_is_nan(case):
    case["out_scale"][1, 2] = NAN


def scale_not_written(case):
    case["out_scale"][0, 0] = 0


def scale_is_reciprocal(case):
    case["out_scale"][:] = 1 / case["out_scale"]


def rounded_to_bf16_before(case):
    x, x_scale = case["x"], case["x_scale"]
    plain, _ = fp32_result(x, x_scale, x_scale_layout="column_major", out_format="bf16")
    divisor = np.repeat(case["out_scale"].T, 128, axis=1)[:, :COLUMNS]
    case["out"] = cast(plain.astype(np.float32) / divisor, "e4m3")


PLANTED = {
    **{f"code {place} off by one": (code_off_by_one(*place), f"row {place[0]}, column {place[1]} ")
       for place in [(0, 0), (0, 127), (1, 128), (3, 130), (5, 191)]},
    **{f"scale {place} x {factor}": (scale_off(*place, factor), f"row {place[0]}, block {place[1]}: scale")
       for place in [(0, 0), (5, 1)] for factor in (1 - 2.0**-16, 1 + 2.0**-16)},
    "rows swapped": (rows_swapped, "row 1, column"),
    "rows and scales swapped": (rows_and_scales_swapped, "row 1, block 0"),
    "gate and up swapped": (gate_and_up_swapped, "row 0, block 0"),
    "stride of x_scale": (input_stride_wrong, "row 0, block"),
    "blocks per half": (input_blocks_counted_per_half, "row 0, block"),
    "stride of out_scale": (output_stride_wrong, "row 0, block 1"),
    "nan for a number": (nan_for_a_number, "row 2, column 100 (block 0): e4m3 0x7F (nan)"),
    "sign flipped": (sign_flipped, "row 5, column 191 (block 1)"),
    "scale is nan": (scale_is_nan, "row 2, block 1: scale nan"),
    "scale not written": (scale_not_written, "row 0, block 0: scale 0"),
    "scale is reciprocal": (scale_is_reciprocal, "row 0, block 0"),
    "rounded to bf16 before": (rounded_to_bf16_before, "row 0, column"),
}  # fmt: skip


@pytest.mark.parametrize("error", PLANTED)
def test_planted_errors_are_caught(error):
    plant, message = PLANTED[error]
    x, x_scale, options = inputs()
    out, out_scale = fp32_result(x, x_scale, **options)
    case = {"x": x, "x_scale": x_scale, "out": out, "out_scale": out_scale, **options}
    assert oracle.check(**case).ok
    plant(case)
    report = oracle.check(**case)
    assert not report
    assert report.message.startswith(message)
    assert "gate" in report.message


@pytest.mark.parametrize("output", ["tensor", "bf16", "fp16"])
@pytest.mark.parametrize("mask", [1, 3])
def test_tensor_and_plain_results_one_off_are_caught(output, mask):
    x, _, _ = inputs("bf16")
    out, _ = fp32_result(x, None, **OUTPUTS[output])
    for row, column in [(0, 0), (2, 131), (5, 191)]:
        planted = out.copy()
        planted.view(CODES[OUTPUTS[output].get("out_format", "e4m3")])[row, column] ^= mask
        report = oracle.check(x, out=planted, **OUTPUTS[output])
        assert not report.ok
        assert report.differing <= 3
        assert report.message.startswith(f"row {row}, column {column} ")


def test_a_message_has_all_values():
    x = np.float32([[2, 1]])
    report = oracle.check(x, out=np.uint8([[0x7D]]), out_scale=np.float32([[1.4621172 / 448]]))
    assert report.message == (
        "row 0, column 0 (block 0): e4m3 0x7D (416), expected 448; scale 0.00326365442, gate 1, up 2, "
        "product [1.46211565, 1.46211863]"
    )
    report = oracle.check(x, out=np.uint8([[0x7D]]), out_scale=np.float32([[1]]))
    assert report.message == (
        "row 0, block 0: scale 1, expected [0.00326365093, 0.00326365768]; column 0: gate 1, up 2, "
        "product [1.46211565, 1.46211863] (2 offences in all)"
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": np.zeros((6, 383), np.float16)}, r"x: expected shape \[rows, 2H\]"),
        ({"x": np.zeros((6, 384), np.float64)}, "x_format: expected e4m3 or e5m2 or bf16"),
        ({"x": np.zeros((6, 384), np.uint8)}, "x_format: expected"),
        ({"x": np.zeros((6, 384), np.uint8), "x_format": "bf16", "x_scale": None}, "x: expected bfloat16 or"),
        ({"x_scale": None}, "x_scale: goes with e4m3 input"),
        ({"x_scale": np.ones((6, 3), np.float32)}, r"x_scale: expected float32 \[3, at least 6\]"),
        ({"x_scale": np.ones((3, 6))}, "x_scale: expected float32"),
        ({"x_scale_layout": "row_major"}, r"x_scale: expected float32 \[6, 3\]"),
        ({"x_scale_layout": "diagonal"}, "x_scale_layout: expected column_major or row_major"),
        ({"total_num_padded_tokens": [5]}, "x_scale: expected float32 3 blocks of 5 rows, with row 5"),
        ({"total_num_padded_tokens": [7]}, "x_scale: expected float32 3 blocks of 7 rows"),
        ({"gate": "third"}, "gate: expected first_half or second_half"),
        ({"activation": "softmax"}, "activation: expected swiglu or"),
        ({"out_format": "bf16"}, "out: expected bfloat16|out_scale: goes with"),
        ({"out_scaling": "none"}, "out_scaling: expected block or tensor"),
        ({"out_scaling": "tensor"}, "static_scale: goes with"),
        ({"static_scale": 1.0}, "out_scale: goes with"),
        ({"out_scale": None}, "out_scale: goes with"),
        ({"out": np.zeros((6, 191), np.uint8)}, r"out: expected shape \[6, 192\]"),
        ({"out": np.zeros((6, 192), np.int8)}, "out: expected float8_e4m3fn or its codes, got int8"),
        ({"expanded_idx_to_permuted_idx": np.int32([6])}, "expanded_idx_to_permuted_idx: expected -1 or"),
        ({"expanded_idx_to_permuted_idx": np.int32([1, -2])}, "expanded_idx_to_permuted_idx: expected -1 or"),
        ({"expanded_idx_to_permuted_idx": np.int32([1, -1]), "only": [2]}, "only: row 2 has no result"),
        ({"only": [6]}, "only: row 6 has no result"),
    ],
)
def test_arguments_that_do_not_fit(changes, message):
    x, x_scale, options = inputs()
    out, out_scale = oracle.reference(x, x_scale, **options)
    case = {"x": x, "x_scale": x_scale, "out": out, "out_scale": out_scale, **options}
    with pytest.raises(ValueError, match=message):
        oracle.check(**(case | changes))


@pytest.mark.parametrize("function", [oracle.encode, oracle.decode])
def test_unknown_formats(function):
    with pytest.raises(ValueError, match="format: expected e4m3 or e5m2 or bf16 or fp16 or fp32, got 'int4'"):
        function(np.zeros(1, np.uint8), "int4")


def test_options_that_change_no_live_row_are_taken():
    x, x_scale, options = inputs(layout="padded_total")
    options |= {"padding": "zero", "pdl": "on", "expected_rows": 3}
    out, out_scale = oracle.reference(x, x_scale, **options)
    assert oracle.check(x, x_scale, out=out, out_scale=out_scale, **options)
