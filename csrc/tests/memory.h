// Memory of exactly its stated size, which starts as NaN.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstring>
#include <new>
#include <utility>

namespace srn {
namespace test {

constexpr unsigned char kUnwritten = 0xff;  // NaN in every type, whatever the order of its bytes

// What detects an access past the end. On the heap it is AddressSanitizer, at both ends, but only for accesses that the
// compiler itself makes: not for assembly, which GCC's headers use for AMX's loads, nor for masked loads. A protected
// page stops every access, in every build; what ends there is only aligned as its elements are, which is all that is
// promised.
enum class Guard { kHeap, kPage };

class Memory {
 public:
  Memory() = default;

  Memory(size_t size, Guard guard, size_t alignment = alignof(std::max_align_t))
      : size_(size), guard_(guard), alignment_(std::align_val_t(alignment)) {
    if (guard == Guard::kHeap) {
      data_ = static_cast<unsigned char*>(::operator new(size, alignment_));
    } else {
      const size_t page = page_size(), pages = whole_pages();
      void* mapped = mmap(nullptr, pages + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      if (mapped == MAP_FAILED) throw std::bad_alloc();
      unsigned char* end = static_cast<unsigned char*>(mapped) + pages;
      if (mprotect(end, page, PROT_NONE) != 0) throw std::bad_alloc();
      data_ = end - size;
    }
    memset(data_, kUnwritten, size);
  }

  Memory(Memory&& other) noexcept { *this = std::move(other); }
  Memory& operator=(Memory&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(guard_, other.guard_);
    std::swap(alignment_, other.alignment_);
    return *this;
  }

  ~Memory() {
    if (data_ == nullptr) return;
    if (guard_ == Guard::kHeap) {
      ::operator delete(data_, alignment_);
    } else {
      munmap(data_ + size_ - whole_pages(), whole_pages() + page_size());
    }
  }

  unsigned char* get() const { return data_; }

 private:
  static size_t page_size() { return size_t(sysconf(_SC_PAGESIZE)); }
  size_t whole_pages() const { return (size_ + page_size() - 1) / page_size() * page_size(); }

  unsigned char* data_ = nullptr;
  size_t size_ = 0;
  Guard guard_ = Guard::kHeap;
  std::align_val_t alignment_ = std::align_val_t(alignof(std::max_align_t));
};

}  // namespace test
}  // namespace srn
