// Where the library stands on this GPU: workloads times contenders, block-scaled e4m3 out.
//
//     moe_act_bench [--conventions] [--json FILE] [--only SUBSTRING] [--contender NAME]... [--quick] [--search]
//     [--list]
//
// Every result is compared with ours before it is timed, and ours with the CPU's for some rows; `move`, `stream` and
// `empty` compute no result. With --conventions, the limits and `alone` do a workload's live rows alone. Figures are
// medians of CUDA-graph replays, per launch, the contenders' order rotated. cold: inputs and results rotate through
// more than four times L2; hot: one set of buffers. Exit status: 0 all good, 1 some contender failed, 2 bad usage.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <exception>
#include <fstream>
#include <stdexcept>

#include "report.hpp"

namespace bench {
namespace {

constexpr const char* usage =
    "usage: moe_act_bench [--conventions] [--json FILE] [--only SUBSTRING] [--contender NAME]... [--quick] [--search]\n"
    "                     [--list]\n"
    "  --conventions     every other row convention and scale layout instead of mapped and dense rows\n"
    "  --json FILE       write all figures here\n"
    "  --only SUBSTRING  workloads whose name contains it\n"
    "  --contender NAME  this contender; may be repeated\n"
    "  --quick           fewer repetitions\n"
    "  --search          also time every plan that the library could make, not only the one it makes\n"
    "  --list            name workloads and contenders, run nothing\n";

struct Options {
  std::string json, only;
  std::vector<std::string> contenders;
  bool conventions = false, quick = false, search = false, list = false, help = false;
};

class BadUsage : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

Options parse(int count, char** arguments) {
  Options options;
  for (int i = 1; i < count; ++i) {
    const std::string name = arguments[i];
    const auto value = [&] {
      if (i + 1 == count) throw BadUsage(name + ": expected a value");
      return std::string(arguments[++i]);
    };
    if (name == "--json")
      options.json = value();
    else if (name == "--only")
      options.only = value();
    else if (name == "--contender")
      options.contenders.push_back(value());
    else if (name == "--conventions")
      options.conventions = true;
    else if (name == "--quick")
      options.quick = true;
    else if (name == "--search")
      options.search = true;
    else if (name == "--list")
      options.list = true;
    else if (name == "--help" || name == "-h")
      options.help = true;
    else
      throw BadUsage(name + ": no such option");
  }
  return options;
}

std::vector<std::string> names_of(const Contenders& contenders) {
  std::vector<std::string> names;
  for (const auto& contender : contenders)
    if (std::ranges::find(names, contender->name()) == names.end()) names.push_back(contender->name());
  return names;
}

void list(const std::vector<Workload>& workloads, const Contenders& contenders) {
  for (const Workload& workload : workloads)
    std::printf("%-39s %7lld of %7lld rows, %8.3f MB   %s\n", workload.name.c_str(),
                static_cast<long long>(workload.valid_rows()), static_cast<long long>(workload.capacity()),
                static_cast<double>(workload.bytes()) * 1e-6, workload.group.c_str());
  std::printf("contenders:");
  for (const std::string& name : names_of(contenders)) std::printf(" %s", name.c_str());
  std::printf("\n");
}

std::vector<Measurement> measure_all(const std::vector<Workload>& workloads, const Contenders& contenders,
                                     const Options& options, const Device& device) {
  const Effort effort = options.quick ? Effort{.repetitions = 3, .graph_microseconds = 500} : Effort{};
  std::vector<Measurement> measurements;
  std::size_t shown = 0;  // measurements that a table has shown
  for (std::size_t i = 0; i < workloads.size(); ++i) {
    const Workload& workload = workloads[i];
    std::fprintf(stderr, "[%zu/%zu] %s ...", i + 1, workloads.size(), workload.name.c_str());
    const auto begin = std::chrono::steady_clock::now();
    measurements.push_back(measure(workload, contenders, options.contenders, device, effort));
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    std::fprintf(stderr, " %.1f s\n", seconds.count());
    if (i + 1 == workloads.size() || workloads[i + 1].group != workload.group) {
      std::printf("%s", table(std::span(measurements).subspan(shown)).c_str());
      std::fflush(stdout);
      shown = measurements.size();
    }
  }
  return measurements;
}

void write(const std::string& path, const std::string& text) {
  std::ofstream file(path);
  file << text;
  file.close();
  if (!file) throw std::runtime_error(path + ": cannot be written");
}

int run(const Options& options) {
  const Contenders contenders = all_contenders(options.search);
  std::vector<Workload> workloads = options.conventions ? convention_workloads() : all_workloads();
  std::erase_if(workloads, [&](const Workload& w) { return w.name.find(options.only) == std::string::npos; });
  if (workloads.empty()) throw BadUsage("--only: no workload's name contains '" + options.only + "'");
  const std::vector<std::string> known = names_of(contenders);
  for (const std::string& name : options.contenders)
    if (std::ranges::find(known, name) == known.end()) throw BadUsage("--contender: there is no '" + name + "'");
  if (options.list) {
    list(workloads, contenders);
    return 0;
  }

  const Device device = current_device();
  const Environment environment = describe_environment(device);
  std::printf("%s, %d SMs, driver %s, CUDA %s, commit %s\n", device.name.c_str(), device.multiprocessors,
              environment.driver.c_str(), environment.cuda.c_str(), environment.commit.c_str());
  const std::vector<Absent> absent = absent_contenders(contenders, device);
  for (const auto& [contender, reason] : absent) std::printf("absent: %s, %s\n", contender.c_str(), reason.c_str());

  const std::vector<Measurement> measurements = measure_all(workloads, contenders, options, device);
  if (!options.json.empty()) write(options.json, json_report(environment, device, absent, measurements));
  const bool refused = std::ranges::any_of(measurements, [](const Measurement& measurement) {
    return std::ranges::any_of(measurement.results, [](const Result& result) { return !result.refusal.empty(); });
  });
  return refused ? 1 : 0;
}

}  // namespace
}  // namespace bench

int main(int count, char** arguments) {
  try {
    const bench::Options options = bench::parse(count, arguments);
    if (!options.help) return bench::run(options);
    std::fputs(bench::usage, stdout);
    return 0;
  } catch (const bench::BadUsage& error) {
    std::fprintf(stderr, "%s\n%s", error.what(), bench::usage);
    return 2;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "\n%s\n", error.what());
    return 1;
  }
}
