/* moe_act: the gated activation between the two grouped GEMMs of a Mixture-of-Experts layer, fused with
 * quantization. This C interface is the only binary boundary of the library; nothing else is exported.
 *
 *     tensors --moe_act_describe--> problem --moe_act_plan_create--> plan --moe_act_launch--> result
 *
 * An engine that knows its sizes fills moe_act_problem itself and starts at moe_act_plan_create.
 *
 * Conventions
 * - Shapes are written [rows, columns]; H is the number of output columns, an input row holds 2H values.
 * - Strides are in elements, row strides and scale strides alike. Sizes are capacities.
 * - Every function returns a moe_act_status; after a failure moe_act_last_error() gives one line of text for
 *   the calling thread. Nothing is written to a result buffer on failure, nothing is printed, nothing aborts.
 * - Every struct but moe_act_tensor, which never changes, begins with struct_size = sizeof(the struct). Fields are only
 *   added at the end, and 0 in them means what was done before there were any: docs/c_api.md.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOE_ACT_C_API_H
#define MOE_ACT_C_API_H

#include <stdint.h>

#if defined(_WIN32)
#define MOE_ACT_API
#else
#define MOE_ACT_API __attribute__((visibility("default")))
#endif

#define MOE_ACT_VERSION_MAJOR 0
#define MOE_ACT_VERSION_MINOR 1
#define MOE_ACT_VERSION_PATCH 0

#ifdef __cplusplus
extern "C" {
#endif

typedef enum moe_act_status {
  MOE_ACT_OK = 0,
  MOE_ACT_INVALID_PROBLEM = 1, /* a value, shape, stride, alignment or combination that cannot be */
  MOE_ACT_UNSUPPORTED = 2,     /* meaningful, but this build or device has no kernel for it */
  MOE_ACT_CUDA_ERROR = 3,      /* the CUDA runtime reported an error */
  MOE_ACT_WRONG_TYPE = 4,      /* a tensor of another element type than the argument takes */
  MOE_ACT_INTERNAL_ERROR = 5   /* out of host memory, or a defect of the library */
} moe_act_status;

/* Element formats. The values are stable. */
typedef enum moe_act_format {
  MOE_ACT_FORMAT_NONE = 0,
  MOE_ACT_FORMAT_FP32 = 1,
  MOE_ACT_FORMAT_FP16 = 2,
  MOE_ACT_FORMAT_BF16 = 3,
  MOE_ACT_FORMAT_E4M3 = 4, /* float8_e4m3fn: finite, largest value 448 */
  MOE_ACT_FORMAT_E5M2 = 5,
  MOE_ACT_FORMAT_E2M1 = 6,
  MOE_ACT_FORMAT_UE8M0 = 7
} moe_act_format;

typedef enum moe_act_scaling {
  MOE_ACT_SCALING_DEFAULT = 0, /* in options only: block, or tensor if a static scale is given; none if plain */
  MOE_ACT_SCALING_NONE = 1,    /* plain values, no scale */
  MOE_ACT_SCALING_BLOCK = 2,   /* one scale per row and out_block columns */
  MOE_ACT_SCALING_TENSOR = 3,  /* one given fp32 scale for the whole tensor */
  MOE_ACT_SCALING_ROW = 4      /* one fp32 scale per row ("per token") */
} moe_act_scaling;

typedef enum moe_act_scale_layout {
  MOE_ACT_SCALE_LAYOUT_DEFAULT = 0,          /* in options only: column major */
  MOE_ACT_SCALE_LAYOUT_COLUMN_MAJOR = 1,     /* scale(row, block) = data[row + stride * block] */
  MOE_ACT_SCALE_LAYOUT_ROW_MAJOR = 2,        /* scale(row, block) = data[row * stride + block] */
  MOE_ACT_SCALE_LAYOUT_TMA_COLUMN_MAJOR = 3, /* column major, fp32, the stride a multiple of 4: 16 bytes */
  MOE_ACT_SCALE_LAYOUT_PACKED_UE8M0 = 4,     /* words[row + stride * (block / 4)], byte block % 4; stride as for TMA */
  MOE_ACT_SCALE_LAYOUT_SWIZZLED_128X4 = 5 /* UE8M0 in tiles of 128 rows x 4 blocks, 512 bytes; stride = padded rows */
} moe_act_scale_layout;

/* What becomes of a block's scale before it is used and delivered. */
typedef enum moe_act_scale_rounding {
  MOE_ACT_SCALE_ROUNDING_DEFAULT = 0,     /* by format: none for FP32, power of two for UE8M0 */
  MOE_ACT_SCALE_ROUNDING_NONE = 1,        /* fp32 to nearest */
  MOE_ACT_SCALE_ROUNDING_POWER_OF_TWO = 2 /* up to the next power of two */
} moe_act_scale_rounding;

typedef enum moe_act_gate {
  MOE_ACT_GATE_DEFAULT = 0, /* in options only: second half */
  MOE_ACT_GATE_SECOND_HALF = 1,
  MOE_ACT_GATE_FIRST_HALF = 2,
  MOE_ACT_GATE_INTERLEAVED = 3 /* groups of `interleave` columns of gate and of up take turns, gate first */
} moe_act_gate;

typedef enum moe_act_activation {
  MOE_ACT_ACTIVATION_DEFAULT = 0,     /* in options only: swiglu */
  MOE_ACT_ACTIVATION_SWIGLU = 1,      /* gate * sigmoid(alpha * gate) * (up + beta), both clamped to limit before */
  MOE_ACT_ACTIVATION_SWIGLU_STEP = 2, /* min(gate * sigmoid(gate), limit) * up, up clamped to limit before */
  MOE_ACT_ACTIVATION_GEGLU = 3,       /* gelu(gate) * up, by erf */
  MOE_ACT_ACTIVATION_GEGLU_TANH = 4,  /* gelu(gate) * up, by tanh */
  MOE_ACT_ACTIVATION_REGLU = 5,       /* max(gate, 0) * up */
  MOE_ACT_ACTIVATION_SITU = 6, /* gate_bound * tanh(gate / gate_bound) * sigmoid(gate) * up_bound * tanh(up / up_bound)
                                */
  MOE_ACT_ACTIVATION_SILU = 7, /* from here on without up, x [rows, H]: gate * sigmoid(gate) */
  MOE_ACT_ACTIVATION_GELU = 8, /* by erf */
  MOE_ACT_ACTIVATION_GELU_TANH = 9,
  MOE_ACT_ACTIVATION_RELU = 10, /* max(gate, 0) */
  MOE_ACT_ACTIVATION_RELU2 = 11 /* max(gate, 0)^2 */
} moe_act_activation;

/* Where alpha, beta or limit comes from. */
typedef enum moe_act_parameter {
  MOE_ACT_PARAMETER_NONE = 0,      /* it is not applied */
  MOE_ACT_PARAMETER_SCALAR = 1,    /* the field of that name */
  MOE_ACT_PARAMETER_PER_EXPERT = 2 /* the buffer of that name */
} moe_act_parameter;

/* Whose numerics, as docs/contract.md says them; the fields after it replace single parts. */
typedef enum moe_act_preset {
  MOE_ACT_PRESET_DEFAULT = 0, /* flashinfer */
  MOE_ACT_PRESET_FLASHINFER = 1,
  MOE_ACT_PRESET_DEEPGEMM = 2, /* TileKernels', too */
  MOE_ACT_PRESET_VLLM_BLOCK = 3,
  MOE_ACT_PRESET_VLLM_MASKED = 4,
  MOE_ACT_PRESET_SGLANG = 5,
  MOE_ACT_PRESET_LMDEPLOY = 6,
  MOE_ACT_PRESET_TE_MXFP8 = 7
} moe_act_preset;

/* What is rounded to the format of x before amax. */
typedef enum moe_act_product_rounding {
  MOE_ACT_PRODUCT_ROUNDING_DEFAULT = 0, /* the preset's */
  MOE_ACT_PRODUCT_ROUNDING_NONE = 1,
  MOE_ACT_PRODUCT_ROUNDING_PRODUCT = 2,
  MOE_ACT_PRODUCT_ROUNDING_ACTIVATION_AND_PRODUCT = 3
} moe_act_product_rounding;

/* How scales and codes are formed. */
typedef enum moe_act_quantization {
  MOE_ACT_QUANTIZATION_DEFAULT = 0,      /* the preset's */
  MOE_ACT_QUANTIZATION_DIVIDE = 1,       /* y / scale */
  MOE_ACT_QUANTIZATION_MULTIPLY = 2,     /* y * (448 / amax) */
  MOE_ACT_QUANTIZATION_MULTIPLY_BF16 = 3 /* y * (1 / scale), scale and all steps rounded to bf16 */
} moe_act_quantization;

/* Are gate and up rounded to the format of x when they are clamped? */
typedef enum moe_act_clamp_rounding {
  MOE_ACT_CLAMP_ROUNDING_DEFAULT = 0, /* none */
  MOE_ACT_CLAMP_ROUNDING_NONE = 1,
  MOE_ACT_CLAMP_ROUNDING_INPUT = 2
} moe_act_clamp_rounding;

/* How rows are found; see docs/contract.md. */
typedef enum moe_act_row_kind {
  MOE_ACT_ROWS_DENSE = 1,                /* every row in [0, rows) */
  MOE_ACT_ROWS_EXPANDED_TO_PERMUTED = 2, /* rows index[i], i in [0, entries); -1 is skipped */
  MOE_ACT_ROWS_VALID_PREFIX = 3,         /* rows [0, count[0]) */
  MOE_ACT_ROWS_TILE_LIMITS = 4,          /* rows r < index[r / tile_tokens], of the first count[0] tiles if given */
  MOE_ACT_ROWS_ROW_TO_EXPERT = 5,        /* rows r with index[r] >= 0 */
  MOE_ACT_ROWS_SORTED_TOKEN_IDS = 6,     /* positions p < count[0] with 0 <= index[p] < num_valid_ids */
  MOE_ACT_ROWS_EXPERT_OFFSETS = 7,       /* expert e has rows [index[e], index[e + 1]) */
  MOE_ACT_ROWS_EXPERT_ENDS = 8,          /* expert e has rows [index[e - 1] aligned up, index[e]) */
  MOE_ACT_ROWS_MASKED = 9                /* x [experts, rows, 2H]: expert e has its first index[e] rows */
} moe_act_row_kind;

/* Which row of the buffers belongs to a position of sorted token ids. */
typedef enum moe_act_sorted_rows {
  MOE_ACT_SORTED_ROWS_DEFAULT = 0, /* the position */
  MOE_ACT_SORTED_ROWS_POSITION = 1,
  MOE_ACT_SORTED_ROWS_ID = 2
} moe_act_sorted_rows;

typedef enum moe_act_padding {
  MOE_ACT_PADDING_DEFAULT = 0, /* in options only: skip */
  MOE_ACT_PADDING_SKIP = 1,    /* nothing of an invalid row is written, its scales included */
  MOE_ACT_PADDING_ZERO = 2     /* invalid rows get zero codes and scale 1 */
} moe_act_padding;

/* Programmatic dependent launch (CUDA, compute capability 9.0 and above). */
typedef enum moe_act_pdl {
  MOE_ACT_PDL_DEFAULT = 0, /* in options only: off */
  MOE_ACT_PDL_OFF = 1,
  MOE_ACT_PDL_ON = 2,            /* waits for the preceding kernel before any global read */
  MOE_ACT_PDL_METADATA_READY = 3 /* the caller promises that row_index, row_count, tile_to_expert and
                                    total_num_padded_tokens were complete before the *preceding* kernel could start:
                                    they alone are read before the wait */
} moe_act_pdl;

/* Values are those of DLPack's DLDeviceType. */
typedef enum moe_act_device_type { MOE_ACT_DEVICE_CPU = 1, MOE_ACT_DEVICE_CUDA = 2 } moe_act_device_type;

#define MOE_ACT_STRIDE_ON_DEVICE ((int64_t)-1) /* a scale stride that is total_num_padded_tokens[0] */

/* What to compute, pointer-free. moe_act_problem_init sets every field. Where rows are masked, `rows` are those of each
 * expert, and every buffer has one part for each expert, expert_stride apart. */
typedef struct moe_act_problem {
  uint64_t struct_size;
  int32_t device_type;      /* moe_act_device_type of all buffers */
  int32_t device_id;        /* CUDA ordinal; 0 on CPU */
  int32_t x_format;         /* moe_act_format: FP32, FP16, BF16, E4M3 */
  int32_t x_scale_layout;   /* moe_act_scale_layout; read only when x_format is E4M3 */
  int32_t out_format;       /* moe_act_format: E4M3, E5M2 (scaled), FP32, FP16, BF16 (plain) */
  int32_t out_scaling;      /* moe_act_scaling */
  int32_t out_scale_layout; /* moe_act_scale_layout; read only when out_scaling is BLOCK */
  int32_t activation;       /* moe_act_activation */
  int32_t gate;             /* moe_act_gate; SECOND_HALF where there is no up */
  int32_t row_kind;         /* moe_act_row_kind */
  int32_t padding;          /* moe_act_padding */
  int32_t pdl;              /* moe_act_pdl */
  int64_t rows;             /* rows of x [rows, 2H] and out [rows, H]: a capacity */
  int64_t columns;          /* H >= 1 */
  int64_t entries;          /* of row_index where it is a list: map, limits, experts of rows, ids; else 0 */
  int64_t expected_rows;    /* a hint: how many rows will be live; -1 = unknown. Any value gives right results */
  int64_t x_row_stride;     /* elements between rows of x, >= 2H */
  int64_t out_row_stride;   /* elements between rows of out, >= H */
  int64_t x_scale_stride;   /* elements, as the layout says, or STRIDE_ON_DEVICE */
  int64_t out_scale_stride; /* the same, of out_scale */
  int32_t x_alignment;      /* bytes, a power of two: promised for x.data and for every row of x */
  int32_t out_alignment;    /* the same, of out */
  int64_t workspace_limit;  /* bytes of workspace that launches may ask the caller for; 0 = none */
  int32_t x_scale_format;   /* moe_act_format: FP32 or UE8M0; NONE = as the layout implies, else FP32 */
  int32_t out_scale_format;
  int32_t x_block;          /* columns that share a scale: 32, 64 or 128; 0 = 128 */
  int32_t out_block;        /* the same, of out */
  int32_t scale_rounding;   /* moe_act_scale_rounding */
  int32_t sorted_rows;      /* moe_act_sorted_rows */
  int32_t index_bits;       /* of row_index: 32 or 64; 0 = 32 */
  int32_t count_bits;       /* of row_count: the same */
  int64_t experts;          /* segments of EXPERT_OFFSETS, EXPERT_ENDS and MASKED; else 0 */
  int64_t tile_tokens;      /* rows of a tile: TILE_LIMITS, and beside tile_to_expert; else 0 */
  int64_t expert_alignment; /* EXPERT_ENDS: rows that starts are aligned up to; else 0 */
  int64_t num_valid_ids;    /* SORTED_TOKEN_IDS; else 0 */
  int64_t x_expert_stride;  /* MASKED: elements between the experts' parts; else 0 */
  int64_t out_expert_stride;
  int64_t x_scale_expert_stride;
  int64_t out_scale_expert_stride;
  int32_t interleave; /* gate INTERLEAVED: columns of a group, 1, 8 or 32; else 0 */
  int32_t alpha_from; /* moe_act_parameter; SWIGLU only */
  int32_t beta_from;  /* the same */
  int32_t limit_from; /* the same; SWIGLU and SWIGLU_STEP only */
  float alpha;        /* where alpha_from is SCALAR; else 0 */
  float beta;
  float limit;                       /* above 0 */
  float gate_bound;                  /* SITU, from 2^-126 to 2^125; else 0 */
  float up_bound;                    /* the same */
  int32_t preset;                    /* moe_act_preset */
  int32_t product_rounding;          /* moe_act_product_rounding */
  int32_t quantization;              /* moe_act_quantization */
  int32_t clamp_rounding;            /* moe_act_clamp_rounding */
  float smallest_amax;               /* 0: the preset's */
  float smallest_scale;              /* 0: the preset's */
  int32_t bias_format;               /* moe_act_format of bias: FP32 or BF16; NONE = there is no bias */
  int32_t bias_alignment;            /* bytes, as x_alignment; 0 = its element's */
  int32_t has_weight;                /* 1: rows are multiplied by weights; else 0 */
  int64_t bias_expert_stride;        /* elements between the experts of bias; else 0 */
  int64_t parameter_experts;         /* of bias and of per-expert alpha, beta and limit; 0 = there are none */
  int64_t weights;                   /* elements of weight; else 0 */
  int64_t expert_tiles;              /* elements of tile_to_expert; 0 = there is none */
  int32_t tile_to_expert_bits;       /* 32 or 64; 0 = 32 */
  int32_t permuted_to_expanded_bits; /* 32 or 64; 0 = there is none */
  int32_t unquantized_format;        /* moe_act_format: FP32, FP16, BF16; NONE = no unquantized copy is written */
  int32_t unquantized_alignment;     /* bytes, as out_alignment; 0 = its element's */
  int64_t unquantized_row_stride;    /* elements, >= H; else 0 */
  int64_t unquantized_expert_stride; /* MASKED; else 0 */
} moe_act_problem;

/* The device pointers of one launch. Null where the problem has no such argument. */
typedef struct moe_act_buffers {
  uint64_t struct_size;
  const void* x;                          /* [rows, 2H], x_format */
  const void* x_scale;                    /* as its layout says, of 2H columns; scaled input only */
  void* out;                              /* [rows, H], out_format */
  void* out_scale;                        /* as its layout says, of H columns; ROW scaling: fp32 [rows] */
  const float* static_scale;              /* [1]; TENSOR scaling only */
  const void* row_index;                  /* index_bits; as the row kind says */
  const int32_t* total_num_padded_tokens; /* [1]; only when a scale stride is STRIDE_ON_DEVICE */
  const void* row_count;                  /* [1], count_bits; as the row kind says, null where none is given */
  const void* bias;                       /* [parameter_experts, 2H], bias_format; columns arranged as those of x */
  const float* alpha;                     /* [parameter_experts]; PER_EXPERT only */
  const float* beta;                      /* the same */
  const float* limit;                     /* the same */
  const float* weight;                    /* [weights], indexed as docs/contract.md says; has_weight only. Whoever gives
                                             them must not weigh the rows again after the second GEMM */
  const void* tile_to_expert;             /* [expert_tiles]; a row whose tile's expert is negative is not live */
  const void* permuted_to_expanded;       /* [rows]: a row's element of weight */
  void* out_unquantized;                  /* [rows, H], unquantized_format */
} moe_act_buffers;

/* A GPU, as far as planning is concerned. */
typedef struct moe_act_device_info {
  uint64_t struct_size;
  int32_t multiprocessors;
  int32_t compute_capability_major;
  int32_t compute_capability_minor;
  int32_t memory_gigabytes_per_second; /* what clock and bus width allow; 0 = unknown */
  int64_t l2_bytes;
} moe_act_device_info;

/* How work is laid over the GPU. */
typedef enum moe_act_schedule {
  MOE_ACT_SCHEDULE_ROWS = 1,     /* a warp does one chunk of one row */
  MOE_ACT_SCHEDULE_TILES = 2,    /* a warp does one block of several consecutive rows */
  MOE_ACT_SCHEDULE_SPARSE = 3,   /* CTAs share out the few live rows among many map entries */
  MOE_ACT_SCHEDULE_LOOP = 4,     /* as ROWS, for any alignment and number of columns */
  MOE_ACT_SCHEDULE_LIST = 5,     /* CTAs look at entries that name rows, or rows that may be live; any layout */
  MOE_ACT_SCHEDULE_SEGMENTS = 6, /* CTAs count the experts' rows and share them out; any layout */
  MOE_ACT_SCHEDULE_SPAN = 7,     /* CTAs take the rows of one range, a prefix or all between offsets; few rows */
  MOE_ACT_SCHEDULE_ENTRY = 8     /* each CTA looks at one entry of a list; few rows */
} moe_act_schedule;

/* What there is to choose about running a problem on a GPU. Results do not depend on it. */
typedef struct moe_act_launch_choice {
  uint64_t struct_size;
  int32_t schedule;         /* moe_act_schedule */
  int32_t columns_per_lane; /* adjacent columns that a lane loads at once */
  int32_t vectors_per_lane; /* such loads that one lane has in flight */
  int32_t warps_per_cta;    /* SPARSE: 4; else a power of two up to 16 */
  int32_t entries_per_cta;  /* SPARSE: map entries that a CTA looks at, 1 to 512; LIST: entries, 1 to 32; SEGMENTS: live
                               rows that it takes, 1 to 64, a multiple of those that its warps do at once; SPAN and
                               ENTRY: 1; else 0 */
  int32_t marks_rows;       /* 1: rows that a map or ids name are done in their own order, marked in workspace
                               beforehand; else 0 */
  int32_t reserved;         /* 0 */
} moe_act_launch_choice;

/* Everything that was decided. On CPU all fields are 0. */
typedef struct moe_act_plan_info {
  uint64_t struct_size;
  int32_t schedule; /* moe_act_schedule */
  int32_t grid_x;
  int32_t grid_y;
  int32_t grid_z;        /* LIST and ENTRY: CTAs side by side look at entries so many CTAs apart */
  int32_t warps_per_row; /* of a CTA, side by side along the row */
  int32_t rows_per_cta;  /* that a CTA has in hand at once */
  int32_t units_per_cta; /* rows or entries that a CTA answers for, in SPARSE all those of grid_z together; LIST,
                            SEGMENTS and SPAN go on behind the grid */
  int32_t threads_per_cta;
  int32_t columns_per_lane;
  int32_t vectors_per_lane;
  int64_t shared_bytes;    /* per CTA, beside what its kernel declares: none today */
  int64_t workspace_bytes; /* to be provided by the caller at launch, 16-byte aligned, of any content, which is read
                              before it is written; launches that may run at the same time each need their own */
  int32_t kernel;          /* which of those that are compiled: below kernels */
  int32_t kernels;
} moe_act_plan_info;

typedef struct moe_act_plan moe_act_plan;

/* DLPack's DLTensor, with what an exporter says of it. Not owned. */
typedef struct moe_act_tensor {
  void* data;          /* byte offset already applied */
  int32_t device_type; /* moe_act_device_type */
  int32_t device_id;
  uint8_t dtype_code; /* DLPack: 0 int, 1 uint, 2 float, 4 bfloat, 10 e4m3fn, 12 e5m2, 14 e8m0fnu, 17 e2m1fn */
  uint8_t dtype_bits;
  uint16_t dtype_lanes;
  int32_t ndim;
  const int64_t* shape;   /* [ndim] */
  const int64_t* strides; /* [ndim], elements; null = compact row major */
  uint32_t flags;         /* MOE_ACT_TENSOR_* */
} moe_act_tensor;

#define MOE_ACT_TENSOR_READ_ONLY 1u
#define MOE_ACT_TENSOR_REQUIRES_GRAD 2u

/* What tensors cannot say. A zeroed struct with struct_size set is the default of every option. */
typedef struct moe_act_options {
  uint64_t struct_size;
  int32_t x_format; /* moe_act_format; NONE = by dtype. Names the format behind an integer view (uint8, uint16) */
  int32_t x_scale_layout;
  int32_t out_format; /* NONE = E4M3 */
  int32_t out_scaling;
  int32_t out_scale_layout;
  int32_t activation;
  int32_t gate;
  int32_t padding;
  int32_t pdl;
  int32_t has_expected_rows; /* 0: expected_rows is not read */
  int64_t expected_rows;
  int64_t workspace_limit; /* as in the problem, and so are all below */
  int32_t x_scale_format;
  int32_t out_scale_format;
  int32_t x_block;
  int32_t out_block;
  int32_t scale_rounding;
  int32_t sorted_rows;
  int32_t row_kind; /* 0: dense, or the map's if there is a row_index */
  int32_t reserved; /* 0 */
  int64_t tile_tokens;
  int64_t expert_alignment;
  int64_t num_valid_ids;
  int32_t interleave;
  int32_t alpha_from; /* SCALAR: alpha holds it. Per-expert values are tensors */
  int32_t beta_from;
  int32_t limit_from;
  float alpha;
  float beta;
  float limit;
  float gate_bound;
  float up_bound;
  int32_t preset;
  int32_t product_rounding;
  int32_t quantization;
  int32_t clamp_rounding;
  float smallest_amax;
  float smallest_scale;
  int32_t unquantized_format; /* NONE = by dtype. Names the format behind an integer view */
} moe_act_options;

/* The tensors of one call; null where there is none. Masked: x, out and block or row scales with a leading [E]. */
typedef struct moe_act_tensors {
  uint64_t struct_size;
  const moe_act_tensor* x;            /* [rows, 2H]; fp32, fp16, bf16, e4m3, or an integer view of one of them */
  const moe_act_tensor* x_scale;      /* as docs/layouts.md says of its layout; e4m3 input only */
  const moe_act_tensor* out;          /* [rows, H] */
  const moe_act_tensor* out_scale;    /* as x_scale; fp32 [rows] for ROW scaling */
  const moe_act_tensor* static_scale; /* fp32, one element */
  const moe_act_tensor* row_index;    /* int32 or int64, as row_kind says; a map may be [tokens, top_k] */
  const moe_act_tensor* total_num_padded_tokens; /* int32, one element */
  const moe_act_tensor* row_count;               /* int32 or int64, one element, as row_kind says */
  const moe_act_tensor* bias;                    /* fp32 or bf16 [experts, 2H] */
  const moe_act_tensor* alpha;                   /* fp32 [experts] */
  const moe_act_tensor* beta;
  const moe_act_tensor* limit;
  const moe_act_tensor* weight;               /* fp32, a shape as the rows say */
  const moe_act_tensor* tile_to_expert;       /* int32 or int64 [tiles] */
  const moe_act_tensor* permuted_to_expanded; /* int32 or int64 [rows] */
  const moe_act_tensor* out_unquantized;      /* fp32, fp16 or bf16 [rows, H] */
} moe_act_tensors;

/* One line about the last failure in this thread; "" if there was none. Valid until the thread's next call. */
MOE_ACT_API const char* moe_act_last_error(void);

/* "0.1.0" */
MOE_ACT_API const char* moe_act_version(void);

/* One line: was CUDA compiled in, and for which architectures. */
MOE_ACT_API const char* moe_act_build_info(void);

/* The number of usable CUDA devices; 0 without CUDA, driver or device (moe_act_last_error then says why). */
MOE_ACT_API int32_t moe_act_cuda_device_count(void);

/* Facts about a CUDA device, read once and cached. */
MOE_ACT_API moe_act_status moe_act_device_query(int32_t device_id, moe_act_device_info* info);

/* The value behind an option's name ("gate", "first_half"); the error lists the known names.
 * option: "format", "scale_layout", "scale_format", each also behind "x_" or "out_", "out_scaling", "scale_rounding",
 * "activation", "gate", "preset", "product_rounding", "quantization", "clamp_rounding", "row_kind", "sorted_rows" (or
 * "buffer_row"), "padding", "pdl", "device", "schedule". */
MOE_ACT_API moe_act_status moe_act_parse_option(const char* option, const char* name, int32_t* value);

/* The name of an option's value, or null. */
MOE_ACT_API const char* moe_act_option_name(const char* option, int32_t value);

/* Dense contiguous rows on the CPU, 16-byte aligned as far as the row sizes allow; e4m3 output is block scaled. Nothing
 * is judged here but struct_size: a library older than this header has no room for its problem. */
MOE_ACT_API moe_act_status moe_act_problem_init_sized(moe_act_problem* problem, uint64_t struct_size, int32_t x_format,
                                                      int32_t out_format, int64_t rows, int64_t columns);
static inline moe_act_status moe_act_problem_init(moe_act_problem* problem, int32_t x_format, int32_t out_format,
                                                  int64_t rows, int64_t columns) {
  return moe_act_problem_init_sized(problem, sizeof(*problem), x_format, out_format, rows, columns);
}

/* Tensors and options to a problem and its pointers. out and out_scale may be null: the problem then describes
 * contiguous results yet to be allocated, and their pointers are null. */
MOE_ACT_API moe_act_status moe_act_describe(const moe_act_tensors* tensors, const moe_act_options* options,
                                            moe_act_problem* problem, moe_act_buffers* buffers);

/* Validates the problem and decides how to run it: a pure function of its two arguments. device may be null on
 * CPU; on CUDA null means "ask the problem's own device". Destroy the plan with moe_act_plan_destroy. */
MOE_ACT_API moe_act_status moe_act_plan_create(const moe_act_problem* problem, const moe_act_device_info* device,
                                               moe_act_plan** plan);
MOE_ACT_API void moe_act_plan_destroy(moe_act_plan* plan);

/* The ways to run a CUDA problem, for a search over plans: how many there are, and the one at index. The set does not
 * depend on the device. */
MOE_ACT_API moe_act_status moe_act_launch_choice_count(const moe_act_problem* problem, int64_t* count);
MOE_ACT_API moe_act_status moe_act_launch_choice_at(const moe_act_problem* problem, int64_t index,
                                                    moe_act_launch_choice* choice);

/* moe_act_plan_create with a choice in place of the planner's own. */
MOE_ACT_API moe_act_status moe_act_plan_create_chosen(const moe_act_problem* problem, const moe_act_device_info* device,
                                                      const moe_act_launch_choice* choice, moe_act_plan** plan);
MOE_ACT_API moe_act_status moe_act_plan_get_info(const moe_act_plan* plan, moe_act_plan_info* info);
MOE_ACT_API moe_act_status moe_act_plan_get_problem(const moe_act_plan* plan, moe_act_problem* problem);

/* MOE_ACT_OK if buffers that this problem describes may be given to the plan: everything equal but alignments, which
 * may be better than promised. The error names what differs. */
MOE_ACT_API moe_act_status moe_act_plan_accepts(const moe_act_plan* plan, const moe_act_problem* problem);

/* A few lines for people; owned by the plan. */
MOE_ACT_API const char* moe_act_plan_text(const moe_act_plan* plan);

/* Runs the plan. Checks pointers against what the problem promised, allocates nothing, synchronizes nothing,
 * asks the device nothing: safe while a CUDA graph is captured. stream is a cudaStream_t of the problem's device, null
 * on CPU. workspace holds workspace_bytes, null if that is 0. On CPU the result is complete on return. */
MOE_ACT_API moe_act_status moe_act_launch(const moe_act_plan* plan, const moe_act_buffers* buffers, void* workspace,
                                          void* stream);

/* Looks at the data that moe_act_launch must not look at: map values out of [-1, rows), rows named twice, counts,
 * limits, offsets and ends out of range or decreasing, live rows whose expert or weight is not there, a padded total
 * out of [0, rows] or not above every live row, an expert's alpha, beta or limit that could be no number of a problem
 * either, a static scale out of [2^-126, 2^126]. Entries behind a count are not judged. Synchronizes the stream;
 * allocates host memory. */
MOE_ACT_API moe_act_status moe_act_validate(const moe_act_plan* plan, const moe_act_buffers* buffers, void* stream);

/* Caps the instruction set of the CPU kernels: "baseline", "x86-64-v3", "x86-64-v4", or null for the best there
 * is. Results do not depend on it. */
MOE_ACT_API moe_act_status moe_act_set_cpu_level(const char* level);
MOE_ACT_API const char* moe_act_get_cpu_level(void);

#ifdef __cplusplus
}
#endif

#endif /* MOE_ACT_C_API_H */
