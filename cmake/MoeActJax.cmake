# Are the headers of XLA's foreign function interface there? They come with jaxlib. Sets MOE_ACT_HAS_JAX, and if it is ON
# MOE_ACT_JAX_INCLUDE_DIR and MOE_ACT_JAXLIB_VERSION. What is built with them runs under this jaxlib and newer ones.

if(NOT MOE_ACT_JAX MATCHES "^(AUTO|ON|OFF)$")
  message(FATAL_ERROR "MOE_ACT_JAX: expected AUTO, ON or OFF, got '${MOE_ACT_JAX}'")
endif()

set(MOE_ACT_HAS_JAX OFF)
if(NOT MOE_ACT_JAX STREQUAL "OFF")
  set(moe_act_oldest_jaxlib 0.6.0)  # the first whose headers tell on which device a call runs
  execute_process(
    COMMAND ${Python_EXECUTABLE} -c "import jax, jaxlib; print(jaxlib.__version__, jax.ffi.include_dir(), sep=';', end='')"
    OUTPUT_VARIABLE moe_act_jax RESULT_VARIABLE moe_act_jax_failed ERROR_QUIET)
  if(moe_act_jax_failed)
    set(moe_act_jax_missing "found none in ${Python_EXECUTABLE}, the Python that builds")
  else()
    list(POP_FRONT moe_act_jax MOE_ACT_JAXLIB_VERSION MOE_ACT_JAX_INCLUDE_DIR)
    if(MOE_ACT_JAXLIB_VERSION VERSION_LESS moe_act_oldest_jaxlib)
      set(moe_act_jax_missing "found ${MOE_ACT_JAXLIB_VERSION}")
    else()
      set(MOE_ACT_HAS_JAX ON)
    endif()
  endif()
  if(MOE_ACT_JAX STREQUAL "ON" AND NOT MOE_ACT_HAS_JAX)
    message(FATAL_ERROR "MOE_ACT_JAX=ON: expected jax and jaxlib >= ${moe_act_oldest_jaxlib}, ${moe_act_jax_missing}")
  endif()
endif()
message(STATUS "moe_act: call for XLA ${MOE_ACT_HAS_JAX} ${MOE_ACT_JAXLIB_VERSION}")
