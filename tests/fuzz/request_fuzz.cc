// Whatever a client sends: the parsers of requests' bodies, and what turns prompts into tokens and
// bytes into text. A first byte chooses the parser.

#include <cstdint>
#include <iterator>
#include <string_view>

#include "axl/base/error.h"
#include "axl/base/tokens.h"
#include "axl/model/config.h"
#include "serve/json_fields.h"
#include "serve/llama_request.h"
#include "serve/model_prompt.h"
#include "serve/openai_request.h"
#include "serve/utf8_stream.h"

namespace {

using axl::TextRequest;

void require(bool ok) {
  if (!ok) __builtin_trap();
}

/// What the engine counts on.
void check(const TextRequest& request, const axl::RequestLimits& limits) {
  request.sampling.validate();
  require(!request.prompts.empty() && request.texts() <= limits.max_texts);
  require(request.n >= 1 && request.best_of >= request.n);
  require(!request.max_tokens ||
          (*request.max_tokens >= 0 && *request.max_tokens <= limits.max_tokens));
  axl::ModelConfig config;
  config.max_seq_len = 64;
  config.fill_in_middle = true;
  for (const axl::Prompt& prompt : request.prompts) {
    for (const int32_t token : prompt.tokens) require(token >= 0 && token < axl::kVocab);
    const axl::Prompt read = axl::read_fill_literals(prompt);
    if (read.suffix) require(!prompt.suffix || *read.suffix == *prompt.suffix);
    axl::model_prompt(read, config, 16);
  }
}

/// However it is cut, a text becomes the same valid one.
void check_utf8(std::string_view bytes) {
  const std::string whole = axl::valid_utf8(bytes);
  axl::Utf8Stream stream;
  std::string parts = stream.push(bytes.substr(0, bytes.size() / 2));
  parts += stream.push(bytes.substr(bytes.size() / 2));
  parts += stream.flush();
  require(parts == whole && axl::valid_utf8(whole) == whole);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view body(reinterpret_cast<const char*>(data) + 1, size - 1);
  check_utf8(body);
  constexpr TextRequest (*kParsers[])(const nlohmann::json&, const axl::RequestLimits&) = {
      axl::parse_completion, axl::parse_chat, axl::parse_fill, axl::parse_llama_completion,
      axl::parse_infill};
  const axl::RequestLimits limits{4096, 1000, 64};
  try {
    check(kParsers[data[0] % std::size(kParsers)](axl::parse_body(body), limits), limits);
  } catch (const axl::ApiError& e) {
    require(!axl::to_text(e.json()).empty());
  }
  return 0;
}
