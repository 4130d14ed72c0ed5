// The workloads of every row convention and scale layout, 16384 tokens and 32, top 8 of 256 experts: dead rows are as
// many as the engines that have the convention would have.
#include <algorithm>
#include <numeric>
#include <string>
#include <utility>

#include "routing.hpp"
#include "workload.hpp"

namespace bench {
namespace {

constexpr std::int64_t rows_per_live_row = 8;  // of buffers for whatever may come: one part in 8 is live
constexpr std::int64_t masked_rows = 4096;     // of each expert

struct Routing {
  std::int64_t live;                                 // rows
  std::int64_t tile;                                 // rows of one GEMM tile
  std::vector<std::vector<std::size_t>> entries_of;  // of each expert

  // Rows that suffice for any routing of so many if each expert begins a tile.
  std::int64_t capacity() const { return ceil_div(live + deepseek_experts * (tile - 1), tile) * tile; }
};

Routing routing_of(std::int64_t tokens) {
  const std::int64_t live = tokens * deepseek_top_k;
  return {live, tile_rows(live), routed_entries(tokens, deepseek_top_k)};
}

Routing equal_shares(std::int64_t rows_per_expert) {
  Routing routing{deepseek_experts * rows_per_expert, 8, {}};
  routing.entries_of.assign(deepseek_experts, std::vector<std::size_t>(static_cast<std::size_t>(rows_per_expert)));
  return routing;
}

// Places the experts' rows one after the other, each expert's at a multiple of `alignment`, and visits the experts with
// their first rows. Returns where another expert would begin.
template <typename Visit>
std::int64_t place(Workload& workload, const Routing& routing, std::int64_t alignment, Visit visit) {
  std::int64_t first = 0;
  for (const auto& entries : routing.entries_of) {
    const auto count = static_cast<std::int64_t>(entries.size());
    visit(entries, first, count);
    for (std::int64_t row = first; row < first + count; ++row) workload.live_rows.push_back(row);
    first = ceil_div(first + count, alignment) * alignment;
  }
  return first;
}

using Entries = std::vector<std::size_t>;

void valid_prefix(Workload& workload, const Routing& routing) {
  workload.rows = rows_per_live_row * routing.live;
  workload.row_count = static_cast<std::int32_t>(routing.live);
  place(workload, routing, 1, [](const Entries&, std::int64_t, std::int64_t) {});
}

void tile_limits(Workload& workload, const Routing& routing) {
  const std::int64_t tile = routing.tile;
  workload.rows = routing.capacity();
  workload.row_parameter = tile;
  // Behind the live tiles: limits that would let every row live.
  workload.row_index.assign(static_cast<std::size_t>(workload.rows / tile), static_cast<std::int32_t>(workload.rows));
  const std::int64_t end = place(workload, routing, tile, [&](const Entries&, std::int64_t first, std::int64_t count) {
    for (std::int64_t row = first; row < first + count; row += tile)
      workload.row_index[static_cast<std::size_t>(row / tile)] =
          static_cast<std::int32_t>(std::min(row + tile, first + count));
  });
  workload.row_count = static_cast<std::int32_t>(end / tile);
}

void row_to_expert(Workload& workload, const Routing& routing) {
  workload.rows = routing.capacity();
  workload.row_index.assign(static_cast<std::size_t>(workload.rows), -1);
  std::int32_t expert = 0;
  place(workload, routing, routing.tile, [&](const Entries&, std::int64_t first, std::int64_t count) {
    std::fill_n(workload.row_index.begin() + first, count, expert++);
  });
}

void sorted_token_ids(Workload& workload, const Routing& routing) {
  workload.rows = routing.capacity();
  workload.row_parameter = routing.live;
  workload.row_index.assign(static_cast<std::size_t>(workload.rows), static_cast<std::int32_t>(routing.live));
  const std::int64_t end =
      place(workload, routing, routing.tile, [&](const Entries& entries, std::int64_t first, std::int64_t) {
        std::ranges::transform(entries, workload.row_index.begin() + first,
                               [](std::size_t entry) { return static_cast<std::int32_t>(entry); });
      });
  workload.row_count = static_cast<std::int32_t>(end);
}

void sorted_token_ids_by_id(Workload& workload, const Routing& routing) {
  sorted_token_ids(workload, routing);
  workload.rows_by_id = true;
  workload.rows = routing.live;
  std::iota(workload.live_rows.begin(), workload.live_rows.end(), std::int64_t{0});
}

void expert_offsets(Workload& workload, const Routing& routing) {
  workload.rows = rows_per_live_row * routing.live;
  workload.experts = deepseek_experts;
  workload.row_index.push_back(0);
  place(workload, routing, 1, [&](const Entries&, std::int64_t first, std::int64_t count) {
    workload.row_index.push_back(static_cast<std::int32_t>(first + count));
  });
}

void expert_ends(Workload& workload, const Routing& routing) {
  workload.rows = routing.capacity();
  workload.experts = deepseek_experts;
  workload.row_parameter = routing.tile;
  place(workload, routing, routing.tile, [&](const Entries&, std::int64_t first, std::int64_t count) {
    workload.row_index.push_back(static_cast<std::int32_t>(first + count));
  });
}

void masked(Workload& workload, const Routing& routing) {
  workload.rows = masked_rows;
  workload.experts = deepseek_experts;
  for (const Entries& entries : routing.entries_of) {
    const std::int64_t first = masked_rows * static_cast<std::int64_t>(workload.row_index.size());
    const auto count = static_cast<std::int64_t>(entries.size());
    for (std::int64_t row = first; row < first + count; ++row) workload.live_rows.push_back(row);
    workload.row_index.push_back(static_cast<std::int32_t>(count));
  }
}

struct Convention {
  const char* name;
  moe_act_row_kind kind;
  void (*state)(Workload&, const Routing&);
};
constexpr Convention conventions[] = {
    {"valid_prefix", MOE_ACT_ROWS_VALID_PREFIX, valid_prefix},
    {"tile_limits", MOE_ACT_ROWS_TILE_LIMITS, tile_limits},
    {"row_to_expert", MOE_ACT_ROWS_ROW_TO_EXPERT, row_to_expert},
    {"sorted_token_ids", MOE_ACT_ROWS_SORTED_TOKEN_IDS, sorted_token_ids},
    {"sorted_token_ids_by_id", MOE_ACT_ROWS_SORTED_TOKEN_IDS, sorted_token_ids_by_id},
    {"expert_offsets", MOE_ACT_ROWS_EXPERT_OFFSETS, expert_offsets},
    {"expert_ends", MOE_ACT_ROWS_EXPERT_ENDS, expert_ends},
    {"masked", MOE_ACT_ROWS_MASKED, masked},
};

Workload in_convention(const Convention& convention, Input input, const Routing& routing) {
  const std::string format = name_of(input);
  Workload workload{.name = "rows/" + std::string(convention.name) + "/" + format + "/" + std::to_string(routing.live),
                    .group = format + " in every row convention: H 2048",
                    .input = input,
                    .columns = deepseek_columns};
  workload.tokens = routing.live / deepseek_top_k;
  workload.top_k = deepseek_top_k;
  workload.expected_rows = routing.live;
  workload.row_kind = convention.kind;
  convention.state(workload, routing);
  return workload;
}

// The same, with scales of the results as GEMMs of Blackwell take them.
Workload in_packed_convention(const Convention& convention, const Routing& routing) {
  Workload workload = in_convention(convention, Input::bf16, routing);
  workload.name = "rows/" + std::string(convention.name) + "_packed_ue8m0/bf16/" + std::to_string(routing.live);
  workload.out_form = {MOE_ACT_SCALE_LAYOUT_PACKED_UE8M0, block_columns};
  return workload;
}

Workload in_layout(const char* side, const ScaleForm& form, Input input, std::int64_t rows) {
  const std::string group =
      input == Input::bf16 ? "bf16 to every scale layout of out: H 2048" : "e4m3 in every scale layout of x: H 2048";
  return dense_rows(std::string(side) + "/" + name_of(form) + "/" + std::to_string(rows), group, input, rows,
                    deepseek_columns);
}

}  // namespace

std::vector<Workload> convention_workloads() {
  std::vector<Workload> workloads;
  const Routing routings[] = {routing_of(32), routing_of(16384)};
  for (const Input input : {Input::bf16, Input::e4m3}) {
    for (const Convention& convention : conventions) {
      for (const Routing& routing : routings) workloads.push_back(in_convention(convention, input, routing));
      if (convention.kind == MOE_ACT_ROWS_MASKED && input == Input::bf16)
        workloads.push_back(in_convention(convention, input, equal_shares(4)));
    }
  }
  for (const Convention& convention : conventions)
    if (convention.kind == MOE_ACT_ROWS_MASKED || convention.kind == MOE_ACT_ROWS_ROW_TO_EXPERT)
      for (const Routing& routing : routings) workloads.push_back(in_packed_convention(convention, routing));
  std::vector<ScaleForm> forms;
  for (const std::int64_t block : {128, 32})
    for (const auto layout :
         {MOE_ACT_SCALE_LAYOUT_COLUMN_MAJOR, MOE_ACT_SCALE_LAYOUT_ROW_MAJOR, MOE_ACT_SCALE_LAYOUT_TMA_COLUMN_MAJOR,
          MOE_ACT_SCALE_LAYOUT_PACKED_UE8M0, MOE_ACT_SCALE_LAYOUT_SWIZZLED_128X4})
      if (const ScaleForm form{layout, block}; form != ScaleForm{}) forms.push_back(form);
  constexpr ScaleForm per_row{MOE_ACT_SCALE_LAYOUT_COLUMN_MAJOR, 0};
  for (const ScaleForm& form : forms)
    for (const Routing& routing : routings) {
      workloads.push_back(in_layout("out_scale", form, Input::bf16, routing.live));
      workloads.back().out_form = form;
    }
  for (const Routing& routing : routings) {
    workloads.push_back(in_layout("out_scale", per_row, Input::bf16, routing.live));
    workloads.back().out_form = per_row;
  }
  for (const ScaleForm& form : forms)
    for (const Routing& routing : routings) {
      workloads.push_back(in_layout("x_scale", form, Input::e4m3, routing.live));
      workloads.back().x_form = form;
    }
  return workloads;
}

}  // namespace bench
