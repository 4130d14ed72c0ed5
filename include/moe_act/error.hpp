// Part of moe_act/moe_act.hpp: a status of the C interface as an exception.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdexcept>

#include "moe_act/c_api.h"

namespace moe_act {

// What failed, in one line that names the argument, what it was and what was expected.
class Error : public std::runtime_error {
  using std::runtime_error::runtime_error;
};
template <moe_act_status status>
class ErrorOf : public Error {
  using Error::Error;
};
using InvalidProblem = ErrorOf<MOE_ACT_INVALID_PROBLEM>;  // a value, shape, alignment or combination that cannot be
using Unsupported = ErrorOf<MOE_ACT_UNSUPPORTED>;         // meaningful, but this build or device has no kernel for it
using CudaError = ErrorOf<MOE_ACT_CUDA_ERROR>;            // reported by the CUDA runtime
using WrongType = ErrorOf<MOE_ACT_WRONG_TYPE>;            // a tensor of another element type than the argument takes
using InternalError = ErrorOf<MOE_ACT_INTERNAL_ERROR>;    // out of host memory, or a defect of the library

namespace detail {

inline void check(moe_act_status status) {
  if (status == MOE_ACT_OK) return;
  if (status == MOE_ACT_INVALID_PROBLEM) throw InvalidProblem(moe_act_last_error());
  if (status == MOE_ACT_UNSUPPORTED) throw Unsupported(moe_act_last_error());
  if (status == MOE_ACT_CUDA_ERROR) throw CudaError(moe_act_last_error());
  if (status == MOE_ACT_WRONG_TYPE) throw WrongType(moe_act_last_error());
  throw InternalError(moe_act_last_error());
}

// A struct of the C interface that says its size, everything else zero.
template <typename Struct>
Struct sized() {
  Struct value{};
  value.struct_size = sizeof(Struct);
  return value;
}

}  // namespace detail

}  // namespace moe_act
