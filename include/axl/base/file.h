#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

namespace axl {

/// A whole file mapped read-only. Move-only. Throws Error, with the reason of the system, when the
/// path is not a readable regular file. An empty file is an empty view.
class MappedFile {
 public:
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;

  std::string_view bytes() const { return {data_, size_}; }
  /// The process no longer counts what it has read so far as its memory; reading it again maps it
  /// again.
  void forget_pages() const;

 private:
  const char* data_ = nullptr;
  size_t size_ = 0;
};

/// Writes a file whole or not at all: into `path`.tmp.<pid>, then fsync, rename, fsync of the
/// directory. Without commit() the destructor removes the temporary and `path` is untouched. What a
/// killed process left of an earlier attempt is removed first.
/// A symbolic link is followed; anything else that is no regular file (/dev/null) is refused.
/// Throws Error (no space, no permission …) naming the path.
class AtomicFile {
 public:
  explicit AtomicFile(std::filesystem::path path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(const void* data, size_t bytes);
  void write(std::string_view text) { write(text.data(), text.size()); }
  /// Overwrites bytes already written, as for a checksum in a header.
  void write_at(uint64_t offset, std::string_view text);
  void commit();

 private:
  void flush();
  [[noreturn]] void fail(const char* what) const;

  std::filesystem::path path_, temporary_;
  int fd_ = -1;
  std::string pending_;  ///< accepted by write(), not yet given to the system
};

/// A new directory in $TMPDIR, else /tmp, removed at the end of the scope with all it holds.
class TemporaryDirectory {
 public:
  /// Throws Error.
  TemporaryDirectory();
  ~TemporaryDirectory();
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;

  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

/// The whole text of a file. Throws Error.
std::string read_text(const std::filesystem::path& path);
/// Replaces a file by `text`, atomically. Throws Error.
void write_text(const std::filesystem::path& path, std::string_view text);
/// Creates `dir` and its parents and proves, by writing and removing a file, that it is writable.
void make_writable_directory(const std::filesystem::path& dir);
/// Makes `link` a symbolic link to `target`, replacing an older link atomically.
void replace_symlink(const std::filesystem::path& target, const std::filesystem::path& link);

}  // namespace axl
