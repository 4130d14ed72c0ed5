// How much of a grid the planner gives row conventions, and which schedule.
#include <algorithm>
#include <cstdint>
#include <utility>

#include "convention_problems.hpp"

namespace {

using namespace planned;

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
