// Where and of what the figures are.
#pragma once

#include <string>

#include "contender.hpp"

namespace bench {

struct Environment {
  std::string gpu, compute_capability, driver, cuda, date, commit, library;
};

Device current_device();  // throws where there is none
Environment describe_environment(const Device& device);
std::string environment_json(const Environment& environment, const Device& device);

}  // namespace bench
