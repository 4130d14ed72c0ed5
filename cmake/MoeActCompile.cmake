# Compile options of the project's own C++.

function(moe_act_compile_options target)
  target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR}/include ${PROJECT_SOURCE_DIR}/src)
  target_compile_options(${target} PRIVATE
    $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wshadow -Wconversion -Wpedantic>
    # Rounding is part of the contract: no multiply-add that is not written as one, on any instruction set.
    $<$<COMPILE_LANGUAGE:CXX>:-ffp-contract=off>)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 14)
    # GCC bug 105329: a false alarm on "text" + std::string.
    target_compile_options(${target} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-Wno-restrict>)
  endif()
  if(MOE_ACT_WERROR)
    target_compile_options(${target} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-Werror> $<$<COMPILE_LANGUAGE:CUDA>:-Werror=all-warnings>)
  endif()
endfunction()

# The CPU kernels for one instruction set. -O3 and the two -fno options are what lets the loops vectorise; none of
# them changes a result, as -ffast-math would.
function(moe_act_add_cpu_level namespace flags)
  add_library(moe_act_cpu_${namespace} OBJECT src/cpu/kernels.cpp)
  moe_act_compile_options(moe_act_cpu_${namespace})
  target_compile_definitions(moe_act_cpu_${namespace} PRIVATE MOE_ACT_CPU_NAMESPACE=${namespace})
  target_compile_options(moe_act_cpu_${namespace} PRIVATE -O3 -fno-math-errno -fno-trapping-math -fopenmp-simd ${flags})
  set(MOE_ACT_CPU_LEVELS ${MOE_ACT_CPU_LEVELS} moe_act_cpu_${namespace} PARENT_SCOPE)
endfunction()
