// Numbers as messages write them.
#pragma once

#include <charconv>
#include <cmath>
#include <concepts>
#include <string>

namespace moe_act {

std::string number(std::integral auto value) {
  return std::to_string(value);
}

// As Python writes them: as many digits as tell the number from every other float, and seen to be one.
inline std::string number(float value) {
  if (std::isnan(value)) return "nan";  // without the sign that NaN has in memory
  char text[32];
  const std::string digits(text, std::to_chars(text, text + sizeof(text), value).ptr);
  return digits.find_first_not_of("-0123456789") == std::string::npos ? digits + ".0" : digits;
}

}  // namespace moe_act
