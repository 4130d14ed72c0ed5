// A good problem, and tables of mutations that make it one to be refused; included once by a test's only source file.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>

#include "check.hpp"
#include "core/error.hpp"
#include "core/problem.hpp"

namespace refused {

using moe_act::Error;
using moe_act::Problem;

// e4m3 [4, 2 x 192] -> e4m3, block scaled; 192 makes the second half begin inside a block.
inline moe_act_problem good_problem() {
  moe_act_problem problem;
  moe_act_problem_init(&problem, MOE_ACT_FORMAT_E4M3, MOE_ACT_FORMAT_E4M3, 4, 192);
  return problem;
}

struct Refusal {
  void (*mutate)(moe_act_problem& problem);
  moe_act_status status;
  std::initializer_list<const char*> words;
};

inline constexpr moe_act_status invalid = MOE_ACT_INVALID_PROBLEM;
inline constexpr moe_act_status unsupported = MOE_ACT_UNSUPPORTED;
inline constexpr std::int64_t huge = std::int64_t{1} << 55;

inline void plain(moe_act_problem& problem, std::int32_t format) {
  problem.out_format = format;
  problem.out_scaling = MOE_ACT_SCALING_NONE;
}

inline void check_refused(std::span<const Refusal> refusals) {
  int index = 0;
  for (const Refusal& refusal : refusals) {
    moe_act_problem problem = good_problem();
    refusal.mutate(problem);
    const char* first_words = *refusal.words.begin();
    try {
      const Problem accepted(problem);
      CHECK(false, "refusal ", index, " accepted, expected words ", first_words);
    } catch (const Error& error) {
      CHECK_EQUAL(error.status(), refusal.status, error.what());
      for (const char* words : refusal.words) CHECK_CONTAINS(error.what(), words, "refusal ", index);
      CHECK(std::string(error.what()).find('\n') == std::string::npos, error.what());
    }
    ++index;
  }
}

}  // namespace refused
