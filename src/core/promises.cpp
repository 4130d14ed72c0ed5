#include "core/promises.hpp"

#include <utility>

#include "core/error.hpp"
#include "core/options.hpp"
#include "core/text.hpp"

namespace moe_act {

void check_accepts(const Plan& plan, const moe_act_problem& given_problem) {
  const moe_act_problem problem = normalized(given_problem);
  struct Field {
    const char* name;
    std::int64_t planned;
    std::int64_t given;
    const char* option = nullptr;  // whose names the values have; `presence`: 1 where there is such a tensor, else 0
    bool read = true;              // by problems of these formats, which come first in the list
  };
  constexpr const char* presence = "";
  const bool x_scaled = plan.problem().has_x_scale();
  const bool out_scaled = plan.problem().has_out_scale();
  const bool out_blocks = out_scaled && !plan.problem().scale_per_row();
  const moe_act_problem& planned = plan.problem().description();
  const std::string length = std::string(row_index_argument(planned.row_kind)) + " length";
  const Field fields[] = {
      {"device", planned.device_type, problem.device_type, "device"},
      {"device_id", planned.device_id, problem.device_id},
      {"x_format", planned.x_format, problem.x_format, "format"},
      {"out_format", planned.out_format, problem.out_format, "format"},
      {"out_scaling", planned.out_scaling, problem.out_scaling, "out_scaling"},
      {"x_scale_layout", planned.x_scale_layout, problem.x_scale_layout, "scale_layout", x_scaled},
      {"out_scale_layout", planned.out_scale_layout, problem.out_scale_layout, "scale_layout", out_blocks},
      {"x_scale_format", planned.x_scale_format, problem.x_scale_format, "scale_format", x_scaled},
      {"out_scale_format", planned.out_scale_format, problem.out_scale_format, "scale_format", out_blocks},
      {"x_block", planned.x_block, problem.x_block, nullptr, x_scaled},
      {"out_block", planned.out_block, problem.out_block, nullptr, out_blocks},
      {"scale_rounding", planned.scale_rounding, problem.scale_rounding, "scale_rounding", out_scaled},
      {"activation", planned.activation, problem.activation, "activation"},
      {"gate", planned.gate, problem.gate, "gate"},
      {"row_kind", planned.row_kind, problem.row_kind, "row_kind"},
      {"padding", planned.padding, problem.padding, "padding"},
      {"pdl", planned.pdl, problem.pdl, "pdl"},
      {"x rows", planned.rows, problem.rows},
      {"x columns / 2", planned.columns, problem.columns},
      {length.c_str(), planned.entries, problem.entries},
      {"experts", planned.experts, problem.experts},
      {"tile_to_expert", planned.expert_tiles > 0, problem.expert_tiles > 0, presence},
      {"tile_tokens", planned.tile_tokens, problem.tile_tokens},
      {"expert_alignment", planned.expert_alignment, problem.expert_alignment},
      {"num_valid_ids", planned.num_valid_ids, problem.num_valid_ids},
      {"sorted_rows", planned.sorted_rows, problem.sorted_rows, "sorted_rows"},
      {"bits of the row index", planned.index_bits, problem.index_bits},
      {"bits of the row count", planned.count_bits, problem.count_bits},
      {"x row stride", planned.x_row_stride, problem.x_row_stride},
      {"out row stride", planned.out_row_stride, problem.out_row_stride},
      {"total_num_padded_tokens", plan.problem().stride_on_device(),
       (x_scaled && problem.x_scale_stride == MOE_ACT_STRIDE_ON_DEVICE) ||
           (out_scaled && problem.out_scale_stride == MOE_ACT_STRIDE_ON_DEVICE),
       presence},
      {"x_scale stride", planned.x_scale_stride, problem.x_scale_stride, nullptr, x_scaled},
      {"out_scale stride", planned.out_scale_stride, problem.out_scale_stride, nullptr, out_scaled},
      {"x expert stride", planned.x_expert_stride, problem.x_expert_stride},
      {"out expert stride", planned.out_expert_stride, problem.out_expert_stride},
      {"x_scale expert stride", planned.x_scale_expert_stride, problem.x_scale_expert_stride, nullptr, x_scaled},
      {"out_scale expert stride", planned.out_scale_expert_stride, problem.out_scale_expert_stride, nullptr,
       out_scaled},
      {"interleave", planned.interleave, problem.interleave},
      {"alpha", planned.alpha_from, problem.alpha_from, "parameter"},
      {"beta", planned.beta_from, problem.beta_from, "parameter"},
      {"limit", planned.limit_from, problem.limit_from, "parameter"},
      {"preset", planned.preset, problem.preset, "preset"},
      {"product_rounding", planned.product_rounding, problem.product_rounding, "product_rounding"},
      {"quantization", planned.quantization, problem.quantization, "quantization"},
      {"clamp_rounding", planned.clamp_rounding, problem.clamp_rounding, "clamp_rounding"},
      {"bias", planned.bias_format != 0, problem.bias_format != 0, presence},
      {"bias format", planned.bias_format, problem.bias_format, "format"},
      {"bias expert stride", planned.bias_expert_stride, problem.bias_expert_stride},
      {"experts of the parameters", planned.parameter_experts, problem.parameter_experts},
      {"weight", planned.has_weight != 0, problem.has_weight != 0, presence},
      {"weight length", planned.weights, problem.weights},
      {"tile_to_expert length", planned.expert_tiles, problem.expert_tiles},
      {"bits of tile_to_expert", planned.tile_to_expert_bits, problem.tile_to_expert_bits},
      {"permuted_to_expanded", planned.permuted_to_expanded_bits != 0, problem.permuted_to_expanded_bits != 0,
       presence},
      {"bits of permuted_to_expanded", planned.permuted_to_expanded_bits, problem.permuted_to_expanded_bits},
      {"out_unquantized", planned.unquantized_format != 0, problem.unquantized_format != 0, presence},
      {"unquantized_format", planned.unquantized_format, problem.unquantized_format, "format"},
      {"out_unquantized row stride", planned.unquantized_row_stride, problem.unquantized_row_stride},
      {"out_unquantized expert stride", planned.unquantized_expert_stride, problem.unquantized_expert_stride},
  };
  const auto text = [](const Field& field, std::int64_t value) {
    const char* name = field.option != nullptr ? option_name(field.option, static_cast<std::int32_t>(value)) : nullptr;
    return name != nullptr ? "'" + std::string(name) + "'" : number(value);
  };
  for (const Field& field : fields) {
    if (!field.read || field.planned == field.given) continue;
    if (field.option == presence)
      invalid(field.name, field.planned != 0 ? "the plan was made with this tensor, got none"
                                             : "the plan was made without this tensor, got one");
    invalid(field.name, "the plan was made for " + text(field, field.planned) + ", got " + text(field, field.given));
  }
  const std::pair<const char*, std::pair<float, float>> numbers[] = {
      {"alpha", {planned.alpha, problem.alpha}},
      {"beta", {planned.beta, problem.beta}},
      {"limit", {planned.limit, problem.limit}},
      {"gate_bound", {planned.gate_bound, problem.gate_bound}},
      {"up_bound", {planned.up_bound, problem.up_bound}},
      {"smallest_amax", {planned.smallest_amax, problem.smallest_amax}},
      {"smallest_scale", {planned.smallest_scale, problem.smallest_scale}},
  };
  for (const auto& [name, values] : numbers)
    if (values.first != values.second)
      invalid(name, "the plan was made for " + number(values.first) + ", got " + number(values.second));
  for (const Field& field : {Field{"x", planned.x_alignment, problem.x_alignment},
                             Field{"out", planned.out_alignment, problem.out_alignment},
                             Field{"bias", planned.bias_alignment, problem.bias_alignment},
                             Field{"out_unquantized", planned.unquantized_alignment, problem.unquantized_alignment}})
    if (field.given < field.planned)
      invalid(field.name,
              "the plan was promised data aligned to " + number(field.planned) + " bytes, got " + number(field.given));
}

}  // namespace moe_act
