// What the plain structs of the C interface have in common.
#pragma once

#include <cstring>
#include <type_traits>

namespace moe_act::python {

// All zeros but for its size.
template <typename Struct>
Struct sized() {
  Struct value{};
  value.struct_size = sizeof(value);
  return value;
}

// Are all fields equal? By bytes: ones that are no field's, and zeros of either sign, can only make equal structs look
// different, and then what was found before is found again.
template <typename Struct>
bool same(const Struct& a, const Struct& b) {
  static_assert(std::is_trivially_copyable_v<Struct>);
  return std::memcmp(&a, &b, sizeof(Struct)) == 0;
}

}  // namespace moe_act::python
