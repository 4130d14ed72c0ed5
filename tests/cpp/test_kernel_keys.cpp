// The table of compiled kernels: on budget, without gaps, and in the order that the CUDA backend counts on.
#include <algorithm>
#include <iterator>
#include <string>

#include "check.hpp"
#include "core/kernel_key.hpp"

namespace {

using namespace moe_act;

bool compiled(const KernelKey& key) {
  return std::ranges::find(kernel_keys, key) != kernel_keys.end();
}

std::string text(const KernelKey& key) {
  return check::text(traits(key.input).name, " -> ", key.output == OutputKind::scaled ? "e4m3" : "plain", ", ",
                     "schedule ", static_cast<int>(key.schedule), ", ", int{key.columns_per_lane}, " x ",
                     int{key.vectors_per_lane}, ", reach ", static_cast<int>(key.reach), key.marked ? ", marked" : "");
}

// Every input with every output and schedule.
template <typename Visit>
void for_each_operation(Visit visit) {
  for (const Format input : kernel_axes::inputs)
    for (const OutputKind output : kernel_axes::outputs)
      for (const Schedule schedule : kernel_axes::schedules) visit(input, output, schedule);
}

TEST("at most 160 kernels") {
  CHECK(kernel_count <= 160, kernel_count, " kernels");
  CHECK(kernel_budget <= 160);
  CHECK_EQUAL(kernel_keys.size(), kernel_count);
}

TEST("every key of the table is supported and listed once") {
  for (const KernelKey& key : kernel_keys) {
    CHECK(supported(key), text(key));
    CHECK_EQUAL(std::ranges::count(kernel_keys, key), 1, text(key));
  }
}

TEST("a combination is in the table exactly if it is supported") {
  for_each_operation([](Format input, OutputKind output, Schedule schedule) {
    for (int columns = 0; columns <= 32; ++columns)
      for (int vectors = 0; vectors <= 8; ++vectors)
        for (const Reach reach : kernel_axes::reaches)
          for (const bool marked : {false, true}) {
            const KernelKey key{
                input, output, schedule, static_cast<std::int8_t>(columns), static_cast<std::int8_t>(vectors),
                reach, marked};
            const bool on_axes =
                std::ranges::find(kernel_axes::columns_per_lane, columns) != std::end(kernel_axes::columns_per_lane) &&
                std::ranges::find(kernel_axes::vectors_per_lane, vectors) != std::end(kernel_axes::vectors_per_lane);
            CHECK_EQUAL(compiled(key), on_axes && supported(key), text(key));
          }
  });
  CHECK(!supported({Format::e5m2, OutputKind::plain, Schedule::loop, 1, 4}));
  CHECK(!supported({Format::none, OutputKind::plain, Schedule::loop, 1, 4}));
}

TEST("every operation has a kernel for any alignment, for few rows, for many and for maps of few live rows") {
  for (const Format input : kernel_axes::inputs)
    for (const OutputKind output : {OutputKind::plain, OutputKind::scaled}) {
      const auto has = [&](Schedule schedule, int columns) {
        return std::ranges::any_of(kernel_keys, [&](const KernelKey& key) {
          return key.input == input && key.output == output && key.schedule == schedule &&
                 key.columns_per_lane == columns;
        });
      };
      const int full_width = 16 / bytes_per_element(input);
      CHECK(has(Schedule::loop, 1), traits(input).name);
      CHECK(has(Schedule::rows, 4), traits(input).name);
      CHECK(has(Schedule::rows, full_width), traits(input).name);
      CHECK_EQUAL(has(Schedule::sparse, full_width), input != Format::fp32, traits(input).name);
      CHECK_EQUAL(has(Schedule::tiles, full_width), is_scaled(input), traits(input).name);
    }
}

TEST("marked rows have kernels of their own where those of maps take more registers") {
  for (const OutputKind output : {OutputKind::plain, OutputKind::scaled}) {
    CHECK(compiled({Format::e4m3, output, Schedule::rows, 16, 2, Reach::plain, true}));
    CHECK(!compiled({Format::bf16, output, Schedule::rows, 8, 2, Reach::plain, true}));
  }
}

TEST("every operation has kernels for every row convention, for many rows, and nearly every one for few") {
  for (const Format input : kernel_axes::inputs)
    for (const OutputKind output : kernel_axes::outputs)
      for (const Schedule schedule : {Schedule::list, Schedule::segments}) {
        const bool few = output == OutputKind::scaled || (output == OutputKind::plain && bytes_per_element(input) != 2);
        CHECK_EQUAL(compiled({input, output, schedule, 4, 1, Reach::layouts}), few, traits(input).name);
        const auto full_width = static_cast<std::int8_t>(16 / bytes_per_element(input));
        CHECK(compiled({input, output, schedule, full_width, 2, Reach::layouts}), traits(input).name);
      }
}

TEST("whatever needs more, or has any alignment, has kernels for every row convention") {
  for (const Format input : kernel_axes::inputs)
    for (const OutputKind output : {OutputKind::scaled, OutputKind::row_scaled})
      for (const Schedule schedule : {Schedule::list, Schedule::segments}) {
        CHECK(compiled({input, output, schedule, 1, 4, Reach::models}), traits(input).name);
        const auto full_width = static_cast<std::int8_t>(16 / bytes_per_element(input));
        CHECK(compiled({input, output, schedule, full_width, 1, Reach::models}), traits(input).name);
      }
}

TEST("no lane loads more than 16 bytes at once, and a block's lanes are a power of two") {
  for (const KernelKey& key : kernel_keys) {
    CHECK(key.columns_per_lane * bytes_per_element(key.input) <= 16, text(key));
    CHECK_EQUAL(block_columns % key.columns_per_lane, 0, text(key));
  }
}

TEST("the keys of one input are adjacent") {
  for (std::size_t i = 1; i < kernel_count; ++i) {
    const bool seen_before =
        std::ranges::any_of(kernel_keys.begin(), kernel_keys.begin() + static_cast<std::ptrdiff_t>(i),
                            [&](const KernelKey& key) { return key.input == kernel_keys[i].input; });
    CHECK_EQUAL(seen_before, kernel_keys[i].input == kernel_keys[i - 1].input, text(kernel_keys[i]));
  }
}

}  // namespace
