#include "cpu/padding.hpp"

#include <cstring>

#include "core/rows.hpp"

namespace moe_act::cpu {
namespace {

void zero_codes(const Problem& problem, const KernelArguments& arguments) {
  const RowAddressing& rows = arguments.rows;
  const std::int64_t in_use = rows.entries_in_use(rows.count.data != nullptr ? rows.count[0] : 0);
  const std::int64_t parts = problem.masked() ? rows.experts : 1;
  const auto zero = [&](void* buffer, Format format, std::int64_t offset) {
    const std::int64_t bytes = bytes_per_element(format);
    std::memset(static_cast<unsigned char*>(buffer) + offset * bytes, 0,
                static_cast<std::size_t>(problem->columns * bytes));
  };
  const Model& model = arguments.model;
  for (std::int64_t part = 0; part < parts; ++part)
    for (std::int64_t row = 0; row < rows.rows; ++row) {
      if (rows.is_live(part, row, in_use)) continue;
      zero(arguments.out, problem.output(), part * arguments.out_expert_stride + row * arguments.out_row_stride);
      if (problem.has_unquantized())
        zero(model.unquantized, model.unquantized_format,
             part * model.unquantized_expert_stride + row * model.unquantized_row_stride);
    }
}

void scales_of_one(const Problem& problem, const KernelArguments& arguments) {
  const std::int64_t total = arguments.total_num_padded_tokens != nullptr ? *arguments.total_num_padded_tokens : 0;
  const math::ScaleView view = math::resolve<std::int64_t>(arguments.out_scale_view, total);
  const std::int64_t parts = problem.masked() ? arguments.rows.experts : 1;
  // With the stride on the device, the padded total is the number of rows that have scales.
  const bool on_device = arguments.out_scale_view.block_stride < 0;
  const std::int64_t rows = on_device ? within(total, problem->rows) : arguments.out_padded_rows;
  for (std::int64_t part = 0; part < parts; ++part)
    for (std::int64_t row = 0; row < rows; ++row)
      math::store_scales_of_one(arguments.out_scale, view, view.row_offset(part, row), problem->columns);
}

}  // namespace

void pad_with_zero(const Problem& problem, const KernelArguments& arguments) {
  zero_codes(problem, arguments);
  if (problem.has_out_scale()) scales_of_one(problem, arguments);
}

}  // namespace moe_act::cpu
