// Who takes part. A contender is one way of doing a workload's job; a new one is a file with a class and an add
// function, named in contenders.cpp and CMakeLists.txt. Geometries of one kernel are contenders of the same name, of
// which the fastest counts.
#pragma once

#include <cuda_runtime_api.h>

#include <memory>
#include <string>
#include <vector>

#include "device_data.hpp"
#include "workload.hpp"

namespace bench {

// The GPU, as far as contenders need to know it.
struct Device {
  int id = 0;
  int multiprocessors = 0;
  int capability = 0;  // 90 = 9.0
  std::int64_t l2_bytes = 0;
  std::string name;
};

class Contender {
 public:
  virtual ~Contender() = default;
  virtual std::string name() const = 0;
  virtual std::string geometry() const { return ""; }  // how it is launched for the workload last prepared
  // Why it cannot run on this machine; empty = it can.
  virtual std::string absence(const Device&) const { return ""; }
  // Does it write the results of the activation? Then it is timed only if they agree with ours, or if ours they are,
  // with the library's on the CPU.
  virtual bool computes() const { return true; }
  virtual bool is_standard() const { return false; }  // ours
  // Of workloads that are not plain: does it do their rows alone, dense and plain, in buffers of their own?
  virtual bool takes_rows_alone() const { return false; }
  virtual bool handles(const Workload& workload, const Device& device) const = 0;
  virtual void prepare(const Workload& workload, const Device& device) = 0;
  // Runs the workload last prepared. Must be fit for capture in a CUDA graph.
  virtual void launch(const Buffers& buffers, cudaStream_t stream) = 0;
};

using Contenders = std::vector<std::unique_ptr<Contender>>;

inline constexpr const char* ours_name = "ours";  // what every result is compared with
inline constexpr const char* search_name = "search";
inline constexpr const char* search_pdl_name = "search_pdl";  // beside ours_pdl

void add_before(Contenders& contenders);
void add_reference(Contenders& contenders);
void add_ours(Contenders& contenders);
void add_alone(Contenders& contenders);   // ours on a workload's rows alone
void add_search(Contenders& contenders);  // every plan the library could make
void add_move(Contenders& contenders);
void add_move_rows(Contenders& contenders);     // through the workload's own row convention
void add_move_layouts(Contenders& contenders);  // likewise, of rows in their own order, the scale layout
void add_one_layout(Contenders& contenders);    // the activation, by a kernel for each scale layout
void add_stream(Contenders& contenders);
void add_empty(Contenders& contenders);

// Everyone, in the order of the tables' columns.
Contenders all_contenders(bool search);

// A contender's launch, with what a graph's chain of programmatic dependent launches needs if pdl is set. Throws what
// the runtime reports.
template <typename Arguments>
void launch_kernel(void (*kernel)(Arguments), dim3 grid, dim3 block, const Arguments& arguments, cudaStream_t stream,
                   bool pdl = false) {
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = block;
  config.stream = stream;
  config.attrs = &attribute;
  config.numAttrs = pdl ? 1 : 0;
  void* pointers[] = {const_cast<Arguments*>(&arguments)};
  require(cudaLaunchKernelExC(&config, reinterpret_cast<const void*>(kernel), pointers), "launch");
}

}  // namespace bench
