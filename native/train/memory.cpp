#include "train/memory.h"

#include <algorithm>

#include "ops/matmul.h"

namespace vlm2vec {

namespace {

struct Counting {
  const TrainerOptions& options;
  Device& device;
  bool few_rows;  // copies that are made out of others are kept
  bool vision_trains = false;
  MemoryUse use{};

  size_t width() const { return size_of(options.compute); }
  bool trains(const ParameterSpec& spec) const {
    const auto& frozen = options.frozen;
    return options.full && std::find(frozen.begin(), frozen.end(), spec.part) == frozen.end();
  }
  void add_trained(size_t numbers) {
    use.weights += numbers * (width() == 2 ? 6 : 4);  // the master, and what products read
    use.gradients += numbers * 4;
    use.optimizer += numbers * 8;
  }
  // Copies of (n, k) for products in one or both directions; where there are none, the values stay.
  void add_matrix(int64_t n, int64_t k, bool trained, bool both) {
    const PackedCopies copies = packed_copies(device, options.compute, n, k);
    if (trained)
      add_trained(size_t(n * k));
    else if (copies.forward == 0)
      use.weights += size_t(n * k) * width();
    use.packed += copies.forward + (both && (trained || few_rows || !copies.turned) ? copies.backward : 0);
  }
  void add_adapter(const AdapterSpec& adapter, int64_t n, int64_t k) {
    add_matrix(adapter.rank, k, true, true);
    add_matrix(n, adapter.rank, true, true);
    if (adapter.dora) add_trained(size_t(n));
  }
};

void add_quantized(MemoryUse& use, Quantization kind, const ParameterSpec& spec) {
  QuantizedMatrix codes;
  codes.kind = kind;
  codes.n = spec.n();
  codes.k = spec.k();
  use.packed += codes.code_bytes() + size_t(codes.scale_count()) * sizeof(float);
}

// What a pass that keeps nothing takes over what is kept anyway: one block's.
size_t passing_bytes(const PassBytes& bytes) { return bytes.block + bytes.backward; }

size_t activation_bytes_of(const ModelConfig& config, const TrainerOptions& options, const StepSizes& sizes,
                           bool vision_trains) {
  const DType compute = options.compute;
  const size_t limit = options.activation_memory;
  const PassBytes vision = vision_bytes(config.vision, compute, sizes.patches);
  const ActivationBytes text = activation_bytes(config, compute, sizes.tokens, 0, false);
  const ActivationBytes whole = activation_bytes(config, compute, sizes.tokens, sizes.patches, vision_trains);
  const size_t features = size_t(sizes.step_patches / config.vision.merged() * config.text.hidden_size) * 4;
  // as in Trainer::stride_of_inputs
  const KeptInputs inputs = least_inputs(config, compute, std::max(sizes.tokens, sizes.step_tokens), sizes.tokens);
  const size_t tower =
      limit == 0 || !vision_trains ? 0 : size_t(double(limit) * double(whole.all - text.all) / double(whole.all));
  const size_t text_limit = limit == 0 ? text.all : limit - tower;
  if (inputs.bytes() > text_limit) {
    const size_t least = std::max(whole.least, vision_trains ? 0 : passing_bytes(vision));
    const size_t kept = limit == 0 ? whole.all - whole.least : std::min(limit, whole.all - whole.least);
    return least + kept + (vision_trains ? 0 : features);
  }
  size_t kept = inputs.step;
  if (limit > 0) {  // whole layers of what is left
    const size_t layers = size_t(config.text.layers - 1) * text_bytes(config.text, compute, sizes.step_tokens).block;
    kept += std::min(layers, text_limit - inputs.bytes());
  }
  if (!vision_trains) return kept + std::max(inputs.chunk, passing_bytes(vision));
  const size_t own = vision.fixed + (limit == 0 ? vision.kept : std::min(vision.kept, std::max(tower, vision.block)));
  return kept + own + std::max(inputs.chunk, vision.block + vision.backward);
}

}  // namespace

MemoryUse training_memory(const ModelConfig& config, const TrainerOptions& options, const StepSizes& sizes) {
  const auto device = Device::cpu();
  Counting counting{options, *device, sizes.tokens < kManyRows};
  std::map<std::string, const AdapterSpec*> adapters;
  for (const auto& adapter : options.adapters) adapters[adapter.module] = &adapter;
  const auto table = parameter_table(config);
  const auto adapter_of = [&](const ParameterSpec& spec) {
    const auto found = spec.role == Role::Linear ? adapters.find(spec.module()) : adapters.end();
    return found == adapters.end() ? nullptr : found->second;
  };
  for (const ParameterSpec& spec : table)
    if (spec.part != Part::Text && (counting.trains(spec) || adapter_of(spec))) counting.vision_trains = true;
  for (const ParameterSpec& spec : table) {
    const size_t size = size_t(spec.size());
    const bool trained = counting.trains(spec);
    const bool both = spec.part == Part::Text || counting.vision_trains;
    if (spec.role == Role::Linear && options.quantization != Quantization::None && spec.shape.size() == 2) {
      add_quantized(counting.use, options.quantization, spec);
    } else if (spec.role == Role::Linear) {
      counting.add_matrix(spec.n(), spec.k(), trained, both);
    } else if (trained) {
      counting.add_trained(size);
    } else {
      counting.use.weights += size * (spec.role == Role::Vector ? 4 : counting.width());
    }
    if (const AdapterSpec* adapter = adapter_of(spec)) counting.add_adapter(*adapter, spec.n(), spec.k());
  }
  MemoryUse use = counting.use;
  use.activations = activation_bytes_of(config, options, sizes, counting.vision_trains) +
                    size_t(sizes.sequences * config.text.hidden_size) * 4 * 4;
  return use;
}

}  // namespace vlm2vec
