// f32 attention by FFMA. A block of 16 x 16 threads owns a tile of rows; thread (ty, tx) computes the scores of rows
// ty, ty + 16, ... against columns tx, tx + 16, ..., and of the results the same rows by every 16th element of the
// head.
#include "ops/cuda_attention.h"

namespace vlm2vec::cuda {

namespace {

constexpr int kSide = 16, kThreads = kSide * kSide;

// Tiles in shared memory have a stride of one more than their width: rows then lie in different banks.
template <int kTile, int kSize>
struct Shape {
  static constexpr int kMicro = kTile / kSide;    // rows, and score columns, of a thread
  static constexpr int kColumns = kSize / kSide;  // result columns of a thread
  static constexpr int kStride = kSize + 1, kScoreStride = kTile + 1;
  static constexpr int kRows = kTile * kStride, kScores = kTile * kScoreStride;  // floats
};

// Rows first .. first + kTile - 1 of a sequence, zero beyond its end and beyond the head's size.
template <int kTile, int kSize>
__device__ void load_rows(float* tile, const HeadRows<const float>& x, const SequenceTile& sequence, int first,
                          int head, int head_size) {
  for (int i = threadIdx.x; i < kTile * kSize; i += kThreads) {
    const int r = i / kSize, c = i % kSize;
    const bool inside = first + r < sequence.length && c < head_size;
    tile[r * (kSize + 1) + c] = inside ? x.at(sequence.begin + first + r, head, head_size)[c] : 0;
  }
}

// scores[i][j] = row ty + 16 i of a · row tx + 16 j of b
template <typename S, int kSize>
__device__ void dot_rows(float (&scores)[S::kMicro][S::kMicro], const float* a, const float* b, int ty, int tx) {
  for (int d = 0; d < kSize; ++d) {
    float a_d[S::kMicro], b_d[S::kMicro];
#pragma unroll
    for (int i = 0; i < S::kMicro; ++i) a_d[i] = a[(ty + i * kSide) * S::kStride + d];
#pragma unroll
    for (int j = 0; j < S::kMicro; ++j) b_d[j] = b[(tx + j * kSide) * S::kStride + d];
#pragma unroll
    for (int i = 0; i < S::kMicro; ++i)
#pragma unroll
      for (int j = 0; j < S::kMicro; ++j) scores[i][j] += a_d[i] * b_d[j];
  }
}

// sums[i][c] += sum over j of weights[ty + 16 i][j] rows[j][tx + 16 c]
template <typename S, int kTile>
__device__ void add_weighted_rows(float (&sums)[S::kMicro][S::kColumns], const float* weights, const float* rows,
                                  int ty, int tx) {
  for (int j = 0; j < kTile; ++j) {
    float weights_j[S::kMicro];
#pragma unroll
    for (int i = 0; i < S::kMicro; ++i) weights_j[i] = weights[(ty + i * kSide) * S::kScoreStride + j];
#pragma unroll
    for (int c = 0; c < S::kColumns; ++c) {
      const float row_jc = rows[j * S::kStride + tx + c * kSide];
#pragma unroll
      for (int i = 0; i < S::kMicro; ++i) sums[i][c] += weights_j[i] * row_jc;
    }
  }
}

template <typename S>
__device__ void store_rows(const HeadRows<float>& to, const float (&sums)[S::kMicro][S::kColumns],
                           const float (&factor)[S::kMicro], const SequenceTile& tile, int head, int head_size, int ty,
                           int tx) {
  for (int i = 0; i < S::kMicro; ++i) {
    const int row = tile.first + ty + i * kSide;
    if (row >= tile.length) continue;
    float* to_row = to.at(tile.begin + row, head, head_size);
    for (int c = 0; c < S::kColumns; ++c)
      if (tx + c * kSide < head_size) to_row[tx + c * kSide] = sums[i][c] * factor[i];
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// Kernels

template <int kTile, int kSize>
__global__ void __launch_bounds__(kThreads)
    attention_forward_f32_kernel(AttentionForward<float> t, AttentionProblem p) {
  using S = Shape<kTile, kSize>;
  SequenceTile tile;
  if (!find_tile<kTile>(tile, p, blockIdx.x)) return;
  float* q = reinterpret_cast<float*>(dynamic_shared());
  float* kv = q + S::kRows;        // keys, then values
  float* weights = kv + S::kRows;  // (kTile, kTile)
  const int tx = threadIdx.x % kSide, ty = threadIdx.x / kSide, head = blockIdx.y,
            kv_head = head / (p.heads / p.kv_heads);
  load_rows<kTile, kSize>(q, t.q, tile, tile.first, head, p.head_size);
  float out[S::kMicro][S::kColumns] = {}, top[S::kMicro], sum[S::kMicro];  // of e^(score - top)
  for (int i = 0; i < S::kMicro; ++i) top[i] = -INFINITY, sum[i] = 0;
  const int keys = keys_of(p, tile, kTile);
  for (int first = 0; first < keys; first += kTile) {
    __syncthreads();
    load_rows<kTile, kSize>(kv, t.k, tile, first, kv_head, p.head_size);
    __syncthreads();
    float scores[S::kMicro][S::kMicro] = {};
    dot_rows<S, kSize>(scores, q, kv, ty, tx);
    for (int i = 0; i < S::kMicro; ++i) {
      const int row = ty + i * kSide;
      float row_top = top[i], row_sum = 0;
      for (int j = 0; j < S::kMicro; ++j) {
        const bool seen = attends(p, tile.length, tile.first + row, first + tx + j * kSide);
        scores[i][j] = seen ? scores[i][j] * p.scale : -INFINITY;
        row_top = fmaxf(row_top, scores[i][j]);
      }
      row_top = warp_max<kSide>(row_top);
      const float base = row_top == -INFINITY ? 0 : row_top, fade = expf(top[i] - base);
      for (int j = 0; j < S::kMicro; ++j) {
        const float weight = expf(scores[i][j] - base);
        weights[row * S::kScoreStride + tx + j * kSide] = weight;
        row_sum += weight;
      }
      sum[i] = sum[i] * fade + warp_sum<kSide>(row_sum);
      top[i] = row_top;
      for (int c = 0; c < S::kColumns; ++c) out[i][c] *= fade;
    }
    __syncthreads();
    load_rows<kTile, kSize>(kv, t.v, tile, first, kv_head, p.head_size);
    __syncthreads();
    add_weighted_rows<S, kTile>(out, weights, kv, ty, tx);
  }
  float inverse[S::kMicro];
  for (int i = 0; i < S::kMicro; ++i) {
    const int row = tile.first + ty + i * kSide;
    inverse[i] = 1 / sum[i];
    if (tx == 0 && row < tile.length) t.lse[head * p.tokens + tile.begin + row] = top[i] + logf(sum[i]);
  }
  store_rows<S>(t.out, out, inverse, tile, head, p.head_size, ty, tx);
}

// What the backward kernels need of a query i and a key j: the weight p_ij, and ds_ij.
__device__ inline void weights_of(const AttentionProblem& p, bool seen, float score, float dweight, float lse,
                                  float delta, float& weight, float& dscore) {
  // forward: out_i = sum_j p_ij v_j with p_ij = e^(s_ij - lse_i)
  weight = seen ? expf(score * p.scale - lse) : 0;
  dscore = weight * (dweight - delta);
}

// A block owns a tile of keys of one key-value head, and goes over the query heads that read it and their queries.
template <int kTile, int kSize>
__global__ void __launch_bounds__(kThreads)
    attention_backward_kv_f32_kernel(AttentionBackward<float> t, AttentionProblem p) {
  using S = Shape<kTile, kSize>;
  SequenceTile tile;
  if (!find_tile<kTile>(tile, p, blockIdx.x)) return;
  float* k = reinterpret_cast<float*>(dynamic_shared());
  float *v = k + S::kRows, *q = v + S::kRows, *dout = q + S::kRows;
  float *weights = dout + S::kRows, *dscores = weights + S::kScores;  // (keys, queries)
  float *lse = dscores + S::kScores, *delta = lse + kTile;
  const int tx = threadIdx.x % kSide, ty = threadIdx.x / kSide, kv_head = blockIdx.y, group = p.heads / p.kv_heads;
  load_rows<kTile, kSize>(k, t.k, tile, tile.first, kv_head, p.head_size);
  load_rows<kTile, kSize>(v, t.v, tile, tile.first, kv_head, p.head_size);
  float dk[S::kMicro][S::kColumns] = {}, dv[S::kMicro][S::kColumns] = {};
  for (int head = kv_head * group; head < (kv_head + 1) * group; ++head)
    for (int first = p.causal ? tile.first : 0; first < tile.length; first += kTile) {
      __syncthreads();
      load_rows<kTile, kSize>(q, t.q, tile, first, head, p.head_size);
      load_rows<kTile, kSize>(dout, t.dout, tile, first, head, p.head_size);
      for (int r = threadIdx.x; r < kTile; r += kThreads) {
        const int64_t at = head * p.tokens + tile.begin + first + r;
        lse[r] = first + r < tile.length ? t.lse[at] : 0;
        delta[r] = first + r < tile.length ? t.delta[at] : 0;
      }
      __syncthreads();
      float scores[S::kMicro][S::kMicro] = {}, dweights[S::kMicro][S::kMicro] = {};
      dot_rows<S, kSize>(scores, k, q, ty, tx);
      dot_rows<S, kSize>(dweights, v, dout, ty, tx);
      for (int i = 0; i < S::kMicro; ++i)
        for (int j = 0; j < S::kMicro; ++j) {
          const int key = ty + i * kSide, query = tx + j * kSide, at = key * S::kScoreStride + query;
          weights_of(p, attends(p, tile.length, first + query, tile.first + key), scores[i][j], dweights[i][j],
                     lse[query], delta[query], weights[at], dscores[at]);
        }
      __syncthreads();
      add_weighted_rows<S, kTile>(dv, weights, dout, ty, tx);
      add_weighted_rows<S, kTile>(dk, dscores, q, ty, tx);
    }
  float one[S::kMicro], scale[S::kMicro];
  for (int i = 0; i < S::kMicro; ++i) one[i] = 1, scale[i] = p.scale;
  store_rows<S>(t.dv, dv, one, tile, kv_head, p.head_size, ty, tx);
  store_rows<S>(t.dk, dk, scale, tile, kv_head, p.head_size, ty, tx);
}

// A block owns a tile of queries of one head, and goes over the keys.
template <int kTile, int kSize>
__global__ void __launch_bounds__(kThreads)
    attention_backward_q_f32_kernel(AttentionBackward<float> t, AttentionProblem p) {
  using S = Shape<kTile, kSize>;
  SequenceTile tile;
  if (!find_tile<kTile>(tile, p, blockIdx.x)) return;
  float* q = reinterpret_cast<float*>(dynamic_shared());
  float *dout = q + S::kRows, *k = dout + S::kRows, *v = k + S::kRows, *dscores = v + S::kRows;  // (queries, keys)
  const int tx = threadIdx.x % kSide, ty = threadIdx.x / kSide, head = blockIdx.y,
            kv_head = head / (p.heads / p.kv_heads);
  load_rows<kTile, kSize>(q, t.q, tile, tile.first, head, p.head_size);
  load_rows<kTile, kSize>(dout, t.dout, tile, tile.first, head, p.head_size);
  float lse[S::kMicro], delta[S::kMicro], scale[S::kMicro];
  for (int i = 0; i < S::kMicro; ++i) {
    const int row = tile.first + ty + i * kSide;
    const int64_t at = head * p.tokens + tile.begin + row;
    lse[i] = row < tile.length ? t.lse[at] : 0;
    delta[i] = row < tile.length ? t.delta[at] : 0;
    scale[i] = p.scale;
  }
  float dq[S::kMicro][S::kColumns] = {};
  const int keys = keys_of(p, tile, kTile);
  for (int first = 0; first < keys; first += kTile) {
    __syncthreads();
    load_rows<kTile, kSize>(k, t.k, tile, first, kv_head, p.head_size);
    load_rows<kTile, kSize>(v, t.v, tile, first, kv_head, p.head_size);
    __syncthreads();
    float scores[S::kMicro][S::kMicro] = {}, dweights[S::kMicro][S::kMicro] = {};
    dot_rows<S, kSize>(scores, q, k, ty, tx);
    dot_rows<S, kSize>(dweights, dout, v, ty, tx);
    for (int i = 0; i < S::kMicro; ++i)
      for (int j = 0; j < S::kMicro; ++j) {
        const int query = ty + i * kSide, key = tx + j * kSide;
        float weight;
        weights_of(p, attends(p, tile.length, tile.first + query, first + key), scores[i][j], dweights[i][j], lse[i],
                   delta[i], weight, dscores[query * S::kScoreStride + key]);
      }
    __syncthreads();
    add_weighted_rows<S, kTile>(dq, dscores, k, ty, tx);
  }
  store_rows<S>(t.dq, dq, scale, tile, head, p.head_size, ty, tx);
}

// ---------------------------------------------------------------------------------------------------------------------
// Launchers

template <int kTile, int kSize>
void launch_forward(CudaDevice& device, const AttentionForward<float>& t, const AttentionProblem& p) {
  using S = Shape<kTile, kSize>;
  device.launch(attention_forward_f32_kernel<kTile, kSize>, attention_grid(p, kTile, p.heads), kThreads,
                (2 * S::kRows + S::kScores) * sizeof(float), t, p);
}

template <int kTile, int kSize>
void launch_backward(CudaDevice& device, const AttentionBackward<float>& t, const AttentionProblem& p) {
  using S = Shape<kTile, kSize>;
  device.launch(attention_backward_kv_f32_kernel<kTile, kSize>, attention_grid(p, kTile, p.kv_heads), kThreads,
                (4 * S::kRows + 2 * S::kScores + 2 * kTile) * sizeof(float), t, p);
  device.launch(attention_backward_q_f32_kernel<kTile, kSize>, attention_grid(p, kTile, p.heads), kThreads,
                (4 * S::kRows + S::kScores) * sizeof(float), t, p);
}

}  // namespace

// Tiles are as large as 99 KiB of shared memory allow, which every supported device has.
void attention_forward_f32(CudaDevice& device, const AttentionForward<float>& t, const AttentionProblem& p) {
  if (p.head_size <= 64)
    launch_forward<64, 64>(device, t, p);
  else if (p.head_size <= 128)
    launch_forward<64, 128>(device, t, p);
  else
    launch_forward<32, 256>(device, t, p);
}

void attention_backward_f32(CudaDevice& device, const AttentionBackward<float>& t, const AttentionProblem& p) {
  if (p.head_size <= 64)
    launch_backward<32, 64>(device, t, p);
  else if (p.head_size <= 128)
    launch_backward<32, 128>(device, t, p);
  else
    launch_backward<16, 256>(device, t, p);
}

}  // namespace vlm2vec::cuda
