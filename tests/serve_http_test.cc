// What a server answers over HTTP, request by request, with a tiny model of random weights.

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "axl/base/error.h"
#include "axl/infer/generate.h"
#include "serve/utf8_stream.h"
#include "serve_testing.h"

namespace axl {
namespace {

class ServeHttp : public ServedTest {};

const json kSeeded = {{"model", "tiny"}, {"prompt", "def "}, {"max_tokens", 40}, {"seed", 7}};

json with(json body, const json& more) {
  body.update(more);
  return body;
}

TEST_F(ServeHttp, CompletionIsWhatTheModelGenerates) {
  const json reply = served().reply("/v1/completions", kSeeded);
  Model model(tiny_served_config());
  model.init(1);
  GenerateOptions options;
  options.max_new_tokens = 40;
  options.sampling = {.temperature = 1, .top_k = 0};
  options.seed = 7;
  const Generation g = generate(model, "def ", options, [](std::string_view) { return true; });
  EXPECT_EQ(reply["choices"][0]["text"], valid_utf8(g.text));
  EXPECT_EQ(reply["choices"][0]["finish_reason"], g.finish_reason == "length" ? "length" : "stop");
  EXPECT_EQ(reply["object"], "text_completion");
  EXPECT_EQ(reply["model"], "tiny");
  EXPECT_EQ(reply["usage"]["prompt_tokens"], 4);
  EXPECT_EQ(reply["usage"]["completion_tokens"], g.new_tokens);
  EXPECT_EQ(reply["usage"]["total_tokens"], 4 + g.new_tokens);
  EXPECT_FALSE(reply.contains("axl"));
}

TEST_F(ServeHttp, StreamIsTheSameTextInPiecesThenUsageThenDone) {
  const json whole = served().reply("/v1/completions", kSeeded);
  const httplib::Result r = served().post(
      "/v1/completions",
      with(kSeeded, {{"stream", true}, {"stream_options", {{"include_usage", true}}}}));
  ASSERT_TRUE(r);
  EXPECT_EQ(r->get_header_value("Content-Type"), "text/event-stream");
  const std::vector<std::string> events = events_of(r->body);
  ASSERT_GE(events.size(), 3u);
  EXPECT_EQ(events.back(), "[DONE]");
  std::string text;
  std::set<std::string> ids;
  for (size_t i = 0; i + 2 < events.size(); ++i) {
    const json chunk = json::parse(events[i]);
    text += chunk["choices"][0]["text"];
    EXPECT_TRUE(chunk.at("usage").is_null());
    EXPECT_EQ(chunk["choices"][0]["finish_reason"].is_null(), i + 3 < events.size());
    ids.insert(chunk["id"]);
  }
  EXPECT_EQ(text, whole["choices"][0]["text"]);
  EXPECT_EQ(ids.size(), 1u);
  const json last = json::parse(events[events.size() - 2]);
  EXPECT_TRUE(last["choices"].empty());
  EXPECT_EQ(last["usage"]["completion_tokens"], whole["usage"]["completion_tokens"]);
}

TEST_F(ServeHttp, EveryPromptGetsItsChoicesInOrder) {
  const json body = {{"model", "tiny"}, {"prompt", {"ab", "cd", "ab"}},
                     {"max_tokens", 6}, {"temperature", 0},
                     {"n", 2},          {"echo", true}};
  const json reply = served().reply("/v1/completions", body);
  ASSERT_EQ(reply["choices"].size(), 6u);
  std::vector<std::string> texts;
  for (size_t i = 0; i < 6; ++i) {
    EXPECT_EQ(reply["choices"][i]["index"], i);
    texts.push_back(reply["choices"][i]["text"]);
    EXPECT_EQ(texts[i].substr(0, 2), i / 2 == 1 ? "cd" : "ab");
  }
  EXPECT_EQ(texts[0], texts[4]);
  EXPECT_EQ(reply["usage"]["prompt_tokens"], 6) << "a prompt counts once";

  std::vector<std::string> streamed(6);
  const httplib::Result r = served().post("/v1/completions", with(body, {{"stream", true}}));
  for (const std::string& event : events_of(r->body)) {
    if (event == "[DONE]") continue;
    const json chunk = json::parse(event);
    for (const json& choice : chunk["choices"]) streamed[choice["index"]] += choice["text"];
  }
  EXPECT_EQ(streamed, texts);
}

// As lm-evaluation-harness asks, and reads: as many entries as ids, and one for what came after.
TEST_F(ServeHttp, EchoedLogprobsScoreEveryTokenOfThePrompt) {
  const json reply = served().reply("/v1/completions", {{"model", "tiny"},
                                                        {"prompt", {{100, 101, 102}, {97}}},
                                                        {"max_tokens", 1},
                                                        {"temperature", 0},
                                                        {"logprobs", 1},
                                                        {"echo", true},
                                                        {"seed", 1234}});
  const json logprobs = reply["choices"][0]["logprobs"];
  for (const char* key : {"tokens", "token_logprobs", "top_logprobs", "text_offset"})
    EXPECT_EQ(logprobs[key].size(), 4u) << key;
  EXPECT_TRUE(logprobs["token_logprobs"][0].is_null());
  EXPECT_EQ(logprobs["tokens"][1], "e");
  for (size_t i = 1; i < 4; ++i) {
    const double value = logprobs["token_logprobs"][i];
    EXPECT_LT(value, 0);
    EXPECT_EQ(logprobs["top_logprobs"][i][std::string(logprobs["tokens"][i])], value);
  }
  EXPECT_EQ(reply["choices"][1]["logprobs"]["tokens"].size(), 2u);

  const json score = served().reply("/score", {{"text", "def"}});
  EXPECT_EQ(score["bytes"], 3);
  EXPECT_NEAR(score["bits"][1], -double(logprobs["token_logprobs"][1]) / std::log(2), 1e-4);
  EXPECT_EQ(score["gate"][0].size(), score["scales"].size());
}

TEST_F(ServeHttp, BestOfReturnsTheLikeliestOfWhatItCounts) {
  const json body = with(kSeeded, {{"max_tokens", 8}, {"logprobs", 0}});
  const auto mean = [](const json& choice) {
    double sum = 0;
    for (const json& l : choice["logprobs"]["token_logprobs"]) sum += double(l);
    return sum / choice["logprobs"]["token_logprobs"].size();
  };
  const json all = served().reply("/v1/completions", with(body, {{"n", 5}}));
  const json best = served().reply("/v1/completions", with(body, {{"best_of", 5}}));
  ASSERT_EQ(best["choices"].size(), 1u);
  double most = -1e9;
  for (const json& choice : all["choices"]) most = std::max(most, mean(choice));
  EXPECT_DOUBLE_EQ(mean(best["choices"][0]), most);
  EXPECT_EQ(best["usage"]["completion_tokens"], all["usage"]["completion_tokens"]);
}

TEST_F(ServeHttp, ChatAnswersAsAnAssistantStreamedOrNot) {
  const json body = {
      {"model", "tiny"},
      {"messages", {{{"role", "system"}, {"content", "S"}}, {{"role", "user"}, {"content", "U"}}}},
      {"max_tokens", 12},
      {"seed", 3},
      {"logprobs", true},
      {"top_logprobs", 2}};
  const json reply = served().reply("/v1/chat/completions", body);
  const json& choice = reply["choices"][0];
  EXPECT_EQ(reply["object"], "chat.completion");
  EXPECT_EQ(choice["message"]["role"], "assistant");
  EXPECT_EQ(choice["logprobs"]["content"][0]["top_logprobs"].size(), 2u);
  EXPECT_EQ(choice["logprobs"]["content"][0]["bytes"].size(), 1u);
  std::string text;
  const httplib::Result r = served().post("/v1/chat/completions", with(body, {{"stream", true}}));
  const std::vector<std::string> events = events_of(r->body);
  EXPECT_EQ(json::parse(events[0])["choices"][0]["delta"]["role"], "assistant");
  for (const std::string& event : events)
    if (event != "[DONE]") {
      EXPECT_EQ(json::parse(event)["object"], "chat.completion.chunk");
      text += json::parse(event)["choices"][0]["delta"].value("content", "");
    }
  EXPECT_EQ(text, choice["message"]["content"]);
}

TEST_F(ServeHttp, SuffixThatIsNotUsedIsSaidEverywhere) {
  const json body = {{"model", "tiny"}, {"prompt", "a"}, {"suffix", "b"}, {"max_tokens", 2}};
  for (const char* path : {"/v1/completions", "/v1/fim/completions", "/fim/completions"}) {
    const json reply = served().reply(path, body);
    EXPECT_EQ(reply["axl"]["suffix_used"], false) << path;
    const httplib::Result r = served().post(path, with(body, {{"stream", true}}));
    const std::vector<std::string> events = events_of(r->body);
    EXPECT_EQ(json::parse(events[events.size() - 2])["axl"]["suffix_used"], false) << path;
    EXPECT_EQ(r->get_header_value("X-Axl-Suffix-Used"), "false");
  }
  const json models = json::parse(served().client().Get("/v1/models")->body);
  EXPECT_EQ(models["data"][0]["fill_in_middle"], false);
  EXPECT_HOLDS(models["data"][0]["warnings"][0].get<std::string>(), "suffix");
}

TEST(ServeFill, ModelThatWasTrainedToFillReadsTheSuffix) {
  const TempDir dir;
  ModelConfig config = tiny_served_config();
  config.fill_in_middle = true;
  ServerOptions options = TestServer::small_options();
  options.models = {{"fill", save_tiny_model(dir / "fill", 2, config)}};
  const TestServer server(options);
  const json body = {{"model", "fill"},
                     {"prompt", "abc"},
                     {"suffix", "de"},
                     {"max_tokens", 8},
                     {"temperature", 0}};
  const json reply = server.reply("/v1/completions", body);
  EXPECT_EQ(reply["usage"]["prompt_tokens"], 8) << "five bytes and three marks";
  EXPECT_FALSE(reply.contains("axl"));
  const json literal = server.reply(
      "/v1/completions",
      with(body, {{"suffix", nullptr}, {"prompt", "<fim_prefix>abc<fim_suffix>de<fim_middle>"}}));
  EXPECT_EQ(literal["choices"][0]["text"], reply["choices"][0]["text"]);
  const json infill = server.reply("/infill", {{"input_prefix", "ab"},
                                               {"prompt", "c"},
                                               {"input_suffix", "de"},
                                               {"n_predict", 8},
                                               {"temperature", 0}});
  EXPECT_EQ(infill["content"], reply["choices"][0]["text"]);
}

TEST_F(ServeHttp, LongPromptLosesItsLeftAndTheReplySaysHowMuch) {
  const std::string prompt(1000, 'x');
  const json body = {{"model", "tiny"}, {"prompt", prompt}, {"max_tokens", 4}};
  const httplib::Result r = served().post("/v1/completions", body);
  const json reply = json::parse(r->body);
  const int64_t dropped = reply["axl"]["prompt_dropped"];
  EXPECT_EQ(dropped + reply["usage"]["prompt_tokens"].get<int64_t>(), 1000);
  EXPECT_GE(dropped, 1000 - 64);
  EXPECT_EQ(r->get_header_value("X-Axl-Prompt-Dropped"), std::to_string(dropped));
  EXPECT_TRUE(served()
                  .reply("/v1/chat/completions",
                         {{"model", "tiny"},
                          {"max_tokens", 1},
                          {"messages", json::array({{{"role", "user"}, {"content", prompt}}})}})
                  .contains("axl"));
  EXPECT_EQ(served().reply("/completion", {{"prompt", prompt}, {"n_predict", 1}})["truncated"],
            true);
}

TEST_F(ServeHttp, LlamaServersAddressesAnswerAsItDoes) {
  const json reply =
      served().reply("/completion", {{"prompt", "ab"}, {"n_predict", 5}, {"seed", 1}});
  EXPECT_EQ(reply["stop"], true);
  EXPECT_EQ(reply["tokens_evaluated"], 2);
  EXPECT_TRUE(reply["timings"].contains("predicted_per_second"));
  const httplib::Result r = served().post(
      "/completion", {{"prompt", "ab"}, {"n_predict", 5}, {"seed", 1}, {"stream", true}});
  std::string text;
  for (const std::string& event : events_of(r->body)) text += json::parse(event)["content"];
  EXPECT_EQ(text, reply["content"]);
  EXPECT_TRUE(served().reply("/completions", {{"prompt", "ab"}}).contains("content"));
  EXPECT_TRUE(
      served().reply("/completions", {{"prompt", "ab"}, {"model", "tiny"}}).contains("choices"));
  EXPECT_EQ(served()
                .reply("/infill", {{"input_prefix", "a"},
                                   {"input_suffix", "b"},
                                   {"n_predict", 1},
                                   {"response_fields", {"truncated", "timings/predicted_n", "no"}}})
                .size(),
            2u);
}

TEST_F(ServeHttp, TokensAreBytes) {
  EXPECT_EQ(served().reply("/tokenize", {{"content", "hé"}})["tokens"], (json{104, 195, 169}));
  EXPECT_EQ(served().reply("/tokenize", {{"prompt", "h"}, {"add_special_tokens", true}})["count"],
            1);
  EXPECT_EQ(served().reply("/detokenize", {{"tokens", {104, 195, 169}}})["content"], "hé");
}

TEST_F(ServeHttp, OneConnectionServesRequestAfterRequest) {
  httplib::Client client = served().client();
  client.set_keep_alive(true);
  client.set_tcp_nodelay(true);
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(client.Post("/v1/completions", kSeeded.dump(), "application/json")->status, 200);
    EXPECT_EQ(client.Post("/v1/completions", "{", "application/json")->status, 400);
    EXPECT_EQ(client.Get("/health")->status, 200);
  }
}

// On a server of its own: one that has just answered may not have counted that yet.
TEST(ServeMetrics, CountRequestsAndTokens) {
  const TestServer server;
  const std::string requests = "axl_requests_total{route=\"/v1/completions\",code=\"200\"}";
  const std::string tokens = "axl_prompt_tokens_total{model=\"tiny\"}";
  EXPECT_LE(server.metric(requests), 0);
  EXPECT_EQ(server.metric(tokens), 0);
  server.reply("/v1/completions", kSeeded);
  EXPECT_TRUE(TestServer::eventually([&] { return server.metric(requests) == 1; }));
  EXPECT_TRUE(TestServer::eventually([&] { return server.metric(tokens) == 5; })) << "and BOS";
  EXPECT_GT(server.metric("axl_first_byte_seconds_count{route=\"/v1/completions\"}"), 0);
}

TEST(ServeModels, NameChoosesAmongSeveral) {
  const TempDir dir;
  ServerOptions options = TestServer::small_options();
  options.models = {{"a", save_tiny_model(dir / "a", 1)}, {"b", save_tiny_model(dir / "b", 2)}};
  options.lazy = true;
  const TestServer server(options);
  const auto loaded = [&](int i) -> bool {
    return json::parse(server.client().Get("/v1/models")->body)["data"][i]["loaded"];
  };
  EXPECT_FALSE(loaded(0));
  const json body = {{"prompt", "x"}, {"max_tokens", 16}, {"temperature", 0}};
  const json b = server.reply("/v1/completions", with(body, {{"model", "b"}}));
  EXPECT_FALSE(loaded(0)) << "loaded when it is asked for";
  EXPECT_TRUE(loaded(1));
  const json a = server.reply("/v1/completions", with(body, {{"model", "a"}}));
  EXPECT_NE(a["choices"], b["choices"]);
  EXPECT_EQ(server.post("/v1/completions", with(body, {{"model", "c"}}))->status, 404);
  EXPECT_EQ(json::parse(server.client().Get("/v1/models/b")->body)["id"], "b");
  EXPECT_EQ(server.client().Get("/v1/models/c")->status, 404);
}

TEST(ServeModels, ReplacedFileIsLoadedWhileRunningRequestsKeepTheirs) {
  const TempDir dir;
  ServerOptions options = TestServer::small_options();
  options.models = {{"tiny", save_tiny_model(dir / "m", 1)}};
  options.reload = true;
  TestServer server(options);
  const json body = {{"model", "tiny"}, {"prompt", "x"}, {"max_tokens", 16}, {"temperature", 0}};
  const json before = server.reply("/v1/completions", body);
  RawConnection running(server.server().port());
  running.send(raw_post("/v1/completions", endless(true).dump()));
  EXPECT_HOLDS(running.receive("data: "), "200 OK");

  server.server().reload();
  EXPECT_EQ(server.metric("axl_model_loads_total{model=\"tiny\"}"), 1) << "nothing has changed";
  save_tiny_model(dir / "m", 2);
  server.server().reload();
  EXPECT_NE(server.reply("/v1/completions", body)["choices"], before["choices"]);
  EXPECT_HOLDS(running.receive("data: "), "text_completion");
  put(dir / "m" / kModelFile, "no model");
  server.server().reload();
  EXPECT_EQ(server.metric("axl_model_loads_total{model=\"tiny\"}"), 2) << "it goes on as it was";
  server.reply("/v1/completions", body);
}

TEST(ServeModels, HealthSaysWhenTheyAreLoaded) {
  const TempDir dir;
  ServerOptions options = TestServer::small_options();
  options.port = 0;
  options.models = {{"tiny", save_tiny_model(dir / "m", 1)}};
  Server server(options);
  server.start();
  httplib::Client client("127.0.0.1", server.port());
  EXPECT_EQ(client.Get("/health")->status, 503);
  EXPECT_EQ(client.Post("/v1/completions", kSeeded.dump(), "application/json")->status, 503);
  server.load();
  EXPECT_EQ(client.Get("/health")->status, 200);
  EXPECT_EQ(json::parse(client.Get("/health")->body)["status"], "ok");
}

}  // namespace
}  // namespace axl
