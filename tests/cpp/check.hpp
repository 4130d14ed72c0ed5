// Checks for one test executable; included once by its only source file, since it defines main.
//
//     TEST("sums are commutative") { CHECK_EQUAL(1 + 2, 2 + 1, "a context, printed only on failure"); }
//
// A failing check prints a line and the test goes on. Arguments of the executable select tests by a part of the name.
#pragma once

#include <concepts>
#include <cstdio>
#include <exception>
#include <sstream>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace check {

struct Test {
  const char* name;
  void (*body)();
};

inline std::vector<Test>& tests() {
  static std::vector<Test> registered;
  return registered;
}

struct Registration {
  Registration(const char* name, void (*body)()) { tests().push_back({name, body}); }
};

inline long checks = 0;
inline long failures = 0;
inline long failures_before_test = 0;
inline const char* current_test = "";

// What a failure prints of a value: enums and bytes as numbers.
template <typename Value>
auto printable(const Value& value) {
  if constexpr (std::is_null_pointer_v<Value>)
    return "null";
  else if constexpr (std::is_enum_v<Value>)
    return static_cast<long long>(value);
  else if constexpr (std::integral<Value> && sizeof(Value) == 1)
    return static_cast<int>(value);
  else if constexpr (std::is_convertible_v<Value, std::string_view>)
    return "\"" + std::string(std::string_view(value)) + "\"";
  else
    return value;
}

template <typename... Values>
std::string text(const Values&... values) {
  std::ostringstream stream;
  stream.precision(9);  // tells every two floats apart
  (void)(stream << ... << values);
  return stream.str();
}

inline void passed() {
  ++checks;
}

inline void failed(const char* file, int line, const std::string& what, const std::string& context) {
  constexpr long most_lines = 20;  // of one test: what fails in a long loop tends to fail throughout
  ++checks;
  const long in_test = ++failures - failures_before_test;
  if (in_test == most_lines + 1) std::printf("\"%s\": and more\n", current_test);
  if (in_test > most_lines) return;
  std::printf("%s:%d: \"%s\": %s%s%s\n", file, line, current_test, what.c_str(), context.empty() ? "" : ", with ",
              context.c_str());
}

template <typename Left, typename Right>
bool equal(const Left& left, const Right& right) {
  if constexpr (std::integral<Left> && std::integral<Right> && !std::same_as<Left, Right>)
    return std::cmp_equal(left, right);
  else
    return left == right;
}

template <typename Actual, typename Expected, typename Context>
void compare(const char* file, int line, const char* expression, const Actual& actual, const Expected& expected,
             Context context) {
  if (equal(actual, expected)) return passed();
  failed(file, line, text(expression, " is ", printable(actual), ", expected ", printable(expected)), context());
}

template <typename Context>
void contains(const char* file, int line, std::string_view given, std::string_view words, Context context) {
  if (given.find(words) != std::string_view::npos) return passed();
  failed(file, line, text("\"", given, "\" does not contain \"", words, "\""), context());
}

inline int run(const std::vector<std::string_view>& selected) {
  long run = 0;
  for (const Test& test : tests()) {
    bool wanted = selected.empty();
    for (const std::string_view part : selected)
      wanted |= std::string_view(test.name).find(part) != std::string_view::npos;
    if (!wanted) continue;
    current_test = test.name;
    failures_before_test = failures;
    ++run;
    try {
      test.body();
    } catch (const std::exception& error) {
      failed("(unknown place)", 0, text("unexpected exception: ", error.what()), "");
    }
  }
  std::printf("%ld tests, %ld checks, %ld failed\n", run, checks, failures);
  return failures == 0 && run > 0 ? 0 : 1;
}

}  // namespace check

#define CHECK_JOIN_NOW(left, right) left##right
#define CHECK_JOIN(left, right) CHECK_JOIN_NOW(left, right)

#define TEST(name)                                                                                                  \
  static void CHECK_JOIN(test_at_line_, __LINE__)();                                                                \
  static const check::Registration CHECK_JOIN(registration_, __LINE__)(name, &CHECK_JOIN(test_at_line_, __LINE__)); \
  static void CHECK_JOIN(test_at_line_, __LINE__)()

// The arguments after the checked ones are a context, evaluated and printed only on failure.
#define CHECK(condition, ...) \
  ((condition) ? check::passed() : check::failed(__FILE__, __LINE__, "not true: " #condition, check::text(__VA_ARGS__)))
#define CHECK_EQUAL(actual, expected, ...) \
  check::compare(__FILE__, __LINE__, #actual, actual, expected, [&] { return check::text(__VA_ARGS__); })
#define CHECK_CONTAINS(given, words, ...) \
  check::contains(__FILE__, __LINE__, given, words, [&] { return check::text(__VA_ARGS__); })

int main(int count, char** arguments) {
  return check::run({arguments + 1, arguments + count});
}
