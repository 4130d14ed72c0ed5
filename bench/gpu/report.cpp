#include "report.hpp"

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <optional>

#include "json.hpp"
#include "moe_act/c_api.h"

namespace bench {
namespace {

constexpr int least_name_width = 18;
constexpr int column_width = 11;

// Times over times: above 1 where the second is the faster one.
struct Ratio {
  const char* label;
  const char* slower;
  const char* faster;
};
constexpr Ratio ratios[] = {
    {"before/o", "before", "ours"}, {"ref/o", "reference", "ours"},         {"ref/o_pdl", "reference", "ours_pdl"},
    {"move/o", "move", "ours"},     {"move/o pdl", "move_pdl", "ours_pdl"}, {"stream/o", "stream", "ours"},
    {"best/o", "search", "ours"},   {"o/alone", "ours", "alone"},
};

std::string padded(std::string text, int width) {
  const auto wanted = static_cast<std::size_t>(width);
  return text.size() < wanted ? std::string(wanted - text.size(), ' ') + text : " " + text;
}

std::string padded_right(std::string text, int width) {
  text.resize(std::max(text.size() + 1, static_cast<std::size_t>(width)), ' ');
  return text;
}

std::string formatted(const char* format, double value) {
  char text[64];
  std::snprintf(text, sizeof(text), format, value);
  return text;
}

const Result* find(const Measurement& measurement, const std::string& contender) {
  const auto found = std::ranges::find(measurement.results, contender, &Result::contender);
  return found == measurement.results.end() ? nullptr : &*found;
}

std::optional<double> microseconds(const Measurement& measurement, const std::string& contender, bool hot) {
  const Result* result = find(measurement, contender);
  if (result == nullptr) return std::nullopt;
  const std::optional<Timing>& timing = hot ? result->hot : result->cold;
  return timing ? std::optional(timing->microseconds) : std::nullopt;
}

std::optional<double> quotient(const Measurement& measurement, const Ratio& ratio, bool hot) {
  const auto slower = microseconds(measurement, ratio.slower, hot);
  const auto faster = microseconds(measurement, ratio.faster, hot);
  return slower && faster ? std::optional(*slower / *faster) : std::nullopt;
}

std::string cell(const std::optional<double>& value) {
  return padded(value ? formatted(*value < 100 ? "%.2f" : "%.1f", *value) : "-", column_width);
}

bool has(std::span<const Measurement> measurements, const std::string& contender) {
  return std::ranges::any_of(measurements, [&](const auto& m) { return find(m, contender) != nullptr; });
}

std::string table_line(const Measurement& measurement, const std::vector<std::string>& names,
                       const std::vector<Ratio>& shown, bool hot, int name_width) {
  std::string line = padded_right(measurement.workload->name, name_width) + (hot ? "hot " : "cold");
  line += cell(static_cast<double>(measurement.workload->bytes()) * 1e-6);
  for (const std::string& name : names) line += cell(microseconds(measurement, name, hot));
  line += "  |";
  for (const Ratio& ratio : shown) line += cell(quotient(measurement, ratio, hot));
  return line + "\n";
}

std::string timing_json(const std::optional<Timing>& timing) {
  if (!timing) return "null";
  return json::object(
      {{"microseconds", json::number(timing->microseconds)}, {"geometry", json::text(timing->geometry)}});
}

std::string agreement_json(const std::optional<Agreement>& agreement) {
  if (!agreement) return "null";
  return json::object({{"neighbouring_codes", std::to_string(agreement->neighbours)},
                       {"wrong_codes", std::to_string(agreement->wrong)},
                       {"scale_ulp", std::to_string(agreement->scale_ulp)}});
}

std::string measurement_json(const Measurement& measurement) {
  const Workload& workload = *measurement.workload;
  std::vector<std::string> results;
  for (const Result& result : measurement.results) {
    std::vector<std::string> geometries;
    for (const GeometryTiming& timing : result.geometries)
      geometries.push_back(json::object({{"geometry", json::text(timing.geometry)},
                                         {"hot", timing.hot ? json::number(*timing.hot) : "null"},
                                         {"cold", json::number(timing.cold)}}));
    results.push_back(json::object({{"contender", json::text(result.contender)},
                                    {"hot", timing_json(result.hot)},
                                    {"cold", timing_json(result.cold)},
                                    {"agreement", agreement_json(result.agreement)},
                                    {"refusal", result.refusal.empty() ? "null" : json::text(result.refusal)},
                                    {"geometries", geometries.empty() ? "null" : json::array(geometries, 4)}}));
  }
  return json::object(
      {{"name", json::text(workload.name)},
       {"group", json::text(workload.group)},
       {"input", json::text(name_of(workload.input))},
       {"columns", json::integer(workload.columns)},
       {"tokens", json::integer(workload.tokens)},
       {"top_k", json::integer(workload.top_k)},
       {"row_kind", json::text(moe_act_option_name("row_kind", static_cast<std::int32_t>(workload.row_kind)))},
       {"rows", json::integer(workload.capacity())},
       {"valid_rows", json::integer(workload.valid_rows())},
       {"x_scale", workload.has_x_scale() ? json::text(name_of(workload.x_form)) : "null"},
       {"out_scale", json::text(name_of(workload.out_form))},
       {"bytes", json::integer(workload.bytes())},
       {"sets", json::integer(measurement.sets)},
       {"results", json::array(results, 3)}});
}

}  // namespace

std::vector<Absent> absent_contenders(const Contenders& contenders, const Device& device) {
  std::vector<Absent> absent;
  for (const auto& contender : contenders) {
    const std::string reason = contender->absence(device);
    if (!reason.empty() && std::ranges::find(absent, contender->name(), &Absent::contender) == absent.end())
      absent.push_back({contender->name(), reason});
  }
  return absent;
}

std::string table(std::span<const Measurement> measurements) {
  std::vector<std::string> names;
  for (const Measurement& measurement : measurements)
    for (const Result& result : measurement.results)
      if (std::ranges::find(names, result.contender) == names.end()) names.push_back(result.contender);
  std::vector<Ratio> shown;
  for (const Ratio& ratio : ratios)
    if (has(measurements, ratio.slower) && has(measurements, ratio.faster)) shown.push_back(ratio);

  int name_width = least_name_width;
  for (const Measurement& measurement : measurements)
    name_width = std::max(name_width, static_cast<int>(measurement.workload->name.size()) + 1);
  std::string text = "\n" + measurements.front().workload->group + "; microseconds, and ratios of them (o = ours)\n";
  text += padded_right("", name_width) + "L2  " + padded("MB", column_width);
  for (const std::string& name : names) text += padded(name, column_width);
  text += "  |";
  for (const Ratio& ratio : shown) text += padded(ratio.label, column_width);
  text += "\n";
  for (const Measurement& measurement : measurements) {
    const bool has_hot = std::ranges::any_of(measurement.results, [](const Result& r) { return r.hot.has_value(); });
    if (has_hot) text += table_line(measurement, names, shown, true, name_width);
    text += table_line(measurement, names, shown, false, name_width);
    for (const Result& result : measurement.results)
      if (!result.refusal.empty()) text += "  " + result.contender + " not timed: " + result.refusal + "\n";
  }
  return text;
}

std::string json_report(const Environment& environment, const Device& device, const std::vector<Absent>& absent,
                        std::span<const Measurement> measurements) {
  std::vector<std::string> missing, measured;
  for (const auto& [contender, reason] : absent)
    missing.push_back(json::object({{"contender", json::text(contender)}, {"reason", json::text(reason)}}));
  for (const Measurement& measurement : measurements) measured.push_back(measurement_json(measurement));
  return json::object({{"environment", environment_json(environment, device)},
                       {"fast_math", json::array({json::text("before"), json::text("reference")})},
                       {"absent", json::array(missing)},
                       {"workloads", json::array(measured, 2)}}) +
         "\n";
}

}  // namespace bench
