#include "core/validate.hpp"

#include <cstring>
#include <string>
#include <vector>

#include "core/backend.hpp"
#include "core/error.hpp"

namespace moe_act {
namespace {

template <typename Value>
std::vector<Value> read(const Problem& problem, const Value* data, std::int64_t count, void* stream) {
  std::vector<Value> host(static_cast<std::size_t>(count));
  if (count == 0) return host;
  if (problem.on_cuda())
    cuda::copy_to_host(host.data(), data, host.size() * sizeof(Value), problem->device_id, stream);
  else
    std::memcpy(host.data(), data, host.size() * sizeof(Value));
  return host;
}

// The largest row named, or -1.
std::int64_t validate_map(const Problem& problem, const std::vector<std::int32_t>& map) {
  constexpr const char* name = "expanded_idx_to_permuted_idx";
  std::vector<bool> named(static_cast<std::size_t>(problem->rows));
  std::int64_t largest = -1;
  for (std::size_t i = 0; i < map.size(); ++i) {
    const std::int64_t row = map[i];
    const std::string entry = "entry " + std::to_string(i) + " is " + std::to_string(row);
    if (row < -1 || row >= problem->rows)
      invalid(name, entry + ", expected -1 or a row below " + std::to_string(problem->rows));
    if (row == -1) continue;
    if (named[static_cast<std::size_t>(row)]) invalid(name, entry + ", a row that an earlier entry names already");
    named[static_cast<std::size_t>(row)] = true;
    largest = std::max(largest, row);
  }
  return largest;
}

}  // namespace

void validate(const Plan& plan, const moe_act_buffers& buffers, void* stream) {
  const Problem& problem = plan.problem();
  std::int64_t largest_row = problem->rows - 1;
  if (problem.has_map())
    largest_row = validate_map(problem, read(problem, buffers.expanded_idx_to_permuted_idx, problem.units(), stream));
  if (problem.stride_on_device()) {
    const std::int64_t total = read(problem, buffers.total_num_padded_tokens, 1, stream)[0];
    if (total < 0 || total > problem->rows)
      invalid("total_num_padded_tokens",
              "is " + std::to_string(total) + ", expected at most the " + std::to_string(problem->rows) + " rows of x");
    if (largest_row >= total)
      invalid("total_num_padded_tokens", "is " + std::to_string(total) +
                                             ", expected more than the largest row in use, " +
                                             std::to_string(largest_row));
  }
  if (problem->out_scaling == MOE_ACT_SCALING_TENSOR) {
    const float scale = read(problem, buffers.static_scale, 1, stream)[0];
    if (!(scale >= math::smallest_scale && scale <= 1.0f / math::smallest_scale))
      invalid("static_scale", "is " + std::to_string(scale) + ", expected a number from 2^-126 to 2^126");
  }
}

}  // namespace moe_act
