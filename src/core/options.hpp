// The names of every option's values, in one table that parsing, printing and validation read.
#pragma once

#include <cstdint>
#include <string>

namespace moe_act {

// Null if the value is not one of the option's.
const char* option_name(const char* option, std::int32_t value);

// Throws Error listing the known names.
std::int32_t parse_option(const char* option, const char* name);

// Throws Error unless the value is one of the option's.
void require_option(const char* option, std::int32_t value);

// "'off', 'on', 'metadata_ready'"
std::string known_names(const char* option);

}  // namespace moe_act
