// Results as a table for people and as one JSON file for everything else.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "environment.hpp"
#include "measure.hpp"

namespace bench {

// Contenders that cannot run here: name and why, each name once.
struct Absent {
  std::string contender;
  std::string reason;
};
std::vector<Absent> absent_contenders(const Contenders& contenders, const Device& device);

// Measurements of one group.
std::string table(std::span<const Measurement> measurements);

std::string json_report(const Environment& environment, const Device& device, const std::vector<Absent>& absent,
                        std::span<const Measurement> measurements);

}  // namespace bench
