#pragma once

#include "world_layout.hpp"

#include <creel/comm/operation.hpp>
#include <creel/runtime/unique_fd.hpp>

#include <cstddef>

namespace creel::comm::detail {

/// What a rank last published, read consistently.
struct RankSnapshot {
  bool active = false;
  Operation operation;  ///< label empty: see label
  std::string label;
  int waiting_for = -1;
  int pid = 0;
};

/// The mapped memory of a World and typed access to its parts. Not copied: World and Transport share one.
class SharedSegment {
 public:
  /// Allocates and seals the memory. Throws IoError naming needed and present bytes.
  static SharedSegment* create(const WorldGeometry& geometry);
  /// Maps the memory behind `fd`. Throws Error if it is none of ours.
  static SharedSegment* attach(UniqueFd fd);

  ~SharedSegment();
  SharedSegment(const SharedSegment&) = delete;
  SharedSegment& operator=(const SharedSegment&) = delete;

  int fd() const noexcept { return fd_.get(); }
  const WorldGeometry& geometry() const noexcept { return geometry_; }
  int ranks() const noexcept { return static_cast<int>(geometry_.ranks); }

  WorldHeader& header() const noexcept { return *at<WorldHeader>(0); }
  RankBlock& rank(int r) const noexcept { return at<RankBlock>(geometry_.ranks_offset())[r]; }
  Receipt& receipt(int sender, int receiver) const noexcept {
    return at<Receipt>(geometry_.receipts_offset())[geometry_.pair(sender, receiver)];
  }
  /// The first of `depth` slots.
  MessageHeader* headers(int sender, int receiver) const noexcept {
    return at<MessageHeader>(geometry_.headers_offset()) + geometry_.pair(sender, receiver) * geometry_.depth;
  }
  std::byte* chunks(int sender, int receiver) const noexcept {
    return at<std::byte>(geometry_.chunks_offset()) +
           geometry_.pair(sender, receiver) * geometry_.depth * geometry_.chunk_bytes;
  }

  void publish(int rank, const Operation& operation) const noexcept;
  void publish_idle(int rank) const noexcept;
  RankSnapshot snapshot(int rank) const;

  bool aborted() const noexcept { return header().aborted.load(std::memory_order_acquire) != 0; }
  /// Wakes `rank` if it sleeps on its bell.
  void ring_bell(int rank) const noexcept;

 private:
  SharedSegment(UniqueFd fd, const WorldGeometry& geometry);

  template <typename T>
  T* at(std::size_t offset) const noexcept {
    return reinterpret_cast<T*>(base_ + offset);
  }

  UniqueFd fd_;
  WorldGeometry geometry_;
  std::byte* base_ = nullptr;
};

}  // namespace creel::comm::detail
