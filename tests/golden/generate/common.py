"""Registry of golden sets, deterministic non-degenerate weights, and the writer of a folder."""
import copy
import importlib.metadata
import json
import math

import torch
from safetensors.torch import load_file, save_file
from torch import nn

REGISTRY = {}


def golden(name):
    """Registers a builder f(seed) -> Golden."""
    def register(function):
        REGISTRY[name] = function
        return function
    return register


def generator(seed):
    return torch.Generator().manual_seed(seed)


class Golden:
    def __init__(self, model=None, config=None, inputs=None, run=None, loss=None, outputs=None, files=None, save=None):
        self.model, self.config, self.inputs, self.files = model, config, inputs or {}, files or {}
        self.run, self.loss, self.outputs, self.save = run, loss, outputs or {}, save


def randomise(model, seed):
    """Makes every parameter matter: unit-gain matrices, jittered norms, no vector of zeros."""
    g = generator(seed + 1)
    normal = lambda p, std: p.copy_(torch.randn(p.shape, generator=g) * std)
    with torch.no_grad():
        for module in model.modules():
            for name, p in module.named_parameters(recurse=False):
                if isinstance(module, nn.LayerNorm) and name == "weight":
                    p.copy_(torch.rand(p.shape, generator=g) * 0.8 + 0.6)
                elif p.ndim == 0:
                    continue                                     # logit_scale: set by the builder
                elif isinstance(module, nn.Embedding):
                    normal(p, min(0.5, 3 / math.sqrt(p.shape[-1])))
                elif isinstance(module, nn.Conv2d):
                    normal(p, math.sqrt(1.6 / p[0].numel()))
                elif isinstance(module, nn.Linear) and p.ndim == 2:
                    normal(p, 1.3 / math.sqrt(p.shape[1]))
                elif isinstance(module, (nn.Linear, nn.LayerNorm)):
                    normal(p, 0.1)                               # biases
                else:
                    normal(p, 0.3 if p.ndim > 1 else 0.1)        # class token


def images(seed, n, size):
    """Low-frequency structure plus noise, roughly unit variance."""
    g = generator(seed + 2)
    low = torch.randn(n, 3, 5, 5, generator=g)
    x = nn.functional.interpolate(low, size=(size, size), mode="bicubic", align_corners=False)
    return (x + 0.3 * torch.randn(n, 3, size, size, generator=g)).contiguous()


def token_batch(seed, n, length, bos, eos):
    """Ids of different lengths, padded with eos, and their mask; the first row is full."""
    g = generator(seed + 3)
    ids, mask = torch.full((n, length), eos), torch.zeros(n, length, dtype=torch.long)
    for i in range(n):
        k = length if i == 0 else int(torch.randint(4, length, (1,), generator=g))
        body = torch.randint(3, bos, (k - 2,), generator=g)
        ids[i, :k] = torch.cat([torch.tensor([bos]), body, torch.tensor([eos])])
        mask[i, :k] = 1
    return ids, mask


def clean(tensors):
    return {k: v.detach().clone().contiguous() for k, v in tensors.items() if v is not None}


def double(tensors):
    return {k: v.double() if v.is_floating_point() else v for k, v in tensors.items()}


def noise(single, reference):
    return {k: (single[k].double() - v.double()).abs().max().item() for k, v in reference.items() if v.is_floating_point()}


def step(model, inputs, loss):
    model.train()
    model.zero_grad()
    value = loss(model, inputs)
    value.backward()
    return clean({"loss": value, **{f"grad.{n}": p.grad for n, p in model.named_parameters()}})


def write(made, name, seed, folder):
    folder.mkdir(parents=True, exist_ok=True)
    versions = {p: importlib.metadata.version(p) for p in ("torch", "transformers", "open_clip_torch")}
    meta = {"name": name, "seed": seed, "noise": {}, "versions": versions}
    outputs, grads = dict(made.outputs), {}
    if made.run:
        made.save(made.model, folder)
        exact = copy.deepcopy(made.model).double()
        with torch.no_grad():
            outputs = clean(made.run(made.model.eval(), made.inputs))
            meta["noise"] = noise(outputs, clean(made.run(exact.eval(), double(made.inputs))))
        grads = step(made.model, made.inputs, made.loss)
        reference = step(exact, double(made.inputs), made.loss)
        meta["noise"].update({"grads/" + k: v for k, v in noise(grads, reference).items()})
    if made.config is not None:
        (folder / "config.json").write_text(json.dumps(made.config, indent=1, sort_keys=True) + "\n")
    for stem, tensors in (("inputs", clean(made.inputs)), ("outputs", clean(outputs)), ("grads", grads)):
        if tensors:
            save_file(tensors, folder / f"{stem}.safetensors")
            (folder / f"{stem}.safetensors").chmod(0o644)
    for file, text in made.files.items():
        (folder / file).write_text(text)
    (folder / "meta.json").write_text(json.dumps(meta, indent=1, sort_keys=True) + "\n")
