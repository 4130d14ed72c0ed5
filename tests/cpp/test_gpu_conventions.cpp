// Every CUDA kernel of src/cuda/conventions.cuh, every row convention, scale layout and padding, with device memory of
// its own for every buffer and rows that are not live never initialized: what the sanitizers run under. Results must be
// the same bytes for all kernels of a problem, and agree with the CPU but for the roundings of the sigmoid. Exit status
// 77 where there is no GPU.
#include <algorithm>
#include <cstring>
#include <list>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <tuple>
#include <vector>

#include "check.hpp"
#include "convention_cases.hpp"
#include "device_buffer.hpp"

namespace {

using namespace conventions;
using device::Buffer;

using Bytes = std::vector<std::uint8_t>;

constexpr std::uint8_t poison = 0xA5;

constexpr RowKind kinds[] = {RowKind::dense,          RowKind::expanded_to_permuted, RowKind::valid_prefix,
                             RowKind::tile_limits,    RowKind::row_to_expert,        RowKind::sorted_token_ids,
                             RowKind::expert_offsets, RowKind::expert_ends,          RowKind::masked};

// Of compact scales of so many columns.
std::size_t scale_bytes(const moe_act::Problem& problem, std::int32_t layout, std::int64_t scaled_columns,
                        std::int64_t stride) {
  const std::int64_t blocks = (scaled_columns + problem.x_block - 1) / problem.x_block;
  const std::int64_t lines = is_ue8m0(static_cast<ScaleLayout>(layout)) ? (blocks + 3) / 4 : blocks;
  const std::int64_t part = layout == MOE_ACT_SCALE_LAYOUT_ROW_MAJOR ? problem.rows * stride : stride * lines;
  const std::int64_t parts = problem.row_kind == MOE_ACT_ROWS_MASKED ? problem.experts : 1;
  return static_cast<std::size_t>(4 * part * parts);
}

struct Host {
  Bytes x, x_scale, index, count, alpha, bias, weight, permuted_to_expanded, tile_to_expert;
  Bytes out, out_scale, out_unquantized;
};

Bytes integers(const std::vector<std::int64_t>& values, std::int32_t bits) {
  Bytes bytes;
  for (const std::int64_t value : values) {
    const auto low = static_cast<std::int32_t>(value);
    const auto* from =
        bits == 64 ? reinterpret_cast<const std::uint8_t*>(&value) : reinterpret_cast<const std::uint8_t*>(&low);
    bytes.insert(bytes.end(), from, from + bits / 8);
  }
  return bytes;
}

Host host_of(const Case& test, const Rows& rows, const moe_act::Problem& problem) {
  std::mt19937 random(7);
  Host host;
  host.x = device::random_bits(test.input, static_cast<std::size_t>(capacity * stored_columns(test)), random);
  host.x_scale.resize(scale_bytes(problem, problem.x_scale_layout, stored_columns(test), problem.x_scale_stride));
  for (std::size_t i = 0; i < host.x_scale.size(); i += 4) {
    const float scale = 0.01f + 0.001f * static_cast<float>(random() % 64);
    std::memcpy(&host.x_scale[i], &scale, sizeof(scale));
  }
  if (is_ue8m0(test.layout))
    for (std::uint8_t& exponent : host.x_scale) exponent = static_cast<std::uint8_t>(118 + random() % 4);
  if (test.general) {
    const auto floats = [&](std::int64_t count) {
      return device::random_bits(Format::fp32, static_cast<std::size_t>(count), random);
    };
    if (is_gated(test)) host.alpha = floats(parameter_experts(test));
    host.bias = floats(parameter_experts(test) * stored_columns(test));
    host.weight = floats(weights(test, rows));
    std::vector<std::int64_t> backwards;
    for (std::int64_t row = capacity; row > 0; --row) backwards.push_back(row - 1);
    if (needs_permuted_to_expanded(test)) host.permuted_to_expanded = integers(backwards, test.index_bits);
    host.out_unquantized.assign(static_cast<std::size_t>(capacity * columns) * sizeof(std::uint16_t), poison);
  }
  if (test.has_tile_experts) host.tile_to_expert = integers(tile_experts, test.index_bits);
  host.index = integers(rows.index, test.index_bits);
  if (rows.count) host.count = integers({*rows.count}, test.index_bits);
  host.out.assign(static_cast<std::size_t>(capacity * columns) * device::bytes_of(test.output), poison);
  host.out_scale.assign(scale_bytes(problem, problem.out_scale_layout, columns, problem.out_scale_stride), poison);
  return host;
}

// Every input but x; place says where bytes of the host lie for the launch.
template <typename Place>
moe_act::Buffers inputs_of(const Case& test, const Host& host, Place place) {
  const auto placed = [&](const Bytes& bytes) -> const void* { return bytes.empty() ? nullptr : place(bytes); };
  moe_act::Buffers buffers{.row_index = placed(host.index), .row_count = placed(host.count), .bias = placed(host.bias)};
  if (test.input == Format::e4m3) buffers.x_scale = placed(host.x_scale);
  buffers.alpha = static_cast<const float*>(placed(host.alpha));
  buffers.weight = static_cast<const float*>(placed(host.weight));
  buffers.permuted_to_expanded = placed(host.permuted_to_expanded);
  buffers.tile_to_expert = placed(host.tile_to_expert);
  return buffers;
}

struct Result {
  Bytes out, out_scale, out_unquantized;
  bool operator==(const Result&) const = default;
};

Result run_on_cpu(const Case& test, const Host& host, const moe_act::Problem& problem) {
  Result result{host.out, host.out_scale, host.out_unquantized};
  moe_act::Buffers buffers = inputs_of(test, host, [](const Bytes& bytes) { return bytes.data(); });
  buffers.x = host.x.data();
  buffers.out = result.out.data();
  if (test.scaling != Scaling::none) buffers.out_scale = result.out_scale.data();
  if (problem.unquantized_format != MOE_ACT_FORMAT_NONE) buffers.out_unquantized = result.out_unquantized.data();
  moe_act::Plan(problem).launch(buffers);
  return result;
}

// `shift` elements off any alignment.
Result run_on_gpu(const Case& test, const Rows& rows, const Host& host, const moe_act::Problem& problem,
                  const moe_act::LaunchChoice& choice, std::size_t shift) {
  const Buffer x(host.x.size(), shift * device::bytes_of(test.input));
  const std::size_t row_bytes = host.x.size() / capacity;
  for (const std::int64_t row : rows.live) {
    const std::size_t at = static_cast<std::size_t>(row) * row_bytes;
    x.upload(&host.x[at], row_bytes, at);
  }
  std::list<Buffer> inputs;
  moe_act::Buffers buffers =
      inputs_of(test, host, [&](const Bytes& bytes) { return inputs.emplace_back(bytes).as<void>(); });
  const Buffer out(host.out, shift * device::bytes_of(test.output));
  const Buffer out_scale(host.out_scale), out_unquantized(host.out_unquantized);
  buffers.x = x.as<void>();
  buffers.out = out.as<void>();
  if (test.scaling != Scaling::none) buffers.out_scale = out_scale.as<void>();
  if (problem.unquantized_format != MOE_ACT_FORMAT_NONE) buffers.out_unquantized = out_unquantized.as<void>();
  moe_act::Plan(problem, choice).launch(buffers);
  device::require(cudaDeviceSynchronize());
  return {out.download(host.out.size()), out_scale.download(host.out_scale.size()),
          out_unquantized.download(host.out_unquantized.size())};
}

using Kernel = std::tuple<std::int32_t, std::int32_t, std::int32_t>;  // schedule, columns and vectors per lane

// Every kernel that can run the problem, in the largest CTAs of up to 8 warps: those of other sizes run the same code.
std::map<Kernel, moe_act::LaunchChoice> kernels_of(const moe_act::Problem& problem) {
  std::map<Kernel, moe_act::LaunchChoice> kernels;
  for (const moe_act::LaunchChoice& choice : moe_act::launch_choices(problem))
    if (choice.warps_per_cta <= 8)
      kernels[{choice.schedule, choice.columns_per_lane, choice.vectors_per_lane}] = choice;
  return kernels;
}

// Scales whose roundings are further apart than twice what the contract allows of the sigmoid.
std::size_t differing_scales(const Case& test, const Bytes& left, const Bytes& right) {
  std::size_t differing = 0;
  const bool bytes = test.scaling != Scaling::row && is_ue8m0(test.layout);
  for (std::size_t i = 0; i < left.size(); i += bytes ? 1 : 4) {
    std::int32_t words[2] = {left[i], right[i]};
    if (!bytes) std::memcpy(&words[0], &left[i], 4), std::memcpy(&words[1], &right[i], 4);
    differing += std::abs(words[0] - words[1]) > (bytes ? 0 : 32) ? 1 : 0;
  }
  return differing;
}

std::set<Kernel> every_kernel(const Case& test) {
  const Rows rows = rows_of(test);
  auto problem = problem_of(test, rows);
  const Host host = host_of(test, rows, problem);
  const Result on_cpu = run_on_cpu(test, host, problem);

  const std::string name =
      check::text("row kind ", static_cast<int>(test.kind), ", layout ", static_cast<int>(test.layout), ", block ",
                  test.block, ", activation ", static_cast<int>(test.activation), ", interleave ", test.interleave);
  problem.on_cuda(0).set(test.pdl);
  std::optional<Result> first;
  std::set<Kernel> seen;
  for (const std::size_t shift : {0, 1}) {
    if (shift != 0) {
      problem.x_alignment = static_cast<std::int32_t>(device::bytes_of(test.input));
      problem.out_alignment = static_cast<std::int32_t>(device::bytes_of(test.output));
      problem.expect_rows(1);  // CTAs go on behind a grid that is too small
    }
    for (const auto& [kernel, choice] : kernels_of(problem)) {
      const Result result = run_on_gpu(test, rows, host, problem, choice, shift);
      seen.insert(kernel);
      if (!first) first = result;
      CHECK(result == *first, name);
    }
  }
  const auto differing = [](const Bytes& left, const Bytes& right) {
    std::size_t count = 0;
    for (std::size_t i = 0; i < left.size(); ++i) count += left[i] != right[i] ? 1 : 0;
    return count;
  };
  CHECK(differing(first->out, on_cpu.out) <= host.out.size() / 200, name);
  CHECK(differing(first->out_unquantized, on_cpu.out_unquantized) <= host.out.size() / 200, name);
  CHECK_EQUAL(differing_scales(test, first->out_scale, on_cpu.out_scale), 0u, name);
  return seen;
}

TEST("every kernel gives the same bytes") {
  device::require_gpu();
  for (const Format input : {Format::e4m3, Format::bf16, Format::fp16, Format::fp32})
    for (const RowKind kind : {RowKind::row_to_expert, RowKind::expert_offsets})
      for (const Scaling scaling : {Scaling::none, Scaling::block, Scaling::row})
        for (const bool general : {false, true}) {
          Case test{kind, input, scaling == Scaling::none ? Format::bf16 : Format::e4m3, scaling};
          test.general = general;
          const std::int32_t schedule =
              kind == RowKind::row_to_expert ? MOE_ACT_SCHEDULE_LIST : MOE_ACT_SCHEDULE_SEGMENTS;
          const auto width = static_cast<std::int32_t>(16 / device::bytes_of(input));
          std::set<Kernel> expected = {{schedule, 1, 4}, {schedule, width, 1}};
          if (!general) expected.insert({schedule, width, 2});
          if (scaling != Scaling::row && !general) expected.insert({schedule, 4, 1});
          if (scaling == Scaling::block && !general && kind == RowKind::row_to_expert && input != Format::fp32)
            expected.insert({MOE_ACT_SCHEDULE_ENTRY, width, 1});
          CHECK(every_kernel(test) == expected);
        }
}

TEST("every row convention, index and padding") {
  for (const RowKind kind : kinds)
    for (const std::int32_t bits : {32, 64})
      for (const Scaling scaling : {Scaling::block, Scaling::row}) {
        Case test{kind};
        test.index_bits = bits;
        test.scaling = scaling;
        every_kernel(test);
        if (kind == RowKind::expanded_to_permuted) continue;  // which does not say what is padding
        test.padding = moe_act::Padding::zero;
        every_kernel(test);
      }
  for (const RowKind kind : {RowKind::row_to_expert, RowKind::expert_offsets}) {
    Case general{kind};
    general.general = true;
    general.padding = moe_act::Padding::zero;
    every_kernel(general);
  }
  Case by_id{RowKind::sorted_token_ids};
  by_id.by_id = true;
  every_kernel(by_id);
  Case many{RowKind::expert_offsets};
  many.many_experts = true;
  for (const ScaleLayout layout : {ScaleLayout::column_major, ScaleLayout::swizzled_128x4}) {
    many.layout = layout;
    every_kernel(many);
  }
}

TEST("every scale layout") {
  for (const ScaleLayout layout : {ScaleLayout::column_major, ScaleLayout::row_major, ScaleLayout::tma_column_major,
                                   ScaleLayout::packed_ue8m0, ScaleLayout::swizzled_128x4})
    for (const std::int32_t block : {32, 64, 128})
      for (const RowKind kind : {RowKind::dense, RowKind::expert_ends, RowKind::masked})
        for (const Format output : {Format::e4m3, Format::e5m2}) {
          if (kind == RowKind::dense && block == 128) continue;
          Case test{kind, Format::e4m3, output, Scaling::block, layout, block};
          if (kind != RowKind::dense) test.padding = moe_act::Padding::zero;
          every_kernel(test);
        }
}

TEST("gate and up in turns, rows without a gate") {
  for (const Format input : {Format::e4m3, Format::bf16, Format::fp32})
    for (const RowKind kind : {RowKind::row_to_expert, RowKind::expert_offsets}) {
      Case test{.kind = kind, .input = input, .general = true};
      for (const std::int32_t group : {1, 8}) {
        test.interleave = group;
        every_kernel(test);
      }
      test.interleave = 0;
      for (const moe_act::Activation activation : {moe_act::Activation::silu, moe_act::Activation::relu2}) {
        test.activation = activation;
        every_kernel(test);
      }
    }
}

TEST("a preset that rounds products and takes NaN into scales") {
  for (const ScaleLayout layout : {ScaleLayout::packed_ue8m0, ScaleLayout::swizzled_128x4})
    for (const RowKind kind : {RowKind::dense, RowKind::expert_offsets})
      every_kernel({.kind = kind,
                    .input = Format::bf16,
                    .layout = layout,
                    .general = kind != RowKind::dense,
                    .preset = moe_act::Preset::te_mxfp8});
}

TEST("experts of tiles") {
  for (const RowKind kind : {RowKind::dense, RowKind::expanded_to_permuted, RowKind::valid_prefix, RowKind::tile_limits,
                             RowKind::sorted_token_ids})
    for (const std::int32_t bits : {32, 64}) {
      Case test{.kind = kind, .index_bits = bits, .general = true, .has_tile_experts = true};
      if (kind != RowKind::expanded_to_permuted) test.padding = moe_act::Padding::zero;
      every_kernel(test);
    }
}

TEST("programmatic dependent launch, with padding before and without") {
  for (const moe_act::Pdl pdl : {moe_act::Pdl::on, moe_act::Pdl::metadata_ready}) {
    for (const Format input : {Format::e4m3, Format::bf16})
      every_kernel({.kind = RowKind::dense, .input = input, .layout = ScaleLayout::swizzled_128x4, .pdl = pdl});
    for (const moe_act::Padding padding : {moe_act::Padding::skip, moe_act::Padding::zero})
      for (const RowKind kind : {RowKind::valid_prefix, RowKind::expert_offsets, RowKind::row_to_expert}) {
        every_kernel({.kind = kind, .padding = padding, .pdl = pdl});
        const std::set<Kernel> plain = every_kernel({.kind = kind, .block = 128, .padding = padding, .pdl = pdl});
        const bool is_span = kind != RowKind::row_to_expert;
        for (const int columns : {4, 8, 16})
          CHECK_EQUAL(plain.contains({MOE_ACT_SCHEDULE_SPAN, columns, 1}), is_span, columns);
        CHECK_EQUAL(plain.contains({MOE_ACT_SCHEDULE_ENTRY, 16, 1}), !is_span);
      }
  }
}

}  // namespace
