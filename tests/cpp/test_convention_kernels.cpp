// Which kernels the planner finds for row conventions and scale layouts: of those that know enough, the least.
#include <cstdint>

#include "convention_problems.hpp"

namespace {

using namespace planned;

TEST(
    "a CTA looks at one of few entries in any scale layout, too, by warps for all of a row, where index and strides "
    "have 32 bits") {
  for (const Format input : {Format::e4m3, Format::bf16, Format::fp32}) {
    moe_act_problem problem = problem_of(input, Format::e4m3, 2048, columns);
    problem.row_kind = MOE_ACT_ROWS_ROW_TO_EXPERT;
    problem.entries = 2048;
    problem.expected_rows = 256;
    problem.out_scale_layout = MOE_ACT_SCALE_LAYOUT_PACKED_UE8M0;
    problem.out_scale_stride = 2048;
    const moe_act_plan_info info = info_of(problem, h100);
    const bool has_kernel = input != Format::fp32;
    CHECK_EQUAL(info.schedule == MOE_ACT_SCHEDULE_ENTRY, has_kernel, traits(input).name);
    if (has_kernel) CHECK_EQUAL(info.grid_y, 1, traits(input).name);
    problem.index_bits = 64;
    CHECK_EQUAL(info_of(problem, h100).schedule, MOE_ACT_SCHEDULE_LIST, traits(input).name);
    problem.index_bits = 32;
    problem.out_scale_layout = MOE_ACT_SCALE_LAYOUT_COLUMN_MAJOR;
    problem.out_block = 32;
    problem.out_scale_format = MOE_ACT_FORMAT_FP32;
    CHECK_EQUAL(info_of(problem, h100).schedule == MOE_ACT_SCHEDULE_ENTRY, has_kernel, traits(input).name);
    problem.out_scale_stride = MOE_ACT_STRIDE_ON_DEVICE;
    CHECK_EQUAL(info_of(problem, h100).schedule, MOE_ACT_SCHEDULE_LIST, traits(input).name);
    problem.out_scale_stride = 2048;
    problem.x_row_stride = std::int64_t{1} << 32;
    CHECK_EQUAL(info_of(problem, h100).schedule, MOE_ACT_SCHEDULE_LIST, traits(input).name);
  }
}

// Of 256 rows whose scales are swizzled, and more.
CudaLaunch swizzled_with(void (*mutate)(moe_act_problem&)) {
  moe_act_problem problem = problem_of(Format::e4m3, Format::e4m3, 256, columns);
  problem.x_scale_layout = MOE_ACT_SCALE_LAYOUT_SWIZZLED_128X4;
  problem.x_scale_stride = 256;
  mutate(problem);
  return Plan(Problem(problem), h100.info).cuda();
}

TEST("few dense rows in any scale layout are told from lists where the launch knows their strides") {
  const auto is_dense = [](void (*mutate)(moe_act_problem&)) { return swizzled_with(mutate).has_dense_rows; };
  CHECK(is_dense([](auto&) {}));
  CHECK(is_dense([](auto& p) { p.rows = 37; }));
  CHECK(!is_dense([](auto& p) { p.x_row_stride = std::int64_t{1} << 32; }));
  CHECK(!is_dense([](auto& p) { p.out_scale_stride = MOE_ACT_STRIDE_ON_DEVICE; }));
  CHECK(!is_dense([](auto& p) { p.row_kind = MOE_ACT_ROWS_VALID_PREFIX; }));
  CHECK(!is_dense([](auto& p) { p.rows = p.x_scale_stride = p.out_scale_stride = rows; }));
}

TEST("straight code for dense rows knows the form of their scales, but for odd ones") {
  const auto knows = [](void (*mutate)(moe_act_problem&)) {
    const CudaLaunch launch = swizzled_with(mutate);
    CHECK(launch.has_dense_rows);
    return launch.knows_scale_forms;
  };
  CHECK(knows([](auto&) {}));
  CHECK(knows([](auto& p) { p.columns = 1024, p.x_row_stride = 2048, p.out_row_stride = 1024; }));
  // Parts of chunks; halves of x that begin within four blocks; bytes behind a row's scales; other results.
  CHECK(!knows([](auto& p) { p.columns = 1088, p.x_row_stride = 2176, p.out_row_stride = 1088; }));
  CHECK(!knows([](auto& p) { p.columns = 1152, p.x_row_stride = 2304, p.out_row_stride = 1152; }));
  CHECK(!knows([](auto& p) {
    p.columns = 1152, p.x_row_stride = 2304, p.out_row_stride = 1152;
    p.x_scale_layout = MOE_ACT_SCALE_LAYOUT_ROW_MAJOR, p.x_scale_stride = 18;
    p.out_scale_layout = MOE_ACT_SCALE_LAYOUT_SWIZZLED_128X4, p.out_scale_stride = 256;
  }));
  CHECK(!knows([](auto& p) { p.out_format = MOE_ACT_FORMAT_E5M2; }));
  CHECK(!knows([](auto& p) { p.out_scaling = MOE_ACT_SCALING_TENSOR; }));
}

TEST("what straight code for dense rows is told of their scales") {
  const auto arguments_of = [](std::int32_t x_layout, std::int32_t out_layout, std::int32_t gate) {
    moe_act_problem problem = problem_of(Format::e4m3, Format::e4m3, 256, columns);
    problem.gate = gate;
    problem.x_scale_layout = x_layout;
    problem.x_scale_stride = 260;
    if (x_layout == MOE_ACT_SCALE_LAYOUT_SWIZZLED_128X4) problem.x_scale_stride = 256;
    problem.x_block = 32;
    problem.out_scale_layout = out_layout;
    problem.out_scale_stride = 256;
    return Plan(Problem(problem), h100.info).arguments(moe_act_buffers{});
  };
  constexpr std::int32_t swizzled = MOE_ACT_SCALE_LAYOUT_SWIZZLED_128X4, tma = MOE_ACT_SCALE_LAYOUT_TMA_COLUMN_MAJOR;
  CHECK_EQUAL(arguments_of(swizzled, tma, MOE_ACT_GATE_SECOND_HALF).entries_per_cta, dense_rows_ue8m0_x);
  CHECK_EQUAL(arguments_of(tma, swizzled, MOE_ACT_GATE_SECOND_HALF).entries_per_cta, dense_rows_ue8m0_out);
  for (const std::int32_t gate : {MOE_ACT_GATE_FIRST_HALF, MOE_ACT_GATE_SECOND_HALF}) {
    const bool second = gate == MOE_ACT_GATE_SECOND_HALF;
    const KernelArguments both = arguments_of(swizzled, swizzled, gate);
    CHECK_EQUAL(both.entries_per_cta, dense_rows_ue8m0_both);
    CHECK_EQUAL(both.dense.rows, 256u);
    CHECK_EQUAL(both.dense.x_scale.block_log2, 5u);
    CHECK_EQUAL(both.dense.out_scale.block_log2, 7u);
    // Scales of the second half, H / 32 blocks on, four in a tile of 512 bytes; tiles of 128 rows hold a row's 32
    // fours.
    CHECK_EQUAL(both.dense.gate_scale, second ? 512u * (columns / 32 / 4) : 0u);
    CHECK_EQUAL(both.dense.up_scale, second ? 0u : 512u * (columns / 32 / 4));
    CHECK_EQUAL(both.x_scale_strides.row, 512u * 32);
    CHECK_EQUAL(both.x_scale_strides.block, 512u);
    const KernelArguments neither = arguments_of(tma, tma, gate);
    CHECK_EQUAL(neither.entries_per_cta, dense_rows);
    CHECK_EQUAL(neither.dense.gate_scale, second ? 4u * 260 * (columns / 32) : 0u);
    CHECK_EQUAL(neither.dense.up_scale, second ? 0u : 4u * 260 * (columns / 32));
    CHECK_EQUAL(neither.x_scale_strides.row, 4u);
    CHECK_EQUAL(neither.x_scale_strides.block, 4u * 260);
  }
}

TEST("few rows of fp32 with plain results are not left to general kernels") {
  for (const std::int32_t kind : {MOE_ACT_ROWS_ROW_TO_EXPERT, MOE_ACT_ROWS_EXPERT_OFFSETS}) {
    moe_act_problem problem = problem_of(Format::fp32, Format::bf16, 128, columns);
    problem.row_kind = kind;
    if (kind == MOE_ACT_ROWS_ROW_TO_EXPERT) problem.entries = problem.rows;
    if (kind == MOE_ACT_ROWS_EXPERT_OFFSETS) problem.experts = experts;
    CHECK(Plan(Problem(problem), h100.info).cuda().key.reach == Reach::layouts, kind);
  }
}

TEST("strides beyond 4 GB are left to the kernels that count them in 64 bits") {
  constexpr std::int64_t gigabyte = std::int64_t{1} << 30;
  const auto takes_list = [](std::int32_t kind, void (*mutate)(moe_act_problem&)) {
    moe_act_problem problem =
        kind == MOE_ACT_ROWS_DENSE ? problem_of(Format::bf16, Format::e4m3, 2, columns) : with_kind(kind);
    mutate(problem);
    const auto schedule = info_of(problem, h100).schedule;
    return schedule == MOE_ACT_SCHEDULE_LIST;
  };
  const auto dense = [&](void (*mutate)(moe_act_problem&)) { return takes_list(MOE_ACT_ROWS_DENSE, mutate); };
  CHECK(!dense([](auto& p) { p.x_row_stride = 2 * gigabyte - 8; }));
  CHECK(dense([](auto& p) { p.x_row_stride = 2 * gigabyte; }));
  CHECK(!dense([](auto& p) { p.out_row_stride = 4 * gigabyte - 16; }));
  CHECK(dense([](auto& p) { p.out_row_stride = 4 * gigabyte; }));
  CHECK(!dense([](auto& p) { p.out_scale_stride = gigabyte - 4; }));
  CHECK(dense([](auto& p) { p.out_scale_stride = gigabyte; }));
  moe_act_problem scaled = problem_of(Format::e4m3, Format::e4m3, 2, columns);
  scaled.x_scale_stride = gigabyte - 4;
  CHECK(info_of(scaled, h100).schedule != MOE_ACT_SCHEDULE_LIST);
  scaled.x_scale_stride = gigabyte;
  CHECK_EQUAL(info_of(scaled, h100).schedule, MOE_ACT_SCHEDULE_LIST);
  // Of masked rows, e4m3 in and out, the distances of experts, each alone.
  for (const auto stride : {&moe_act_problem::x_expert_stride, &moe_act_problem::out_expert_stride,
                            &moe_act_problem::x_scale_expert_stride, &moe_act_problem::out_scale_expert_stride}) {
    const bool scales =
        stride == &moe_act_problem::x_scale_expert_stride || stride == &moe_act_problem::out_scale_expert_stride;
    const auto reach_with = [&](std::int64_t bytes) {
      moe_act_problem problem = with_kind(MOE_ACT_ROWS_MASKED);
      problem.expected_rows = 256;
      problem.*stride = bytes / (scales ? 4 : 1);
      return kernel_keys[static_cast<std::size_t>(info_of(problem, h100).kernel)].reach;
    };
    CHECK(reach_with(4 * gigabyte - 16) == Reach::plain);
    CHECK(reach_with(4 * gigabyte) == Reach::layouts);
  }
}

TEST("layouts, blocks, e5m2, row scales, activations and padding take dense rows to lists, too") {
  const auto schedule_of = [](void (*mutate)(moe_act_problem&)) {
    moe_act_problem problem = problem_of(Format::bf16, Format::e4m3, rows, columns);
    mutate(problem);
    return info_of(problem, h100).schedule;
  };
  CHECK(schedule_of([](auto&) {}) != MOE_ACT_SCHEDULE_LIST);
  CHECK_EQUAL(schedule_of([](auto& p) { p.out_block = 64; }), MOE_ACT_SCHEDULE_LIST);
  CHECK_EQUAL(schedule_of([](auto& p) { p.out_scale_format = MOE_ACT_FORMAT_UE8M0; }), MOE_ACT_SCHEDULE_LIST);
  CHECK_EQUAL(schedule_of([](auto& p) { p.out_scaling = MOE_ACT_SCALING_ROW; }), MOE_ACT_SCHEDULE_LIST);
  CHECK_EQUAL(schedule_of([](auto& p) { p.out_format = MOE_ACT_FORMAT_E5M2; }), MOE_ACT_SCHEDULE_LIST);
  CHECK_EQUAL(schedule_of([](auto& p) { p.activation = MOE_ACT_ACTIVATION_GEGLU; }), MOE_ACT_SCHEDULE_LIST);
  CHECK_EQUAL(schedule_of([](auto& p) { p.expert_tiles = p.tile_tokens = 512; }), MOE_ACT_SCHEDULE_LIST);
}

TEST("whatever can be loaded in vectors is, on either side of every threshold") {
  for (const Format input : {Format::e4m3, Format::bf16, Format::fp32})
    for (const std::int32_t activation : {MOE_ACT_ACTIVATION_SWIGLU, MOE_ACT_ACTIVATION_GEGLU})
      for (const std::int32_t layout : {MOE_ACT_SCALE_LAYOUT_COLUMN_MAJOR, MOE_ACT_SCALE_LAYOUT_PACKED_UE8M0})
        for (const std::int32_t kind : {MOE_ACT_ROWS_DENSE, MOE_ACT_ROWS_ROW_TO_EXPERT, MOE_ACT_ROWS_VALID_PREFIX})
          for (const std::int64_t some : {1, 131, 132, 197, 198, 329, 330, 1319, 1320, 1321, 65999, 66000, 66001}) {
            moe_act_problem problem = problem_of(input, Format::e4m3, some, 2000);
            problem.row_kind = kind;
            problem.activation = activation;
            problem.out_scale_layout = layout;
            problem.out_scale_stride = (some + 3) / 4 * 4;
            if (kind == MOE_ACT_ROWS_ROW_TO_EXPERT) problem.entries = some;
            CHECK(info_of(problem, h100).columns_per_lane > 1, traits(input).name, ", activation ", activation,
                  ", layout ", layout, ", kind ", kind, ", rows ", some);
          }
}

TEST("general problems take general kernels, plain ones theirs") {
  const auto kernel_of = [](const moe_act_problem& problem) {
    return kernel_keys[static_cast<std::size_t>(info_of(problem, h100).kernel)];
  };
  for (const std::int32_t kind : {MOE_ACT_ROWS_DENSE, MOE_ACT_ROWS_TILE_LIMITS, MOE_ACT_ROWS_MASKED}) {
    moe_act_problem problem = with_kind(kind);
    CHECK_EQUAL(kernel_of(problem).reach, Reach::plain, "kind ", kind);
    problem.activation = MOE_ACT_ACTIVATION_GEGLU;
    const KernelKey key = kernel_of(problem);
    CHECK_EQUAL(key.reach, Reach::models, "kind ", kind);
    CHECK(key.schedule == Schedule::list || key.schedule == Schedule::segments, "kind ", kind);
    CHECK_EQUAL(info_of(problem, h100).kernels, kernel_count);
  }
}

TEST("64-bit values and strides on the device take kernels of all layouts, what 32 bits cannot count general ones") {
  const auto reach_of = [](const moe_act_problem& problem) { return Problem(problem).any_rows_reach(); };
  for (const std::int32_t kind :
       {MOE_ACT_ROWS_VALID_PREFIX, MOE_ACT_ROWS_TILE_LIMITS, MOE_ACT_ROWS_ROW_TO_EXPERT, MOE_ACT_ROWS_SORTED_TOKEN_IDS,
        MOE_ACT_ROWS_EXPERT_OFFSETS, MOE_ACT_ROWS_EXPERT_ENDS, MOE_ACT_ROWS_MASKED}) {
    const moe_act_problem plain = with_kind(kind);
    const std::int64_t beyond = (std::int64_t{1} << 30) - 4096 - 127 * plain.experts;  // padding of swizzled scales
    CHECK_EQUAL(reach_of(plain), Reach::plain, "kind ", kind);
    const bool has_count =
        kind == MOE_ACT_ROWS_VALID_PREFIX || kind == MOE_ACT_ROWS_TILE_LIMITS || kind == MOE_ACT_ROWS_SORTED_TOKEN_IDS;
    moe_act_problem problem = plain;
    if (has_count) {
      problem.count_bits = 64;
      CHECK_EQUAL(reach_of(problem), Reach::layouts, "kind ", kind);
    }
    if (kind != MOE_ACT_ROWS_VALID_PREFIX) {
      problem = plain;
      problem.index_bits = 64;
      CHECK_EQUAL(reach_of(problem), Reach::layouts, "kind ", kind);
    }
    if (kind == MOE_ACT_ROWS_MASKED) continue;  // has no strides on the device, and rows of each expert
    problem = plain;
    problem.x_scale_stride = MOE_ACT_STRIDE_ON_DEVICE;
    CHECK_EQUAL(reach_of(problem), Reach::layouts, "kind ", kind);
    problem = plain;
    problem.out_scale_stride = MOE_ACT_STRIDE_ON_DEVICE;
    CHECK_EQUAL(reach_of(problem), Reach::layouts, "kind ", kind);
    for (const std::int64_t count : {beyond - 1, beyond}) {
      problem = plain;
      problem.rows = problem.x_scale_stride = problem.out_scale_stride = count;
      if (kind == MOE_ACT_ROWS_TILE_LIMITS) problem.entries = (count + 63) / 64;
      if (kind == MOE_ACT_ROWS_ROW_TO_EXPERT) problem.entries = count;
      if (kind == MOE_ACT_ROWS_SORTED_TOKEN_IDS) problem.entries = problem.num_valid_ids = count;
      CHECK_EQUAL(reach_of(problem), count < beyond ? Reach::plain : Reach::models, "kind ", kind, ", rows ", count);
    }
  }
}

}  // namespace
