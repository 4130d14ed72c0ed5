// moe_act for C++20: the C interface with RAII, exceptions and enum classes. Header-only, no CUDA header needed.
//
//     auto problem = moe_act::Problem::contiguous(moe_act::Format::bf16, moe_act::Format::e4m3, rows, columns);
//     const moe_act::Plan plan(problem.on_cuda(0));
//     plan.launch({.x = x, .out = out, .out_scale = out_scale}, stream);
//
// Shapes are written [rows, columns]; H is the number of output columns. Strides are in elements. Every failure throws
// a moe_act::Error. What is not wrapped here (names of options, CPU levels) is a plain call of moe_act/c_api.h.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "moe_act/c_api.h"
#include "moe_act/error.hpp"
#include "moe_act/plan.hpp"
#include "moe_act/problem.hpp"
#include "moe_act/tensors.hpp"
