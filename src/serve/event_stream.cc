#include "serve/event_stream.h"

#include <spdlog/spdlog.h>

#include "serve/client_gone.h"
#include "serve/shape.h"

namespace axl {
namespace {

// How long to wait for a piece of one text while there may be some of others.
constexpr std::chrono::milliseconds kGlance{2};

class EventStream {
 public:
  EventStream(Answer& answer, const Answer::Interrupt& interrupt, Exchange& exchange,
              httplib::DataSink& sink)
      : answer_(answer),
        interrupt_(interrupt),
        exchange_(exchange),
        sink_(sink),
        shape_(make_shape(answer)) {}

  void run() {
    try {
      write_texts();
    } catch (const ApiError& e) {
      send(to_text(e.json()));
    }
    if (shape_->ends_with_done()) send("[DONE]");
    sink_.done();
  }

 private:
  void write_texts() {
    const size_t count = answer_.texts().size();
    for (size_t i = 0; i < count; ++i) send_all(shape_->opening(i));
    for (size_t open = count; open > 0;) {
      interrupt_();
      const auto patience = open == 1 ? Answer::kPatience : kGlance;
      for (size_t i = 0; i < count; ++i) {
        if (answer_.texts()[i].done()) continue;
        const std::optional<CompletionPiece> piece = answer_.advance(i, patience);
        if (!piece) continue;
        if (!piece->text.empty() && !exchange_.first_byte) exchange_.first_byte = Clock::now();
        if (piece->last) --open, check_end(*piece, answer_.request().api);
        send_all(shape_->piece(i, *piece));
      }
    }
    send_all(shape_->closing());
  }

  void send_all(const std::vector<Reply>& events) {
    for (const Reply& event : events) send(to_text(event));
  }

  void send(const std::string& data) {
    const std::string event = "data: " + data + "\n\n";
    if (!sink_.write(event.data(), event.size())) throw ClientGone();
  }

  Answer& answer_;
  const Answer::Interrupt& interrupt_;
  Exchange& exchange_;
  httplib::DataSink& sink_;
  std::unique_ptr<Shape> shape_;
};

}  // namespace

void stream_answer(std::shared_ptr<Answer> answer, Answer::Interrupt interrupt, Exchange& exchange,
                   httplib::Response& response) {
  response.set_header("Cache-Control", "no-cache");
  response.set_chunked_content_provider(
      "text/event-stream", [answer = std::move(answer), interrupt = std::move(interrupt),
                            &exchange](size_t, httplib::DataSink& sink) {
        // The library calls again until the stream is done, but not once it is to stop: so all of
        // it is written in one call.
        try {
          EventStream(*answer, interrupt, exchange, sink).run();
          return true;
        } catch (const ClientGone&) {
          spdlog::debug("a client closed its stream");
        } catch (const std::exception& e) {
          spdlog::error("a stream failed: {}", e.what());
        }
        return false;
      });
}

}  // namespace axl
