// What the planner decides for row conventions and layouts that neither dense rows nor maps have.
#include <algorithm>
#include <cstdint>
#include <utility>

#include "gpus.hpp"

namespace {

using namespace planned;

constexpr std::int64_t rows = 131072, columns = 2048, experts = 256;

moe_act_problem with_kind(std::int32_t kind) {
  moe_act_problem problem = problem_of(Format::e4m3, Format::e4m3, rows, columns);
  problem.row_kind = kind;
  switch (kind) {
    case MOE_ACT_ROWS_EXPANDED_TO_PERMUTED:
      problem.entries = rows;
      problem.index_bits = 64;  // int32 maps have kernels of their own
      break;
    case MOE_ACT_ROWS_TILE_LIMITS:
      problem.tile_tokens = 64;
      problem.entries = rows / 64;
      break;
    case MOE_ACT_ROWS_ROW_TO_EXPERT: problem.entries = rows; break;
    case MOE_ACT_ROWS_SORTED_TOKEN_IDS: problem.entries = problem.num_valid_ids = rows; break;
    case MOE_ACT_ROWS_EXPERT_OFFSETS: problem.experts = experts; break;
    case MOE_ACT_ROWS_EXPERT_ENDS:
      problem.experts = experts;
      problem.expert_alignment = 128;
      break;
    case MOE_ACT_ROWS_MASKED:
      problem.experts = experts;
      problem.rows = rows / experts;
      problem.x_expert_stride = problem.rows * 2 * columns;
      problem.out_expert_stride = problem.rows * columns;
      problem.x_scale_stride = problem.out_scale_stride = problem.rows;
      problem.x_scale_expert_stride = problem.rows * 2 * columns / 128;
      problem.out_scale_expert_stride = problem.rows * columns / 128;
      break;
    default: break;
  }
  return problem;
}

constexpr std::int32_t lists[] = {MOE_ACT_ROWS_EXPANDED_TO_PERMUTED, MOE_ACT_ROWS_VALID_PREFIX,
                                  MOE_ACT_ROWS_TILE_LIMITS, MOE_ACT_ROWS_ROW_TO_EXPERT, MOE_ACT_ROWS_SORTED_TOKEN_IDS};
constexpr std::int32_t segments[] = {MOE_ACT_ROWS_EXPERT_OFFSETS, MOE_ACT_ROWS_EXPERT_ENDS, MOE_ACT_ROWS_MASKED};

moe_act_plan_info plan_of(std::int32_t kind, std::int64_t expected_rows, const Gpu& gpu = h100) {
  moe_act_problem problem = with_kind(kind);
  problem.expected_rows = expected_rows;
  return info_of(problem, gpu);
}

TEST("entries are a list's, experts' rows are segments, few rows of one range are a span's") {
  for (const Gpu& gpu : gpus)
    for (const std::int64_t expected : {std::int64_t{-1}, std::int64_t{0}, std::int64_t{30}, rows}) {
      const bool few = expected == 0 || expected == 30;
      const auto check = [&](std::int32_t kind, bool one_range, moe_act_schedule otherwise) {
        CHECK_EQUAL(plan_of(kind, expected, gpu).schedule, few && one_range ? MOE_ACT_SCHEDULE_SPAN : otherwise,
                    gpu.name, ", kind ", kind, ", expected ", expected);
      };
      for (const std::int32_t kind : lists) check(kind, kind == MOE_ACT_ROWS_VALID_PREFIX, MOE_ACT_SCHEDULE_LIST);
      for (const std::int32_t kind : segments)
        check(kind, kind == MOE_ACT_ROWS_EXPERT_OFFSETS, MOE_ACT_SCHEDULE_SEGMENTS);
    }
}

TEST("of more rows of one range, whole vectors are a span's where segments would take one for each lane") {
  const moe_act_plan_info info = plan_of(MOE_ACT_ROWS_EXPERT_OFFSETS, 1024);
  CHECK_EQUAL(info.schedule, MOE_ACT_SCHEDULE_SPAN);
  CHECK_EQUAL(info.columns_per_lane, 16);
  CHECK_EQUAL(plan_of(MOE_ACT_ROWS_EXPERT_OFFSETS, 4096).schedule, MOE_ACT_SCHEDULE_SEGMENTS);
}

TEST("few rows of one range go to a list where spans cannot do them, or their rows are short") {
  const auto plan_for = [](std::int64_t width, std::int32_t x_alignment) {
    moe_act_problem problem = problem_of(Format::e4m3, Format::e4m3, rows, width);
    problem.row_kind = MOE_ACT_ROWS_VALID_PREFIX;
    problem.expected_rows = 256;
    problem.x_alignment = std::min(problem.x_alignment, x_alignment);
    return info_of(problem, h100);
  };
  CHECK_EQUAL(plan_for(2048, 16).schedule, MOE_ACT_SCHEDULE_SPAN);
  CHECK_EQUAL(plan_for(2048, 16).columns_per_lane, 8);
  CHECK_EQUAL(plan_for(2048, 4).columns_per_lane, 4);
  CHECK_EQUAL(plan_for(2052, 4).columns_per_lane, 4);
  CHECK_EQUAL(plan_for(192, 16).schedule, MOE_ACT_SCHEDULE_LIST);
  CHECK(plan_for(192, 16).rows_per_cta > 1);
}

TEST("a CTA looks at one entry where few rows are live, entries not too many, and rows long and aligned") {
  const auto plan_for = [](
                            std::int32_t kind, void (*mutate)(moe_act_problem&) = [](auto&) {}) {
    moe_act_problem problem = with_kind(kind);
    problem.rows = 2048;
    problem.entries = kind == MOE_ACT_ROWS_TILE_LIMITS ? problem.rows / 64 : problem.rows;
    problem.expected_rows = 256;
    problem.x_scale_stride = problem.out_scale_stride = problem.rows;
    mutate(problem);
    return info_of(problem, h100);
  };
  for (const std::int32_t kind :
       {MOE_ACT_ROWS_TILE_LIMITS, MOE_ACT_ROWS_ROW_TO_EXPERT, MOE_ACT_ROWS_SORTED_TOKEN_IDS}) {
    const moe_act_plan_info info = plan_for(kind);
    CHECK_EQUAL(info.schedule, MOE_ACT_SCHEDULE_ENTRY, kind);
    CHECK_EQUAL(std::int64_t{info.grid_x} * info.grid_z, 2048, kind);
    CHECK_EQUAL(info.grid_y * info.warps_per_row * 32 * info.columns_per_lane * info.vectors_per_lane, columns, kind);
    CHECK_EQUAL(info.rows_per_cta, 1, kind);
  }
  const auto is_list = [&](void (*mutate)(moe_act_problem&)) {
    return plan_for(MOE_ACT_ROWS_ROW_TO_EXPERT, mutate).schedule == MOE_ACT_SCHEDULE_LIST;
  };
  CHECK(is_list([](auto& p) { p.expected_rows = 2048, p.columns = 8192, p.x_row_stride *= 4, p.out_row_stride *= 4; }));
  CHECK(is_list([](auto& p) { p.rows = p.entries = p.x_scale_stride = p.out_scale_stride = 8192; }));
  CHECK(is_list([](auto& p) { p.columns = 512; }));
  CHECK(is_list([](auto& p) { p.x_alignment = 8; }));
  CHECK(is_list([](auto& p) { p.out_format = MOE_ACT_FORMAT_BF16, p.out_scaling = MOE_ACT_SCALING_NONE; }));
  CHECK(is_list([](auto& p) { p.index_bits = 64; }));
}

TEST("so it does in any scale layout, by warps for all of a row, where index and strides have 32 bits") {
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

TEST("few dense rows in any scale layout are told from lists where the launch knows their strides") {
  const auto is_dense = [](void (*mutate)(moe_act_problem&)) {
    moe_act_problem problem = problem_of(Format::e4m3, Format::e4m3, 256, columns);
    problem.x_scale_layout = MOE_ACT_SCALE_LAYOUT_SWIZZLED_128X4;
    problem.x_scale_stride = 256;
    mutate(problem);
    return Plan(Problem(problem), h100.info).cuda().has_dense_rows;
  };
  CHECK(is_dense([](auto&) {}));
  CHECK(is_dense([](auto& p) { p.rows = 37; }));
  CHECK(!is_dense([](auto& p) { p.x_row_stride = std::int64_t{1} << 32; }));
  CHECK(!is_dense([](auto& p) { p.out_scale_stride = MOE_ACT_STRIDE_ON_DEVICE; }));
  CHECK(!is_dense([](auto& p) { p.row_kind = MOE_ACT_ROWS_VALID_PREFIX; }));
  CHECK(!is_dense([](auto& p) { p.rows = p.x_scale_stride = p.out_scale_stride = rows; }));
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

TEST("where only the device knows how many rows are live, the grid is what is at work at once") {
  for (const Gpu& gpu : gpus) {
    const std::int64_t multiprocessors = gpu.info.multiprocessors;
    for (const std::int32_t kind : segments) {
      const moe_act_plan_info info = plan_of(kind, -1, gpu);
      const std::int64_t ctas = std::int64_t{info.grid_x} * info.grid_y;
      CHECK(ctas >= multiprocessors, gpu.name, ", kind ", kind);
      CHECK(ctas * (info.threads_per_cta / 32) <= 64 * multiprocessors, gpu.name, ", kind ", kind);
    }
    for (const std::int32_t kind :
         {MOE_ACT_ROWS_VALID_PREFIX, MOE_ACT_ROWS_TILE_LIMITS, MOE_ACT_ROWS_SORTED_TOKEN_IDS}) {
      const moe_act_plan_info info = plan_of(kind, -1, gpu);
      CHECK(info.grid_x >= multiprocessors, gpu.name, ", kind ", kind);
      CHECK(std::int64_t{info.grid_x} * (info.threads_per_cta / 32) <= 64 * 8 * multiprocessors, gpu.name);
    }
  }
}

TEST("a hint of few rows makes few CTAs of segments and prefixes, one of many as many as they need") {
  for (const std::int32_t kind : {MOE_ACT_ROWS_VALID_PREFIX, MOE_ACT_ROWS_EXPERT_OFFSETS, MOE_ACT_ROWS_MASKED}) {
    const moe_act_plan_info none = plan_of(kind, 0), few = plan_of(kind, 100), all = plan_of(kind, -1);
    CHECK_EQUAL(none.grid_x, 1, "kind ", kind);
    CHECK(std::int64_t{few.grid_x} * few.units_per_cta >= 100, "kind ", kind);
    CHECK(std::int64_t{few.grid_x - 1} * few.units_per_cta < 100, "kind ", kind);
    CHECK(few.grid_x < all.grid_x, "kind ", kind);
    CHECK(plan_of(kind, rows).grid_x >= all.grid_x, "kind ", kind);
  }
}

TEST("few live rows among many entries: CTAs that look at 32, and at all there are in two steps") {
  for (const std::int32_t kind : lists) {
    if (kind == MOE_ACT_ROWS_VALID_PREFIX) continue;
    const moe_act_plan_info few = plan_of(kind, 100), all = plan_of(kind, -1);
    CHECK_EQUAL(few.units_per_cta, 32, "kind ", kind);
    CHECK(all.units_per_cta < 32, "kind ", kind);
    CHECK(std::int64_t{few.grid_x} * 2 * 32 >= rows, few.grid_x, ", kind ", kind);
  }
  CHECK(plan_of(MOE_ACT_ROWS_VALID_PREFIX, 100).units_per_cta < 32);  // the live rows are one after the other
}

TEST("CTAs side by side look at entries of a list that lie apart, about one live row among as many") {
  const auto planned = [](std::int32_t kind, std::int64_t expected_rows) {
    moe_act_problem problem = problem_of(Format::bf16, Format::e4m3, 2048, columns);
    problem.row_kind = kind;
    problem.entries = kind == MOE_ACT_ROWS_ROW_TO_EXPERT ? 2048 : 0;
    problem.expected_rows = expected_rows;
    return info_of(problem, h100);
  };
  for (const auto& [expected, apart] : {std::pair{2048, 1}, {1024, 2}, {300, 8}, {256, 8}, {200, 16}, {1, 256}}) {
    const moe_act_plan_info info = planned(MOE_ACT_ROWS_ROW_TO_EXPERT, expected);
    CHECK_EQUAL(info.grid_z, apart, expected);
    const std::int64_t entries = std::int64_t{info.grid_x} * info.grid_z * info.units_per_cta;
    CHECK(entries >= 2048 && entries < 2048 + 2048 / 8, expected);
  }
  CHECK_EQUAL(planned(MOE_ACT_ROWS_ROW_TO_EXPERT, -1).grid_z, 1);
  CHECK_EQUAL(planned(MOE_ACT_ROWS_VALID_PREFIX, 256).grid_z, 1);  // its live rows come first
}

TEST("one scale for a row: all warps of a CTA are side by side, and no second CTA goes on") {
  for (const std::int32_t kind : {MOE_ACT_ROWS_ROW_TO_EXPERT, MOE_ACT_ROWS_MASKED})
    for (const std::int64_t width : {1, 192, 2048, 14336, 1 << 20}) {
      moe_act_problem problem = problem_of(Format::bf16, Format::e4m3, 1024, width);
      problem.row_kind = kind;
      problem.out_scaling = MOE_ACT_SCALING_ROW;
      if (width < 8) problem.x_alignment = 2, problem.out_alignment = 1;
      if (kind == MOE_ACT_ROWS_ROW_TO_EXPERT) problem.entries = 1024;
      if (kind == MOE_ACT_ROWS_MASKED) {
        problem.experts = 4;
        problem.x_expert_stride = 1024 * 2 * width;
        problem.out_expert_stride = 1024 * width;
        problem.out_scale_expert_stride = 1024;
      }
      const moe_act_plan_info info = info_of(problem, h100);
      CHECK_EQUAL(info.grid_y, 1, width);
      CHECK_EQUAL(info.warps_per_row * 32, info.threads_per_cta, width);
      CHECK_EQUAL(info.rows_per_cta, 1, width);
    }
}

TEST("lanes of these kernels narrow for few rows, misaligned data and odd columns") {
  const auto width = [](std::int64_t count, std::int64_t across, std::int32_t alignment) {
    moe_act_problem problem = problem_of(Format::bf16, Format::e4m3, count, across);
    problem.row_kind = MOE_ACT_ROWS_VALID_PREFIX;
    problem.x_alignment = alignment;
    problem.out_alignment = alignment / 2;
    return info_of(problem, h100).columns_per_lane;
  };
  CHECK_EQUAL(width(1, 2048, 16), 4);
  CHECK_EQUAL(width(rows, 2048, 16), 8);
  CHECK_EQUAL(width(rows, 2048, 2), 1);
  CHECK_EQUAL(width(rows, 2047, 2), 1);
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

TEST("general rows go four to a warp only where that leaves every multiprocessor 16 warps") {
  const auto warps_per_multiprocessor = [](std::int64_t few_or_many) {
    moe_act_problem problem = problem_of(Format::bf16, Format::e4m3, few_or_many, 2880);
    problem.activation = MOE_ACT_ACTIVATION_GEGLU;
    const moe_act_plan_info info = info_of(problem, h100);
    return info.grid_x * info.grid_y * info.threads_per_cta / 32 / h100.info.multiprocessors;
  };
  for (const std::int64_t some : {2048, 8192, 8448, 32768}) CHECK(warps_per_multiprocessor(some) >= 16, "rows ", some);
}

}  // namespace
