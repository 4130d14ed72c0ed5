#include "core/rows.hpp"

#include "core/error.hpp"
#include "core/options.hpp"
#include "core/text.hpp"

namespace moe_act {
namespace {

enum class Index { none, list, per_expert };

struct KindTraits {
  std::int32_t kind;
  const char* index_name;  // null: none
  const char* count_name;  // likewise
  bool requires_count;
  Index index;
  int extra_entries;  // per_expert: more than there are experts
  const char* shape;  // of the index, for people
};

constexpr KindTraits kinds[] = {
    {MOE_ACT_ROWS_DENSE, nullptr, nullptr, false, Index::none, 0, ""},
    {MOE_ACT_ROWS_EXPANDED_TO_PERMUTED, "expanded_idx_to_permuted_idx", nullptr, false, Index::list, 0,
     "[expanded_rows] or [tokens, top_k]"},
    {MOE_ACT_ROWS_VALID_PREFIX, nullptr, "valid_rows", true, Index::none, 0, ""},
    {MOE_ACT_ROWS_TILE_LIMITS, "tile_limits", "num_live_tiles", false, Index::list, 0, "[tiles]"},
    {MOE_ACT_ROWS_ROW_TO_EXPERT, "row_to_expert", nullptr, false, Index::list, 0, "[rows]"},
    {MOE_ACT_ROWS_SORTED_TOKEN_IDS, "sorted_token_ids", "num_tokens_post_padded", true, Index::list, 0, "[positions]"},
    {MOE_ACT_ROWS_EXPERT_OFFSETS, "expert_offsets", nullptr, false, Index::per_expert, 1, "[experts + 1]"},
    {MOE_ACT_ROWS_EXPERT_ENDS, "expert_ends", nullptr, false, Index::per_expert, 0, "[experts]"},
    {MOE_ACT_ROWS_MASKED, "expert_counts", nullptr, false, Index::per_expert, 0, "[experts]"},
};

const KindTraits& traits_of(std::int32_t kind) {
  for (const KindTraits& traits : kinds)
    if (traits.kind == kind) return traits;
  return kinds[0];
}

void require_field(const char* name, std::int64_t value, std::int64_t least, bool used) {
  if (used ? value < least : value != 0)
    invalid(name, (used ? "expected at least " + number(least) : std::string("expected 0 for these rows")) + ", got " +
                      number(value));
}

}  // namespace

std::int32_t index_bits(const TensorView& tensor) {
  if (tensor.has_dtype(code_int, 64)) return 64;
  tensor.require_dtype(code_int, 32, "int32 or int64");
  return 32;
}

const char* row_index_name(std::int32_t row_kind) {
  return traits_of(row_kind).index_name;
}

const char* row_count_name(std::int32_t row_kind) {
  return traits_of(row_kind).count_name;
}

const char* row_index_argument(std::int32_t row_kind) {
  const char* name = row_index_name(row_kind);
  return name != nullptr ? name : "row_index";
}

const char* row_count_argument(std::int32_t row_kind) {
  const char* name = row_count_name(row_kind);
  return name != nullptr ? name : "row_count";
}

bool requires_row_count(std::int32_t row_kind) {
  return traits_of(row_kind).requires_count;
}

void require_rows(const moe_act_problem& problem) {
  require_option("row_kind", problem.row_kind);
  const KindTraits& kind = traits_of(problem.row_kind);
  require_field("rows", problem.rows, 0, true);
  const bool is_list = kind.index == Index::list;
  const bool sorted = problem.row_kind == MOE_ACT_ROWS_SORTED_TOKEN_IDS;
  const bool ends = problem.row_kind == MOE_ACT_ROWS_EXPERT_ENDS;
  const bool tiles = problem.row_kind == MOE_ACT_ROWS_TILE_LIMITS;
  const bool masked = problem.row_kind == MOE_ACT_ROWS_MASKED;
  require_field("entries", problem.entries, 0, is_list);
  require_field("experts", problem.experts, 0, kind.index == Index::per_expert);
  require_field("tile_tokens", problem.tile_tokens, 1, tiles || problem.expert_tiles > 0);
  require_field("expert_alignment", problem.expert_alignment, 1, ends);
  require_field("num_valid_ids", problem.num_valid_ids, 0, sorted);
  if (!masked) {
    require_field("x_expert_stride", problem.x_expert_stride, 0, false);
    require_field("out_expert_stride", problem.out_expert_stride, 0, false);
    require_field("x_scale_expert_stride", problem.x_scale_expert_stride, 0, false);
    require_field("out_scale_expert_stride", problem.out_scale_expert_stride, 0, false);
  }
  if (sorted)
    require_option("sorted_rows", problem.sorted_rows);
  else if (problem.sorted_rows != MOE_ACT_SORTED_ROWS_POSITION)
    invalid("sorted_rows", "expected 'position' for these rows");
  for (const auto& [name, bits] : {std::pair{"index_bits", problem.index_bits},
                                   {"count_bits", problem.count_bits},
                                   {"tile_to_expert_bits", problem.tile_to_expert_bits}})
    if (bits != 32 && bits != 64) invalid(name, "expected 32 or 64, got " + number(bits));
  // Sizes that are multiplied or added up: 2^40 experts or rows are far beyond any memory.
  constexpr std::int64_t most = std::int64_t{1} << 40;
  for (const auto& [name, size] : {std::pair{"experts", problem.experts},
                                   {"tile_tokens", problem.tile_tokens},
                                   {"expert_alignment", problem.expert_alignment}})
    if (size > most) invalid(name, "expected at most 2^40, got " + number(size));
  constexpr std::int64_t most_elements = std::int64_t{1} << 53;  // of 8 bytes
  for (const auto& [name, size] : {std::pair{"entries", problem.entries},
                                   {"parameter_experts", problem.parameter_experts},
                                   {"expert_tiles", problem.expert_tiles},
                                   {"weights", problem.weights}})
    if (size > most_elements) invalid(name, "expected at most 2^53, got " + number(size));
  if (masked && problem.experts > 0 && problem.rows > most_elements / problem.experts)
    invalid("rows",
            "expected at most 2^53 of all experts, got " + number(problem.experts) + " x " + number(problem.rows));
  if (problem.row_kind == MOE_ACT_ROWS_ROW_TO_EXPERT && problem.entries != problem.rows)
    invalid(kind.index_name,
            "expected one entry for each of " + number(problem.rows) + " rows, got " + number(problem.entries));
}

std::int64_t row_index_elements(const moe_act_problem& problem) {
  const KindTraits& kind = traits_of(problem.row_kind);
  if (kind.index == Index::list) return problem.entries;
  return kind.index == Index::per_expert ? problem.experts + kind.extra_entries : 0;
}

std::int64_t row_units(const moe_act_problem& problem) {
  switch (problem.row_kind) {
    case MOE_ACT_ROWS_EXPANDED_TO_PERMUTED: return problem.entries;
    case MOE_ACT_ROWS_TILE_LIMITS: {
      const bool all = problem.entries > 0 && problem.rows / problem.entries < problem.tile_tokens;
      return all ? problem.rows : problem.entries * problem.tile_tokens;
    }
    case MOE_ACT_ROWS_SORTED_TOKEN_IDS: {
      const bool by_id = problem.sorted_rows == MOE_ACT_SORTED_ROWS_ID;
      return by_id || problem.entries < problem.rows ? problem.entries : problem.rows;
    }
    default: return total_rows(problem);
  }
}

std::int64_t total_rows(const moe_act_problem& problem) {
  return problem.row_kind == MOE_ACT_ROWS_MASKED ? problem.experts * problem.rows : problem.rows;
}

RowAddressing addressing_of(const moe_act_problem& problem, const moe_act_buffers& buffers) {
  RowAddressing rows{};
  rows.kind = static_cast<RowKind>(problem.row_kind);
  rows.index = {buffers.row_index, problem.index_bits == 64};
  rows.count = {buffers.row_count, problem.count_bits == 64};
  rows.units = row_units(problem);
  rows.rows = problem.rows;
  rows.experts = problem.experts;
  const bool tiles = problem.row_kind == MOE_ACT_ROWS_TILE_LIMITS;
  rows.set_parameter(tiles ? problem.tile_tokens : problem.expert_alignment + problem.num_valid_ids);  // one is 0
  rows.tile_to_expert = {buffers.tile_to_expert, problem.tile_to_expert_bits == 64};
  rows.expert_tiles = problem.expert_tiles;
  rows.tile_tokens = problem.tile_tokens;
  rows.permuted_to_expanded = {buffers.permuted_to_expanded, problem.permuted_to_expanded_bits == 64};
  rows.by_id = problem.sorted_rows == MOE_ACT_SORTED_ROWS_ID;
  return rows;
}

void read_rows(moe_act_problem& problem, const std::optional<TensorView>& row_index,
               const std::optional<TensorView>& row_count) {
  const KindTraits& kind = traits_of(problem.row_kind);
  problem.index_bits = problem.count_bits = 32;
  if (row_index) {
    problem.index_bits = index_bits(*row_index);
    const bool two_axes = problem.row_kind == MOE_ACT_ROWS_EXPANDED_TO_PERMUTED && row_index->rank() == 2;
    if (row_index->rank() != 1 && !two_axes) row_index->mismatch(std::string("int32 or int64 ") + kind.shape);
    row_index->require_contiguous();
    const std::int64_t elements = row_index->elements();
    if (kind.index == Index::list) problem.entries = elements;
    if (kind.index == Index::per_expert) {
      if (elements < kind.extra_entries) row_index->mismatch(std::string("int32 or int64 ") + kind.shape);
      const std::int64_t experts = elements - kind.extra_entries;
      if (problem.row_kind == MOE_ACT_ROWS_MASKED && experts != problem.experts)
        row_index->mismatch("int32 or int64 [" + number(problem.experts) + "]");
      problem.experts = experts;
    }
    if (problem.row_kind == MOE_ACT_ROWS_ROW_TO_EXPERT && elements != problem.rows)
      row_index->mismatch("int32 or int64 [" + number(problem.rows) + "]");
  }
  if (row_count) {
    problem.count_bits = index_bits(*row_count);
    row_count->require_one_element("int32 or int64 with one element");
  }
}

}  // namespace moe_act
