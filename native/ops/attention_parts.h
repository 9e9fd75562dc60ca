// What backward CPU kernels of attention share: rows' sums and parts of sequences, whatever multiplies. For use in
// attention_*backward_cpu.cpp only.
#pragma once
#include "ops/attention_tiles.h"

namespace vlm2vec::VLM2VEC_ISA {

// Of rows [first, first + rows): delta, and lse in powers of 2.
template <typename Number>
static inline void load_row_sums(const AttentionProblem& problem, const AttentionPair& pair, int64_t first,
                                 int64_t rows, float* delta, float* lse) {
  const int64_t HS = problem.HS, group = problem.group;
  const auto out = rows_of<Number>(problem.out, problem, pair, group),
             dout = rows_of<Number>(problem.dout, problem, pair, group);
  for (int64_t i = 0; i < rows; ++i) {
    const Number *out_i = out(first + i), *dout_i = dout(first + i);
    Floats products = {};
    for (int64_t c = 0; c < HS; c += kLanes)
      products = multiply_add(load(out_i + c, lanes(HS - c)), load(dout_i + c, lanes(HS - c)), products);
    const int64_t token = (first + i) / group, head = pair.head * group + (first + i) % group;
    delta[i] = sum(products);
    lse[i] = float(double(problem.lse[head * problem.T + pair.start + token]) * 1.44269504088896341);
  }
}

// The first query row, of whole blocks, that sees keys of the part.
static inline int64_t first_row_of(const AttentionProblem& problem, const AttentionPart& part, int64_t block) {
  return problem.causal ? part.key * problem.group / block * block : 0;
}

// dq from the shares of parts [begin, end), which are those of one pair, in their order.
template <typename Number>
static void join_parts(const AttentionProblem& problem, int64_t begin, int64_t end, int64_t block) {
  const AttentionPair& pair = problem.pairs[problem.parts[begin].pair];
  const int64_t HS = problem.HS, rows = pair.length * problem.group;
  const auto dq = output_rows<Number>(problem.dq, problem, pair, problem.group);
  parallel_for(problem.threads, rows, [&](int64_t row) {
    Number* to = dq(row);
    for (int64_t c = 0; c < HS; c += kLanes) {
      Floats sum = {};
      for (int64_t p = begin; p < end && first_row_of(problem, problem.parts[p], block) <= row; ++p)
        sum += load(problem.parts[p].dq + row * HS + c, lanes(HS - c));
      store(to + c, sum * broadcast(problem.scale), lanes(HS - c));
    }
  });
}

// f(part) for all parts, which writes dk, dv, and dq or the part's share of it, by blocks of `block` query rows; then
// dq from the shares.
template <typename Number, typename F>
static void backward_parts(const AttentionProblem& problem, int64_t block, const F& f) {
  parallel_for_dynamic(problem.threads, problem.part_count, [&](int64_t i) { f(problem.parts[i]); });
  for (int64_t begin = 0, end; begin < problem.part_count; begin = end) {
    for (end = begin + 1; end < problem.part_count && problem.parts[end].pair == problem.parts[begin].pair; ++end) {
    }
    if (problem.parts[begin].dq) join_parts<Number>(problem, begin, end, block);
  }
}

static inline int64_t longest_part(const AttentionProblem& problem) {
  int64_t keys = 0;
  for (int64_t i = 0; i < problem.part_count; ++i) keys = larger(keys, problem.parts[i].keys);
  return keys;
}

}  // namespace vlm2vec::VLM2VEC_ISA
