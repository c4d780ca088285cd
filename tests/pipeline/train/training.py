#!/usr/bin/env python3
"""The main job's promises, kept by the real programs: training.py CREEL CASE. One case a call; see CASES at the end.

Each case trains examples/configs/clip_digits.yaml, or a few steps of it, in folders of its own, and looks at what a user
would look at: exit code, messages, metrics.jsonl, files. Waits are for something that must happen, each with an end.
"""
import contextlib
import getpass
import io
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[3]
CONFIG = ROOT / "examples/configs/clip_digits.yaml"
CREEL = pathlib.Path(sys.argv[1]).resolve()
LIMIT = 180  # seconds that a run may take before the test gives it up


class Run:
    """A `creel run` in its own folder and session; stopped at the end of the `with`."""

    def __init__(self, out, *options, settings=()):
        self.out = pathlib.Path(out)
        words = [str(CREEL), "run", str(CONFIG), "--out", str(self.out), *options]
        for setting in settings:
            words += ["--set", setting]
        self.errors = tempfile.TemporaryFile()
        self.output = tempfile.TemporaryFile()
        self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=self.output, stderr=self.errors,
                                        start_new_session=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pids = [self.process.pid]
        with contextlib.suppress(FileNotFoundError):
            pids += self.ranks()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for path in attach_files(pids):  # of those that a test killed; pids come round again
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        self.errors.close()
        self.output.close()

    def wait(self, limit=LIMIT):
        try:
            return self.process.wait(limit)
        except subprocess.TimeoutExpired:
            fail(f"the run did not end within {limit} s:\n{self.text()}")

    def text(self):
        """What it has printed so far, errors last."""
        parts = []
        for stream in (self.output, self.errors):
            stream.seek(0)
            parts.append(stream.read().decode(errors="replace"))
        return "".join(parts)

    def ok(self):
        code = self.wait()
        check(code == 0, f"exit {code} instead of 0:\n{self.text()}")
        return self

    def records(self):
        path = self.out / "metrics.jsonl"
        if not path.exists():
            return []
        text = path.read_text()
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]

    def steps(self):
        return [record for record in self.records() if record["event"] == "step"]

    def losses(self):
        return [record["loss"] for record in self.steps()]

    def result(self):
        found = [record for record in self.records() if record["event"] == "result"]
        check(len(found) == 1 and self.records()[-1] is not None, f"{len(found)} results")
        return found[0]

    def until_step(self, step):
        wait_for(lambda: len(self.steps()) >= step or self.process.poll() is not None, f"step {step}")
        check(self.process.poll() is None, f"ended before step {step}:\n{self.text()}")

    def ranks(self):
        """Process ids of the ranks, in their order."""
        table = json.loads((self.out / "processes.json").read_text())
        return [entry["pid"] for entry in table["ranks"]]


def fail(message):
    print(message)
    sys.exit(1)


def check(condition, message):
    if not condition:
        fail(message)


def wait_for(condition, what, limit=60.0):
    end = time.monotonic() + limit
    while not condition():
        if time.monotonic() > end:
            fail(f"{what}: not within {limit:.0f} s")
        time.sleep(0.005)


def alive(pid):
    """Whether a process runs; one that has ended and waits for its parent does not."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def attach_files(pids):
    return [path for pid in pids for path in (f"/tmp/.java_pid{pid}", f"/tmp/hsperfdata_{getpass.getuser()}/{pid}")
            if os.path.exists(path)]


def leftovers(pids):
    return attach_files(pids) + [f"process {pid}" for pid in pids if alive(pid)]


def weights(out):
    return (pathlib.Path(out) / "model.safetensors").read_bytes()


def steps_setting(steps):
    return [f"train.steps={steps}"]


# ---- Cases -----------------------------------------------------------------------------------------------------------


def learns(folder):
    """The README's command: two ranks, under two minutes, top-1 of 0.95 or more, and every file there."""
    began = time.monotonic()
    with Run(folder / "run") as run:
        run.ok()
        seconds = time.monotonic() - began
        result = run.result()
        check(result["zero_shot_top1"] >= 0.95, f"top-1 is {result['zero_shot_top1']}")
        check(result["bad_samples"] == 0, "bad samples in the digits")
        check(seconds < 120, f"took {seconds:.0f} s")
        names = {"config.yaml", "config.json", "model.safetensors", "vocab.json", "merges.txt", "tokenizer_config.json",
                 "metrics.jsonl", "checkpoints"}
        missing = names - {path.name for path in run.out.iterdir()}
        check(not missing, f"missing in the run folder: {missing}")
        check([record["step"] for record in run.steps()] == list(range(1, len(run.steps()) + 1)), "steps are not 1, 2, …")
        print(f"top-1 {result['zero_shot_top1']}, {seconds:.1f} s, {result['images_per_s']} images/s")


def same_for_any_workers(folder):
    """The loss of every step is bitwise the same for 1, 2 and 4 loader threads."""
    seen = []
    for workers in (1, 2, 4):
        with Run(folder / f"w{workers}", settings=[*steps_setting(14), f"data.workers={workers}"]) as run:
            seen.append(run.ok().losses())
    check(len(seen[0]) == 14, f"{len(seen[0])} steps instead of 14")
    check(seen[0] == seen[1] == seen[2], f"losses differ: {seen}")
    check(len(set(seen[0])) > 10, "the loss does not move: nothing is trained")


def one_rank_equals_two(folder):
    """1 rank with batch 128 and 2 ranks with 64 agree to 1e-5 over the first 20 steps."""
    with Run(folder / "two", settings=steps_setting(20)) as run:
        two = run.ok().losses()
    with Run(folder / "one", settings=[*steps_setting(20), "parallel.ranks=1", "data.batch=128"]) as run:
        one = run.ok().losses()
    worst = max(abs(a - b) / abs(a) for a, b in zip(one, two))
    check(len(one) == len(two) == 20 and worst <= 1e-5, f"worst relative difference {worst}:\n{one}\n{two}")
    print(f"worst relative difference {worst:.2e}")


def resumes_exactly(folder):
    """kill -9 of everything at a random step, then --resume: the weights are those of an uninterrupted run."""
    with Run(folder / "whole", settings=steps_setting(32)) as run:
        whole = run.ok().losses()
    with Run(folder / "cut", settings=steps_setting(32)) as run:
        run.until_step(random.randint(11, 28))
        os.killpg(run.process.pid, signal.SIGKILL)
        wait_for(lambda: not any(alive(pid) for pid in run.ranks()), "the end of the ranks")
    with Run(folder / "cut", "--resume", settings=steps_setting(32)) as run:
        cut = run.ok()
        check(cut.losses() == whole, "the losses differ from those of an uninterrupted run")
        check([record["step"] for record in cut.steps()] == list(range(1, 33)), "a step is lost or written twice")
        check(any(record["event"] == "resume" and record["step"] % 10 == 0 for record in cut.records()), "no resume event")
        cut.result()
    check(weights(folder / "whole") == weights(folder / "cut"), "the weights differ from those of an uninterrupted run")


def starts_over_without_checkpoint(folder):
    """--resume before the first checkpoint says so and starts at step 0."""
    with Run(folder / "run", settings=steps_setting(12)) as run:
        run.until_step(1)
        os.killpg(run.process.pid, signal.SIGKILL)
        wait_for(lambda: not any(alive(pid) for pid in run.ranks()), "the end of the ranks")
    shutil.rmtree(folder / "run/checkpoints", ignore_errors=True)
    with Run(folder / "run", "--resume", settings=steps_setting(12)) as run:
        check("no checkpoint" in run.ok().text(), f"does not say that there is no checkpoint:\n{run.text()}")
        check([record["step"] for record in run.steps()] == list(range(1, 13)), "steps are not 1 to 12")


def stops_on_signals(folder):
    """SIGTERM and SIGINT write a checkpoint and exit 143 and 130; the resumed run ends as an uninterrupted one."""
    with Run(folder / "whole", settings=steps_setting(16)) as run:
        run.ok()
    for number, code in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
        out = folder / f"signal{code}"
        with Run(out, settings=steps_setting(16)) as run:
            run.until_step(3)
            run.process.send_signal(number)
            check(run.wait(30) == code, f"exit {run.process.returncode} instead of {code}:\n{run.text()}")
            check(list((out / "checkpoints").glob("step-*.safetensors")), "no checkpoint was written")
            check(len(run.steps()) < 16, "it did not stop")
        with Run(out, "--resume", settings=steps_setting(16)) as run:
            run.ok()
        check(weights(out) == weights(folder / "whole"), f"after signal {number} the weights differ")


def names_a_lost_rank(folder):
    """kill -9 of one rank: all end within 5 s with exit 5, the rank named, nothing left behind."""
    for _ in range(2):
        shutil.rmtree(folder / "run", ignore_errors=True)
        with Run(folder / "run") as run:
            run.until_step(random.randint(2, 8))
            ranks = run.ranks()
            victim = random.randrange(len(ranks))
            shared = set(os.listdir("/dev/shm"))
            os.kill(ranks[victim], signal.SIGKILL)
            began = time.monotonic()
            code = run.wait(30)
            seconds = time.monotonic() - began
            text = run.text()
            check(code == 5, f"exit {code} instead of 5:\n{text}")
            check(seconds < 5, f"took {seconds:.1f} s")
            check(f"rank {victim}" in text and "SIGKILL" in text, f"rank {victim} is not named:\n{text}")
            check("waiting" in text, f"does not say what the others waited for:\n{text}")
            left = leftovers([run.process.pid, *ranks])
            check(not left, f"left behind: {left}")
            check(set(os.listdir("/dev/shm")) <= shared, "left in /dev/shm")
            print(f"{seconds:.2f} s: {text.strip().splitlines()[-1]}")


def dies_with_its_launcher(folder):
    """kill -9 of the launcher: the ranks go too."""
    with Run(folder / "run") as run:
        run.until_step(3)
        ranks = run.ranks()
        os.kill(run.process.pid, signal.SIGKILL)
        wait_for(lambda: not any(alive(pid) for pid in ranks), "the end of the ranks", 5)


def shows_its_threads(folder):
    """`creel dump RUN_DIR` while it trains: every rank, every loader thread, what each works on."""
    with Run(folder / "run", settings=["data.workers=3"]) as run:
        run.until_step(5)
        dumped = subprocess.run([CREEL, "dump", str(run.out)], capture_output=True, text=True, timeout=60)
        check(dumped.returncode == 0, f"dump: exit {dumped.returncode}: {dumped.stderr}")
        for wanted in ("rank 0", "rank 1", '"main"', '"decode-0"', '"decode-2"', '"collate-0"', '"step-0"', "stage "):
            check(wanted in dumped.stdout, f"{wanted} is not in the dump:\n{dumped.stdout}")
        check('"decode-3"' not in dumped.stdout, "more loader threads than asked for")
        as_json = subprocess.run([CREEL, "dump", str(run.out), "--json"], capture_output=True, text=True, timeout=60)
        check(as_json.returncode == 0, f"dump --json: {as_json.stderr}")
        json.loads(as_json.stdout)


def shows_a_wait_in_a_backward_hook(folder):
    """A rank that waits for a stopped one in an all-reduce of its backward pass shows all frames down to its start."""
    with Run(folder / "run") as run:
        run.until_step(2)
        waiting, stopped = run.ranks()
        for _ in range(60):
            run.until_step(len(run.steps()) + 1)
            time.sleep(random.uniform(0, 0.04))  # the moment is what varies: anywhere in a step
            os.kill(stopped, signal.SIGSTOP)
            block = ""
            for _ in range(200):  # until the rank that goes on has come to its wait
                dump = subprocess.run([CREEL, "dump", str(waiting)], capture_output=True, text=True, timeout=60).stdout
                block = dump[dump.index('"step-0"'):].split("\n\n")[0]
                if "waiting for rank 1" in block:
                    break
            os.kill(stopped, signal.SIGCONT)
            check("waiting for rank 1" in block, f"does not wait for the stopped rank:\n{block}")
            if "AccumulateGrad" in block:
                break
        else:
            fail(f"60 stops, and none within a backward hook; the last one:\n{block}")
        order = [block.find(name) for name in ("Group::all_reduce", "DataParallel", "AccumulateGrad", "Engine::execute",
                                               "TrainStep::run", "run_thread_body")]
        check(-1 not in order and order == sorted(order), f"frames are missing or out of order:\n{block}")


def survives_bad_samples(folder):
    """Corrupt images are skipped, counted and named; over the allowed share the run stops with exit 4."""
    bad = folder / "data"
    bad.mkdir()
    spoilt = []
    for shard in sorted((ROOT / "examples/data/digits").glob("train-*.tar")):
        with tarfile.open(shard) as source, tarfile.open(bad / shard.name, "w", format=tarfile.USTAR_FORMAT) as target:
            images = 0
            for member in source:
                content = source.extractfile(member).read()
                if member.name.endswith(".png"):
                    images += 1
                    if images == 7:
                        content = content[: len(content) // 2]
                        spoilt.append(pathlib.Path(member.name).stem)
                        member.size = len(content)
                target.addfile(member, io.BytesIO(content))
    path = "data.source.path=" + str(bad / "train-{00000..00003}.tar")
    with Run(folder / "some", settings=[path, "train.epochs=1"]) as run:
        run.ok()
        text = run.text()
        count = run.result()["bad_samples"]
        check(1 <= count <= len(spoilt), f"{count} bad samples counted, {len(spoilt)} made")
        check(sum(name in text for name in spoilt) == count, f"bad samples are not named:\n{text}")
    with Run(folder / "none", settings=[path, "train.epochs=1", "data.max_bad=0"]) as run:
        check(run.wait() == 4, f"exit {run.process.returncode} instead of 4:\n{run.text()}")


def keeps_checkpoint_on_full_disk(folder):
    """No room for the next checkpoint: the run fails with path and bytes, the previous one stays good."""
    if os.geteuid() != 0:  # a small disk needs a mount, and that a namespace of one's own
        if subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode != 0:
            print("needs root or user namespaces, to mount a small disk")
            sys.exit(77)
        sys.exit(subprocess.run(["unshare", "-rm", sys.executable, *sys.argv]).returncode)
    disk = folder / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", disk], check=True)
    try:
        with Run(disk / "run", settings=[*steps_setting(32), "checkpoint.keep=9"]) as run:
            check(run.wait() == 1, f"exit {run.process.returncode} instead of 1:\n{run.text()}")
            text = run.text()
            check("step-" in text and "bytes" in text, f"path and bytes are not named:\n{text}")
        names = [path.name for path in (disk / "run/checkpoints").iterdir()]
        check(names and all(name.endswith(".safetensors") for name in names), f"checkpoints: {names}")
        shutil.copytree(disk / "run", folder / "run")
    finally:
        subprocess.run(["umount", disk], check=True)
    with Run(folder / "run", "--resume", settings=[*steps_setting(32), "checkpoint.keep=9"]) as run:
        run.ok()


CASES = {case.__name__: case for case in (
    learns, same_for_any_workers, one_rank_equals_two, resumes_exactly, starts_over_without_checkpoint, stops_on_signals,
    names_a_lost_rank, dies_with_its_launcher, shows_its_threads, shows_a_wait_in_a_backward_hook,
    survives_bad_samples, keeps_checkpoint_on_full_disk)}

if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="creel-train-") as temporary:
        CASES[sys.argv[2]](pathlib.Path(temporary))
