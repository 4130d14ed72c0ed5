#include "json.hpp"

#include <cstdio>

namespace bench::json {

std::string text(const std::string& value) {
  std::string quoted = "\"";
  for (const char character : value) {
    if (character == '"' || character == '\\') quoted += '\\';
    quoted += static_cast<unsigned char>(character) < 0x20 ? ' ' : character;
  }
  return quoted + '"';
}

std::string number(double value) {
  char digits[64];
  std::snprintf(digits, sizeof(digits), "%.4f", value);
  return digits;
}

std::string integer(std::int64_t value) {
  return std::to_string(value);
}

std::string object(std::initializer_list<std::pair<const char*, std::string>> members) {
  std::string joined;
  for (const auto& [name, value] : members) joined += (joined.empty() ? "" : ", ") + text(name) + ": " + value;
  return "{" + joined + "}";
}

std::string array(const std::vector<std::string>& items, int indent) {
  const std::string line = indent > 0 ? "\n" + std::string(static_cast<std::size_t>(indent), ' ') : "";
  std::string joined;
  for (const std::string& item : items) joined += (joined.empty() ? "" : indent > 0 ? "," : ", ") + line + item;
  if (indent > 0 && !items.empty()) joined += "\n" + std::string(static_cast<std::size_t>(indent) - 1, ' ');
  return "[" + joined + "]";
}

}  // namespace bench::json
