#include "core/buffers.hpp"

#include <algorithm>
#include <string>

#include "core/error.hpp"
#include "core/rows.hpp"
#include "core/text.hpp"

namespace moe_act {
namespace {

using Pointers = std::array<const void*, all_buffers>;

// In the order of the rules.
Pointers pointers_of(const moe_act_buffers& buffers) {
  return {buffers.x,
          buffers.x_scale,
          buffers.static_scale,
          buffers.row_index,
          buffers.row_count,
          buffers.total_num_padded_tokens,
          buffers.bias,
          buffers.alpha,
          buffers.beta,
          buffers.limit,
          buffers.weight,
          buffers.tile_to_expert,
          buffers.permuted_to_expanded,
          buffers.out,
          buffers.out_scale,
          buffers.out_unquantized};
}

// What consumers of a layout rely on, or what an element needs.
std::int64_t scale_alignment(std::int32_t layout, std::int32_t format) {
  const bool for_tma = layout == MOE_ACT_SCALE_LAYOUT_TMA_COLUMN_MAJOR || layout == MOE_ACT_SCALE_LAYOUT_PACKED_UE8M0;
  if (for_tma || layout == MOE_ACT_SCALE_LAYOUT_SWIZZLED_128X4) return 16;
  return format == MOE_ACT_FORMAT_UE8M0 ? 1 : 4;
}

BufferRule parameter_rule(const char* name, const Problem& problem, std::int32_t from) {
  return {name, problem->parameter_experts * 4, 4, from == MOE_ACT_PARAMETER_PER_EXPERT, false};
}

std::uintptr_t remainder_mask(const BufferRule& rule) {
  return static_cast<std::uintptr_t>(rule.alignment) - 1;
}

void check_rule(const BufferRule& rule, const void* data) {
  if (rule.needed && rule.bytes > 0 && data == nullptr && !rule.may_be_null)
    invalid(rule.name, "expected data, got null");
  if (!rule.needed && data != nullptr) invalid(rule.name, "the plan has no use for it, expected null");
  const auto address = reinterpret_cast<std::uintptr_t>(data);
  if ((address & remainder_mask(rule)) != 0)
    invalid(rule.name, "the plan was promised data aligned to " + number(rule.alignment) + " bytes, got address ..." +
                           number(address % 16) + " modulo 16");
}

// Memory that a launch reads or writes; from 0 to 0 where it is not there.
struct Extent {
  const char* name;
  std::uintptr_t begin, end;
};

[[noreturn]] void refuse_overlap(const char* written, const char* other) {
  invalid(written, std::string("overlaps ") + other + ", expected memory of its own");
}

void require_apart(const Extent& written, const Extent& other) {
  if (written.begin < other.end && other.begin < written.end) refuse_overlap(written.name, other.name);
}

// The extents of a launch, in the order of the rules.
class Extents {
 public:
  Extents(const BufferRules& rules, const Pointers& pointers) : inputs_(rules.used_inputs), count_(rules.used_buffers) {
    for (std::size_t i = 0; i < count_; ++i) {
      const UsedBuffer& used = rules.used[i];
      const auto address = reinterpret_cast<std::uintptr_t>(pointers[used.rule]);
      extents_[i] = {used.name, address, address == 0 ? 0 : address + static_cast<std::uintptr_t>(used.bytes)};
      complete_ &= address != 0;
    }
  }
  const Extent* begin() const { return extents_.data(); }
  const Extent* results() const { return extents_.data() + inputs_; }
  const Extent* end() const { return extents_.data() + count_; }
  bool complete() const { return complete_; }  // are all there?

 private:
  std::array<Extent, all_buffers> extents_;
  std::size_t inputs_, count_;
  bool complete_ = true;
};

// Does any pointer have bits that its rule refuses?
bool has_refused_bits(const BufferRules& rules, const Pointers& pointers) {
  std::uintptr_t refused = 0;
  for (std::size_t i = 0; i < all_buffers; ++i)
    refused |= reinterpret_cast<std::uintptr_t>(pointers[i]) & rules.refused_bits[i];
  return refused != 0;
}

std::array<BufferRule, all_buffers> rules_of(const Problem& problem) {
  const char* count = row_count_name(problem->row_kind);
  return {{
      {"x", problem.x_bytes(), problem->x_alignment, true, false},
      {"x_scale", problem.x_scale_bytes(), scale_alignment(problem->x_scale_layout, problem->x_scale_format),
       problem.has_x_scale(), false},
      {"static_scale", 4, 4, problem->out_scaling == MOE_ACT_SCALING_TENSOR, false},
      {row_index_argument(problem->row_kind), row_index_elements(problem.description()) * (problem->index_bits / 8),
       problem->index_bits / 8, row_index_name(problem->row_kind) != nullptr, false},
      {row_count_argument(problem->row_kind), problem->count_bits / 8, problem->count_bits / 8, count != nullptr,
       !requires_row_count(problem->row_kind)},
      {"total_num_padded_tokens", 4, 4, problem.stride_on_device(), false},
      {"bias", problem.bias_bytes(), std::max(problem->bias_alignment, 1), problem->bias_format != MOE_ACT_FORMAT_NONE,
       false},
      parameter_rule("alpha", problem, problem->alpha_from),
      parameter_rule("beta", problem, problem->beta_from),
      parameter_rule("limit", problem, problem->limit_from),
      {"weight", problem->weights * 4, 4, problem->has_weight != 0, false},
      {"tile_to_expert", problem->expert_tiles * (problem->tile_to_expert_bits / 8), problem->tile_to_expert_bits / 8,
       problem->expert_tiles > 0, false},
      {"permuted_to_expanded", problem->rows * (problem->permuted_to_expanded_bits / 8),
       std::max(problem->permuted_to_expanded_bits / 8, 1), problem->permuted_to_expanded_bits != 0, false},
      {"out", problem.out_bytes(), problem->out_alignment, true, false},
      {"out_scale", problem.out_scale_bytes(), scale_alignment(problem->out_scale_layout, problem->out_scale_format),
       problem.has_out_scale(), false},
      {"out_unquantized", problem.unquantized_bytes(), std::max(problem->unquantized_alignment, 1),
       problem.has_unquantized(), false},
  }};
}

}  // namespace

BufferRules buffer_rules(const Problem& problem) {
  BufferRules rules{};
  rules.of_each = rules_of(problem);
  for (std::size_t i = 0; i < all_buffers; ++i) {
    const BufferRule& rule = rules.of_each[i];
    rules.refused_bits[i] = rule.needed ? remainder_mask(rule) : ~std::uintptr_t{0};
    if (!rule.needed || rule.bytes == 0) continue;
    rules.used[rules.used_buffers++] = {i, rule.bytes, rule.name};
    if (i < input_buffers) rules.used_inputs = rules.used_buffers;
  }
  return rules;
}

void check_buffers(const BufferRules& rules, const moe_act_buffers& buffers) {
  const Pointers pointers = pointers_of(buffers);
  const Extents extents(rules, pointers);
  if (!extents.complete() || has_refused_bits(rules, pointers))
    for (std::size_t i = 0; i < all_buffers; ++i) check_rule(rules.of_each[i], pointers[i]);
  for (const Extent* result = extents.results(); result != extents.end(); ++result)
    for (const Extent* input = extents.begin(); input != extents.results(); ++input) require_apart(*result, *input);
  for (const Extent* result = extents.results(); result != extents.end(); ++result)
    for (const Extent* other = result + 1; other != extents.end(); ++other) require_apart(*result, *other);
}

void check_workspace(const BufferRules& rules, std::int64_t workspace_bytes, const moe_act_buffers& buffers,
                     const void* workspace) {
  if (workspace_bytes == 0) return;
  check_rule({"workspace", workspace_bytes, 16, true, false}, workspace);
  const auto begin = reinterpret_cast<std::uintptr_t>(workspace);
  const Extent own{"workspace", begin, begin + static_cast<std::uintptr_t>(workspace_bytes)};
  for (const Extent& extent : Extents(rules, pointers_of(buffers))) require_apart(own, extent);
}

}  // namespace moe_act
