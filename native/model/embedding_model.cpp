#include "model/embedding_model.h"

#include <cstring>

#include "core/memory.h"
#include "ops/cast.h"

namespace vlm2vec {

namespace {

Weights::Options weight_options(const ModelConfig& config, const LoadOptions& options) {
  Weights::Options result;
  result.compute = options.compute;
  result.quantization = options.quantization;
  if (options.quantization != Quantization::None) return result;
  size_t bytes = 0;
  for (const ParameterSpec& spec : parameter_table(config))
    if (spec.role == Role::Linear) bytes += size_t(spec.size()) * size_of(options.compute);
  result.in_place = bytes > (options.memory_limit ? options.memory_limit : available_memory() / 3 * 2);
  return result;
}

}  // namespace

EmbeddingModel::EmbeddingModel(Device& device, const ModelConfig& config, const std::vector<std::string>& files,
                               const LoadOptions& options)
    : weights_(device, config, files, weight_options(config, options)), scratch_(device, "activations") {
  if (!options.adapters.empty()) weights_.load_adapters(options.adapters, options.adapter_file);
  engine_ = make_engine(weights_);
}

void EmbeddingModel::embed(const Batch& batch, float* embeddings, float* last_hidden,
                           const std::atomic<bool>* cancelled, const Observer* observer) {
  batch.check(weights_.config());
  scratch_.reset();
  Context context(weights_.device(), weights_.options().compute, scratch_);
  context.cancelled = cancelled;
  context.observer = observer;
  Tensor hidden;
  if (last_hidden) hidden = scratch_.allocate(DType::F32, {batch.token_count, hidden_size()});
  Tensor result = engine_->embed(context, batch, hidden);
  weights_.device().to_host(embeddings, result.data, result.bytes());
  if (last_hidden) weights_.device().to_host(last_hidden, hidden.data, hidden.bytes());
}

void save_model(Weights& weights, const std::string& path, DType dtype, bool keep_types) {
  std::vector<TensorToWrite> tensors;
  for (Parameter& parameter : weights.parameters()) {
    const StoredTensor& stored = *parameter.stored;
    // f16 files are rewritten in the wider type that they were computed with
    const DType type = !keep_types ? dtype : stored.dtype == DType::F16 ? DType::F32 : stored.dtype;
    tensors.push_back({stored.name, type, stored.shape, [&weights, &parameter, type](void* to) {
                         if (type == DType::F32) return weights.read_merged_f32(parameter, static_cast<float*>(to));
                         std::vector<float> values(size_t(parameter.spec.size()));
                         weights.read_merged_f32(parameter, values.data());
                         Device& device = weights.device();
                         cast(Tensor(device, to, type, {parameter.spec.size()}),
                              Tensor(device, values.data(), DType::F32, {parameter.spec.size()}));
                       }});
  }
  for (const auto& carried : weights.carried()) {
    const StoredTensor* stored = carried.second;
    if (stored->dtype == DType::F16) {
      tensors.push_back({stored->name, DType::F32, stored->shape, [&weights, stored](void* to) {
                           std::vector<char> copy(static_cast<const char*>(stored->data),
                                                  static_cast<const char*>(stored->data) + stored->bytes);
                           Device& device = weights.device();
                           cast(Tensor(device, to, DType::F32, {stored->size()}),
                                Tensor(device, copy.data(), DType::F16, {stored->size()}));
                         }});
    } else {
      tensors.push_back({stored->name, stored->dtype, stored->shape,
                         [stored](void* to) { std::memcpy(to, stored->data, stored->bytes); }});
    }
  }
  write_safetensors(path, tensors);
}

}  // namespace vlm2vec
