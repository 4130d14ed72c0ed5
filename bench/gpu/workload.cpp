#include "workload.hpp"

#include <algorithm>
#include <initializer_list>
#include <numeric>
#include <utility>

#include "routing.hpp"

namespace bench {
namespace {

// The rows of one expert lie together, in token order, padded to a whole tile. The first of `ranks` equal parts of the
// experts live here; the others get -1 and take no rows.
Workload routed(std::string name, std::string group, std::int64_t tokens, std::int64_t ranks,
                std::int64_t top_k = deepseek_top_k) {
  Workload workload{.name = std::move(name), .group = std::move(group)};
  workload.columns = deepseek_columns;
  workload.tokens = tokens;
  workload.top_k = top_k;
  workload.row_kind = MOE_ACT_ROWS_EXPANDED_TO_PERMUTED;
  workload.row_index.assign(static_cast<std::size_t>(tokens * top_k), -1);
  workload.expected_rows = tokens * top_k / ranks;

  const auto entries_of = routed_entries(tokens, top_k);
  const std::int64_t tile = tile_rows(tokens * top_k);
  for (std::size_t expert = 0; expert < static_cast<std::size_t>(deepseek_experts / ranks); ++expert) {
    std::int64_t row = workload.rows;
    for (const std::size_t entry : entries_of[expert]) workload.row_index[entry] = static_cast<std::int32_t>(row++);
    workload.rows += ceil_div(row - workload.rows, tile) * tile;
  }
  for (const std::int32_t row : workload.row_index)
    if (row >= 0) workload.live_rows.push_back(row);
  return workload;
}

}  // namespace

std::string name_of(const ScaleForm& form) {
  if (form.block == 0) return "per_row";
  const auto layout = form.layout;
  return std::string(moe_act_option_name("x_scale_layout", layout)) + "-" + std::to_string(form.block);
}

std::string name_of(Input input) {
  return moe_act_option_name("x_format", static_cast<std::int32_t>(input));
}

Workload dense_rows(std::string name, std::string group, Input input, std::int64_t rows, std::int64_t columns) {
  Workload workload{.name = std::move(name), .group = std::move(group), .input = input, .columns = columns};
  workload.tokens = workload.rows = workload.expected_rows = rows;
  workload.live_rows.resize(static_cast<std::size_t>(rows));
  std::iota(workload.live_rows.begin(), workload.live_rows.end(), std::int64_t{0});
  return workload;
}

Workload Workload::alone() const {
  Workload rows_alone = dense_rows(name, group, input, valid_rows(), columns);
  rows_alone.stands_beside_bytes = bytes();
  return rows_alone;
}

std::int64_t Workload::rows_between_sets() const {
  constexpr std::int64_t sector_scales = 8;  // column-major scales of a set begin a sector of memory
  return masked() ? ceil_div(std::ranges::max(row_index), sector_scales) * sector_scales : 0;
}

std::int64_t Workload::bytes() const {
  std::int64_t per_row = 2 * columns * element_bytes() + columns + out_blocks() * out_form.element_bytes();
  if (has_x_scale()) per_row += x_form.blocks(2 * columns) * x_form.element_bytes();
  const auto metadata = static_cast<std::int64_t>(row_index.size() * sizeof(std::int32_t));
  return valid_rows() * per_row + metadata + (mapped() || row_count ? 4 : 0);
}

std::int64_t Workload::stream_vectors() const {
  return ceil_div(stands_beside_bytes > 0 ? stands_beside_bytes : bytes(), 16 * (stream_reads() + 1));
}

std::vector<Workload> all_workloads() {
  std::vector<Workload> workloads;
  for (const std::int64_t tokens : {1, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384})
    workloads.push_back(
        routed("routed/" + std::to_string(tokens), "e4m3 through the map: H 2048, top 8 of 256 experts", tokens, 1));
  for (const std::int64_t ranks : {8, 32})
    for (const std::int64_t tokens : {32, 64, 128, 512, 1024, 4096, 16384})
      workloads.push_back(routed("parallel-" + std::to_string(ranks) + "/" + std::to_string(tokens),
                                 "the same, one part in 8 or 32 of the experts on this GPU", tokens, ranks));
  const auto add_dense = [&](Input input, std::initializer_list<std::int64_t> row_counts) {
    const std::string name = name_of(input);
    for (const std::int64_t rows : row_counts)
      workloads.push_back(
          dense_rows(name + "/" + std::to_string(rows), name + " dense rows: H 2048", input, rows, deepseek_columns));
  };
  add_dense(Input::bf16, {32, 2048, 8192, 131072});
  add_dense(Input::fp16, {32, 8192});
  add_dense(Input::fp32, {32, 8192});
  for (const std::int64_t rows : {16384, 32768, 131072})
    workloads.push_back(dense_rows("consecutive/" + std::to_string(rows), "e4m3 rows in their own order: H 2048",
                                   Input::e4m3, rows, deepseek_columns));
  for (const std::int64_t columns : {192, 768, 1408, 2880, 7168, 14336})
    workloads.push_back(
        dense_rows("columns/" + std::to_string(columns), "e4m3 dense: 2048 rows, other H", Input::e4m3, 2048, columns));
  for (const std::int64_t top_k : {1, 2, 4, 6, 32})
    workloads.push_back(routed("top_k/" + std::to_string(top_k),
                               "e4m3 through the map: 8192 expanded rows, other top_k", ceil_div(8192, top_k), 1,
                               top_k));
  for (const std::int64_t columns : {1408, 2880})  // rows that end in a part of a chunk
    for (const std::int64_t tokens : {256, 4096, 16384}) {
      Workload mapped = routed("mapped-" + std::to_string(columns) + "/" + std::to_string(tokens),
                               "e4m3 through the map: other H", tokens, 1);
      mapped.columns = columns;
      workloads.push_back(std::move(mapped));
    }
  return workloads;
}

}  // namespace bench
