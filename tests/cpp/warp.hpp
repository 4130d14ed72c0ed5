// A warp on the CPU: enough of CUDA's names for code whose lanes meet only in shuffles and ballots; included before it,
// once, by a test's only source file.
//
// Lanes run one after the other. One that has to know what the others say leaves what it says itself and gives up; once
// all have, they start again from the beginning and get a little further. So nothing has to switch stacks.
#pragma once

#include <array>
#include <csetjmp>
#include <cstdint>
#include <stdexcept>
#include <vector>

#define __device__
#define __forceinline__ inline

struct alignas(16) [[gnu::may_alias]] int4 {
  int x, y, z, w;
};

struct ThreadIndex {
  unsigned x;
};
inline ThreadIndex threadIdx{};

inline int __clz(int value) {
  return value == 0 ? 32 : __builtin_clz(static_cast<unsigned>(value));
}
inline int __popc(unsigned value) {
  return __builtin_popcount(value);
}

namespace warp {

inline constexpr unsigned lanes = 32;
using Said = std::array<std::int64_t, lanes>;

enum class Meeting { shuffle, shuffle_up, ballot };

struct State {
  std::vector<Said> meetings;  // those that every lane has come to
  std::size_t next = 0;        // of this lane
  Said said{};                 // at the one that not every lane has come to
  std::array<Meeting, lanes> come_to{};
  std::jmp_buf gives_up{};
};
inline State state;

// What all lanes say. The only way out of a lane's code, which therefore has nothing to destroy.
inline const Said& meet(Meeting meeting, std::int64_t says) {
  if (state.next < state.meetings.size()) return state.meetings[state.next++];
  state.said[threadIdx.x] = says;
  state.come_to[threadIdx.x] = meeting;
  std::longjmp(state.gives_up, 1);
}

// Has the lane come to its end?
template <typename Result, typename Run>
[[gnu::noinline]] bool runs_to_end(const Run& run, Result& result) {
  if (setjmp(state.gives_up) != 0) return false;
  result = run();
  return true;
}

// What each lane's `run` returns.
template <typename Result, typename Run>
std::array<Result, lanes> run_lanes(const Run& run) {
  std::array<Result, lanes> results{};
  state.meetings.clear();
  for (;;) {
    unsigned at_end = 0;
    for (threadIdx.x = 0; threadIdx.x < lanes; ++threadIdx.x) {
      state.next = 0;
      at_end += runs_to_end(run, results[threadIdx.x]) ? 1 : 0;
      if (state.next < state.meetings.size()) throw std::logic_error("a lane misses a meeting");
    }
    if (at_end == lanes) return results;
    if (at_end != 0) throw std::logic_error("some lanes meet, others are at their end");
    for (const Meeting meeting : state.come_to)
      if (meeting != state.come_to[0]) throw std::logic_error("lanes meet in different ways");
    state.meetings.push_back(state.said);
  }
}

inline void require_all(unsigned mask) {
  if (mask != 0xffffffffu) throw std::logic_error("expected all lanes");
}

}  // namespace warp

template <typename Value>
Value __shfl_sync(unsigned mask, Value value, int lane) {
  warp::require_all(mask);
  const warp::Said& said = warp::meet(warp::Meeting::shuffle, value);
  return static_cast<Value>(said[static_cast<unsigned>(lane) % warp::lanes]);
}

template <typename Value>
Value __shfl_up_sync(unsigned mask, Value value, unsigned distance, int width) {
  warp::require_all(mask);
  const warp::Said& said = warp::meet(warp::Meeting::shuffle_up, value);
  const bool is_there = threadIdx.x % static_cast<unsigned>(width) >= distance;
  return static_cast<Value>(said[is_there ? threadIdx.x - distance : threadIdx.x]);
}

inline unsigned __ballot_sync(unsigned mask, bool vote) {
  warp::require_all(mask);
  const warp::Said& said = warp::meet(warp::Meeting::ballot, vote ? 1 : 0);
  unsigned votes = 0;
  for (unsigned lane = 0; lane < warp::lanes; ++lane) votes |= static_cast<unsigned>(said[lane]) << lane;
  return votes;
}
