"""torch.optim.AdamW on fixed gradients; the rate halves before step 6."""
import torch
from torch import nn

from common import Golden, generator, golden

OPTIONS = {"opt-adamw": dict(lr=0.01, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.2),
           "opt-adamw-siglip": dict(lr=0.01, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1)}
SHAPES = {"matrix": (7, 5), "conv": (6, 4, 3, 3), "bias": (7,), "scalar": ()}

for _name, _options in OPTIONS.items():
    @golden(_name)
    def _(seed, options=_options):
        g = generator(seed)
        p = {k: nn.Parameter(torch.randn(s, generator=g)) for k, s in SHAPES.items()}
        inputs, outputs = {"init." + k: v.detach().clone() for k, v in p.items()}, {}
        optimizer = torch.optim.AdamW(p.values(), **options)
        for t in range(12):
            for k, v in p.items():
                v.grad = torch.randn(v.shape, generator=g) * (0.3 + t / 6)
                inputs[f"grad{t}.{k}"] = v.grad.clone()
            if t == 6:
                optimizer.param_groups[0]["lr"] *= 0.5
            optimizer.step()
            outputs.update({f"step{t}.{k}": v.detach().clone() for k, v in p.items()})
        config = {"lr": options["lr"], "beta1": options["betas"][0], "beta2": options["betas"][1], "eps": options["eps"],
                  "weight_decay": options["weight_decay"]}
        return Golden(config=config, inputs=inputs, outputs=outputs)
