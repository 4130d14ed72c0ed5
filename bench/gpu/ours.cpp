// The library, as an engine uses it: a plan made once, launched often. `ours_pdl` is a chain of programmatic dependent
// launches in which the map and the padded total were there before.
#include <memory>
#include <string>
#include <utility>

#include "contender.hpp"
#include "moe_act/moe_act.hpp"

namespace bench {
namespace {

class Ours : public Contender {
 public:
  Ours(std::string name, moe_act::Pdl pdl) : name_(std::move(name)), pdl_(pdl) {}
  std::string name() const override { return name_; }
  std::string geometry() const override {
    if (plan_ == nullptr) return "";
    const moe_act_plan_info info = plan_->info();
    return std::to_string(info.columns_per_lane) + " columns x " + std::to_string(info.vectors_per_lane) +
           " vectors, " + std::to_string(info.rows_per_cta) + " rows x " + std::to_string(info.warps_per_row) +
           " warps, " + std::to_string(info.entries_per_warp) + " entries";
  }
  std::string absence(const Device& device) const override {
    return pdl_ != moe_act::Pdl::off && device.capability < 90 ? "needs compute capability 9.0" : "";
  }
  bool handles(const Workload&) const override { return true; }
  void prepare(const Workload& workload, const Device& device) override {
    const auto input = workload.input == Input::e4m3 ? moe_act::Format::e4m3 : moe_act::Format::bf16;
    auto problem =
        moe_act::Problem::contiguous(input, moe_act::Format::e4m3, workload.rows, workload.columns).on_cuda(device.id);
    if (workload.mapped()) problem.rows_of_map(workload.units()).scale_strides_on_device();
    problem.expect_rows(workload.expected_rows).set(pdl_);
    plan_ = std::make_unique<moe_act::Plan>(problem);
    if (plan_->info().workspace_bytes > 0)
      workspace_ = std::make_unique<DeviceMemory>(plan_->info().workspace_bytes);
    else
      workspace_.reset();
  }
  void launch(const Buffers& buffers, cudaStream_t stream) override {
    const moe_act::Buffers given{.x = buffers.x,
                                 .x_scale = buffers.x_scale,
                                 .out = buffers.out,
                                 .out_scale = buffers.out_scale,
                                 .static_scale = nullptr,
                                 .expanded_idx_to_permuted_idx = buffers.map,
                                 .total_num_padded_tokens = buffers.total};
    plan_->launch(given, stream, workspace_ ? workspace_->at() : nullptr);
  }

 private:
  std::string name_;
  moe_act::Pdl pdl_;
  std::unique_ptr<moe_act::Plan> plan_;
  std::unique_ptr<DeviceMemory> workspace_;
};

}  // namespace

void add_ours(Contenders& contenders) {
  contenders.push_back(std::make_unique<Ours>(ours_name, moe_act::Pdl::off));
  contenders.push_back(std::make_unique<Ours>("ours_pdl", moe_act::Pdl::metadata_ready));
}

}  // namespace bench
