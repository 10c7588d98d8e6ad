#include "serve/logprobs.h"

#include <algorithm>
#include <cmath>

#include "axl/base/format.h"
#include "axl/base/tokens.h"

namespace axl {
namespace {

// What JSON can hold in place of an infinite logarithm.
constexpr double kLeast = -9999.0;

double finite(double logprob) { return std::max(logprob, kLeast); }
double log_of(double probability) { return finite(std::log(probability)); }

/// The likeliest tokens and the one that came, whatever its rank.
Reply top_map(const TokenInfo& info) {
  Reply top = Reply::object();
  for (const Candidate& c : info.top) top[token_name(c.token)] = log_of(c.probability);
  top[token_name(info.token)] = finite(info.logprob);
  return top;
}

Reply bytes_array(int32_t token) { return token < 256 ? Reply::array({token}) : Reply::array(); }

}  // namespace

std::string token_name(int32_t token) {
  if (token == kBos) return "<|bos|>";
  if (token == kEos) return "<|eos|>";
  if (token < 128) return std::string(1, static_cast<char>(token));
  return format("bytes:\\x{:02x}", token);
}

/// Where the character begins of which the token is a byte.
size_t CompletionLogprobs::place(int32_t token) {
  if (token > 255) return offset_;
  const char byte = static_cast<char>(token);
  const size_t written = utf8_length(utf8_.push({&byte, 1}));
  const size_t before = offset_;
  offset_ += written;
  // What was held back could not become a character, and the byte began or is another.
  const bool replaced = written == 2 || (written == 1 && utf8_.holding());
  return before + (replaced ? 1 : 0);
}

Reply CompletionLogprobs::piece(const std::vector<TokenInfo>& tokens, bool first_unknown) {
  Reply names = Reply::array(), values = Reply::array(), top = Reply::array(),
        offsets = Reply::array();
  for (const TokenInfo& info : tokens) {
    const bool unknown = first_unknown && names.empty();
    names.push_back(token_name(info.token));
    values.push_back(unknown ? Reply() : Reply(finite(info.logprob)));
    top.push_back(unknown ? Reply() : top_map(info));
    offsets.push_back(place(info.token));
  }
  return {{"tokens", names},
          {"token_logprobs", values},
          {"top_logprobs", top},
          {"text_offset", offsets}};
}

Reply chat_logprobs(const std::vector<TokenInfo>& tokens) {
  Reply content = Reply::array();
  for (const TokenInfo& info : tokens) {
    Reply top = Reply::array();
    for (const Candidate& c : info.top)
      top.push_back({{"token", token_name(c.token)},
                     {"logprob", log_of(c.probability)},
                     {"bytes", bytes_array(c.token)}});
    content.push_back({{"token", token_name(info.token)},
                       {"logprob", finite(info.logprob)},
                       {"bytes", bytes_array(info.token)},
                       {"top_logprobs", top}});
  }
  return {{"content", content}, {"refusal", nullptr}};
}

}  // namespace axl
