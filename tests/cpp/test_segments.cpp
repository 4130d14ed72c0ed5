// The search among experts that kernels do, on the CPU: it finds every live row, in the order of the experts.
#include <algorithm>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "check.hpp"
#include "warp.hpp"

#include "cuda/segments.cuh"  // with CUDA's names from there

namespace {

using namespace moe_act;

enum class Routing {
  ordinary,
  empty_experts,
  all_at_one,
  decreasing,
  negative,
  extremes_of_32_bits,
  extremes_of_64_bits,
  beyond_capacity
};
constexpr Routing routings[] = {
    Routing::ordinary, Routing::empty_experts,       Routing::all_at_one,          Routing::decreasing,
    Routing::negative, Routing::extremes_of_32_bits, Routing::extremes_of_64_bits, Routing::beyond_capacity};

struct Case {
  RowKind kind;
  std::int64_t experts;
  std::int64_t rows;  // the capacity; of each expert where rows are masked
  std::int64_t alignment;
  Routing routing;
  bool is_64_bit;
  int words_off;  // of 4 bytes, from where 16 bytes can be loaded at once

  std::string text() const {
    return check::text("kind ", static_cast<int>(kind), ", ", experts, " experts, ", rows, " rows, alignment ",
                       alignment, ", routing ", static_cast<int>(routing), is_64_bit ? ", int64" : ", int32",
                       ", words off ", words_off);
  }
};

// What the index says.
std::vector<std::int64_t> values_of(const Case& c, std::uint32_t seed) {
  std::mt19937 random(seed);
  const auto from_to = [&](std::int64_t least, std::int64_t most) {
    const auto choices = static_cast<std::uint64_t>(most - least + 1);
    return least + static_cast<std::int64_t>(random() % choices);
  };
  const auto one_of = [&](const std::vector<std::int64_t>& choices) { return choices[random() % choices.size()]; };
  const bool masked = c.kind == RowKind::masked, offsets = c.kind == RowKind::expert_offsets;
  // Few experts have rows where there are many: every row is looked for.
  const auto has_rows = [&](std::int64_t experts_with_rows) { return from_to(1, c.experts) <= experts_with_rows; };
  const std::int64_t chosen = one_of({0, c.experts / 2, c.experts - 1});
  const std::int64_t each = std::max<std::int64_t>(1, c.rows / std::min<std::int64_t>(c.experts, masked ? 1 : 16));
  const auto count_of = [&](std::int64_t expert) -> std::int64_t {
    switch (c.routing) {
      case Routing::empty_experts: return has_rows(4) ? from_to(1, each) : 0;
      case Routing::all_at_one: return expert == chosen ? c.rows : 0;
      case Routing::beyond_capacity: return has_rows(16) ? from_to(0, 4 * each) : 0;
      default: return has_rows(16) ? from_to(0, each) : 0;
    }
  };
  const auto hostile = [&](std::int64_t i, std::int64_t ordinary) -> std::int64_t {
    if (masked && !has_rows(16)) return 0;
    switch (c.routing) {
      case Routing::decreasing: return masked ? ordinary : c.rows - i * c.rows / c.experts + from_to(0, 2);
      case Routing::negative: return from_to(-5, c.rows);
      case Routing::extremes_of_32_bits:
        return one_of({INT32_MIN, INT32_MIN + 1, -1, 0, 1, c.rows, c.rows + 1, INT32_MAX - 1, INT32_MAX});
      case Routing::extremes_of_64_bits:
        return one_of({INT64_MIN, (std::int64_t{-1} << 32) + 3, -1, 3, (std::int64_t{1} << 32) + 3, INT64_MAX});
      default: return ordinary;
    }
  };
  std::vector<std::int64_t> values;
  std::int64_t end = offsets ? from_to(0, 3) : 0;
  if (offsets) values.push_back(hostile(0, end));
  for (std::int64_t expert = 0; expert < c.experts; ++expert) {
    const std::int64_t count = count_of(expert);
    end = (end + c.alignment - 1) / c.alignment * c.alignment + count;
    values.push_back(hostile(expert + 1, masked ? count : end));
  }
  return values;
}

// Around the values lie others that would name rows.
class Index {
 public:
  Index(const Case& c, const std::vector<std::int64_t>& values)
      : words_((values.size() + 2 * around) * (c.is_64_bit ? 2 : 1) + 8) {
    auto* place = reinterpret_cast<std::byte*>(words_.data());
    place += (16 - reinterpret_cast<std::uintptr_t>(place) % 16) % 16 + 4 * static_cast<std::size_t>(c.words_off);
    const auto store = [&](std::int64_t value) {
      const auto narrow = static_cast<std::int32_t>(value);
      std::memcpy(place, c.is_64_bit ? static_cast<const void*>(&value) : &narrow, c.is_64_bit ? 8 : 4);
      place += c.is_64_bit ? 8 : 4;
    };
    for (std::size_t i = 0; i < around; ++i) store(i % 2 == 0 ? 0 : c.rows);
    data_ = place;
    std::ranges::for_each(values, store);
    for (std::size_t i = 0; i < around; ++i) store(i % 2 == 0 ? c.rows : 0);
  }
  Index(const Index&) = delete;
  const void* data() const { return data_; }

 private:
  static constexpr std::size_t around = 8;  // so that 16 bytes are a multiple

  std::vector<std::int32_t> words_;
  const void* data_ = nullptr;
};

RowAddressing addressing_of(const Case& c, const Index& index) {
  RowAddressing rows{};
  rows.kind = c.kind;
  rows.index = {index.data(), c.is_64_bit};
  rows.rows = c.rows;
  rows.experts = c.experts;
  rows.set_parameter(c.kind == RowKind::expert_ends ? c.alignment : 0);
  return rows;
}

using Row = cuda::LiveRow<std::int64_t>;

// A segment, as far as rows of it are done.
struct Part {
  std::int64_t expert, first_number, rows, first_row, first_scale_row;
};

struct Parts {
  std::vector<Part> parts;
  std::int64_t rows = 0;
  std::int64_t experts, most;
  bool masked;

  explicit Parts(const RowAddressing& addressing)
      : experts(addressing.experts), most(addressing.most_live_rows()), masked(addressing.kind == RowKind::masked) {
    std::int64_t scale_row = 0;
    for (std::int64_t expert = 0; expert < experts; ++expert) {
      const Segment segment = addressing.segment_of(expert);
      const std::int64_t done = std::min(segment.rows, most - rows);
      if (done > 0) parts.push_back({expert, rows, done, segment.first_row, scale_row});
      rows += done;
      scale_row += (segment.rows + 127) / 128 * 128;
    }
  }

  Row row(std::int64_t number) const {
    if (number >= rows) return {};
    const Part& part = *std::prev(std::ranges::upper_bound(parts, number, {}, &Part::first_number));
    const std::int64_t in_part = number - part.first_number;
    // 256 experts are looked at together: how many rows those behind them have is not known yet.
    const bool looks_at_last = part.expert / 256 == (experts - 1) / 256;
    const std::int64_t row = part.first_row + in_part;
    return {part.expert,         masked ? part.expert : 0,   row, masked ? row : part.first_scale_row + in_part,
            part.rows - in_part, looks_at_last ? rows : most};
  }

  // Every number up to a little past the last live row, and the last of the capacity; of long segments those around
  // their ends, and of very many segments some.
  std::vector<std::int64_t> numbers() const {
    std::vector<std::int64_t> result;
    const auto add = [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t number = begin; number < end; ++number) result.push_back(number);
    };
    constexpr std::int64_t few = 4;
    const std::size_t step = parts.size() > 100 ? 31 : 1;
    for (std::size_t i = 0; i < parts.size(); i += i + step < parts.size() ? step : 1) {
      const Part& part = parts[i];
      const std::int64_t end = part.first_number + part.rows;
      add(part.first_number, std::min(part.first_number + few, end));
      add(std::max(part.first_number + few, end - few), end);
    }
    add(rows, rows + 3);
    add(std::max(most - 1, rows + 3), most + 1);
    return result;
  }
};

// by_one_lane: the others only know that there is a row, from its end.
template <typename Number, typename Find>
void check_row(const Find& find, std::int64_t number, const Row& expected, bool pads_scales, const Case& c,
               bool by_one_lane = false) {
  const auto found = warp::run_lanes<cuda::LiveRow<Number>>([&] { return find(static_cast<Number>(number)); });
  const bool one_knows = by_one_lane && expected.left > 0;
  const auto knows = [](const auto& of_lane) { return of_lane.left > 0; };
  const auto& first = one_knows ? *std::ranges::max_element(found, {}, knows) : found[0];
  if (one_knows) CHECK_EQUAL(std::ranges::count_if(found, knows), 1, "number ", number, ", ", c.text());
  const auto is_first = [&](const auto& of_lane) {
    return one_knows ? of_lane.end == first.end : std::memcmp(&of_lane, &first, sizeof(first)) == 0;
  };
  CHECK(std::ranges::all_of(found, is_first), "lanes differ, number ", number, ", ", c.text());
  CHECK_EQUAL(first.left, expected.left, "number ", number, ", ", c.text());
  if (expected.left == 0) return CHECK_EQUAL(first.end, 0, "number ", number, ", ", c.text());
  CHECK_EQUAL(first.expert, expected.expert, "number ", number, ", ", c.text());
  CHECK_EQUAL(first.part, expected.part, "number ", number, ", ", c.text());
  CHECK_EQUAL(first.row, expected.row, "number ", number, ", ", c.text());
  if (pads_scales) CHECK_EQUAL(first.scale_row, expected.scale_row, "number ", number, ", ", c.text());
  CHECK_EQUAL(first.end, expected.end, "number ", number, ", ", c.text());
}

template <typename Number, bool pads_scales, bool may_be_64_bit>
void check_search(const RowAddressing& rows, const Parts& parts, const Case& c) {
  const auto rule = rows.segment_rule<Number>();
  using InARow = cuda::SegmentSearch<Number, pads_scales, may_be_64_bit, false>;
  using Alone = cuda::SegmentSearch<Number, pads_scales, may_be_64_bit, true>;
  const bool is_counted = c.kind == RowKind::masked && sizeof(Number) == sizeof(std::int32_t) && !c.is_64_bit;
  for (const std::int64_t number : parts.numbers()) {
    Row expected = parts.row(number);
    check_row<Number>([&](Number wanted) { return InARow::find(rule, wanted); }, number, expected, pads_scales, c);
    if (!is_counted && number > 0) continue;                 // the same code
    if (is_counted && expected.left > 0) expected.left = 1;  // who wants one row alone is told no more
    check_row<Number>([&](Number wanted) { return Alone::find(rule, wanted); }, number, expected, pads_scales, c,
                      is_counted);
  }
}

void check_searches(const RowAddressing& rows, const Case& c) {
  const Parts parts(rows);
  // Where the index lies matters to numbers of 32 bits alone.
  if (c.words_off == 0) check_search<std::int64_t, true, true>(rows, parts, c);
  if (!rows.has_small_segments()) return;
  check_search<std::int32_t, true, true>(rows, parts, c);
  // Without padded scales offsets are searched in a range.
  if (c.kind != RowKind::expert_offsets && !c.is_64_bit) check_search<std::int32_t, false, false>(rows, parts, c);
}

void check_range(const RowAddressing& rows, const Case& c) {
  const std::int64_t begin = within(rows.index[0], c.rows);
  const std::int64_t count = within(rows.index[c.experts], c.rows) - begin;
  const auto check = [&]<typename Search>(Search, const auto& rule) {
    for (std::int64_t number = 0; number < std::max<std::int64_t>(count, 0) + 3; ++number) {
      const Row expected = number < count ? Row{0, 0, begin + number, begin + number, count - number, count} : Row{};
      check_row<typename Search::Number>([&](auto wanted) { return typename Search::Range(rule).find(wanted); }, number,
                                         expected, true, c);
    }
  };
  const auto rule = rows.segment_rule<std::int32_t>();
  check(cuda::SegmentSearch<std::int64_t, true, true, false>{}, rows.segment_rule<std::int64_t>());
  check(cuda::SegmentSearch<std::int32_t, true, true, false>{}, rule);
  if (c.is_64_bit) return;
  check(cuda::SegmentSearch<std::int32_t, false, false, true>{}, rule);
  check(cuda::SegmentSearch<std::int32_t, false, false, false>{}, span_of(rows));
}

template <typename Check>
void for_each_case(const std::vector<RowKind>& kinds, const Check& check) {
  std::uint32_t seed = 0;
  for (const RowKind kind : kinds)
    for (const std::int64_t experts : {1, 7, 8, 9, 255, 256, 257, 600})
      for (const std::int64_t alignment : {1, 8, 128, 3}) {
        if (kind != RowKind::expert_ends && alignment > 1) continue;
        for (const Routing routing : routings)
          for (const bool is_64_bit : {false, true})
            for (int words_off = 0; words_off < 4; words_off += is_64_bit ? 2 : 1) {
              if (routing == Routing::extremes_of_64_bits && !is_64_bit) continue;
              // What the values are has little to do with where they lie.
              if (routing != Routing::ordinary && words_off > 0 && static_cast<int>(seed % 4) != words_off) continue;
              const std::int64_t rows = kind == RowKind::masked ? 3 : alignment == 128 ? 3 * 128 + 5 : 21;
              const Case c{kind, experts, rows, alignment, routing, is_64_bit, words_off};
              const Index index(c, values_of(c, ++seed));
              check(addressing_of(c, index), c);
            }
      }
}

TEST("a search finds every live row where the addressing says it is") {
  for_each_case({RowKind::expert_offsets, RowKind::expert_ends, RowKind::masked}, check_searches);
}

TEST("offsets whose experts nobody asks for are one range") {
  for_each_case({RowKind::expert_offsets}, check_range);
}

TEST("without experts there is no row") {
  for (const RowKind kind : {RowKind::expert_offsets, RowKind::expert_ends, RowKind::masked}) {
    const Case c{kind, 0, 21, 1, Routing::ordinary, false, 0};
    const Index index(c, kind == RowKind::expert_offsets ? std::vector<std::int64_t>{3} : std::vector<std::int64_t>{});
    check_searches(addressing_of(c, index), c);
    if (kind == RowKind::expert_offsets) check_range(addressing_of(c, index), c);
  }
}

// Rows at the first and the last expert, one at each of the others.
void check_many_rows(std::int64_t experts, std::int64_t first, std::int64_t rows_of_all, std::int64_t alignment) {
  std::vector<std::int64_t> ends;
  for (std::int64_t expert = 0; expert + 1 < experts; ++expert) ends.push_back(first + alignment * expert);
  ends.push_back(rows_of_all);
  const Case c{RowKind::expert_ends, experts, rows_of_all, alignment, Routing::ordinary, false, 0};
  check_searches(addressing_of(c, Index(c, ends)), c);
}

constexpr std::int64_t most_rows = (std::int64_t{1} << 30) - 4097;

TEST("as many rows as 32 bits may count are found") {
  for (const std::int64_t alignment : {1, 128})
    for (const std::int64_t first : {most_rows - 128 * 8, most_rows / 2, std::int64_t{1}})
      check_many_rows(8, first, most_rows, alignment);
  const Case c{RowKind::masked, 3, most_rows / 3, 1, Routing::ordinary, false, 0};
  check_searches(addressing_of(c, Index(c, {INT32_MAX, INT32_MAX, INT32_MAX})), c);
}

TEST("scales that are padded to more rows than there are keep their places") {
  for (const std::int64_t rows : {std::int64_t{1} << 29, most_rows})
    for (const std::int64_t first : {rows - 300, rows / 2, std::int64_t{1}}) check_many_rows(300, first, rows, 1);
}

}  // namespace
