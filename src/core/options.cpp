#include "core/options.hpp"

#include "core/error.hpp"
#include "core/text.hpp"

namespace moe_act {
namespace {

// "'off', 'on', 'metadata_ready'"
std::string known_names(const Option& option) {
  std::string names;
  for (const OptionValue& known : option.values)
    if (known.name != nullptr) names += (names.empty() ? "'" : ", '") + std::string(known.name) + "'";
  return names;
}

const char* name_in(const Option& option, std::int32_t value) {
  for (const OptionValue& known : option.values)
    if (known.value == value) return known.name;
  return nullptr;
}

}  // namespace

void require_option(OptionArgument argument, std::int32_t value) {
  if (name_in(*argument.option, value) == nullptr)
    invalid(argument.name, "expected one of " + known_names(*argument.option) + ", got value " + number(value));
}

const char* option_name(const char* option, std::int32_t value) {
  const Option* known = find_option(option);
  return known == nullptr ? nullptr : name_in(*known, value);
}

std::string quoted(const char* option, std::int32_t value) {
  return "'" + std::string(option_name(option, value)) + "'";
}

std::int32_t parse_option(const char* option, const char* name) {
  const Option* known = find_option(option);
  if (known == nullptr) invalid("option", "there is no option '" + std::string(option) + "'");
  for (const OptionValue& value : known->values)
    if (value.name != nullptr && std::string_view(value.name) == name) return value.value;
  invalid(option, "expected one of " + known_names(*known) + ", got '" + name + "'");
}

}  // namespace moe_act
