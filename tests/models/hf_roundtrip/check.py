#!/usr/bin/env python3
"""check.py WRITER [--texts N]: does Hugging Face read what creel writes?

WRITER is the program creel_hf_roundtrip_writer. Loads its folders with CLIPModel, CLIPTokenizer, AutoTokenizer and
CLIPImageProcessor, compares logits and embeddings to 1e-4 and the ids of N random texts (every script, broken case, marks,
spaces) exactly. Exits 77 where transformers is not installed.
"""
import argparse
import json
import pathlib
import random
import subprocess
import sys
import tempfile

try:
    import torch
    import transformers
    from safetensors.torch import load_file
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

RANGES = [(0x20, 0x7F)] * 6 + [(0xA0, 0x250), (0x300, 0x370), (0x370, 0x530), (0x590, 0x700), (0x900, 0xE00), (0x1100, 0x1200),
                               (0x1E00, 0x2070), (0x2070, 0x2400), (0x3040, 0x3100), (0x4E00, 0x4F00), (0xAC00, 0xAD00),
                               (0xFB00, 0xFB50), (0xFF00, 0xFFF0), (0x10400, 0x10450), (0x1D400, 0x1D800), (0x1F300, 0x1F700)]
WORDS = ["'s", "'LL", "'t", "don't", "<|startoftext|>", "<|EndOfText|>", "<|endoftext|>", "photo", "İ", "ΑΣ", "e\u0301", "\u00a0", "\t", "\u3000"]


def random_text(r):
    parts = []
    for _ in range(r.randint(0, 12)):
        if r.random() < 0.25:
            parts.append(r.choice(WORDS))
        else:
            low, high = r.choice(RANGES)
            parts.append("".join(chr(r.randrange(low, high)) for _ in range(r.randint(1, 5))))
        if r.random() < 0.4:
            parts.append(" ")
    return "".join(parts)


def check(folder, texts):
    probe = load_file(folder / "probe.safetensors")
    model, report = transformers.CLIPModel.from_pretrained(folder, output_loading_info=True)
    bad = {k: v for k, v in report.items() if v and k in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs")}
    model.eval()
    with torch.no_grad():
        output = model(pixel_values=probe["pixel_values"], input_ids=probe["input_ids"])
    failures = [str(bad)] if bad else []
    for name in ("logits_per_image", "image_embeds", "text_embeds"):
        error = (output[name] - probe[name]).abs().max().item()
        print(f"{folder.name}: {name} differs by at most {error:.2e}")
        if not error <= 1e-4:
            failures.append(name)
    for kind in (transformers.CLIPTokenizer, transformers.AutoTokenizer):
        tokenizer = kind.from_pretrained(folder)
        ids = tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids
        wrong = [i for i in range(len(texts)) if ids.shape != probe["input_ids"].shape or not torch.equal(ids[i], probe["input_ids"][i])]
        print(f"{folder.name}: {kind.__name__}, length {tokenizer.model_max_length}: {len(wrong)} of {len(texts)} texts differ")
        for i in wrong[:5]:
            print("  ", ascii(texts[i]), ids[i].tolist(), probe["input_ids"][i].tolist())
        failures += [f"{kind.__name__} ids"] if wrong else []
    processor = json.loads((folder / "preprocessor_config.json").read_text())
    try:
        loaded = transformers.CLIPImageProcessor.from_pretrained(folder)
        if list(loaded.image_mean) != processor["image_mean"]:
            failures.append("image processor")
    except ImportError as error:
        print("image processor not checked:", error)
    return failures


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("writer")
    parser.add_argument("--texts", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    r = random.Random(arguments.seed)
    texts = [random_text(r) for _ in range(arguments.texts)]
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "texts.json").write_text(json.dumps(texts))
        subprocess.run([arguments.writer, folder, folder / "texts.json"], check=True)
        failures = [f"{kind}: {f}" for kind in ("quick_gelu", "gelu") for f in check(folder / kind, texts)]
    print("FAILED: " + "; ".join(failures) if failures else "all agree")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
