// The numbers of a model: base parameters from checkpoint files, and adapters. Frozen parameters lie where the file is
// mapped when the number type allows it; trained ones have an f32 master copy, and a bf16 copy to compute with in bf16
// mode.
#pragma once
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/arena.h"
#include "core/safetensors.h"
#include "model/parameters.h"
#include "ops/quantize.h"

namespace vlm2vec {

struct Parameter {
  ParameterSpec spec;
  Tensor value;                           // what the ops read: the compute type for matrices, f32 for vectors
  Tensor master;                          // f32; absent while frozen. The same memory as `value` where that is f32
  Tensor gradient;                        // f32; absent while frozen
  const SafetensorsFile* file = nullptr;  // where it came from; null for adapters
  const StoredTensor* stored = nullptr;
  void* converted = nullptr;  // memory of `value` while it is neither mapped nor in an arena (Weights::open_values)
  bool trained() const { return bool(gradient); }
};

// An adapter on one linear module, by PEFT's meaning (model/linear.h computes with it).
struct AdapterSpec {
  std::string module;  // canonical name
  int64_t rank;
  float scale;
  bool dora;
};

struct Adapter {
  AdapterSpec spec;
  Parameter a, b, magnitude;   // (R, K), (N, R), (N, DoRA only)
  uint64_t stream;             // of random numbers: its place in the table
  bool new_magnitude = false;  // it is to become the norm of the base's rows, as the products see them
};

class Weights {
 public:
  struct Options {
    DType compute = DType::F32;
    bool training = false;  // packs what products read in both directions, where gradients go that way
    Quantization quantization = Quantization::None;  // of the matrices of linear layers, which are then frozen
    bool in_place = false;                           // products read the mapped file, no copies are made
  };

  // Reads and checks every tensor of the table. E_CHECKPOINT names what is missing, unexpected, wrongly shaped or not
  // finite.
  Weights(Device& device, const ModelConfig& config, const std::vector<std::string>& files, Options options);
  ~Weights();

  // A matrix that is not resident is opened, packed or quantized, and closed again, one after the other, so that a
  // model never takes much more memory than its file. No effect on a resident or a trained one.
  void open_values(Parameter& parameter);
  void close_values(Parameter& parameter);

  // Convolutions are no linear layers to bitsandbytes: a patch embedding is never quantized.
  Quantization quantization(const Parameter& parameter) const;
  // Whether the values stay from the beginning: all but the matrices of linear layers that are packed or quantized.
  bool resident(const Parameter& parameter) const;
  // Whether the gradient of its layer's input is wanted: not that of a frozen vision tower.
  bool passes_gradients(const Parameter& parameter);

  const ModelConfig& config() const { return config_; }
  const Options& options() const { return options_; }
  Device& device() const { return device_; }

  Parameter& at(const std::string& name);
  Parameter* find(const std::string& name);
  std::vector<Parameter>& parameters() { return parameters_; }
  // A tensor that no computation uses but a written model carries on: lm_head.weight.
  const std::vector<std::pair<const SafetensorsFile*, const StoredTensor*>>& carried() const { return carried_; }

  // Reads adapters from a PEFT file, or, without a path, initialises them (B = 0; a DoRA magnitude becomes the row
  // norms of W when its layer is made). E_MODEL for a module that is not linear; E_CHECKPOINT for keys that are
  // missing, match nothing or have another shape.
  enum class Initialization { Kaiming, Gaussian };
  void load_adapters(const std::vector<AdapterSpec>& specs, const std::string& path);
  void create_adapters(const std::vector<AdapterSpec>& specs, Initialization initialization, uint64_t seed);
  Adapter* adapter(const std::string& module);
  std::vector<std::unique_ptr<Adapter>>& adapters() { return adapters_; }

  // Gives a parameter a master copy and a gradient.
  void train(Parameter& parameter);
  void train_adapters();
  std::vector<Parameter*> trained();
  // After its master has changed: rewrites the copy that the ops read.
  void refresh(Parameter& parameter);

  // The f32 values of a parameter as they stand, adapters not merged: master, value, or the file.
  void read_f32(const Parameter& parameter, float* to) const;
  // W + s B A, or with DoRA its rows rescaled to the magnitude. (N, K) f32, host memory.
  void read_merged_f32(Parameter& parameter, float* to);

  size_t bytes() const;
  size_t gradient_bytes() const { return gradients_.used(); }
  Arena& gradients() { return gradients_; }

 private:
  void open(const std::vector<std::string>& files);
  void load(Parameter& parameter);
  Adapter& add_adapter(const AdapterSpec& spec);

  Device& device_;
  ModelConfig config_;
  Options options_;
  Arena arena_, gradients_;
  std::vector<std::unique_ptr<SafetensorsFile>> files_;
  std::vector<Parameter> parameters_;
  std::map<std::string, size_t> index_;
  std::vector<std::pair<const SafetensorsFile*, const StoredTensor*>> carried_;
  std::vector<std::unique_ptr<Adapter>> adapters_;
  std::map<std::string, Adapter*> adapter_index_;
};

// PEFT's key of an adapter tensor: base_model.model.<module>.lora_A.weight, .lora_B.weight, .lora_magnitude_vector.
std::string peft_key(const Parameter& parameter);

}  // namespace vlm2vec
