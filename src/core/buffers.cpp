#include "core/buffers.hpp"

#include <algorithm>
#include <cstring>
#include <string>

#include "core/error.hpp"
#include "core/rows.hpp"
#include "core/text.hpp"

namespace moe_act {
namespace {

// In the order of the struct, which is that of the rules. Where they are: a copy, made of vectors, would wait for
// stores just made to come to memory.
class Pointers {
 public:
  explicit Pointers(const moe_act_buffers& buffers)
      : first_(reinterpret_cast<const std::byte*>(&buffers) + offsetof(moe_act_buffers, x)) {}
  std::uintptr_t operator[](std::size_t i) const {
    std::uintptr_t address;
    std::memcpy(&address, first_ + i * sizeof(address), sizeof(address));
    return address;
  }

 private:
  const std::byte* first_;
};
static_assert(sizeof(moe_act_buffers) == offsetof(moe_act_buffers, x) + all_buffers * sizeof(void*));

// What consumers of a layout rely on, or what an element needs.
std::int64_t scale_alignment(std::int32_t layout, std::int32_t format) {
  const bool for_tma = layout == MOE_ACT_SCALE_LAYOUT_TMA_COLUMN_MAJOR || layout == MOE_ACT_SCALE_LAYOUT_PACKED_UE8M0;
  if (for_tma || layout == MOE_ACT_SCALE_LAYOUT_SWIZZLED_128X4) return 16;
  return format == MOE_ACT_FORMAT_UE8M0 ? 1 : 4;
}

BufferRule parameter_rule(const char* name, const Problem& problem, std::int32_t from) {
  return {name, problem->parameter_experts * 4, 4, from == MOE_ACT_PARAMETER_PER_EXPERT};
}

std::uintptr_t remainder_mask(const BufferRule& rule) {
  return static_cast<std::uintptr_t>(rule.alignment) - 1;
}

void check_rule(const BufferRule& rule, std::uintptr_t address) {
  if (rule.needed && rule.bytes > 0 && address == 0 && !rule.may_be_null) invalid(rule.name, "expected data, got null");
  if (!rule.needed && address != 0) invalid(rule.name, "the plan has no use for it, expected null");
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

bool overlap(const Extent& a, const Extent& b) {
  return (a.begin < b.end) & (b.begin < a.end);  // no jump
}

void require_apart(const Extent& written, const Extent& other) {
  if (overlap(written, other)) refuse_overlap(written.name, other.name);
}

// The extents of a launch, inputs before results.
class Extents {
 public:
  Extents(const BufferRules& rules, const Pointers& pointers) : inputs_(rules.used_inputs), count_(rules.used_buffers) {
    for (std::size_t i = 0; i < count_; ++i) {
      const UsedBuffer& used = rules.used[i];
      const std::uintptr_t address = pointers[used.rule];
      extents_[i] = {used.name, address, address == 0 ? 0 : address + static_cast<std::uintptr_t>(used.bytes)};
      complete_ &= address != 0;
    }
  }
  const Extent* begin() const { return extents_.data(); }
  const Extent* end() const { return extents_.data() + count_; }

  // Are all there, and apart?
  bool are_usual() const {
    bool usual = complete_;
    for (const Extent* result = results(); result != end(); ++result)
      for (const Extent* before = begin(); before != result; ++before) usual &= !overlap(*result, *before);
    return usual;
  }
  void require_apart() const {
    for (const Extent* result = results(); result != end(); ++result)
      for (const Extent* input = begin(); input != results(); ++input) moe_act::require_apart(*result, *input);
    for (const Extent* result = results(); result != end(); ++result)
      for (const Extent* other = result + 1; other != end(); ++other) moe_act::require_apart(*result, *other);
  }

 private:
  const Extent* results() const { return extents_.data() + inputs_; }

  std::array<Extent, all_buffers> extents_;
  std::size_t inputs_, count_;
  bool complete_ = true;
};

// Does any pointer have bits that its rule refuses?
bool have_refused_bits(const BufferRules& rules, const Pointers& pointers) {
  std::uintptr_t refused = 0;
  for (std::size_t i = 0; i < all_buffers; ++i) refused |= pointers[i] & rules.refused_bits[i];
  return refused != 0;
}

BufferRule written(BufferRule rule) {
  rule.is_result = true;
  return rule;
}

std::array<BufferRule, all_buffers> rules_of(const Problem& problem) {
  const bool counts = row_count_name(problem->row_kind) != nullptr;
  return {{
      {"x", problem.x_bytes(), problem->x_alignment, true},
      {"x_scale", problem.x_scale_bytes(), scale_alignment(problem->x_scale_layout, problem->x_scale_format),
       problem.has_x_scale()},
      written({"out", problem.out_bytes(), problem->out_alignment, true}),
      written({"out_scale", problem.out_scale_bytes(),
               scale_alignment(problem->out_scale_layout, problem->out_scale_format), problem.has_out_scale()}),
      {"static_scale", 4, 4, problem->out_scaling == MOE_ACT_SCALING_TENSOR},
      {row_index_argument(problem->row_kind), row_index_elements(problem.description()) * (problem->index_bits / 8),
       problem->index_bits / 8, row_index_name(problem->row_kind) != nullptr},
      {"total_num_padded_tokens", 4, 4, problem.stride_on_device()},
      {.name = row_count_argument(problem->row_kind),
       .bytes = problem->count_bits / 8,
       .alignment = problem->count_bits / 8,
       .needed = counts,
       .may_be_null = !requires_row_count(problem->row_kind)},
      {"bias", problem.bias_bytes(), std::max(problem->bias_alignment, 1), problem->bias_format != MOE_ACT_FORMAT_NONE},
      parameter_rule("alpha", problem, problem->alpha_from),
      parameter_rule("beta", problem, problem->beta_from),
      parameter_rule("limit", problem, problem->limit_from),
      {"weight", problem->weights * 4, 4, problem->has_weight != 0},
      {"tile_to_expert", problem->expert_tiles * (problem->tile_to_expert_bits / 8), problem->tile_to_expert_bits / 8,
       problem->expert_tiles > 0},
      {"permuted_to_expanded", problem->rows * (problem->permuted_to_expanded_bits / 8),
       std::max(problem->permuted_to_expanded_bits / 8, 1), problem->permuted_to_expanded_bits != 0},
      written({"out_unquantized", problem.unquantized_bytes(), std::max(problem->unquantized_alignment, 1),
               problem.has_unquantized()}),
  }};
}

}  // namespace

BufferRules buffer_rules(const Problem& problem) {
  BufferRules rules{};
  rules.of_each = rules_of(problem);
  const auto use = [&](bool results) {
    for (std::size_t i = 0; i < all_buffers; ++i) {
      const BufferRule& rule = rules.of_each[i];
      if (rule.is_result == results && rule.needed && rule.bytes > 0)
        rules.used[rules.used_buffers++] = {i, rule.bytes, rule.name};
    }
  };
  use(false);
  rules.used_inputs = rules.used_buffers;
  use(true);
  for (std::size_t i = 0; i < all_buffers; ++i)
    rules.refused_bits[i] = rules.of_each[i].needed ? remainder_mask(rules.of_each[i]) : ~std::uintptr_t{0};
  return rules;
}

void check_buffers(const BufferRules& rules, const moe_act_buffers& buffers) {
  const Pointers pointers(buffers);
  const Extents extents(rules, pointers);
  if (extents.are_usual() && !have_refused_bits(rules, pointers)) return;
  for (std::size_t i = 0; i < all_buffers; ++i) check_rule(rules.of_each[i], pointers[i]);
  extents.require_apart();
}

void check_workspace(const BufferRules& rules, std::int64_t workspace_bytes, const moe_act_buffers& buffers,
                     const void* workspace) {
  if (workspace_bytes == 0) return;
  const auto begin = reinterpret_cast<std::uintptr_t>(workspace);
  check_rule({"workspace", workspace_bytes, 16, true}, begin);
  const Extent own{"workspace", begin, begin + static_cast<std::uintptr_t>(workspace_bytes)};
  for (const Extent& extent : Extents(rules, Pointers(buffers))) require_apart(own, extent);
}

}  // namespace moe_act
