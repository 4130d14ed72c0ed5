// What the planner prefers, as what it is, a pure function: for GPUs that are not there.
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "gpus.hpp"

namespace {

using namespace planned;

TEST("row order is only for who provides workspace, and only where rows are many") {
  moe_act_problem problem = with_map(problem_of(Format::e4m3, Format::e4m3, 147072, 2048), 131072);
  CHECK_EQUAL(info_of(problem, h100).workspace_bytes, 0);
  problem.workspace_limit = 16 + 4 * 147072 - 1;
  CHECK_EQUAL(info_of(problem, h100).workspace_bytes, 0);
  problem.workspace_limit = 16 + 4 * 147072;
  CHECK_EQUAL(info_of(problem, h100).workspace_bytes, 16 + 4 * 147072);
  problem.expected_rows = 100;
  CHECK_EQUAL(info_of(problem, h100).workspace_bytes, 0);
}

TEST("row order takes fewer rows where scales are read, and memory no faster than instructions") {
  const auto marks = [](Format input, const Gpu& gpu) {
    moe_act_problem problem = with_map(problem_of(input, Format::e4m3, 47232, 2048), 32768);
    problem.workspace_limit = std::int64_t{1} << 40;
    return info_of(problem, gpu).workspace_bytes > 0;
  };
  CHECK(marks(Format::e4m3, h100));
  CHECK(!marks(Format::bf16, h100));
  CHECK(!marks(Format::e4m3, h200));
}

TEST("row order is not for a buffer with room for far more rows than are live") {
  moe_act_problem problem = with_map(problem_of(Format::e4m3, Format::e4m3, 0, 2048), 131072);
  problem.workspace_limit = std::int64_t{1} << 40;
  for (const std::int64_t rows : {std::int64_t{131072}, 4 * std::int64_t{131072} + 3}) {
    problem.rows = problem.x_scale_stride = problem.out_scale_stride = rows;
    CHECK(info_of(problem, h100).workspace_bytes > 0, rows);
  }
  problem.rows = problem.x_scale_stride = problem.out_scale_stride = std::int64_t{16} << 20;
  CHECK_EQUAL(info_of(problem, h100).workspace_bytes, 0);
  problem.expected_rows = 5000;  // of 131072 entries: many are not live
  CHECK_EQUAL(info_of(problem, h100).workspace_bytes, 0);
}

TEST("where memory is faster than instructions, rows stay in map order and CTAs are small") {
  moe_act_problem problem = with_map(problem_of(Format::e4m3, Format::e4m3, 147072, 2048), 131072);
  problem.workspace_limit = std::int64_t{1} << 40;
  const moe_act_plan_info on_h100 = info_of(problem, h100), on_h200 = info_of(problem, h200);
  CHECK(on_h100.workspace_bytes > 0);
  CHECK_EQUAL(on_h200.workspace_bytes, 0);
  CHECK_EQUAL(on_h200.threads_per_cta, 32);
  CHECK(on_h100.threads_per_cta > 32);
  const moe_act_problem wide = problem_of(Format::e4m3, Format::e4m3, 2048, 14336);
  CHECK_EQUAL(info_of(wide, h100).schedule, MOE_ACT_SCHEDULE_TILES);
  CHECK_EQUAL(info_of(wide, h200).schedule, MOE_ACT_SCHEDULE_ROWS);
}

TEST("few rows take few columns per lane, many rows take full-width loads") {
  for (const Gpu& gpu : gpus)
    for (const Format input : inputs)
      for (const Format output : outputs)
        for (const bool map : {false, true}) {
          moe_act_problem few = problem_of(input, output, 1, 2048);
          moe_act_problem many = problem_of(input, output, 1 << 18, 2048);
          if (map) few = with_map(few, 1), many = with_map(many, 1 << 18);
          const moe_act_plan_info few_info = info_of(few, gpu);
          const moe_act_plan_info many_info = info_of(many, gpu);
          CHECK_EQUAL(few_info.columns_per_lane, 4, text(few, gpu));
          CHECK_EQUAL(few_info.vectors_per_lane, 1, text(few, gpu));
          CHECK_EQUAL(load_bytes(many, many_info), 16, text(many, gpu));
          CHECK(columns_in_flight(many_info) > columns_in_flight(few_info), text(many, gpu));
        }
}

TEST("lanes only grow with the number of rows") {
  for (const Gpu& gpu : gpus)
    for (const Format input : inputs) {
      int before = 0;
      for (std::int64_t rows = 1; rows <= 1 << 20; rows *= 2) {
        const moe_act_problem problem = problem_of(input, Format::e4m3, rows, 2048);
        const int now = columns_in_flight(info_of(problem, gpu));
        CHECK(now >= before, text(problem, gpu));
        before = now;
      }
    }
}

TEST("a map cannot have more live rows than there are rows") {
  const moe_act_problem problem = problem_of(Format::bf16, Format::e4m3, 2, 2048);
  const moe_act_plan_info some_entries = info_of(with_map(problem, 64), h100);
  CHECK_EQUAL(columns_in_flight(some_entries), columns_in_flight(info_of(problem, h100)));
}

TEST("few live rows among many entries take CTAs that look at many, not a CTA for each") {
  auto problem = with_map(problem_of(Format::e4m3, Format::e4m3, 131072, 2048), 131072);
  problem.expected_rows = 100;
  const moe_act_plan_info info = info_of(problem, h100);
  CHECK_EQUAL(info.schedule, MOE_ACT_SCHEDULE_SPARSE);
  CHECK(info.units_per_cta >= 128, info.units_per_cta);
  // No more CTAs than are at work at the same time, or nearly so, but enough to keep every multiprocessor busy.
  CHECK(info.grid_x * info.grid_z <= 10 * 132, info.grid_x, " x ", info.grid_z);
  CHECK(info.grid_x * info.grid_z >= 2 * 132, info.grid_x, " x ", info.grid_z);
  problem.expected_rows = 131072;
  CHECK_EQUAL(info_of(problem, h100).schedule, MOE_ACT_SCHEDULE_ROWS);
  // Dense rows are all live, whatever the hint says.
  for (const Gpu& gpu : gpus)
    for (const Format input : inputs)
      for (const std::int32_t block : {64, 128})
        for (const std::int64_t rows : {300, 131072}) {
          auto dense = problem_of(input, Format::e4m3, rows, 2048);
          dense.out_block = block;
          const moe_act_plan_info without_hint = info_of(dense, gpu);
          dense.expected_rows = 8;
          const moe_act_plan_info with_hint = info_of(dense, gpu);
          CHECK_EQUAL(std::memcmp(&with_hint, &without_hint, sizeof(with_hint)), 0, text(dense, gpu));
        }
}

TEST("very few live rows of e4m3 are shared out by half lanes, a chunk of each row for each warp") {
  const auto planned = [](std::int64_t entries, std::int64_t expected_rows, std::int64_t columns, std::int32_t pdl) {
    auto problem = with_map(problem_of(Format::e4m3, Format::e4m3, entries, columns), entries);
    problem.expected_rows = expected_rows;
    problem.pdl = pdl;
    return info_of(problem, h100);
  };
  const auto is_half = [](const moe_act_plan_info& info) {
    return info.schedule == MOE_ACT_SCHEDULE_SPARSE && info.columns_per_lane == 8 && info.threads_per_cta == 256;
  };
  for (const std::int64_t columns : {1024, 2048, 7168}) {
    const moe_act_plan_info info = planned(4096, 64, columns, MOE_ACT_PDL_OFF);
    CHECK(is_half(info), columns);
    CHECK_EQUAL(info.grid_y, (columns + 2047) / 2048, columns);
    CHECK_EQUAL(info.rows_per_cta, columns == 1024 ? 2 : 1, columns);
  }
  CHECK(!is_half(planned(512, 64, 2048, MOE_ACT_PDL_OFF)));
  CHECK(is_half(planned(512, 64, 2048, MOE_ACT_PDL_METADATA_READY)));
  CHECK(!is_half(planned(512, 16, 2048, MOE_ACT_PDL_METADATA_READY)));
  CHECK(!is_half(planned(8192, 1024, 2048, MOE_ACT_PDL_OFF)));
  // No more CTAs than the map's entries could name rows, in fewer entries than a CTA looks at, too.
  const moe_act_plan_info few = planned(128, 32, 7168, MOE_ACT_PDL_METADATA_READY);
  CHECK(is_half(few));
  CHECK(few.grid_z <= 46, few.grid_z);
  // A grid has 65535 CTAs along a row at most, and these do not loop.
  CHECK(!is_half(planned(64, 0, std::int64_t{1} << 27, MOE_ACT_PDL_OFF)));
  for (const LaunchChoice& choice :
       launch_choices(Problem(with_map(problem_of(Format::e4m3, Format::e4m3, 1, std::int64_t{1} << 27), 64))))
    CHECK(choice.schedule != Schedule::sparse || choice.columns_per_lane == 16);
}

TEST("CTAs share out the live rows of the same entries: few find more than they have in hand") {
  const auto planned = [](std::int64_t entries, std::int64_t expected_rows) {
    auto problem = with_map(problem_of(Format::e4m3, Format::e4m3, entries, 2048), entries);
    problem.expected_rows = expected_rows;
    return info_of(problem, h100);
  };
  for (const std::int64_t entries : {4096, 8192, 32768})
    for (const std::int64_t one_in : {4, 8, 32, 1000}) {
      const moe_act_plan_info info = planned(entries, entries / one_in);
      CHECK_EQUAL(info.schedule, MOE_ACT_SCHEDULE_SPARSE, entries, ", one in ", one_in);
      const std::int64_t in_hand = std::int64_t{info.grid_z} * info.rows_per_cta;
      CHECK(in_hand >= info.units_per_cta / one_in, entries, ", one in ", one_in);
      CHECK(in_hand < 2 * info.units_per_cta / one_in + 8, entries, ", one in ", one_in);
      // As many CTAs as are at work at the same time, or nearly so, unless more rows are expected.
      const std::int64_t needed = std::max<std::int64_t>(10 * 132, entries / one_in / info.rows_per_cta);
      CHECK(std::int64_t{info.grid_x} * info.grid_z <= needed, entries, ", one in ", one_in);
    }
  // A hint of nothing, and so many entries that each look is a CTA's alone.
  CHECK(planned(1 << 20, 0).grid_z == 1 && planned(1 << 20, 1).grid_z == 1);
}

TEST("the same input gives the same plan") {
  for (const Gpu& gpu : gpus) {
    const moe_act_problem problem = with_map(problem_of(Format::e4m3, Format::e4m3, 4096, 2048), 4096);
    const Plan first(Problem(problem), gpu.info);
    const Plan second(Problem(problem), gpu.info);
    const moe_act_plan_info first_info = first.info();
    const moe_act_plan_info second_info = second.info();
    CHECK_EQUAL(std::memcmp(&first_info, &second_info, sizeof(first_info)), 0, gpu.name);
    CHECK_EQUAL(first.text(), second.text());
  }
}

TEST("no rows, no work") {
  CHECK_EQUAL(info_of(problem_of(Format::bf16, Format::e4m3, 0, 2048), h100).grid_x, 0);
  CHECK_EQUAL(info_of(with_map(problem_of(Format::bf16, Format::e4m3, 128, 2048), 0), h100).grid_x, 0);
}

TEST("devices that cannot run it are refused") {
  struct Case {
    int major, minor;
    Pdl pdl;
    std::vector<const char*> words;  // none: accepted
  };
  const Case cases[] = {
      {7, 5, Pdl::off, {"device: ", "8.0 or above", "got 7.5"}},
      {8, 0, Pdl::off, {}},
      {8, 0, Pdl::on, {"pdl: ", "'off'", "9.0", "got 'on' on 8.0"}},
      {8, 9, Pdl::metadata_ready, {"pdl: ", "'off'", "9.0", "got 'metadata_ready' on 8.9"}},
      {9, 0, Pdl::on, {}},
      {10, 0, Pdl::metadata_ready, {}},
      {12, 1, Pdl::on, {}},
      {INT32_MAX, INT32_MAX, Pdl::metadata_ready, {}},
  };
  for (const Case& c : cases) {
    moe_act_problem problem = problem_of(Format::bf16, Format::e4m3, 128, 2048);
    problem.pdl = static_cast<std::int32_t>(c.pdl);
    const std::optional<Error> error = refusal(problem, {100, c.major, c.minor, 1000, 1 << 20});
    CHECK_EQUAL(error.has_value(), !c.words.empty(), "compute capability ", c.major, ".", c.minor);
    if (!error) continue;
    CHECK_EQUAL(error->status(), MOE_ACT_UNSUPPORTED, error->what());
    for (const char* words : c.words) CHECK_CONTAINS(error->what(), words);
  }
  constexpr DeviceInfo impossible[] = {
      {0, 9, 0, 0, 0}, {-1, 9, 0, 0, 0}, {1 << 30, 9, 0, 0, 0}, {INT32_MAX, 9, 0, 0, 0}, {100, 9, 0, -1, 0}};
  for (const DeviceInfo& device : impossible) {
    const std::optional<Error> error = refusal(problem_of(Format::bf16, Format::e4m3, 128, 2048), device);
    CHECK(error && error->status() == MOE_ACT_INVALID_PROBLEM, device.multiprocessors);
    if (error) CHECK_CONTAINS(error->what(), "device: expected");
  }
}

TEST("the text says what was asked for and what was decided") {
  moe_act_problem problem = with_map(problem_of(Format::bf16, Format::e4m3, 4096, 2048), 1024);
  problem.out_scale_stride = MOE_ACT_STRIDE_ON_DEVICE;
  const std::string on_gpu = Plan(Problem(problem), h100.info).text();
  for (const char* words : {"swiglu", "bf16 [4096, 2 x 2048] -> e4m3 (block scale)", "second half", "1024 entries",
                            "on the device", "9.0", "132 SMs", "grid", "per lane"})
    CHECK_CONTAINS(on_gpu, words);
  problem.device_type = MOE_ACT_DEVICE_CPU;
  CHECK_CONTAINS(Plan(Problem(problem), {}).text(), "CPU");
}

TEST("on the CPU nothing is decided and the device is not looked at") {
  moe_act_problem problem = problem_of(Format::bf16, Format::e4m3, 128, 2048);
  problem.device_type = MOE_ACT_DEVICE_CPU;
  moe_act_plan_info expected{};
  expected.struct_size = sizeof(expected);
  const moe_act_plan_info info = Plan(Problem(problem), {-1, 0, 0, -1, -1}).info();
  CHECK_EQUAL(std::memcmp(&info, &expected, sizeof(info)), 0);
}

// What the kernels for rows tell by: 0 entries a CTA.
TEST("only dense rows that wait for no kernel start at once") {
  const auto starts_at_once = [](const moe_act_problem& problem) {
    const Plan plan(Problem(problem), h100.info);
    CHECK_EQUAL(static_cast<int>(plan.cuda().key.schedule), static_cast<int>(Schedule::rows));
    return plan.arguments(moe_act_buffers{}).entries_per_cta == 0;
  };
  for (const Format input : inputs)
    for (const std::int64_t rows : {1, 256, 2048}) {
      moe_act_problem problem = problem_of(input, Format::e4m3, rows, 2048);
      CHECK(starts_at_once(problem), text(problem, h100));
      for (const std::int32_t pdl : {MOE_ACT_PDL_ON, MOE_ACT_PDL_METADATA_READY}) {
        problem.pdl = pdl;
        CHECK(!starts_at_once(problem), text(problem, h100));
      }
      problem.pdl = MOE_ACT_PDL_OFF;
      CHECK(!starts_at_once(with_map(problem, rows)), text(problem, h100));
      problem.out_scale_stride = MOE_ACT_STRIDE_ON_DEVICE;
      CHECK(!starts_at_once(problem), text(problem, h100));
    }
  moe_act_problem marked = with_map(problem_of(Format::e4m3, Format::e4m3, 147072, 2048), 131072);
  marked.workspace_limit = std::int64_t{1} << 20;
  CHECK(Plan(Problem(marked), h100.info).cuda().marks_rows);
  CHECK(!starts_at_once(marked));
}

TEST("marked rows are done in blocks where chunks would leave lanes idle, and are more where they end in a part") {
  const auto with = [](std::int64_t columns, std::int64_t tokens, std::int32_t pdl = MOE_ACT_PDL_OFF) {
    moe_act_problem problem = with_map(problem_of(Format::e4m3, Format::e4m3, 10 * tokens, columns), 8 * tokens);
    problem.workspace_limit = std::int64_t{1} << 40;
    problem.pdl = pdl;
    return info_of(problem, h100);
  };
  CHECK_EQUAL(with(2880, 4096).workspace_bytes, 0);
  CHECK(with(2880, 16384).workspace_bytes > 0);
  CHECK_EQUAL(with(2880, 16384).schedule, MOE_ACT_SCHEDULE_ROWS);
  CHECK(with(1408, 16384).workspace_bytes > 0);
  CHECK_EQUAL(with(1408, 16384).schedule, MOE_ACT_SCHEDULE_TILES);
  CHECK_EQUAL(with(1408, 16384).threads_per_cta, 32);
  CHECK_EQUAL(with(1408, 16384, MOE_ACT_PDL_ON).threads_per_cta, 4 * 32);
}

TEST("a kernel that marks rows brings the first ones into L2, as many as memory delivers meanwhile") {
  const auto rows_ahead = [](Format input, std::int64_t columns, const DeviceInfo& device) {
    moe_act_problem problem = with_map(problem_of(input, Format::e4m3, 1 << 18, columns), 1 << 18);
    problem.workspace_limit = std::int64_t{1} << 40;
    const LaunchChoice marked{Schedule::rows, static_cast<std::int8_t>(16 / bytes_per_element(input)), 2, 4, 0, true};
    return Plan(Problem(problem), device, marked).cuda().rows_ahead;
  };
  DeviceInfo device = h100.info;
  device.memory_gigabytes_per_second = 3352;
  CHECK_EQUAL(rows_ahead(Format::e4m3, 2048, device), 1227);
  CHECK_EQUAL(rows_ahead(Format::bf16, 2048, device), 613);
  CHECK_EQUAL(rows_ahead(Format::e4m3, 14336, device), 175);
  device.memory_gigabytes_per_second = 0;  // unknown
  CHECK_EQUAL(rows_ahead(Format::e4m3, 2048, device), 0);
}

TEST("short rows are shared out to the multiprocessors, and leave no lanes idle that blocks of rows would use") {
  CHECK_EQUAL(info_of(problem_of(Format::bf16, Format::e4m3, 256, 512), h100).threads_per_cta, 4 * 32);
  CHECK_EQUAL(info_of(problem_of(Format::e4m3, Format::e4m3, 2048, 768), h100).columns_per_lane, 8);
  CHECK_EQUAL(info_of(problem_of(Format::e4m3, Format::e4m3, 12000, 128), h100).schedule, MOE_ACT_SCHEDULE_TILES);
}

}  // namespace
