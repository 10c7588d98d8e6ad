// What a server does with requests that are wrong, clients that go, and its own end.

#include <gtest/gtest.h>

#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <thread>

#include "axl/base/error.h"
#include "serve/connection.h"
#include "serve_testing.h"

namespace axl {
namespace {

using namespace std::chrono_literals;

class ServeRobustness : public ServedTest {};

/// Whether the body is OpenAI's error object, all four of its keys.
testing::AssertionResult is_error(const std::string& body) {
  const json reply = json::parse(body, nullptr, false);
  if (!reply.is_object() || !reply.contains("error")) return testing::AssertionFailure() << body;
  for (const char* key : {"message", "type", "param", "code"})
    if (!reply["error"].contains(key)) return testing::AssertionFailure() << key << ": " << body;
  return testing::AssertionSuccess();
}

std::string body_of(const std::string& response) {
  return response.substr(std::min(response.size(), response.find("\r\n\r\n") + 4));
}

/// Two ends of a connection: the server's, impatient, and a client's.
struct SlowClient {
  int ends[2];
  ConnectionTimes times{.idle = 200ms, .receive = 200ms, .stall = 200ms, .whole = 60s};
  std::atomic<bool> stopping{false};
  SlowClient() { EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0); }
  ~SlowClient() { close(ends[0]), close(ends[1]); }
  void send(std::string_view text) {
    EXPECT_EQ(::send(ends[1], text.data(), text.size(), 0), ssize_t(text.size()));
  }
};

TEST(SlowClients, AHeadThatDoesNotEndIsGivenUp) {
  SlowClient client;
  Connection connection(client.ends[0], client.times);
  client.send("POST /v1/completions HTTP/1.1\r\nHost: a\r\n");
  EXPECT_EQ(connection.read_head(client.stopping), Connection::Head::kTooSlow);
}

TEST(SlowClients, SendingABodyByteByByteGainsNoTime) {
  SlowClient client;
  Connection connection(client.ends[0], client.times);
  client.send("POST / HTTP/1.1\r\n\r\n");
  ASSERT_EQ(connection.read_head(client.stopping), Connection::Head::kReady);
  std::thread drip([&] {
    while (::send(client.ends[1], "x", 1, MSG_NOSIGNAL) == 1) std::this_thread::sleep_for(20ms);
  });
  char byte;
  int64_t bytes = 0;
  while (connection.read(&byte, 1) == 1) ++bytes;  // ends, or the test does not
  shutdown(client.ends[0], SHUT_RDWR);
  drip.join();
  EXPECT_GT(bytes, 0);
}

TEST(SlowClients, WhoReadsNothingIsGivenUp) {
  SlowClient client;
  Connection connection(client.ends[0], client.times);
  client.send("GET / HTTP/1.1\r\n\r\n");
  ASSERT_EQ(connection.read_head(client.stopping), Connection::Head::kReady);
  const std::string answer(1 << 16, 'a');
  int64_t written = 0;
  while (true) {  // ends, or the test does not
    const ssize_t n = connection.write(answer.data(), answer.size());
    if (n < 0) break;
    written += n;
  }
  EXPECT_GT(written, 0);
}

TEST(SlowClients, AnIdleConnectionIsClosed) {
  SlowClient client;
  Connection connection(client.ends[0], client.times);
  EXPECT_EQ(connection.read_head(client.stopping), Connection::Head::kClosed);
}

TEST_F(ServeRobustness, EveryBadRequestGetsItsStatusAndAnErrorObject) {
  const std::string deep = "{\"prompt\":" + std::string(30000, '[') + std::string(30000, ']') + "}";
  struct Case {
    const char *method, *path;
    std::string body;
    int status;
  };
  const Case cases[] = {
      {"POST", "/v1/completions", "", 400},
      {"POST", "/v1/completions", "nonsense", 400},
      {"POST", "/v1/completions", "[1]", 400},
      {"POST", "/v1/completions", deep, 400},
      {"POST", "/v1/completions", "{\"prompt\":\"\xC3\"}", 400},
      {"POST", "/v1/completions", "{\"prompt\":\"a\",\"n\":1e400}", 400},
      {"POST", "/v1/completions", "{\"prompt\":\"a\",\"temperature\":NaN}", 400},
      {"POST", "/v1/completions", "{\"prompt\":\"a\",\"prompt\":\"b\"}", 400},
      {"POST", "/v1/completions", "{\"prompt\":\"a\",\"nonsense\":1}", 400},
      {"POST", "/v1/completions", "{\"prompt\":\"a\",\"max_tokens\":1099511627776}", 400},
      {"POST", "/v1/completions", "{\"prompt\":\"a\",\"n\":100}", 400},
      {"POST", "/v1/completions", "{\"prompt\":\"" + std::string(9000, 'x') + "\"}", 400},
      {"POST", "/v1/completions", "{\"prompt\":\"" + std::string(70000, 'x') + "\"}", 413},
      {"POST", "/v1/completions", "{\"prompt\":\"a\",\"model\":\"gone\"}", 404},
      {"POST", "/v1/chat/completions", "{\"messages\":[{}]}", 400},
      {"POST", "/v1/embeddings", "{\"input\":\"a\"}", 404},
      {"POST", "/infill", "{}", 400},
      {"POST", "/tokenize", "{}", 400},
      {"POST", "/detokenize", "{\"tokens\":[300]}", 400},
      {"POST", "/score", "{\"text\":5}", 400},
      {"GET", "/v1/completions", "", 405},
      {"DELETE", "/v1/models", "", 405},
      {"PUT", "/v1/models/tiny", "x", 405},
      {"GET", "/../../etc/passwd", "", 404},
      {"GET", "/runs/../../etc/passwd", "", 404},
      {"GET", "/%00", "", 404},
      {"GET", "/v1/models/%2e%2e%2f%0a", "", 404},
      {"TRACE", "/health", "", 405},
  };
  for (const Case& c : cases) {
    httplib::Request request;
    request.method = c.method;
    request.path = c.path;
    request.body = c.body;
    request.set_header("Content-Type", "application/json");
    const httplib::Result r = served().client().send(request);
    ASSERT_TRUE(r) << c.method << " " << c.path;
    EXPECT_EQ(r->status, c.status) << c.path << " " << c.body.substr(0, 60) << ": " << r->body;
    EXPECT_TRUE(is_error(r->body)) << c.path;
  }
  EXPECT_EQ(served().client().Get("/health")->status, 200);
}

TEST_F(ServeRobustness, WhatIsNotQuiteHttpIsAnsweredAndTheConnectionClosed) {
  const std::string head = "POST /v1/completions HTTP/1.1\r\nHost: x\r\n";
  const std::pair<std::string, int> cases[] = {
      {"nonsense\r\n\r\n", 400},
      {"GET / HTTP/9.9\r\n\r\n", 400},
      {"GET /" + std::string(20000, 'a') + " HTTP/1.1\r\n\r\n", 414},
      {"GET /" + std::string(8000, 'a') + " HTTP/1.1\r\nConnection: close\r\n\r\n", 404},
      {"GET /health HTTP/1.1\r\nX: " + std::string(60000, 'a') + "\r\n\r\n", 431},
      {"GET /health HTTP/1.1\r\n" + std::string(40000, 'a'), 431},
      {head + "Content-Length: many\r\n\r\n", 400},
      {head + "Content-Length: -1\r\n\r\n", 400},
      {head + "Content-Length: 99999999999999999999\r\n\r\n", 413},
      {head + "Content-Length: 1000000000\r\n\r\n", 413},
      {head + "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", 400},
      {head + "Transfer-Encoding: chunked\r\n\r\n20000\r\n" + std::string(0x20000, ' ') +
           "\r\n0\r\n\r\n",
       413},
      {head + "Transfer-Encoding: chunked\r\n\r\nnonsense\r\n\r\n", 400},
      {head + "Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 2\r\n\r\n{}", 415},
      {"GET /health HTTP/1.1\r\nConnection: close\r\nRange: bytes=" + std::string(7000, '0') +
           "-\r\n\r\n",
       200},
  };
  for (const auto& [bytes, status] : cases) {
    RawConnection connection(served().server().port());
    connection.send(bytes);
    const std::string response = connection.receive();
    EXPECT_EQ(response.substr(0, 13), "HTTP/1.1 " + std::to_string(status) + " ")
        << bytes.substr(0, 100) << " … " << response.substr(0, 300);
    EXPECT_TRUE(status == 200 || is_error(body_of(response))) << bytes.substr(0, 100);
  }
}

TEST_F(ServeRobustness, UnreadBodyIsNotTakenForTheNextRequest) {
  RawConnection connection(served().server().port());
  connection.send(
      "PUT /health HTTP/1.1\r\nContent-Length: 43\r\n\r\n"
      "GET /health HTTP/1.1\r\nX-Smuggled: yes!!\r\n\r\n");
  const std::string all = connection.receive();
  EXPECT_HOLDS(all, " 405 ");
  EXPECT_EQ(all.find(" 200 "), all.npos);
}

TEST_F(ServeRobustness, RequestsThatComeTogetherAreAnsweredInTurn) {
  RawConnection connection(served().server().port());
  connection.send(raw_post("/tokenize", "{\"content\":\"a\"}") +
                  raw_post("/tokenize", "{\"content\":\"b\"}"));
  EXPECT_HOLDS(connection.receive("[98]"), "[97]");
}

TEST_F(ServeRobustness, WorkEndsWhenTheClientGoes) {
  for (const bool stream : {true, false}) {
    RawConnection connection(served().server().port());
    connection.send(raw_post("/v1/completions", endless(stream).dump()));
    ASSERT_TRUE(served().eventually_running(1)) << stream;
    connection.close();
    EXPECT_TRUE(served().eventually_running(0)) << stream;
  }
}

TEST(ServeLimits, FullQueueIsToldAndFreeAgainLater) {
  ServerOptions options = TestServer::small_options();
  options.engine = {.sequences = 1, .queue = 1};
  TestServer server(options);
  RawConnection first(server.server().port()), second(server.server().port());
  first.send(raw_post("/v1/completions", endless(true).dump()));
  ASSERT_TRUE(server.eventually_running(1));
  second.send(raw_post("/v1/completions", endless(true).dump()));
  ASSERT_TRUE(
      TestServer::eventually([&] { return server.metric("axl_waiting{model=\"tiny\"}") == 1; }));
  const json small = {{"model", "tiny"}, {"prompt", "x"}, {"max_tokens", 1}};
  const httplib::Result r = server.post("/v1/completions", small);
  EXPECT_EQ(r->status, 429);
  EXPECT_TRUE(is_error(r->body));
  EXPECT_FALSE(r->get_header_value("Retry-After").empty());
  first.close();
  second.close();
  EXPECT_TRUE(
      TestServer::eventually([&] { return server.post("/v1/completions", small)->status == 200; }));
}

TEST(ServeLimits, ConnectionsBeyondTheirNumberAreRefused) {
  ServerOptions options = TestServer::small_options();
  options.connections = 2;
  TestServer server(options);
  RawConnection first(server.server().port()), second(server.server().port());
  for (RawConnection* c : {&first, &second}) {
    c->send("GET /health HTTP/1.1\r\n\r\n");
    EXPECT_HOLDS(c->receive("}"), " 200 ");
  }
  RawConnection third(server.server().port());
  const std::string refusal = third.receive();
  EXPECT_HOLDS(refusal, " 503 ");
  EXPECT_TRUE(is_error(body_of(refusal)));
  first.close();
  EXPECT_TRUE(TestServer::eventually([&] {
    const httplib::Result r = server.client().Get("/health");
    return r && r->status == 200;
  }));
}

TEST(ServeLimits, TimeOfARequestIsBounded) {
  ServerOptions options = TestServer::small_options();
  options.timeout = std::chrono::milliseconds(300);
  const TestServer server(options);
  const httplib::Result whole = server.post("/v1/completions", endless(false));
  EXPECT_EQ(whole->status, 504);
  EXPECT_TRUE(is_error(whole->body));
  const httplib::Result stream = server.post("/v1/completions", endless(true));
  const std::vector<std::string> events = events_of(stream->body);
  EXPECT_EQ(events.back(), "[DONE]");
  EXPECT_TRUE(is_error(events[events.size() - 2])) << "an error in mid-stream is an event";
  const json cut = server.reply(
      "/completion",
      {{"prompt", "x"}, {"n_predict", 1 << 30}, {"temperature", 0}, {"t_max_predict_ms", 50}});
  EXPECT_EQ(cut["stop_type"], "limit")
      << "of llama-server's own limit the text so far is the answer";
}

TEST(ServeSafety, KeyOpensEverythingButHealth) {
  ServerOptions options = TestServer::small_options();
  options.api_key = "secret";
  const TestServer server(options);
  httplib::Client client = server.client();
  EXPECT_EQ(client.Get("/health")->status, 200);
  for (const char* path : {"/v1/models", "/metrics", "/runs", "/props"}) {
    const httplib::Result r = client.Get(path);
    EXPECT_EQ(r->status, 401) << path;
    EXPECT_TRUE(is_error(r->body));
    EXPECT_EQ(client.Get(path, {{"Authorization", "Bearer secre"}})->status, 401) << path;
    EXPECT_EQ(client.Get(path, {{"Authorization", "secret"}})->status, 401) << path;
    EXPECT_EQ(client.Get(path, {{"Authorization", "Bearer secret"}})->status, 200) << path;
  }
  EXPECT_EQ(client.Post("/v1/completions", "{}", "application/json")->status, 401);
}

TEST(ServeSafety, PagesOfOtherOriginsNeedPermission) {
  TestServer closed;
  const std::string own = "http://127.0.0.1:" + std::to_string(closed.server().port());
  httplib::Client client = closed.client();
  EXPECT_EQ(client.Get("/v1/models", {{"Origin", "https://other.example"}})->status, 403);
  EXPECT_EQ(client.Get("/v1/models", {{"Origin", "null"}})->status, 403);
  EXPECT_EQ(client.Get("/v1/models", {{"Origin", own}})->status, 200);

  ServerOptions options = TestServer::small_options();
  options.cors_origin = "https://editor.example";
  const TestServer server(options);
  const httplib::Headers headers = {
      {"Origin", "https://editor.example"},
      {"Access-Control-Request-Method", "POST"},
      {"Access-Control-Request-Headers", "authorization,x-stainless-os"}};
  const httplib::Result r = server.client().Options("/v1/completions", headers);
  EXPECT_EQ(r->status, 204);
  EXPECT_EQ(r->get_header_value("Access-Control-Allow-Origin"), "https://editor.example");
  EXPECT_EQ(r->get_header_value("Access-Control-Allow-Headers"), "authorization,x-stainless-os");
  EXPECT_EQ(
      server.client().Get("/v1/models", headers)->get_header_value("Access-Control-Allow-Origin"),
      "https://editor.example");
  EXPECT_EQ(server.client().Get("/v1/models", {{"Origin", "https://other.example"}})->status, 403);
}

TEST(ServeSafety, OtherMachinesAreServedOnlyWithAKeyOrWhenThatIsMeant) {
  const TempDir dir;
  ServerOptions options = TestServer::small_options();
  options.port = 0;
  options.models = {{"tiny", save_tiny_model(dir / "m", 1)}};
  for (const char* host : {"0.0.0.0", "::", ""}) {
    options.host = host;
    EXPECT_HOLDS(message_of<UsageError>([&] { Server server(options); }), "--insecure");
  }
  options.host = "0.0.0.0";
  options.api_key = "k";
  EXPECT_GT(Server(options).port(), 0);
  options.host = "localhost";
  options.api_key = "";
  EXPECT_GT(Server(options).port(), 0);
}

TEST(ServeSafety, TwoServersDoNotShareAPort) {
  const TempDir dir;
  ServerOptions options = TestServer::small_options();
  options.port = 0;
  options.models = {{"tiny", save_tiny_model(dir / "m", 1)}};
  Server first(options);
  options.port = first.port();
  EXPECT_HOLDS(message_of<Error>([&] { Server second(options); }), "in use");
  options.models.push_back(options.models[0]);
  EXPECT_HOLDS(message_of<UsageError>([&] { Server twice(options); }), "tiny");
}

TEST(ServeSafety, OnlyTheNamedRunsAreShown) {
  const TempDir dir;
  std::filesystem::create_directories(dir / "run");
  put(dir / "run" / "train_log.csv", "step\n1\n");
  put(dir / "secret.csv", "secret\n");
  ServerOptions options = TestServer::small_options();
  options.runs = {dir / "run"};
  const TestServer server(options);
  httplib::Client client = server.client();
  EXPECT_EQ(json::parse(client.Get("/runs")->body)["runs"][0]["name"], "run");
  EXPECT_EQ(client.Get("/runs/0/log")->body, "step\n1\n");
  put(dir / "run" / "train_log.csv", "step\n1\n2\n");
  EXPECT_EQ(client.Get("/runs/0/log")->body, "step\n1\n2\n") << "read anew";
  for (const char* path : {"/runs/1/log", "/runs/0/../../secret.csv", "/runs/..%2fsecret.csv"})
    EXPECT_EQ(client.Get(path)->status, 404) << path;
}

TEST(ServeEnd, DrainingFinishesWhatRunsAndTakesNothingNew) {
  TestServer server;
  json body = endless(true);
  body["max_tokens"] = 20000;
  RawConnection running(server.server().port());
  running.send(raw_post("/v1/completions", body.dump()));
  ASSERT_TRUE(server.eventually_running(1));
  EXPECT_TRUE(server.server().drain(std::chrono::minutes(1)));
  const std::string all = running.receive();
  EXPECT_HOLDS(all, "\"finish_reason\":\"length\"");
  EXPECT_HOLDS(all, "data: [DONE]");
  EXPECT_TRUE(all.ends_with("0\r\n\r\n")) << "the last chunk";
  EXPECT_FALSE(RawConnection(server.server().port()).connected());
}

TEST(ServeEnd, WhatTakesTooLongIsCutWithAnError) {
  TestServer server;
  RawConnection running(server.server().port());
  running.send(raw_post("/v1/completions", endless(true).dump()));
  ASSERT_TRUE(server.eventually_running(1));
  EXPECT_FALSE(server.server().drain(std::chrono::milliseconds(1)));
  EXPECT_HOLDS(running.receive(), "server_stopping");
}

}  // namespace
}  // namespace axl
