// Marked rows, where the workspace holds what would pass for marks of the launch to come: whether a row is live is for
// the map, or the ids, to say. Exit status 77 where there is no GPU.
#include <algorithm>
#include <cstring>
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
constexpr std::int64_t entries = 700, valid_ids = 580;
constexpr std::size_t x_row = 2 * columns, x_blocks = (x_row + 127) / 128, out_blocks = (columns + 127) / 128;

struct Case {
  bool by_id;  // sorted ids with a count, else a map
  std::int32_t index_bits;
  std::int64_t count;  // of ids in use, as it is on the device
  Format input;
  Format output;

  std::int64_t in_use() const { return by_id ? std::clamp<std::int64_t>(count, 0, entries) : entries; }
  std::int64_t valid() const { return by_id ? valid_ids : rows; }
};

// Which row an entry names, if any: its values and what of them is live.
struct Named {
  std::vector<std::int64_t> values = std::vector<std::int64_t>(entries, -1);
  std::vector<bool> live = std::vector<bool>(rows, false);
};

// Every second row from `start` on, by entries in some order; and among the first of them whatever names no row.
Named named_by(const Case& test, std::int64_t start) {
  Named named;
  std::vector<std::int64_t> none = {rows, rows + 50'000, INT32_MAX, INT32_MIN, -2};
  if (test.index_bits == 64)  // whose low words name a row that is not live
    for (const std::int64_t high : {std::int64_t{1}, std::int64_t{-1}, std::int64_t{INT32_MIN}})
      none.push_back(high * (std::int64_t{1} << 32) + 1 - start + 2 * static_cast<std::int64_t>(none.size()));
  for (std::size_t i = 0; i < none.size(); ++i) named.values[3 + 11 * i] = none[i];
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < entries; ++i)
    if (named.values[i] == -1) order.push_back(i);
  std::shuffle(order.begin(), order.end(), std::mt19937(static_cast<unsigned>(start)));
  for (std::int64_t row = start; row < rows; row += 2) {
    const std::size_t entry = order[static_cast<std::size_t>(row / 2)];
    named.values[entry] = row;
    const bool is_live = static_cast<std::int64_t>(entry) < test.in_use() && row < test.valid();
    if (is_live) named.live[static_cast<std::size_t>(row)] = true;
  }
  return named;
}

moe_act::Problem problem_of(const Case& test) {
  auto problem = moe_act::Problem::contiguous(test.input, test.output, rows, columns);
  if (test.by_id)
    problem.rows_of_sorted_ids(entries, valid_ids, moe_act::SortedRows::id).index_of(test.index_bits);
  else
    problem.rows_of_map(entries);
  return problem.on_cuda(0);
}

// What a workspace holds before a launch: the number of the last one, and a mark for each row.
constexpr std::size_t head_words = sizeof(MarkHead) / 4, words = head_words + rows, guard_words = 16;
using Content = std::vector<std::uint32_t> (*)(const Named& named);
constexpr std::uint32_t launch = 41;

std::vector<std::uint32_t> with_head(std::uint32_t done) {
  std::vector<std::uint32_t> content(words, 0);
  content[0] = launch, content[1] = ~0u, content[2] = done;
  return content;
}
std::vector<std::uint32_t> zeros(const Named&) {
  return with_head(0);
}
// Launch 0, of which every mark of 0 points to entry 0.
std::vector<std::uint32_t> first_entry(const Named&) {
  return with_head(~0u);
}
// Each row's mark points to some entry, as if it were this launch's.
std::vector<std::uint32_t> some_entry(const Named&) {
  std::vector<std::uint32_t> content = with_head(launch - 1);
  for (std::uint32_t row = 0; row < rows; ++row)
    content[head_words + row] = moe_act::mark_of((row * 7) % entries, launch);
  return content;
}
// Or to the entry whose low word names it, be that in use or not, or one of 64 bits.
std::vector<std::uint32_t> the_entry(const Named& named) {
  std::vector<std::uint32_t> content = with_head(launch - 1);
  for (std::uint32_t entry = 0; entry < entries; ++entry) {
    const auto low = static_cast<std::uint32_t>(named.values[entry]);
    if (low < rows) content[head_words + low] = moe_act::mark_of(entry, launch);
  }
  return content;
}

template <typename Type>
void upload(const Buffer& buffer, const std::vector<Type>& values) {
  buffer.upload(values.data(), values.size() * sizeof(Type));
}

using Bytes = std::vector<std::uint8_t>;

struct Run {
  const Case& test;
  Bytes x;
  std::vector<float> x_scale;

  explicit Run(const Case& of) : test(of) {
    std::mt19937 random(5);
    x = random_bits(test.input, rows * x_row, random);
    x_scale.resize(x_blocks * rows);
    for (float& scale : x_scale) scale = 0.01f + 0.001f * static_cast<float>(random() % 64);
  }

  // Four launches whose maps name now the even rows, now the odd ones, in one workspace; the results of each. Without
  // content, the workspace holds what the launch before left.
  std::vector<Bytes> results(const moe_act::LaunchChoice& choice, Content content) const {
    const moe_act::Plan plan(problem_of(test).allow_workspace(1 << 20), choice);
    const Buffer workspace((words + guard_words) * sizeof(std::uint32_t));
    std::vector<std::uint32_t> held(words + guard_words, ~0u);
    upload(workspace, held);
    std::vector<Bytes> all;
    for (const std::int64_t start : {0, 1, 1, 0}) {
      const Named named = named_by(test, start);
      if (content != nullptr) {
        const std::vector<std::uint32_t> given = content(named);
        upload(workspace, given);
        std::copy(given.begin(), given.end(), held.begin());
      }
      const bool marks = plan.info().workspace_bytes > 0;
      one(plan, named, marks ? workspace.as<void>() : nullptr, all);
      const std::uint32_t expected = held[2] + 1;
      const Bytes after = workspace.download(held.size() * sizeof(std::uint32_t));
      std::memcpy(held.data(), after.data(), after.size());
      if (!marks) continue;
      CHECK_EQUAL(held[0], expected, "the launch's number");
      CHECK_EQUAL(held[1], static_cast<std::uint32_t>(test.in_use()), "entries in use");
      CHECK_EQUAL(held[2], expected, "the launch that is done");
      CHECK_EQUAL(std::count(held.begin() + words, held.end(), ~0u), std::ptrdiff_t{guard_words}, "behind the marks");
    }
    return all;
  }

  void one(const moe_act::Plan& plan, const Named& named, void* workspace, std::vector<Bytes>& all) const {
    const Buffer device_x(x), device_x_scale(x_scale.size() * sizeof(float));
    upload(device_x_scale, x_scale);
    const Buffer index(entries * sizeof(std::int64_t)), count(sizeof(std::int64_t));
    if (test.index_bits == 64) {
      upload(index, named.values);
      upload(count, std::vector<std::int64_t>{test.count});
    } else {
      upload(index, std::vector<std::int32_t>(named.values.begin(), named.values.end()));
      upload(count, std::vector<std::int32_t>{static_cast<std::int32_t>(test.count)});
    }
    const Bytes untouched(rows * columns * device::bytes_of(test.output), 0xA5);
    const std::vector<float> no_scales(out_blocks * rows, -1.0f);
    const Buffer out(untouched), out_scale(no_scales.size() * sizeof(float));
    upload(out_scale, no_scales);

    moe_act::Buffers buffers{.x = device_x.as<void>(), .out = out.as<void>()};
    if (test.input == Format::e4m3) buffers.x_scale = device_x_scale.as<void>();
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

void every_marked_kernel(const Case& test, int kernels) {
  const Run run(test);
  std::vector<Bytes> expected;
  for (const moe_act::LaunchChoice& choice : moe_act::launch_choices(problem_of(test)))
    if (choice.warps_per_cta == 4 && expected.empty()) expected = run.results(choice, nullptr);
  CHECK(!expected.empty());
  int marked = 0;
  for (const moe_act::LaunchChoice& choice : moe_act::launch_choices(problem_of(test).allow_workspace(1 << 20))) {
    if (choice.marks_rows == 0 || choice.warps_per_cta != 4) continue;
    ++marked;
    for (const Content content :
         {Content{nullptr}, Content{zeros}, Content{first_entry}, Content{some_entry}, Content{the_entry}})
      CHECK(run.results(choice, content) == expected, "schedule ", choice.schedule);
  }
  CHECK_EQUAL(marked, kernels);
}

constexpr int rows_and_tiles = 2;

TEST("what looks like marks is none") {
  device::require_gpu();
  for (const Format output : {Format::e4m3, Format::bf16})
    for (const Format input : {Format::e4m3, Format::bf16}) {
      const int kernels = input == Format::e4m3 ? rows_and_tiles : 1;
      every_marked_kernel({false, 32, 0, input, output}, kernels);
      every_marked_kernel({true, 32, 650, input, output}, kernels);
      every_marked_kernel({true, 64, 650, input, output}, kernels);
    }
}

TEST("counts of ids below nothing and beyond all") {
  device::require_gpu();
  for (const std::int64_t count : {std::int64_t{INT32_MIN}, std::int64_t{-1}, std::int64_t{0}, entries + 1})
    every_marked_kernel({true, 32, count, Format::e4m3, Format::e4m3}, rows_and_tiles);
  for (const std::int64_t count : {-(std::int64_t{1} << 40), (std::int64_t{1} << 32) + 5})
    every_marked_kernel({true, 64, count, Format::e4m3, Format::e4m3}, rows_and_tiles);
}

TEST("a map without entries names no row, whatever is marked") {
  device::require_gpu();
  const Case test{false, 32, 0, Format::e4m3, Format::e4m3};
  const Buffer x(rows * x_row), x_scale(x_blocks * rows * sizeof(float)), index(sizeof(std::int32_t));
  const Bytes untouched(rows * columns, 0xA5);
  int marked = 0;
  const auto problem = problem_of(test).rows_of_map(0).allow_workspace(1 << 20);
  for (const moe_act::LaunchChoice& choice : moe_act::launch_choices(problem)) {
    if (choice.marks_rows == 0) continue;
    ++marked;
    const Buffer workspace(words * sizeof(std::uint32_t)), out(untouched), out_scale(untouched);
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
