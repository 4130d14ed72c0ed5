// Callers that were compiled against the first header: their shorter structs, and sizes that no struct ever had.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

#include "check.hpp"
#include "first_version.hpp"
#include "moe_act/c_api.h"

namespace {

static_assert(offsetof(moe_act_problem, workspace_limit) == offsetof(first::Problem, workspace_limit));
static_assert(offsetof(moe_act_buffers, total_num_padded_tokens) == offsetof(first::Buffers, total_num_padded_tokens));
static_assert(offsetof(moe_act_device_info, l2_bytes) == offsetof(first::DeviceInfo, l2_bytes));
static_assert(offsetof(moe_act_launch_choice, reserved) == offsetof(first::LaunchChoice, reserved));
static_assert(offsetof(moe_act_plan_info, workspace_bytes) == offsetof(first::PlanInfo, workspace_bytes));
static_assert(offsetof(moe_act_options, workspace_limit) == offsetof(first::Options, workspace_limit));
static_assert(offsetof(moe_act_tensors, total_num_padded_tokens) == offsetof(first::Tensors, total_num_padded_tokens));
static_assert(sizeof(moe_act_tensor) == sizeof(first::Tensor));
static_assert(offsetof(moe_act_tensor, flags) == offsetof(first::Tensor, flags));

// A struct with memory behind it that is not the library's to touch.
template <typename Struct>
struct Guarded {
  Struct value{};
  std::uint8_t behind[256];

  Guarded() {
    std::memset(behind, 0x55, sizeof(behind));
    value.struct_size = sizeof(Struct);
  }
  template <typename Now>
  Now* as() {
    return reinterpret_cast<Now*>(&value);
  }
  void check_untouched() const {
    for (const std::uint8_t byte : behind) CHECK_EQUAL(byte, 0x55);
  }
};

// One fp32 row, up before gate: sigmoid(32) is 1 in fp32, so that out = 32 * up and the largest magnitude 448.
struct Row {
  alignas(16) float x[8] = {14, -7, 0.5, 3, /* gate */ 32, 32, 32, 32};
  alignas(16) std::uint8_t out[4] = {0xaa, 0xaa, 0xaa, 0xaa};
  float out_scale[1] = {-1};

  void check_result() const {
    const std::uint8_t expected[4] = {0x7e, 0xf6, 0x58, 0x6c};  // 448, -224, 16, 96
    for (int i = 0; i < 4; ++i) CHECK_EQUAL(out[i], expected[i], "column ", i);
    CHECK_EQUAL(out_scale[0], 1.0f);
  }
};

moe_act_tensor tensor_of(void* data, std::uint8_t dtype_code, std::uint8_t bits, const std::int64_t* shape,
                         std::int32_t ndim) {
  return {data, MOE_ACT_DEVICE_CPU, 0, dtype_code, bits, 1, ndim, shape, nullptr, 0};
}

Guarded<first::Problem> first_problem() {
  Guarded<first::Problem> problem;
  CHECK_EQUAL(moe_act_problem_init_sized(problem.as<moe_act_problem>(), sizeof(first::Problem), MOE_ACT_FORMAT_FP32,
                                         MOE_ACT_FORMAT_E4M3, 1, 4),
              MOE_ACT_OK, moe_act_last_error());
  return problem;
}

TEST("a caller of the first version goes from a problem to a result") {
  Row row;
  auto problem = first_problem();
  problem.check_untouched();
  CHECK_EQUAL(problem.value.struct_size, sizeof(first::Problem));
  CHECK_EQUAL(problem.value.x_format, MOE_ACT_FORMAT_FP32);
  CHECK_EQUAL(problem.value.out_format, MOE_ACT_FORMAT_E4M3);
  CHECK_EQUAL(problem.value.rows, 1);
  CHECK_EQUAL(problem.value.columns, 4);
  CHECK_EQUAL(problem.value.expected_rows, -1);
  CHECK_EQUAL(problem.value.x_row_stride, 8);
  CHECK_EQUAL(problem.value.out_row_stride, 4);
  CHECK_EQUAL(problem.value.x_alignment, 16);

  moe_act_plan* plan = nullptr;
  CHECK_EQUAL(moe_act_plan_create(problem.as<moe_act_problem>(), nullptr, &plan), MOE_ACT_OK, moe_act_last_error());
  CHECK_EQUAL(moe_act_plan_accepts(plan, problem.as<moe_act_problem>()), MOE_ACT_OK, moe_act_last_error());
  Guarded<first::PlanInfo> info;
  CHECK_EQUAL(moe_act_plan_get_info(plan, info.as<moe_act_plan_info>()), MOE_ACT_OK, moe_act_last_error());
  CHECK_EQUAL(info.value.struct_size, sizeof(first::PlanInfo));
  info.check_untouched();
  Guarded<first::Problem> planned;
  CHECK_EQUAL(moe_act_plan_get_problem(plan, planned.as<moe_act_problem>()), MOE_ACT_OK, moe_act_last_error());
  CHECK_EQUAL(std::memcmp(&planned.value, &problem.value, sizeof(first::Problem)), 0);
  planned.check_untouched();

  Guarded<first::Buffers> buffers;  // what lies behind it is no pointer of this caller's
  buffers.value.x = row.x;
  buffers.value.out = row.out;
  buffers.value.out_scale = row.out_scale;
  CHECK_EQUAL(moe_act_validate(plan, buffers.as<moe_act_buffers>(), nullptr), MOE_ACT_OK, moe_act_last_error());
  CHECK_EQUAL(moe_act_launch(plan, buffers.as<moe_act_buffers>(), nullptr, nullptr), MOE_ACT_OK, moe_act_last_error());
  row.check_result();
  moe_act_plan_destroy(plan);
}

TEST("a caller of the first version describes tensors") {
  Row row;
  std::int32_t map[2] = {0, -1};
  const std::int64_t x_shape[2] = {1, 8}, out_shape[2] = {1, 4}, scale_shape[2] = {1, 1}, map_shape[1] = {2};
  const moe_act_tensor x = tensor_of(row.x, 2, 32, x_shape, 2), out = tensor_of(row.out, 10, 8, out_shape, 2);
  const moe_act_tensor scale = tensor_of(row.out_scale, 2, 32, scale_shape, 2);
  const moe_act_tensor index = tensor_of(map, 0, 32, map_shape, 1);
  Guarded<first::Tensors> tensors;
  tensors.value.x = &x;
  tensors.value.out = &out;
  tensors.value.out_scale = &scale;
  tensors.value.expanded_idx_to_permuted_idx = &index;
  Guarded<first::Options> options;
  options.value.has_expected_rows = 1;
  options.value.expected_rows = 1;
  Guarded<first::Problem> problem;
  Guarded<first::Buffers> buffers;
  const auto describe = [&] {
    return moe_act_describe(tensors.as<moe_act_tensors>(), options.as<moe_act_options>(), problem.as<moe_act_problem>(),
                            buffers.as<moe_act_buffers>());
  };
  CHECK_EQUAL(describe(), MOE_ACT_OK, moe_act_last_error());
  problem.check_untouched();
  buffers.check_untouched();
  CHECK_EQUAL(problem.value.expanded_rows, 2);
  CHECK_EQUAL(problem.value.expected_rows, 1);
  CHECK(buffers.value.expanded_idx_to_permuted_idx == map);

  moe_act_plan* plan = nullptr;
  CHECK_EQUAL(moe_act_plan_create(problem.as<moe_act_problem>(), nullptr, &plan), MOE_ACT_OK, moe_act_last_error());
  CHECK_EQUAL(moe_act_launch(plan, buffers.as<moe_act_buffers>(), nullptr, nullptr), MOE_ACT_OK, moe_act_last_error());
  row.check_result();
  moe_act_plan_destroy(plan);

  // An int64 map: its width has no place in the first problem, without which it would be read as int32.
  std::int64_t wide_map[2] = {0, -1};
  const moe_act_tensor wide_index = tensor_of(wide_map, 0, 64, map_shape, 1);
  tensors.value.expanded_idx_to_permuted_idx = &wide_index;
  const first::Problem before = problem.value;
  CHECK_EQUAL(describe(), MOE_ACT_INVALID_PROBLEM);
  CHECK_CONTAINS(moe_act_last_error(), "problem: a struct of 136 bytes cannot hold what this call asks for");
  CHECK_EQUAL(std::memcmp(&problem.value, &before, sizeof(before)), 0);
}

TEST("a problem that a first struct cannot hold is not handed out in one") {
  void (*const fills_later_fields[])(moe_act_problem&) = {
      [](moe_act_problem& problem) { problem.out_block = 32; },
      [](moe_act_problem& problem) {
        problem.alpha_from = MOE_ACT_PARAMETER_SCALAR;
        problem.alpha = 1.702f;
      },
      [](moe_act_problem& problem) { problem.preset = MOE_ACT_PRESET_DEEPGEMM; },
  };
  for (const auto fill : fills_later_fields) {
    moe_act_problem problem;
    CHECK_EQUAL(moe_act_problem_init(&problem, MOE_ACT_FORMAT_FP32, MOE_ACT_FORMAT_E4M3, 1, 4), MOE_ACT_OK);
    fill(problem);
    moe_act_plan* plan = nullptr;
    CHECK_EQUAL(moe_act_plan_create(&problem, nullptr, &plan), MOE_ACT_OK, moe_act_last_error());
    Guarded<first::Problem> planned;
    CHECK_EQUAL(moe_act_plan_get_problem(plan, planned.as<moe_act_problem>()), MOE_ACT_INVALID_PROBLEM);
    CHECK_CONTAINS(moe_act_last_error(), "problem: a struct of 136 bytes cannot hold");
    planned.check_untouched();
    moe_act_plan_destroy(plan);
  }
}

TEST("a caller of the first version plans for a GPU and chooses a launch") {
  auto problem = first_problem();
  problem.value.device_type = MOE_ACT_DEVICE_CUDA;
  Guarded<first::DeviceInfo> device;
  device.value.multiprocessors = 132;
  device.value.compute_capability_major = 9;
  device.value.memory_gigabytes_per_second = 3350;
  device.value.l2_bytes = 50 << 20;
  Guarded<first::LaunchChoice> choice;
  CHECK_EQUAL(moe_act_launch_choice_at(problem.as<moe_act_problem>(), 0, choice.as<moe_act_launch_choice>()),
              MOE_ACT_OK, moe_act_last_error());
  choice.check_untouched();
  moe_act_plan* plan = nullptr;
  CHECK_EQUAL(moe_act_plan_create_chosen(problem.as<moe_act_problem>(), device.as<moe_act_device_info>(),
                                         choice.as<moe_act_launch_choice>(), &plan),
              MOE_ACT_OK, moe_act_last_error());
  Guarded<first::PlanInfo> info;
  CHECK_EQUAL(moe_act_plan_get_info(plan, info.as<moe_act_plan_info>()), MOE_ACT_OK, moe_act_last_error());
  CHECK_EQUAL(info.value.schedule, choice.value.schedule);
  CHECK_EQUAL(info.value.columns_per_lane, choice.value.columns_per_lane);
  moe_act_plan_destroy(plan);
}

// Everything that a call may be given, so that each struct in turn can say a size.
struct Call {
  Row row;
  std::int64_t shape[2] = {1, 8};
  moe_act_tensor x = tensor_of(row.x, 2, 32, shape, 2);
  moe_act_tensors tensors{};
  moe_act_options options{};
  moe_act_problem problem{};
  moe_act_problem cuda_problem{};
  moe_act_buffers buffers{};
  moe_act_device_info device{};
  moe_act_launch_choice choice{};
  moe_act_plan_info info{};
  moe_act_plan* plan = nullptr;
  moe_act_plan* other_plan = nullptr;

  Call() {
    tensors.struct_size = sizeof(tensors);
    tensors.x = &x;
    options.struct_size = sizeof(options);
    moe_act_problem_init(&problem, MOE_ACT_FORMAT_FP32, MOE_ACT_FORMAT_E4M3, 1, 4);
    cuda_problem = problem;
    cuda_problem.device_type = MOE_ACT_DEVICE_CUDA;
    buffers.struct_size = sizeof(buffers);
    buffers.x = row.x;
    buffers.out = row.out;
    buffers.out_scale = row.out_scale;
    device = {sizeof(device), 132, 9, 0, 3350, 50 << 20};
    choice.struct_size = sizeof(choice);
    moe_act_launch_choice_at(&cuda_problem, 0, &choice);
    CHECK_EQUAL(moe_act_plan_create(&problem, nullptr, &plan), MOE_ACT_OK, moe_act_last_error());
  }
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;
  ~Call() {
    moe_act_plan_destroy(plan);
    moe_act_plan_destroy(other_plan);
  }
  moe_act_status describe() { return moe_act_describe(&tensors, &options, &problem, &buffers); }
};

TEST("sizes of a struct's first version up to today's are taken, no others") {
  struct Case {
    const char* argument;
    std::size_t first, now;
    moe_act_status (*given)(Call& call, std::uint64_t size);
  };
  const Case cases[] = {
      {"problem", sizeof(first::Problem), sizeof(moe_act_problem),
       [](Call& call, std::uint64_t size) {
         call.problem.struct_size = size;
         return moe_act_plan_create(&call.problem, nullptr, &call.other_plan);
       }},
      {"problem", sizeof(first::Problem), sizeof(moe_act_problem),
       [](Call& call, std::uint64_t size) {
         return moe_act_problem_init_sized(&call.problem, size, MOE_ACT_FORMAT_FP32, MOE_ACT_FORMAT_E4M3, 1, 4);
       }},
      {"problem", sizeof(first::Problem), sizeof(moe_act_problem),
       [](Call& call, std::uint64_t size) {
         call.problem.struct_size = size;
         return call.describe();
       }},
      {"buffers", sizeof(first::Buffers), sizeof(moe_act_buffers),
       [](Call& call, std::uint64_t size) {
         call.buffers.struct_size = size;
         return moe_act_launch(call.plan, &call.buffers, nullptr, nullptr);
       }},
      {"buffers", sizeof(first::Buffers), sizeof(moe_act_buffers),
       [](Call& call, std::uint64_t size) {
         call.buffers.struct_size = size;
         return call.describe();
       }},
      {"tensors", sizeof(first::Tensors), sizeof(moe_act_tensors),
       [](Call& call, std::uint64_t size) {
         call.tensors.struct_size = size;
         return call.describe();
       }},
      {"options", sizeof(first::Options), sizeof(moe_act_options),
       [](Call& call, std::uint64_t size) {
         call.options.struct_size = size;
         return call.describe();
       }},
      {"info", sizeof(first::PlanInfo), sizeof(moe_act_plan_info),
       [](Call& call, std::uint64_t size) {
         call.info.struct_size = size;
         return moe_act_plan_get_info(call.plan, &call.info);
       }},
      {"device", sizeof(first::DeviceInfo), sizeof(moe_act_device_info),
       [](Call& call, std::uint64_t size) {
         call.device.struct_size = size;
         return moe_act_plan_create(&call.cuda_problem, &call.device, &call.other_plan);
       }},
      {"choice", sizeof(first::LaunchChoice), sizeof(moe_act_launch_choice),
       [](Call& call, std::uint64_t size) {
         call.choice.struct_size = size;
         return moe_act_plan_create_chosen(&call.cuda_problem, &call.device, &call.choice, &call.other_plan);
       }},
  };
  for (const Case& c : cases) {
    for (std::uint64_t size = c.first; size <= c.now; size += 8) {  // fields of 4 bytes come in pairs
      Call call;
      CHECK_EQUAL(c.given(call, size), MOE_ACT_OK, c.argument, " of ", size, ": ", moe_act_last_error());
    }
    const std::uint64_t absurd[] = {0, 1, 7, 8, c.first - 8, c.first - 1, c.now + 1, c.now + 8, 1u << 31, UINT64_MAX};
    for (const std::uint64_t size : absurd) {
      Call call;
      CHECK_EQUAL(c.given(call, size), MOE_ACT_INVALID_PROBLEM, c.argument, " of ", size);
      CHECK_CONTAINS(moe_act_last_error(), std::string(c.argument) + ": struct_size is " + std::to_string(size) + ", ");
      CHECK(call.other_plan == nullptr);
      CHECK_EQUAL(call.row.out[0], 0xaa);
      CHECK_EQUAL(call.row.out_scale[0], -1.0f);
    }
  }
}

TEST("fields behind a caller's struct are not read") {
  Call call;
  call.buffers.struct_size = sizeof(first::Buffers);
  call.buffers.row_count = call.row.x;  // would be refused: these rows have no count
  CHECK_EQUAL(moe_act_launch(call.plan, &call.buffers, nullptr, nullptr), MOE_ACT_OK, moe_act_last_error());
  call.row.check_result();
  call.problem.struct_size = sizeof(first::Problem);
  call.problem.out_block = 7;
  CHECK_EQUAL(moe_act_plan_create(&call.problem, nullptr, &call.other_plan), MOE_ACT_OK, moe_act_last_error());
}

}  // namespace
