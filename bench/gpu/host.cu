// What a launch costs the host: the bare launch of an empty kernel, and moe_act_launch of a prepared plan for one
// token.
//
//     moe_act_bench_host [--json FILE]
//
// Both have the same grid and parameters of the same size. Calls are timed in batches that fit into the launch queue,
// which is empty when a batch begins: none waits for the GPU. Figures are medians of batches; the two take turns.
#include <cstdio>
#include <cstring>
#include <exception>
#include <fstream>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "bare.hpp"
#include "device_data.hpp"
#include "environment.hpp"
#include "json.hpp"
#include "moe_act/c_api.h"
#include "timing.hpp"
#include "workload.hpp"

namespace bench {
namespace {

constexpr int calls_per_batch = 500;  // the launch queue holds 1024
constexpr int warm_up_batches = 20;
constexpr int batches = 301;
constexpr double goal_nanoseconds = 500;  // beyond the bare launch

void check(moe_act_status status) {
  if (status != MOE_ACT_OK) throw std::runtime_error(moe_act_last_error());
}

struct PlanDeleter {
  void operator()(moe_act_plan* plan) const { moe_act_plan_destroy(plan); }
};
using PlanHandle = std::unique_ptr<moe_act_plan, PlanDeleter>;

PlanHandle make_plan(const Workload& workload, const Device& device) {
  moe_act_problem problem;
  moe_act_problem_init(&problem, MOE_ACT_FORMAT_E4M3, MOE_ACT_FORMAT_E4M3, workload.rows, workload.columns);
  problem.device_type = MOE_ACT_DEVICE_CUDA;
  problem.device_id = device.id;
  problem.row_kind = MOE_ACT_ROWS_EXPANDED_TO_PERMUTED;
  problem.entries = workload.units();
  problem.expected_rows = workload.expected_rows;
  problem.x_scale_stride = problem.out_scale_stride = MOE_ACT_STRIDE_ON_DEVICE;
  moe_act_plan* plan = nullptr;
  check(moe_act_plan_create(&problem, nullptr, &plan));
  return PlanHandle(plan);
}

// A plan for the workload, its tensors, and the bare launch that corresponds to it.
class Launches {
 public:
  Launches(const Workload& workload, const Device& device) : data_(workload, 1), plan_(make_plan(workload, device)) {
    const Buffers given = data_.buffers(0);
    buffers_.struct_size = sizeof(buffers_);
    buffers_.x = given.x;
    buffers_.x_scale = given.x_scale;
    buffers_.out = given.out;
    buffers_.out_scale = given.out_scale;
    buffers_.row_index = given.row_index;
    buffers_.total_num_padded_tokens = given.total;
    moe_act_plan_info info{};
    info.struct_size = sizeof(info);
    check(moe_act_plan_get_info(plan_.get(), &info));
    bare_.emplace(dim3(static_cast<unsigned>(info.grid_x), static_cast<unsigned>(info.grid_y),
                       static_cast<unsigned>(info.grid_z)),
                  dim3(32, static_cast<unsigned>(info.warps_per_row), static_cast<unsigned>(info.rows_per_cta)),
                  stream_.get());
  }

  void bare() { require((*bare_)(), "cudaLaunchKernelEx"); }
  void prepared() const { check(moe_act_launch(plan_.get(), &buffers_, nullptr, stream_.get())); }

  // Of a batch that begins and ends with an empty launch queue.
  template <typename Launch>
  double time(Launch launch) const {
    stream_.synchronize();
    const double nanoseconds = nanoseconds_per_call(calls_per_batch, launch);
    stream_.synchronize();
    return nanoseconds;
  }

 private:
  Stream stream_;
  DeviceData data_;
  PlanHandle plan_;
  moe_act_buffers buffers_{};
  std::optional<BareLaunch> bare_;
};

std::string result_json(const char* call, double nanoseconds, const std::string& beyond_bare, const std::string& goal) {
  return json::object({{"call", json::text(call)},
                       {"nanoseconds", json::number(nanoseconds)},
                       {"beyond_bare_nanoseconds", beyond_bare},
                       {"goal_nanoseconds", goal}});
}

void run(const std::string& path) {
  const Device device = current_device();
  Launches launches(all_workloads().front(), device);
  std::vector<double> bare, prepared;
  for (int batch = -warm_up_batches; batch < batches; ++batch) {
    const double of_bare = launches.time([&] { launches.bare(); });
    const double of_prepared = launches.time([&] { launches.prepared(); });
    if (batch < 0) continue;
    bare.push_back(of_bare);
    prepared.push_back(of_prepared);
  }
  const double of_bare = median(std::move(bare));
  const double of_prepared = median(std::move(prepared));
  std::printf("bare launch %.0f ns, moe_act_launch %.0f ns: %.0f ns more\n", of_bare, of_prepared,
              of_prepared - of_bare);
  if (path.empty()) return;
  std::ofstream file(path);
  file << json::object(
              {{"environment", environment_json(describe_environment(device), device)},
               {"results", json::array({result_json("bare launch", of_bare, json::number(0), "null"),
                                        result_json("moe_act_launch", of_prepared, json::number(of_prepared - of_bare),
                                                    json::number(goal_nanoseconds))},
                                       2)}})
       << "\n";
  file.close();
  if (!file) throw std::runtime_error(path + ": cannot be written");
}

}  // namespace
}  // namespace bench

int main(int count, char** arguments) {
  const bool writes = count == 3 && std::strcmp(arguments[1], "--json") == 0;
  if (count != 1 && !writes) {
    std::fprintf(stderr, "usage: moe_act_bench_host [--json FILE]\n");
    return 2;
  }
  try {
    bench::run(writes ? arguments[2] : "");
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
