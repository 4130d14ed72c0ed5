// The CPU backend: which instruction set this machine has, and the rows spread over threads.
#if defined(__x86_64__)
#include <cpuid.h>
#endif
#include <pthread.h>

#include <atomic>
#include <cstring>
#include <string>

#include "core/backend.hpp"
#include "core/error.hpp"
#include "cpu/kernels.hpp"

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
  RowsFunction (*find_kernel)(Format input, OutputKind output);
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

}  // namespace

void launch(const Plan& plan, const KernelArguments& arguments) {
  const RowsFunction run_rows = current_level().find_kernel(plan.problem().input(), plan.problem().output_kind());
  if (run_rows == nullptr) fail(MOE_ACT_INTERNAL_ERROR, "plan", "no CPU kernel is compiled for its formats");
  const std::int64_t units = arguments.source.units;
  const std::int64_t units_per_task = 1 + outputs_worth_threads / 4 / arguments.columns;
  const std::int64_t tasks = (units + units_per_task - 1) / units_per_task;
  watch_forks();
  [[maybe_unused]] const bool threads =
      tasks > 1 && units >= outputs_worth_threads / arguments.columns && !forked.load();
#if defined(_OPENMP)
#pragma omp parallel for schedule(dynamic, 1) if (threads)
#endif
  for (std::int64_t task = 0; task < tasks; ++task) {
    const std::int64_t begin = task * units_per_task;
    const std::int64_t end = begin + units_per_task < units ? begin + units_per_task : units;
    run_rows(arguments, begin, end);
  }
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
