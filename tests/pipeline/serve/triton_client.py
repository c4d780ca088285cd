#!/usr/bin/env python3
"""Checks a running `creel serve` with NVIDIA's client in JSON mode.

    pip install 'tritonclient[http]' numpy
    creel serve runs/clip_digits --port 8080 &
    tests/pipeline/serve/triton_client.py 127.0.0.1:8080 clip_digits digit.png [expected class]

Prints one line per check and ends with 0 if all hold.
"""
import base64
import sys

import numpy as np
import tritonclient.http as http
from tritonclient.utils import InferenceServerException

FAILED = []


def check(what, holds):
    print(("ok      " if holds else "FAILED  ") + what)
    if not holds:
        FAILED.append(what)


def tensor(name, values, datatype):
    given = http.InferInput(name, list(values.shape), datatype)
    given.set_data_from_numpy(values, binary_data=False)
    return given


def json_outputs(*names):
    return [http.InferRequestedOutput(name, binary_data=False) for name in names]


def refused(client, model, inputs, outputs, text):
    try:
        client.infer(model, inputs, outputs=outputs)
    except InferenceServerException as error:
        check(f"refused: {error.message()}", text in error.message())
        return
    check(f"refused with '{text}'", False)


def main():
    url, model, path = sys.argv[1:4]
    client = http.InferenceServerClient(url)
    check("live and ready", client.is_server_live() and client.is_server_ready() and client.is_model_ready(model))
    check("version 1 ready", client.is_model_ready(model, "1"))
    check("server metadata", client.get_server_metadata()["name"] == "creel")
    metadata = client.get_model_metadata(model)
    shapes = {entry["name"]: entry["shape"] for entry in metadata["inputs"]}
    check(f"model metadata {sorted(shapes)}", sorted(shapes) == ["image", "input_ids", "pixel_values", "text"])

    with open(path, "rb") as file:
        png = base64.b64encode(file.read())
    image = tensor("image", np.array([png, png], dtype=object), "BYTES")
    result = client.infer(model, [image], request_id="a7")
    probabilities = result.as_numpy("probabilities")
    check("id comes back", result.get_response()["id"] == "a7")
    check(f"probabilities {probabilities.shape} sum to 1", np.allclose(probabilities.sum(1), 1, atol=1e-5))
    check(f"class {probabilities[0].argmax()} with {probabilities[0].max():.3f}",
          len(sys.argv) < 5 or probabilities[0].argmax() == int(sys.argv[4]))
    embeds = result.as_numpy("image_embeds")
    check("equal rows give equal embeddings of length 1",
          np.array_equal(embeds[0], embeds[1]) and np.allclose(np.linalg.norm(embeds, axis=1), 1, atol=1e-5))

    texts = tensor("text", np.array([b"the number 3", b"the number 8", "déjà vu".encode()], dtype=object), "BYTES")
    result = client.infer(model, [image, texts], outputs=json_outputs("logits_per_image", "text_embeds"), model_version="1")
    check("logits of 2 images, 3 texts", result.as_numpy("logits_per_image").shape == (2, 3))
    check("only what was asked", result.as_numpy("probabilities") is None)

    size = shapes["pixel_values"][1:]
    pixels = np.random.default_rng(1).standard_normal([3, *size]).astype(np.float32)
    context = shapes["input_ids"][1]
    ids = np.full([2, context], 49407, dtype=np.int64)
    ids[:, 0] = 49406
    result = client.infer(model, [tensor("pixel_values", pixels, "FP32"), tensor("input_ids", ids, "INT64")])
    check("pixel_values and input_ids", result.as_numpy("probabilities").shape == (3, 2))

    outputs = json_outputs("image_embeds")
    refused(client, model, [tensor("images", np.array([png], dtype=object), "BYTES")], outputs, "unknown input")
    refused(client, model, [tensor("image", np.array([b"no"], dtype=object), "BYTES")], outputs, "data[0]")
    refused(client, model, [tensor("pixel_values", pixels[:, :1], "FP32")], outputs, "does not fit")
    refused(client, model, [texts], outputs, "needs image or pixel_values")
    refused(client, model, [image, image], outputs, "given twice")
    refused(client, "other", [image], outputs, "no model other")
    binary = http.InferInput("pixel_values", list(pixels.shape), "FP32")
    binary.set_data_from_numpy(pixels, binary_data=True)
    refused(client, model, [binary], outputs, "binary tensors are not taken")
    print(f"{len(FAILED)} failed")
    return 1 if FAILED else 0


if __name__ == "__main__":
    sys.exit(main())
