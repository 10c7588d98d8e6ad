#pragma once

#include <string>
#include <vector>

#include "serve/shape.h"
#include "serve/utf8_stream.h"

namespace axl {

/// llama-server's /completion and /infill: {content, stop, stop_type, timings, …}; of the fields
/// those alone that response_fields names, as "timings/prompt_n" for one inside another.
class LlamaShape : public Shape {
 public:
  explicit LlamaShape(const Answer& answer) : answer_(answer) {}
  Reply whole() override;
  std::vector<Reply> opening(size_t) override { return {}; }
  std::vector<Reply> piece(size_t text, const CompletionPiece& piece) override;
  std::vector<Reply> closing() override { return {}; }
  bool ends_with_done() const override { return false; }

 private:
  Reply final_reply(const std::string& content) const;

  const Answer& answer_;
  Utf8Stream utf8_;
};

}  // namespace axl
