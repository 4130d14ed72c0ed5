#include "workload_problem.hpp"

#include <limits>

namespace bench {
namespace {

void state_rows(moe_act_problem& problem, const Workload& workload) {
  problem.row_kind = workload.row_kind;
  problem.experts = workload.experts;
  if (workload.experts == 0) problem.entries = static_cast<std::int64_t>(workload.row_index.size());
  if (workload.row_kind == MOE_ACT_ROWS_TILE_LIMITS) problem.tile_tokens = workload.row_parameter;
  if (workload.row_kind == MOE_ACT_ROWS_EXPERT_ENDS) problem.expert_alignment = workload.row_parameter;
  if (workload.row_kind == MOE_ACT_ROWS_SORTED_TOKEN_IDS) {
    problem.num_valid_ids = workload.row_parameter;
    problem.sorted_rows = workload.rows_by_id ? MOE_ACT_SORTED_ROWS_ID : MOE_ACT_SORTED_ROWS_POSITION;
  }
  if (!workload.masked()) return;
  problem.x_expert_stride = workload.rows * problem.x_row_stride;
  problem.out_expert_stride = workload.rows * problem.out_row_stride;
  // The library counts packed scales in words of four.
  const auto part = [](const ScaleTensor& scales) {
    return scales.part_elements() / (scales.form.is_packed() ? 4 : 1);
  };
  if (workload.has_x_scale()) problem.x_scale_expert_stride = part(workload.x_scales());
  problem.out_scale_expert_stride = part(workload.out_scales());
}

void state_scales(moe_act_problem& problem, const Workload& workload) {
  problem.x_scale_layout = workload.x_form.layout;
  problem.x_block = static_cast<std::int32_t>(workload.x_form.block);
  problem.x_scale_stride = workload.mapped() ? MOE_ACT_STRIDE_ON_DEVICE : workload.x_scales().stride();
  problem.out_scaling = workload.out_form.block == 0 ? MOE_ACT_SCALING_ROW : MOE_ACT_SCALING_BLOCK;
  problem.out_scale_layout = workload.out_form.layout;
  problem.out_block = static_cast<std::int32_t>(workload.out_form.block);
  problem.out_scale_stride = workload.mapped() ? MOE_ACT_STRIDE_ON_DEVICE : workload.out_scales().stride();
}

}  // namespace

moe_act_problem problem_of(const Workload& workload, int device) {
  moe_act_problem problem;
  moe_act_problem_init(&problem, static_cast<std::int32_t>(workload.input), MOE_ACT_FORMAT_E4M3, workload.rows,
                       workload.columns);
  problem.device_type = MOE_ACT_DEVICE_CUDA;
  problem.device_id = device;
  state_rows(problem, workload);
  state_scales(problem, workload);
  problem.workspace_limit = std::numeric_limits<std::int64_t>::max();
  problem.expected_rows = workload.expected_rows;
  return problem;
}

}  // namespace bench
