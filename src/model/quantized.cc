#include "axl/model/quantized.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <set>

#include "axl/base/format.h"
#include "axl/base/parallel.h"
#include "axl/formats/block_codec.h"
#include "axl/kernels/packed_gemm.h"
#include "axl/model/checkpoint.h"
#include "llama_types.h"

namespace axl {
namespace {

namespace fs = std::filesystem;

constexpr const char* kConfigKey = "axl.config";

int64_t row_bytes(ElementType type, int64_t cols) {
  return PackedMatrix{type, nullptr, 1, cols}.row_bytes();
}

int64_t padded(ElementType type, int64_t cols) {
  const int64_t block = element_format(type).elements;
  return (cols + block - 1) / block * block;
}

/// The names of the matrices that q4_k_m codes as Q6_K.
std::set<std::string> sensitive_matrices(const ModelConfig& config) {
  std::set<std::string> names;
  const auto add = [&](const std::string& block, int64_t i, int64_t n) {
    if (!more_bits(i, n)) return;
    names.insert(block + "attn.wv.weight");
    names.insert(block + "ffn.down.weight");
  };
  Weights weights(config);
  for (const Weights::Scale& s : weights.scales)
    for (size_t i = 0; i < s.stack.size(); ++i)
      add(format("stack.{}.{}.", s.factor, i), i, s.stack.size());
  for (size_t layer = 0; layer < weights.cross.size(); ++layer)
    for (size_t i = 0; i < weights.cross[layer].size(); ++i) {
      const Weights::Pair& p = weights.cross[layer][i];
      add(format("cross.{}.{}to{}.", layer, weights.scales[p.source].factor,
                 weights.scales[p.target].factor),
          i, weights.cross[layer].size());
    }
  return names;
}

ElementType wanted_type(const Parameter& p, QuantizedType type,
                        const std::set<std::string>& sensitive) {
  if (p.role == Role::kGain || p.role == Role::kGate || p.role == Role::kVotes)
    return ElementType::kF32;
  if (p.role == Role::kTable || type == QuantizedType::kBF16) return ElementType::kBF16;
  if (type == QuantizedType::kQ8_0) return ElementType::kQ8_0;
  return p.role == Role::kOutput || sensitive.count(p.name) ? ElementType::kQ6_K
                                                            : ElementType::kQ4_K;
}

ElementType fitting_type(ElementType wanted, int64_t cols) {
  const bool padding_pays = row_bytes(wanted, cols) <= row_bytes(ElementType::kQ8_0, cols);
  return element_format(wanted).elements == 1 || padding_pays ? wanted : ElementType::kQ8_0;
}

uint32_t file_type(QuantizedType type) {  // llama.cpp's numbers
  switch (type) {
    case QuantizedType::kBF16:
      return 32;
    case QuantizedType::kQ8_0:
      return 7;
    default:
      return 15;
  }
}

/// The tensor of a parameter, whose rows may be padded.
PackedMatrix matrix_of(const GgufFile& file, const Parameter& p) {
  const GgufFile::Tensor& t = file.tensor(p.name);
  std::vector<int64_t> shape = p.shape;
  shape.back() = padded(t.type, shape.back());
  if (t.shape != shape || !packed_gemm_reads(t.type))
    throw Error(format("{}: tensor '{}' ({}) has another shape or type than its axl.config says",
                       file.path().string(), p.name, element_format(t.type).name));
  const bool plain = p.role == Role::kGain || p.role == Role::kGate || p.role == Role::kVotes;
  if ((plain && t.type != ElementType::kF32) ||
      (p.role == Role::kTable && t.type != ElementType::kBF16 && t.type != ElementType::kF32))
    throw Error(format("{}: tensor '{}' cannot be {}", file.path().string(), p.name,
                       element_format(t.type).name));
  return {t.type, t.bytes.data(), p.rows, p.cols};
}

const uint32_t* slots_of(const GgufFile& file, int64_t order, int64_t slots) {
  const GgufFile::Tensor& t = file.tensor(recall_tensor(order));
  if (t.type != ElementType::kI32 || t.shape != std::vector<int64_t>{slots})
    throw Error(format("{}: tensor '{}' is not the {} 32-bit slots that its axl.config says",
                       file.path().string(), recall_tensor(order), slots));
  return reinterpret_cast<const uint32_t*>(t.bytes.data());
}

}  // namespace

double QuantizedReport::bits_per_weight() const {
  double bits = 0, weights = 0;
  for (const QuantizedTensor& t : tensors) {
    if (t.type == ElementType::kI32) continue;
    bits += 8.0 * t.bytes;
    weights += t.elements;
  }
  return weights > 0 ? bits / weights : 0;
}

QuantizedReport save_quantized(const Model& model, QuantizedType type, const fs::path& path,
                               const std::string& name) {
  if (model.is_stored())
    throw Error("the model is quantised already; quantise the one that was trained");
  const std::set<std::string> sensitive = sensitive_matrices(model.config());
  QuantizedReport report;
  std::vector<GgufTensorSource> sources;
  for (const Parameter& p : model.parameters()) {
    const ElementType wanted = wanted_type(p, type, sensitive), used = fitting_type(wanted, p.cols);
    std::vector<int64_t> shape = p.shape;
    shape.back() = padded(used, shape.back());
    const ConstMat values(model.data() + p.offset, p.rows, p.cols);
    sources.push_back({p.name, used, shape,
                       [used, values](std::byte* out) { encode_matrix(used, values, out); }});
    report.tensors.push_back({p.name, used, wanted, p.size(), sources.back().bytes()});
  }
  const Recall& recall = model.recall();
  for (size_t i = 0; i < recall.orders().size(); ++i) {
    const std::span<const uint32_t> slots(recall.data(i), recall.slots());
    sources.push_back(
        {recall_tensor(recall.orders()[i]),
         ElementType::kI32,
         {recall.slots()},
         [slots](std::byte* out) { std::memcpy(out, slots.data(), slots.size_bytes()); }});
    report.tensors.push_back({sources.back().name, ElementType::kI32, ElementType::kI32,
                              recall.slots(), sources.back().bytes()});
  }
  const GgufMetadata metadata = {{"general.architecture", std::string("axl")},
                                 {"general.name", name},
                                 {"general.file_type", file_type(type)},
                                 {"general.quantization_version", uint32_t{2}},
                                 {kConfigKey, to_json(model.config())}};
  write_gguf(path, metadata, sources);
  return report;
}

ModelConfig quantized_config(const GgufFile& file) {
  return model_config_from_json(file.get<std::string>(kConfigKey), file.path().string());
}

int64_t bytes_in_memory(const PackedMatrix& w) {
  constexpr int64_t kLine = 64;
  const int64_t bytes = panel_bytes(w);
  return bytes > 0 ? bytes : (w.bytes() + kLine - 1) / kLine * kLine;
}

/// Lets products find their matrices in memory of huge pages: as panels, or plain rows as they are.
/// Each byte that is generated walks through all of them, and with the small pages of a mapped file
/// the CPU keeps looking up addresses (axl_300m in q8_0 on Zen 4: 10.4 against 8.6 ms a byte).
void move_to_memory(const std::vector<Parameter>& parameters, StoredParameters& stored) {
  std::vector<PackedMatrix*> matrices;
  int64_t bytes = 0;
  for (size_t i = 0; i < parameters.size(); ++i) {
    const Role role = parameters[i].role;
    if (role != Role::kMatrix && role != Role::kResidualOutput && role != Role::kOutput) continue;
    matrices.push_back(&stored.parameters[i]);
    bytes += bytes_in_memory(*matrices.back());
  }
  stored.memory = Buffer(bytes);
  auto* next = static_cast<std::byte*>(stored.memory.data());
  for (PackedMatrix* w : matrices) {
    if (panel_bytes(*w) > 0) {
      pack_panels(*w, next);
    } else {
      const auto row_bytes = static_cast<size_t>(w->row_bytes());
      parallel_for(w->rows,
                   [&](int64_t r) { std::memcpy(next + r * row_bytes, w->row(r), row_bytes); });
      w->data = next;
    }
    next += bytes_in_memory(*w);
  }
}

Model load_quantized(std::shared_ptr<const GgufFile> file) {
  const ModelConfig config = quantized_config(*file);
  file->verify_checksum();
  StoredParameters stored;
  const std::vector<Parameter> parameters = parameter_table(config);
  for (const Parameter& p : parameters) stored.parameters.push_back(matrix_of(*file, p));
  for (int64_t order : config.recall.orders)
    stored.slots.push_back(slots_of(*file, order, int64_t{1} << config.recall.bits));
  if (file->tensors().size() != stored.parameters.size() + stored.slots.size())
    throw Error(format("{}: holds {} tensors, where its axl.config describes {}",
                       file->path().string(), file->tensors().size(),
                       stored.parameters.size() + stored.slots.size()));
  move_to_memory(parameters, stored);
  file->forget_pages();  // embeddings, and little else, are still read there
  stored.owner = std::move(file);
  return Model(config, std::move(stored));
}

Model decoded(const Model& model) {
  Model plain(model.config());
  Weights weights = model.weights();
  float* out = plain.data();
  weights.for_each_parameter([&](const std::string&, Weight& w, Role) {
    for (int64_t r = 0; r < w.rows; ++r, out += w.cols) {
      if (w.is_packed())
        decode_row(w.packed[0], r, out);
      else
        std::copy_n(w.row(r), w.cols, out);
    }
  });
  const Recall& slots = model.recall();
  for (size_t i = 0; i < slots.orders().size(); ++i)
    std::copy_n(slots.data(i), slots.slots(), plain.recall().data(i));
  return plain;
}

}  // namespace axl
