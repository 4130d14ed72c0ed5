// The C interface: exceptions become a status and a line of text, and problems become plans. No decision is made here.
#include "moe_act/c_api.h"

#include <cstdio>
#include <exception>
#include <mutex>
#include <new>
#include <string>
#include <vector>

#include "core/backend.hpp"
#include "core/describe.hpp"
#include "core/error.hpp"
#include "core/options.hpp"
#include "core/plan.hpp"
#include "core/promises.hpp"
#include "core/sized_structs.hpp"
#include "core/tensor_view.hpp"
#include "core/text.hpp"
#include "core/validate.hpp"

struct moe_act_plan {
  moe_act::Plan plan;
  // Written when it is first asked for: most plans are only launched.
  mutable std::mutex text_mutex = {};
  mutable std::string text = {};
};

namespace {

using namespace moe_act;

// Fixed storage: reporting a failure must not be able to fail.
thread_local char last_error[1024] = "";

moe_act_status remember(moe_act_status status, const char* line) {
  std::snprintf(last_error, sizeof(last_error), "%s", line);
  return status;
}

template <typename Body>
[[gnu::hot]] moe_act_status guarded(Body body) noexcept {
  try {
    body();
    return MOE_ACT_OK;
  } catch (const Error& error) {
    return remember(error.status(), error.what());
  } catch (const std::bad_alloc&) {
    return remember(MOE_ACT_INTERNAL_ERROR, "out of host memory");
  } catch (const std::exception& error) {
    return remember(MOE_ACT_INTERNAL_ERROR, error.what());
  } catch (...) {
    return remember(MOE_ACT_INTERNAL_ERROR, "an exception of unknown type");
  }
}

const Plan& plan_of(const moe_act_plan* plan) {
  if (plan == nullptr) invalid("plan", "expected a plan, got null");
  return plan->plan;
}

// The caller's, or in `room` what that is for this library.
const moe_act_buffers& checked_buffers(const Plan& plan, const moe_act_buffers* given, moe_act_buffers& room) {
  const moe_act_buffers& buffers = accept_in_place("buffers", given, room);
  check_buffers(plan.buffer_rules(), buffers);
  return buffers;
}

// An unknown format is reported when the plan is made.
std::int32_t contiguous_alignment(std::int32_t format, std::int64_t row_stride) {
  if (option_name("format", format) == nullptr) return 1;
  return alignment_bytes(nullptr, row_stride, bytes_per_element(static_cast<Format>(format)));
}

moe_act_problem contiguous_problem(std::int32_t x_format, std::int32_t out_format, std::int64_t rows,
                                   std::int64_t columns) {
  moe_act_problem problem{};
  problem.device_type = MOE_ACT_DEVICE_CPU;
  problem.x_format = x_format;
  problem.x_scale_layout = MOE_ACT_SCALE_LAYOUT_COLUMN_MAJOR;
  problem.out_format = out_format;
  const bool scaled = out_format == MOE_ACT_FORMAT_E4M3 || out_format == MOE_ACT_FORMAT_E5M2;
  problem.out_scaling = scaled ? MOE_ACT_SCALING_BLOCK : MOE_ACT_SCALING_NONE;
  problem.out_scale_layout = MOE_ACT_SCALE_LAYOUT_COLUMN_MAJOR;
  problem.activation = MOE_ACT_ACTIVATION_SWIGLU;
  problem.gate = MOE_ACT_GATE_SECOND_HALF;
  problem.row_kind = MOE_ACT_ROWS_DENSE;
  problem.padding = MOE_ACT_PADDING_SKIP;
  problem.pdl = MOE_ACT_PDL_OFF;
  problem.rows = rows;
  problem.columns = columns;
  problem.expected_rows = -1;
  problem.x_row_stride =
      static_cast<std::int64_t>(2 * static_cast<std::uint64_t>(columns));  // the plan refuses too many
  problem.out_row_stride = columns;
  problem.x_scale_stride = rows;
  problem.out_scale_stride = rows;
  problem.x_alignment = contiguous_alignment(x_format, problem.x_row_stride);
  problem.out_alignment = contiguous_alignment(out_format, problem.out_row_stride);
  return problem;
}

DeviceInfo device_for(const Problem& problem, const moe_act_device_info* given) {
  if (!problem.on_cuda()) return {};
  if (given == nullptr) return cuda::device_info(problem->device_id);
  const moe_act_device_info info = accept("device", given);
  return {info.multiprocessors, info.compute_capability_major, info.compute_capability_minor,
          info.memory_gigabytes_per_second, info.l2_bytes};
}

std::vector<LaunchChoice> choices_of(const moe_act_problem* problem) {
  const Problem validated(accept("problem", problem));
  if (!validated.on_cuda()) invalid("problem", "expected one on CUDA: on the CPU there is nothing to choose");
  return launch_choices(validated);
}

}  // namespace

extern "C" {

const char* moe_act_last_error(void) {
  return last_error;
}

const char* moe_act_version(void) {
#define MOE_ACT_TEXT_OF(number) #number
#define MOE_ACT_TEXT(number) MOE_ACT_TEXT_OF(number)
  return MOE_ACT_TEXT(MOE_ACT_VERSION_MAJOR) "." MOE_ACT_TEXT(MOE_ACT_VERSION_MINOR) "." MOE_ACT_TEXT(
      MOE_ACT_VERSION_PATCH);
}

const char* moe_act_build_info(void) {
  return cuda::build_text();
}

int32_t moe_act_cuda_device_count(void) {
  int32_t count = 0;
  return guarded([&] { count = cuda::device_count(); }) == MOE_ACT_OK ? count : 0;
}

moe_act_status moe_act_device_query(int32_t device_id, moe_act_device_info* info) {
  return guarded([&] {
    const DeviceInfo device = cuda::device_info(device_id);
    moe_act_device_info value{};
    value.multiprocessors = device.multiprocessors;
    value.compute_capability_major = device.compute_capability_major;
    value.compute_capability_minor = device.compute_capability_minor;
    value.memory_gigabytes_per_second = device.memory_gigabytes_per_second;
    value.l2_bytes = device.l2_bytes;
    deliver("info", value, info);
  });
}

moe_act_status moe_act_parse_option(const char* option, const char* name, int32_t* value) {
  return guarded([&] {
    if (option == nullptr || name == nullptr || value == nullptr)
      invalid("option", "expected two names and a place, got null");
    *value = parse_option(option, name);
  });
}

const char* moe_act_option_name(const char* option, int32_t value) {
  return option == nullptr ? nullptr : option_name(option, value);
}

moe_act_status moe_act_problem_init_sized(moe_act_problem* problem, uint64_t struct_size, int32_t x_format,
                                          int32_t out_format, int64_t rows, int64_t columns) {
  return guarded([&] {
    if (problem == nullptr) invalid("problem", "expected a struct, got null");
    require_size<moe_act_problem>("problem", struct_size);
    problem->struct_size = struct_size;
    deliver("problem", contiguous_problem(x_format, out_format, rows, columns), problem);
  });
}

moe_act_status moe_act_describe(const moe_act_tensors* tensors, const moe_act_options* options,
                                moe_act_problem* problem, moe_act_buffers* buffers) {
  return guarded([&] {
    const Description description = describe(accept("tensors", tensors), accept("options", options));
    deliver_whole("problem", description.problem, problem);
    deliver_whole("buffers", description.buffers, buffers);
  });
}

moe_act_status moe_act_plan_create(const moe_act_problem* problem, const moe_act_device_info* device,
                                   moe_act_plan** plan) {
  return guarded([&] {
    if (plan == nullptr) invalid("plan", "expected a place for the plan, got null");
    const Problem validated(accept("problem", problem));
    *plan = new moe_act_plan{.plan = Plan(validated, device_for(validated, device))};
  });
}

void moe_act_plan_destroy(moe_act_plan* plan) {
  delete plan;
}

moe_act_status moe_act_launch_choice_count(const moe_act_problem* problem, int64_t* count) {
  return guarded([&] {
    if (count == nullptr) invalid("count", "expected a place for the number, got null");
    *count = static_cast<std::int64_t>(choices_of(problem).size());
  });
}

moe_act_status moe_act_launch_choice_at(const moe_act_problem* problem, int64_t index, moe_act_launch_choice* choice) {
  return guarded([&] {
    const std::vector<LaunchChoice> all = choices_of(problem);
    if (index < 0 || index >= static_cast<std::int64_t>(all.size()))
      invalid("index", "expected 0 to " + number(all.size() - 1) + ", got " + number(index));
    const LaunchChoice& found = all[static_cast<std::size_t>(index)];
    moe_act_launch_choice value{};
    value.schedule = static_cast<std::int32_t>(found.schedule);
    value.columns_per_lane = found.columns_per_lane;
    value.vectors_per_lane = found.vectors_per_lane;
    value.warps_per_cta = found.warps_per_cta;
    value.entries_per_cta = found.entries_per_cta;
    value.marks_rows = found.marks_rows ? 1 : 0;
    deliver("choice", value, choice);
  });
}

moe_act_status moe_act_plan_create_chosen(const moe_act_problem* problem, const moe_act_device_info* device,
                                          const moe_act_launch_choice* choice, moe_act_plan** plan) {
  return guarded([&] {
    if (plan == nullptr) invalid("plan", "expected a place for the plan, got null");
    const Problem validated(accept("problem", problem));
    const moe_act_launch_choice given = accept("choice", choice);
    if (given.reserved != 0) invalid("choice", "expected 0 in reserved, got " + number(given.reserved));
    const auto small = [](std::int32_t value) {
      return static_cast<std::int8_t>(value < 0 || value > 127 ? 0 : value);
    };
    const LaunchChoice chosen{static_cast<Schedule>(small(given.schedule)),
                              small(given.columns_per_lane),
                              small(given.vectors_per_lane),
                              given.warps_per_cta,
                              given.entries_per_cta,
                              given.marks_rows != 0};
    *plan = new moe_act_plan{.plan = Plan(validated, device_for(validated, device), chosen)};
  });
}

moe_act_status moe_act_plan_get_info(const moe_act_plan* plan, moe_act_plan_info* info) {
  return guarded([&] { deliver("info", plan_of(plan).info(), info); });
}

moe_act_status moe_act_plan_get_problem(const moe_act_plan* plan, moe_act_problem* problem) {
  return guarded([&] { deliver_whole("problem", plan_of(plan).problem().description(), problem); });
}

moe_act_status moe_act_plan_accepts(const moe_act_plan* plan, const moe_act_problem* problem) {
  return guarded([&] { check_accepts(plan_of(plan), accept("problem", problem)); });
}

const char* moe_act_plan_text(const moe_act_plan* plan) {
  if (plan == nullptr) return "";
  const moe_act_status status = guarded([&] {
    const std::scoped_lock lock(plan->text_mutex);
    if (plan->text.empty()) plan->text = plan->plan.text();
  });
  return status == MOE_ACT_OK ? plan->text.c_str() : "";
}

[[gnu::hot]] moe_act_status moe_act_launch(const moe_act_plan* plan, const moe_act_buffers* buffers, void* workspace,
                                           void* stream) {
  return guarded([&] {
    const Plan& checked_plan = plan_of(plan);
    moe_act_buffers room;
    const moe_act_buffers& pointers = checked_buffers(checked_plan, buffers, room);
    check_workspace(checked_plan.buffer_rules(), checked_plan.cuda().workspace_bytes, pointers, workspace);
    const KernelArguments arguments = checked_plan.arguments(pointers);
    if (arguments.rows.units == 0 && !checked_plan.problem().pads_with_zero()) return;
    if (checked_plan.problem().on_cuda())
      cuda::launch(checked_plan, arguments, workspace, stream);
    else
      cpu::launch(checked_plan, arguments);
  });
}

moe_act_status moe_act_validate(const moe_act_plan* plan, const moe_act_buffers* buffers, void* stream) {
  return guarded([&] {
    moe_act_buffers room;
    validate(plan_of(plan), checked_buffers(plan_of(plan), buffers, room), stream);
  });
}

moe_act_status moe_act_set_cpu_level(const char* level) {
  return guarded([&] { cpu::set_level(level); });
}

const char* moe_act_get_cpu_level(void) {
  return cpu::level();
}

}  // extern "C"
