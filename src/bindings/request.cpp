#include "bindings/request.hpp"

namespace moe_act::python {

std::int32_t padding_of(const moe_act_options& options, const moe_act_problem& problem, const Call& call) {
  if (options.padding != 0 || !call.allocates(problem)) return problem.padding;
  const bool by_id = problem.sorted_rows == MOE_ACT_SORTED_ROWS_ID;
  const bool padded = problem.row_kind != MOE_ACT_ROWS_DENSE || problem.expert_tiles > 0 ||
                      problem.out_scale_layout == MOE_ACT_SCALE_LAYOUT_SWIZZLED_128X4;
  const bool known = problem.row_kind != MOE_ACT_ROWS_EXPANDED_TO_PERMUTED && !by_id;
  return padded && known ? MOE_ACT_PADDING_ZERO : problem.padding;
}

Result run(Call& call, moe_act_options& options, bool validate) {
  moe_act_problem problem = call.describe(options);
  options.padding = padding_of(options, problem, call);
  if (call.allocate(problem)) problem = call.describe(options);
  const auto plan = recent_plan(problem);
  return call.run(plan.get(), workspace_bytes_of(plan.get()), validate);
}

}  // namespace moe_act::python
