/* One bf16 row to e4m3 codes and their scale, on the CPU. */
#include <moe_act/c_api.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static int failed(const char* call) {
  fprintf(stderr, "%s: %s\n", call, moe_act_last_error());
  return 1;
}

int main(void) {
  /* [1, 2 x 4]: up, then gate. sigmoid(32) is 1 in fp32, so that out = 32 * up; and the gate 0 gives 0. */
  const uint16_t x[8] = {0x4160, 0xc0e0, 0x3f00, 0x4040,  /* up   14, -7, 0.5, 3 */
                         0x4200, 0x4200, 0x4200, 0x0000}; /* gate 32, 32, 32, 0 */
  const uint8_t expected[4] = {0x7e, 0xf6, 0x58, 0x00};   /*      448, -224, 16, 0 */
  uint8_t out[4];
  float out_scale[1];

  moe_act_problem problem;
  moe_act_problem_init(&problem, MOE_ACT_FORMAT_BF16, MOE_ACT_FORMAT_E4M3, 1, 4);
  problem.x_alignment = 2; /* these arrays promise no more than their elements' alignment */
  problem.out_alignment = 1;
  moe_act_plan* plan = NULL;
  if (moe_act_plan_create(&problem, NULL, &plan) != MOE_ACT_OK) return failed("moe_act_plan_create");

  moe_act_buffers buffers = {.struct_size = sizeof(buffers), .x = x, .out = out, .out_scale = out_scale};
  const moe_act_status status = moe_act_launch(plan, &buffers, NULL, NULL);
  moe_act_plan_destroy(plan);
  if (status != MOE_ACT_OK) return failed("moe_act_launch");

  printf("moe_act %s: codes %02x %02x %02x %02x, scale %g\n", moe_act_version(), out[0], out[1], out[2], out[3],
         (double)out_scale[0]);
  return memcmp(out, expected, sizeof(expected)) == 0 && out_scale[0] == 1.0f ? 0 : 1;
}
