#include "serve/endpoints.h"

#include <spdlog/spdlog.h>

#include <cmath>
#include <numbers>

#include "axl/base/format.h"
#include "axl/base/tokens.h"
#include "serve/client_gone.h"
#include "serve/event_stream.h"
#include "serve/json_fields.h"
#include "serve/llama_request.h"
#include "serve/model_prompt.h"
#include "serve/openai_request.h"
#include "serve/request_fields.h"
#include "serve/shape.h"
#include "serve/utf8_stream.h"

namespace axl {

using nlohmann::json;

namespace {

constexpr const char* kSuffixUnused =
    "not trained to fill gaps (train.fim_rate): a suffix is not used";
// The page needs its own files and this server, and may do nothing else.
constexpr const char* kPagePolicy =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

Reply model_object(const ModelStatus& m) {
  Reply reply = {{"id", m.name},
                 {"object", "model"},
                 {"created", m.created},
                 {"owned_by", "axl"},
                 {"max_model_len", m.config.max_seq_len},
                 {"scales", m.config.downsample_factors},
                 {"fill_in_middle", m.config.fill_in_middle},
                 {"loaded", m.engine != nullptr}};
  if (!m.config.fill_in_middle) reply["warnings"] = Reply::array({kSuffixUnused});
  return reply;
}

RequestLimits limits_of(const ServerOptions& o) {
  return {o.max_prompt, o.max_tokens, o.engine.sequences + o.engine.queue};
}

}  // namespace

Endpoints::Endpoints(const ServerOptions& options, ModelRegistry& models, Metrics& metrics)
    : options_(options),
      limits_(limits_of(options)),
      models_(models),
      metrics_(metrics),
      runs_(options.runs) {}

std::vector<Route> Endpoints::routes() {
  using C = const Call&;
  using R = Response&;
  std::vector<Route> routes = {
      {"GET", "/health", [this](C, R r) { health(r); }, true},
      {"GET", "/metrics",
       [this](C, R r) {
         r.set_content(metrics_.text(models_.status()), "text/plain; version=0.0.4");
       }},
      {"GET", "/props", [this](C, R r) { props(r); }},
      {"POST", "/tokenize", [this](C c, R r) { tokenize(c, r); }},
      {"POST", "/detokenize", [this](C c, R r) { detokenize(c, r); }},
      {"POST", "/score", [this](C c, R r) { score(c, r); }},
      {"GET", "/runs", [this](C, R r) { send_json(r, runs_.list()); }},
      {"GET", "/runs/*",
       [this](C c, R r) { r.set_content(runs_.log(c.request.path), "text/csv"); }},
  };
  add_text_routes(routes);
  add_page(routes);
  return routes;
}

/// OpenAI's addresses stand under /v1 and, for clients that are told of an address without it,
/// beside it.
void Endpoints::add_text_routes(std::vector<Route>& routes) {
  for (const std::string base : {"/v1", ""}) {
    routes.push_back({"POST", base + "/chat/completions", text_by(parse_chat)});
    routes.push_back({"POST", base + "/fim/completions", text_by(parse_fill)});
    routes.push_back({"GET", base + "/models", [this](const Call&, Response& r) { models(r); }});
    routes.push_back(
        {"GET", base + "/models/*", [this](const Call& c, Response& r) { model(c, r); }});
  }
  routes.push_back({"POST", "/v1/completions", text_by(parse_completion)});
  routes.push_back(
      {"POST", "/completions", [this](const Call& c, Response& r) { completions(c, r); }});
  routes.push_back({"POST", "/completion", text_by(parse_llama_completion)});
  routes.push_back({"POST", "/infill", text_by(parse_infill)});
}

void Endpoints::add_page(std::vector<Route>& routes) const {
  for (const Asset& asset : options_.page)
    routes.push_back({"GET", std::string(asset.path),
                      [&asset](const Call&, Response& r) {
                        r.set_header("Cache-Control", "no-cache");
                        r.set_header("Content-Security-Policy", kPagePolicy);
                        r.set_content(asset.bytes.data(), asset.bytes.size(),
                                      std::string(asset.content_type));
                      },
                      true});
}

std::function<void(const Call&, httplib::Response&)> Endpoints::text_by(Parser parse) {
  return [this, parse](const Call& call, Response& response) {
    answer(parse(parse_body(call.body), limits_), call, response);
  };
}

/// Two servers have this address: OpenAI's clients must name a model, llama-server's do not.
void Endpoints::completions(const Call& call, Response& response) {
  const json body = parse_body(call.body);
  const Parser parse = body.contains("model") ? parse_completion : parse_llama_completion;
  answer(parse(body, limits_), call, response);
}

std::shared_ptr<Engine> Endpoints::engine(const std::string& name) {
  models_.resolve(name);
  if (!ready_) throw ApiError(503, "the models are being loaded", "loading");
  return models_.engine(name);
}

Answer::Interrupt Endpoints::interrupt(const Exchange& exchange) const {
  return [this, &connection = exchange.connection] {
    if (cut_) throw ApiError(503, "the server stops", "server_stopping");
    if (connection.peer_gone()) throw ClientGone();
  };
}

void Endpoints::answer(TextRequest request, const Call& call, Response& response) {
  const bool stream = request.stream;
  const auto deadline = call.exchange.connection.arrival() + options_.timeout;
  const std::string& name = models_.resolve(request.model);
  auto answer = std::make_shared<Answer>(engine(name), name, std::move(request), deadline);
  note_unused_suffix(*answer);
  if (const Reply said = remarks(*answer); !said.is_null()) {
    response.set_header("X-Axl-Prompt-Dropped",
                        std::to_string(said.value("prompt_dropped", int64_t{0})));
    if (said.contains("suffix_used")) response.set_header("X-Axl-Suffix-Used", "false");
  }
  if (stream) return stream_answer(answer, interrupt(call.exchange), call.exchange, response);
  answer->finish(interrupt(call.exchange));
  call.exchange.first_byte = Clock::now();
  send_json(response, make_shape(*answer)->whole());
}

void Endpoints::note_unused_suffix(const Answer& answer) {
  bool unused = false;
  for (const AnswerPrompt& p : answer.prompts()) unused |= p.suffix_unused;
  if (!unused) return;
  const std::lock_guard lock(noted_mutex_);
  if (noted_.insert(answer.model()).second)
    spdlog::warn("{}: {}; more of such requests are not told here", answer.model(), kSuffixUnused);
}

void Endpoints::health(Response& response) const {
  if (ready_) return send_json(response, {{"status", "ok"}});
  Reply reply = ApiError(503, "the models are being loaded", "loading").json();
  reply["status"] = "loading model";
  response.set_header("Retry-After", "1");
  send_json(response, reply, 503);
}

void Endpoints::models(Response& response) const {
  Reply data = Reply::array();
  for (const ModelStatus& m : models_.status()) data.push_back(model_object(m));
  send_json(response, {{"object", "list"}, {"data", std::move(data)}});
}

void Endpoints::model(const Call& call, Response& response) const {
  const std::string& path = call.request.path;
  const std::string& name = models_.resolve(path.substr(path.find("/models/") + 8));
  for (const ModelStatus& m : models_.status())
    if (m.name == name) return send_json(response, model_object(m));
}

void Endpoints::props(Response& response) const {
  const ModelStatus first = models_.status().front();
  send_json(response, {{"default_generation_settings", {{"n_ctx", first.config.max_seq_len}}},
                       {"total_slots", options_.engine.sequences},
                       {"model_alias", first.name},
                       {"model_path", first.name},
                       {"chat_template", ""}});
}

/// `content` as llama-server's clients name the text, or `prompt` as others do.
void Endpoints::tokenize(const Call& call, Response& response) const {
  const json body = parse_body(call.body);
  JsonFields fields(body);
  const std::string& model = models_.resolve(fields.string("model").value_or(""));
  const auto content = fields.string("content"), prompt = fields.string("prompt");
  const bool begin = fields.boolean("add_special").value_or(false);
  fields.ignore({"add_special_tokens", "parse_special"});  // BOS is the server's to add
  fields.only("with_pieces", false);
  fields.only("return_token_strs", false);
  fields.reject_unknown();
  if (!content && !prompt)
    throw ApiError(400, "content is missing", "missing_parameter", "content");
  std::vector<int32_t> tokens = bytes_of(content ? *content : *prompt);
  if (begin) tokens.insert(tokens.begin(), kBos);
  int64_t context = 0;
  for (const ModelStatus& m : models_.status())
    if (m.name == model) context = m.config.max_seq_len;
  send_json(response, {{"tokens", tokens}, {"count", tokens.size()}, {"max_model_len", context}});
}

void Endpoints::detokenize(const Call& call, Response& response) const {
  const json body = parse_body(call.body);
  JsonFields fields(body);
  models_.resolve(fields.string("model").value_or(""));
  const json* ids = fields.get("tokens");
  if (!ids) throw ApiError(400, "tokens is missing", "missing_parameter", "tokens");
  const std::string text = valid_utf8(text_of(fields.tokens(*ids, "tokens", kVocab - 1)));
  fields.reject_unknown();
  send_json(response, {{"content", text}, {"prompt", text}});
}

void Endpoints::score(const Call& call, Response& response) {
  const json body = parse_body(call.body);
  JsonFields fields(body);
  const std::string& name = models_.resolve(fields.string("model").value_or(""));
  const auto text = fields.string("text");
  fields.reject_unknown();
  if (!text) throw ApiError(400, "text is missing", "missing_parameter", "text");
  TextRequest request;
  request.prompts = {{bytes_of(*text), {}}};
  request.max_tokens = 0;
  request.echo = true;
  request.top_logprobs = 0;
  check_limits(request, limits_);

  const std::shared_ptr<Engine> engine = this->engine(name);
  Answer scored(engine, name, std::move(request),
                call.exchange.connection.arrival() + options_.timeout);
  scored.finish(interrupt(call.exchange));
  Reply bits = Reply::array(), gate = Reply::array();
  double total = 0;
  for (const TokenInfo& info : scored.texts()[0].all.prompt) {
    bits.push_back(-info.logprob / std::numbers::ln2);
    gate.push_back(info.gate);
    total -= info.logprob / std::numbers::ln2;
  }
  const double count = static_cast<double>(bits.size());
  send_json(response, {{"model", name},
                       {"bytes", bits.size()},
                       {"bits_per_byte", bits.empty() ? 0.0 : total / count},
                       {"scales", engine->model().config().downsample_factors},
                       {"bits", std::move(bits)},
                       {"gate", std::move(gate)}});
}

}  // namespace axl
