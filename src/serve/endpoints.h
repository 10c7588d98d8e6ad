#pragma once

#include <atomic>
#include <filesystem>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "serve/answer.h"
#include "serve/model_registry.h"
#include "serve/router.h"
#include "serve/run_logs.h"
#include "serve/text_request.h"

namespace axl {

/// What the server answers at each address.
class Endpoints {
 public:
  Endpoints(const ServerOptions& options, ModelRegistry& models, Metrics& metrics);

  std::vector<Route> routes();

  /// Until this is called, requests for text are answered 503.
  void set_ready() { ready_ = true; }
  /// Ends what is running with an error.
  void cut() { cut_ = true; }

 private:
  using Response = httplib::Response;
  using Parser = TextRequest (*)(const nlohmann::json&, const RequestLimits&);

  std::function<void(const Call&, Response&)> text_by(Parser parse);
  void completions(const Call& call, Response& response);
  void answer(TextRequest request, const Call& call, Response& response);
  void note_unused_suffix(const Answer& answer);
  Answer::Interrupt interrupt(const Exchange& exchange) const;
  std::shared_ptr<Engine> engine(const std::string& name);
  void add_text_routes(std::vector<Route>& routes);
  void add_page(std::vector<Route>& routes) const;

  void health(Response& response) const;
  void models(Response& response) const;
  void model(const Call& call, Response& response) const;
  void props(Response& response) const;
  void tokenize(const Call& call, Response& response) const;
  void detokenize(const Call& call, Response& response) const;
  void score(const Call& call, Response& response);

  ServerOptions options_;
  RequestLimits limits_;
  ModelRegistry& models_;
  Metrics& metrics_;
  RunLogs runs_;
  std::atomic<bool> ready_{false}, cut_{false};
  std::mutex noted_mutex_;
  std::set<std::string> noted_;  ///< models whose unused suffixes the log has told of
};

}  // namespace axl
