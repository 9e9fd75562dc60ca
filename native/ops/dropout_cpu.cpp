#include "core/random.h"
#include "ops/dropout_kernels.h"
#include "ops/loops.h"

namespace vlm2vec::VLM2VEC_ISA {

// random_uniform of kLanes counters that follow each other.
class UniformRow {
 public:
  UniformRow(uint64_t seed, uint64_t stream, uint64_t first) : base_(random_base(seed, stream) + first * kCounterStep) {
    for (int i = 0; i < kHalf; ++i) offsets_[i] = uint64_t(i) * kCounterStep;
  }
  Floats operator()(int64_t counter) const {
    const Longs keys = offsets_ + (base_ + uint64_t(counter) * kCounterStep);
    const Words bits =
        lower_words(mix64(keys) >> 40, mix64(keys + kHalf * kCounterStep) >> 40, std::make_index_sequence<kLanes>());
    return __builtin_convertvector((Ints)bits, Floats) * (1.0f / 16777216.0f);
  }

 private:
  static constexpr int kHalf = kLanes / 2;
  typedef uint64_t Longs __attribute__((vector_size(8 * kHalf)));
  template <size_t... lane>
  static Words lower_words(Longs a, Longs b, std::index_sequence<lane...>) {
    return __builtin_shufflevector((Words)a, (Words)b, 2 * lane...);
  }

  uint64_t base_;
  Longs offsets_;
};

template <typename T>
static void apply_as(const DropoutApply& a) {
  const float p = a.options.p, kept = 1.0f - p;
  const uint64_t seed = a.options.seed, stream = a.options.stream;
  parallel_blocks(a.threads, a.rows, row_grain(a.columns), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const T* x = static_cast<const T*>(a.x) + r * a.columns;
      T* out = static_cast<T*>(a.out) + r * a.columns;
      const UniformRow uniform(seed, stream, uint64_t(a.row_ids[r]) * uint64_t(a.columns));
      for (int64_t c = 0; c < a.columns; c += kLanes) {
        const int n = lanes(a.columns - c);
        store(out + c, uniform(c) >= p ? load(x + c, n) / kept : Floats{}, n);
      }
    }
  });
}

static void apply(const DropoutApply& a) { a.type == DType::F32 ? apply_as<float>(a) : apply_as<bf16>(a); }

const DropoutKernels dropout_kernels = {apply};

}  // namespace vlm2vec::VLM2VEC_ISA
