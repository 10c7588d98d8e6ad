#pragma once

#include <memory>

#include "serve/answer.h"
#include "serve/listener.h"

namespace axl {

/// Answers with server-sent events, each "data: {…}\n\n", as the texts are written. What goes wrong
/// on the way is an event with an error object; who closes the connection ends the work.
void stream_answer(std::shared_ptr<Answer> answer, Answer::Interrupt interrupt, Exchange& exchange,
                   httplib::Response& response);

}  // namespace axl
