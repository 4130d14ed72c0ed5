#include "measure.hpp"

#include <algorithm>
#include <cmath>
#include <exception>
#include <memory>
#include <stdexcept>

#include "on_cpu.hpp"

namespace bench {
namespace {

constexpr std::int64_t most_launches = 1000;  // in a graph that only has to be long enough
constexpr unsigned largest_scale_ulp = 16;
constexpr std::int64_t codes_per_neighbour =
    10000;  // fast math may move a code to its neighbour where it is a near tie

// Why the results do not agree, empty if they do.
std::string disagreement(const Agreement& agreement, std::int64_t codes, const char* whose) {
  const auto allowed = static_cast<unsigned long long>(2 + codes / codes_per_neighbour);
  if (agreement.wrong == 0 && agreement.neighbours <= allowed && agreement.scale_ulp <= largest_scale_ulp) return "";
  return std::string("results differ from ") + whose + ": " + std::to_string(agreement.wrong) +
         " codes by more than a step, " + std::to_string(agreement.neighbours) + " by one (" + std::to_string(allowed) +
         " allowed), scales by up to " + std::to_string(agreement.scale_ulp) + " ulp (" +
         std::to_string(largest_scale_ulp) + " allowed)";
}

// A workload in device memory.
struct Place {
  Place(const Workload& placed, std::int64_t sets) : workload(placed), data(workload, sets) {}

  Workload workload;
  DeviceData data;
};

class Measuring {
 public:
  Measuring(const Workload& workload, const Device& device, const Effort& effort)
      : device_(device), effort_(effort), sets_(sets_for(workload, device)), place_(workload, sets_) {
    if (!workload.is_plain()) alone_ = std::make_unique<Place>(workload.alone(), sets_);
  }

  std::int64_t sets() const { return sets_; }

  void keep_ours(const Contenders& contenders) {
    const auto ours = std::ranges::find_if(contenders, [](const auto& each) { return each->name() == ours_name; });
    if (ours == contenders.end()) throw std::runtime_error("ours is not among the contenders");
    run_once(**ours);
    place_.data.keep();
  }

  // Prepares and runs the contender, and says why it may not be timed.
  std::string refusal(Contender& contender, std::optional<Agreement>& agreement) {
    try {
      run_once(contender);
      if (!contender.computes()) return "";
      const Place& place = place_of(contender);
      const std::int64_t columns = place.workload.columns;
      if (!contender.is_standard()) {
        agreement = place.data.compare();
        return disagreement(*agreement, place.workload.valid_rows() * columns, "ours");
      }
      const std::int64_t written = place.data.written_scales();
      const std::int64_t expected = place.workload.valid_rows() * place.workload.out_blocks();
      if (written != expected) return std::to_string(written) + " scales written, expected " + std::to_string(expected);
      const Sample sample = place.data.sample(sampled_rows);
      agreement = compare_with_cpu(place.workload, sample);
      return disagreement(*agreement, sample.rows * columns, "those of the CPU");
    } catch (const std::exception& error) {
      return error.what();
    }
  }

  std::vector<double> hot(const std::vector<Contender*>& contenders) {
    if (place_.workload.bytes() > device_.l2_bytes) return {};
    return time(contenders, 1);
  }
  std::vector<double> cold(const std::vector<Contender*>& contenders) { return time(contenders, sets_); }

 private:
  static std::int64_t sets_for(const Workload& workload, const Device& device) {
    const std::int64_t wanted = std::max<std::int64_t>(1, ceil_div(4 * device.l2_bytes, workload.bytes()));
    const std::int64_t apart = workload.rows_between_sets();
    return apart > 0 ? std::min(wanted, workload.rows / apart) : wanted;
  }

  const Place& place_of(const Contender& contender) const {
    return alone_ != nullptr && contender.takes_rows_alone() ? *alone_ : place_;
  }

  void run_once(Contender& contender) {
    const Place& place = place_of(contender);
    contender.prepare(place.workload, device_);
    place.data.poison();
    contender.launch(place.data.buffers(0), stream_.get());
    stream_.synchronize();
  }

  // Launches that go through `sets` sets of buffers in turn, each as often as the others.
  std::vector<double> time(const std::vector<Contender*>& contenders, std::int64_t sets) {
    std::vector<Chain> chains;
    for (Contender* contender : contenders) {
      const DeviceData& data = place_of(*contender).data;
      const Launch launch = [this, contender, sets, &data](std::int64_t i) {
        contender->launch(data.buffers(i % sets), stream_.get());
      };
      const double wanted = std::ceil(effort_.graph_microseconds / estimate_microseconds(stream_, launch));
      const auto launches = std::clamp<std::int64_t>(static_cast<std::int64_t>(wanted), 4, most_launches);
      chains.push_back({launch, ceil_div(launches, sets) * sets});
    }
    return median_microseconds(stream_, chains, effort_.repetitions);
  }

  const Device& device_;
  const Effort& effort_;
  Stream stream_;
  std::int64_t sets_;
  Place place_;
  std::unique_ptr<Place> alone_;  // the workload's rows alone, if it is not plain
};

void keep_fastest(std::optional<Timing>& best, double microseconds, const std::string& geometry) {
  if (!best || microseconds < best->microseconds) best = Timing{microseconds, geometry};
}

}  // namespace

Measurement measure(const Workload& workload, const Contenders& contenders, const std::vector<std::string>& names,
                    const Device& device, const Effort& effort) {
  Measuring measuring(workload, device, effort);
  measuring.keep_ours(contenders);

  Measurement measurement{.workload = &workload, .sets = measuring.sets()};
  std::vector<Contender*> timed;
  std::vector<std::size_t> result_of;
  for (const auto& contender : contenders) {
    const std::string name = contender->name();
    if (!names.empty() && std::ranges::find(names, name) == names.end()) continue;
    if (!contender->handles(workload, device) || !contender->absence(device).empty()) continue;
    const auto known = std::ranges::find(measurement.results, name, &Result::contender);
    const auto index = static_cast<std::size_t>(known - measurement.results.begin());
    if (known == measurement.results.end()) measurement.results.push_back({.contender = name});
    Result& result = measurement.results[index];
    const std::string refusal = measuring.refusal(*contender, result.agreement);
    if (refusal.empty()) {
      timed.push_back(contender.get());
      result_of.push_back(index);
    } else {
      result.refusal = refusal;
    }
  }

  const std::vector<double> hot = measuring.hot(timed);
  const std::vector<double> cold = measuring.cold(timed);
  for (std::size_t i = 0; i < timed.size(); ++i) {
    Result& result = measurement.results[result_of[i]];
    const std::string geometry = timed[i]->geometry();
    if (!hot.empty()) keep_fastest(result.hot, hot[i], geometry);
    keep_fastest(result.cold, cold[i], geometry);
    if (result.contender == search_name || result.contender == search_pdl_name)
      result.geometries.push_back({geometry, hot.empty() ? std::nullopt : std::optional(hot[i]), cold[i]});
  }
  return measurement;
}

}  // namespace bench
