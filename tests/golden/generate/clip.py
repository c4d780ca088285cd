"""CLIP: outputs, loss, gradients, and a short training run, by transformers' CLIPModel."""
import math

import torch
import transformers
from torch import nn

from common import Golden, clean, golden, images, randomise, token_batch


def config(text=None, vision=None):
    t = dict(vocab_size=120, hidden_size=32, intermediate_size=64, num_hidden_layers=3, num_attention_heads=4,
             max_position_embeddings=16, bos_token_id=118, eos_token_id=119, pad_token_id=119)
    v = dict(hidden_size=48, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4, image_size=32, patch_size=8)
    t.update(text or {})
    v.update(vision or {})
    return transformers.CLIPConfig(text_config=t, vision_config=v, projection_dim=24)


def batch(seed, n):
    ids, mask = token_batch(seed, n, 16, 118, 119)
    return {"pixel_values": images(seed, n, 32), "input_ids": ids, "attention_mask": mask}


def features(output):
    return output if torch.is_tensor(output) else output.pooler_output


def run(model, x):
    o = model(**x, output_hidden_states=True)
    text = {k: x[k] for k in ("input_ids", "attention_mask")}
    return {"image_embeds": o.image_embeds, "text_embeds": o.text_embeds, "logits_per_image": o.logits_per_image,
            "image_hidden": o.vision_model_output.last_hidden_state, "text_hidden": o.text_model_output.last_hidden_state,
            "image_features": features(model.get_image_features(pixel_values=x["pixel_values"])),
            "text_features": features(model.get_text_features(**text)), "loss": model(**x, return_loss=True).loss}


def clip(seed, cfg, n, scale):
    model = transformers.CLIPModel(cfg)
    randomise(model, seed)
    model.logit_scale.data.fill_(scale)
    return Golden(model, inputs=batch(seed, n), run=run, loss=lambda m, x: m(**x, return_loss=True).loss,
                  save=lambda m, folder: m.save_pretrained(folder, safe_serialization=True))


@golden("clip-hf-tiny")
def _(seed):
    return clip(seed, config(), 4, math.log(1 / 0.07))


@golden("clip-hf-tiny-gelu")                     # exact GELU as LAION's weights have it; other patch and head counts
def _(seed):
    cfg = config(text=dict(hidden_act="gelu", num_hidden_layers=1),
                 vision=dict(hidden_act="gelu", patch_size=16, num_hidden_layers=1, num_attention_heads=2))
    return clip(seed, cfg, 3, math.log(1 / 0.07))


@golden("train-clip-hf-tiny")
def _(seed):
    model = transformers.CLIPModel(config())
    randomise(model, seed)
    model.logit_scale.data.fill_(4.59)           # so that the clamp at ln 100 acts
    parameters = list(model.parameters())
    optimizer = torch.optim.AdamW([{"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
                                   {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": 0.2}],
                                  lr=1e-3, betas=(0.9, 0.98), eps=1e-6)
    inputs, outputs = {}, {}
    for t in range(8):
        b = batch(seed + 100 * t, 6)
        inputs.update({f"step{t}.{k}": v for k, v in b.items()})
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * min(1, (t + 1) / 4)
        optimizer.zero_grad()
        loss = model(**b, return_loss=True).loss
        loss.backward()
        outputs[f"loss{t}"] = loss
        outputs[f"gradnorm{t}"] = nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, math.log(100))
    outputs.update({"final." + k: v for k, v in model.state_dict().items()})
    return Golden(inputs=inputs, outputs=clean(outputs))
