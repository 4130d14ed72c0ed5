#include "environment.hpp"

#include <array>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <memory>

#include "json.hpp"
#include "moe_act/c_api.h"

namespace bench {
namespace {

// The first line that a command prints, empty if it fails.
std::string first_line_of(const std::string& command) {
  std::FILE* pipe = popen((command + " 2>/dev/null").c_str(), "r");
  if (pipe == nullptr) return "";
  std::array<char, 256> line{};
  const bool read = std::fgets(line.data(), static_cast<int>(line.size()), pipe) != nullptr;
  const bool good = pclose(pipe) == 0;
  if (!read || !good) return "";
  const std::string text = line.data();
  return text.substr(0, text.find('\n'));
}

std::string or_unknown(std::string text) {
  return text.empty() ? "unknown" : text;
}

std::string driver_version(const Device& device) {
  char bus_id[32] = "";
  require(cudaDeviceGetPCIBusId(bus_id, sizeof(bus_id), device.id), "cudaDeviceGetPCIBusId");
  return or_unknown(
      first_line_of("nvidia-smi --query-gpu=driver_version --format=csv,noheader --id=" + std::string(bus_id)));
}

std::string runtime_version() {
  int version = 0;
  require(cudaRuntimeGetVersion(&version), "cudaRuntimeGetVersion");
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

std::string utc_now() {
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  gmtime_r(&now, &utc);
  char text[32];
  std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S+00:00", &utc);
  return text;
}

std::string commit() {
  const char* given = std::getenv("MOE_ACT_COMMIT");
  if (given != nullptr && *given != '\0') return given;
  return or_unknown(first_line_of("git -C '" MOE_ACT_SOURCE_DIR "' rev-parse HEAD"));
}

}  // namespace

Device current_device() {
  Device device;
  require(cudaGetDevice(&device.id), "cudaGetDevice");
  cudaDeviceProp properties{};
  require(cudaGetDeviceProperties(&properties, device.id), "cudaGetDeviceProperties");
  device.multiprocessors = properties.multiProcessorCount;
  device.capability = 10 * properties.major + properties.minor;
  device.l2_bytes = properties.l2CacheSize;
  device.name = properties.name;
  return device;
}

Environment describe_environment(const Device& device) {
  return {.gpu = device.name,
          .compute_capability = std::to_string(device.capability / 10) + "." + std::to_string(device.capability % 10),
          .driver = driver_version(device),
          .cuda = runtime_version(),
          .date = utc_now(),
          .commit = commit(),
          .library = moe_act_build_info()};
}

std::string environment_json(const Environment& environment, const Device& device) {
  return json::object({{"gpu", json::text(environment.gpu)},
                       {"compute_capability", json::text(environment.compute_capability)},
                       {"multiprocessors", json::integer(device.multiprocessors)},
                       {"l2_bytes", json::integer(device.l2_bytes)},
                       {"driver", json::text(environment.driver)},
                       {"cuda", json::text(environment.cuda)},
                       {"date", json::text(environment.date)},
                       {"commit", json::text(environment.commit)},
                       {"library", json::text(environment.library)}});
}

}  // namespace bench
