#pragma once

#include <string>

#include "axl/train/trainer.h"

namespace axl {

/// The README.md of a trained model: what it is, what it was trained on, what it scores and how to
/// use it, as Markdown.
std::string model_card(const Config& config, const Model& model, const Corpus& corpus,
                       const TrainResult& result);

}  // namespace axl
