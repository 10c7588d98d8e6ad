#include "cli/command.h"

namespace axl {

// A new subcommand is a file cmd_<name>.cc, its setup function here and a line in the table.
Action setup_train(CLI::App& app, Globals& globals);
Action setup_distill(CLI::App& app, Globals& globals);
Action setup_generate(CLI::App& app, Globals& globals);
Action setup_eval_ppl(CLI::App& app, Globals& globals);
Action setup_compress(CLI::App& app, Globals& globals);
Action setup_decompress(CLI::App& app, Globals& globals);
Action setup_info(CLI::App& app, Globals& globals);
Action setup_quantize(CLI::App& app, Globals& globals);
Action setup_export_gguf(CLI::App& app, Globals& globals);
Action setup_export_safetensors(CLI::App& app, Globals& globals);
Action setup_import(CLI::App& app, Globals& globals);
Action setup_serve(CLI::App& app, Globals& globals);
Action setup_bench(CLI::App& app, Globals& globals);
Action setup_plot(CLI::App& app, Globals& globals);
Action setup_tune(CLI::App& app, Globals& globals);

namespace {
constexpr Command kCommands[] = {
    {"train", "trains a model on your files", setup_train},
    {"distill", "trains a model on your files and on what another model predicts for them",
     setup_distill},
    {"generate", "continues a text", setup_generate},
    {"serve", "answers editors and libraries: a local completion server", setup_serve},
    {"eval-ppl", "scores files: bits per byte and perplexity", setup_eval_ppl},
    {"compress", "makes a file smaller by the model's predictions, without loss", setup_compress},
    {"decompress", "restores what compress wrote", setup_decompress},
    {"info", "dimensions, size and cost of a model or configuration", setup_info},
    {"quantize", "writes a model in 16, 8 or about 5 bits per weight, for fast generation",
     setup_quantize},
    {"export-gguf", "writes the fine head as a GGUF file for llama.cpp and Ollama",
     setup_export_gguf},
    {"export-safetensors", "writes a model for PyTorch, or its fine head for transformers",
     setup_export_safetensors},
    {"import", "makes a model directory of what export-safetensors, PyTorch or quantize wrote",
     setup_import},
    {"bench", "measures training, generating and products against this machine's ceiling",
     setup_bench},
    {"tune", "finds the learning rate for your files within a time budget", setup_tune},
    {"plot", "draws loss, held-out score and gate weights of training runs", setup_plot},
};
}  // namespace

std::span<const Command> commands() { return kCommands; }

}  // namespace axl
