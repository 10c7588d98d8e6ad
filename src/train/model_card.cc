#include "model_card.h"

#include "axl/base/format.h"
#include "axl/base/text.h"

namespace axl {
namespace {

std::string joined(const std::vector<std::string>& words) {
  std::string line;
  for (const std::string& w : words) line += (line.empty() ? "" : ", ") + w;
  return line;
}

}  // namespace

std::string model_card(const Config& c, const Model& model, const Corpus& corpus,
                       const TrainResult& r) {
  std::string card =
      format("# {}\n\nA byte-level language model of {} parameters, trained by axl.\n\n", c.name,
             human_count(static_cast<double>(model.parameter_count())));
  card += "| | |\n|---|---|\n";
  card += format("| configuration | `{}` |\n", to_json(c.model));
  card += format("| trained on | {}: {} documents, {} |\n", joined(c.train.data),
                 corpus.documents(), human_bytes(static_cast<double>(corpus.bytes())));
  card += format("| optimizer | {}, learning rate {} |\n", c.train.optimizer, c.train.lr);
  if (!c.train.teacher.empty())
    card += format("| distilled from | {}, temperature {}, alpha {} |\n", c.train.teacher,
                   c.train.distill_temperature, c.train.distill_alpha);
  card += format("| seen | {} steps, {}, in {} |\n", r.steps,
                 human_bytes(static_cast<double>(r.bytes)), human_seconds(r.seconds));
  card += format("| training loss | {:.4f} nats per byte |\n", r.loss);
  if (r.holdout_bpb)
    card += format("| held-out files, a sample | {:.3f} bits per byte |\n", *r.holdout_bpb);
  card +=
      "\nUse it: `axl generate --model DIR \"def main():\"`. Score it on files of your own: "
      "`axl eval-ppl --model DIR FILE`.\n";
  return card;
}

}  // namespace axl
