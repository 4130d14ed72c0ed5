// A problem that has passed validation. Nothing behind this point asks again whether a combination is possible.
#pragma once

#include <string>

#include "core/kernel_arguments.hpp"
#include "core/kernel_key.hpp"
#include "core/options.hpp"
#include "core/rows.hpp"
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
  OutputKind output_kind() const { return scale_per_row() ? OutputKind::row_scaled : *output_kind_of(output()); }
  // General kernels write plain results as scaled ones' unquantized copies: one kernel does both.
  OutputKind kernel_output() const {
    return is_general() && output_kind() == OutputKind::plain ? OutputKind::scaled : output_kind();
  }
  Pdl pdl() const { return static_cast<Pdl>(description_.pdl); }
  bool has_x_scale() const { return is_scaled(input()); }
  bool has_out_scale() const { return description_.out_scaling == MOE_ACT_SCALING_BLOCK || scale_per_row(); }
  bool scale_per_row() const { return description_.out_scaling == MOE_ACT_SCALING_ROW; }
  bool has_map() const { return description_.row_kind == MOE_ACT_ROWS_EXPANDED_TO_PERMUTED; }
  bool masked() const { return description_.row_kind == MOE_ACT_ROWS_MASKED; }
  bool stride_on_device() const;
  bool padding_is_known() const;    // can rows that are not live be told from the addressing?
  bool pads_with_zero() const;      // is there padding that gets zero codes and scale 1?
  bool has_narrow_strides() const;  // rows and scales less than 4 GB apart
  bool scales_are_plain() const;    // fp32 at strides, one for 128 columns, not rounded: what most kernels know
  bool is_general() const;          // more than SwiGLU without parameters in the default numerics
  bool has_unquantized() const { return description_.unquantized_format != MOE_ACT_FORMAT_NONE; }
  Reach reach() const;           // what a kernel has to know
  Reach any_rows_reach() const;  // one that knows every row convention
  bool is_simple() const;        // of plain reach, and rows dense or named by an int32 map

  // Units of work: map entries, positions, or rows.
  std::int64_t units() const { return row_units(description_); }

  // Bytes from the first to past the last element that a launch may touch. 0 where there is no such buffer.
  std::int64_t x_bytes() const { return x_bytes_; }
  std::int64_t x_scale_bytes() const { return x_scale_bytes_; }
  std::int64_t out_bytes() const { return out_bytes_; }
  std::int64_t out_scale_bytes() const { return out_scale_bytes_; }
  std::int64_t bias_bytes() const { return bias_bytes_; }
  std::int64_t unquantized_bytes() const { return unquantized_bytes_; }

 private:
  std::int64_t distance(const char* argument, std::int64_t row_stride, std::int64_t expert_stride,
                        std::int64_t columns) const;

  moe_act_problem description_;
  std::int64_t x_bytes_ = 0, x_scale_bytes_ = 0, out_bytes_ = 0, out_scale_bytes_ = 0, bias_bytes_ = 0,
               unquantized_bytes_ = 0;
};

// Throws unless 1 <= columns <= the largest that 32-bit offsets within a row allow.
void require_columns(const char* argument, std::int64_t columns);

// Throws unless layout and format are known and so many columns may share a scale.
void require_scale_options(OptionArgument layout_argument, std::int32_t layout, OptionArgument format_argument,
                           std::int32_t format, const char* block_argument, std::int32_t block);

// Unsupported, naming what is, if no kernel reads or writes the format.
void require_input_kernel(Format format);
void require_output_kernel(Format format);

// With what fields left at 0 mean.
moe_act_problem normalized(moe_act_problem problem);

}  // namespace moe_act
