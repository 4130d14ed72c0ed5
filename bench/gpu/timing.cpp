#include "timing.hpp"

#include <algorithm>
#include <memory>

#include "device_data.hpp"

namespace bench {
namespace {

class Event {
 public:
  Event() { require(cudaEventCreate(&event_), "cudaEventCreate"); }
  ~Event() { (void)cudaEventDestroy(event_); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  cudaEvent_t get() const { return event_; }

 private:
  cudaEvent_t event_ = nullptr;
};

class Graph {
 public:
  Graph(const Stream& stream, const Chain& chain) : count_(chain.count) {
    require(cudaStreamBeginCapture(stream.get(), cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture");
    cudaGraph_t graph = nullptr;
    try {
      for (std::int64_t i = 0; i < chain.count; ++i) chain.launch(i);
    } catch (...) {
      if (cudaStreamEndCapture(stream.get(), &graph) == cudaSuccess) (void)cudaGraphDestroy(graph);
      throw;
    }
    require(cudaStreamEndCapture(stream.get(), &graph), "cudaStreamEndCapture");
    const cudaError_t status = cudaGraphInstantiate(&executable_, graph, 0);
    (void)cudaGraphDestroy(graph);
    require(status, "cudaGraphInstantiate");
  }
  ~Graph() { (void)cudaGraphExecDestroy(executable_); }
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  double microseconds(const Stream& stream) const {
    require(cudaEventRecord(begin_.get(), stream.get()), "cudaEventRecord");
    require(cudaGraphLaunch(executable_, stream.get()), "cudaGraphLaunch");
    require(cudaEventRecord(end_.get(), stream.get()), "cudaEventRecord");
    stream.synchronize();
    float milliseconds = 0;
    require(cudaEventElapsedTime(&milliseconds, begin_.get(), end_.get()), "cudaEventElapsedTime");
    return 1e3 * static_cast<double>(milliseconds) / static_cast<double>(count_);
  }

 private:
  std::int64_t count_;
  cudaGraphExec_t executable_ = nullptr;
  Event begin_, end_;
};

}  // namespace

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

Stream::Stream() {
  require(cudaStreamCreate(&stream_), "cudaStreamCreate");
}
Stream::~Stream() {
  (void)cudaStreamDestroy(stream_);
}
void Stream::synchronize() const {
  require(cudaStreamSynchronize(stream_), "cudaStreamSynchronize");
}

double estimate_microseconds(const Stream& stream, const Launch& launch) {
  constexpr std::int64_t launches = 4;
  const Event begin, end;
  launch(0);
  require(cudaEventRecord(begin.get(), stream.get()), "cudaEventRecord");
  for (std::int64_t i = 0; i < launches; ++i) launch(i);
  require(cudaEventRecord(end.get(), stream.get()), "cudaEventRecord");
  stream.synchronize();
  float milliseconds = 0;
  require(cudaEventElapsedTime(&milliseconds, begin.get(), end.get()), "cudaEventElapsedTime");
  return 1e3 * static_cast<double>(milliseconds) / launches;
}

std::vector<double> median_microseconds(const Stream& stream, const std::vector<Chain>& chains, int repetitions) {
  std::vector<std::unique_ptr<Graph>> graphs;
  for (const Chain& chain : chains) graphs.push_back(std::make_unique<Graph>(stream, chain));
  // The first replay of a graph uploads it.
  for (const auto& graph : graphs) (void)graph->microseconds(stream);

  std::vector<std::vector<double>> samples(chains.size());
  for (std::size_t round = 0; round < static_cast<std::size_t>(repetitions); ++round) {
    for (std::size_t i = 0; i < graphs.size(); ++i) {
      const std::size_t turn = (i + round) % graphs.size();
      samples[turn].push_back(graphs[turn]->microseconds(stream));
    }
  }
  std::vector<double> medians;
  for (auto& values : samples) medians.push_back(median(std::move(values)));
  return medians;
}

}  // namespace bench
