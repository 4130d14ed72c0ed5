// Row conventions and scale layouts that cannot be, one mutation each, as only a filled-in problem can say them.
#include "refusals.hpp"

namespace {

using namespace refused;

constexpr std::int64_t beyond_sizes = (std::int64_t{1} << 40) + 1;

// Three experts with 4 rows each.
void masked(moe_act_problem& problem) {
  problem.row_kind = MOE_ACT_ROWS_MASKED;
  problem.experts = 3;
  problem.x_expert_stride = 4 * 384;
  problem.out_expert_stride = 4 * 192;
  problem.x_scale_expert_stride = 3 * 4;
  problem.out_scale_expert_stride = 2 * 4;
}

void offsets(moe_act_problem& problem) {
  problem.row_kind = MOE_ACT_ROWS_EXPERT_OFFSETS;
  problem.experts = 3;
}

void ends(moe_act_problem& problem) {
  problem.row_kind = MOE_ACT_ROWS_EXPERT_ENDS;
  problem.experts = 3;
  problem.expert_alignment = 4;
}

void limits(moe_act_problem& problem) {
  problem.row_kind = MOE_ACT_ROWS_TILE_LIMITS;
  problem.entries = 2;
  problem.tile_tokens = 2;
}

void sorted(moe_act_problem& problem) {
  problem.row_kind = MOE_ACT_ROWS_SORTED_TOKEN_IDS;
  problem.entries = problem.num_valid_ids = 4;
}

const Refusal sizes[] = {
    {[](auto& p) { p.experts = 3; }, invalid, {"experts: ", "0 for these rows", "got 3"}},
    {[](auto& p) { offsets(p), p.experts = -1; }, invalid, {"experts: ", "at least 0", "got -1"}},
    {[](auto& p) { offsets(p), p.experts = beyond_sizes; }, invalid, {"experts: ", "at most 2^40"}},
    {[](auto& p) { p.tile_tokens = 8; }, invalid, {"tile_tokens: ", "0 for these rows", "got 8"}},
    {[](auto& p) { limits(p), p.tile_tokens = 0; }, invalid, {"tile_tokens: ", "at least 1", "got 0"}},
    {[](auto& p) { limits(p), p.tile_tokens = -8; }, invalid, {"tile_tokens: ", "at least 1", "got -8"}},
    {[](auto& p) { limits(p), p.tile_tokens = beyond_sizes; }, invalid, {"tile_tokens: ", "at most 2^40"}},
    {[](auto& p) { limits(p), p.entries = -1; }, invalid, {"entries: ", "at least 0", "got -1"}},
    {[](auto& p) { p.expert_tiles = 4; }, invalid, {"tile_tokens: ", "at least 1", "got 0"}},
    {[](auto& p) { p.expert_tiles = huge, p.tile_tokens = 1; }, invalid, {"expert_tiles: ", "at most 2^53"}},
    {[](auto& p) { p.expert_alignment = 4; }, invalid, {"expert_alignment: ", "0 for these rows", "got 4"}},
    {[](auto& p) { ends(p), p.expert_alignment = 0; }, invalid, {"expert_alignment: ", "at least 1", "got 0"}},
    {[](auto& p) { ends(p), p.expert_alignment = beyond_sizes; }, invalid, {"expert_alignment: ", "at most 2^40"}},
    {[](auto& p) { p.num_valid_ids = 4; }, invalid, {"num_valid_ids: ", "0 for these rows", "got 4"}},
    {[](auto& p) { sorted(p), p.num_valid_ids = -1; }, invalid, {"num_valid_ids: ", "at least 0", "got -1"}},
    {[](auto& p) { sorted(p), p.sorted_rows = 9; }, invalid, {"sorted_rows: ", "'position', 'id'", "got value 9"}},
    {[](auto& p) { p.sorted_rows = MOE_ACT_SORTED_ROWS_ID; }, invalid, {"sorted_rows: ", "'position' for these rows"}},
    {[](auto& p) { p.row_kind = MOE_ACT_ROWS_ROW_TO_EXPERT, p.entries = 3; },
     invalid,
     {"row_to_expert: ", "each of 4 rows", "got 3"}},
    {[](auto& p) { p.row_kind = 10; }, invalid, {"row_kind: ", "'masked'", "got value 10"}},
    {[](auto& p) { p.index_bits = 16; }, invalid, {"index_bits: ", "32 or 64", "got 16"}},
    {[](auto& p) { p.count_bits = -64; }, invalid, {"count_bits: ", "32 or 64", "got -64"}},
    {[](auto& p) { p.tile_to_expert_bits = 8; }, invalid, {"tile_to_expert_bits: ", "32 or 64", "got 8"}},
};

const Refusal scales[] = {
    {[](auto& p) { p.x_block = 16; }, invalid, {"x_block: ", "32, 64 or 128", "got 16"}},
    {[](auto& p) { p.out_block = -32; }, invalid, {"out_block: ", "32, 64 or 128", "got -32"}},
    {[](auto& p) { p.x_scale_format = MOE_ACT_FORMAT_BF16; }, invalid, {"x_scale_format: ", "'ue8m0'", "got value 3"}},
    {[](auto& p) { p.out_scale_format = 99; }, invalid, {"out_scale_format: ", "'fp32', 'ue8m0'", "got value 99"}},
    {[](auto& p) {
       p.x_scale_layout = MOE_ACT_SCALE_LAYOUT_PACKED_UE8M0;
       p.x_scale_format = MOE_ACT_FORMAT_FP32;
     },
     invalid,
     {"x_scale: ", "are ue8m0", "got 'fp32'"}},
    {[](auto& p) {
       p.out_scale_layout = MOE_ACT_SCALE_LAYOUT_TMA_COLUMN_MAJOR;
       p.out_scale_format = MOE_ACT_FORMAT_UE8M0;
     },
     invalid,
     {"out_scale: ", "are fp32", "got 'ue8m0'"}},
    {[](auto& p) { p.scale_rounding = 9; }, invalid, {"scale_rounding: ", "'power_of_two'", "got value 9"}},
    {[](auto& p) {
       p.out_scale_format = MOE_ACT_FORMAT_UE8M0;
       p.scale_rounding = MOE_ACT_SCALE_ROUNDING_NONE;
     },
     invalid,
     {"scale_rounding: ", "'power_of_two'", "got 'none'"}},
    {[](auto& p) { p.out_scaling = MOE_ACT_SCALING_ROW, p.out_scale_format = MOE_ACT_FORMAT_UE8M0; },
     invalid,
     {"out_scale: ", "a whole row is fp32", "got 'ue8m0'"}},
    {[](auto& p) { p.x_scale_layout = MOE_ACT_SCALE_LAYOUT_TMA_COLUMN_MAJOR, p.x_scale_stride = 6; },
     invalid,
     {"x_scale: ", "multiple of 4 elements", "got 6"}},
    {[](auto& p) { p.out_scale_layout = MOE_ACT_SCALE_LAYOUT_SWIZZLED_128X4, p.out_scale_stride = 100; },
     invalid,
     {"out_scale: ", "multiple of 128 rows, at least 128", "got 100"}},
    {[](auto& p) { offsets(p), p.x_scale_layout = MOE_ACT_SCALE_LAYOUT_SWIZZLED_128X4, p.x_scale_stride = 256; },
     invalid,
     {"x_scale: ", "at least 384", "got 256"}},
};

const Refusal expert_strides[] = {
    {[](auto& p) { p.x_expert_stride = 1; }, invalid, {"x_expert_stride: ", "0 for these rows", "got 1"}},
    {[](auto& p) { p.out_expert_stride = 1; }, invalid, {"out_expert_stride: ", "0 for these rows"}},
    {[](auto& p) { p.x_scale_expert_stride = 1; }, invalid, {"x_scale_expert_stride: ", "0 for these rows"}},
    {[](auto& p) { offsets(p), p.out_scale_expert_stride = 1; }, invalid, {"out_scale_expert_stride: ", "0 for these"}},
    {[](auto& p) { masked(p), p.x_expert_stride = 4 * 384 - 16; }, invalid, {"x: ", "at least 1536", "got 1520"}},
    {[](auto& p) { masked(p), p.out_expert_stride = -768; }, invalid, {"out: ", "at least 768", "got -768"}},
    {[](auto& p) { masked(p), p.x_scale_expert_stride = 11; }, invalid, {"x_scale: ", "at least 12", "got 11"}},
    {[](auto& p) { masked(p), p.out_scale_expert_stride = 0; }, invalid, {"out_scale: ", "at least 8", "got 0"}},
    {[](auto& p) { masked(p), p.x_expert_stride += 8; },
     invalid,
     {"x: ", "16 bytes does not hold", "8 elements apart"}},
    {[](auto& p) { masked(p), p.x_expert_stride = huge; }, invalid, {"x: ", "exceeds the address space"}},
    {[](auto& p) { masked(p), p.x_scale_expert_stride = huge; }, invalid, {"x_scale: ", "exceeds the address space"}},
    {[](auto& p) {
       masked(p);
       p.x_scale_layout = MOE_ACT_SCALE_LAYOUT_TMA_COLUMN_MAJOR;
       p.x_scale_expert_stride = 14;
     },
     invalid,
     {"x_scale: ", "multiple of 4 elements (16 bytes) apart", "got 14"}},
    {[](auto& p) {
       masked(p);
       p.out_scale_layout = MOE_ACT_SCALE_LAYOUT_PACKED_UE8M0;
       p.out_scale_expert_stride = 9;
     },
     invalid,
     {"out_scale: ", "multiple of 4 elements (16 bytes) apart", "got 9"}},
    {[](auto& p) { masked(p), p.x_scale_stride = MOE_ACT_STRIDE_ON_DEVICE; },
     invalid,
     {"x_scale: ", "on the device", "not masked"}},
    // Products that leave 63 bits
    {[](auto& p) { masked(p), p.rows = std::int64_t{1} << 31, p.experts = std::int64_t{1} << 40; },
     invalid,
     {"rows: ", "at most 2^53 of all experts", "got 1099511627776 x 2147483648"}},
    {[](auto& p) { masked(p), p.rows = INT64_MAX; }, invalid, {"rows: ", "at most 2^53 of all experts"}},
};

TEST("sizes of row conventions that cannot be") {
  check_refused(sizes);
}

TEST("scales that cannot be") {
  check_refused(scales);
}

TEST("experts that are too close, too far or out of line") {
  check_refused(expert_strides);
}

TEST("what a layout means nothing for is not read") {
  moe_act_problem problem = good_problem();
  problem.out_scaling = MOE_ACT_SCALING_ROW;
  problem.out_scale_layout = MOE_ACT_SCALE_LAYOUT_SWIZZLED_128X4;
  problem.out_scale_stride = 1;
  const Problem per_row(problem);
  CHECK_EQUAL(per_row->out_scale_layout, MOE_ACT_SCALE_LAYOUT_COLUMN_MAJOR);
  CHECK_EQUAL(per_row->out_scale_format, MOE_ACT_FORMAT_FP32);
  CHECK_EQUAL(per_row.out_scale_bytes(), 4 * 4);
}

TEST("counts of the device, whatever they say, are entries that there are") {
  moe_act::RowAddressing rows{};
  rows.kind = moe_act::RowKind::tile_limits;
  std::int64_t count = 0;
  rows.count = {&count, true};
  rows.units = 32;
  for (const std::int64_t tile : {std::int64_t{1}, std::int64_t{3}, std::int64_t{32}, std::int64_t{1} << 40}) {
    rows.set_parameter(tile);
    for (const std::int64_t none : {INT64_MIN, -(std::int64_t{3} << 61), std::int64_t{-1}, std::int64_t{0}})
      CHECK_EQUAL(rows.entries_in_use(none), 0, tile, ", ", none);
    for (const std::int64_t all : {INT64_MAX, std::int64_t{3} << 61, std::int64_t{33}})
      CHECK_EQUAL(rows.entries_in_use(all), 32, tile, ", ", all);
  }
  rows.set_parameter(3);
  CHECK_EQUAL(rows.entries_in_use(10), 30);
  CHECK_EQUAL(rows.entries_in_use(11), 32);
}

}  // namespace
