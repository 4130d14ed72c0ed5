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

std::vector<std::int64_t> read_index(const Problem& problem, const void* data, std::int32_t bits, std::int64_t count,
                                     void* stream) {
  if (bits == 64) return read(problem, static_cast<const std::int64_t*>(data), count, stream);
  const auto narrow = read(problem, static_cast<const std::int32_t*>(data), count, stream);
  return {narrow.begin(), narrow.end()};
}

std::string entry_text(std::size_t i, std::int64_t value) {
  return "entry " + std::to_string(i) + " is " + std::to_string(value);
}

void require_within(const char* name, const std::string& what, std::int64_t value, std::int64_t largest) {
  if (value < 0 || value > largest) invalid(name, what + ", expected 0 to " + std::to_string(largest));
}

// Whatever is negative is none.
void require_below(const char* name, const std::vector<std::int64_t>& index, std::int64_t count, const char* what) {
  for (std::size_t i = 0; i < index.size(); ++i)
    if (index[i] >= count)
      invalid(name, entry_text(i, index[i]) + ", expected one of the " + std::to_string(count) + " " + what);
}

// Rows that are named no more than once, -1 for none. The largest row named, or -1.
std::int64_t validate_unique(const char* name, const std::vector<std::int64_t>& rows, std::int64_t capacity) {
  std::vector<bool> named(static_cast<std::size_t>(capacity));
  std::int64_t largest = -1;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const std::int64_t row = rows[i];
    if (row < -1 || row >= capacity)
      invalid(name, entry_text(i, row) + ", expected -1 or a row below " + std::to_string(capacity));
    if (row == -1) continue;
    if (named[static_cast<std::size_t>(row)])
      invalid(name, entry_text(i, row) + ", a row that an earlier entry names already");
    named[static_cast<std::size_t>(row)] = true;
    largest = std::max(largest, row);
  }
  return largest;
}

void validate_index(const Problem& problem, const char* name, std::vector<std::int64_t> index, std::int64_t in_use) {
  const std::int64_t rows = problem->rows;
  switch (problem->row_kind) {
    case MOE_ACT_ROWS_SORTED_TOKEN_IDS:
      if (problem->sorted_rows == MOE_ACT_SORTED_ROWS_ID) {
        index.resize(static_cast<std::size_t>(in_use));
        for (std::int64_t& id : index)
          if (id < 0 || id >= problem->num_valid_ids) id = -1;
        validate_unique(name, index, rows);
      }
      return;
    case MOE_ACT_ROWS_TILE_LIMITS:
    case MOE_ACT_ROWS_MASKED:
      for (std::size_t i = 0; i < index.size(); ++i) require_within(name, entry_text(i, index[i]), index[i], rows);
      return;
    case MOE_ACT_ROWS_EXPERT_OFFSETS:
    case MOE_ACT_ROWS_EXPERT_ENDS:
      for (std::size_t i = 0; i < index.size(); ++i) {
        require_within(name, entry_text(i, index[i]), index[i], rows);
        if (i > 0 && index[i] < index[i - 1])
          invalid(name,
                  entry_text(i, index[i]) + ", expected at least the entry before it, " + std::to_string(index[i - 1]));
      }
      return;
    default: return;
  }
}

}  // namespace

void validate(const Plan& plan, const moe_act_buffers& buffers, void* stream) {
  const Problem& problem = plan.problem();
  std::int64_t largest_row = problem->rows - 1;
  const std::int32_t kind = problem->row_kind;
  std::int64_t in_use = problem->entries;
  if (buffers.row_count != nullptr) {
    const std::int64_t largest = row_index_name(kind) != nullptr ? problem->entries : problem->rows;
    in_use = read_index(problem, buffers.row_count, problem->count_bits, 1, stream)[0];
    require_within(row_count_name(kind), "is " + std::to_string(in_use), in_use, largest);
  }
  if (row_index_name(kind) != nullptr) {
    const std::vector<std::int64_t> index =
        read_index(problem, buffers.row_index, problem->index_bits, row_index_elements(problem.description()), stream);
    if (problem.has_map())
      largest_row = validate_unique(row_index_name(kind), index, problem->rows);
    else
      validate_index(problem, row_index_name(kind), index, in_use);
  }
  if (buffers.tile_to_expert != nullptr && problem->parameter_experts > 0)
    require_below(
        "tile_to_expert",
        read_index(problem, buffers.tile_to_expert, problem->tile_to_expert_bits, problem->expert_tiles, stream),
        problem->parameter_experts, "experts of the parameters");
  if (kind == MOE_ACT_ROWS_ROW_TO_EXPERT && problem->parameter_experts > 0)
    require_below("row_to_expert",
                  read_index(problem, buffers.row_index, problem->index_bits, problem->entries, stream),
                  problem->parameter_experts, "experts of the parameters");
  if (buffers.permuted_to_expanded != nullptr)
    require_below(
        "permuted_to_expanded",
        read_index(problem, buffers.permuted_to_expanded, problem->permuted_to_expanded_bits, problem->rows, stream),
        problem->weights, "weights");
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
