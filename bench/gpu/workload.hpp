// What is computed: sizes, routing and layouts, no device memory. H is the number of output columns, a row of x has 2H
// values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "moe_act/c_api.h"
#include "scale_tensor.hpp"

namespace bench {

inline constexpr std::int64_t ceil_div(std::int64_t value, std::int64_t divisor) {
  return (value + divisor - 1) / divisor;
}

enum class Input : std::int32_t {
  e4m3 = MOE_ACT_FORMAT_E4M3,
  bf16 = MOE_ACT_FORMAT_BF16,
  fp16 = MOE_ACT_FORMAT_FP16,
  fp32 = MOE_ACT_FORMAT_FP32
};

struct Workload {
  std::string name;  // "routed/1024"; what --only looks into
  std::string group;
  Input input = Input::e4m3;
  std::int64_t columns = 0;        // H
  std::int64_t tokens = 0;         // dense: the rows
  std::int64_t top_k = 1;          // dense: 1
  std::int64_t rows = 0;           // of x [rows, 2H] and out [rows, H]; with a map the padded total; masked: per expert
  std::int64_t expected_rows = 0;  // what an engine would expect to be live before it routes
  std::vector<std::int64_t> live_rows = {};  // read and written; masked: row r of expert e is e * rows + r

  // How the rows are said, in the words of docs/layouts.md. Indices and counts are int32.
  moe_act_row_kind row_kind = MOE_ACT_ROWS_DENSE;
  std::vector<std::int32_t> row_index = {};  // of a map: [tokens, top_k], -1 = not here
  std::optional<std::int32_t> row_count = {};
  std::int64_t row_parameter = 0;  // tile_tokens, num_valid_ids or expert_alignment
  bool rows_by_id = false;         // sorted token ids: buffer_row="id"
  std::int64_t experts = 0;        // of expert offsets, ends and counts

  ScaleForm x_form = {}, out_form = {};
  std::int64_t stands_beside_bytes = 0;  // rows alone: bytes() of the workload whose rows they are

  bool mapped() const { return row_kind == MOE_ACT_ROWS_EXPANDED_TO_PERMUTED; }
  bool masked() const { return row_kind == MOE_ACT_ROWS_MASKED; }
  bool has_plain_scales() const { return x_form == ScaleForm{} && out_form == ScaleForm{}; }
  // Dense or mapped rows with plain scales. Anything else is seen beside its rows alone, dense and plain.
  bool is_plain() const { return (mapped() || row_kind == MOE_ACT_ROWS_DENSE) && has_plain_scales(); }
  Workload alone() const;

  std::int64_t valid_rows() const { return static_cast<std::int64_t>(live_rows.size()); }
  // Rows of all buffers, live or not.
  std::int64_t capacity() const { return masked() ? experts * rows : rows; }
  // Rows to look at, valid or not.
  std::int64_t units() const { return mapped() ? tokens * top_k : rows; }
  std::int64_t element_bytes() const { return input == Input::e4m3 ? 1 : input == Input::fp32 ? 4 : 2; }
  bool has_x_scale() const { return input == Input::e4m3; }
  ScaleTensor x_scales() const { return {x_form, rows, 2 * columns}; }
  ScaleTensor out_scales() const { return {out_form, rows, columns}; }
  std::int64_t out_blocks() const { return out_form.blocks(columns); }

  // Rows that the sets of a rotation are apart where they share memory, being far larger than what is live of them:
  // masked, whose capacity holds the live rows of many sets. 0: sets share none.
  std::int64_t rows_between_sets() const;

  // Bytes that one call must move: what valid rows read and write, their scales, index, count and padded total.
  std::int64_t bytes() const;
  // A stream in the same mix of reads and writes: so many 16-byte vectors written, stream_reads() times as many read.
  std::int64_t stream_reads() const { return 2 * element_bytes(); }
  std::int64_t stream_vectors() const;
};

// "e4m3"
std::string name_of(Input input);

Workload dense_rows(std::string name, std::string group, Input input, std::int64_t rows, std::int64_t columns);

// Dense and mapped rows with plain scales, in the order of the tables. The same on every machine.
std::vector<Workload> all_workloads();
// Every other row convention and scale layout, many rows and few.
std::vector<Workload> convention_workloads();

}  // namespace bench
