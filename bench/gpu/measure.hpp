// One workload: every contender's result compared with ours, then all of them timed.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "contender.hpp"
#include "timing.hpp"

namespace bench {

struct Timing {
  double microseconds;
  std::string geometry;  // of the fastest
};

struct GeometryTiming {
  std::string geometry;
  std::optional<double> hot;  // microseconds, as cold
  double cold;
};

// A contender and a workload; its geometries are one.
struct Result {
  std::string contender;
  std::optional<Timing> hot = {};               // one set of buffers; only where it fits into L2
  std::optional<Timing> cold = {};              // sets of buffers in turn, more than four times L2
  std::optional<Agreement> agreement = {};      // with ours, of ours with the CPU; where it computes the activation
  std::string refusal = {};                     // why it was not timed
  std::vector<GeometryTiming> geometries = {};  // of the search: all of them
};

struct Measurement {
  const Workload* workload = nullptr;
  std::int64_t sets = 1;
  std::vector<Result> results = {};
};

struct Effort {
  int repetitions = 7;
  double graph_microseconds = 3000;  // what one graph should take at least
};

// Times the contenders named, or all if none is; ours is run in any case, to compare with.
Measurement measure(const Workload& workload, const Contenders& contenders, const std::vector<std::string>& names,
                    const Device& device, const Effort& effort);

}  // namespace bench
