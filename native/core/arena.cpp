#include "core/arena.h"

#include <algorithm>

namespace vlm2vec {

namespace {
constexpr size_t kAlignment = 256;
constexpr size_t kSmallestBlock = size_t(1) << 20;
}  // namespace

Arena::~Arena() {
  for (Block& block : blocks_) device_.release(block.memory);
}

void* Arena::allocate_bytes(size_t bytes) {
  bytes = (std::max<size_t>(bytes, 1) + kAlignment - 1) / kAlignment * kAlignment;
  while (current_ < blocks_.size() && blocks_[current_].used + bytes > blocks_[current_].size) {
    if (current_ + 1 == blocks_.size()) break;
    blocks_[++current_].used = 0;
  }
  if (blocks_.empty() || blocks_[current_].used + bytes > blocks_[current_].size) {
    const size_t size = std::max({bytes, kSmallestBlock, used() / 2});
    void* memory;
    try {
      memory = device_.allocate(size);
    } catch (const Error& error) {
      fail(error.code.c_str(), name_, ": ", error.what());
    }
    blocks_.push_back({memory, size, 0});
    current_ = blocks_.size() - 1;
  }
  Block& block = blocks_[current_];
  void* result = static_cast<char*>(block.memory) + block.used;
  block.used += bytes;
  peak_ = std::max(peak_, used());
  return result;
}

Tensor Arena::allocate(DType dtype, std::initializer_list<int64_t> shape) {
  Tensor tensor(device_, nullptr, dtype, shape);
  tensor.data = allocate_bytes(tensor.bytes());
  return tensor;
}

Tensor Arena::allocate_zero(DType dtype, std::initializer_list<int64_t> shape) {
  Tensor tensor = allocate(dtype, shape);
  zero(tensor);
  return tensor;
}

void Arena::rewind(Mark mark) {
  if (blocks_.empty()) return;
  for (size_t i = mark.block + 1; i < blocks_.size(); ++i) blocks_[i].used = 0;
  current_ = mark.block;
  blocks_[current_].used = mark.used;
}

void Arena::discard_free() {
  for (size_t i = current_; i < blocks_.size(); ++i) {
    const size_t used = i == current_ ? blocks_[i].used : 0;
    device_.discard(static_cast<char*>(blocks_[i].memory) + used, blocks_[i].size - used);
  }
}

void Arena::reset() {
  if (blocks_.size() > 1) {
    for (Block& block : blocks_) device_.release(block.memory);
    blocks_.clear();
    current_ = 0;
    const size_t size = peak_;
    blocks_.push_back({device_.allocate(size), size, 0});
  }
  rewind({});
}

size_t Arena::used() const {
  size_t total = 0;
  for (size_t i = 0; i <= current_ && i < blocks_.size(); ++i) total += blocks_[i].used;
  return total;
}

}  // namespace vlm2vec
