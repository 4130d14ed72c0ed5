// One fp32 row on the CPU, and a problem that cannot be.
#include <array>
#include <iostream>
#include <moe_act/moe_act.hpp>

int main() {
  // [1, 2 x 4]: gate, then up. sigmoid(32) is 1 in fp32, so that out = 32 * up; and the gate 0 gives 0.
  alignas(16) const std::array<float, 8> x = {32, 32, 32, 0, 14, -7, 0.5, 3};
  alignas(16) std::array<float, 4> out = {};

  auto problem = moe_act::Problem::contiguous(moe_act::Format::fp32, moe_act::Format::fp32, 1, 4);
  const moe_act::Plan plan(problem.set(moe_act::Gate::first_half));
  plan.launch({.x = x.data(), .out = out.data()});
  std::cout << plan.text() << "\n";
  if (out != std::array<float, 4>{448, -224, 16, 0}) return 1;

  try {
    moe_act::Plan(problem.set(moe_act::Scaling::block));
  } catch (const moe_act::InvalidProblem& error) {
    std::cout << "As expected: " << error.what() << "\n";
    return 0;
  }
  return 1;
}
