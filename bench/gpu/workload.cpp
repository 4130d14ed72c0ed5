#include "workload.hpp"

#include <algorithm>
#include <bit>
#include <numeric>
#include <random>
#include <utility>

namespace bench {
namespace {

constexpr std::int64_t deepseek_columns = 2048;
constexpr std::int64_t deepseek_experts = 256;
constexpr std::int64_t deepseek_top_k = 8;

// Rows of one GEMM tile: the power of two that holds an expert's average of rows, between 8 and 128.
std::int64_t tile_rows(std::int64_t expanded_rows) {
  const std::int64_t average = ceil_div(expanded_rows, deepseek_experts);
  return std::clamp<std::int64_t>(static_cast<std::int64_t>(std::bit_ceil(static_cast<std::uint64_t>(average))), 8,
                                  128);
}

// Every token goes to distinct experts, uniformly at random. The rows of one expert lie together, in token order,
// padded to a whole tile. The first of `ranks` equal parts of the experts live here; the others get -1 and take no
// rows.
Workload routed(std::string name, std::string group, std::int64_t tokens, std::int64_t ranks,
                std::int64_t top_k = deepseek_top_k) {
  Workload workload{.name = std::move(name), .group = std::move(group)};
  workload.columns = deepseek_columns;
  workload.tokens = tokens;
  workload.top_k = top_k;
  workload.map.assign(static_cast<std::size_t>(tokens * top_k), -1);
  workload.expected_rows = tokens * top_k / ranks;

  std::mt19937 random(static_cast<std::uint32_t>(tokens));
  std::vector<std::size_t> experts(deepseek_experts);
  std::iota(experts.begin(), experts.end(), std::size_t{0});
  std::vector<std::vector<std::size_t>> entries_of(deepseek_experts);
  const auto choices = static_cast<std::size_t>(top_k);
  for (std::size_t token = 0; token < static_cast<std::size_t>(tokens); ++token) {
    for (std::size_t k = 0; k < choices; ++k) {
      std::swap(experts[k], experts[k + random() % (deepseek_experts - k)]);
      entries_of[experts[k]].push_back(token * choices + k);
    }
  }
  const std::int64_t tile = tile_rows(tokens * top_k);
  for (std::size_t expert = 0; expert < static_cast<std::size_t>(deepseek_experts / ranks); ++expert) {
    std::int64_t row = workload.rows;
    for (const std::size_t entry : entries_of[expert]) workload.map[entry] = static_cast<std::int32_t>(row++);
    workload.valid_rows += row - workload.rows;
    workload.rows += ceil_div(row - workload.rows, tile) * tile;
  }
  return workload;
}

Workload dense(std::string name, std::string group, Input input, std::int64_t rows, std::int64_t columns) {
  Workload workload{.name = std::move(name), .group = std::move(group), .input = input, .columns = columns};
  workload.tokens = workload.rows = workload.valid_rows = workload.expected_rows = rows;
  return workload;
}

}  // namespace

std::int64_t Workload::bytes() const {
  const std::int64_t per_row = 2 * columns * element_bytes() + columns + 4 * (x_blocks() + out_blocks());
  const auto metadata = static_cast<std::int64_t>(map.size() * sizeof(std::int32_t));
  return valid_rows * per_row + metadata + (mapped() ? 4 : 0);
}

std::vector<Workload> all_workloads() {
  std::vector<Workload> workloads;
  for (const std::int64_t tokens : {1, 8, 32, 128, 256, 512, 1024, 2048, 4096, 16384})
    workloads.push_back(
        routed("routed/" + std::to_string(tokens), "e4m3 through the map: H 2048, top 8 of 256 experts", tokens, 1));
  for (const std::int64_t ranks : {8, 32})
    for (const std::int64_t tokens : {32, 128, 1024, 4096, 16384})
      workloads.push_back(routed("parallel-" + std::to_string(ranks) + "/" + std::to_string(tokens),
                                 "the same, one part in 8 or 32 of the experts on this GPU", tokens, ranks));
  for (const std::int64_t rows : {32, 2048, 8192, 131072})
    workloads.push_back(
        dense("bf16/" + std::to_string(rows), "bf16 dense rows: H 2048", Input::bf16, rows, deepseek_columns));
  for (const std::int64_t rows : {32768, 131072})
    workloads.push_back(dense("consecutive/" + std::to_string(rows), "e4m3 rows in their own order: H 2048",
                              Input::e4m3, rows, deepseek_columns));
  for (const std::int64_t columns : {192, 768, 1408, 2880, 7168, 14336})
    workloads.push_back(
        dense("columns/" + std::to_string(columns), "e4m3 dense: 2048 rows, other H", Input::e4m3, 2048, columns));
  for (const std::int64_t top_k : {1, 2, 4, 6, 32})
    workloads.push_back(routed("top_k/" + std::to_string(top_k),
                               "e4m3 through the map: 8192 expanded rows, other top_k", ceil_div(8192, top_k), 1,
                               top_k));
  return workloads;
}

}  // namespace bench
