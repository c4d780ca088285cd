#pragma once

#include <cstdint>

namespace creel::comm {

enum class Collective : std::uint8_t;
enum class DType : std::uint8_t;
enum class ReduceOp : std::uint8_t;
class AlgorithmRegistry;
class Group;
class Transport;
class World;
struct Algorithm;
struct BufferView;
struct CollectiveCall;
struct Cost;
struct GroupOptions;
struct Operation;
struct Shape;

}  // namespace creel::comm
