// Lists of rows, as one rule without cases: what the kernels know that count in 32 bits. math/row_addressing.hpp says
// the same of every list. Values may have 64 bits: whatever 32 cannot hold names no row.
#pragma once

#include "math/row_addressing.hpp"

namespace moe_act {

struct EntryRule {
  const void* values;       // [units >> shift], int32 or int64; null: every entry in use is live
  const void* count;        // [1] entries in use, in groups of 2^shift; null: all are
  std::int32_t units;       // entries
  std::int32_t last;        // no value beyond it is live
  std::int32_t above_all;   // -1: values from 0 on are live; 0: those above their entry, as they are limits
  std::int32_t names_rows;  // -1: the row is the value; 0: it is the entry
  std::int32_t shift;       // 2^shift entries share a value
  bool values_are_64_bit;
  bool count_is_64_bit;
  bool exists;  // is there a rule?

  template <bool may_be_64_bit>
  MOE_ACT_HOST_DEVICE std::int32_t value_of(std::int32_t entry) const {
    if (values == nullptr) return 0;
    return IndexArray{values, values_are_64_bit}.in_32_bits<may_be_64_bit>(entry >> shift);
  }
  // Of the groups, or more.
  template <bool may_be_64_bit>
  MOE_ACT_HOST_DEVICE std::int32_t groups_in_use() const {
    if (count == nullptr) return INT32_MAX;
    return IndexArray{count, count_is_64_bit}.in_32_bits<may_be_64_bit>(0);
  }
  // No && here and below, which is a jump: 3.57 instead of 3.75 us (H100, 2026-11-26, rows/tile_limits/e4m3/256, cold).
  MOE_ACT_HOST_DEVICE bool is_in_use(std::int32_t entry, std::int32_t groups) const {
    return (entry < units) & (entry >> shift < groups);
  }
  // The row of an entry in use, negative if there is none. Masks instead of cases: a kernel's first instructions come
  // from memory, and take seven cycles each (H100, 2026-11-26, bench/NOTES.md).
  MOE_ACT_HOST_DEVICE std::int32_t row_named(std::int32_t entry, std::int32_t value) const {
    return names_row(entry, value) ? row_of_live(entry, value) : -1;
  }
  // The two parts of it, for who has other uses for what is not live.
  MOE_ACT_HOST_DEVICE bool names_row(std::int32_t entry, std::int32_t value) const {
    return (value > (entry | above_all)) & (value <= last);
  }
  MOE_ACT_HOST_DEVICE std::int32_t row_of_live(std::int32_t entry, std::int32_t value) const {
    return (value & names_rows) | (entry & ~names_rows);
  }
};

// Can a rule say what the addressing does?
inline bool has_entry_rule(const RowAddressing& rows) {
  constexpr std::int64_t most = (std::int64_t{1} << 30) - 4096;  // a sum of two, and a CTA's entries, is an int32, too
  const bool wide_ids = rows.kind == RowKind::sorted_token_ids && rows.index.is_64_bit && rows.parameter > INT32_MAX;
  return rows.is_list() && !wide_ids && rows.tile_to_expert.data == nullptr && rows.expert_tiles == 0 &&
         rows.units < most && rows.rows < most &&
         (rows.kind != RowKind::tile_limits || (rows.parameter_log2 >= 0 && rows.parameter < most));
}

inline EntryRule entry_rule_of(const RowAddressing& rows) {
  EntryRule rule{};
  rule.exists = true;
  const auto last_below = [](std::int64_t value) {
    return static_cast<std::int32_t>(within(value, std::int64_t{1} << 31) - 1);
  };
  rule.values = rows.index.data;
  rule.values_are_64_bit = rows.index.is_64_bit;
  rule.count = rows.count.data;
  rule.count_is_64_bit = rows.count.is_64_bit;
  rule.units = static_cast<std::int32_t>(rows.units);
  rule.last = INT32_MAX;
  rule.above_all = -1;
  switch (rows.kind) {
    case RowKind::expanded_to_permuted:
      rule.last = last_below(rows.rows);
      rule.names_rows = -1;
      break;
    case RowKind::tile_limits:
      rule.shift = rows.parameter_log2;
      rule.above_all = 0;
      break;
    case RowKind::sorted_token_ids:
      rule.names_rows = rows.by_id ? -1 : 0;
      rule.last = last_below(rows.by_id && rows.rows < rows.parameter ? rows.rows : rows.parameter);
      break;
    default: break;
  }
  return rule;
}

}  // namespace moe_act
