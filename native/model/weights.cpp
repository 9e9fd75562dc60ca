#include "model/weights.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <set>

#include "core/parallel.h"
#include "core/random.h"
#include "model/family.h"
#include "ops/cast.h"

namespace vlm2vec {

namespace {

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string text = "(";
  for (size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + ")";
}

// A stored tensor as a flat one. Mapped data is only as aligned as the file's header is long: an odd one is copied.
class Flat {
 public:
  Flat(Device& device, const StoredTensor& stored) {
    const void* data = stored.data;
    if (reinterpret_cast<uintptr_t>(data) % size_of(stored.dtype) != 0) {
      copy_.assign(static_cast<const char*>(data), static_cast<const char*>(data) + stored.bytes);
      data = copy_.data();
    }
    tensor = Tensor(device, const_cast<void*>(data), stored.dtype, {stored.size()});
  }
  bool in_place() const { return copy_.empty(); }
  Tensor tensor;

 private:
  std::vector<char> copy_;
};

Tensor shaped(Tensor flat, const ParameterSpec& spec) {
  return spec.role == Role::Vector ? flat.reshape({spec.size()}) : flat.reshape({spec.n(), spec.k()});
}

void check_finite(Tensor values, const SafetensorsFile& file, const StoredTensor& stored) {
  require(all_finite(values), "E_CHECKPOINT", file.path(), ": tensor ", stored.name,
          " holds NaN or infinite numbers; the checkpoint is damaged or its training diverged");
}

}  // namespace

Weights::Weights(Device& device, const ModelConfig& config, const std::vector<std::string>& files, Options options)
    : device_(device), config_(config), options_(options), arena_(device, "weights"), gradients_(device, "gradients") {
  require(!device.is_cuda(), "E_CUDA", "this model's layers have no CUDA kernels yet; use --device cpu");
  for (auto& spec : parameter_table(config)) {
    index_[spec.name] = parameters_.size();
    parameters_.emplace_back();
    parameters_.back().spec = std::move(spec);
  }
  open(files);
  for (auto& parameter : parameters_)
    if (resident(parameter)) load(parameter);
}

Weights::~Weights() {
  for (auto& parameter : parameters_) device_.release(parameter.converted);
}

// Finds the file of every parameter, and refuses what belongs to none.
void Weights::open(const std::vector<std::string>& files) {
  require(!files.empty(), "E_CHECKPOINT", "no safetensors file was given");
  const Family& family = find_family(config_.family);
  for (const auto& path : files) {
    files_.push_back(std::make_unique<SafetensorsFile>(path));
    const SafetensorsFile& file = *files_.back();
    for (const auto& stored : file.tensors()) {
      const std::string name = family.canonical_name(stored.name);
      if (name == "lm_head.weight") {
        const std::vector<int64_t> expected{config_.text.vocab_size, config_.text.hidden_size};
        require(stored.shape == expected, "E_CHECKPOINT", path, ": tensor ", stored.name, " has shape ",
                shape_text(stored.shape), ", expected ", shape_text(expected));
        carried_.push_back({&file, &stored});
        continue;
      }
      if (std::find(family.carried.begin(), family.carried.end(), name) != family.carried.end()) {
        carried_.push_back({&file, &stored});
        continue;
      }
      Parameter* parameter = find(name);
      const auto repeats = [&](const StoredTensor& each) {
        return std::find(family.repeated.begin(), family.repeated.end(), each.name) != family.repeated.end();
      };
      if (parameter && parameter->stored && repeats(stored)) continue;
      if (parameter && parameter->stored && repeats(*parameter->stored)) parameter->stored = nullptr;
      require(parameter, "E_CHECKPOINT", path, ": tensor ", stored.name, " is unexpected: a ", config_.family, " with ",
              config_.vision.depth, " vision and ", config_.text.layers,
              " text layers has none of that name; config.json may belong to another model");
      require(!parameter->stored, "E_CHECKPOINT", path, ": tensor ", stored.name, " occurs twice, also in ",
              parameter->stored ? parameter->file->path() : "");
      require(stored.shape == parameter->spec.shape, "E_CHECKPOINT", path, ": tensor ", stored.name, " has shape ",
              shape_text(stored.shape), ", expected ", shape_text(parameter->spec.shape), " by config.json");
      require(stored.dtype == DType::F32 || stored.dtype == DType::BF16 || stored.dtype == DType::F16, "E_CHECKPOINT",
              path, ": tensor ", stored.name, " has type ", name_of(stored.dtype), ", expected f32, f16 or bf16");
      parameter->file = &file;
      parameter->stored = &stored;
    }
  }
  for (const auto& parameter : parameters_)
    require(parameter.stored, "E_CHECKPOINT", files.front(), files.size() > 1 ? " and its other shards" : "",
            ": tensor ", parameter.spec.name, " ", shape_text(parameter.spec.shape), " is missing");
}

void Weights::load(Parameter& parameter) {
  const Flat flat(device_, *parameter.stored);
  check_finite(flat.tensor, *parameter.file, *parameter.stored);
  const Role role = parameter.spec.role;
  const DType stored = flat.tensor.dtype, gathered = stored == DType::F16 ? DType::F32 : stored;
  const DType wanted = role == Role::Vector ? DType::F32 : role == Role::Embedding ? gathered : options_.compute;
  const bool readable = role == Role::Linear && options_.in_place && stored != DType::F16;
  if (role != Role::Vector && ((stored == wanted && flat.in_place()) || readable)) {
    parameter.value = shaped(flat.tensor, parameter.spec);  // in the mapped file
  } else {
    Tensor value(device_, nullptr, wanted, {flat.tensor.size()});
    if (!resident(parameter)) {
      value.data = parameter.converted = device_.allocate(value.bytes());
    } else {
      value.data = arena_.allocate_bytes(value.bytes());
    }
    cast(value, flat.tensor);
    parameter.value = shaped(value, parameter.spec);
  }
  if (role != Role::Linear || parameter.value.data != flat.tensor.data) parameter.file->drop_pages(*parameter.stored);
}

Quantization Weights::quantization(const Parameter& parameter) const {
  return parameter.spec.role == Role::Linear && parameter.spec.shape.size() == 2 ? options_.quantization
                                                                                 : Quantization::None;
}

bool Weights::resident(const Parameter& parameter) const {
  if (parameter.spec.role != Role::Linear) return true;
  return quantization(parameter) == Quantization::None && options_.in_place;
}

bool Weights::passes_gradients(const Parameter& parameter) {
  if (!options_.training) return false;
  if (parameter.spec.part == Part::Text) return true;
  for (const Parameter* trained : this->trained())
    if (trained->spec.part != Part::Text) return true;
  return false;
}

size_t Weights::bytes() const {
  size_t bytes = arena_.used();
  for (const Parameter& parameter : parameters_)
    if (parameter.converted) bytes += parameter.value.bytes();
  return bytes;
}

void Weights::open_values(Parameter& parameter) {
  if (parameter.value.absent()) load(parameter);
}

void Weights::close_values(Parameter& parameter) {
  if (resident(parameter) || parameter.trained()) return;
  device_.release(parameter.converted);
  parameter.converted = nullptr;
  parameter.value = {};
  parameter.file->drop_pages(*parameter.stored);
}

Parameter* Weights::find(const std::string& name) {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &parameters_[found->second];
}

Parameter& Weights::at(const std::string& name) {
  Parameter* parameter = find(name);
  require(parameter, "E_MODEL", "no parameter ", name, " in the table");
  return *parameter;
}

// ---------------------------------------------------------------------------------------------------------------------
// Adapters

Adapter& Weights::add_adapter(const AdapterSpec& spec) {
  const Parameter* base = find(spec.module + ".weight");
  require(base && base->spec.role == Role::Linear, "E_MODEL", "adapter: ", spec.module,
          " is no linear module of this model");
  require(spec.rank > 0, "E_MODEL", "adapter: ", spec.module, ": the rank is ", spec.rank);
  require(!adapter_index_.count(spec.module), "E_MODEL", "adapter: ", spec.module, " is named twice");
  auto adapter = std::make_unique<Adapter>();
  adapter->spec = spec;
  adapter->stream = uint64_t(index_.at(spec.module + ".weight")) + 1;
  // a convolution's adapter keeps the kernel's shape in A and has a 1 x 1 x 1 kernel in B, as PEFT stores them
  std::vector<int64_t> a_shape = base->spec.shape, b_shape{base->spec.n(), spec.rank}, magnitude{base->spec.n()};
  a_shape[0] = spec.rank;
  if (a_shape.size() > 2) {
    b_shape.resize(a_shape.size(), 1);
    magnitude.assign(a_shape.size(), 1);
    magnitude[1] = base->spec.n();
  }
  const Part part = base->spec.part;
  adapter->a.spec = {spec.module + ".lora_A.weight", a_shape, part, Role::Linear};
  adapter->b.spec = {spec.module + ".lora_B.weight", b_shape, part, Role::Linear};
  adapter->magnitude.spec = {spec.module + ".lora_magnitude_vector", magnitude, part, Role::Vector};
  const auto create = [&](Parameter& parameter, Tensor master) {
    parameter.master = master;
    parameter.value = parameter.spec.role == Role::Linear && options_.compute == DType::BF16
                          ? arena_.allocate(DType::BF16, {master.shape[0], master.shape[1]})
                          : master;
  };
  create(adapter->a, arena_.allocate_zero(DType::F32, {spec.rank, base->spec.k()}));
  create(adapter->b, arena_.allocate_zero(DType::F32, {base->spec.n(), spec.rank}));
  if (spec.dora) create(adapter->magnitude, arena_.allocate_zero(DType::F32, {base->spec.n()}));
  adapter_index_[spec.module] = adapter.get();
  adapters_.push_back(std::move(adapter));
  return *adapters_.back();
}

namespace {

std::string without_peft_prefix(const std::string& key) {
  static const std::string prefix = "base_model.model.";
  return key.rfind(prefix, 0) == 0 ? key.substr(prefix.size()) : key;
}

}  // namespace

std::string peft_key(const Parameter& parameter) { return "base_model.model." + parameter.spec.name; }

void Weights::load_adapters(const std::vector<AdapterSpec>& specs, const std::string& path) {
  files_.push_back(std::make_unique<SafetensorsFile>(path));
  const SafetensorsFile& file = *files_.back();
  std::map<std::string, const StoredTensor*> by_name;
  const Family& family = find_family(config_.family);
  for (const auto& stored : file.tensors()) by_name[family.canonical_name(without_peft_prefix(stored.name))] = &stored;
  std::set<std::string> used;
  for (const auto& spec : specs) {
    Adapter& adapter = add_adapter(spec);
    for (Parameter* parameter : {&adapter.a, &adapter.b, &adapter.magnitude}) {
      if (!parameter->master) continue;
      const std::string& name = parameter->spec.name;
      const auto found = by_name.find(name);
      require(found != by_name.end(), "E_CHECKPOINT", path, ": tensor ", peft_key(*parameter),
              " is missing, though adapter_config.json targets its module");
      const StoredTensor& stored = *found->second;
      require(stored.shape == parameter->spec.shape, "E_CHECKPOINT", path, ": tensor ", stored.name, " has shape ",
              shape_text(stored.shape), ", expected ", shape_text(parameter->spec.shape));
      const Flat flat(device_, stored);
      check_finite(flat.tensor, file, stored);
      cast(parameter->master.reshape({parameter->master.size()}), flat.tensor);
      refresh(*parameter);
      used.insert(name);
    }
  }
  for (const auto& [name, stored] : by_name)
    require(
        used.count(name), "E_CHECKPOINT", path, ": tensor ", stored->name,
        " matches no module that adapter_config.json targets; the adapter belongs to another model or another config");
}

void Weights::create_adapters(const std::vector<AdapterSpec>& specs, Initialization initialization, uint64_t seed) {
  for (const auto& spec : specs) {
    Adapter& adapter = add_adapter(spec);
    float* a = adapter.a.master.as<float>();
    const int64_t k = adapter.a.master.shape[1];
    const float bound = 1 / std::sqrt(float(k));  // kaiming_uniform with a = sqrt(5)
    for (int64_t i = 0; i < adapter.a.master.size(); ++i)
      a[i] = initialization == Initialization::Gaussian
                 ? random_normal(seed, adapter.stream, uint64_t(i)) / float(spec.rank)
                 : bound * (2 * random_uniform(seed, adapter.stream, uint64_t(i)) - 1);
    refresh(adapter.a);
    refresh(adapter.b);
    adapter.new_magnitude = spec.dora;
  }
}

Adapter* Weights::adapter(const std::string& module) {
  const auto found = adapter_index_.find(module);
  return found == adapter_index_.end() ? nullptr : found->second;
}

// ---------------------------------------------------------------------------------------------------------------------
// Training

void Weights::train(Parameter& parameter) {
  if (parameter.trained()) return;
  const bool vector = parameter.spec.role == Role::Vector;
  const auto flat_or_matrix = [&](Arena& arena, DType dtype) {
    return shaped(arena.allocate(dtype, {parameter.spec.size()}), parameter.spec);
  };
  if (!parameter.master) {
    if (parameter.value.absent())
      check_finite(Flat(device_, *parameter.stored).tensor, *parameter.file, *parameter.stored);
    Tensor master = flat_or_matrix(arena_, DType::F32);
    read_f32(parameter, master.as<float>());
    parameter.master = master;
    if (parameter.stored) parameter.file->drop_pages(*parameter.stored);
    if (vector || options_.compute == DType::F32) {
      parameter.value = parameter.master;
    } else {
      parameter.value = flat_or_matrix(arena_, DType::BF16);
      cast(parameter.value, parameter.master);
    }
  }
  parameter.gradient = flat_or_matrix(gradients_, DType::F32);
  zero(parameter.gradient);
}

void Weights::train_adapters() {
  for (auto& adapter : adapters_)
    for (Parameter* parameter : {&adapter->a, &adapter->b, &adapter->magnitude})
      if (parameter->master) {
        parameter->gradient =
            parameter->spec.role == Role::Vector
                ? gradients_.allocate_zero(DType::F32, {parameter->master.shape[0]})
                : gradients_.allocate_zero(DType::F32, {parameter->master.shape[0], parameter->master.shape[1]});
      }
}

void Weights::refresh(Parameter& parameter) {
  if (parameter.value.data != parameter.master.data) cast(parameter.value, parameter.master);
}

std::vector<Parameter*> Weights::trained() {
  std::vector<Parameter*> result;
  for (auto& parameter : parameters_)
    if (parameter.trained()) result.push_back(&parameter);
  for (auto& adapter : adapters_)
    for (Parameter* parameter : {&adapter->a, &adapter->b, &adapter->magnitude})
      if (parameter->trained()) result.push_back(parameter);
  return result;
}

void Weights::read_f32(const Parameter& parameter, float* to) const {
  Tensor out(device_, to, DType::F32, {parameter.spec.size()});
  if (parameter.master) {
    copy(out, parameter.master.reshape({parameter.spec.size()}));
  } else {
    cast(out, Flat(device_, *parameter.stored).tensor);
  }
}

void Weights::read_merged_f32(Parameter& parameter, float* to) {
  read_f32(parameter, to);
  Adapter* adapter = parameter.spec.role == Role::Linear ? this->adapter(parameter.spec.module()) : nullptr;
  if (!adapter) return;
  const int64_t n = parameter.spec.n(), k = parameter.spec.k(), r = adapter->spec.rank;
  const float *a = adapter->a.master.as<float>(), *b = adapter->b.master.as<float>(), s = adapter->spec.scale;
  const float* magnitude = adapter->spec.dora ? adapter->magnitude.master.as<float>() : nullptr;
  parallel_for(device_.threads(), n, [&](int64_t row) {
    float* w = to + row * k;
    for (int64_t i = 0; i < r; ++i) {
      const float factor = s * b[row * r + i];
      for (int64_t j = 0; j < k; ++j) w[j] += factor * a[i * k + j];
    }
    if (!magnitude) return;
    double squares = 0;
    for (int64_t j = 0; j < k; ++j) squares += double(w[j]) * w[j];
    const float c = float(magnitude[row] / std::sqrt(squares));
    for (int64_t j = 0; j < k; ++j) w[j] *= c;
  });
}

}  // namespace vlm2vec
