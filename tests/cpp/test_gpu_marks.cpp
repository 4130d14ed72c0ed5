// Marked rows, where the workspace holds what would pass for marks of the launch to come: whether a row is live is for
// the map, or the ids, to say. Exit status 77 where there is no GPU.
#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "check.hpp"
#include "device_buffer.hpp"
#include "math/marks.hpp"

namespace {

using device::Buffer;
using device::random_bits;
using device::require;
using moe_act::Format;
using moe_act::MarkHead;

constexpr std::int64_t rows = 600, columns = 1088;  // a partial chunk, and a partial block
constexpr std::int64_t entries = 700, in_use = 650, valid_ids = 580;
constexpr std::size_t x_row = 2 * columns, x_blocks = (x_row + 127) / 128, out_blocks = (columns + 127) / 128;

struct Case {
  bool by_id;  // sorted ids with a count, else a map
  std::int32_t index_bits;
  Format output;
};

// Which row an entry names, if any: its values and what of them is live.
struct Named {
  std::vector<std::int64_t> values = std::vector<std::int64_t>(entries, -1);
  std::vector<bool> live = std::vector<bool>(rows, false);
};

// Every second row from `start` on, by entries in some order; and beside them whatever names no row.
Named named_by(const Case& test, std::int64_t start) {
  Named named;
  std::vector<std::size_t> order(entries);
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::shuffle(order.begin(), order.end(), std::mt19937(static_cast<unsigned>(start)));
  std::size_t next = 0;
  for (std::int64_t row = start; row < rows; row += 2) {
    const std::size_t entry = order[next++];
    named.values[entry] = row;
    const bool is_live = !test.by_id || (entry < in_use && row < valid_ids);
    if (is_live) named.live[static_cast<std::size_t>(row)] = true;
  }
  named.values[order[next++]] = rows;  // behind the buffers
  named.values[order[next++]] = rows + 50'000;
  // The low word names row 1 - start, which is not live.
  if (test.index_bits == 64) named.values[order[next++]] = (std::int64_t{1} << 32) + 1 - start;
  return named;
}

moe_act::Problem problem_of(const Case& test) {
  auto problem = moe_act::Problem::contiguous(Format::e4m3, test.output, rows, columns);
  if (test.by_id)
    problem.rows_of_sorted_ids(entries, valid_ids, moe_act::SortedRows::id).index_of(test.index_bits);
  else
    problem.rows_of_map(entries);
  return problem.on_cuda(0);
}

// What a workspace holds before a launch, which then has this number where the head says so.
using Content = std::vector<std::uint32_t> (*)(const Named& named);
constexpr std::uint32_t launch = 41;

std::vector<std::uint32_t> with_head(std::uint32_t done) {
  std::vector<std::uint32_t> words(sizeof(MarkHead) / 4 + rows, 0);
  words[0] = launch, words[1] = ~0u, words[2] = done;
  return words;
}
std::vector<std::uint32_t> zeros(const Named&) {
  return with_head(0);
}
std::vector<std::uint32_t> ones(const Named&) {
  return std::vector<std::uint32_t>(sizeof(MarkHead) / 4 + rows, ~0u);
}
// Each row's mark points to some entry, as if it were this launch's.
std::vector<std::uint32_t> some_entry(const Named&) {
  std::vector<std::uint32_t> words = with_head(launch - 1);
  for (std::uint32_t row = 0; row < rows; ++row) words[4 + row] = moe_act::mark_of((row * 7) % entries, launch);
  return words;
}
// Or to the entry whose low word names it, be that in use or not, or one of 64 bits.
std::vector<std::uint32_t> the_entry(const Named& named) {
  std::vector<std::uint32_t> words = with_head(launch - 1);
  for (std::uint32_t entry = 0; entry < entries; ++entry) {
    const auto low = static_cast<std::uint32_t>(named.values[entry]);
    if (low < rows) words[4 + low] = moe_act::mark_of(entry, launch);
  }
  return words;
}

template <typename Type>
void upload(const Buffer& buffer, const std::vector<Type>& values) {
  buffer.upload(values.data(), values.size() * sizeof(Type));
}

struct Run {
  const Case& test;
  std::vector<std::uint8_t> x;
  std::vector<float> x_scale;

  explicit Run(const Case& of) : test(of) {
    std::mt19937 random(5);
    x = random_bits(Format::e4m3, rows * x_row, random);
    x_scale.resize(x_blocks * rows);
    for (float& scale : x_scale) scale = 0.01f + 0.001f * static_cast<float>(random() % 64);
  }

  // Four launches whose maps name now the even rows, now the odd ones, in one workspace; the results of each. Without
  // content, the workspace holds what the launch before left.
  std::vector<std::vector<std::uint8_t>> results(const moe_act::LaunchChoice& choice, Content content) const {
    const moe_act::Plan plan(problem_of(test).allow_workspace(1 << 20), choice);
    const Buffer workspace(sizeof(MarkHead) + rows * sizeof(std::uint32_t));
    upload(workspace, ones({}));
    std::vector<std::vector<std::uint8_t>> all;
    for (const std::int64_t start : {0, 1, 1, 0}) {
      const Named named = named_by(test, start);
      if (content != nullptr) upload(workspace, content(named));
      one(plan, named, plan.info().workspace_bytes > 0 ? workspace.as<void>() : nullptr, all);
    }
    return all;
  }

  void one(const moe_act::Plan& plan, const Named& named, void* workspace,
           std::vector<std::vector<std::uint8_t>>& all) const {
    const Buffer device_x(x), device_x_scale(x_scale.size() * sizeof(float));
    upload(device_x_scale, x_scale);
    const Buffer index(entries * sizeof(std::int64_t)), count(sizeof(std::int64_t));
    if (test.by_id && test.index_bits == 64) {
      upload(index, named.values);
      upload(count, std::vector<std::int64_t>{in_use});
    } else {
      upload(index, std::vector<std::int32_t>(named.values.begin(), named.values.end()));
      upload(count, std::vector<std::int32_t>{in_use});
    }
    const std::vector<std::uint8_t> untouched(rows * columns * device::bytes_of(test.output), 0xA5);
    const std::vector<float> no_scales(out_blocks * rows, -1.0f);
    const Buffer out(untouched), out_scale(no_scales.size() * sizeof(float));
    upload(out_scale, no_scales);

    moe_act::Buffers buffers{.x = device_x.as<void>(), .x_scale = device_x_scale.as<void>(), .out = out.as<void>()};
    if (test.output == Format::e4m3) buffers.out_scale = out_scale.as<void>();
    buffers.row_index = index.as<void>();
    if (test.by_id) buffers.row_count = count.as<void>();
    plan.launch(buffers, nullptr, workspace);
    require(cudaDeviceSynchronize());
    all.push_back(out.download(untouched.size()));
    all.push_back(out_scale.download(no_scales.size() * sizeof(float)));
    const auto row_bytes = static_cast<std::ptrdiff_t>(untouched.size() / rows);
    for (std::ptrdiff_t row = 0; row < rows; ++row) {
      const auto begin = all[all.size() - 2].begin() + row * row_bytes;
      const bool is_untouched = std::equal(begin, begin + row_bytes, untouched.begin());
      CHECK_EQUAL(is_untouched, !named.live[static_cast<std::size_t>(row)], "row ", row);
    }
  }
};

void every_marked_kernel(const Case& test) {
  const Run run(test);
  std::vector<std::vector<std::uint8_t>> expected;
  for (const moe_act::LaunchChoice& choice : moe_act::launch_choices(problem_of(test)))
    if (choice.warps_per_cta == 4 && expected.empty()) expected = run.results(choice, nullptr);
  CHECK(!expected.empty());
  int marked = 0;
  for (const moe_act::LaunchChoice& choice : moe_act::launch_choices(problem_of(test).allow_workspace(1 << 20))) {
    if (choice.marks_rows == 0 || choice.warps_per_cta != 4) continue;
    ++marked;
    for (const Content content :
         {Content{nullptr}, Content{zeros}, Content{ones}, Content{some_entry}, Content{the_entry}})
      CHECK(run.results(choice, content) == expected, "schedule ", choice.schedule);
  }
  CHECK_EQUAL(marked, 2);  // rows and tiles
}

TEST("what looks like marks is none") {
  device::require_gpu();
  for (const Format output : {Format::e4m3, Format::bf16}) {
    every_marked_kernel({false, 32, output});
    every_marked_kernel({true, 32, output});
    every_marked_kernel({true, 64, output});
  }
}

TEST("a map without entries names no row, whatever is marked") {
  device::require_gpu();
  const Case test{false, 32, Format::e4m3};
  const Buffer x(rows * x_row), x_scale(x_blocks * rows * sizeof(float)), index(sizeof(std::int32_t));
  const std::vector<std::uint8_t> untouched(rows * columns, 0xA5);
  int marked = 0;
  auto problem = problem_of(test).rows_of_map(0).allow_workspace(1 << 20);
  for (const moe_act::LaunchChoice& choice : moe_act::launch_choices(problem)) {
    if (choice.marks_rows == 0) continue;
    ++marked;
    const Buffer workspace(sizeof(MarkHead) + rows * sizeof(std::uint32_t)), out(untouched), out_scale(untouched);
    upload(workspace, some_entry({}));
    moe_act::Buffers buffers{.x = x.as<void>(), .x_scale = x_scale.as<void>(), .out = out.as<void>()};
    buffers.out_scale = out_scale.as<void>();
    buffers.row_index = index.as<void>();
    moe_act::Plan(problem, choice).launch(buffers, nullptr, workspace.as<void>());
    require(cudaDeviceSynchronize());
    CHECK(out.download(untouched.size()) == untouched);
    CHECK(out_scale.download(untouched.size()) == untouched);
  }
  CHECK(marked > 0);
}

}  // namespace
