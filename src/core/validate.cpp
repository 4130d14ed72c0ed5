#include "core/validate.hpp"

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "core/backend.hpp"
#include "core/error.hpp"
#include "core/model.hpp"
#include "core/text.hpp"

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
  if (data == nullptr) return {};
  if (bits == 64) return read(problem, static_cast<const std::int64_t*>(data), count, stream);
  const auto narrow = read(problem, static_cast<const std::int32_t*>(data), count, stream);
  return {narrow.begin(), narrow.end()};
}

// Everything that says which rows there are, in the memory of the host.
struct HostRows {
  std::vector<std::int64_t> index, count, tile_to_expert, permuted_to_expanded;
  RowAddressing rows;

  HostRows(const Problem& problem, const moe_act_buffers& buffers, void* stream)
      : index(read_index(problem, buffers.row_index, problem->index_bits, row_index_elements(problem.description()),
                         stream)),
        count(read_index(problem, buffers.row_count, problem->count_bits, 1, stream)),
        tile_to_expert(
            read_index(problem, buffers.tile_to_expert, problem->tile_to_expert_bits, problem->expert_tiles, stream)),
        permuted_to_expanded(read_index(problem, buffers.permuted_to_expanded, problem->permuted_to_expanded_bits,
                                        problem->rows, stream)),
        rows(addressing_of(problem.description(), buffers)) {
    const auto on_host = [](const std::vector<std::int64_t>& values, const void* data) {
      return IndexArray{data == nullptr ? nullptr : values.data(), true};
    };
    rows.index = on_host(index, buffers.row_index);
    rows.count = on_host(count, buffers.row_count);
    rows.tile_to_expert = on_host(tile_to_expert, buffers.tile_to_expert);
    rows.permuted_to_expanded = on_host(permuted_to_expanded, buffers.permuted_to_expanded);
  }

  std::int64_t entries_in_use() const { return rows.entries_in_use(count.empty() ? 0 : count[0]); }

  // Calls visit(entry, row) for each live row; segments: the entry is the expert.
  template <typename Visit>
  void for_each_live_row(Visit visit) const {
    if (rows.is_list()) {
      for (std::int64_t entry = 0; entry < entries_in_use(); ++entry)
        if (const std::int64_t row = rows.row_of(entry); row >= 0) visit(entry, row);
      return;
    }
    for (std::int64_t expert = 0; expert < rows.experts; ++expert) {
      const Segment segment = rows.segment_of(expert);
      for (std::int64_t i = 0; i < segment.rows; ++i) visit(expert, segment.first_row + i);
    }
  }
};

std::string entry_text(std::size_t i, std::int64_t value) {
  return "entry " + number(i) + " is " + number(value);
}

void require_within(const char* name, const std::string& what, std::int64_t value, std::int64_t largest) {
  if (value < 0 || value > largest) invalid(name, what + ", expected 0 to " + number(largest));
}

// Rows that are named no more than once, -1 for none.
void validate_unique(const char* name, const std::vector<std::int64_t>& rows, std::int64_t capacity) {
  std::vector<bool> named(static_cast<std::size_t>(capacity));
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const std::int64_t row = rows[i];
    if (row < -1 || row >= capacity)
      invalid(name, entry_text(i, row) + ", expected -1 or a row below " + number(capacity));
    if (row == -1) continue;
    if (named[static_cast<std::size_t>(row)])
      invalid(name, entry_text(i, row) + ", a row that an earlier entry names already");
    named[static_cast<std::size_t>(row)] = true;
  }
}

// in_use: entries that count; what those behind them hold does not matter.
void validate_index(const Problem& problem, const char* name, std::vector<std::int64_t> index, std::int64_t in_use) {
  const std::int64_t rows = problem->rows;
  switch (problem->row_kind) {
    case MOE_ACT_ROWS_EXPANDED_TO_PERMUTED: return validate_unique(name, index, rows);
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
      index.resize(static_cast<std::size_t>(problem.masked() ? problem->experts : in_use));
      for (std::size_t i = 0; i < index.size(); ++i) require_within(name, entry_text(i, index[i]), index[i], rows);
      return;
    case MOE_ACT_ROWS_EXPERT_OFFSETS:
    case MOE_ACT_ROWS_EXPERT_ENDS:
      for (std::size_t i = 0; i < index.size(); ++i) {
        require_within(name, entry_text(i, index[i]), index[i], rows);
        if (i > 0 && index[i] < index[i - 1])
          invalid(name, entry_text(i, index[i]) + ", expected at least the entry before it, " + number(index[i - 1]));
      }
      return;
    default: return;
  }
}

// Experts and weights of live rows are those that there are.
void validate_live_row(const Problem& problem, const HostRows& host, std::int64_t entry, std::int64_t row) {
  const auto require_one_of = [](const char* name, std::int64_t i, std::int64_t value, std::int64_t count,
                                 const char* what) {
    if (value < 0 || value >= count)
      invalid(name,
              entry_text(static_cast<std::size_t>(i), value) + ", expected one of the " + number(count) + " " + what);
  };
  const RowAddressing& rows = host.rows;
  if (rows.is_list() && problem->parameter_experts > 0) {
    const bool tiles = !host.tile_to_expert.empty();
    require_one_of(tiles ? "tile_to_expert" : "row_to_expert", tiles ? rows.tile_of(entry, row) : entry,
                   rows.expert_of(entry, row), problem->parameter_experts, "experts of the parameters");
  }
  if (!host.permuted_to_expanded.empty())
    require_one_of("permuted_to_expanded", row, rows.permuted_to_expanded[row], problem->weights, "weights");
}

}  // namespace

void validate(const Plan& plan, const moe_act_buffers& buffers, void* stream) {
  const Problem& problem = plan.problem();
  const std::int32_t kind = problem->row_kind;
  const HostRows host(problem, buffers, stream);
  std::int64_t in_use = problem->entries;
  if (!host.count.empty()) {
    in_use = host.count[0];
    const std::int64_t largest = row_index_name(kind) != nullptr ? problem->entries : problem->rows;
    require_within(row_count_name(kind), "is " + number(in_use), in_use, largest);
  }
  if (row_index_name(kind) != nullptr) validate_index(problem, row_index_name(kind), host.index, in_use);
  std::int64_t largest_row = -1;
  host.for_each_live_row([&](std::int64_t entry, std::int64_t row) {
    validate_live_row(problem, host, entry, row);
    largest_row = std::max(largest_row, row);
  });
  if (problem.stride_on_device()) {
    const std::int64_t total = read(problem, buffers.total_num_padded_tokens, 1, stream)[0];
    if (total < 0 || total > problem->rows)
      invalid("total_num_padded_tokens",
              "is " + number(total) + ", expected at most the " + number(problem->rows) + " rows of x");
    if (largest_row >= total)
      invalid("total_num_padded_tokens",
              "is " + number(total) + ", expected more than the largest row in use, " + number(largest_row));
  }
  const auto require_each = [&](const char* name, const float* values, bool (*possible)(float), const char* expected) {
    if (values == nullptr) return;
    const std::vector<float> each = read(problem, values, problem->parameter_experts, stream);
    for (std::size_t expert = 0; expert < each.size(); ++expert)
      if (!possible(each[expert]))
        invalid(name, "that of expert " + number(expert) + " is " + number(each[expert]) + ", expected " + expected);
  };
  require_each("alpha", buffers.alpha, &is_alpha, alpha_text);
  require_each("beta", buffers.beta, &is_beta, beta_text);
  require_each("limit", buffers.limit, &is_limit, limit_text);
  if (problem->out_scaling == MOE_ACT_SCALING_TENSOR) {
    const float scale = read(problem, buffers.static_scale, 1, stream)[0];
    if (!(scale >= math::smallest_scale && scale <= 1.0f / math::smallest_scale))
      invalid("static_scale", "is " + number(scale) + ", expected a number from 2^-126 to 2^126");
  }
}

}  // namespace moe_act
