// GPUs that are not there and problems for them, for the tests of the planner; included once by a test's only source
// file.
#pragma once

#include <optional>
#include <string>

#include "check.hpp"
#include "core/error.hpp"
#include "core/plan.hpp"

namespace planned {

using namespace moe_act;

struct Gpu {
  const char* name;
  DeviceInfo info;
};

inline constexpr Gpu h100{"H100", {132, 9, 0, 3352, std::int64_t{50} << 20}};
inline constexpr Gpu h200{"H200", {132, 9, 0, 4814, std::int64_t{60} << 20}};
inline constexpr Gpu b200{"B200", {148, 10, 0, 8000, std::int64_t{126} << 20}};
inline constexpr Gpu rtx3060{"RTX 3060", {28, 8, 6, 360, std::int64_t{3} << 20}};
inline constexpr Gpu gpus[] = {h100, h200, b200, rtx3060};
inline constexpr Format inputs[] = {Format::e4m3, Format::bf16, Format::fp16, Format::fp32};
inline constexpr Format outputs[] = {Format::e4m3, Format::bf16, Format::fp32};

inline moe_act_problem problem_of(Format input, Format output, std::int64_t rows, std::int64_t columns) {
  moe_act_problem problem;
  moe_act_problem_init(&problem, static_cast<std::int32_t>(input), static_cast<std::int32_t>(output), rows, columns);
  problem.device_type = MOE_ACT_DEVICE_CUDA;
  return problem;
}

inline moe_act_problem with_map(moe_act_problem problem, std::int64_t entries) {
  problem.row_kind = MOE_ACT_ROWS_EXPANDED_TO_PERMUTED;
  problem.entries = entries;
  return problem;
}

inline moe_act_plan_info info_of(const moe_act_problem& problem, const Gpu& gpu) {
  return Plan(Problem(problem), gpu.info).info();
}

inline std::optional<Error> refusal(const moe_act_problem& problem, const DeviceInfo& device) {
  try {
    const Plan plan(Problem(problem), device);
    return std::nullopt;
  } catch (const Error& error) {
    return error;
  }
}

inline std::string text(const moe_act_problem& problem, const Gpu& gpu) {
  return check::text(gpu.name, ", ", traits(static_cast<Format>(problem.x_format)).name, " [", problem.rows, ", 2 x ",
                     problem.columns, "] -> ", traits(static_cast<Format>(problem.out_format)).name, ", ",
                     problem.entries, " map entries, ", problem.expected_rows, " expected rows");
}

inline int load_bytes(const moe_act_problem& problem, const moe_act_plan_info& info) {
  return info.columns_per_lane * bytes_per_element(static_cast<Format>(problem.x_format));
}

inline int columns_in_flight(const moe_act_plan_info& info) {
  return info.columns_per_lane * info.vectors_per_lane;
}

inline bool is_power_of_two_up_to(std::int32_t value, std::int32_t most) {
  return value >= 1 && value <= most && (value & (value - 1)) == 0;
}

}  // namespace planned
