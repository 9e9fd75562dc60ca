// Attention of bf16, backward, by AMX's tiles. As attention_backward_cpu.cpp: blocks of query rows outside, blocks of
// keys inside; p and ds are rounded to bf16. dk and dv are made as channels by keys, so that p and ds are factors on
// the right there, which two rows make by interleaving them: nothing else has to be turned. While vectors make p and ds
// of 32 rows, tiles make dq of the rows before and the scores and dout·v of those after them.
#include <omp.h>

#include "ops/attention_amx.h"
#include "ops/attention_parts.h"

#if defined(VLM2VEC_HAS_AMX)

namespace vlm2vec::VLM2VEC_ISA {

// Query rows, and keys, at a time. Scores of a block of 32 rows, and what they become, stay in L1; dk and dv, in L2,
// are read and written once for all rows of a block.
constexpr int64_t kAmxRows = 192, kAmxKeys = 128;
constexpr int64_t kScoreStrip = kAmxKeys * kTileSide;  // floats
static_assert(kAmxRows % kAmxSide == 0 && kAmxKeys % kAmxSide == 0, "blocks do not divide");

struct AmxBackwardScratch {
  bf16 *k_columns, *v_columns, *k_channels;  // of the part, strips of B: keys; keys; channels
  bf16 *q_rows, *dout_rows;                  // of the block of query rows, strips of A: rows
  bf16 *q_channels, *dout_channels;          // ... channels
  float *scores[2], *dp[2];                  // of 32 rows, two strips each; dp becomes ds, strips of A
  bf16 *p, *ds;                              // of the block of query rows, strips of B: keys, in the order of key_of
  float *dk, *dv;                            // of the part, as channels by keys: two tiles of keys, channels down
  float *dq, *delta, *lse;                   // of the block of query rows; dq strips of tiles
  int64_t depth, keys;                       // head size and keys as they are packed
  int64_t floats;

  AmxBackwardScratch(float* scratch, int64_t part_keys, int64_t HS)
      : depth(whole_tiles(HS)), keys(whole_tiles(part_keys)) {
    float* next = scratch;
    const auto take = [&next](int64_t count) {
      float* taken = next;
      next += count;
      return taken;
    };
    const auto take_halves = [&take](int64_t count) { return reinterpret_cast<bf16*>(take(count / 2)); };
    k_columns = take_halves(keys * depth), v_columns = take_halves(keys * depth);
    k_channels = take_halves(keys * depth);
    q_rows = take_halves(kAmxRows * depth), dout_rows = take_halves(kAmxRows * depth);
    q_channels = take_halves(kAmxRows * depth), dout_channels = take_halves(kAmxRows * depth);
    for (int turn = 0; turn < 2; ++turn) scores[turn] = take(2 * kScoreStrip), dp[turn] = take(2 * kScoreStrip);
    p = take_halves(kAmxRows * kAmxKeys), ds = take_halves(kAmxRows * kAmxKeys);
    dk = take(keys * depth), dv = take(keys * depth);
    dq = take(kAmxRows * depth), delta = take(kAmxRows), lse = take(kAmxRows);
    floats = next - scratch;
  }
};

static int64_t amx_backward_floats(int64_t keys, int64_t HS) {
  float* const nowhere = nullptr;
  return AmxBackwardScratch(nowhere, keys, HS).floats;
}

// Two rows of 32 numbers become 16 pairs for each of two tiles of B; column j of tile `half` is number ...
VLM2VEC_INLINE int64_t key_of(int64_t j, int64_t half) { return j / 4 * 8 + half * 4 + j % 4; }
VLM2VEC_INLINE void store_pairs(bf16* to, int64_t next, Floats first, Floats second) {
  const __m512i low = _mm512_unpacklo_epi16((__m512i)first, (__m512i)second);
  const __m512i high = _mm512_unpackhi_epi16((__m512i)first, (__m512i)second);
  std::memcpy(to, &low, sizeof low);
  std::memcpy(to + next, &high, sizeof high);
}

// What two rows need, besides their scores.
struct AmxRowPair {
  Floats scale, lse[2], delta[2];  // lse negative
  int64_t seen[2];                 // keys
};

// p and ds of two rows and 32 keys, of which they see some, or with `whole` all: as pairs for dv and dk, and ds in
// place of dp too.
template <bool whole>
VLM2VEC_INLINE void amx_differentiate_keys(const AmxRowPair& rows, int64_t j, const float* scores, const float* dp,
                                           float* ds_rows, bf16* p_pairs, bf16* ds_pairs, int64_t next) {
  Floats p[4], ds[4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i)
    p[i] = multiply_add(load(scores + i % 2 * kTileFloats + i / 2 * kTileSide), rows.scale, rows.lse[i / 2]);
  exp2(p);
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    ds[i] = p[i] * (load(dp + i % 2 * kTileFloats + i / 2 * kTileSide) - rows.delta[i / 2]);
    if (!whole) {
      const __mmask16 seen = lanes_mask(rows.seen[i / 2] - j - i % 2 * kLanes);
      p[i] = _mm512_maskz_mov_ps(seen, p[i]);
      ds[i] = _mm512_maskz_mov_ps(seen, ds[i]);
    }
  }
  const Floats first = rounded(ds[0], ds[1]), second = rounded(ds[2], ds[3]);
  store(ds_rows, first);
  store(ds_rows + kTileSide, second);
  store_pairs(p_pairs, next, rounded(p[0], p[1]), rounded(p[2], p[3]));
  store_pairs(ds_pairs, next, first, second);
}

// p and ds of 32 rows. After each two of them `pace` steps of the queue.
static void amx_differentiate(const AmxItem& item, const AmxBackwardScratch& scratch, float factor, AmxQueue& queue,
                              int64_t pace) {
  const AttentionTiles& tiles = item.tiles;
  constexpr int64_t next = kTileSide * kAmxRows;  // numbers, from one strip of keys to the next
  int64_t visible[kAmxSide];
  visible_to_rows(tiles, item.row, visible);
  for (int64_t i = 0; i < kAmxSide; i += 2) {
    const int64_t r = item.row + i, at = i / kTileSide * kScoreStrip + i % kTileSide * kTileSide;
    AmxRowPair rows = {broadcast(factor),
                       {broadcast(-scratch.lse[r]), broadcast(-scratch.lse[r + 1])},
                       {broadcast(scratch.delta[r]), broadcast(scratch.delta[r + 1])},
                       {r < tiles.rows ? visible[i] : 0, r + 1 < tiles.rows ? visible[i + 1] : 0}};
    const int64_t by_both = smaller(rows.seen[0], rows.seen[1]) / kAmxSide * kAmxSide;
    const float *scores = scratch.scores[item.turn] + at, *dp = scratch.dp[item.turn] + at;
    float* ds_rows = scratch.dp[item.turn] + at;  // half as long as dp
    bf16 *p = scratch.p + r * kTileSide, *ds = scratch.ds + r * kTileSide;
    int64_t j = 0;
    for (; j < by_both; j += kAmxSide)
      amx_differentiate_keys<true>(rows, j, scores + j * kTileSide, dp + j * kTileSide, ds_rows + j / 2 * kTileSide,
                                   p + j * kAmxRows, ds + j * kAmxRows, next);
    for (; j < item.width; j += kAmxSide)
      amx_differentiate_keys<false>(rows, j, scores + j * kTileSide, dp + j * kTileSide, ds_rows + j / 2 * kTileSide,
                                    p + j * kAmxRows, ds + j * kAmxRows, next);
    queue.advance(pace);
  }
}

// rows · columns, of the head size.
static AmxProducts amx_scores(float* to, const bf16* rows, const bf16* columns, const AmxItem& item, int64_t depth) {
  AmxProducts s = {};
  s.c = to, s.strip = kScoreStrip;
  s.a = rows + item.row * depth, s.a_next = kTileSide * depth;
  s.b = columns + item.tiles.place * depth, s.b_next = kTileSide * depth;
  s.steps = depth / kTileDepth, s.blocks = item.width / kAmxSide;
  return s;
}
static AmxProducts scores_of(const AmxItem& item, const AmxBackwardScratch& scratch) {
  return amx_scores(scratch.scores[item.turn], scratch.q_rows, scratch.k_columns, item, scratch.depth);
}
static AmxProducts dp_of(const AmxItem& item, const AmxBackwardScratch& scratch) {
  return amx_scores(scratch.dp[item.turn], scratch.dout_rows, scratch.v_columns, item, scratch.depth);
}
static AmxProducts dq_of(const AmxItem& item, const AmxBackwardScratch& scratch) {
  AmxProducts s = {};
  s.c = scratch.dq + item.row * scratch.depth, s.strip = kTileSide * scratch.depth;
  s.a = reinterpret_cast<const bf16*>(scratch.dp[item.turn]), s.a_next = 2 * kScoreStrip;
  s.b = scratch.k_channels + item.tiles.place * kTileSide, s.b_next = kTileSide * scratch.keys;
  s.steps = item.width / kTileDepth, s.blocks = scratch.depth / kAmxSide, s.add = item.tiles.key > 0;
  return s;
}

// sums += channels · weights, over the rows that see a key. Two blocks of channels stay in L1 while the weights go by.
static void add_products(const AttentionTiles& tiles, const AmxBackwardScratch& scratch, float* sums,
                         const bf16* channels, const bf16* weights) {
  constexpr int64_t kNear = 2 * kAmxSide;
  for (int64_t near = 0; near < scratch.depth; near += kNear)
    for (int64_t j = 0; j < tiles.keys; j += kAmxSide) {
      const int64_t sees = tiles.causal ? larger(0, (tiles.key + j) * tiles.group - tiles.first) : 0;
      if (sees >= tiles.rows) break;
      const int64_t from = sees / kAmxSide * kAmxSide * kTileSide;
      const int64_t steps = (whole_tiles(tiles.rows) * kTileSide - from) / kTileNumbers;
      for (int64_t c = near; c < smaller(scratch.depth, near + kNear); c += kAmxSide)
        multiply_amx(amx_tiles(sums + (tiles.place + j) * scratch.depth + c * kAmxSide, 2 * kTileFloats),
                     channels + c * kAmxRows + from, kTileSide * kAmxRows, weights + j * kAmxRows + from,
                     kTileSide * kAmxRows, steps, true);
    }
}

// p and ds of an item, and meanwhile what they are made of for the item after it, and dq of the one before; dv and dk
// at the last of a block of keys.
static void backward_item(const AmxItem& item, const AmxItem* before, const AmxItem* after,
                          const AmxBackwardScratch& scratch, float scale) {
  AmxQueue queue;
  if (before) {
    queue.add(dq_of(*before, scratch));
  } else {
    scores_of(item, scratch).all();
    dp_of(item, scratch).all();
  }
  if (after) {
    queue.add(scores_of(*after, scratch));
    queue.add(dp_of(*after, scratch));
  }
  amx_differentiate(item, scratch, scale, queue, (queue.left() + kAmxSide / 2 - 1) / (kAmxSide / 2));
  queue.advance(queue.left());
  if (!after || after->tiles.key > item.tiles.key) {
    add_products(item.tiles, scratch, scratch.dv, scratch.dout_channels, scratch.p);
    add_products(item.tiles, scratch, scratch.dk, scratch.q_channels, scratch.ds);
  }
  if (!after) dq_of(item, scratch).all();
}

// What add_products made, as rows `first` .. of `to`. Two channels of 16 keys become pairs, and 16 of these are turned.
static void write_keys(const HeadRows<bf16>& to, int64_t first, int64_t count, const float* sums, int64_t depth,
                       float factor) {
  uint16_t order[2 * kLanes];
  for (int i = 0; i < 2 * kLanes; ++i) order[i] = uint16_t(i / 2 + i % 2 * kLanes);
  const __m512i pairs = _mm512_loadu_si512(order);
  for (int64_t j = 0; j < count; j += kAmxSide, sums += kAmxSide * depth)
    for (int64_t half = 0; half < 2; ++half)
      for (int64_t c = 0; c < to.HS; c += kAmxSide) {
        Floats lines[kLanes];
#pragma GCC unroll 16
        for (int64_t i = 0; i < kLanes; ++i) {
          const float* from = sums + (c + i / 8 * kTileSide) * kAmxSide + half * kTileFloats + i % 8 * 2 * kLanes;
          const Floats both = rounded(load(from) * broadcast(factor), load(from + kLanes) * broadcast(factor));
          lines[i] = (Floats)_mm512_maskz_permutexvar_epi16(~0u, pairs, (__m512i)both);
        }
        transpose(lines);
#pragma GCC unroll 16
        for (int64_t i = 0; i < kLanes; ++i)
          if (const int64_t key = j + key_of(i, half); key < count)
            store_halves(to(first + key) + c, lines[i], to.HS - c);
      }
}

template <typename Number>
static void write_rows(const HeadRows<Number>& to, int64_t first, int64_t rows, const float* dq, int64_t depth,
                       float factor) {
  for (int64_t i = 0; i < rows; ++i)
    write_row(to(first + i), to.HS, dq + i / kTileSide * kTileSide * depth + i % kTileSide * kTileSide, factor);
}

static void amx_backward_part(const AttentionProblem& problem, const AttentionPart& part, float* memory) {
  const AttentionPair& pair = problem.pairs[part.pair];
  const int64_t HS = problem.HS, group = problem.group, all = pair.length * group, end = part.key + part.keys;
  const AmxBackwardScratch scratch(memory, part.keys, HS);
  const int64_t depth = scratch.depth;
  const auto k = rows_of<bf16>(problem.k, problem, pair, 1), v = rows_of<bf16>(problem.v, problem, pair, 1);
  const auto q = rows_of<bf16>(problem.q, problem, pair, group);
  const auto dout = rows_of<bf16>(problem.dout, problem, pair, group);
  pack_strips_of_b(scratch.k_columns, k, part.key, part.keys);
  pack_strips_of_b(scratch.v_columns, v, part.key, part.keys);
  pack_channels(scratch.k_channels, scratch.keys, k, part.key, part.keys);
  std::memset(scratch.dk, 0, size_t(scratch.keys * depth) * sizeof(float));
  std::memset(scratch.dv, 0, size_t(scratch.keys * depth) * sizeof(float));
  for (int64_t first = first_row_of(problem, part, kAmxRows); first < all; first += kAmxRows) {
    const int64_t rows = smaller(kAmxRows, all - first);
    load_row_sums<bf16>(problem, pair, first, rows, scratch.delta, scratch.lse);
    pack_strips_of_a(scratch.q_rows, q, first, rows);
    pack_strips_of_a(scratch.dout_rows, dout, first, rows);
    pack_channels<true>(scratch.q_channels, kAmxRows, q, first, rows);
    pack_channels<true>(scratch.dout_channels, kAmxRows, dout, first, rows);
    // the first keys of a causal part are not seen by all rows of its first blocks
    if (part.key > 0) std::memset(scratch.dq, 0, size_t(kAmxRows * depth) * sizeof(float));
    const int64_t seen = problem.causal ? smaller(end, (first + rows - 1) / group + 1) : end;
    const int64_t items = (rows + kAmxSide - 1) / kAmxSide * ((seen - part.key + kAmxKeys - 1) / kAmxKeys);
    const auto next_rows = [&](const HeadRows<const bf16>& x) {
      return AmxAhead{x, first + kAmxRows, smaller(all, first + 2 * kAmxRows), (kAmxRows + items - 1) / items};
    };
    AmxAhead ahead[] = {next_rows(q), next_rows(dout), next_rows(rows_of<bf16>(problem.out, problem, pair, group))};
    each_amx_item(problem, first, rows, part.key, seen, kAmxKeys, kAmxKeys,
                  [&](const AmxItem& item, const AmxItem* before, const AmxItem* after) {
                    for (AmxAhead& each : ahead) each.some();
                    backward_item(item, before, after, scratch, problem.scale * kLog2E);
                  });
    if (part.dq)
      write_rows(HeadRows<float>{part.dq, HS, HS, 1}, first, rows, scratch.dq, depth, 1);
    else
      write_rows(output_rows<bf16>(problem.dq, problem, pair, group), first, rows, scratch.dq, depth, problem.scale);
  }
  write_keys(output_rows<bf16>(problem.dk, problem, pair, 1), part.key, part.keys, scratch.dk, depth, problem.scale);
  write_keys(output_rows<bf16>(problem.dv, problem, pair, 1), part.key, part.keys, scratch.dv, depth, 1);
}

static void backward(const AttentionProblem& problem) {
  const int64_t floats = amx_backward_floats(longest_part(problem), problem.HS);
  backward_parts<bf16>(problem, kAmxRows, [&](const AttentionPart& part) {
    const AmxTiles configured;
    amx_backward_part(problem, part, problem.scratch + omp_get_thread_num() * floats);
  });
}

extern const AttentionBackwardKernels attention_amx_backward_kernels = {amx_backward_floats, backward};

}  // namespace vlm2vec::VLM2VEC_ISA

#endif
