// Which expert gets which rows, at DeepSeek-V3's sizes. The same on every machine.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace bench {

inline constexpr std::int64_t deepseek_columns = 2048;
inline constexpr std::int64_t deepseek_experts = 256;
inline constexpr std::int64_t deepseek_top_k = 8;

// Every token goes to distinct experts, uniformly at random: the expanded rows, token * top_k + k, of each expert, in
// token order.
std::vector<std::vector<std::size_t>> routed_entries(std::int64_t tokens, std::int64_t top_k);

// Rows of one GEMM tile: the power of two that holds an expert's average of rows, between 8 and 128.
std::int64_t tile_rows(std::int64_t expanded_rows);

}  // namespace bench
