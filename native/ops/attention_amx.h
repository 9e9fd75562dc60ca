// What the forward and backward kernels of attention share that multiply bf16 by AMX's tiles (ops/amx.h): how the rows
// of a pair are packed, and scores. For use in attention_amx_*_cpu.cpp only, of AVX-512.
//   Scores lie as tiles (amx_tiles), a strip of 16 query rows after the other. Rounded to bf16 they take the place of
//   the first half of their strip: 32 keys of a row, which were two lines of 64 bytes, become one, and tiles of sums
//   tiles of A.
#pragma once
#include "ops/amx.h"
#include "ops/attention_tiles.h"

#if defined(VLM2VEC_HAS_AMX)

namespace vlm2vec::VLM2VEC_ISA {

// Head sizes and numbers of keys, as they are packed.
VLM2VEC_INLINE int64_t whole_tiles(int64_t count) { return round_up(count, kAmxSide); }

// Asks for rows ahead of their use: they lie too far apart for the machine to foresee.
template <int locality = 3>
static inline void prefetch_rows(const HeadRows<const bf16>& from, int64_t first, int64_t count) {
  constexpr int64_t kLine = 64 / sizeof(bf16);
  for (int64_t i = 0; i < count; ++i)
    for (int64_t c = 0; c < from.HS; c += kLine) __builtin_prefetch(from(first + i) + c, 0, locality);
}

namespace {

// Rows [at, end) that something later reads, asked for `share` at a time.
struct AmxAhead {
  HeadRows<const bf16> rows;
  int64_t at, end, share;
  __attribute__((noinline)) void some() {
    const int64_t count = larger(0, smaller(end - at, share));
    prefetch_rows<2>(rows, at, count);  // to L2
    at += count;
  }
};

}  // namespace

// `count` rows from `first` on as strips of A, whose depth is the head size; rows up to a whole block are 0.
static inline void pack_strips_of_a(bf16* to, const HeadRows<const bf16>& from, int64_t first, int64_t count) {
  const int64_t depth = whole_tiles(from.HS);
  for (int64_t i = 0; i < whole_tiles(count); i += kTileSide)
    pack_amx_rows(to + i * depth, smaller(kTileSide, count - i), from.HS,
                  [&](int64_t r) { return from(first + i + r); });
}

// The same rows as strips of B, whose depth is the head size; columns up to a whole block are 0.
static inline void pack_strips_of_b(bf16* to, const HeadRows<const bf16>& from, int64_t first, int64_t count) {
  const int64_t depth = whole_tiles(from.HS);
  for (int64_t j = 0; j < whole_tiles(count); j += kTileSide) {
    prefetch_rows(from, first + j + kTileSide, smaller(kTileSide, count - j - kTileSide));
    pack_amx_columns(to + j * depth, smaller(kTileSide, count - j), from.HS,
                     [&](int64_t r) { return from(first + j + r); });
  }
}

// The same rows as the depth, of `depth` numbers, of strips of B, or of A, whose columns, or rows, are the channels.
template <bool of_a = false>
static inline void pack_channels(bf16* to, int64_t depth, const HeadRows<const bf16>& from, int64_t first,
                                 int64_t count) {
  for (int64_t k = 0; k < count; k += kTileDepth) {
    prefetch_rows(from, first + k + kTileDepth, smaller(kTileDepth, count - k - kTileDepth));
    const bf16* lines[kTileDepth];
    for (int64_t i = 0; i < kTileDepth; ++i) lines[i] = from(first + k + i);
    for (int64_t c = 0; c < whole_tiles(from.HS); c += kTileSide)
      pack_amx_depth<of_a>(to + c * depth + k * kTileSide, larger(0, smaller(kTileSide, from.HS - c)),
                           smaller(kTileDepth, count - k), [&](int64_t i) { return lines[i] + c; });
  }
}

// ---------------------------------------------------------------------------------------------------------------------

namespace {

// Blocks of sums, of the same rows of A and one block of columns after the other: two tiles of c beside each other, two
// strips of B.
struct AmxProducts {
  float* c;
  int64_t strip;  // of c: floats
  const bf16 *a, *b;
  int64_t a_next, b_next;  // from one strip to the next
  int64_t steps, blocks;   // of depth; of columns
  bool add;
  void all() const {
    for (int64_t i = 0; i < blocks; ++i) multiply_amx(block(i), a, a_next, b + 2 * i * b_next, b_next, steps, add);
  }
  AmxBlock block(int64_t i) const { return amx_tiles(c + 2 * i * kTileFloats, strip); }
};

// Products that are made while something else is computed with vectors: the tiles multiply by themselves, as far as the
// core sees ahead. A few steps at a time, in the order in which they were added.
class AmxQueue {
 public:
  void add(const AmxProducts& products) {
    products_[count_++] = products;
    left_ += products.steps * products.blocks;
  }
  int64_t left() const { return left_; }  // steps
  __attribute__((noinline)) void advance(int64_t steps) {
    for (steps = smaller(steps, left_), left_ -= steps; steps > 0; --steps) {
      const AmxProducts& p = products_[at_];
      const AmxBlock c = p.block(block_);
      if (step_ == 0) begin_amx(c, p.add);
      step_amx(c, p.a + step_ * kTileNumbers, p.a_next, p.b + 2 * block_ * p.b_next + step_ * kTileNumbers, p.b_next);
      if (++step_ < p.steps) continue;
      end_amx(c);
      step_ = 0;
      if (++block_ == p.blocks) block_ = 0, ++at_;
    }
  }

 private:
  static constexpr int kMost = 3;
  AmxProducts products_[kMost];
  int count_ = 0, at_ = 0;
  int64_t block_ = 0, step_ = 0, left_ = 0;
};

}  // namespace

// 32 rows of a block of query rows against a block of keys.
struct AmxItem {
  AttentionTiles tiles;
  int64_t row, width;  // the first row; whole tiles of keys that any of the rows sees
  int64_t turn;        // 0 and 1 in turn
};

// Keys of the block that rows from `row` on see: tiles.visible of each.
template <size_t count>
static inline void visible_to_rows(const AttentionTiles& tiles, int64_t row, int64_t (&seen)[count]) {
  const uint32_t group = uint32_t(tiles.group), at = uint32_t(tiles.first + row);
  uint32_t token = tiles.causal ? at / group : 0, head = tiles.causal ? at % group : 0;
  for (int64_t& each : seen) {
    each = tiles.causal ? smaller(tiles.keys, larger(0, token + 1 - tiles.key)) : tiles.keys;
    if (++head == group) head = 0, ++token;
  }
}

// f(item, before, after) for all items of query rows [first, first + rows) and keys [key, end), `step` keys at a time,
// but those that see nothing; with the items before and after it, null where there are none. `chunk` keys outside, rows
// next, keys inside. Packed keys begin with `key`.
template <typename F>
static inline void each_amx_item(const AttentionProblem& problem, int64_t first, int64_t rows, int64_t key, int64_t end,
                                 int64_t step, int64_t chunk, const F& f) {
  AmxItem items[3] = {};
  int64_t from = key, at = key, row = 0, count = 0;
  const auto next = [&](AmxItem& item) {
    for (; from < end; from += chunk, at = from, row = 0)
      for (; row < rows; row += kAmxSide, at = from)
        for (; at < smaller(from + chunk, end); at += step) {
          item.tiles = {problem.HS, problem.group, problem.causal, first, rows, at, smaller(step, end - at), at - key};
          item.width = whole_tiles(item.tiles.visible(smaller(row + kAmxSide, rows) - 1));
          if (item.width <= 0) continue;
          item.row = row, item.turn = count++ % 2;
          at += step;
          return true;
        }
    return false;
  };
  bool more = next(items[0]);
  for (int64_t i = 0; more; ++i) {
    AmxItem *before = i > 0 ? &items[(i + 2) % 3] : nullptr, *after = &items[(i + 1) % 3];
    more = next(*after);
    f(items[i % 3], before, more ? after : nullptr);
  }
}

// The first n lanes: none from 0 down, all from kLanes up.
VLM2VEC_INLINE __mmask16 lanes_mask(int64_t n) { return __mmask16(0xffffu >> larger(0, kLanes - larger(0, n))); }

// Two vectors, rounded to bf16, one behind the other. Every CPU with AMX has AVX512-BF16's instruction for it, which
// this namespace is compiled without.
VLM2VEC_INLINE Floats rounded(Floats low, Floats high) {
  Floats both;
#if defined(VLM2VEC_EMULATE_AMX)
  bf16 numbers[2 * kLanes];
  store(numbers, low, kLanes);
  store(numbers + kLanes, high, kLanes);
  std::memcpy(&both, numbers, sizeof both);
#else
  asm("vcvtne2ps2bf16 %2, %1, %0" : "=v"(both) : "v"(high), "v"(low));
#endif
  return both;
}

// 32 numbers, of which `left` are wanted.
VLM2VEC_INLINE void store_halves(bf16* to, Floats halves, int64_t left) {
  _mm512_mask_storeu_epi16(to, 0xffffffffu >> larger(0, kAmxSide - left), (__m512i)halves);
}

// Row `to` of `size` numbers = factor * from, which is a row of tiles beside each other.
VLM2VEC_INLINE void write_row(bf16* to, int64_t size, const float* from, float factor) {
  for (int64_t c = 0; c < size; c += kAmxSide, from += 2 * kTileFloats)
    store_halves(to + c, rounded(load(from) * broadcast(factor), load(from + kTileFloats) * broadcast(factor)),
                 size - c);
}
VLM2VEC_INLINE void write_row(float* to, int64_t size, const float* from, float factor) {
  for (int64_t c = 0; c < size; c += kTileSide, from += kTileFloats)
    store(to + c, load(from) * broadcast(factor), lanes(size - c));
}

// Lane i: what `join` makes of the lanes of rows[i]. Rows meet in pairs, half as many in each round.
template <int step = kLanes / 2, typename Join>
VLM2VEC_INLINE Floats join_rows(Floats (&rows)[kLanes], const Join& join) {
#pragma GCC unroll 8
  for (int i = 0; i < step; ++i) {
    exchange<step>(rows[i], rows[i + step], std::make_index_sequence<kLanes>());
    rows[i] = join(rows[i], rows[i + step]);
  }
  if constexpr (step > 1)
    return join_rows<step / 2>(rows, join);
  else
    return rows[0];
}

}  // namespace vlm2vec::VLM2VEC_ISA

#endif
