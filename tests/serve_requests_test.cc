// What becomes of a request's body before a model sees it, and of its bytes before a client does.

#include <gtest/gtest.h>

#include "axl/base/format.h"
#include "axl/base/tokens.h"
#include "axl/infer/fill_in_middle.h"
#include "serve/chat_prompt.h"
#include "serve/json_fields.h"
#include "serve/llama_request.h"
#include "serve/logprobs.h"
#include "serve/model_prompt.h"
#include "serve/openai_request.h"
#include "serve/request_fields.h"
#include "serve/router.h"
#include "serve/run_logs.h"
#include "serve/utf8_stream.h"
#include "temp_dir.h"

namespace axl {
namespace {

using nlohmann::json;

const RequestLimits kLimits;

TextRequest completion(json body) {
  body.emplace("prompt", "x");
  return parse_completion(body, kLimits);
}

/// The error that reading `body` ends with; status 0 when there is none.
template <class Parser>
ApiError error_of(Parser parse, const json& body) {
  try {
    parse(body, kLimits);
  } catch (const ApiError& e) {
    return e;
  }
  return ApiError(0, "no error");
}

std::string param_of(const ApiError& e) { return e.json()["error"]["param"].dump(); }

TEST(Requests, PromptMayBeTextsOrIdsAndKeepsItsOrder) {
  EXPECT_EQ(completion({{"prompt", "hé"}}).prompts[0].tokens,
            (std::vector<int32_t>{'h', 0xC3, 0xA9}));
  const TextRequest texts = completion({{"prompt", {"ab", "", "c"}}});
  ASSERT_EQ(texts.prompts.size(), 3u);
  EXPECT_EQ(text_of(texts.prompts[0].tokens) + "|" + text_of(texts.prompts[2].tokens), "ab|c");
  EXPECT_EQ(completion({{"prompt", {100, 101}}}).prompts.size(), 1u);
  const TextRequest ids = completion({{"prompt", {{256, 65, 255}, {66}}}});
  ASSERT_EQ(ids.prompts.size(), 2u);
  EXPECT_EQ(ids.prompts[0].tokens, (std::vector<int32_t>{65, 255})) << "BOS is the engine's to add";
}

TEST(Requests, DefaultsAreThoseOfTheApi) {
  const TextRequest r = completion(json::object());
  EXPECT_EQ(*r.max_tokens, 16);
  EXPECT_EQ(r.sampling.temperature, 1.0);
  EXPECT_EQ(r.sampling.top_k, 0);
  EXPECT_EQ(r.n, 1);
  EXPECT_EQ(r.top_logprobs, -1);
  const TextRequest llama = parse_llama_completion({{"prompt", "x"}}, kLimits);
  EXPECT_EQ(llama.sampling.temperature, 0.8);
  EXPECT_EQ(llama.sampling.top_k, 40);
  EXPECT_FALSE(llama.max_tokens);
}

TEST(Requests, ParametersArriveAsGiven) {
  const TextRequest r = completion({{"model", "m"},
                                    {"max_tokens", 7.0},
                                    {"temperature", 0},
                                    {"top_p", 0.5},
                                    {"top_k", 3},
                                    {"min_p", 0.1},
                                    {"n", 2},
                                    {"best_of", 4},
                                    {"stop", {"a", "b", "c", "d", "e", ""}},
                                    {"seed", -5},
                                    {"echo", false},
                                    {"logprobs", 2},
                                    {"suffix", "end"},
                                    {"user", "u"},
                                    {"logit_bias", nullptr},
                                    {"presence_penalty", 0.0}});
  EXPECT_EQ(r.model, "m");
  EXPECT_EQ(*r.max_tokens, 7);
  EXPECT_EQ(r.sampling.top_k, 3);
  EXPECT_EQ(r.best_of, 4);
  EXPECT_EQ(r.stop.size(), 5u) << "an empty stop string stops nothing";
  EXPECT_EQ(*r.seed, uint64_t(-5));
  EXPECT_EQ(*r.prompts[0].suffix, "end");
  EXPECT_EQ(completion({{"stop", "x"}}).stop, std::vector<std::string>{"x"});
}

TEST(Requests, WhatIsWrongIsNamed) {
  const std::pair<json, const char*> cases[] = {
      {{{"max_tokens", "5"}}, "max_tokens"},
      {{{"max_tokens", 1.5}}, "max_tokens"},
      {{{"max_tokens", -1}}, "max_tokens"},
      {{{"max_tokens", 1e300}}, "max_tokens"},
      {{{"max_tokens", uint64_t(-1)}}, "max_tokens"},
      {{{"temperature", 2.1}}, "temperature"},
      {{{"top_p", "x"}}, "top_p"},
      {{{"n", 0}}, "n"},
      {{{"n", 3}, {"best_of", 2}}, "best_of"},
      {{{"best_of", 2}, {"stream", true}}, "best_of"},
      {{{"logprobs", 6}}, "logprobs"},
      {{{"logprobs", true}}, "logprobs"},
      {{{"stop", 5}}, "stop"},
      {{{"stop", {"a", 1}}}, "stop[1]"},
      {{{"stream", 1}}, "stream"},
      {{{"stream_options", {{"include_usage", true}}}}, "stream_options"},
      {{{"stream", true}, {"stream_options", {{"x", true}}}}, "stream_options.x"},
      {{{"prompt", json::array()}}, "prompt"},
      {{{"prompt", {"a", 1}}}, "prompt"},
      {{{"prompt", {{1, "a"}}}}, "prompt[0][1]"},
      {{{"prompt", {1, 258}}}, "prompt[1]"},
      {{{"prompt", {1, -1}}}, "prompt[1]"},
      {{{"prompt", json::array({json::array({"a", 1})})}}, "prompt[0][0]"},
      {{{"prompt", 5}}, "prompt"},
      {{{"prompt", nullptr}}, "prompt"},
      {{{"prompt", std::string(300000, 'x')}}, "prompt"},
      {{{"model", 5}}, "model"},
      {{{"frequency_penalty", 0.1}}, "frequency_penalty"},
      {{{"logit_bias", {{"50", 1}}}}, "logit_bias"},
      {{{"max_token", 5}}, "max_token"},
      {{{"echo", true}, {"logprobs", 1}, {"suffix", "x"}}, "echo"},
      {{{"n", 128}, {"prompt", {"a", "b", "c"}}}, "n"},
  };
  for (auto [body, param] : cases) {
    if (!body.contains("prompt")) body["prompt"] = "x";
    const ApiError e = error_of(parse_completion, body);
    EXPECT_EQ(e.status(), 400) << body.dump().substr(0, 200);
    EXPECT_EQ(param_of(e), json(param).dump()) << e.what();
  }
}

TEST(Requests, BodyMustBeOneJsonObject) {
  const auto status = [](const std::string& text) {
    try {
      parse_body(text);
    } catch (const ApiError& e) {
      return e.status();
    }
    return 0;
  };
  for (const std::string& text :
       {std::string(), std::string("[]"), std::string("{"), std::string("{\"a\":1}x"),
        std::string("{\"a\":1,\"a\":2}"), std::string("{\"a\":NaN}"), std::string("{\"a\":1e999}"),
        std::string("{\"a\":\"\xFF\"}"), std::string("{\"a\":1}\0", 8),
        "{\"a\":" + std::string(100000, '[') + std::string(100000, ']') + "}"})
    EXPECT_EQ(status(text), 400) << text.substr(0, 50);
  EXPECT_EQ(status("{\"a\":[[1]]}"), 0);
}

TEST(Requests, ChatIsOneTextAndEndsBeforeTheNextTurn) {
  const auto flat = [](const json& messages) {
    const json body = {{"messages", messages}};
    JsonFields fields(body);
    return flatten_chat(fields, "messages");
  };
  const ChatPrompt one = flat(json::array({{{"role", "user"}, {"content", "def f("}}}));
  EXPECT_EQ(one.text, "def f(") << "one message is continued as it is";
  EXPECT_TRUE(one.stop.empty());
  const json parts = {{{"type", "text"}, {"text", "a"}}, {{"type", "text"}, {"text", "b"}}};
  const ChatPrompt three = flat({{{"role", "system"}, {"content", "S"}},
                                 {{"role", "assistant"}, {"content", nullptr}},
                                 {{"role", "user"}, {"content", parts}}});
  EXPECT_EQ(three.text, "System: S\n\nAssistant: \n\nUser: ab\n\nAssistant:");
  EXPECT_EQ(three.stop, std::vector<std::string>{"\n\nUser:"});
  EXPECT_EQ(
      flat({{{"role", "user"}, {"content", "q"}}, {{"role", "assistant"}, {"content", "a"}}}).text,
      "User: q\n\nAssistant: a");
}

TEST(Requests, ChatRefusesWhatItCannotDo) {
  const json message = {{"role", "user"}, {"content", "x"}}, image = {{"type", "image_url"}};
  const std::pair<json, const char*> cases[] = {
      {{{"messages", json::array()}}, "messages"},
      {{{"messages", json::array({{{"role", "tool"}, {"content", "x"}}})}}, "messages[0].role"},
      {{{"messages", json::array({{{"role", "user"}}})}}, "messages[0].content"},
      {{{"messages", json::array({{{"role", "user"}, {"content", json::array({image})}}})}},
       "messages[0].content[0].type"},
      {{{"messages", json::array({message})}, {"tools", json::array({{{"type", "function"}}})}},
       "tools"},
      {{{"messages", json::array({message})}, {"response_format", {{"type", "json_object"}}}},
       "response_format"},
      {{{"messages", json::array({message})}, {"top_logprobs", 2}}, "top_logprobs"},
      {{{"messages", json::array({message})}, {"suffix", "x"}}, "suffix"},
  };
  for (const auto& [body, param] : cases)
    EXPECT_EQ(param_of(error_of(parse_chat, body)), json(param).dump()) << body;
  const json harmless = {{"messages", json::array({message})},
                         {"tools", json::array()},
                         {"tool_choice", "auto"},
                         {"response_format", {{"type", "text"}}},
                         {"max_tokens", 1},
                         {"max_completion_tokens", 5},
                         {"store", false},
                         {"metadata", {{"a", "b"}}},
                         {"parallel_tool_calls", true},
                         {"service_tier", "auto"}};
  EXPECT_EQ(*parse_chat(harmless, kLimits).max_tokens, 5);
}

TEST(Requests, InfillReadsWhatEditorsSend) {
  const TextRequest r =
      parse_infill({{"input_prefix", "a\n"},
                    {"prompt", "b"},
                    {"input_suffix", "c"},
                    {"input_extra", json::array({{{"text", "t"}, {"filename", "f"}, {"time", 1}}})},
                    {"n_predict", 8},
                    {"n_indent", 4},
                    {"top_k", 40},
                    {"top_p", 0.99},
                    {"stream", false},
                    {"samplers", {"top_k", "top_p", "infill"}},
                    {"cache_prompt", true},
                    {"t_max_prompt_ms", 500},
                    {"t_max_predict_ms", 1000},
                    {"response_fields", {"content", "timings/prompt_n"}}},
                   kLimits);
  EXPECT_EQ(text_of(r.prompts[0].tokens), "t\na\nb");
  EXPECT_EQ(*r.prompts[0].suffix, "c");
  EXPECT_EQ(r.time_limit->count(), 1500);
  EXPECT_EQ(r.response_fields.size(), 2u);
  EXPECT_EQ(param_of(error_of(parse_infill, {{"input_prefix", "a"}, {"grammar", "x"}})),
            "\"grammar\"");
  EXPECT_EQ(param_of(error_of(parse_infill, {{"input_prefix", "a"}, {"repeat_penalty", 1.1}})),
            "\"repeat_penalty\"");
  EXPECT_EQ(error_of(parse_infill, {{"prompt", "a"}}).status(), 400);
}

TEST(Requests, LiteralMarksNamePrefixAndSuffix) {
  const auto read = [](const std::string& text) {
    return read_fill_literals({bytes_of(text), {}});
  };
  const Prompt psm = read("<fim_prefix>ab<fim_suffix>cd<fim_middle>");
  EXPECT_EQ(text_of(psm.tokens) + "|" + *psm.suffix, "ab|cd");
  const Prompt spm = read("<fim_suffix>cd<fim_prefix>ab<fim_middle>");
  EXPECT_EQ(text_of(spm.tokens) + "|" + *spm.suffix, "ab|cd");
  EXPECT_EQ(*read("<fim_prefix><fim_suffix><fim_middle>").suffix, "");
  for (const std::string& text :
       {std::string("<fim_prefix>ab"), std::string("x<fim_prefix>a<fim_suffix>b<fim_middle>"),
        std::string("<fim_prefix>a<fim_suffix>b<fim_suffix>c<fim_middle>"), std::string("<")})
    EXPECT_FALSE(read(text).suffix) << text;
}

TEST(Requests, SuffixIsUsedByModelsThatWereTrainedWithIt) {
  ModelConfig config;
  config.max_seq_len = 64;
  const Prompt prompt{bytes_of("ab"), "cd"};
  const ModelPrompt without = model_prompt(prompt, config, 16);
  EXPECT_TRUE(without.suffix_unused);
  EXPECT_EQ(text_of(without.tokens), "ab");
  config.fill_in_middle = true;
  const ModelPrompt with = model_prompt(prompt, config, 16);
  EXPECT_FALSE(with.suffix_unused);
  EXPECT_EQ(with.tokens, fill_in_middle_prompt("ab", "cd", 64, 16).tokens);
  EXPECT_THROW(model_prompt({{kEos}, "x"}, config, 16), ApiError);
}

TEST(Utf8Stream, WholeCharactersPassHoweverTheyAreCut) {
  const std::string text = "aé€𝄞z";
  for (size_t cut = 0; cut <= text.size(); ++cut) {
    Utf8Stream stream;
    const std::string first = stream.push(text.substr(0, cut));
    const std::string second = stream.push(text.substr(cut));
    EXPECT_EQ(first + second + stream.flush(), text) << cut;
    EXPECT_EQ(valid_utf8(first), first);
  }
  EXPECT_EQ(utf8_length(text), 5u);
}

TEST(Utf8Stream, WhatCanNeverBeACharacterIsReplacedAtOnce) {
  const std::string r = "\xEF\xBF\xBD";
  EXPECT_EQ(valid_utf8("\xFF\xFE"), r + r);
  EXPECT_EQ(valid_utf8("\xC0\xAF"), r + r) << "overlong";
  EXPECT_EQ(valid_utf8("\xED\xA0\x80"), r + r + r) << "a surrogate";
  EXPECT_EQ(valid_utf8("\xF4\x90\x80\x80"), r + r + r + r) << "above U+10FFFF";
  EXPECT_EQ(valid_utf8("\xE2\x82"
                       "a"),
            r + "a");
  EXPECT_EQ(valid_utf8("\xE2\xE2\x82\xAC"), r + "€");
  EXPECT_EQ(valid_utf8("\xF0\x9D"), r);
  Utf8Stream stream;
  EXPECT_EQ(stream.push("\xE2\x82"), "");
  EXPECT_EQ(stream.push("\xFF"), r + r) << "held back until it cannot become one";
}

TEST(Logprobs, OffsetsAreCharactersOfTheReply) {
  std::vector<TokenInfo> tokens;
  for (const int32_t byte : std::initializer_list<int32_t>{'a', 0xC3, 0xA9, 0xE2, 'b', kEos}) {
    TokenInfo info;
    info.token = byte;
    info.logprob = -1;
    tokens.push_back(info);
  }
  const Reply piece = CompletionLogprobs(3).piece(tokens, true);
  EXPECT_EQ(piece["tokens"],
            (Reply{"a", "bytes:\\xc3", "bytes:\\xa9", "bytes:\\xe2", "b", "<|eos|>"}));
  EXPECT_EQ(piece["text_offset"], (Reply{3, 4, 4, 5, 6, 7}));
  EXPECT_TRUE(piece["token_logprobs"][0].is_null());
  EXPECT_TRUE(piece["top_logprobs"][0].is_null());
  EXPECT_EQ(piece["top_logprobs"][4], (Reply{{"b", -1.0}}));
}

TEST(RunLogs, ShowWholeRowsOfTheRunsThatWereNamed) {
  const TempDir dir;
  put(dir / "train_log.csv", "step,loss\n1,2\n2,1\n3,");
  const RunLogs logs({dir.path()});
  EXPECT_EQ(logs.log("/runs/0/log"), "step,loss\n1,2\n2,1\n");
  EXPECT_EQ(logs.list()["runs"][0]["log"], "/runs/0/log");
  for (const char* address : {"/runs/1/log", "/runs/0", "/runs/../train_log.csv", "/runs/00/log"})
    EXPECT_HOLDS(message_of<ApiError>([&] { logs.log(address); }), "no such run");
}

TEST(RunLogs, ThinALongLogButKeepScoresAndTheEnd) {
  const TempDir dir;
  const RunLogs logs({dir.path()});
  std::string rows = "step,holdout_bpb,loss\n";
  for (int i = 0; i < 200000; ++i) rows += format("{},{},1.00000\n", i, i % 1000 == 7 ? "2.5" : "");
  put(dir / "train_log.csv", rows + "200000,,1.0");
  std::istringstream thinned(logs.log("/runs/0/log"));
  EXPECT_LT(thinned.str().size(), (size_t{1} << 20) + 200 * 20);
  std::string row, last;
  std::getline(thinned, row);
  EXPECT_EQ(row, "step,holdout_bpb,loss");
  int scores = 0, count = 0, step = -1;
  for (; std::getline(thinned, row); last = row, ++count) {
    scores += row.find(",2.5,") != row.npos;
    EXPECT_LE(std::stoi(row) - step, 4) << "no part of the run is left out";
    step = std::stoi(row);
  }
  EXPECT_EQ(scores, 200);
  EXPECT_GT(count, 50000);
  EXPECT_EQ(last, "199999,,1.00000");
}

TEST(Router, KeysAreEqualOnlyWhenTheyAre) {
  EXPECT_TRUE(equal_in_constant_time("secret", "secret"));
  for (const char* other : {"", "s", "secreT", "secretsecret", "secret "})
    EXPECT_FALSE(equal_in_constant_time(other, "secret")) << other;
}

}  // namespace
}  // namespace axl
