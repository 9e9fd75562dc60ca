// safetensors files: [u64 header length N][N bytes of JSON][data]. Reading maps the file; nothing is copied. Writing
// streams tensor by tensor into a temporary name, syncs and renames, so that a file is whole or not there.
// https://github.com/huggingface/safetensors#format
#pragma once
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/tensor.h"

namespace vlm2vec {

struct StoredTensor {
  std::string name;
  DType dtype;
  std::vector<int64_t> shape;
  const void* data;  // mapped, read-only; not necessarily aligned
  size_t bytes;
  int64_t size() const;
};

class SafetensorsFile {
 public:
  // Checks everything that the format promises. Throws E_CHECKPOINT naming the file, and the tensor where there is one;
  // E_IO if it cannot be opened.
  explicit SafetensorsFile(const std::string& path);
  ~SafetensorsFile();
  SafetensorsFile(const SafetensorsFile&) = delete;
  SafetensorsFile& operator=(const SafetensorsFile&) = delete;

  const std::string& path() const { return path_; }
  const std::vector<StoredTensor>& tensors() const { return tensors_; }
  const StoredTensor* find(const std::string& name) const;
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

  // Gives the pages of a tensor that has been copied elsewhere back to the system; reading it again still works.
  void drop_pages(const StoredTensor& tensor) const;

 private:
  void parse(const char* header, size_t length, size_t data_size);
  std::string path_;
  void* mapping_ = nullptr;
  size_t mapping_size_ = 0;
  std::vector<StoredTensor> tensors_;
  std::map<std::string, size_t> index_;
  std::map<std::string, std::string> metadata_;
};

struct TensorToWrite {
  std::string name;
  DType dtype;  // F32 or BF16, I32, U8
  std::vector<int64_t> shape;
  std::function<void(void* to)> fill;  // writes the tensor's bytes to `to` (host memory)
};

// Throws E_IO with the system's reason (disk full, permission) and leaves no partial file behind.
void write_safetensors(const std::string& path, const std::vector<TensorToWrite>& tensors,
                       const std::map<std::string, std::string>& metadata = {{"format", "pt"}});

}  // namespace vlm2vec
