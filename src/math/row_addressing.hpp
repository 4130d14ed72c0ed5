// Every row convention, as one tagged plain struct: which rows of the buffers are live, and whose they are. The kinds
// of math/row_source.hpp are read there by the kernels that know only those.
//
// Two families. Lists: a unit of work is an entry (a row, a map entry, a position) that names a live row or none.
// Segments: experts own ranges of rows whose lengths lie on the device. Counts and offsets are clamped to the
// capacities: whatever they say, no memory outside the buffers is touched.
#pragma once

#include <bit>
#include <cstdint>

#include "math/row_source.hpp"

namespace moe_act {

// int32 or int64 values on the device.
struct IndexArray {
  const void* data;
  bool is_64_bit;

  MOE_ACT_HOST_DEVICE std::int64_t operator[](std::int64_t i) const {
    return is_64_bit ? static_cast<const std::int64_t*>(data)[i] : static_cast<const std::int32_t*>(data)[i];
  }

  // Or the nearest that has 32 bits. may_be_64_bit: who is never given such values need not ask.
  template <bool may_be_64_bit>
  MOE_ACT_HOST_DEVICE std::int32_t in_32_bits(std::int32_t i) const {
    if constexpr (may_be_64_bit) {
      if (is_64_bit) {
        constexpr std::int64_t least = INT32_MIN, most = INT32_MAX;
        const std::int64_t value = static_cast<const std::int64_t*>(data)[i];
        return static_cast<std::int32_t>(value < least ? least : value > most ? most : value);
      }
    }
    return static_cast<const std::int32_t*>(data)[i];
  }
};

// A count within 0 and `largest`, and a sum that stays at `largest`: one instruction each where there are such.
MOE_ACT_HOST_DEVICE std::int32_t within(std::int32_t value, std::int32_t largest) {
#ifdef __CUDA_ARCH__
  return __vimin_s32_relu(value, largest);
#else
  return value < 0 ? 0 : value > largest ? largest : value;
#endif
}
MOE_ACT_HOST_DEVICE std::int32_t sum_within(std::int32_t one, std::int32_t other, std::int32_t largest) {
#ifdef __CUDA_ARCH__
  return __viaddmin_s32(one, other, largest);
#else
  return one + other < largest ? one + other : largest;
#endif
}
MOE_ACT_HOST_DEVICE std::int64_t within(std::int64_t value, std::int64_t largest) {
  return value < 0 ? 0 : value > largest ? largest : value;
}
MOE_ACT_HOST_DEVICE std::int64_t sum_within(std::int64_t one, std::int64_t other, std::int64_t largest) {
  return one + other < largest ? one + other : largest;
}

template <typename Number>
struct BasicSegment {
  Number first_row;  // in the buffers; in its own part of them where rows are masked
  Number rows;       // live ones
};
using Segment = BasicSegment<std::int64_t>;

// One range of rows, whose ends the device knows.
struct SpanRule {
  const std::int32_t *begin, *end;  // [1] each; null: 0, and all rows
  std::int32_t rows;                // of the buffers
};

// The experts' segments, as numbers of 32 bits where RowAddressing::has_small_segments() allows it, else of 64. Masks
// instead of cases, as in math/entry_rule.hpp.
template <typename Number>
struct SegmentRule {
  const void* index;  // offsets [experts + 1], ends or counts [experts], int32 or int64
  RowKind kind;
  bool is_64_bit;
  Number experts;
  Number rows;            // of the buffers; of each expert where rows are masked
  Number most_live_rows;  // no more are done, whatever decreasing offsets say: swizzled scales have room for as many
  Number alignment;       // of ends, else 1
  Number begin_mask;      // of what ends round up to; 0: every segment begins at row 0 of a part of its own

  // The value that ends an expert's segment is that at `expert + own_value()`; the one before it, where it begins.
  MOE_ACT_HOST_DEVICE int own_value() const { return kind == RowKind::expert_offsets ? 1 : 0; }

  template <bool may_be_64_bit>
  MOE_ACT_HOST_DEVICE Number value_at(Number i) const {
    if constexpr (sizeof(Number) == sizeof(std::int32_t))
      return IndexArray{index, is_64_bit}.in_32_bits<may_be_64_bit>(i);
    else
      return IndexArray{index, is_64_bit}[i];
  }

  MOE_ACT_HOST_DEVICE BasicSegment<Number> between(Number before, Number own) const {
    Number first = within(before, rows) + alignment - 1;
    if (sizeof(Number) > sizeof(std::int32_t) && (alignment & (alignment - 1)) != 0)
      first = first / alignment * alignment;  // no power of two
    else
      first &= begin_mask;
    const Number count = within(own, rows) - first;
    return {first, count < 0 ? 0 : count};
  }
};

struct RowAddressing {
  RowKind kind;
  std::int32_t parameter_log2;  // of `parameter`; negative where it is no power of two
  IndexArray index;      // by kind: map, limits, experts, ids [units]; offsets [experts + 1], ends, counts [experts]
  IndexArray count;      // [1] valid rows, live tiles, positions in use; null where the kind has none or none is given
  std::int64_t units;    // lists: entries
  std::int64_t rows;     // of the buffers; of each expert where rows are masked
  std::int64_t experts;  // segments
  std::int64_t parameter;     // tile_tokens, num_valid_ids or expert_alignment
  bool by_id;                 // sorted token ids: the buffers' row is the id, not the position
  IndexArray tile_to_expert;  // [expert_tiles]; null: none
  std::int64_t expert_tiles;
  std::int64_t tile_tokens;         // rows of a tile of tile_to_expert
  IndexArray permuted_to_expanded;  // [rows]; null: none

  void set_parameter(std::int64_t value) {
    parameter = value;
    const auto bits = static_cast<std::uint64_t>(value);
    parameter_log2 = std::has_single_bit(bits) ? std::countr_zero(bits) : -1;
  }

  MOE_ACT_HOST_DEVICE bool is_list() const { return kind < RowKind::expert_offsets; }

  // By the parameter: GPUs take a hundred instructions for that, unless it is a power of two.
  MOE_ACT_HOST_DEVICE std::int64_t divide(std::int64_t value) const {
    return parameter_log2 >= 0 ? value >> parameter_log2 : value / parameter;
  }

  // Lists: entries at or past this one are dead. count_value: count[0], if there is one.
  MOE_ACT_HOST_DEVICE std::int64_t entries_in_use(std::int64_t count_value) const {
    if (count.data == nullptr) return units;
    if (kind != RowKind::tile_limits) return within(count_value, units);
    const std::int64_t whole_tiles = divide(units);
    return count_value > whole_tiles ? units : within(count_value, whole_tiles) * parameter;
  }

  // Lists: what the index says of an entry, 0 where there is none.
  MOE_ACT_HOST_DEVICE std::int64_t value_of(std::int64_t entry) const {
    if (index.data == nullptr) return 0;
    return index[kind == RowKind::tile_limits ? divide(entry) : entry];
  }

  // Lists: the row that an entry in use stands for, negative if there is none, or if its tile is no expert's. value:
  // what value_of said.
  MOE_ACT_HOST_DEVICE std::int64_t row_named(std::int64_t entry, std::int64_t value) const {
    const std::int64_t row = row_of_any_tile(entry, value);
    if (tile_to_expert.data == nullptr || row < 0) return row;
    return tile_expert(entry, row) >= 0 ? row : -1;
  }

  MOE_ACT_HOST_DEVICE std::int64_t row_of(std::int64_t entry) const { return row_named(entry, value_of(entry)); }

  MOE_ACT_HOST_DEVICE std::int64_t row_of_any_tile(std::int64_t entry, std::int64_t value) const {
    switch (kind) {
      case RowKind::expanded_to_permuted: return value < rows ? value : -1;
      case RowKind::tile_limits: return entry < value ? entry : -1;
      case RowKind::row_to_expert: return value >= 0 ? entry : -1;
      case RowKind::sorted_token_ids:
        if (value < 0 || value >= parameter) return -1;
        return !by_id ? entry : value < rows ? value : -1;
      default: return entry;
    }
  }

  // Segments: no more rows than this are done, whatever decreasing offsets say: swizzled scales have room for as many.
  MOE_ACT_HOST_DEVICE std::int64_t most_live_rows() const { return kind == RowKind::masked ? experts * rows : rows; }

  template <typename Number>
  MOE_ACT_HOST_DEVICE SegmentRule<Number> segment_rule() const {
    const auto alignment = static_cast<Number>(kind == RowKind::expert_ends ? parameter : 1);
    return {index.data,
            kind,
            index.is_64_bit,
            static_cast<Number>(experts),
            static_cast<Number>(rows),
            static_cast<Number>(most_live_rows()),
            alignment,
            kind == RowKind::masked ? Number{0} : -alignment};
  }

  // Segments: that of an expert.
  MOE_ACT_HOST_DEVICE Segment segment_of(std::int64_t expert) const {
    const auto rule = segment_rule<std::int64_t>();
    const std::int64_t own = expert + rule.own_value();
    return rule.between(own > 0 ? index[own - 1] : 0, index[own]);
  }

  // Segments: do 32 bits suffice to count rows, and are the experts' alignments powers of two?
  MOE_ACT_HOST_DEVICE bool has_small_segments() const {
    constexpr std::int64_t most = (std::int64_t{1} << 30) - 4096;  // a sum of two, and a CTA's rows, is an int32, too
    constexpr std::int64_t most_padding = 127;                     // rows that an expert adds to swizzled scales
    return experts < most && most_live_rows() + most_padding * experts < most && parameter <= most &&
           (kind != RowKind::expert_ends || parameter_log2 >= 0);
  }

  // Is the buffers' row live? Not for the kinds whose padding cannot be told from the addressing. Masked: of an expert.
  MOE_ACT_HOST_DEVICE bool is_live(std::int64_t expert, std::int64_t row, std::int64_t in_use) const {
    if (is_list()) return row < in_use && row_of(row) >= 0;
    if (kind == RowKind::masked) return row < segment_of(expert).rows;
    // The first segment that ends behind the row: ends never decrease.
    std::int64_t low = 0, high = experts;
    while (low < high) {
      const std::int64_t middle = (low + high) / 2;
      const Segment segment = segment_of(middle);
      if (segment.first_row + segment.rows > row)
        high = middle;
      else
        low = middle + 1;
    }
    return low < experts && row >= segment_of(low).first_row;
  }

  // The expert of a list's entry, negative if the addressing does not say. row: what row_of said.
  MOE_ACT_HOST_DEVICE std::int64_t expert_of(std::int64_t entry, std::int64_t row) const {
    if (kind == RowKind::row_to_expert) return index[entry];
    return tile_to_expert.data == nullptr ? -1 : tile_expert(entry, row);
  }

  MOE_ACT_HOST_DEVICE std::int64_t tile_of(std::int64_t entry, std::int64_t row) const {
    return (kind == RowKind::sorted_token_ids ? entry : row) / tile_tokens;
  }

  // Rows behind the last tile are no expert's.
  MOE_ACT_HOST_DEVICE std::int64_t tile_expert(std::int64_t entry, std::int64_t row) const {
    const std::int64_t tile = tile_of(entry, row);
    return tile < expert_tiles ? tile_to_expert[tile] : -1;
  }

  // Where the routing weight of a row lies. entry: of a list; expert: of masked rows, which are counted within it.
  MOE_ACT_HOST_DEVICE std::int64_t weight_index_of(std::int64_t entry, std::int64_t expert, std::int64_t row) const {
    if (kind == RowKind::expanded_to_permuted) return entry;
    if (kind == RowKind::sorted_token_ids) return index[entry];
    if (kind == RowKind::masked) return expert * rows + row;
    return permuted_to_expanded.data != nullptr ? permuted_to_expanded[row] : row;
  }
};

// Of a prefix or offsets that 32 bits can count.
inline SpanRule span_of(const RowAddressing& rows) {
  const auto* offsets = static_cast<const std::int32_t*>(rows.index.data);
  const auto* count = static_cast<const std::int32_t*>(rows.count.data);
  return {offsets, offsets != nullptr ? offsets + rows.experts : count, static_cast<std::int32_t>(rows.rows)};
}

}  // namespace moe_act
