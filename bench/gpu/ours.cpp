// The library, as an engine uses it: a plan made once, launched often. `ours_pdl` is a chain of programmatic dependent
// launches in which the map and the padded total were there before.
#include <memory>
#include <string>
#include <utility>

#include "contender.hpp"
#include "moe_act/moe_act.hpp"
#include "workload_problem.hpp"

namespace bench {
namespace {

moe_act::Problem problem_on(const Workload& workload, const Device& device, moe_act::Pdl pdl) {
  return moe_act::Problem(problem_of(workload, device.id)).set(pdl);
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
  bool is_standard() const override { return name_ == ours_name; }
  bool handles(const Workload& workload, const Device&) const override {
    return pdl_ == moe_act::Pdl::off || workload.is_plain();
  }
  void prepare(const Workload& workload, const Device& device) override {
    use(std::make_unique<moe_act::Plan>(problem_on(workload, device, pdl_)));
  }
  void launch(const Buffers& buffers, cudaStream_t stream) override {
    const moe_act::Buffers given{.x = buffers.x,
                                 .x_scale = buffers.x_scale,
                                 .out = buffers.out,
                                 .out_scale = buffers.out_scale,
                                 .static_scale = nullptr,
                                 .row_index = buffers.row_index,
                                 .total_num_padded_tokens = buffers.total,
                                 .row_count = buffers.row_count};
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

// On a workload's rows alone, dense and plain: what a convention or a layout is to be compared with.
class Alone : public Ours {
 public:
  Alone() : Ours("alone", moe_act::Pdl::off) {}
  bool is_standard() const override { return true; }
  bool takes_rows_alone() const override { return true; }
  bool handles(const Workload& workload, const Device&) const override { return !workload.is_plain(); }
};

// One of the ways in which the library could run a workload, chosen or not.
class Alternative : public Ours {
 public:
  Alternative(std::size_t index, moe_act::Pdl pdl)
      : Ours(pdl == moe_act::Pdl::off ? search_name : search_pdl_name, pdl), index_(index) {}
  bool handles(const Workload& workload, const Device& device) const override {
    constexpr std::int64_t small = 2 << 20;  // bytes up to which how CTAs start may decide between plans
    if (pdl() != moe_act::Pdl::off && (!workload.is_plain() || workload.bytes() > small)) return false;
    return index_ < moe_act::launch_choices(problem_on(workload, device, pdl())).size();
  }
  void prepare(const Workload& workload, const Device& device) override {
    const moe_act::Problem problem = problem_on(workload, device, pdl());
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

void add_alone(Contenders& contenders) {
  contenders.push_back(std::make_unique<Alone>());
}

void add_search(Contenders& contenders) {
  for (const moe_act::Pdl pdl : {moe_act::Pdl::off, moe_act::Pdl::metadata_ready})
    for (std::size_t index = 0; index < most_choices; ++index)
      contenders.push_back(std::make_unique<Alternative>(index, pdl));
}

}  // namespace bench
