// The CPU backend: which instruction set this machine has, and the rows spread over threads.
#if defined(__x86_64__)
#include <cpuid.h>
#endif
#include <pthread.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <string>

#include "core/backend.hpp"
#include "core/error.hpp"
#include "cpu/kernels.hpp"
#include "cpu/padding.hpp"

namespace moe_act::cpu {
namespace {

#if defined(__x86_64__)
#if defined(__clang__) || __GNUC__ < 12
// A feature that __builtin_cpu_supports of compilers of that age has no name for.
bool has_f16c() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0;
}
#endif

bool has_v3() {
#if defined(__clang__) || __GNUC__ < 12
  // The names of the levels themselves are not known: their features that compilers of that age do know.
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
         __builtin_cpu_supports("bmi2") && has_f16c();
#else
  return __builtin_cpu_supports("x86-64-v3");
#endif
}

bool has_v4() {
  return has_v3() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
#endif

struct Level {
  const char* name;
  bool (*usable)();
  RowsFunction (*find_kernel)(Format input);
};

// Best last.
constexpr Level levels[] = {
    {"baseline", [] { return true; }, &baseline::find_kernel},
#if defined(__x86_64__)
    {"x86-64-v3", &has_v3, &x86_64_v3::find_kernel},
    {"x86-64-v4", &has_v4, &x86_64_v4::find_kernel},
#endif
};

const Level* best_level() {
  const Level* best = &levels[0];
  for (const Level& level : levels)
    if (level.usable()) best = &level;
  return best;
}

std::atomic<const Level*> current{nullptr};

const Level& current_level() {
  const Level* level = current.load(std::memory_order_relaxed);
  if (level == nullptr) current.store(level = best_level(), std::memory_order_relaxed);
  return *level;
}

// A forked child has the OpenMP runtime's memory of its threads, but not the threads: it would wait for them forever.
std::atomic<bool> forked{false};

void watch_forks() {
  static const int registered = pthread_atfork(nullptr, nullptr, [] { forked.store(true); });
  (void)registered;
}

// Below this many outputs, waking threads costs more than they save.
constexpr std::int64_t outputs_worth_threads = std::int64_t{1} << 15;

// Calls task(0) to task(tasks - 1), by several threads if that is worth it. Later ones are taken by whoever is free.
template <typename Task>
void for_each_task(std::int64_t tasks, bool worth_threads, Task task) {
  watch_forks();
#if defined(_OPENMP)
  // Not a parallel region's own condition: a region of one thread still makes and ends a team, a microsecond.
  if (worth_threads && tasks > 1 && !forked.load()) {
#pragma omp parallel for schedule(dynamic, 1)
    for (std::int64_t i = 0; i < tasks; ++i) task(i);
    return;
  }
#else
  (void)worth_threads;
#endif
  for (std::int64_t i = 0; i < tasks; ++i) task(i);
}

// Units [0, units) of a list, or of an expert's segment, a few rows a task.
template <typename Part>
void for_each_part(std::int64_t units, std::int64_t columns, Part part) {
  const std::int64_t units_per_task = 1 + outputs_worth_threads / 4 / columns;
  const std::int64_t tasks = (units + units_per_task - 1) / units_per_task;
  for_each_task(tasks, units >= outputs_worth_threads / columns, [&](std::int64_t i) {
    const std::int64_t begin = i * units_per_task;
    part(begin, begin + units_per_task < units ? begin + units_per_task : units);
  });
}

std::int64_t padded_to_tiles(std::int64_t rows) {
  return (rows + math::swizzle_rows - 1) / math::swizzle_rows * math::swizzle_rows;
}

// Live rows of all segments, numbered one after the other, some hundred experts at a time: nothing is allocated.
void run_segments(RowsFunction run_rows, const KernelArguments& arguments) {
  constexpr std::int64_t experts_at_once = 512;
  const RowAddressing& addressing = arguments.rows;
  const bool pads = addressing.kind != RowKind::masked;  // the swizzled layout, every segment for itself
  std::int64_t scale_rows = 0, rows_left = addressing.most_live_rows();
  for (std::int64_t first = 0; first < addressing.experts; first += experts_at_once) {
    const std::int64_t left = addressing.experts - first;
    const std::int64_t experts = left < experts_at_once ? left : experts_at_once;
    std::array<std::int64_t, experts_at_once> ends, first_scale_row;
    std::int64_t live = 0;
    for (std::int64_t e = 0; e < experts; ++e) {
      const std::int64_t rows = std::min(addressing.segment_of(first + e).rows, rows_left);
      rows_left -= rows;
      ends[static_cast<std::size_t>(e)] = live += rows;
      first_scale_row[static_cast<std::size_t>(e)] = scale_rows;
      if (pads) scale_rows += padded_to_tiles(rows);
    }
    for_each_part(live, arguments.columns, [&](std::int64_t begin, std::int64_t end) {
      auto e = static_cast<std::size_t>(std::upper_bound(ends.begin(), ends.begin() + experts, begin) - ends.begin());
      for (; begin < end; ++e) {
        const std::int64_t before = e == 0 ? 0 : ends[e - 1];
        const std::int64_t last = end < ends[e] ? end : ends[e];
        const std::int64_t expert = first + static_cast<std::int64_t>(e);
        const Segment segment = addressing.segment_of(expert);
        run_rows(arguments, {expert, segment.first_row, pads ? first_scale_row[e] : 0, begin - before, last - before});
        begin = last;
      }
    });
  }
}

void run_list(RowsFunction run_rows, const KernelArguments& arguments) {
  const RowAddressing& addressing = arguments.rows;
  const std::int64_t count = addressing.count.data != nullptr ? addressing.count[0] : 0;
  for_each_part(addressing.entries_in_use(count), arguments.columns,
                [&](std::int64_t begin, std::int64_t end) { run_rows(arguments, {0, 0, 0, begin, end}); });
}

}  // namespace

void launch(const Plan& plan, const KernelArguments& arguments) {
  const RowsFunction run_rows = current_level().find_kernel(plan.problem().input());
  if (run_rows == nullptr) fail(MOE_ACT_INTERNAL_ERROR, "plan", "no CPU kernel is compiled for its formats");
  if (plan.problem().pads_with_zero()) pad_with_zero(plan.problem(), arguments);
  if (arguments.rows.is_list())
    run_list(run_rows, arguments);
  else
    run_segments(run_rows, arguments);
}

const char* level() {
  return current_level().name;
}

void set_level(const char* name) {
  if (name == nullptr) return current.store(best_level());
  std::string names;
  for (const Level& level : levels) {
    if (std::strcmp(level.name, name) == 0) {
      if (!level.usable()) fail(MOE_ACT_UNSUPPORTED, "level", std::string("this CPU has no '") + name + "'");
      return current.store(&level);
    }
    names += (names.empty() ? "'" : ", '") + std::string(level.name) + "'";
  }
  invalid("level", "expected one of " + names + ", got '" + name + "'");
}

}  // namespace moe_act::cpu
