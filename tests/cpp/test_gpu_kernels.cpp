// Every CUDA kernel of src/cuda/kernel.cuh once, with device memory of its own for every buffer and rows that are not
// live never initialized: what the sanitizers run under. Results must be the same bytes for all kernels of a problem,
// and agree with the CPU but for the roundings of the sigmoid. Exit status 77 where there is no GPU.
#include <algorithm>
#include <random>
#include <set>
#include <thread>
#include <vector>

#include "check.hpp"
#include "device_buffer.hpp"

namespace {

using device::Buffer;
using device::bytes_of;
using device::random_bits;
using device::require;
using moe_act::Format;

constexpr std::int64_t rows = 48;
constexpr std::int64_t columns = 1088;  // a partial chunk for every shape, and a partial block
// More than a CTA looks at, which is several for each lane; nearly all are -1.
constexpr std::int64_t entries = 600;
constexpr std::int64_t x_blocks = (2 * columns + 127) / 128;
constexpr std::int64_t out_blocks = (columns + 127) / 128;

struct Case {
  Format input;
  Format output;
  bool tensor_scale;
  bool map;
  // What kernels switch at run time.
  bool row_major = false;
  bool stride_on_device = false;
  moe_act::Gate gate = moe_act::Gate::second_half;
  moe_act::Pdl pdl = moe_act::Pdl::off;
  bool in_a_new_thread = false;  // in which no device is current yet
};

struct Host {
  std::vector<std::uint8_t> x;  // [rows, 2H]
  std::vector<float> x_scale;   // [x_blocks, rows]
  std::vector<std::int32_t> map;
  std::vector<std::uint8_t> out, out_scale;
  float static_scale = 0.05f;
  std::int32_t total = rows;
};

moe_act::Problem problem_of(const Case& test) {
  auto problem = moe_act::Problem::contiguous(test.input, test.output, rows, columns);
  if (test.tensor_scale) problem.set(moe_act::Scaling::tensor);
  if (test.map) problem.rows_of_map(entries);
  if (test.row_major)
    problem.scales_of_x(moe_act::ScaleLayout::row_major).scales_of_out(moe_act::ScaleLayout::row_major);
  if (test.stride_on_device) problem.scale_strides_on_device();
  return problem.set(test.gate);
}

bool block_scaled(const Case& test) {
  return test.output == Format::e4m3 && !test.tensor_scale;
}

moe_act::Buffers buffers_of(const Case& test, const Host& host, void* out, void* out_scale) {
  moe_act::Buffers buffers{.x = host.x.data(), .out = out};
  if (test.input == Format::e4m3) buffers.x_scale = host.x_scale.data();
  if (block_scaled(test)) buffers.out_scale = static_cast<float*>(out_scale);
  if (test.tensor_scale) buffers.static_scale = &host.static_scale;
  if (test.map) buffers.row_index = host.map.data();
  if (test.stride_on_device) buffers.total_num_padded_tokens = &host.total;
  return buffers;
}

Host host_of(const Case& test) {
  std::mt19937 random(7);
  Host host;
  host.x = random_bits(test.input, static_cast<std::size_t>(rows * 2 * columns), random);
  host.x_scale.resize(static_cast<std::size_t>(x_blocks * rows));
  for (float& scale : host.x_scale) scale = 0.01f + 0.001f * static_cast<float>(random() % 64);
  host.map.assign(static_cast<std::size_t>(entries), -1);
  for (std::int32_t row = 0; row < rows; row += 2) host.map[static_cast<std::size_t>(entries - 1 - 7 * row)] = row;
  host.out.assign(static_cast<std::size_t>(rows * columns) * bytes_of(test.output), 0xA5);
  host.out_scale.assign(static_cast<std::size_t>(out_blocks * rows) * sizeof(float), 0xA5);
  return host;
}

moe_act::Problem gpu_problem_of(const Case& test, std::size_t shift) {
  auto problem = problem_of(test).on_cuda(0).set(test.pdl).allow_workspace(1 << 20);
  if (shift != 0) {
    problem.x_alignment = static_cast<std::int32_t>(bytes_of(test.input));
    problem.out_alignment = static_cast<std::int32_t>(bytes_of(test.output));
  }
  return problem;
}

// One launch on the GPU; `shift` elements off any alignment. Rows that are not live stay uninitialized.
void run_on_gpu(const Case& test, const Host& host, const moe_act::LaunchChoice& choice, std::size_t shift,
                Host& result) {
  const std::size_t x_row = 2 * columns * bytes_of(test.input);
  const Buffer x(host.x.size(), shift * bytes_of(test.input));
  const Buffer x_scale(host.x_scale.size() * sizeof(float));
  for (std::int64_t row = 0; row < rows; ++row) {
    if (test.map && row % 2 != 0) continue;
    const auto at = static_cast<std::size_t>(row);
    x.upload(&host.x[at * x_row], x_row, at * x_row);
    const std::size_t first = test.row_major ? at * x_blocks : at;
    const std::size_t pitch = (test.row_major ? 1 : rows) * sizeof(float);
    require(cudaMemcpy2D(x_scale.as<float>() + first, pitch, &host.x_scale[first], pitch, sizeof(float), x_blocks,
                         cudaMemcpyHostToDevice));
  }
  const Buffer map(entries * sizeof(std::int32_t)), static_scale(sizeof(float)), total(sizeof(std::int32_t));
  total.upload(&host.total, sizeof(std::int32_t));
  map.upload(host.map.data(), entries * sizeof(std::int32_t));
  static_scale.upload(&host.static_scale, sizeof(float));
  const Buffer out(host.out.size(), shift * bytes_of(test.output)), out_scale(host.out_scale.size());
  out.upload(host.out.data(), host.out.size());
  out_scale.upload(host.out_scale.data(), host.out_scale.size());

  const moe_act::Plan plan(gpu_problem_of(test, shift), choice);
  const std::int64_t workspace_bytes = plan.info().workspace_bytes;
  // Of any content, but of some: it is read before it is written. test_gpu_marks.cpp has other contents.
  const Buffer workspace(
      std::vector<std::uint8_t>(static_cast<std::size_t>(std::max<std::int64_t>(workspace_bytes, 1)), 0xA5));
  moe_act::Buffers buffers = buffers_of(test, host, out.as<void>(), out_scale.as<void>());
  buffers.x = x.as<void>();
  if (buffers.x_scale != nullptr) buffers.x_scale = x_scale.as<float>();
  if (buffers.static_scale != nullptr) buffers.static_scale = static_scale.as<float>();
  if (test.map) buffers.row_index = map.as<std::int32_t>();
  if (test.stride_on_device) buffers.total_num_padded_tokens = total.as<std::int32_t>();
  const auto launch = [&] { plan.launch(buffers, nullptr, workspace_bytes > 0 ? workspace.as<void>() : nullptr); };
  if (test.in_a_new_thread)
    std::thread(launch).join();
  else
    launch();
  require(cudaDeviceSynchronize());
  result.out = out.download(host.out.size());
  result.out_scale = out_scale.download(host.out_scale.size());
}

// Every kernel that can run the problem, each once: CTAs of other sizes run the same code. Those that look at several
// entries, also at less than each of their warps could.
std::vector<moe_act::LaunchChoice> kernels_of(const moe_act::Problem& problem) {
  std::vector<moe_act::LaunchChoice> kernels;
  for (moe_act::LaunchChoice choice : moe_act::launch_choices(problem)) {
    const bool shares = choice.schedule == MOE_ACT_SCHEDULE_SPARSE;  // of so many warps as there is room for
    if ((choice.warps_per_cta != 4 && !shares) || (choice.entries_per_cta != 0 && choice.entries_per_cta != 512))
      continue;
    kernels.push_back(choice);
    if (choice.entries_per_cta == 0) continue;
    for (const std::int32_t entries_per_cta : {1, 33, 129, 300, 511}) {
      choice.entries_per_cta = entries_per_cta;
      kernels.push_back(choice);
    }
  }
  return kernels;
}

void every_kernel(const Case& test) {
  const Host host = host_of(test);
  Host on_cpu = host;
  moe_act::Plan(problem_of(test)).launch(buffers_of(test, host, on_cpu.out.data(), on_cpu.out_scale.data()));

  Host first;
  std::set<std::int32_t> schedules;
  for (const std::size_t shift : {0, 1})
    for (const moe_act::LaunchChoice& choice : kernels_of(gpu_problem_of(test, shift))) {
      Host result;
      run_on_gpu(test, host, choice, shift, result);
      schedules.insert(choice.schedule);
      if (first.out.empty()) first = result;
      CHECK(result.out == first.out);
      CHECK(result.out_scale == first.out_scale);
    }
  std::set<std::int32_t> expected = {MOE_ACT_SCHEDULE_ROWS, MOE_ACT_SCHEDULE_LOOP};
  if (test.map && test.input != Format::fp32) expected.insert(MOE_ACT_SCHEDULE_SPARSE);
  if (test.input == Format::e4m3 && !test.row_major) expected.insert(MOE_ACT_SCHEDULE_TILES);
  CHECK(schedules == expected);

  std::size_t differing = 0;
  for (std::size_t i = 0; i < host.out.size(); ++i) differing += first.out[i] != on_cpu.out[i] ? 1 : 0;
  // fp32 shows every rounding of the sigmoid in its low byte; in the short formats hardly one survives.
  CHECK(differing <= (test.output == Format::fp32 ? host.out.size() / 2 : host.out.size() / 200));
}

TEST("every kernel gives the same bytes") {
  device::require_gpu();
  for (const Format input : {Format::e4m3, Format::bf16, Format::fp16, Format::fp32})
    for (const bool map : {false, true}) {
      for (const Format output : {Format::fp32, Format::fp16, Format::bf16, Format::e4m3})
        every_kernel({input, output, false, map});
      every_kernel({input, Format::e4m3, true, map});
    }
}

TEST("what kernels switch at run time") {
  for (const bool map : {false, true}) {
    Case test{Format::e4m3, Format::e4m3, false, map};
    test.row_major = true;
    every_kernel(test);
    test.row_major = false;
    test.stride_on_device = true;
    every_kernel(test);
    test.gate = moe_act::Gate::first_half;
    every_kernel(test);
    for (const moe_act::Pdl pdl : {moe_act::Pdl::on, moe_act::Pdl::metadata_ready}) {
      test.pdl = pdl;
      every_kernel(test);
    }
  }
}

// What was found out about kernels and devices for earlier launches holds for a device that is used anew.
TEST("a thread's first launch, and one after a reset of the device") {
  Case test{Format::bf16, Format::e4m3, false, true};
  const Host host = host_of(test);
  const moe_act::LaunchChoice choice = kernels_of(gpu_problem_of(test, 0)).front();
  Host first, in_a_new_thread, after_a_reset;
  run_on_gpu(test, host, choice, 0, first);
  test.in_a_new_thread = true;
  run_on_gpu(test, host, choice, 0, in_a_new_thread);
  require(cudaDeviceReset());
  test.in_a_new_thread = false;
  run_on_gpu(test, host, choice, 0, after_a_reset);
  for (const Host& later : {in_a_new_thread, after_a_reset}) {
    CHECK(later.out == first.out);
    CHECK(later.out_scale == first.out_scale);
  }
}

// Those that wait for nothing have code of their own, seen above.
TEST("dense rows that wait for another kernel") {
  for (const Format input : {Format::e4m3, Format::bf16})
    for (const bool tensor_scale : {false, true})
      for (const moe_act::Pdl pdl : {moe_act::Pdl::on, moe_act::Pdl::metadata_ready}) {
        Case test{input, Format::e4m3, tensor_scale, false};
        test.pdl = pdl;
        every_kernel(test);
      }
}

}  // namespace
