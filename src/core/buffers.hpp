// What a launch may rely on: that its pointers are what the plan's problem said they would be. All that is known before
// the pointers is worked out once, when the plan is made: O(1) checks.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "core/problem.hpp"

namespace moe_act {

// What a problem says of a launch's pointer.
struct BufferRule {
  const char* name;
  std::int64_t bytes;
  std::int64_t alignment;  // a power of two
  bool needed;
  bool may_be_null = false;
  bool is_result = false;
};

inline constexpr std::size_t all_buffers = 16;

// Memory that a launch reads or writes where the pointer of this rule is not null.
struct UsedBuffer {
  std::size_t rule;
  std::int64_t bytes;
  const char* name;
};

struct BufferRules {
  std::array<BufferRule, all_buffers> of_each;  // in the order of moe_act_buffers
  // What the usual launch, which breaks none of them, is told by.
  std::array<std::uintptr_t, all_buffers> refused_bits;  // of each address: all of them where it must be null
  std::array<UsedBuffer, all_buffers> used;              // inputs, then results
  std::size_t used_inputs, used_buffers;
};

BufferRules buffer_rules(const Problem& problem);

// Throws Error if a pointer is missing, superfluous, misaligned against the promise, or overlaps a result.
[[gnu::hot]] void check_buffers(const BufferRules& rules, const moe_act_buffers& buffers);

// The same of the workspace, which no buffer may share.
[[gnu::hot]] void check_workspace(const BufferRules& rules, std::int64_t workspace_bytes,
                                  const moe_act_buffers& buffers, const void* workspace);

}  // namespace moe_act
