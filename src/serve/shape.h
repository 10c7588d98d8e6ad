#pragma once

#include <memory>
#include <string>
#include <vector>

#include "serve/answer.h"
#include "serve/api_error.h"

namespace axl {

/// How an API words an answer: as a whole, or as the events of a stream. One serves one answer.
class Shape {
 public:
  virtual ~Shape() = default;

  /// The answer, all of whose texts are done.
  virtual Reply whole() = 0;

  /// Events before the first byte of a text; the echo of a prompt whose tokens are scored comes
  /// when they are.
  virtual std::vector<Reply> opening(size_t text) = 0;
  /// Events of a piece of a text; the last one's end included.
  virtual std::vector<Reply> piece(size_t text, const CompletionPiece& piece) = 0;
  /// Events after all texts.
  virtual std::vector<Reply> closing() = 0;
  /// Whether a stream ends with "[DONE]".
  virtual bool ends_with_done() const { return true; }
};

/// That of the request's API. The answer must outlive it.
std::unique_ptr<Shape> make_shape(const Answer& answer);

/// What a client should know of what became of its prompts: {prompt_dropped, suffix_used,
/// warnings}; null when there is nothing to say.
Reply remarks(const Answer& answer);

}  // namespace axl
