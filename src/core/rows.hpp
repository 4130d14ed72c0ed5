// The row conventions as a problem describes them: which fields each has, which tensors it reads, how kernels see it.
#pragma once

#include <optional>

#include "core/tensor_view.hpp"
#include "math/row_addressing.hpp"

namespace moe_act {

// What a kind's row_index and row_count are called, null where it has none.
const char* row_index_name(std::int32_t row_kind);
const char* row_count_name(std::int32_t row_kind);
// What they are called as arguments: the same, or row_index and row_count where the kind has none.
const char* row_index_argument(std::int32_t row_kind);
const char* row_count_argument(std::int32_t row_kind);
bool requires_row_count(std::int32_t row_kind);

// Throws Error naming the field unless the kind and its sizes fit together. Fields of other kinds must be 0.
void require_rows(const moe_act_problem& problem);

// Of row_index.
std::int64_t row_index_elements(const moe_act_problem& problem);

// Units of work: what a list has entries or positions for, else rows.
std::int64_t row_units(const moe_act_problem& problem);

// All rows of x, whichever expert's part they are in.
std::int64_t total_rows(const moe_act_problem& problem);

RowAddressing addressing_of(const moe_act_problem& problem, const moe_act_buffers& buffers);

// Of an int32 or int64 tensor: 32 or 64.
std::int32_t index_bits(const TensorView& tensor);

// Fills in what the tensors say: entries, experts, widths.
void read_rows(moe_act_problem& problem, const std::optional<TensorView>& row_index,
               const std::optional<TensorView>& row_count);

}  // namespace moe_act
