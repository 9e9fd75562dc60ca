#include "train/trainer.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "model/embedding_model.h"
#include "ops/adamw.h"
#include "ops/grad_norm.h"

namespace vlm2vec {

namespace {

bool is_frozen(const TrainerOptions& options, Part part) {
  return std::find(options.frozen.begin(), options.frozen.end(), part) != options.frozen.end();
}

}  // namespace

Trainer::Trainer(Device& device, const ModelConfig& config, const std::vector<std::string>& files,
                 const TrainerOptions& options)
    : options_(options),
      weights_(device, config, files, {options.compute, true, options.quantization}),
      optimizer_(device, "optimizer state"),
      scratch_(device, "activations"),
      features_(device, "image features"),
      kept_(device, "kept activations") {
  require(!config.dual(), "E_MODEL", "a ", config.family, " model has no backward pass; it can embed and evaluate");
  if (options.full) {
    require(options.adapters.empty(), "E_OPTION", "full training takes no adapters");
    require(options.quantization == Quantization::None, "E_OPTION",
            "quantized weights cannot be trained; train adapters, or set quantize to none");
    for (Parameter& parameter : weights_.parameters())
      if (!is_frozen(options, parameter.spec.part)) weights_.train(parameter);
  } else {
    require(!options.adapters.empty(), "E_OPTION", "no module was chosen for an adapter");
    if (options.adapter_file.empty()) {
      weights_.create_adapters(options.adapters, options.initialization, options.seed);
    } else {
      weights_.load_adapters(options.adapters, options.adapter_file);
    }
    weights_.train_adapters();
  }
  for (Parameter* parameter : weights_.trained()) {
    const auto zeros = [&] { return optimizer_.allocate_zero(DType::F32, {parameter->master.size()}); };
    moments_.push_back({parameter, zeros(), zeros()});
  }
  require(!moments_.empty(), "E_OPTION", "every part of the model is frozen: nothing is left to train");
  encoder_ = std::make_unique<Encoder>(weights_);
}

// ---------------------------------------------------------------------------------------------------------------------
// Passes

Tensor Trainer::row_ids(int64_t first, int64_t count) {
  Tensor ids = scratch_.allocate(DType::I32, {count});
  for (int64_t i = 0; i < count; ++i) ids.as<int32_t>()[i] = int32_t(first + i);
  return ids;
}

Context Trainer::context(const Batch& batch, const ChunkPlace& place, const std::atomic<bool>* cancelled, bool vision) {
  Context context(weights_.device(), options_.compute, scratch_);
  context.cancelled = cancelled;
  context.dropout = options_.dropout;
  context.seed = options_.seed;
  context.step = uint64_t(place.step);
  if (options_.dropout > 0)
    context.row_ids =
        vision ? row_ids(place.first_patch, batch.patch_count()) : row_ids(place.first_token, batch.token_count);
  return context;
}

void Trainer::forget(int64_t step) {
  if (step == step_) return;
  step_ = step;
  chunk_features_.clear();
  chunk_saved_.clear();
  shared_.clear();
  features_.reset();
  kept_.reset();
  kept_layers_ = 0;
}

size_t Trainer::text_limit(const Batch& batch) const {
  const size_t limit = options_.activation_memory;
  if (limit == 0) {
    const int64_t tokens = std::max(largest_chunk_, batch.token_count);
    return activation_bytes(weights_.config(), options_.compute, tokens, 0, false).all;
  }
  const bool with_vision = encoder_->vision_trains() && batch.patch_count() > 0;
  const size_t vision = with_vision ? encoder_->vision_share(batch, options_.compute, limit) : 0;
  return std::max<size_t>(1, limit - std::min(limit, vision));
}

size_t Trainer::stride_of_inputs(const Batch& batch, const ChunkPlace& place, size_t* spare) const {
  *spare = 0;
  if (place.step_tokens < batch.token_count) return 0;
  const KeptInputs inputs =
      least_inputs(weights_.config(), options_.compute, place.step_tokens, std::max(largest_chunk_, batch.token_count));
  const size_t limit = text_limit(batch);
  if (inputs.bytes() > limit) return 0;
  if (options_.activation_memory > 0) *spare = limit - inputs.bytes();
  return inputs.stride;
}

Sharing Trainer::share(Batch& batch, const ChunkPlace& place, bool first) {
  const FeatureShape& shape = encoder_->feature_shape();
  Sharing sharing;
  const auto find = [&](int64_t number) {
    const auto found = shared_.find(number);
    require(found != shared_.end(), "E_BATCH", "chunk ", place.chunk, " of step ", place.step, ": picture ", number,
            " has not been brought by a chunk that was embedded");
    return &found->second;
  };
  for (int64_t number : place.known) {
    sharing.known.push_back(find(number));
    batch.known_features += shape.features(sharing.known.back()->features);
  }
  batch.check(weights_.config());
  require(place.brought.empty() || int64_t(place.brought.size()) == batch.image_count(), "E_BATCH", "chunk ",
          place.chunk, " of step ", place.step, " has ", batch.image_count(), " pictures, but numbers for ",
          place.brought.size());
  for (size_t i = 0; i < place.brought.size(); ++i) {
    const int64_t number = place.brought[i];
    if (first && number >= 0) {
      const int64_t rows = shape.rows(batch.pictures[i].patches() / shape.merged);
      SharedPicture& picture = shared_[number];
      picture.features = features_.allocate(DType::F32, {rows, shape.width});
      if (encoder_->vision_trains()) picture.gradient = features_.allocate_zero(DType::F32, {rows, shape.width});
    }
    sharing.brought.push_back(number < 0 ? nullptr : find(number));
  }
  return sharing;
}

void Trainer::embed(Batch batch, const ChunkPlace& place, float* embeddings, const std::atomic<bool>* cancelled) {
  scratch_.reset();
  forget(place.step);
  const Sharing sharing = share(batch, place, true);
  largest_chunk_ = std::max(largest_chunk_, batch.token_count);
  size_t spare = 0;
  const size_t stride = stride_of_inputs(batch, place, &spare);
  const Context vision_context = context(batch, place, cancelled, true);
  const Tensor own = encoder_->encode_images(vision_context, batch, nullptr, 0);
  if (own) keep_features(encoder_->feature_shape(), batch, own, sharing);
  if (own && !encoder_->vision_trains() && stride == 0) {
    Tensor kept = features_.allocate(DType::F32, {own.rows(), own.shape[1]});
    copy(kept, own);
    chunk_features_[place.chunk] = kept;
  }
  const Tensor features = place_features(vision_context, encoder_->feature_shape(), batch, own, sharing);
  Context text_context = context(batch, place, cancelled, false);
  Tensor result;
  if (stride > 0) {
    const size_t whole = kept_layers_ < spare ? spare - kept_layers_ : 0;
    Context keeping = text_context.in(kept_);
    keeping.temporary = &scratch_;
    ChunkSaved& chunk = chunk_saved_[place.chunk];
    Encoder::Saved& saved = chunk.pass;
    saved.layers.stride = stride;
    saved.last_recomputed = true;
    chunk.before = kept_.mark();
    result = encoder_->encode(keeping, batch, features, &saved, std::max<size_t>(1, whole), {});
    chunk.after = kept_.mark();
    kept_layers_ += saved.layers.kept * encoder_->layer_bytes(batch.token_count, options_.compute);
  } else {
    result = encoder_->encode(text_context, batch, features, nullptr, 0, {});
  }
  weights_.device().to_host(embeddings, result.data, result.bytes());
}

void Trainer::backward(Batch batch, const ChunkPlace& place, const float* dembeddings,
                       const std::atomic<bool>* cancelled) {
  scratch_.reset();
  forget(place.step);
  const Sharing sharing = share(batch, place, false);
  keep_turned_copies(weights_.device(), largest_chunk_ < kManyRows);
  const size_t limit = options_.activation_memory;
  const bool with_vision = encoder_->vision_trains() && batch.patch_count() > 0;
  const size_t vision_share = with_vision ? encoder_->vision_share(batch, options_.compute, limit) : 0;

  const auto kept = chunk_saved_.find(place.chunk);
  const bool is_kept = kept != chunk_saved_.end();
  Encoder::Saved here;
  Encoder::Saved& saved = is_kept ? kept->second.pass : here;
  const auto same_chunk = [&](bool same) {
    require(same, "E_BATCH", "chunk ", place.chunk, " of step ", place.step, " is not the one that was embedded");
  };
  const Context vision_context = context(batch, place, cancelled, true);
  Tensor own;
  const auto found = chunk_features_.find(place.chunk);
  if (found != chunk_features_.end()) {
    own = found->second;
    same_chunk(own.rows() == encoder_->own_rows(batch));
  } else if (!is_kept || with_vision) {
    own = encoder_->encode_images(vision_context, batch, with_vision ? &saved : nullptr, vision_share);
  }
  Context text_context = context(batch, place, cancelled, false);
  if (is_kept) {
    same_chunk(saved.last_input.rows() == batch.token_count && saved.pooled.rows() == batch.sequence_count);
  } else {
    const Tensor features = place_features(vision_context, encoder_->feature_shape(), batch, own, sharing);
    encoder_->encode(text_context, batch, features, &saved, limit == 0 ? 0 : text_limit(batch), {});
  }
  Tensor d = scratch_.allocate(DType::F32, {batch.sequence_count, dimension()});
  weights_.device().to_device(d.data, dembeddings, d.bytes());
  // text and vision differ in their row ids only
  encoder_->backward(text_context, vision_context.row_ids, batch, d, saved, sharing);
  if (!is_kept) return;
  // chunks go backward in the other order: what was kept for the last one lies on top
  const Arena::Mark top = kept_.mark();
  if (top.block == kept->second.after.block && top.used == kept->second.after.used) {
    kept_.rewind(kept->second.before);
    kept_.discard_free();
  }
  chunk_saved_.erase(kept);
}

double Trainer::update(const UpdateOptions& options) {
  double squares = 0;
  for (const Moments& moments : moments_) squares += sum_of_squares(moments.parameter->gradient);
  const double norm = std::sqrt(squares);
  require(std::isfinite(norm), "E_NUMERIC", "the gradient is not finite after ", updates_,
          " updates; lower the learning rate, or check the data of this step");
  AdamW adamw;
  adamw.learning_rate = options.learning_rate;
  adamw.step = ++updates_;
  // torch.nn.utils.clip_grad_norm_
  if (options.max_grad_norm > 0)
    adamw.gradient_scale = float(std::min(1.0, double(options.max_grad_norm) / (norm + 1e-6)));
  for (Moments& moments : moments_) {
    Parameter& parameter = *moments.parameter;
    const int64_t size = parameter.master.size();
    adamw.weight_decay = parameter.spec.decayed() ? options.weight_decay : 0;
    const bool shadowed = parameter.value.data != parameter.master.data;
    adamw_update(parameter.master.reshape({size}), shadowed ? parameter.value.reshape({size}) : Tensor(), moments.m,
                 moments.v, parameter.gradient.reshape({size}), adamw);
    zero(parameter.gradient);
  }
  encoder_->invalidate();
  forget(-1);
  scratch_.reset();         // so that arenas have grown together by the end of the first step
  scratch_.discard_free();  // the first pass needs less beside what it keeps
  return norm;
}

// ---------------------------------------------------------------------------------------------------------------------
// Files

namespace {

TensorToWrite f32_tensor(const std::string& name, const std::vector<int64_t>& shape, Tensor values) {
  return {name, DType::F32, shape, [values](void* to) { values.device->to_host(to, values.data, values.bytes()); }};
}

bool is_adapter(const Parameter& parameter) { return parameter.stored == nullptr; }

std::string written_name(const Parameter& parameter) {
  return is_adapter(parameter) ? peft_key(parameter) : parameter.spec.name;
}

void read_into(Tensor to, const SafetensorsFile& file, const std::string& name) {
  const StoredTensor* stored = file.find(name);
  require(stored, "E_CHECKPOINT", file.path(), ": tensor ", name, " is missing; the state belongs to another run");
  require(stored->dtype == DType::F32 && stored->size() == to.size(), "E_CHECKPOINT", file.path(), ": tensor ", name,
          " holds ", stored->size(), " numbers, expected ", to.size(), "; the state belongs to another run");
  to.device->to_device(to.data, stored->data, to.bytes());
}

}  // namespace

void Trainer::save_gradients(const std::string& path) {
  std::vector<TensorToWrite> tensors;
  for (const Moments& moments : moments_)
    tensors.push_back(
        f32_tensor(written_name(*moments.parameter), moments.parameter->spec.shape, moments.parameter->gradient));
  write_safetensors(path, tensors);
}

void Trainer::save_weights(const std::string& path, DType dtype, bool keep_types) {
  if (options_.full) return save_model(weights_, path, dtype, keep_types);
  std::vector<TensorToWrite> tensors;
  for (const Moments& moments : moments_)
    tensors.push_back(
        f32_tensor(peft_key(*moments.parameter), moments.parameter->spec.shape, moments.parameter->master));
  write_safetensors(path, tensors);
}

// Master weights are part of the state, so that a run resumes with equal bits whatever type its weights are written in.
void Trainer::save_state(const std::string& path) {
  std::vector<TensorToWrite> tensors;
  for (const Moments& moments : moments_) {
    const Parameter& parameter = *moments.parameter;
    const std::string name = written_name(parameter);
    tensors.push_back(f32_tensor("master." + name, {parameter.master.size()}, parameter.master));
    tensors.push_back(f32_tensor("m." + name, {parameter.master.size()}, moments.m));
    tensors.push_back(f32_tensor("v." + name, {parameter.master.size()}, moments.v));
  }
  write_safetensors(path, tensors,
                    {{"format", "vlm2vec-native optimizer state"}, {"updates", std::to_string(updates_)}});
}

void Trainer::restore_state(const std::string& path) {
  const SafetensorsFile file(path);
  const auto updates = file.metadata().find("updates");
  require(updates != file.metadata().end(), "E_CHECKPOINT", path, ": is no optimizer state");
  for (Moments& moments : moments_) {
    Parameter& parameter = *moments.parameter;
    const std::string name = written_name(parameter);
    read_into(parameter.master, file, "master." + name);
    read_into(moments.m, file, "m." + name);
    read_into(moments.v, file, "v." + name);
    weights_.refresh(parameter);
    zero(parameter.gradient);
  }
  updates_ = std::stoll(updates->second);
  encoder_->invalidate();
  forget(-1);
}

// ---------------------------------------------------------------------------------------------------------------------
// Memory

MemoryUse Trainer::memory() {
  return {weights_.bytes(), encoder_->packed_bytes(), weights_.gradient_bytes(), optimizer_.used(),
          scratch_.peak() + features_.peak() + kept_.peak()};
}

}  // namespace vlm2vec
