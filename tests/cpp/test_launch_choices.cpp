// Every plan and every choice covers its problem, within the limits of CUDA: for GPUs that are not there.
#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "core/promises.hpp"
#include "gpus.hpp"

namespace {

using namespace planned;

// What holds for every plan: within the limits of CUDA and of the kernel, nothing left undone, no load or store wider
// than alignment and columns allow.
void check_launch(const Plan& plan, const std::string& name) {
  constexpr std::int64_t max_grid_x = 2147483647;
  constexpr std::int64_t max_grid_y = 65535;
  const moe_act_plan_info info = plan.info();
  const Problem& problem = plan.problem();
  const bool tiles = info.schedule == MOE_ACT_SCHEDULE_TILES;
  const bool loops = info.schedule == MOE_ACT_SCHEDULE_LOOP;
  const bool sparse = info.schedule == MOE_ACT_SCHEDULE_SPARSE;
  const bool marks = info.workspace_bytes > 0;

  CHECK(kernel_keys[plan.cuda().kernel_index] == plan.cuda().key, name);
  CHECK(info.grid_x >= 1 && info.grid_y >= 1 && info.grid_z >= 1, name);
  CHECK(info.grid_y <= max_grid_y && info.grid_z <= max_grid_y, name);
  CHECK(is_power_of_two_up_to(info.threads_per_cta, 512) && info.threads_per_cta % (32 * info.warps_per_row) == 0,
        name);
  const bool list = info.schedule == MOE_ACT_SCHEDULE_LIST;  // what 32 bits cannot count, or be the distance of
  CHECK(list == !(has_row_source(problem.units(), problem->rows) && problem.has_narrow_strides()) || marks, name);
  CHECK(sparse || list || info.units_per_cta == info.rows_per_cta, name);
  const KernelKey& key = plan.cuda().key;
  CHECK(!sparse || info.threads_per_cta == 32 * sparse_warps(key.input, key.columns_per_lane), name,
        ": what its kernels have room for");
  CHECK(info.units_per_cta >= 1 && info.units_per_cta <= (sparse ? 512 : 128), name);
  CHECK(tiles || sparse || list || info.grid_z == 1, name);
  CHECK(!sparse || info.grid_z * info.rows_per_cta <
                       std::min<std::int64_t>(info.units_per_cta, problem.units()) + info.rows_per_cta,
        name, ": CTAs for nothing");
  CHECK(info.workspace_bytes <= problem->workspace_limit, name);
  CHECK(!marks || problem.has_map(), name);
  if (marks) CHECK_EQUAL(info.workspace_bytes, 16 + 4 * problem->rows, name);

  const std::int64_t units = tiles || marks ? problem->rows : problem.units();
  // Sparse: the CTAs of a grid's z look at the same entries. List: at entries that lie as far apart.
  const std::int64_t ctas_of_rows = (tiles ? info.grid_y : info.grid_x) * std::int64_t{sparse ? 1 : info.grid_z};
  const std::int64_t ctas_of_columns = tiles ? info.grid_x : info.grid_y;
  const std::int64_t columns_per_cta =
      info.warps_per_row * (tiles ? 128 : std::int64_t{32} * info.columns_per_lane * info.vectors_per_lane);
  // A grid at its limit is only for kernels that loop: lists over rows, and with the sparse one and loops over columns.
  CHECK(info.units_per_cta * ctas_of_rows >= units || (list && info.grid_x == max_grid_x), name);
  const bool whole_rows = sparse && !shares_chunks(key.input, key.columns_per_lane);
  CHECK(whole_rows || list || columns_per_cta * ctas_of_columns >= problem->columns ||
            (loops && info.grid_y == max_grid_y),
        name);
  const std::int64_t last_z = tiles ? info.grid_y : list ? info.grid_z : 1;
  CHECK(info.units_per_cta * (ctas_of_rows - last_z) < units, name, ": CTAs without rows");
  CHECK(columns_per_cta * (ctas_of_columns - 1) < problem->columns, name, ": CTAs without columns");

  if (info.columns_per_lane == 1) return;
  const int store_bytes = info.columns_per_lane * bytes_per_element(problem.output());
  CHECK_EQUAL(problem->columns % info.columns_per_lane, 0, name);
  CHECK(load_bytes(problem.description(), info) <= std::min(16, problem->x_alignment), name);
  CHECK(std::min(16, store_bytes) <= problem->out_alignment, name);
}

void check_plan(const moe_act_problem& problem, const Gpu& gpu) {
  check_launch(Plan(Problem(problem), gpu.info), text(problem, gpu));
}

TEST("every plan does all of its work within the limits of CUDA") {
  constexpr std::int64_t row_counts[] = {1,
                                         2,
                                         3,
                                         31,
                                         128,
                                         1000,
                                         4096,
                                         65536,
                                         1 << 20,
                                         INT32_MAX,
                                         std::int64_t{INT32_MAX} + 1,
                                         (std::int64_t{1} << 31) + 7,
                                         std::int64_t{1} << 34};
  constexpr std::int64_t column_counts[] = {1, 7, 64, 127, 128, 132, 192, 512, 2048, 2056, 7168, 1 << 20};
  for (const Gpu& gpu : gpus)
    for (const Format input : inputs)
      for (const Format output : outputs)
        for (const std::int64_t rows : row_counts)
          for (const std::int64_t columns : column_counts) {
            if (rows > (std::int64_t{1} << 52) / columns) continue;  // leaves the address space
            const moe_act_problem dense = problem_of(input, output, rows, columns);
            check_plan(dense, gpu);
            for (const std::int64_t entries : {std::int64_t{1}, rows, 8 * rows})
              for (const std::int64_t workspace_limit : {std::int64_t{0}, std::int64_t{1} << 40}) {
                moe_act_problem mapped = with_map(dense, entries);
                mapped.workspace_limit = workspace_limit;
                check_plan(mapped, gpu);
              }
          }
  check_plan(problem_of(Format::fp32, Format::fp32, 1, std::int64_t{1} << 28), h100);
  check_plan(with_map(problem_of(Format::bf16, Format::e4m3, 5, 128), std::int64_t{1} << 53), h100);
}

TEST("every choice does all of its work, too, and the planner's own is one of them") {
  for (const Format input : inputs)
    for (const Format output : outputs)
      for (const bool map : {false, true})
        for (const std::int64_t columns : {1, 100, 192, 2048}) {
          moe_act_problem problem = problem_of(input, output, 3001, columns);
          if (map) problem = with_map(problem, 24000);
          problem.workspace_limit = 1 << 20;
          const Problem validated(problem);
          const std::vector<LaunchChoice> choices = launch_choices(validated);
          const std::string name = text(problem, h100);
          CHECK_EQUAL(std::ranges::count(choices, choose_launch(validated, h100.info)), 1, name);
          for (const LaunchChoice& choice : choices) {
            CHECK_EQUAL(std::ranges::count(choices, choice), 1, name);
            check_launch(Plan(validated, h100.info, choice), name);
            CHECK_EQUAL(std::ranges::count(choices, choice), 1, name);
          }
        }
}

TEST("the planner's own choice is one of them for every row kind and layout, too") {
  for (const Format input : inputs)
    for (const std::int32_t kind : {MOE_ACT_ROWS_DENSE, MOE_ACT_ROWS_ROW_TO_EXPERT, MOE_ACT_ROWS_EXPERT_OFFSETS})
      for (const std::int32_t scaling : {MOE_ACT_SCALING_BLOCK, MOE_ACT_SCALING_ROW})
        for (const std::int64_t columns : {1, 192, 2048, 7168})
          for (const std::int64_t expected : {1, 300, 100'000}) {
            moe_act_problem problem = problem_of(input, Format::e4m3, 100'000, columns);
            problem.row_kind = kind;
            if (kind == MOE_ACT_ROWS_ROW_TO_EXPERT) problem.entries = problem.rows;
            if (kind == MOE_ACT_ROWS_EXPERT_OFFSETS) problem.experts = 256;
            problem.out_scaling = scaling;
            problem.out_block = scaling == MOE_ACT_SCALING_BLOCK ? 64 : 0;
            problem.expected_rows = expected;
            const Problem validated(problem);
            const std::vector<LaunchChoice> choices = launch_choices(validated);
            const std::string name = text(problem, h100);
            for (const Gpu& gpu : gpus)
              CHECK_EQUAL(std::ranges::count(choices, choose_launch(validated, gpu.info)), 1, name);
            for (const LaunchChoice& choice : choices) {
              CHECK_EQUAL(std::ranges::count(choices, choice), 1, name);
              // A list that is looked at once: every entry by somebody, and an eighth at most by nobody.
              const CudaLaunch launch = cover(validated, choice, h100.info);
              if (!launch.looks_once) continue;
              const std::int64_t looked_at = std::int64_t{launch.grid_x} * launch.grid_z * launch.row_warps;
              CHECK(looked_at >= validated.units(), name);
              CHECK(looked_at <= validated.units() * 9 / 8 + launch.row_warps, name);
            }
          }
}

TEST("on the CPU there is nothing to choose") {
  moe_act_problem problem = problem_of(Format::bf16, Format::e4m3, 128, 2048);
  const LaunchChoice choice = launch_choices(Problem(problem)).front();
  problem.device_type = MOE_ACT_DEVICE_CPU;
  try {
    const Plan plan(Problem(problem), {}, choice);
    CHECK(false);
  } catch (const Error& error) {
    CHECK_EQUAL(error.status(), MOE_ACT_INVALID_PROBLEM);
    CHECK_CONTAINS(error.what(), "choice: expected a problem on CUDA");
  }
}

TEST("a hint changes the plan alone, and never what it covers") {
  const moe_act_problem base = with_map(problem_of(Format::bf16, Format::e4m3, 1 << 17, 2048), 1 << 17);
  CHECK_EQUAL(info_of(base, h100).schedule, MOE_ACT_SCHEDULE_ROWS);
  constexpr std::int64_t hints[] = {-1, 0, 1, 64, 1 << 17, std::int64_t{1} << 40};
  for (const std::int64_t hint : hints) {
    moe_act_problem hinted = base;
    hinted.expected_rows = hint;
    check_plan(hinted, h100);
    const bool few = hint >= 0 && hint <= 64;
    CHECK_EQUAL(info_of(hinted, h100).schedule == MOE_ACT_SCHEDULE_SPARSE, few, "hint ", hint);
    moe_act_problem planned = Plan(Problem(hinted), h100.info).problem().description();
    planned.expected_rows = -1;
    const moe_act_problem expected = normalized(base);
    CHECK_EQUAL(std::memcmp(&planned, &expected, sizeof(base)), 0, "hint ", hint);
    check_accepts(Plan(Problem(hinted), h100.info), base);
  }
  // A hint of few rows where no grid covers the capacity.
  moe_act_problem beyond_grid = problem_of(Format::e4m3, Format::e4m3, std::int64_t{1} << 34, 512);
  beyond_grid.expected_rows = 1;
  check_plan(beyond_grid, h100);
}

TEST("memory that outruns instructions asks for CTAs of one warp, unless dependents start early") {
  moe_act_problem problem = with_map(problem_of(Format::e4m3, Format::e4m3, 1 << 17, 2048), 1 << 17);
  const auto warps_per_cta = [&](const Gpu& gpu) { return choose_launch(Problem(problem), gpu.info).warps_per_cta; };
  CHECK_EQUAL(warps_per_cta(h200), 1);
  CHECK_EQUAL(warps_per_cta(h100), 4);
  for (const std::int32_t pdl : {MOE_ACT_PDL_ON, MOE_ACT_PDL_METADATA_READY}) {
    problem.pdl = pdl;
    CHECK_EQUAL(warps_per_cta(h200), 4, "pdl ", pdl);
  }
}

TEST("where dependents start early or entries are many, few live rows take few large CTAs, one token small ones") {
  moe_act_problem few_live = with_map(problem_of(Format::e4m3, Format::e4m3, 256, 2048), 256);
  few_live.expected_rows = 8;
  moe_act_problem all_live = with_map(problem_of(Format::e4m3, Format::e4m3, 64, 2048), 64);
  moe_act_problem one_token = with_map(problem_of(Format::e4m3, Format::e4m3, 8, 2048), 8);
  one_token.expected_rows = 1;
  const auto ctas = [](moe_act_problem problem, std::int32_t pdl) {
    problem.pdl = pdl;
    const moe_act_plan_info info = info_of(problem, h100);
    return info.grid_x * info.grid_y;
  };
  for (const std::int32_t pdl : {MOE_ACT_PDL_ON, MOE_ACT_PDL_METADATA_READY}) {
    CHECK(4 * ctas(few_live, pdl) <= ctas(few_live, MOE_ACT_PDL_OFF), "pdl ", pdl);
    CHECK_EQUAL(2 * ctas(all_live, pdl), ctas(all_live, MOE_ACT_PDL_OFF), "pdl ", pdl);
    CHECK_EQUAL(ctas(one_token, pdl), 2 * ctas(one_token, MOE_ACT_PDL_OFF), "pdl ", pdl);
  }
  moe_act_problem twice = with_map(problem_of(Format::e4m3, Format::e4m3, 512, 2048), 512);
  twice.expected_rows = 64;
  CHECK(ctas(twice, MOE_ACT_PDL_OFF) <= ctas(few_live, MOE_ACT_PDL_OFF));
}

TEST("a choice that cannot be is refused by name") {
  const Problem problem(problem_of(Format::e4m3, Format::e4m3, 100, 2048));
  struct Case {
    LaunchChoice choice;
    const char* words;
  };
  const auto check_refused = [](const Problem& refuses, const Case& c) {
    try {
      const Plan plan(refuses, h100.info, c.choice);
      CHECK(false, c.words);
    } catch (const Error& error) {
      CHECK_EQUAL(error.status(), MOE_ACT_INVALID_PROBLEM, c.words);
      CHECK_CONTAINS(error.what(), c.words);
    }
  };
  const Case cases[] = {
      {{Schedule::rows, 16, 2, 3, 0, false}, "warps_per_cta: expected a power of two up to 16, got 3"},
      {{Schedule::rows, 16, 2, 32, 0, false}, "warps_per_cta: expected a power of two up to 16, got 32"},
      {{Schedule::rows, 16, 2, 4, 8, false}, "entries_per_cta: expected 0 for this schedule, got 8"},
      {{Schedule::sparse, 16, 2, 4, 513, false}, "entries_per_cta: expected 1 to 512, got 513"},
      {{Schedule::sparse, 16, 2, 8, 8, false}, "warps_per_cta: expected 4 for this schedule, got 8"},
      {{Schedule::sparse, 16, 2, 2, 8, false}, "warps_per_cta: expected 4 for this schedule, got 2"},
      {{Schedule::sparse, 8, 1, 4, 8, false}, "warps_per_cta: expected 8 for this schedule, got 4"},
      {{Schedule::sparse, 16, 2, 4, 8, false}, "choice: "},  // no map
      {{Schedule::rows, 8, 2, 4, 0, false}, "choice: "},     // no such kernel
      {{Schedule::rows, 16, 2, 4, 0, true}, "choice: "},     // nothing to mark
      {{Schedule{0}, 16, 2, 4, 0, false}, "choice: "},
  };
  for (const Case& c : cases) check_refused(problem, c);

  moe_act_problem ends = problem_of(Format::e4m3, Format::e4m3, 100, 2048);
  ends.row_kind = MOE_ACT_ROWS_EXPERT_ENDS;
  ends.experts = 4;
  ends.expert_alignment = 1;
  const Problem segments(ends);
  check_refused(segments, {{Schedule::segments, 16, 2, 8, 6, false}, "choice: "});  // four rows of warps take turns
  check_refused(segments, {{Schedule::segments, 16, 1, 4, 2, false}, "choice: "});  // one vector: one row a CTA
  for (const LaunchChoice& choice :
       {LaunchChoice{Schedule::segments, 16, 2, 8, 8, false}, LaunchChoice{Schedule::segments, 16, 1, 4, 1, false}})
    CHECK_EQUAL(std::ranges::count(launch_choices(segments), choice), 1, choice.entries_per_cta);
}

TEST("misaligned pointers and odd columns go one column per lane") {
  struct Case {
    const char* name;
    std::int64_t columns;
    std::int32_t x_alignment;
    std::int32_t out_alignment;
    bool any_width;  // is more than one column per lane possible?
  };
  constexpr Case cases[] = {
      {"all aligned", 2048, 16, 16, true},     {"x misaligned", 2048, 2, 16, false},
      {"out misaligned", 2048, 16, 1, false},  {"H odd", 2047, 2, 1, false},
      {"H even, not by 4", 2046, 4, 2, false}, {"H by 4", 2044, 8, 4, true},
  };
  for (const Case& c : cases)
    for (const std::int64_t rows : {1, 100, 100'000}) {
      moe_act_problem problem = problem_of(Format::bf16, Format::e4m3, rows, c.columns);
      problem.x_alignment = c.x_alignment;
      problem.out_alignment = c.out_alignment;
      CHECK_EQUAL(info_of(problem, h100).columns_per_lane > 1, c.any_width, c.name, ", ", rows, " rows");
    }
}

}  // namespace
