// One fp16 row on the CPU, by a library that is found at run time: consumer [PATH/libmoe_act.so]
#include <dlfcn.h>
#include <moe_act/c_api.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

// The functions that are needed, with the types that the header gives them.
struct Library {
  decltype(&moe_act_last_error) last_error;
  decltype(&moe_act_version) version;
  decltype(&moe_act_problem_init_sized) problem_init_sized;
  decltype(&moe_act_plan_create) plan_create;
  decltype(&moe_act_plan_destroy) plan_destroy;
  decltype(&moe_act_launch) launch;

  explicit Library(const char* path) {
    // Local: its symbols are nobody else's. It is never closed, as little that runs threads can be.
    void* handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (handle == nullptr) exit_with("dlopen", dlerror());
    find(handle, "moe_act_last_error", last_error);
    find(handle, "moe_act_version", version);
    find(handle, "moe_act_problem_init_sized", problem_init_sized);
    find(handle, "moe_act_plan_create", plan_create);
    find(handle, "moe_act_plan_destroy", plan_destroy);
    find(handle, "moe_act_launch", launch);
  }

  void check(const char* call, moe_act_status status) const {
    if (status != MOE_ACT_OK) exit_with(call, last_error());
  }

 private:
  template <typename Function>
  static void find(void* handle, const char* name, Function& function) {
    function = reinterpret_cast<Function>(dlsym(handle, name));
    if (function == nullptr) exit_with("dlsym", dlerror());
  }

  [[noreturn]] static void exit_with(const char* what, const char* why) {
    std::fprintf(stderr, "%s: %s\n", what, why);
    std::exit(1);
  }
};

}  // namespace

int main(int count, char** arguments) {
  const Library moe_act(count > 1 ? arguments[1] : MOE_ACT_LIBRARY);

  // [1, 2 x 4]: up, then gate. sigmoid(32) is 1 in fp32, so that out = 32 * up; and the gate 0 gives 0.
  alignas(16) const std::uint16_t x[8] = {0x4b00, 0xc700, 0x3800, 0x4200,   // up   14, -7, 0.5, 3
                                          0x5000, 0x5000, 0x5000, 0x0000};  // gate 32, 32, 32, 0
  const std::uint8_t expected[4] = {0x7e, 0xf6, 0x58, 0x00};                //      448, -224, 16, 0
  std::uint8_t out[4] = {};
  float out_scale[1] = {};

  // The size tells the library which fields there are, should it be a later version than the header.
  moe_act_problem problem;
  moe_act.check("moe_act_problem_init_sized",
                moe_act.problem_init_sized(&problem, sizeof(problem), MOE_ACT_FORMAT_FP16, MOE_ACT_FORMAT_E4M3, 1, 4));
  problem.out_alignment = 1;
  moe_act_plan* plan = nullptr;
  moe_act.check("moe_act_plan_create", moe_act.plan_create(&problem, nullptr, &plan));

  moe_act_buffers buffers = {};
  buffers.struct_size = sizeof(buffers);
  buffers.x = x;
  buffers.out = out;
  buffers.out_scale = out_scale;
  moe_act.check("moe_act_launch", moe_act.launch(plan, &buffers, nullptr, nullptr));
  moe_act.plan_destroy(plan);

  std::printf("moe_act %s: codes %02x %02x %02x %02x, scale %g\n", moe_act.version(), out[0], out[1], out[2], out[3],
              static_cast<double>(out_scale[0]));
  return std::memcmp(out, expected, sizeof(expected)) == 0 && out_scale[0] == 1.0f ? 0 : 1;
}
