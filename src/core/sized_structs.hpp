// Structs that cross the C interface, whose callers may have compiled against an older header: docs/c_api.md has the
// rule.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>

#include "core/error.hpp"
#include "core/problem.hpp"
#include "core/text.hpp"
#include "moe_act/c_api.h"

namespace moe_act {

// Bytes of each struct in its first version: no caller can have a shorter one. Never to be changed.
template <typename Struct>
constexpr std::uint64_t first_size = 0;
template <>
inline constexpr std::uint64_t first_size<moe_act_problem> = 136;
template <>
inline constexpr std::uint64_t first_size<moe_act_buffers> = 64;
template <>
inline constexpr std::uint64_t first_size<moe_act_device_info> = 32;
template <>
inline constexpr std::uint64_t first_size<moe_act_launch_choice> = 40;
template <>
inline constexpr std::uint64_t first_size<moe_act_plan_info> = 64;
template <>
inline constexpr std::uint64_t first_size<moe_act_options> = 64;
template <>
inline constexpr std::uint64_t first_size<moe_act_tensors> = 64;

// Throws unless a struct of so many bytes can be one of this library's.
template <typename Struct>
void require_size(const char* argument, std::uint64_t size) {
  static_assert(first_size<Struct> > 0 && first_size<Struct> <= sizeof(Struct));
  if (size >= first_size<Struct> && size <= sizeof(Struct)) return;
  const std::string least = first_size<Struct> < sizeof(Struct) ? number(first_size<Struct>) + " to " : "";
  invalid(argument, "struct_size is " + number(size) + ", expected " + least + number(sizeof(Struct)) + " bytes");
}

// The size that a caller's struct says it has.
template <typename Struct>
std::uint64_t stated_size(const char* argument, const Struct* given) {
  if (given == nullptr) invalid(argument, "expected a struct, got null");
  std::uint64_t size = 0;
  std::memcpy(&size, given, sizeof(size));
  require_size<Struct>(argument, size);
  return size;
}

// A caller's struct as this library knows it: fields that the caller's lacks are 0.
template <typename Struct>
Struct accept(const char* argument, const Struct* given) {
  const std::uint64_t size = stated_size(argument, given);
  Struct known;
  if (size < sizeof(Struct)) known = {};
  std::memcpy(&known, given, size);
  return known;
}

// The same without a copy where the caller's struct is a whole one.
template <typename Struct>
const Struct& accept_in_place(const char* argument, const Struct* given, Struct& room) {
  if (stated_size(argument, given) == sizeof(Struct)) return *given;
  return room = accept(argument, given);
}

// What the fields of a struct mean when some are 0.
inline moe_act_problem meaning(const moe_act_problem& problem) {
  return normalized(problem);
}
inline moe_act_buffers meaning(const moe_act_buffers& buffers) {
  return buffers;
}

// Facts, as far as the caller's struct has room for them.
template <typename Struct>
void deliver(const char* argument, Struct value, Struct* target) {
  value.struct_size = stated_size(argument, target);
  std::memcpy(target, &value, value.struct_size);
}

// What the caller will hand back: what its struct has no room for must be what zeros there mean.
template <typename Struct>
void deliver_whole(const char* argument, Struct value, Struct* target) {
  value.struct_size = stated_size(argument, target);
  Struct remembered{};
  std::memcpy(&remembered, &value, value.struct_size);
  const Struct meant = meaning(value), kept = meaning(remembered);
  if (std::memcmp(&meant, &kept, sizeof(Struct)) != 0)
    invalid(argument, "a struct of " + number(value.struct_size) + " bytes cannot hold what this call asks for, " +
                          number(sizeof(Struct)) + " can");
  std::memcpy(target, &value, value.struct_size);
}

}  // namespace moe_act
