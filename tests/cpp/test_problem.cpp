// Every way in which a problem can be refused: one mutation of a good problem each, its status and its words.
#include <cstdint>

#include "refusals.hpp"

namespace {

using namespace refused;

const Refusal refusals[] = {
    // Devices
    {[](auto& p) { p.device_type = 0; }, unsupported, {"device: ", "CPU (1) or CUDA (2)", "got DLPack device type 0"}},
    {[](auto& p) { p.device_type = 10; }, unsupported, {"device: ", "got DLPack device type 10"}},
    {[](auto& p) { p.device_id = -1; }, invalid, {"device: ", "at least 0", "got -1"}},
    // Formats and scalings
    {[](auto& p) { p.x_format = 0; }, invalid, {"x_format: ", "'fp32', 'fp16', 'bf16', 'e4m3'", "got value 0"}},
    {[](auto& p) { p.x_format = 99; }, invalid, {"x_format: ", "got value 99"}},
    {[](auto& p) { p.x_format = -1; }, invalid, {"x_format: ", "got value -1"}},
    {[](auto& p) { p.x_format = MOE_ACT_FORMAT_E5M2; },
     unsupported,
     {"x: ", "e5m2", "supported: 'fp32', 'fp16', 'bf16', 'e4m3'"}},
    {[](auto& p) { p.x_format = MOE_ACT_FORMAT_E2M1; }, unsupported, {"x: ", "e2m1", "supported"}},
    {[](auto& p) { p.out_format = 0; }, invalid, {"out_format: ", "got value 0"}},
    {[](auto& p) { p.out_format = 99; }, invalid, {"out_format: ", "got value 99"}},
    {[](auto& p) { p.out_format = MOE_ACT_FORMAT_E2M1; }, unsupported, {"out_format: ", "e2m1", "supported"}},
    {[](auto& p) { p.out_scaling = 0; }, invalid, {"out_scaling: ", "'none', 'block', 'tensor'", "got value 0"}},
    {[](auto& p) { p.out_scaling = MOE_ACT_SCALING_NONE; },
     invalid,
     {"out_scaling: ", "'block', 'tensor' or 'row'", "got 'none'"}},
    {[](auto& p) { p.out_format = MOE_ACT_FORMAT_BF16; },
     invalid,
     {"out_scaling: ", "plain bf16", "'none'", "got 'block'"}},
    {[](auto& p) {
       plain(p, MOE_ACT_FORMAT_FP32);
       p.out_scaling = MOE_ACT_SCALING_TENSOR;
     },
     invalid,
     {"out_scaling: ", "plain fp32", "'none'", "got 'tensor'"}},
    // The other options: zero is never a default here
    {[](auto& p) { p.activation = 0; }, invalid, {"activation: ", "'swiglu'", "got value 0"}},
    {[](auto& p) { p.activation = 12; }, invalid, {"activation: ", "'swiglu'", "got value 12"}},
    {[](auto& p) { p.gate = 0; }, invalid, {"gate: ", "'second_half', 'first_half'", "got value 0"}},
    {[](auto& p) { p.row_kind = 0; }, invalid, {"row_kind: ", "'dense', 'expanded_to_permuted'", "got value 0"}},
    {[](auto& p) { p.padding = 3; }, invalid, {"padding: ", "'skip', 'zero'", "got value 3"}},
    {[](auto& p) { p.pdl = 4; }, invalid, {"pdl: ", "'off', 'on', 'metadata_ready'", "got value 4"}},
    {[](auto& p) { p.x_scale_layout = 0; },
     invalid,
     {"x_scale_layout: ", "'column_major', 'row_major'", "got value 0"}},
    {[](auto& p) { p.out_scale_layout = 6; },
     invalid,
     {"out_scale_layout: ", "'column_major', 'row_major'", "got value 6"}},
    // Sizes
    {[](auto& p) { p.rows = -1; }, invalid, {"rows: ", "at least 0", "got -1"}},
    {[](auto& p) { p.columns = 0; }, invalid, {"columns: ", "at least 1", "got 0"}},
    {[](auto& p) { p.columns = INT64_MIN; }, invalid, {"columns: ", "at least 1"}},
    {[](auto& p) { p.columns = INT64_MAX; }, invalid, {"columns: ", "at most", "got 9223372036854775807"}},
    {[](auto& p) { p.expected_rows = -2; }, invalid, {"expected_rows: ", "at least -1", "got -2"}},
    {[](auto& p) { p.entries = 7; }, invalid, {"entries: ", "0 for these rows", "got 7"}},
    {[](auto& p) {
       p.row_kind = MOE_ACT_ROWS_EXPANDED_TO_PERMUTED;
       p.entries = -1;
     },
     invalid,
     {"entries: ", "at least 0", "got -1"}},
    {[](auto& p) {
       p.row_kind = MOE_ACT_ROWS_EXPANDED_TO_PERMUTED;
       p.entries = huge;
     },
     invalid,
     {"entries: ", "at most 2^53"}},
    // Combinations
    {[](auto& p) {
       p.row_kind = MOE_ACT_ROWS_EXPANDED_TO_PERMUTED;
       p.padding = MOE_ACT_PADDING_ZERO;
     },
     unsupported,
     {"padding: ", "'zero'", "expanded_idx_to_permuted_idx", "use 'skip'"}},
    {[](auto& p) { p.pdl = MOE_ACT_PDL_ON; }, unsupported, {"pdl: ", "'off' on the CPU", "got 'on'"}},
    {[](auto& p) { p.pdl = MOE_ACT_PDL_METADATA_READY; }, unsupported, {"pdl: ", "got 'metadata_ready'"}},
    // Strides
    {[](auto& p) { p.x_row_stride = 383; }, invalid, {"x: ", "at least 384", "got 383"}},
    {[](auto& p) { p.out_row_stride = 191; }, invalid, {"out: ", "at least 192", "got 191"}},
    {[](auto& p) { p.x_scale_stride = 3; }, invalid, {"x_scale: ", "at least 4 elements (rows)", "got 3"}},
    {[](auto& p) { p.x_scale_stride = -2; }, invalid, {"x_scale: ", "at least 4", "got -2"}},
    {[](auto& p) {
       p.x_scale_layout = MOE_ACT_SCALE_LAYOUT_ROW_MAJOR;
       p.x_scale_stride = 2;
     },
     invalid,
     {"x_scale: ", "at least 3 elements (blocks)", "got 2"}},
    {[](auto& p) {
       p.x_scale_layout = MOE_ACT_SCALE_LAYOUT_ROW_MAJOR;
       p.x_scale_stride = MOE_ACT_STRIDE_ON_DEVICE;
     },
     invalid,
     {"x_scale: ", "on the device", "column_major"}},
    {[](auto& p) { p.out_scale_stride = 3; }, invalid, {"out_scale: ", "at least 4 elements (rows)", "got 3"}},
    {[](auto& p) {
       p.out_scale_layout = MOE_ACT_SCALE_LAYOUT_ROW_MAJOR;
       p.out_scale_stride = 1;
     },
     invalid,
     {"out_scale: ", "at least 2 elements (blocks)", "got 1"}},
    {[](auto& p) {
       p.out_scale_layout = MOE_ACT_SCALE_LAYOUT_ROW_MAJOR;
       p.out_scale_stride = MOE_ACT_STRIDE_ON_DEVICE;
     },
     invalid,
     {"out_scale: ", "on the device", "column_major"}},
    // Alignments
    {[](auto& p) { p.x_alignment = 0; }, invalid, {"x: ", "power of two of at least 1 bytes", "got 0"}},
    {[](auto& p) { p.x_alignment = 12; }, invalid, {"x: ", "power of two", "got 12"}},
    {[](auto& p) { p.x_alignment = -16; }, invalid, {"x: ", "power of two", "got -16"}},
    {[](auto& p) { p.out_alignment = 3; }, invalid, {"out: ", "power of two", "got 3"}},
    {[](auto& p) {
       plain(p, MOE_ACT_FORMAT_FP32);
       p.out_alignment = 2;
     },
     invalid,
     {"out: ", "at least 4 bytes", "got 2"}},
    {[](auto& p) { p.x_row_stride = 385; }, invalid, {"x: ", "16 bytes does not hold", "385 elements apart"}},
    {[](auto& p) { p.out_row_stride = 196; }, invalid, {"out: ", "16 bytes does not hold", "196 elements apart"}},
    // Extents
    {[](auto& p) { p.x_row_stride = INT64_MAX - 15; }, invalid, {"x: ", "exceeds the address space"}},
    {[](auto& p) { p.out_row_stride = huge; }, invalid, {"out: ", "exceeds the address space"}},
    {[](auto& p) { p.x_scale_stride = huge; }, invalid, {"x_scale: ", "exceeds the address space"}},
    {[](auto& p) { p.out_scale_stride = INT64_MAX; }, invalid, {"out_scale: ", "exceeds the address space"}},
    {[](auto& p) { p.rows = p.x_scale_stride = p.out_scale_stride = huge; }, invalid, {"exceeds the address space"}},
};

TEST("an impossible or unsupported problem is refused by name, with what was expected and given") {
  check_refused(refusals);
}

void accept(const char* name, void (*mutate)(moe_act_problem& problem)) {
  moe_act_problem problem = good_problem();
  mutate(problem);
  try {
    const Problem accepted(problem);
    CHECK(true);
  } catch (const Error& error) {
    CHECK(false, name, ": ", error.what());
  }
}

TEST("what a problem does not read cannot be wrong") {
  accept("as it is", [](auto&) {});
  accept("no rows", [](auto& p) { p.rows = 0; });
  accept("plain output: no output scale", [](auto& p) {
    plain(p, MOE_ACT_FORMAT_BF16);
    p.out_scale_layout = 0;
    p.out_scale_stride = -7;
  });
  accept("tensor scaling: no output scale", [](auto& p) {
    p.out_scaling = MOE_ACT_SCALING_TENSOR;
    p.out_scale_stride = 0;
  });
  accept("bf16 input: no input scale", [](auto& p) {
    p.x_format = MOE_ACT_FORMAT_BF16;
    p.x_scale_layout = 0;
    p.x_scale_stride = -7;
  });
  accept("one row: its stride", [](auto& p) {
    p.rows = 1;
    p.x_row_stride = 385;
    p.out_row_stride = INT64_MAX;
  });
  accept("column-major strides on the device",
         [](auto& p) { p.x_scale_stride = p.out_scale_stride = MOE_ACT_STRIDE_ON_DEVICE; });
  accept("more expected rows than there are", [](auto& p) { p.expected_rows = INT64_MAX; });
  accept("an empty map", [](auto& p) { p.row_kind = MOE_ACT_ROWS_EXPANDED_TO_PERMUTED; });
  accept("pdl on CUDA", [](auto& p) {
    p.device_type = MOE_ACT_DEVICE_CUDA;
    p.device_id = 7;
    p.pdl = MOE_ACT_PDL_ON;
  });
}

TEST("a buffer's extent ends with the last element that is touched") {
  moe_act_problem description = good_problem();
  description.x_row_stride = 400;
  description.out_row_stride = 208;
  description.x_scale_stride = 10;
  description.out_scale_layout = MOE_ACT_SCALE_LAYOUT_ROW_MAJOR;
  description.out_scale_stride = 5;
  const Problem problem(description);
  CHECK_EQUAL(problem.x_bytes(), 3 * 400 + 384);
  CHECK_EQUAL(problem.x_scale_bytes(), 4 * (2 * 10 + 4));  // column major, three blocks
  CHECK_EQUAL(problem.out_bytes(), 3 * 208 + 192);
  CHECK_EQUAL(problem.out_scale_bytes(), 4 * (3 * 5 + 2));  // row major, two blocks

  description.x_scale_stride = MOE_ACT_STRIDE_ON_DEVICE;
  description.rows = 0;
  const Problem empty(description);
  CHECK_EQUAL(empty.x_bytes() + empty.x_scale_bytes() + empty.out_bytes() + empty.out_scale_bytes(), 0);
  description.rows = 4;
  CHECK_EQUAL(Problem(description).x_scale_bytes(), 4 * 3 * 4);  // capacity for the largest stride, which is rows
}

}  // namespace
