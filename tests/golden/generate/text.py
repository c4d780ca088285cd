"""CLIP's tokenizer on plain captions and on what breaks tokenizers."""
import gzip
import json
import pathlib
import random
import tempfile

import open_clip
import torch

from common import Golden, golden

NASTY = ["Café au lait, 2€ each — très bon!", "Ein großer Hund läuft über die Straße", "東京の夜景がとても綺麗です", "一只黑色的猫坐在沙发上", "Привет, мир! Две собаки.",
         "صورة لقطة على الطاولة", "नमस्ते दुनिया", "안녕하세요 고양이 사진", "a photo of a 😀🐈‍⬛ and 🍕!!", "it's the dog's owner's 1990s t-shirt, isn't it?",
         "x=3.14; y = 10,000.00 (approx.) #hashtag @user", "https://example.org/a_b-c?q=1&z=2", "ALL CAPS HEADLINE: BREAKING NEWS",
         "tabs\tand\nnewlines   and   spaces ", "", " ", "&lt;b&gt;html &amp;amp; entities&lt;/b&gt;", "ﬁne ligature Ⅷ ½ ①", "e\u0301 combining vs é precomposed",
         "zero\u200bwidth\u00a0nbsp", "supercalifragilisticexpialidocious antidisestablishmentarianism " * 6, "naïve coöperate façade Ångström İstanbul ẞ",
         "<|startoftext|> literal <|endoftext|> specials", "<|STARTOFTEXT|> shouted!<|endoftext|>glued", "ΟΔΟΣ ΣΊΣΥΦΟΣ final sigma", "don't we'll they've I'm he'd you're 'twas !'s",
         "\u0085next\u2028line\u3000wide\u1680ogham", "a\u0308\u0323 marks \u0915\u094d\u0937 \u1112\u1161\u11ab", "٣٤ ४५ 〇 ²³ 𝟘𝔸", "\ufeffbom \u00adsoft \u202ertl\u202c", "👩‍👩‍👧‍👦🏳️‍🌈🇩🇪"]
CAPTIONS = ["a photo of the digit {}", "A handwritten {}.", "the number {}, in black ink", "{} on a small sheet of paper", "Two people looking at a {}!"]
WORDS = "zero one two three four five six seven eight nine 0 1 2 42 1999 umbrella teddy-bear skateboard".split()


def texts(seed):
    r = random.Random(seed)
    return NASTY + [r.choice(CAPTIONS).format(r.choice(WORDS)) for _ in range(33)]


def padded(rows):
    n = max(map(len, rows))
    return torch.tensor([list(r) + [-1] * (n - len(r)) for r in rows]), torch.tensor([len(r) for r in rows])


@golden("tok-clip-bpe")
def _(seed):
    from transformers import CLIPTokenizer
    simple, lines = open_clip.SimpleTokenizer(), texts(seed)
    merges = gzip.decompress((pathlib.Path(open_clip.tokenizer.__file__).parent / "bpe_simple_vocab_16e6.txt.gz").read_bytes())
    merges = merges.decode().split("\n")[1:49152 - 256 - 2 + 1]
    names = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    vocabulary = {names.get(t, t): i for t, i in simple.encoder.items()}
    with tempfile.TemporaryDirectory() as folder:
        v, m = pathlib.Path(folder, "vocab.json"), pathlib.Path(folder, "merges.txt")
        v.write_text(json.dumps(vocabulary))
        m.write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
        fast = CLIPTokenizer(str(v), str(m))
        fixed = fast(lines, padding="max_length", max_length=77, truncation=True, return_tensors="pt").input_ids
        ids, lengths = padded([fast(t).input_ids for t in lines])
    plain, plain_lengths = padded([simple.encode(t) for t in lines])
    decoded = [simple.decode(simple.encode(t)) for t in lines]
    return Golden(outputs={"input_ids77": fixed, "ids": ids, "lengths": lengths, "open_clip.ids": plain, "open_clip.lengths": plain_lengths},
                  files={"texts.json": json.dumps(lines, ensure_ascii=False, indent=0), "decoded.json": json.dumps(decoded, ensure_ascii=False, indent=0)})
