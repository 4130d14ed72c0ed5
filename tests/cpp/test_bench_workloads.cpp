// The benchmark's workloads of every convention and layout, as far as they can be judged without a GPU: the rows that
// they call live and the places where they put scales are those of the library, which they were not taken from.
#include <algorithm>
#include <set>
#include <vector>

#include "core/rows.hpp"
#include "core/scale_spec.hpp"
#include "gpus.hpp"
#include "workload.hpp"
#include "workload_problem.hpp"

namespace {

using namespace planned;

// Of the library's own reading of the index.
std::vector<std::int64_t> live_rows_of(const Problem& problem, const bench::Workload& workload) {
  moe_act_buffers buffers{};
  buffers.row_index = workload.row_index.data();
  const std::int32_t count = workload.row_count.value_or(0);
  if (workload.row_count) buffers.row_count = &count;
  const RowAddressing rows = addressing_of(problem.description(), buffers);
  std::vector<std::int64_t> live;
  if (rows.is_list()) {
    const std::int64_t in_use = rows.entries_in_use(count);
    for (std::int64_t entry = 0; entry < in_use; ++entry)
      if (const std::int64_t row = rows.row_of(entry); row >= 0) live.push_back(row);
  } else {
    for (std::int64_t expert = 0; expert < rows.experts; ++expert) {
      const Segment segment = rows.segment_of(expert);
      const std::int64_t first = segment.first_row + (problem.masked() ? expert * workload.rows : 0);
      for (std::int64_t row = first; row < first + segment.rows; ++row) live.push_back(row);
    }
  }
  std::ranges::sort(live);
  return live;
}

std::vector<bench::Workload> every_workload() {
  std::vector<bench::Workload> workloads = bench::all_workloads();
  for (bench::Workload& workload : bench::convention_workloads()) workloads.push_back(std::move(workload));
  return workloads;
}

TEST("live rows are those that the library finds in the index") {
  std::set<std::int32_t> kinds;
  for (const bench::Workload& workload : every_workload()) {
    const Problem problem(bench::problem_of(workload, 0));
    std::vector<std::int64_t> live = workload.live_rows;
    std::ranges::sort(live);
    CHECK(live == live_rows_of(problem, workload), workload.name);
    CHECK(std::ranges::adjacent_find(live) == live.end(), workload.name);
    CHECK(live.front() >= 0 && live.back() < workload.capacity(), workload.name);
    kinds.insert(workload.row_kind);
  }
  CHECK_EQUAL(kinds.size(), 9u);
}

TEST("every workload has its own name, a plan, and plans to search") {
  std::set<std::string> names;
  for (const bench::Workload& workload : every_workload()) {
    names.insert(workload.name);
    const Problem problem(bench::problem_of(workload, 0));
    for (const Gpu& gpu : {h100, h200}) CHECK(Plan(problem, gpu.info).info().grid_x > 0, workload.name);
    const std::size_t choices = launch_choices(problem).size();
    CHECK(choices > 1 && choices <= bench::most_choices, workload.name, ": ", choices);
  }
  CHECK_EQUAL(names.size(), every_workload().size());
}

TEST("rows alone are dense and plain, as many, and move the same bytes") {
  for (const bench::Workload& workload : bench::convention_workloads()) {
    CHECK(!workload.is_plain(), workload.name);
    const bench::Workload alone = workload.alone();
    CHECK(alone.is_plain(), workload.name);
    CHECK_EQUAL(alone.valid_rows(), workload.valid_rows(), workload.name);
    CHECK_EQUAL(alone.stream_vectors(), workload.stream_vectors(), workload.name);
  }
}

TEST("sets that share memory share no live row") {
  for (const bench::Workload& workload : every_workload()) {
    const std::int64_t apart = workload.rows_between_sets();
    CHECK_EQUAL(apart > 0, workload.masked(), workload.name);
    if (apart > 0) CHECK(std::ranges::max(workload.row_index) <= apart && apart < workload.rows, workload.name);
  }
}

TEST("scales lie where the library has them") {
  for (const std::int32_t layout :
       {MOE_ACT_SCALE_LAYOUT_COLUMN_MAJOR, MOE_ACT_SCALE_LAYOUT_ROW_MAJOR, MOE_ACT_SCALE_LAYOUT_TMA_COLUMN_MAJOR,
        MOE_ACT_SCALE_LAYOUT_PACKED_UE8M0, MOE_ACT_SCALE_LAYOUT_SWIZZLED_128X4})
    for (const std::int64_t block : {32, 128})
      for (const std::int64_t rows : {1, 130, 256})
        for (const std::int64_t experts : {0, 3}) {
          bench::Workload workload = bench::dense_rows("", "", bench::Input::e4m3, rows, 576);
          workload.x_form = workload.out_form = {static_cast<moe_act_scale_layout>(layout), block};
          if (experts > 0) {
            workload.row_kind = MOE_ACT_ROWS_MASKED;
            workload.experts = experts;
            workload.row_index.assign(static_cast<std::size_t>(experts), 1);
          }
          const Problem problem(bench::problem_of(workload, 0));
          const auto check = [&](const bench::ScaleTensor& places, const ScaleSpec& spec) {
            const math::ScaleView view = view_of(spec);
            const std::int64_t bytes = places.form.element_bytes();
            CHECK(places.part_elements() * bytes * std::max<std::int64_t>(experts, 1) >= scale_bytes(spec));
            for (std::int64_t row = 0; row < workload.capacity(); ++row)
              for (std::int64_t b = 0; b < places.blocks(); ++b)
                CHECK_EQUAL(places.element(row, b) * bytes,
                            view.row_offset(row / rows, row % rows) + view.block_offset(b), bench::name_of(places.form),
                            ", row ", row, " of ", rows, ", block ", b);
          };
          check(workload.x_scales(), x_scale_spec(problem.description()));
          check(workload.out_scales(), out_scale_spec(problem.description()));
        }
}

}  // namespace
