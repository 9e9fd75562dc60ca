// A stack of equal blocks with a residual stream, forward and backward. Of each block's activations either all are kept
// for the backward pass, or only the input of every `stride`-th block, and the rest is recomputed, `stride` blocks at a
// time; the result is the same.
// A Block has: struct Saved; forward(context, inputs, h, Saved*) in place on h; backward(context, inputs, dh, h_in,
// saved) in place on dh; saved_bytes(rows, compute).
// Something may stand between blocks: `after(i, h)` is called with the output of block i, and in backward `before(i,
// dh)` with the gradient of that output, in place in both directions.
#pragma once
#include <functional>
#include <vector>

#include "model/context.h"

namespace vlm2vec {

template <typename Block>
class Stack {
 public:
  struct Saved {
    std::vector<Tensor> inputs;  // L x (M, C) f32, or absent
    std::vector<typename Block::Saved> blocks;
    size_t kept = 0;  // the last `kept` blocks have all their activations
    // Chosen by the caller. Nothing may enter between blocks behind the first `dense`, all of which have their inputs.
    size_t stride = 1, dense = 0;
  };

  using Between = std::function<void(size_t, Tensor)>;

  std::vector<Block> blocks;
  size_t apart = 0;  // of them, the last ones, which the caller runs himself
  size_t count() const { return blocks.size() - apart; }

  // h (M, C) f32 becomes the output; nothing is kept.
  template <typename Inputs>
  void forward(const Context& context, const Inputs& inputs, Tensor h, const Between& after = nullptr) const {
    for (size_t i = 0; i < count(); ++i) {
      context.check_cancelled();
      ArenaScope scope(context.scratch);
      blocks[i].forward(context, inputs, h, nullptr);
      if (after) after(i, h);
    }
  }

  // The same, keeping what backward needs within `memory` bytes (0: no limit).
  template <typename Inputs>
  void forward(const Context& context, const Inputs& inputs, Tensor h, Saved& saved, size_t memory,
               const Between& after = nullptr) const {
    saved.inputs.resize(count());
    saved.blocks.resize(count());
    saved.kept = count();
    if (memory > 0 && count() > 0) {
      const size_t each = blocks[0].saved_bytes(h.rows(), context.compute);
      saved.kept = std::min(count(), each ? memory / each : count());
    }
    for (size_t i = 0; i < count(); ++i) {
      context.check_cancelled();
      const bool whole = i + saved.kept >= count();
      const bool first = i < saved.dense || (i - saved.dense) % saved.stride == 0;
      saved.inputs[i] = whole || first ? copy_of(context, h) : Tensor();
      if (whole) {
        block_forward(context, inputs, h, i, saved);
      } else {
        const Context passing = context.passing();
        ArenaScope scope(passing.scratch);
        blocks[i].forward(passing, inputs, h, nullptr);
      }
      if (after) after(i, h);
    }
  }

  // dh (M, C) f32: gradient of the output, becomes that of the input.
  template <typename Inputs>
  void backward(const Context& context, const Inputs& inputs, Tensor dh, Saved& saved,
                const Between& before = nullptr) const {
    for (size_t end = count(); end > 0;) {
      size_t first = end - 1;
      while (saved.inputs[first].absent()) --first;
      ArenaScope scope(context.scratch);
      if (first + saved.kept < count()) recompute(context, inputs, first, end, saved);
      for (; end > first; --end) {
        context.check_cancelled();
        if (before) before(end - 1, dh);
        blocks[end - 1].backward(context, inputs, dh, saved.inputs[end - 1], saved.blocks[end - 1]);
      }
    }
  }

 private:
  static Tensor copy_of(const Context& context, Tensor h) {
    Tensor result = context.scratch.allocate(DType::F32, {h.rows(), h.shape[1]});
    copy(result, h);
    return result;
  }

  // Blocks [first, end), from the input of the first one.
  template <typename Inputs>
  void recompute(const Context& context, const Inputs& inputs, size_t first, size_t end, Saved& saved) const {
    Tensor h = copy_of(context, saved.inputs[first]);
    for (size_t i = first; i < end; ++i) {
      context.check_cancelled();
      if (i > first) saved.inputs[i] = copy_of(context, h);
      block_forward(context, inputs, h, i, saved);
    }
  }

  template <typename Inputs>
  void block_forward(const Context& context, const Inputs& inputs, Tensor h, size_t i, Saved& saved) const {
    saved.blocks[i] = {};
    blocks[i].forward(context, inputs, h, &saved.blocks[i]);
  }
};

}  // namespace vlm2vec
