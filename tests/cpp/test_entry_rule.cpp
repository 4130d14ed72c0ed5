// The rule that kernels follow says the same of every list as its addressing does, whether its values have 32 bits or
// 64, and so does a span of its rows; segments are the same in 32 bits as in 64.
#include <algorithm>
#include <random>
#include <vector>

#include "check.hpp"
#include "math/entry_rule.hpp"

namespace {

using namespace moe_act;

constexpr std::int64_t units = 96, capacity = 40;

// Values around everything that they are compared with, and the extremes.
std::vector<std::int32_t> values(std::uint32_t seed) {
  std::mt19937 random(seed);
  std::uniform_int_distribution<std::int32_t> near(-3, static_cast<std::int32_t>(units) + 3);
  std::vector<std::int32_t> result(units + 1);
  std::ranges::generate(result, [&] { return near(random); });
  for (const std::int32_t extreme : {INT32_MIN, INT32_MIN + 1, INT32_MAX - 1, INT32_MAX})
    result[random() % units] = extreme;
  return result;
}

RowAddressing list(RowKind kind, const std::vector<std::int32_t>& index, std::int64_t parameter) {
  RowAddressing rows{};
  rows.kind = kind;
  const bool has_index = kind != RowKind::dense && kind != RowKind::valid_prefix;
  rows.index = {has_index ? index.data() : nullptr, false};
  rows.units = units;
  rows.rows = kind == RowKind::expanded_to_permuted || kind == RowKind::sorted_token_ids ? capacity : units;
  rows.set_parameter(parameter);
  return rows;
}

void check_same(const RowAddressing& rows) {
  CHECK(has_entry_rule(rows));
  const EntryRule rule = entry_rule_of(rows);
  for (const std::int64_t count : {INT64_MIN, std::int64_t{-1}, std::int64_t{0}, std::int64_t{1}, std::int64_t{5},
                                   std::int64_t{11}, std::int64_t{95}, std::int64_t{96}, std::int64_t{97}, INT64_MAX}) {
    RowAddressing counted = rows;
    counted.count = {&count, true};
    const EntryRule counting = entry_rule_of(counted);
    for (std::int32_t entry = 0; entry <= units; ++entry)
      CHECK_EQUAL(counting.is_in_use(entry, counting.groups_in_use<true>()), entry < counted.entries_in_use(count),
                  "kind ", static_cast<int>(rows.kind), ", entry ", entry, ", count ", count);
  }
  for (std::int32_t entry = 0; entry < units; ++entry)
    CHECK_EQUAL(rule.row_named(entry, rule.value_of<true>(entry)), std::max<std::int64_t>(rows.row_of(entry), -1),
                "kind ", static_cast<int>(rows.kind), ", entry ", entry, ", value ", rule.value_of<true>(entry));
  if (rows.index.is_64_bit) return;
  for (std::int32_t entry = 0; entry < units; ++entry)
    CHECK_EQUAL(rule.value_of<false>(entry), rule.value_of<true>(entry), "entry ", entry);
}

TEST("a rule names the rows that the addressing names") {
  for (std::uint32_t seed = 0; seed < 20; ++seed) {
    const std::vector<std::int32_t> index = values(seed);
    std::vector<std::int64_t> wide_index(index.begin(), index.end());
    for (const std::int64_t extreme : {INT64_MIN, std::int64_t{-1} << 32, std::int64_t{1} << 32, INT64_MAX})
      wide_index[(seed + static_cast<std::uint64_t>(extreme >> 7)) % units] = extreme;
    const std::int64_t count = 0;
    for (const bool counted : {false, true}) {
      const auto check = [&](RowAddressing rows) {
        if (counted) rows.count = {&count, true};
        check_same(rows);
        if (rows.index.data == nullptr || rows.parameter > INT32_MAX) return;
        rows.index = {wide_index.data(), true};
        check_same(rows);
      };
      check(list(RowKind::dense, index, 0));
      check(list(RowKind::valid_prefix, index, 0));
      check(list(RowKind::expanded_to_permuted, index, 0));
      check(list(RowKind::row_to_expert, index, 0));
      for (const std::int64_t tile : {1, 8, 32}) check(list(RowKind::tile_limits, index, tile));
      for (const std::int64_t ids : {std::int64_t{0}, std::int64_t{17}, units, std::int64_t{1} << 40}) {
        RowAddressing rows = list(RowKind::sorted_token_ids, index, ids);
        check(rows);
        rows.by_id = true;
        check(rows);
      }
    }
  }
}

TEST("what 32 bits or powers of two cannot say has no rule") {
  const std::vector<std::int32_t> index = values(0);
  RowAddressing rows = list(RowKind::row_to_expert, index, 0);
  CHECK(has_entry_rule(rows));
  rows.index.is_64_bit = true;
  CHECK(has_entry_rule(rows));
  rows = list(RowKind::sorted_token_ids, index, std::int64_t{1} << 31);
  CHECK(has_entry_rule(rows));
  rows.index.is_64_bit = true;
  CHECK(!has_entry_rule(rows));
  rows = list(RowKind::row_to_expert, index, 0);
  rows.units = rows.rows = std::int64_t{1} << 30;
  CHECK(!has_entry_rule(rows));
  rows = list(RowKind::row_to_expert, index, 0);
  rows.expert_tiles = 1;
  CHECK(!has_entry_rule(rows));
  CHECK(!has_entry_rule(list(RowKind::tile_limits, index, 3)));
  rows = list(RowKind::row_to_expert, index, 0);
  rows.kind = RowKind::masked;
  CHECK(!has_entry_rule(rows));
}

TEST("segments between two values are the same in 32 bits and in 64") {
  const std::vector<std::int32_t> index = values(1);
  for (const RowKind kind : {RowKind::expert_offsets, RowKind::expert_ends, RowKind::masked})
    for (const std::int64_t alignment : {1, 8, 128}) {
      RowAddressing rows = list(kind, index, kind == RowKind::expert_ends ? alignment : 0);
      rows.rows = capacity;
      rows.experts = units;
      CHECK(rows.has_small_segments());
      const auto small_rule = rows.segment_rule<std::int32_t>();
      const auto large_rule = rows.segment_rule<std::int64_t>();
      for (const std::int32_t before : index)
        for (const std::int32_t own : index) {
          const auto small = small_rule.between(before, own);
          const Segment large = large_rule.between(before, own);
          CHECK_EQUAL(small.rows, large.rows, before, ", ", own);
          if (large.rows > 0) CHECK_EQUAL(small.first_row, large.first_row, before, ", ", own);
        }
      rows.rows = std::int64_t{1} << 30;
      CHECK(!rows.has_small_segments());
    }
  RowAddressing rows = list(RowKind::expert_ends, index, 3);
  rows.experts = units;
  CHECK(!rows.has_small_segments());
}

// Whose every row between the ends is live.
void check_span(const RowAddressing& rows) {
  const SpanRule span = span_of(rows);
  const std::int64_t begin = span.begin == nullptr ? 0 : *span.begin;
  const std::int64_t end = span.end == nullptr ? span.rows : *span.end;
  CHECK_EQUAL(span.rows, rows.rows);
  const std::int64_t in_use = rows.is_list() ? rows.entries_in_use(rows.count.data != nullptr ? rows.count[0] : 0) : 0;
  for (std::int64_t row = 0; row < rows.rows; ++row)
    CHECK_EQUAL(row >= begin && row < end, rows.is_live(0, row, in_use), row);
}

TEST("the span of a prefix and of offsets holds the rows that are live") {
  RowAddressing prefix = list(RowKind::valid_prefix, {}, 0);
  check_span(prefix);
  for (const std::int32_t count : {-1, 0, 1, 95, 96, 97, INT32_MAX}) {
    prefix.count = {&count, false};
    check_span(prefix);
  }
  RowAddressing offsets = list(RowKind::expert_offsets, {}, 0);
  const std::vector<std::int32_t> ends[] = {{0, 5, 5, 70}, {3, 3, 3, 3}, {7, 20, 90, 200}};
  offsets.experts = 3;
  for (const std::vector<std::int32_t>& values : ends) {
    offsets.index = {values.data(), false};
    check_span(offsets);
  }
}

}  // namespace
