"""open_clip's ClipLoss on real gloo ranks, local loss over features gathered with gradients."""
import os
import tempfile

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.nn import functional as F

from common import Golden, generator, golden

ROWS, WIDTH = 5, 16


def features(seed, n):
    g = generator(seed)
    base = torch.randn(n, WIDTH, generator=g)
    return [F.normalize(base + 0.7 * torch.randn(n, WIDTH, generator=g), dim=-1) for _ in range(2)] + [torch.tensor(2.3)]


def rank_main(rank, world, store, seed, queue):
    from open_clip.loss import ClipLoss
    dist.init_process_group("gloo", init_method="file://" + store, rank=rank, world_size=world)
    image, text, scale = features(seed, world * ROWS)
    i, t = (x.chunk(world)[rank].clone().requires_grad_() for x in (image, text))
    s = scale.clone().requires_grad_()
    loss = ClipLoss(local_loss=True, gather_with_grad=True, rank=rank, world_size=world)(i, t, s.exp())
    loss.backward()
    queue.put((rank, {"loss": loss.detach().numpy(), "grad_image": i.grad.numpy(), "grad_text": t.grad.numpy(),
                      "grad_logit_scale": s.grad.numpy()}))
    dist.barrier()
    dist.destroy_process_group()


def contrastive(seed, world):
    context = mp.get_context("spawn")
    queue = context.Queue()
    with tempfile.TemporaryDirectory() as folder:
        ranks = [context.Process(target=rank_main, args=(r, world, os.path.join(folder, "store"), seed, queue)) for r in range(world)]
        for process in ranks:
            process.start()
        results = dict(queue.get(timeout=240) for _ in ranks)
        for process in ranks:
            process.join()
    image, text, scale = features(seed, world * ROWS)
    outputs = {f"rank{r}.{k}": torch.from_numpy(v.copy()) for r, o in results.items() for k, v in o.items()}
    return Golden(inputs={"image_features": image, "text_features": text, "logit_scale": scale}, outputs=outputs)


golden("loss-clip-w1")(lambda seed: contrastive(seed, 1))
golden("loss-clip-w2")(lambda seed: contrastive(seed, 2))
