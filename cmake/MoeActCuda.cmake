# Is there a CUDA compiler, and what does it compile for? Sets MOE_ACT_HAS_CUDA.

if(NOT MOE_ACT_CUDA MATCHES "^(AUTO|ON|OFF)$")
  message(FATAL_ERROR "MOE_ACT_CUDA: expected AUTO, ON or OFF, got '${MOE_ACT_CUDA}'")
endif()

# The compiler that MOE_ACT_CUDA_FROM_WHEELS=1 pip install . brings along: cuda-toolkit[nvcc,cudart,cccl] of the package
# index. Its folders are not those of a toolkit's installer: neither nvcc nor FindCUDAToolkit finds its libraries alone.
if(MOE_ACT_CUDA_FROM_WHEELS AND NOT MOE_ACT_CUDA STREQUAL "OFF")
  find_package(Python 3.10 REQUIRED COMPONENTS Interpreter)
  execute_process(COMMAND ${Python_EXECUTABLE} -c "import nvidia.cu13 as cuda; print(*cuda.__path__, sep=';', end='')"
    OUTPUT_VARIABLE moe_act_wheel_folders ERROR_QUIET)
  find_program(MOE_ACT_WHEEL_NVCC nvcc HINTS ${moe_act_wheel_folders} PATH_SUFFIXES bin NO_DEFAULT_PATH NO_CACHE)
  if(NOT MOE_ACT_WHEEL_NVCC)
    message(FATAL_ERROR "MOE_ACT_CUDA_FROM_WHEELS is set, but ${Python_EXECUTABLE} has no cuda-toolkit[nvcc,cudart,cccl]==13.0.*")
  endif()
  set(CMAKE_CUDA_COMPILER ${MOE_ACT_WHEEL_NVCC})
  cmake_path(GET MOE_ACT_WHEEL_NVCC PARENT_PATH moe_act_wheel_root)
  cmake_path(GET moe_act_wheel_root PARENT_PATH moe_act_wheel_root)
  set(CMAKE_CUDA_FLAGS_INIT "-L${moe_act_wheel_root}/lib")
  file(GLOB CUDA_CUDART ${moe_act_wheel_root}/lib/libcudart.so*)
endif()

set(MOE_ACT_HAS_CUDA OFF)
if(NOT MOE_ACT_CUDA STREQUAL "OFF")
  # check_language looks on PATH alone.
  if(NOT CMAKE_CUDA_COMPILER AND NOT DEFINED ENV{CUDACXX})
    find_program(MOE_ACT_NVCC nvcc HINTS ENV CUDA_HOME ENV CUDA_PATH PATH_SUFFIXES bin PATHS /usr/local/cuda)
    if(MOE_ACT_NVCC)
      set(CMAKE_CUDA_COMPILER ${MOE_ACT_NVCC})
    endif()
  endif()
  # nvcc's own default, which the compiler check would use, need not exist on newer toolkits.
  set(CMAKE_CUDA_ARCHITECTURES OFF)
  include(CheckLanguage)
  check_language(CUDA)
  if(CMAKE_CUDA_COMPILER)
    enable_language(CUDA)
    find_package(CUDAToolkit REQUIRED)
    set(MOE_ACT_HAS_CUDA ON)
    if(NOT DEFINED CMAKE_CUDA20_STANDARD_COMPILE_OPTION)  # CMake 3.25.1 does not know that nvcc has C++20
      set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20")
      set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION "-std=c++20")
    endif()
  elseif(MOE_ACT_CUDA STREQUAL "ON")
    message(FATAL_ERROR "MOE_ACT_CUDA=ON, but no CUDA compiler was found: put nvcc on PATH or set CUDACXX or CUDA_HOME")
  endif()
endif()
message(STATUS "moe_act: CUDA backend ${MOE_ACT_HAS_CUDA}")

# Code for Ampere (the fp8 conversions emulated), Ada, Hopper with PTX for what follows, and the two Blackwell families.
# CMake before 4.0 does not know the family-specific names.
function(moe_act_default_architectures result)
  if(CMAKE_VERSION VERSION_GREATER_EQUAL 4.0 AND CMAKE_CUDA_COMPILER_VERSION VERSION_GREATER_EQUAL 12.9)
    set(${result} "80-real;89-real;90;100f-real;120f-real" PARENT_SCOPE)
  elseif(CMAKE_CUDA_COMPILER_VERSION VERSION_GREATER_EQUAL 12.8)
    set(${result} "80-real;89-real;90;100-real;120-real" PARENT_SCOPE)
  else()
    set(${result} "80-real;89-real;90" PARENT_SCOPE)
  endif()
endfunction()

function(moe_act_add_cuda_backend)
  set(architectures ${MOE_ACT_CUDA_ARCHITECTURES})
  if(NOT architectures)
    moe_act_default_architectures(architectures)
  endif()
  set(objects moe_act_cuda_marks)
  add_library(moe_act_cuda_marks OBJECT src/cuda/marks.cu src/cuda/padding.cu)
  foreach(input e4m3 bf16 fp16 fp32)
    add_library(moe_act_cuda_${input} OBJECT src/cuda/kernels.cu)
    target_compile_definitions(moe_act_cuda_${input} PRIVATE MOE_ACT_INPUT=${input})
    list(APPEND objects moe_act_cuda_${input})
  endforeach()
  foreach(object ${objects})
    moe_act_compile_options(${object})
    target_compile_options(${object} PRIVATE -fmad=false --compress-mode=size -Xcompiler=-Wall)
    set_target_properties(${object} PROPERTIES CUDA_ARCHITECTURES "${architectures}" CUDA_VISIBILITY_PRESET hidden)
  endforeach()

  add_library(moe_act_cuda_host OBJECT src/cuda/driver.cpp src/cuda/launch.cpp)
  moe_act_compile_options(moe_act_cuda_host)
  string(REPLACE ";" ", " architectures_text "${architectures}")
  target_compile_definitions(moe_act_cuda_host PRIVATE
    MOE_ACT_CUDA_VERSION="${CUDAToolkit_VERSION_MAJOR}.${CUDAToolkit_VERSION_MINOR}"
    MOE_ACT_CUDA_ARCHITECTURES_TEXT="${architectures_text}")
  # Static, so that the library loads where there is no driver and needs no toolkit at run time.
  target_link_libraries(moe_act_cuda_host PRIVATE CUDA::cudart_static)

  add_library(moe_act_cuda INTERFACE)
  foreach(object ${objects} moe_act_cuda_host)
    target_sources(moe_act_cuda INTERFACE $<TARGET_OBJECTS:${object}>)
  endforeach()
  target_link_libraries(moe_act_cuda INTERFACE CUDA::cudart_static)
endfunction()
