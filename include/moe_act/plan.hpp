// Part of moe_act/moe_act.hpp: how a problem runs, and the launch.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "moe_act/c_api.h"
#include "moe_act/error.hpp"
#include "moe_act/problem.hpp"

namespace moe_act {

// The pointers of one launch, on the problem's device. Null where the problem has no such argument.
struct Buffers {
  std::uint64_t struct_size = sizeof(moe_act_buffers);
  const void* x = nullptr;              // [rows, 2H], the input format
  const void* x_scale = nullptr;        // as its layout says, of 2H columns; e4m3 input only
  void* out = nullptr;                  // [rows, H], the output format
  void* out_scale = nullptr;            // as its layout says, of H columns; fp32 [rows] for row scaling
  const float* static_scale = nullptr;  // [1]; tensor scaling only
  const void* row_index = nullptr;      // int32 or int64, as the row kind says; rows_of_map: [entries]
  const std::int32_t* total_num_padded_tokens = nullptr;  // [1]; scale_strides_on_device only
  const void* row_count = nullptr;                        // [1], int32 or int64, as the row kind says
  const void* bias = nullptr;                             // [experts, columns of x]; bias_of
  const float* alpha = nullptr;                           // [experts]; alpha_per_expert
  const float* beta = nullptr;                            // likewise
  const float* limit = nullptr;                           // likewise
  const float* weight = nullptr;                          // [weights]; weigh_by
  const void* tile_to_expert = nullptr;                   // [tiles], int32 or int64; experts_of_tiles
  const void* permuted_to_expanded = nullptr;             // [rows], int32 or int64
  void* out_unquantized = nullptr;                        // [rows, H]; copy_unquantized
};

// A GPU, as far as planning is concerned; it need not be there.
struct DeviceInfo : moe_act_device_info {
  explicit DeviceInfo(const moe_act_device_info& info) : moe_act_device_info(info) {}
  DeviceInfo(std::int32_t sm_count, std::int32_t major, std::int32_t minor, std::int64_t l2_size)
      : moe_act_device_info{sizeof(moe_act_device_info), sm_count, major, minor, 0, l2_size} {}
};

// 0 without CUDA, driver or device.
inline std::int32_t cuda_device_count() {
  return moe_act_cuda_device_count();
}

inline DeviceInfo device_info(std::int32_t device_id) {
  auto info = detail::sized<moe_act_device_info>();
  detail::check(moe_act_device_query(device_id, &info));
  return DeviceInfo(info);
}

// Every way to run a CUDA problem, for a search over plans. Results do not depend on it.
using LaunchChoice = moe_act_launch_choice;
inline std::vector<LaunchChoice> launch_choices(const moe_act_problem& problem) {
  std::int64_t count = 0;
  detail::check(moe_act_launch_choice_count(&problem, &count));
  std::vector<LaunchChoice> choices(static_cast<std::size_t>(count), detail::sized<LaunchChoice>());
  for (std::int64_t i = 0; i < count; ++i)
    detail::check(moe_act_launch_choice_at(&problem, i, &choices[static_cast<std::size_t>(i)]));
  return choices;
}

// A validated problem with everything decided about running it. Made once, launched often, from any thread.
class Plan {
 public:
  // Asks the problem's own device, if that is a GPU.
  explicit Plan(const moe_act_problem& problem) : plan_(create(problem, nullptr)) {}
  // Asks nothing: plans for any GPU. On the CPU the device is not looked at.
  Plan(const moe_act_problem& problem, const DeviceInfo& device) : plan_(create(problem, &device)) {}
  // The same two with a choice in place of the planner's own.
  Plan(const moe_act_problem& problem, const LaunchChoice& choice) : plan_(create(problem, nullptr, &choice)) {}
  Plan(const moe_act_problem& problem, const DeviceInfo& device, const LaunchChoice& choice)
      : plan_(create(problem, &device, &choice)) {}

  // stream is a cudaStream_t of the problem's device, null on the CPU, where the result is complete on return.
  // workspace has [info().workspace_bytes], null if that is 0. Allocates nothing, queries nothing, waits for nothing.
  void launch(const Buffers& buffers, void* stream = nullptr, void* workspace = nullptr) const {
    const auto given = std::bit_cast<moe_act_buffers>(buffers);
    detail::check(moe_act_launch(get(), &given, workspace, stream));
  }
  // Looks at the data that launch must not look at, for what moe_act_validate lists. Waits for the stream.
  void validate(const Buffers& buffers, void* stream = nullptr) const {
    const auto given = std::bit_cast<moe_act_buffers>(buffers);
    detail::check(moe_act_validate(get(), &given, stream));
  }
  // Throws, naming what differs, unless buffers that this problem describes may be given to the plan.
  void require_accepts(const moe_act_problem& problem) const { detail::check(moe_act_plan_accepts(get(), &problem)); }

  moe_act_plan_info info() const {
    auto info = detail::sized<moe_act_plan_info>();
    detail::check(moe_act_plan_get_info(get(), &info));
    return info;
  }
  Problem problem() const {
    auto problem = detail::sized<moe_act_problem>();
    detail::check(moe_act_plan_get_problem(get(), &problem));
    return Problem(problem);
  }
  std::string text() const { return moe_act_plan_text(get()); }  // a few lines for people
  const moe_act_plan* get() const { return plan_.get(); }        // null once moved from

 private:
  struct Destroy {
    void operator()(moe_act_plan* plan) const { moe_act_plan_destroy(plan); }
  };
  static moe_act_plan* create(const moe_act_problem& problem, const moe_act_device_info* device,
                              const moe_act_launch_choice* choice = nullptr) {
    moe_act_plan* plan = nullptr;
    detail::check(choice == nullptr ? moe_act_plan_create(&problem, device, &plan)
                                    : moe_act_plan_create_chosen(&problem, device, choice, &plan));
    return plan;
  }

  std::unique_ptr<moe_act_plan, Destroy> plan_;
};

}  // namespace moe_act
