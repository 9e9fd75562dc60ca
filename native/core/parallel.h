// Parallel loops over the device's threads. OpenMP, as oneDNN uses it. Bodies must not throw. What a loop computes may
// not depend on how it is split: every output element is written by exactly one index.
#pragma once
#include <cstdint>

namespace vlm2vec {

// f(i) for i in [0, count): chunks of consecutive indices, one a thread. Good for uniform work.
template <typename F>
static inline void parallel_for(int threads, int64_t count, const F& f) {
#pragma omp parallel for num_threads(threads) schedule(static) if (count > 1 && threads > 1)
  for (int64_t i = 0; i < count; ++i) f(i);
}

// The same for work of uneven size: threads take the next index when they are free.
template <typename F>
static inline void parallel_for_dynamic(int threads, int64_t count, const F& f) {
#pragma omp parallel for num_threads(threads) schedule(dynamic, 1) if (count > 1 && threads > 1)
  for (int64_t i = 0; i < count; ++i) f(i);
}

// f(begin, end) on blocks of consecutive indices, each of at least `grain`.
template <typename F>
static inline void parallel_blocks(int threads, int64_t count, int64_t grain, const F& f) {
  if (count <= 0) return;
  int64_t blocks = (count + grain - 1) / grain;
  if (blocks > threads) blocks = threads;
#pragma omp parallel for num_threads(threads) schedule(static) if (blocks > 1)
  for (int64_t b = 0; b < blocks; ++b) f(count * b / blocks, count * (b + 1) / blocks);
}

}  // namespace vlm2vec
