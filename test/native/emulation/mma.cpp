// The emulated tensor-core instructions: what each lane holds is that of the PTX ISA's figures for mma.m16n8k16 and
// ldmatrix.
#include "ops/cuda_mma.h"

namespace vlm2vec::cuda {

namespace {

// The lower or upper half of a register, as a number.
float half(uint32_t pair, int which) { return to_float(bf16{uint16_t(pair >> (16 * which))}); }

struct Fragments {
  uint32_t a[4], b[2];
};

const Fragments& of_lane(const uint8_t* posted, int lane) {
  return *reinterpret_cast<const Fragments*>(posted + size_t(lane) * emulation::kPostBytes);
}

// "row = groupID for a_i where 0 <= i < 2 or 4 <= i < 6, else groupID + 8; col = threadID_in_group * 2 + (i & 1), + 8
// for i >= 4"
float element_a(const uint8_t* posted, int row, int column) {
  const Fragments& f = of_lane(posted, row % 8 * 4 + column % 8 / 2);
  return half(f.a[row / 8 + column / 8 * 2], column % 2);
}

// "row = threadID_in_group * 2 + (i & 1), + 8 for i >= 2; col = groupID"
float element_b(const uint8_t* posted, int row, int column) {
  const Fragments& f = of_lane(posted, column * 4 + row % 8 / 2);
  return half(f.b[row / 8], row % 2);
}

}  // namespace

void mma_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t* b) {
  const Fragments own = {{a[0], a[1], a[2], a[3]}, {b[0], b[1]}};
  const uint8_t* posted = emulation::exchange(&own, sizeof(own));
  const int lane = int(threadIdx.x % 32);
  // "row = groupID for c_i where i < 2, else groupID + 8; col = threadID_in_group * 2 + (i & 1)"
  for (int i = 0; i < 4; ++i) {
    const int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
    float sum = d[i];
    for (int k = 0; k < 16; ++k) sum += element_a(posted, row, k) * element_b(posted, k, column);
    d[i] = sum;
  }
}

namespace {

void load(uint32_t (&to)[4], const bf16* row, bool transposed) {
  if (reinterpret_cast<uintptr_t>(row) % 16 != 0)
    emulation::stop("ldmatrix from an address that is not a multiple of 16");
  const uint8_t* posted = emulation::exchange(&row, sizeof(row));
  const int lane = int(threadIdx.x % 32);
  for (int block = 0; block < 4; ++block) {
    const auto element = [&](int r, int c) -> uint32_t {
      const bf16* row_r;
      std::memcpy(&row_r, posted + size_t(block * 8 + r) * emulation::kPostBytes, sizeof(row_r));
      return row_r[c].bits;
    };
    const int major = lane / 4, minor = lane % 4 * 2;
    to[block] = transposed ? element(minor, major) | element(minor + 1, major) << 16
                           : element(major, minor) | element(major, minor + 1) << 16;
  }
}

}  // namespace

void load_blocks(uint32_t (&to)[4], const bf16* row) { load(to, row, false); }
void load_blocks_transposed(uint32_t (&to)[4], const bf16* row) { load(to, row, true); }

uint32_t pack_bf16(float low, float high) { return uint32_t(to_bf16(low).bits) | uint32_t(to_bf16(high).bits) << 16; }

}  // namespace vlm2vec::cuda
