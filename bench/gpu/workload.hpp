// What is computed: sizes and routing, no device memory. H is the number of output columns, a row of x has 2H values.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace bench {

inline constexpr std::int64_t block_columns = 128;  // columns that share a scale

inline constexpr std::int64_t ceil_div(std::int64_t value, std::int64_t divisor) {
  return (value + divisor - 1) / divisor;
}

enum class Input { e4m3, bf16 };

struct Workload {
  std::string name;  // "routed/1024"; what --only looks into
  std::string group;
  Input input = Input::e4m3;
  std::int64_t columns = 0;            // H
  std::int64_t tokens = 0;             // dense: the rows
  std::int64_t top_k = 1;              // dense: 1
  std::int64_t rows = 0;               // of x [rows, 2H] and out [rows, H]; with a map the padded total
  std::int64_t valid_rows = 0;         // read and written
  std::int64_t expected_rows = 0;      // what an engine would expect valid_rows to be before it routes
  std::vector<std::int32_t> map = {};  // expanded_idx_to_permuted_idx [tokens, top_k], -1 = not here; empty = dense

  bool mapped() const { return !map.empty(); }
  // Rows to look at, valid or not.
  std::int64_t units() const { return mapped() ? tokens * top_k : rows; }
  std::int64_t element_bytes() const { return input == Input::e4m3 ? 1 : 2; }
  // e4m3 input comes with scales, one per row and 128 stored columns.
  std::int64_t x_blocks() const { return input == Input::e4m3 ? ceil_div(2 * columns, block_columns) : 0; }
  std::int64_t out_blocks() const { return ceil_div(columns, block_columns); }

  // Bytes that one call must move: what valid rows read and write, their scales, the map and the padded total.
  std::int64_t bytes() const;
  // A stream in the same mix of reads and writes: so many 16-byte vectors written, stream_reads() times as many read.
  std::int64_t stream_reads() const { return 2 * element_bytes(); }
  std::int64_t stream_vectors() const { return ceil_div(bytes(), 16 * (stream_reads() + 1)); }
};

// Every workload, in the order of the tables. The same on every machine.
std::vector<Workload> all_workloads();

}  // namespace bench
