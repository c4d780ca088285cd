#!/usr/bin/env python3
"""make_golden.py --out FOLDER [NAME …]: makes the named golden sets, or all, as FOLDER/NAME."""
import argparse
import os
import pathlib
import random

os.environ.setdefault("HF_HUB_OFFLINE", "1")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--out", required=True, type=pathlib.Path)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    import torch
    import transformers
    import clip, losses, optimizers, text  # noqa: E401,F401  (each registers its sets)
    from common import REGISTRY, write
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    for name in arguments.names or REGISTRY:
        random.seed(arguments.seed)
        torch.manual_seed(arguments.seed)
        write(REGISTRY[name](arguments.seed), name, arguments.seed, arguments.out / name)
        print("made", name, flush=True)


if __name__ == "__main__":
    main()
