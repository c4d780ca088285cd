#pragma once

/// Names of the layer, for headers that only refer to them.
namespace creel::nn {
class Module;
class TensorMap;
struct Cache;
struct NamedTensor;
}  // namespace creel::nn

namespace creel::models {
class AdamW;
class Model;
class Objective;
class ObjectiveRegistry;
class Registry;
class Tokenizer;
struct ModelSpec;
struct ParameterGroup;
struct Peers;
}  // namespace creel::models
