// The library, as an engine uses it: a plan made once, launched often. `ours_pdl` is a chain of programmatic dependent
// launches in which the map and the padded total were there before.
#include <limits>
#include <memory>
#include <string>
#include <utility>

#include "contender.hpp"
#include "moe_act/moe_act.hpp"

namespace bench {
namespace {

moe_act::Problem problem_of(const Workload& workload, const Device& device, moe_act::Pdl pdl) {
  const auto input = workload.input == Input::e4m3 ? moe_act::Format::e4m3 : moe_act::Format::bf16;
  auto problem =
      moe_act::Problem::contiguous(input, moe_act::Format::e4m3, workload.rows, workload.columns).on_cuda(device.id);
  if (workload.mapped()) problem.rows_of_map(workload.units()).scale_strides_on_device();
  problem.allow_workspace(std::numeric_limits<std::int64_t>::max());
  return problem.expect_rows(workload.expected_rows).set(pdl);
}

class Ours : public Contender {
 public:
  Ours(std::string name, moe_act::Pdl pdl) : name_(std::move(name)), pdl_(pdl) {}
  std::string name() const override { return name_; }
  std::string geometry() const override {
    if (plan_ == nullptr) return "";
    const moe_act_plan_info info = plan_->info();
    return std::string(info.workspace_bytes > 0 ? "marked " : "") + moe_act_option_name("schedule", info.schedule) +
           " " + std::to_string(info.columns_per_lane) + " x " + std::to_string(info.vectors_per_lane) + ", " +
           std::to_string(info.threads_per_cta / 32) + " warps, " + std::to_string(info.units_per_cta) +
           " units per CTA";
  }
  std::string absence(const Device& device) const override {
    return pdl_ != moe_act::Pdl::off && device.capability < 90 ? "needs compute capability 9.0" : "";
  }
  bool handles(const Workload&, const Device&) const override { return true; }
  void prepare(const Workload& workload, const Device& device) override {
    use(std::make_unique<moe_act::Plan>(problem_of(workload, device, pdl_)));
  }
  void launch(const Buffers& buffers, cudaStream_t stream) override {
    const moe_act::Buffers given{.x = buffers.x,
                                 .x_scale = buffers.x_scale,
                                 .out = buffers.out,
                                 .out_scale = buffers.out_scale,
                                 .static_scale = nullptr,
                                 .row_index = buffers.map,
                                 .total_num_padded_tokens = buffers.total};
    plan_->launch(given, stream, workspace_ ? workspace_->at() : nullptr);
  }

 protected:
  void use(std::unique_ptr<moe_act::Plan> plan) {
    plan_ = std::move(plan);
    workspace_.reset();
    if (plan_->info().workspace_bytes > 0) workspace_ = std::make_unique<DeviceMemory>(plan_->info().workspace_bytes);
  }
  moe_act::Pdl pdl() const { return pdl_; }

 private:
  std::string name_;
  moe_act::Pdl pdl_;
  std::unique_ptr<moe_act::Plan> plan_;
  std::unique_ptr<DeviceMemory> workspace_;
};

// One of the ways in which the library could run a workload, chosen or not.
class Alternative : public Ours {
 public:
  explicit Alternative(std::size_t index) : Ours(search_name, moe_act::Pdl::off), index_(index) {}
  bool handles(const Workload& workload, const Device& device) const override {
    return index_ < moe_act::launch_choices(problem_of(workload, device, pdl())).size();
  }
  void prepare(const Workload& workload, const Device& device) override {
    const moe_act::Problem problem = problem_of(workload, device, pdl());
    use(std::make_unique<moe_act::Plan>(problem, moe_act::launch_choices(problem)[index_]));
  }

 private:
  std::size_t index_;
};

}  // namespace

void add_ours(Contenders& contenders) {
  contenders.push_back(std::make_unique<Ours>(ours_name, moe_act::Pdl::off));
  contenders.push_back(std::make_unique<Ours>("ours_pdl", moe_act::Pdl::metadata_ready));
}

void add_search(Contenders& contenders) {
  constexpr std::size_t most_choices = 200;
  for (std::size_t index = 0; index < most_choices; ++index) contenders.push_back(std::make_unique<Alternative>(index));
}

}  // namespace bench
