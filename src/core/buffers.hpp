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
  bool may_be_null;
};

// Of every pointer of moe_act_buffers, in an order of their own: inputs, then results.
inline constexpr std::size_t input_buffers = 13, result_buffers = 3;
using BufferRules = std::array<BufferRule, input_buffers + result_buffers>;

BufferRules buffer_rules(const Problem& problem);

// Throws Error if a pointer is missing, superfluous, misaligned against the promise, or overlaps a result.
void check_buffers(const BufferRules& rules, const moe_act_buffers& buffers);

// The same of the workspace, which no buffer may share.
void check_workspace(const BufferRules& rules, std::int64_t workspace_bytes, const moe_act_buffers& buffers,
                     const void* workspace);

}  // namespace moe_act
