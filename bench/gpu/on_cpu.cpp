#include "on_cpu.hpp"

#include <algorithm>
#include <bit>

#include "moe_act/moe_act.hpp"

namespace bench {
namespace {

moe_act::Problem problem_of(const Workload& workload, std::int64_t rows) {
  auto problem = moe_act::Problem::contiguous(static_cast<moe_act::Format>(workload.input), moe_act::Format::e4m3, rows,
                                              workload.columns);
  constexpr auto row_major = moe_act::ScaleLayout::row_major;
  problem.scales_of_x(row_major, static_cast<std::int32_t>(workload.x_form.block));
  if (workload.out_form.block == 0) return problem.set(moe_act::Scaling::row);
  problem.scales_of_out(row_major, static_cast<std::int32_t>(workload.out_form.block));
  if (workload.out_form.is_ue8m0()) problem.set(moe_act::ScaleRounding::power_of_two);
  return problem;
}

}  // namespace

Agreement compare_with_cpu(const Workload& workload, const Sample& sample) {
  std::vector<std::uint8_t> out(sample.out.size());
  std::vector<float> out_scale(sample.out_scale.size());
  auto problem = problem_of(workload, sample.rows);
  problem.x_alignment = static_cast<std::int32_t>(workload.element_bytes());  // a vector's memory
  problem.out_alignment = 1;
  const moe_act::Plan plan(problem);
  plan.launch({.x = sample.x.data(),
               .x_scale = workload.has_x_scale() ? sample.x_scale.data() : nullptr,
               .out = out.data(),
               .out_scale = out_scale.data()});
  Agreement agreement{};
  for (std::size_t i = 0; i < out.size(); ++i) {
    const int steps = code_steps(sample.out[i], out[i]);
    agreement.neighbours += steps == 1 ? 1 : 0;
    agreement.wrong += steps < 0 || steps > 1 ? 1 : 0;
  }
  for (std::size_t i = 0; i < out_scale.size(); ++i)
    agreement.scale_ulp = std::max(agreement.scale_ulp, ulp_between(std::bit_cast<std::uint32_t>(sample.out_scale[i]),
                                                                    std::bit_cast<std::uint32_t>(out_scale[i])));
  return agreement;
}

}  // namespace bench
