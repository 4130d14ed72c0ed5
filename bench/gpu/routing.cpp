#include "routing.hpp"

#include <algorithm>
#include <bit>
#include <numeric>
#include <random>
#include <utility>

#include "workload.hpp"

namespace bench {

std::vector<std::vector<std::size_t>> routed_entries(std::int64_t tokens, std::int64_t top_k) {
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
  return entries_of;
}

std::int64_t tile_rows(std::int64_t expanded_rows) {
  const auto average = static_cast<std::uint64_t>(ceil_div(expanded_rows, deepseek_experts));
  return std::clamp<std::int64_t>(static_cast<std::int64_t>(std::bit_ceil(average)), 8, 128);
}

}  // namespace bench
