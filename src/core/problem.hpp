// A problem that has passed validation. Nothing behind this point asks again whether a combination is possible.
#pragma once

#include <string>

#include "core/kernel_arguments.hpp"
#include "core/kernel_key.hpp"
#include "moe_act/c_api.h"

namespace moe_act {

class Problem {
 public:
  // Throws Error naming the field, what was given and what is expected.
  explicit Problem(const moe_act_problem& description);

  const moe_act_problem& description() const { return description_; }
  const moe_act_problem* operator->() const { return &description_; }

  bool on_cuda() const { return description_.device_type == MOE_ACT_DEVICE_CUDA; }
  Format input() const { return static_cast<Format>(description_.x_format); }
  Format output() const { return static_cast<Format>(description_.out_format); }
  OutputKind output_kind() const { return *output_kind_of(output()); }
  Pdl pdl() const { return static_cast<Pdl>(description_.pdl); }
  bool has_x_scale() const { return is_scaled(input()); }
  bool has_out_scale() const { return description_.out_scaling == MOE_ACT_SCALING_BLOCK; }
  bool has_map() const { return description_.row_kind == MOE_ACT_ROWS_EXPANDED_TO_PERMUTED; }
  bool stride_on_device() const;

  // Units of work: map entries, or rows.
  std::int64_t units() const { return has_map() ? description_.expanded_rows : description_.rows; }

  // Bytes from the first to past the last element that a launch may touch. 0 where there is no such buffer.
  std::int64_t x_bytes() const { return x_bytes_; }
  std::int64_t x_scale_bytes() const { return x_scale_bytes_; }
  std::int64_t out_bytes() const { return out_bytes_; }
  std::int64_t out_scale_bytes() const { return out_scale_bytes_; }

 private:
  moe_act_problem description_;
  std::int64_t x_bytes_ = 0, x_scale_bytes_ = 0, out_bytes_ = 0, out_scale_bytes_ = 0;
};

// Throws unless 1 <= columns <= the largest that 32-bit offsets within a row allow.
void require_columns(const char* argument, std::int64_t columns);

// Unsupported, naming what is, if no kernel reads or writes the format.
void require_input_kernel(Format format);
void require_output_kernel(Format format);

// "float32 [32, 1024] (column major)": the scale tensor that a problem of these sizes takes.
std::string expected_scale(std::int64_t rows, std::int64_t blocks, std::int32_t layout);

}  // namespace moe_act
