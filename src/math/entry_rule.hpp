// Lists of rows, as one rule without cases: what the kernels know that count in 32 bits. math/row_addressing.hpp says
// the same of every list. Values may have 64 bits: whatever 32 cannot hold names no row.
#pragma once

#include "math/row_addressing.hpp"

namespace moe_act {

struct EntryRule {
  IndexArray values;   // [units >> shift]; null: every entry in use is live
  IndexArray count;    // [1] entries in use, in groups of 2^shift; null: all are
  std::int32_t units;  // entries
  std::int32_t shift;  // 2^shift entries share a value
  std::uint32_t most;  // values from 0 to below are live
  bool is_limit;       // but where a value is that of the entries that are live
  bool names_rows;     // the row is the value, not the entry
  bool exists;         // is there a rule?

  template <bool may_be_64_bit>
  MOE_ACT_HOST_DEVICE std::int32_t value_of(std::int32_t entry) const {
    return values.data == nullptr ? 0 : values.in_32_bits<may_be_64_bit>(entry >> shift);
  }
  // The row of an entry in use, negative if there is none.
  MOE_ACT_HOST_DEVICE std::int32_t row_named(std::int32_t entry, std::int32_t value) const {
    const bool live = is_limit ? value > entry : static_cast<std::uint32_t>(value) < most;
    return !live ? -1 : names_rows ? value : entry;
  }
  MOE_ACT_HOST_DEVICE std::int32_t entries_in_use(std::int64_t count_value) const {
    if (count.data == nullptr || count_value > units >> shift) return units;
    return count_value < 0 ? 0 : static_cast<std::int32_t>(count_value) << shift;
  }
};

// Can a rule say what the addressing does?
inline bool has_entry_rule(const RowAddressing& rows) {
  constexpr std::int64_t most = std::int64_t{1} << 30;
  const bool wide_ids = rows.kind == RowKind::sorted_token_ids && rows.index.is_64_bit && rows.parameter > INT32_MAX;
  return rows.is_list() && !wide_ids && rows.tile_to_expert.data == nullptr && rows.expert_tiles == 0 &&
         rows.units < most && rows.rows < most &&
         (rows.kind != RowKind::tile_limits || (rows.parameter_log2 >= 0 && rows.parameter < most));
}

inline EntryRule entry_rule_of(const RowAddressing& rows) {
  EntryRule rule{};
  rule.exists = true;
  const auto within = [](std::int64_t value) {
    return static_cast<std::uint32_t>(RowAddressing::clamp(value, std::int64_t{1} << 31));
  };
  rule.values = rows.index;
  rule.count = rows.count;
  rule.units = static_cast<std::int32_t>(rows.units);
  rule.most = std::uint32_t{1} << 31;
  switch (rows.kind) {
    case RowKind::expanded_to_permuted:
      rule.most = within(rows.rows);
      rule.names_rows = true;
      break;
    case RowKind::tile_limits:
      rule.shift = rows.parameter_log2;
      rule.is_limit = true;
      break;
    case RowKind::sorted_token_ids:
      rule.names_rows = rows.by_id;
      rule.most = within(rows.by_id && rows.rows < rows.parameter ? rows.rows : rows.parameter);
      break;
    default: break;
  }
  return rule;
}

}  // namespace moe_act
