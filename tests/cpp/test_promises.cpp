// What a launch checks of its workspace: by addresses alone, so that no GPU is needed.
#include "core/promises.hpp"

#include <cstdint>
#include <string>
#include <utility>

#include "gpus.hpp"

namespace {

using namespace planned;

// A plan that marks rows, with every kind of input there is, and addresses that are never followed.
struct Launch {
  Plan plan = make_plan();
  moe_act_buffers buffers = make_buffers();

  static Plan make_plan() {
    moe_act_problem problem = with_map(problem_of(Format::e4m3, Format::e4m3, 147072, 2048), 131072);
    problem.x_scale_stride = problem.out_scale_stride = MOE_ACT_STRIDE_ON_DEVICE;
    problem.workspace_limit = std::int64_t{1} << 20;
    return Plan(Problem(problem), h100.info);
  }
  static moe_act_buffers make_buffers() {
    moe_act_buffers buffers{};
    buffers.struct_size = sizeof(buffers);
    buffers.x = address<void>(1);
    buffers.x_scale = address<float>(2);
    buffers.out = address<void>(3);
    buffers.out_scale = address<float>(4);
    buffers.row_index = address<std::int32_t>(5);
    buffers.total_num_padded_tokens = address<std::int32_t>(6);
    return buffers;
  }
  // Regions 4 GiB apart.
  template <typename Type>
  static Type* address(std::uintptr_t region, std::intptr_t offset = 0) {
    return reinterpret_cast<Type*>((region << 32) + static_cast<std::uintptr_t>(offset));
  }
  // What checking says, "" if nothing.
  std::string refusal(const void* workspace) const {
    try {
      check_buffers(plan.buffer_rules(), buffers);
      check_workspace(plan.buffer_rules(), plan.cuda().workspace_bytes, buffers, workspace);
      return "";
    } catch (const Error& error) {
      return error.what();
    }
  }
};

TEST("a workspace of its own, aligned, is accepted") {
  const Launch launch;
  CHECK_EQUAL(launch.plan.cuda().workspace_bytes, 16 + 4 * 147072);
  CHECK_EQUAL(launch.refusal(Launch::address<void>(7)), std::string());
}

TEST("a workspace that is missing or misaligned is refused") {
  const Launch launch;
  CHECK_EQUAL(launch.refusal(nullptr), std::string("workspace: expected data, got null"));
  CHECK_CONTAINS(launch.refusal(Launch::address<void>(7, 8)),
                 "workspace: the plan was promised data aligned to 16 bytes, got address ...8 modulo 16");
}

TEST("a workspace that shares memory with any buffer is refused") {
  const Launch launch;
  const std::pair<const char*, const void*> all[] = {
      {"x", launch.buffers.x},
      {"x_scale", launch.buffers.x_scale},
      {"out", launch.buffers.out},
      {"out_scale", launch.buffers.out_scale},
      {"expanded_idx_to_permuted_idx", launch.buffers.row_index},
      {"total_num_padded_tokens", launch.buffers.total_num_padded_tokens},
  };
  for (const auto& [name, data] : all) {
    const auto begin = static_cast<const char*>(data);
    const std::string expected = std::string("workspace: overlaps ") + name + ", expected memory of its own";
    CHECK_EQUAL(launch.refusal(begin), expected, name);
    CHECK_EQUAL(launch.refusal(begin - launch.plan.cuda().workspace_bytes + 16), expected, name);
    CHECK_EQUAL(launch.refusal(begin - launch.plan.cuda().workspace_bytes), std::string(), name);
  }
}

TEST("a static scale is no place for a workspace either") {
  moe_act_problem problem = with_map(problem_of(Format::bf16, Format::e4m3, 147072, 2048), 131072);
  problem.out_scaling = MOE_ACT_SCALING_TENSOR;
  problem.workspace_limit = std::int64_t{1} << 20;
  Launch launch{Plan(Problem(problem), h100.info)};
  launch.buffers.x_scale = nullptr;
  launch.buffers.out_scale = nullptr;
  launch.buffers.total_num_padded_tokens = nullptr;
  launch.buffers.static_scale = Launch::address<float>(8);
  CHECK_EQUAL(launch.refusal(Launch::address<void>(8)),
              std::string("workspace: overlaps static_scale, expected memory of its own"));
}

}  // namespace
