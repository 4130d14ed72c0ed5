// A problem for each row convention, for the tests of the planner; beside gpus.hpp, which it brings along.
#pragma once

#include <cstdint>

#include "gpus.hpp"

namespace planned {

inline constexpr std::int64_t rows = 131072, columns = 2048, experts = 256;

inline moe_act_problem with_kind(std::int32_t kind) {
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

inline constexpr std::int32_t lists[] = {MOE_ACT_ROWS_EXPANDED_TO_PERMUTED, MOE_ACT_ROWS_VALID_PREFIX,
                                         MOE_ACT_ROWS_TILE_LIMITS, MOE_ACT_ROWS_ROW_TO_EXPERT,
                                         MOE_ACT_ROWS_SORTED_TOKEN_IDS};
inline constexpr std::int32_t segments[] = {MOE_ACT_ROWS_EXPERT_OFFSETS, MOE_ACT_ROWS_EXPERT_ENDS, MOE_ACT_ROWS_MASKED};

inline moe_act_plan_info plan_of(std::int32_t kind, std::int64_t expected_rows, const Gpu& gpu = h100) {
  moe_act_problem problem = with_kind(kind);
  problem.expected_rows = expected_rows;
  return info_of(problem, gpu);
}

}  // namespace planned
