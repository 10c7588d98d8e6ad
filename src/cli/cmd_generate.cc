#include <spdlog/spdlog.h>
#include <CLI/CLI.hpp>

#include <chrono>
#include <cstdio>
#include <iostream>
#include <iterator>
#include <memory>
#include <optional>
#include <string>

#include "axl/base/clock.h"
#include "axl/base/error.h"
#include "axl/base/format.h"
#include "axl/infer/fill_in_middle.h"
#include "axl/infer/generate.h"
#include "axl/model/checkpoint.h"
#include "cli/command.h"
#include "cli/json.h"
#include "cli/model_path.h"
#include "cli/signals.h"

namespace axl {
namespace {

struct GenerateCommandOptions {
  std::string prompt;
  std::optional<std::string> suffix;
  GenerateOptions generate;
};

std::string read_prompt(const std::string& prompt) {
  if (prompt != "-") return prompt;
  return {std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>()};
}

/// Writes and flushes; false when nobody reads any more.
bool write_out(std::string_view text) {
  return std::fwrite(text.data(), 1, text.size(), stdout) == text.size() &&
         std::fflush(stdout) == 0;
}

/// What goes between prompt and suffix.
Generation fill(const Model& model, const std::string& prefix, const std::string& suffix,
                GenerateOptions options, const std::function<bool(std::string_view)>& on_text) {
  const int64_t context = model.config().max_seq_len;
  if (options.max_new_tokens > context / 2) {
    spdlog::warn("at most {} bytes are written before a suffix, half of the model's context",
                 context / 2);
    options.max_new_tokens = context / 2;
  }
  const FillPrompt prompt = fill_in_middle_prompt(prefix, suffix, context, options.max_new_tokens);
  if (prompt.prefix_dropped + prompt.suffix_dropped > 0)
    spdlog::warn(
        "prompt and suffix are longer than the model's context of {} bytes: the first {} bytes of "
        "the prompt and the last {} of the suffix were not read",
        context, prompt.prefix_dropped, prompt.suffix_dropped);
  options.around = prompt.dropped;
  return generate(model, prompt.tokens, options, on_text);
}

void require_filling(const Model& model, const std::string& path) {
  if (model.config().fill_in_middle) return;
  throw UsageError(
      format("--suffix: {} was not trained to fill a gap, so it cannot take what follows one into "
             "account; train one with --set train.fim_rate=0.5, or leave --suffix out",
             path));
}

Json result_json(const std::string& prompt, const std::optional<std::string>& suffix,
                 const Generation& g, double rate) {
  Json json = {{"prompt", prompt},
               {"text", g.text},
               {"new_tokens", g.new_tokens},
               {"passes", g.writing.passes},
               {"guesses", g.writing.guesses},
               {"right_guesses", g.writing.right_guesses},
               {"finish_reason", g.finish_reason},
               {"bytes_per_s", rate}};
  if (suffix) json["suffix"] = *suffix;
  return json;
}

int generate_command(const GenerateCommandOptions& o, const Globals& globals) {
  o.generate.sampling.validate();
  const auto path = resolve_model(globals.model);
  const Model model = load_model(path);
  if (o.suffix) require_filling(model, path.string());
  const std::string prompt = read_prompt(o.prompt);
  catch_stop_signals();
  if (!globals.json && !write_out(prompt)) throw Error("stdout cannot be written");

  bool writable = true;
  const Clock::time_point begin = Clock::now();
  const auto on_text = [&](std::string_view text) {
    if (!globals.json) writable = write_out(text);
    return writable && stop_signal() == 0;
  };
  const Generation g = o.suffix ? fill(model, prompt, *o.suffix, o.generate, on_text)
                                : generate(model, prompt, o.generate, on_text);
  const double seconds = seconds_since(begin);
  const double rate = g.new_tokens / seconds;
  if (globals.json) {
    print_json(result_json(prompt, o.suffix, g, rate));
  } else if (writable) {
    writable = write_out(o.suffix.value_or("") + "\n");
  }
  if (!writable) throw Error("stdout cannot be written: the rest of the text is lost");
  if (g.prompt_dropped > 0)
    spdlog::warn(
        "the prompt is longer than the model's context of {} bytes: its first {} bytes "
        "were not read",
        model.config().max_seq_len, g.prompt_dropped - 1);
  spdlog::debug("{} tokens in {} passes, {} of {} guesses right, {:.0f} bytes/s, finished by {}",
                g.new_tokens, g.writing.passes, g.writing.right_guesses, g.writing.guesses, rate,
                g.finish_reason);
  return stop_signal() ? 128 + stop_signal() : kExitDone;
}

}  // namespace

Action setup_generate(CLI::App& app, Globals& globals) {
  auto o = std::make_shared<GenerateCommandOptions>();
  SamplingOptions& s = o->generate.sampling;
  app.add_option("prompt", o->prompt, "Text to continue; - reads it from stdin")
      ->type_name("PROMPT")
      ->required();
  app.add_option("--suffix", o->suffix,
                 "Text that follows: writes what goes between PROMPT and it, with a model trained "
                 "with train.fim_rate")
      ->type_name("TEXT");
  app.add_option("--max-new-tokens", o->generate.max_new_tokens, "How many bytes to write at most")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 40).description(""))
      ->type_name("N")
      ->capture_default_str();
  app.add_option("--temperature", s.temperature, "0 always takes the most likely byte")
      ->type_name("T")
      ->capture_default_str();
  app.add_option("--top-k", s.top_k, "Draw from the k most likely; 0 is off")
      ->type_name("K")
      ->capture_default_str();
  app.add_option("--top-p", s.top_p,
                 "Draw from the most likely that together have this mass; 1 is off")
      ->type_name("P")
      ->capture_default_str();
  app.add_option("--min-p", s.min_p,
                 "Drop what is less likely than this share of the best; 0 is off")
      ->type_name("P")
      ->capture_default_str();
  app.add_option("--stop", o->generate.stop, "End before this text; repeatable")->type_name("TEXT");
  add_draft_option(app, o->generate.draft,
                   "Guess at most so many bytes ahead and check them in one pass: the same text, "
                   "sooner; 0 is off");
  app.add_option("--seed", o->generate.seed, "The same seed gives the same text")
      ->type_name("N")
      ->capture_default_str();
  return [o, &globals] { return generate_command(*o, globals); };
}

}  // namespace axl
