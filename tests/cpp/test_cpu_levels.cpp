// Bits do not depend on the instruction set, nor on how many rows a launch has.
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "check.hpp"
#include "moe_act/c_api.h"

namespace {

constexpr std::int64_t rows = 160;     // enough outputs for several threads
constexpr std::int64_t columns = 300;  // two blocks and a part, the gate beginning inside a block
constexpr std::int64_t in_blocks = 5;
constexpr std::int64_t out_blocks = 3;

struct Operation {
  const char* name;
  moe_act_format x_format;
  int x_bytes;
  moe_act_format out_format;
  int out_bytes;
  moe_act_scaling scaling;
};

constexpr Operation operations[] = {
    {"e4m3 -> e4m3, block", MOE_ACT_FORMAT_E4M3, 1, MOE_ACT_FORMAT_E4M3, 1, MOE_ACT_SCALING_BLOCK},
    {"bf16 -> e4m3, block", MOE_ACT_FORMAT_BF16, 2, MOE_ACT_FORMAT_E4M3, 1, MOE_ACT_SCALING_BLOCK},
    {"fp16 -> e4m3, tensor", MOE_ACT_FORMAT_FP16, 2, MOE_ACT_FORMAT_E4M3, 1, MOE_ACT_SCALING_TENSOR},
    {"fp32 -> e4m3, block", MOE_ACT_FORMAT_FP32, 4, MOE_ACT_FORMAT_E4M3, 1, MOE_ACT_SCALING_BLOCK},
    {"e4m3 -> bf16", MOE_ACT_FORMAT_E4M3, 1, MOE_ACT_FORMAT_BF16, 2, MOE_ACT_SCALING_NONE},
    {"bf16 -> fp16", MOE_ACT_FORMAT_BF16, 2, MOE_ACT_FORMAT_FP16, 2, MOE_ACT_SCALING_NONE},
    {"fp16 -> fp32", MOE_ACT_FORMAT_FP16, 2, MOE_ACT_FORMAT_FP32, 4, MOE_ACT_SCALING_NONE},
    {"fp32 -> fp32", MOE_ACT_FORMAT_FP32, 4, MOE_ACT_FORMAT_FP32, 4, MOE_ACT_SCALING_NONE},
};

struct Input {
  std::vector<std::uint8_t> x;  // all bit patterns alike: NaN, infinities and subnormals among them
  std::vector<float> x_scale;   // [rows, in_blocks]
  float static_scale = 0.037f;

  explicit Input(const Operation& operation) {
    std::mt19937 random(7);
    x.resize(static_cast<std::size_t>(rows * 2 * columns * operation.x_bytes));
    // Ordinary values in the first half of the rows: every second byte, the one with the exponent, is near 1's.
    const std::size_t ordinary = operation.x_bytes == 1 ? 0 : x.size() / 2;
    for (std::size_t i = 0; i < x.size(); ++i) {
      x[i] = static_cast<std::uint8_t>(random());
      const bool topmost = (i + 1) % static_cast<std::size_t>(operation.x_bytes) == 0;
      if (i < ordinary && topmost) x[i] = static_cast<std::uint8_t>(0x3e + random() % 4 + (random() % 2) * 0x80);
    }
    for (std::int64_t i = 0; i < rows * in_blocks; ++i)
      x_scale.push_back(1.0f + static_cast<float>(random() % 1000) / 97.0f);
  }
};

struct Output {
  std::vector<std::uint8_t> out;
  std::vector<float> out_scale;
};

// `rows_per_launch` rows at a time.
Output run(const Operation& operation, const Input& input, std::int64_t rows_per_launch) {
  Output output;
  output.out.resize(static_cast<std::size_t>(rows * columns * operation.out_bytes));
  output.out_scale.resize(static_cast<std::size_t>(rows * out_blocks));
  for (std::int64_t row = 0; row < rows; row += rows_per_launch) {
    moe_act_problem problem;
    moe_act_problem_init(&problem, operation.x_format, operation.out_format, rows_per_launch, columns);
    problem.out_scaling = operation.scaling;
    problem.x_scale_layout = problem.out_scale_layout = MOE_ACT_SCALE_LAYOUT_ROW_MAJOR;
    problem.x_scale_stride = in_blocks;
    problem.out_scale_stride = out_blocks;
    problem.x_alignment = operation.x_bytes;
    problem.out_alignment = operation.out_bytes;
    moe_act_buffers buffers = {};
    buffers.struct_size = sizeof(buffers);
    buffers.x = input.x.data() + row * 2 * columns * operation.x_bytes;
    buffers.out = output.out.data() + row * columns * operation.out_bytes;
    if (operation.x_format == MOE_ACT_FORMAT_E4M3) buffers.x_scale = input.x_scale.data() + row * in_blocks;
    if (operation.scaling == MOE_ACT_SCALING_BLOCK) buffers.out_scale = output.out_scale.data() + row * out_blocks;
    if (operation.scaling == MOE_ACT_SCALING_TENSOR) buffers.static_scale = &input.static_scale;
    moe_act_plan* plan = nullptr;
    CHECK_EQUAL(moe_act_plan_create(&problem, nullptr, &plan), MOE_ACT_OK, moe_act_last_error());
    CHECK_EQUAL(moe_act_launch(plan, &buffers, nullptr, nullptr), MOE_ACT_OK, moe_act_last_error());
    moe_act_plan_destroy(plan);
  }
  return output;
}

void check_same(const Output& output, const Output& expected, const std::string& name) {
  CHECK(output.out == expected.out, name);
  CHECK_EQUAL(
      std::memcmp(output.out_scale.data(), expected.out_scale.data(), expected.out_scale.size() * sizeof(float)), 0,
      name);
}

TEST("every CPU level gives the same bytes, for all rows at once and row by row") {
  for (const Operation& operation : operations) {
    const Input input(operation);
    CHECK_EQUAL(moe_act_set_cpu_level("baseline"), MOE_ACT_OK, moe_act_last_error());
    const Output expected = run(operation, input, rows);
    for (const char* level : {"baseline", "x86-64-v3", "x86-64-v4"}) {
      if (moe_act_set_cpu_level(level) != MOE_ACT_OK) continue;  // not on this machine
      CHECK_EQUAL(std::string(moe_act_get_cpu_level()), level);
      check_same(run(operation, input, rows), expected, check::text(operation.name, ", ", level));
      check_same(run(operation, input, 1), expected, check::text(operation.name, ", ", level, ", row by row"));
    }
  }
  CHECK_EQUAL(moe_act_set_cpu_level(nullptr), MOE_ACT_OK);
}

TEST("CPU levels are known by name") {
  const std::string best = moe_act_get_cpu_level();
  CHECK_EQUAL(moe_act_set_cpu_level("sse9"), MOE_ACT_INVALID_PROBLEM);
  CHECK_CONTAINS(moe_act_last_error(), "level: expected one of 'baseline'");
  CHECK_CONTAINS(moe_act_last_error(), "got 'sse9'");
  CHECK_EQUAL(std::string(moe_act_get_cpu_level()), best);
}

}  // namespace
