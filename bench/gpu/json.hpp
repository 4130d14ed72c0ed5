// Just enough JSON to write one file: each function returns the text of a value.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

namespace bench::json {

std::string text(const std::string& value);
std::string number(double value);  // rounded to four decimals
std::string integer(std::int64_t value);
std::string object(std::initializer_list<std::pair<const char*, std::string>> members);
// Items on lines of their own, indented by so many spaces; 0 = all on one line.
std::string array(const std::vector<std::string>& items, int indent = 0);

}  // namespace bench::json
