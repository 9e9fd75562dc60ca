// Tensor-core products of bf16 by warps: mma.sync m16n8k16, D (16, 8) += A (16, 16) · B (16, 8), summed in f32, and
// ldmatrix, which brings 8 x 8 blocks of shared memory into the registers that it wants (PTX ISA, "Matrix fragments for
// mma.m16n8k16"). With g = lane / 4 and t = lane % 4 a lane holds of A the pairs of columns 2t and 2t + 8 of rows g and
// g + 8; of B the pairs of rows 2t and 2t + 8 of column g; of D the pair of columns 2t of rows g and g + 8.
#pragma once
#include "core/cuda_kernel.h"

namespace vlm2vec::cuda {

#if defined(__CUDACC__)

__device__ inline void mma_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t* b) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
      "%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// Four blocks; lanes 8i .. 8i + 7 point to the rows of block i, 16 bytes each, aligned. Lane (g, t) gets of every block
// elements 2t, 2t + 1 of row g.
__device__ inline void load_blocks(uint32_t (&to)[4], const bf16* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(uint32_t(__cvta_generic_to_shared(row)))
               : "memory");
}

// The same of the transposed blocks: elements 2t, 2t + 1 of column g.
__device__ inline void load_blocks_transposed(uint32_t (&to)[4], const bf16* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(uint32_t(__cvta_generic_to_shared(row)))
               : "memory");
}

// Two numbers rounded to bf16, the first in the lower half.
__device__ inline uint32_t pack_bf16(float low, float high) {
  uint32_t pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}

#else  // the tests' emulation defines them

void mma_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t* b);
void load_blocks(uint32_t (&to)[4], const bf16* row);
void load_blocks_transposed(uint32_t (&to)[4], const bf16* row);
uint32_t pack_bf16(float low, float high);

#endif

// Tiles lie in shared memory row by row, kStride elements apart.

// A = rows row .. row + 15, columns column .. column + 15 of the tile.
template <int kStride>
__device__ void load_a(uint32_t (&a)[4], const bf16* tile, int row, int column) {
  const int lane = threadIdx.x % kWarp;
  load_blocks(a, tile + (row + lane % 16) * kStride + column + lane / 16 * 8);
}

// B and the B of the next 8 columns, of a product with the tile's transpose: B's column n is the tile's row `row` + n,
// from `column` on.
template <int kStride>
__device__ void load_b_transposed(uint32_t (&b)[4], const bf16* tile, int row, int column) {
  const int lane = threadIdx.x % kWarp;
  load_blocks(b, tile + (row + lane % 8 + lane / 16 * 8) * kStride + column + lane / 8 % 2 * 8);
}

// B and the B of the next 8 columns, of a product with the tile itself: rows row .. row + 15 from `column` on.
template <int kStride>
__device__ void load_b(uint32_t (&b)[4], const bf16* tile, int row, int column) {
  const int lane = threadIdx.x % kWarp;
  load_blocks_transposed(b, tile + (row + lane % 16) * kStride + column + lane / 16 * 8);
}

// The A fragment made of two neighbouring D fragments, rounded to bf16: what a lane holds of D is what it must hold of
// A.
__device__ inline void to_a(uint32_t (&a)[4], const float (&left)[4], const float (&right)[4]) {
  a[0] = pack_bf16(left[0], left[1]);
  a[1] = pack_bf16(left[2], left[3]);
  a[2] = pack_bf16(right[0], right[1]);
  a[3] = pack_bf16(right[2], right[3]);
}

}  // namespace vlm2vec::cuda
