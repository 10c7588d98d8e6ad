#pragma once

#include <string>
#include <vector>

#include "serve/json_fields.h"

namespace axl {

/// The one text that a model which only continues texts is given for a chat.
struct ChatPrompt {
  std::string text;
  std::vector<std::string> stop;  ///< ends the answer before the model writes another turn
};

/// Messages of the roles system, developer, user and assistant, each a string or parts of type
/// text:
///   one message             its text as it is, so that the answer continues it
///   several                 "System: …\n\nUser: …\n\nAssistant: …\n\n", then "Assistant:", and
///                           the answer ends before "\n\nUser:"
///   the last an assistant's that turn stays open and is continued
/// Throws an ApiError for anything else.
ChatPrompt flatten_chat(JsonFields& fields, const std::string& name);

}  // namespace axl
