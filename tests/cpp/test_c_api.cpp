// The C interface as its callers see it, through the shared library.
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include "check.hpp"
#include "moe_act/c_api.h"

namespace {

struct Plan {
  moe_act_plan* handle = nullptr;

  explicit Plan(const moe_act_problem& problem) {
    CHECK_EQUAL(moe_act_plan_create(&problem, nullptr, &handle), MOE_ACT_OK, moe_act_last_error());
  }
  ~Plan() { moe_act_plan_destroy(handle); }
  Plan(const Plan&) = delete;
  Plan& operator=(const Plan&) = delete;
};

moe_act_problem problem_of(moe_act_format x, moe_act_format out, std::int64_t rows, std::int64_t columns) {
  moe_act_problem problem;
  moe_act_problem_init(&problem, x, out, rows, columns);
  return problem;
}

void check_status(moe_act_status status, moe_act_status expected, const char* words) {
  CHECK_EQUAL(status, expected, moe_act_last_error());
  CHECK_CONTAINS(moe_act_last_error(), words);
}

moe_act_buffers buffers_of(const void* x, const void* x_scale, void* out, void* out_scale,
                           const std::int32_t* map = nullptr, const std::int32_t* total = nullptr) {
  moe_act_buffers buffers{};
  buffers.struct_size = sizeof(buffers);
  buffers.x = x;
  buffers.x_scale = x_scale;
  buffers.out = out;
  buffers.out_scale = out_scale;
  buffers.row_index = map;
  buffers.total_num_padded_tokens = total;
  return buffers;
}

// One fp32 row, up before gate, worked out by hand: sigmoid(32) is 1 in fp32 and sigmoid(-96) * 96 is 0, so that
// out = 32 * up, and zeros with the sign of gate * up. Its largest magnitude is 448: the scale is 1.
struct ByHand {
  alignas(16) float x[8] = {14, -7, 0.5, 3, /* gate */ 32, 32, 32, -96};
  alignas(16) std::uint8_t out[4] = {0xaa, 0xaa, 0xaa, 0xaa};
  float out_scale[1] = {-1};
  moe_act_problem problem = problem_of(MOE_ACT_FORMAT_FP32, MOE_ACT_FORMAT_E4M3, 1, 4);
  moe_act_buffers buffers = buffers_of(x, nullptr, out, out_scale);

  ByHand() { problem.out_alignment = 1; }
  void check_result() const {
    const std::uint8_t expected[4] = {0x7e, 0xf6, 0x58, 0x80};  // 448, -224, 16, -0
    for (int i = 0; i < 4; ++i) CHECK_EQUAL(out[i], expected[i], "column ", i);
    CHECK_EQUAL(out_scale[0], 1.0f);
  }
  void check_untouched() const {
    for (const std::uint8_t code : out) CHECK_EQUAL(code, 0xaa);
    CHECK_EQUAL(out_scale[0], -1.0f);
  }
};

TEST("version and build are stated") {
  CHECK_EQUAL(std::string(moe_act_version()),
              check::text(MOE_ACT_VERSION_MAJOR, ".", MOE_ACT_VERSION_MINOR, ".", MOE_ACT_VERSION_PATCH));
  CHECK_CONTAINS(moe_act_build_info(), "CUDA");
}

TEST("a row worked out by hand") {
  ByHand row;
  moe_act_plan_info info{};
  info.struct_size = sizeof(info);
  const Plan plan(row.problem);
  CHECK_EQUAL(moe_act_plan_get_info(plan.handle, &info), MOE_ACT_OK);
  CHECK_EQUAL(info.workspace_bytes, 0);
  CHECK_EQUAL(moe_act_validate(plan.handle, &row.buffers, nullptr), MOE_ACT_OK);
  CHECK_EQUAL(moe_act_launch(plan.handle, &row.buffers, nullptr, nullptr), MOE_ACT_OK, moe_act_last_error());
  row.check_result();
}

TEST("a map names the rows, nothing else is written, the scale stride comes from the buffers") {
  // e4m3 [3, 2 x 1], and a row past the end: 0x38 is 1, 0x40 is 2, 0x60 is 32. Up and gate share a scale.
  alignas(16) const std::uint8_t x[8] = {0x38, 0x60, 0x7f, 0x7f, 0x40, 0x60, 0x38, 0x60};
  const float x_scale[4] = {1, 1, 2, 1};
  alignas(16) float out[4] = {-1, -1, -1, -1};
  const std::int32_t map[7] = {-1, 2, 3, INT32_MAX, INT32_MIN, -2, 0};  // rows that there are not are skipped
  const std::int32_t total[1] = {3};
  moe_act_problem problem = problem_of(MOE_ACT_FORMAT_E4M3, MOE_ACT_FORMAT_FP32, 3, 1);
  problem.row_kind = MOE_ACT_ROWS_EXPANDED_TO_PERMUTED;
  problem.entries = 7;
  problem.x_scale_stride = MOE_ACT_STRIDE_ON_DEVICE;
  const moe_act_buffers buffers = buffers_of(x, x_scale, out, nullptr, map, total);
  const Plan plan(problem);
  CHECK_EQUAL(moe_act_launch(plan.handle, &buffers, nullptr, nullptr), MOE_ACT_OK, moe_act_last_error());
  CHECK_EQUAL(out[0], 32.0f);
  CHECK_EQUAL(out[1], -1.0f);   // no entry names it
  CHECK_EQUAL(out[2], 256.0f);  // (2 * 2) * (2 * 32)
  CHECK_EQUAL(out[3], -1.0f);
  check_status(moe_act_validate(plan.handle, &buffers, nullptr), MOE_ACT_INVALID_PROBLEM, "entry 2 is 3");
}

TEST("validate looks at the data") {
  alignas(16) const float x[6] = {};
  alignas(16) float out[3] = {};
  moe_act_problem problem = problem_of(MOE_ACT_FORMAT_FP32, MOE_ACT_FORMAT_FP32, 3, 1);
  problem.row_kind = MOE_ACT_ROWS_EXPANDED_TO_PERMUTED;
  problem.entries = 3;
  const Plan plan(problem);
  struct Case {
    std::int32_t map[3];
    const char* words;
  };
  for (const Case& c :
       {Case{{0, 3, -1}, "entry 1 is 3, expected -1 or a row below 3"}, Case{{-2, 0, 1}, "entry 0 is -2"},
        Case{{1, -1, 1}, "entry 2 is 1, a row that an earlier entry names already"}}) {
    const moe_act_buffers buffers = buffers_of(x, nullptr, out, nullptr, c.map);
    check_status(moe_act_validate(plan.handle, &buffers, nullptr), MOE_ACT_INVALID_PROBLEM, c.words);
    CHECK_CONTAINS(moe_act_last_error(), "expanded_idx_to_permuted_idx: ");
  }
}

TEST("null arguments and absurd sizes are errors, not crashes") {
  ByHand row;
  const Plan plan(row.problem);
  moe_act_plan* none = nullptr;
  check_status(moe_act_plan_create(nullptr, nullptr, &none), MOE_ACT_INVALID_PROBLEM, "problem: ");
  check_status(moe_act_plan_create(&row.problem, nullptr, nullptr), MOE_ACT_INVALID_PROBLEM, "plan: ");
  check_status(moe_act_plan_get_info(nullptr, nullptr), MOE_ACT_INVALID_PROBLEM, "plan: ");
  check_status(moe_act_plan_get_info(plan.handle, nullptr), MOE_ACT_INVALID_PROBLEM, "info: ");
  check_status(moe_act_plan_get_problem(plan.handle, nullptr), MOE_ACT_INVALID_PROBLEM, "problem: ");
  check_status(moe_act_plan_accepts(plan.handle, nullptr), MOE_ACT_INVALID_PROBLEM, "problem: ");
  check_status(moe_act_launch(nullptr, &row.buffers, nullptr, nullptr), MOE_ACT_INVALID_PROBLEM, "plan: ");
  check_status(moe_act_launch(plan.handle, nullptr, nullptr, nullptr), MOE_ACT_INVALID_PROBLEM, "buffers: ");
  check_status(moe_act_validate(plan.handle, nullptr, nullptr), MOE_ACT_INVALID_PROBLEM, "buffers: ");
  check_status(moe_act_describe(nullptr, nullptr, nullptr, nullptr), MOE_ACT_INVALID_PROBLEM,
               "expected a struct, got null");
  std::int32_t value = 0;
  check_status(moe_act_parse_option(nullptr, "off", &value), MOE_ACT_INVALID_PROBLEM, "option: ");
  check_status(moe_act_parse_option("pdl", nullptr, &value), MOE_ACT_INVALID_PROBLEM, "option: ");
  check_status(moe_act_parse_option("pdl", "off", nullptr), MOE_ACT_INVALID_PROBLEM, "option: ");
  CHECK(moe_act_option_name(nullptr, 1) == nullptr);
  CHECK_EQUAL(std::string(moe_act_plan_text(nullptr)), "");
  moe_act_plan_destroy(nullptr);
  check_status(moe_act_problem_init(nullptr, MOE_ACT_FORMAT_BF16, MOE_ACT_FORMAT_BF16, 1, 1), MOE_ACT_INVALID_PROBLEM,
               "problem: ");
  row.problem = problem_of(MOE_ACT_FORMAT_BF16, MOE_ACT_FORMAT_BF16, INT64_MAX, INT64_MAX);
  check_status(moe_act_plan_create(&row.problem, nullptr, &none), MOE_ACT_INVALID_PROBLEM, "columns: ");
  row.check_untouched();
}

TEST("the error text belongs to the thread") {
  std::int32_t value = 0;
  check_status(moe_act_parse_option("gate", "here", &value), MOE_ACT_INVALID_PROBLEM, "got 'here'");
  std::thread([&] {
    CHECK_EQUAL(std::string(moe_act_last_error()), "");
    std::int32_t other = 0;
    check_status(moe_act_parse_option("gate", "there", &other), MOE_ACT_INVALID_PROBLEM, "got 'there'");
  }).join();
  CHECK_CONTAINS(moe_act_last_error(), "got 'here'");
}

TEST("launch checks every pointer before anything is written") {
  struct Case {
    void (*mutate)(ByHand& row);
    const char* words;
  };
  const Case cases[] = {
      {[](ByHand& row) { row.buffers.x = nullptr; }, "x: expected data, got null"},
      {[](ByHand& row) { row.buffers.out = nullptr; }, "out: expected data, got null"},
      {[](ByHand& row) { row.buffers.out_scale = nullptr; }, "out_scale: expected data, got null"},
      {[](ByHand& row) { row.buffers.x_scale = row.x; }, "x_scale: the plan has no use for it"},
      {[](ByHand& row) { row.buffers.static_scale = row.x; }, "static_scale: the plan has no use for it"},
      {[](ByHand& row) { row.buffers.row_index = reinterpret_cast<std::int32_t*>(row.x); },
       "row_index: the plan has no use for it"},
      {[](ByHand& row) { row.buffers.total_num_padded_tokens = reinterpret_cast<std::int32_t*>(row.x); },
       "total_num_padded_tokens: the plan has no use for it"},
      {[](ByHand& row) { row.buffers.x = row.x + 1; }, "x: the plan was promised data aligned to 16 bytes"},
      {[](ByHand& row) { row.buffers.out_scale = reinterpret_cast<float*>(row.out + 1); },
       "out_scale: the plan was promised data aligned to 4 bytes"},
      {[](ByHand& row) { row.buffers.out = row.x + 7; }, "out: overlaps x"},
      {[](ByHand& row) { row.buffers.out_scale = row.x; }, "out_scale: overlaps x"},
      {[](ByHand& row) { row.buffers.out_scale = reinterpret_cast<float*>(row.out); }, "out: overlaps out_scale"},
  };
  for (const Case& c : cases) {
    ByHand row;
    const Plan plan(row.problem);
    c.mutate(row);
    check_status(moe_act_launch(plan.handle, &row.buffers, nullptr, nullptr), MOE_ACT_INVALID_PROBLEM, c.words);
    row.check_untouched();
  }
}

TEST("a plan accepts what it was made for, better alignment, and other values of what it does not read") {
  struct Case {
    void (*mutate)(moe_act_problem& problem);
    const char* words;  // null: accepted
  };
  const Case cases[] = {
      {[](auto&) {}, nullptr},
      {[](auto& p) { p.x_alignment = 16; }, nullptr},
      {[](auto& p) { p.expected_rows = 3; }, nullptr},
      {[](auto& p) {
         p.x_scale_stride = 0;
         p.x_scale_layout = 0;
       },
       nullptr},  // bf16 has no scales
      {[](auto& p) { p.x_alignment = 2; }, "x: the plan was promised data aligned to 4 bytes, got 2"},
      {[](auto& p) { p.out_alignment = 1; }, "out: the plan was promised"},
      {[](auto& p) { p.rows = 9; }, "x rows: the plan was made for 8, got 9"},
      {[](auto& p) { p.columns = 129; }, "x columns / 2: the plan was made for 128, got 129"},
      {[](auto& p) { p.x_format = MOE_ACT_FORMAT_FP16; }, "x_format: the plan was made for 'bf16', got 'fp16'"},
      {[](auto& p) { p.gate = MOE_ACT_GATE_FIRST_HALF; },
       "gate: the plan was made for 'second_half', got 'first_half'"},
      {[](auto& p) { p.out_scale_stride = 9; }, "out_scale stride: the plan was made for 8, got 9"},
      {[](auto& p) { p.device_type = MOE_ACT_DEVICE_CUDA; }, "device: the plan was made for 'cpu', got 'cuda'"},
  };
  moe_act_problem planned = problem_of(MOE_ACT_FORMAT_BF16, MOE_ACT_FORMAT_E4M3, 8, 128);
  planned.x_alignment = 4;
  const Plan plan(planned);
  for (const Case& c : cases) {
    moe_act_problem given = planned;
    c.mutate(given);
    const moe_act_status status = moe_act_plan_accepts(plan.handle, &given);
    if (c.words == nullptr)
      CHECK_EQUAL(status, MOE_ACT_OK, moe_act_last_error());
    else
      check_status(status, MOE_ACT_INVALID_PROBLEM, c.words);
  }
}

TEST("options have names") {
  std::int32_t value = 0;
  for (const char* option :
       {"format", "out_scaling", "x_scale_layout", "out_scale_layout", "gate", "activation", "padding", "pdl"}) {
    int names = 0;
    for (std::int32_t i = -1; i < 10; ++i) {
      const char* name = moe_act_option_name(option, i);
      if (name == nullptr) continue;
      ++names;
      CHECK_EQUAL(moe_act_parse_option(option, name, &value), MOE_ACT_OK);
      CHECK_EQUAL(value, i, option, " ", name);
    }
    CHECK(names > 0, option);
    check_status(moe_act_parse_option(option, "nonsense", &value), MOE_ACT_INVALID_PROBLEM, option);
  }
  check_status(moe_act_parse_option("pdl", "maybe", &value), MOE_ACT_INVALID_PROBLEM,
               "pdl: expected one of 'off', 'on', 'metadata_ready', got 'maybe'");
  check_status(moe_act_parse_option("colour", "red", &value), MOE_ACT_INVALID_PROBLEM, "there is no option 'colour'");
}

TEST("without a CUDA device there are none, and asking for one is an error") {
  if (moe_act_cuda_device_count() > 0) return;
  moe_act_device_info info{};
  info.struct_size = sizeof(info);
  CHECK(moe_act_device_query(0, &info) != MOE_ACT_OK);
  moe_act_plan* plan = nullptr;
  moe_act_problem problem = problem_of(MOE_ACT_FORMAT_BF16, MOE_ACT_FORMAT_E4M3, 1, 128);
  problem.device_type = MOE_ACT_DEVICE_CUDA;
  CHECK(moe_act_plan_create(&problem, nullptr, &plan) != MOE_ACT_OK);
  CHECK(plan == nullptr);
}

}  // namespace
