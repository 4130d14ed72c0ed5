// One exception type inside the library; the C interface turns it into a status and a line of text.
#pragma once

#include <stdexcept>
#include <string>

#include "moe_act/c_api.h"

namespace moe_act {

class Error : public std::runtime_error {
 public:
  Error(moe_act_status status, const std::string& line) : std::runtime_error(line), status_(status) {}
  moe_act_status status() const { return status_; }

 private:
  moe_act_status status_;
};

// "argument: expected ..., got ..."
[[noreturn]] inline void fail(moe_act_status status, const char* argument, const std::string& text) {
  throw Error(status, std::string(argument) + ": " + text);
}

[[noreturn]] inline void invalid(const char* argument, const std::string& text) {
  fail(MOE_ACT_INVALID_PROBLEM, argument, text);
}

}  // namespace moe_act
