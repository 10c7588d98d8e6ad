#include "axl/base/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "axl/base/error.h"
#include "axl/base/format.h"

namespace axl {
namespace {

namespace fs = std::filesystem;

constexpr size_t kWriteBlock = size_t{1} << 20;

/// Throws the reason of the failed system call, which errno still holds.
[[noreturn]] void fail_with_errno(const fs::path& path, const char* what) {
  const int reason = errno;
  throw Error(format("{}: cannot {}: {}", path.string(), what, std::strerror(reason)));
}

/// Closes a descriptor at the end of a scope.
class Descriptor {
 public:
  Descriptor(const fs::path& path, int flags, const char* what)
      : fd_(open(path.c_str(), flags | O_CLOEXEC)) {
    if (fd_ < 0) fail_with_errno(path, what);
  }
  ~Descriptor() { close(fd_); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  operator int() const { return fd_; }

 private:
  int fd_;
};

/// Repeats a system call that a signal interrupted.
template <class Call>
ssize_t retry(const Call& call) {
  ssize_t result;
  do {
    result = call();
  } while (result < 0 && errno == EINTR);
  return result;
}

/// Gives all of `text` to put(data, size), which may take less. False with errno set on failure.
template <class Put>
bool put_all(std::string_view text, const Put& put) {
  while (!text.empty()) {
    const ssize_t taken = retry([&] { return put(text.data(), text.size()); });
    if (taken < 0) return false;
    text.remove_prefix(static_cast<size_t>(taken));
  }
  return true;
}

fs::path beside(const fs::path& path) { return path.string() + format(".tmp.{}", getpid()); }

fs::path directory_of(const fs::path& path) {
  return path.has_parent_path() ? path.parent_path() : fs::path(".");
}

/// Removes the temporaries of `path` that killed processes have left: as large as the file itself,
/// they would fill the disk. Those of a process that still runs stay.
void remove_abandoned_temporaries(const fs::path& path) {
  const std::string prefix = path.filename().string() + ".tmp.";
  std::error_code unreadable;  // then there is nothing to remove
  for (fs::directory_iterator entry(directory_of(path), unreadable), end; entry != end;
       entry.increment(unreadable)) {
    const std::string name = entry->path().filename().string();
    if (!name.starts_with(prefix)) continue;
    pid_t owner = 0;
    const char* name_end = name.data() + name.size();
    const auto [rest, error] = std::from_chars(name.data() + prefix.size(), name_end, owner);
    if (error != std::errc() || rest != name_end || owner <= 0) continue;
    if (kill(owner, 0) != 0 && errno == ESRCH) unlink(entry->path().c_str());
  }
}

/// A rename survives a power cut only once the directory itself is on disk.
void sync_directory(const fs::path& dir) {
  const Descriptor fd(dir, O_RDONLY | O_DIRECTORY, "open the directory");
  // Some file systems cannot sync a directory and say EINVAL; there is nothing more to be done.
  if (fsync(fd) != 0 && errno != EINVAL) fail_with_errno(dir, "sync the directory");
}

}  // namespace

MappedFile::MappedFile(const fs::path& path) {
  // Without O_NONBLOCK, opening a FIFO would wait for a writer.
  const Descriptor fd(path, O_RDONLY | O_NONBLOCK, "open");
  struct stat info;
  if (fstat(fd, &info) != 0) fail_with_errno(path, "examine");
  if (S_ISDIR(info.st_mode)) throw Error(path.string() + ": is a directory; a file is needed");
  if (!S_ISREG(info.st_mode)) throw Error(path.string() + ": is not a regular file");
  if (info.st_size == 0) return;
  const auto size = static_cast<size_t>(info.st_size);
  void* data = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0);
  if (data == MAP_FAILED) fail_with_errno(path, "map into memory");
  data_ = static_cast<const char*>(data);
  size_ = size;
}

MappedFile::~MappedFile() {
  if (data_) munmap(const_cast<char*>(data_), size_);
}

// Safe, since a mapping that is never written to has no pages of its own.
void MappedFile::forget_pages() const {
  if (data_) madvise(const_cast<char*>(data_), size_, MADV_DONTNEED);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

AtomicFile::AtomicFile(fs::path path) : path_(std::move(path)) {
  std::error_code ignored;
  if (fs::is_symlink(path_, ignored)) {
    const fs::path real = fs::weakly_canonical(path_, ignored);
    if (!ignored) path_ = real;
  }
  // The rename would replace a device or a directory by a file.
  if (fs::exists(path_, ignored) && !fs::is_regular_file(path_, ignored)) {
    throw Error(path_.string() + ": exists and is not a regular file; choose another name");
  }
  remove_abandoned_temporaries(path_);
  temporary_ = beside(path_);
  fd_ = open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0666);
  if (fd_ < 0) fail("create");
}

AtomicFile::~AtomicFile() {
  if (fd_ >= 0) close(fd_);
  if (!temporary_.empty()) unlink(temporary_.c_str());
}

void AtomicFile::write(const void* data, size_t bytes) {
  AXL_CHECK(fd_ >= 0);
  const std::string_view text(static_cast<const char*>(data), bytes);
  if (pending_.size() + bytes < kWriteBlock) {
    pending_ += text;
    return;
  }
  flush();
  if (!put_all(text, [&](const char* p, size_t n) { return ::write(fd_, p, n); })) fail("write");
}

void AtomicFile::write_at(uint64_t offset, std::string_view text) {
  AXL_CHECK(fd_ >= 0);
  flush();
  auto place = static_cast<off_t>(offset);
  const bool done = put_all(text, [&](const char* p, size_t n) {
    const ssize_t taken = pwrite(fd_, p, n, place);
    if (taken > 0) place += taken;
    return taken;
  });
  if (!done) fail("write");
}

void AtomicFile::commit() {
  AXL_CHECK(fd_ >= 0);
  flush();
  if (retry([&] { return fsync(fd_); }) != 0) fail("write to the disk");
  if (close(std::exchange(fd_, -1)) != 0) fail("close");
  if (std::rename(temporary_.c_str(), path_.c_str()) != 0) fail("rename the temporary to");
  temporary_.clear();
  sync_directory(directory_of(path_));
}

void AtomicFile::flush() {
  const bool done = put_all(pending_, [&](const char* p, size_t n) { return ::write(fd_, p, n); });
  if (!done) fail("write");
  pending_.clear();
}

void AtomicFile::fail(const char* what) const {
  const int reason = errno;
  std::error_code ignored;
  const bool old = fs::exists(path_, ignored);
  const bool full = reason == ENOSPC || reason == EDQUOT || reason == EFBIG;
  throw Error(format("{}: cannot {}: {}; {}{}", path_.string(), what, std::strerror(reason),
                     old ? "the old file is untouched" : "no file was left",
                     full ? ". Free some space or write elsewhere" : ""));
}

TemporaryDirectory::TemporaryDirectory() {
  std::error_code error;
  const fs::path parent = fs::temp_directory_path(error);
  std::string name = ((error ? fs::path("/tmp") : parent) / "axl.XXXXXX").string();
  if (!mkdtemp(name.data()))
    throw Error(
        format("{}: cannot create a temporary directory: {}; $TMPDIR may name another place", name,
               std::strerror(errno)));
  path_ = name;
}

TemporaryDirectory::~TemporaryDirectory() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

std::string read_text(const fs::path& path) {
  const Descriptor fd(path, O_RDONLY, "open");
  std::string text;
  for (;;) {  // to the end, not to a size: pipes and /proc have none
    const size_t had = text.size();
    text.resize(std::max<size_t>(2 * had, 1 << 16));
    const ssize_t got = retry([&] { return read(fd, text.data() + had, text.size() - had); });
    if (got < 0) fail_with_errno(path, "read");
    text.resize(had + static_cast<size_t>(got));
    if (got == 0) return text;
  }
}

void write_text(const fs::path& path, std::string_view text) {
  AtomicFile file(path);
  file.write(text);
  file.commit();
}

void make_writable_directory(const fs::path& dir) {
  std::error_code code;
  fs::create_directories(dir, code);
  if (code)
    throw Error(format("{}: cannot create the directory: {}", dir.string(), code.message()));
  if (!fs::is_directory(dir, code)) throw Error(dir.string() + ": exists and is not a directory");
  const fs::path probe = beside(dir / ".writable");
  const int fd = open(probe.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
  if (fd < 0) fail_with_errno(dir, "write into the directory");
  close(fd);
  unlink(probe.c_str());
}

void replace_symlink(const fs::path& target, const fs::path& link) {
  const fs::path temporary = beside(link);
  unlink(temporary.c_str());
  if (symlink(target.c_str(), temporary.c_str()) != 0) fail_with_errno(link, "create the link");
  if (std::rename(temporary.c_str(), link.c_str()) == 0) return;
  const int reason = errno;
  unlink(temporary.c_str());
  errno = reason;
  fail_with_errno(link, "replace the link");
}

}  // namespace axl
