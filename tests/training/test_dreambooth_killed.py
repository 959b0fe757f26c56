"""A training that is killed, or shared by two processes, ends with the weights of another."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from processes import run_python

import portraitlib as pl

POSIX = pytest.mark.skipif(os.name != "posix", reason="signals of Unix")

WHAT = """
import json, os, random, signal, sys, time, warnings
from dataclasses import replace
from pathlib import Path
import torch
torch.set_num_threads(1)
import portraitlib as pl
from portraitlib.training.class_set import ClassImages
from portraitlib.photos.subject import subject_photos
from recipes.first_mini.subject import photos_of

base = Path(sys.argv[1])
photos = subject_photos()
photos = replace(photos, photos=photos.photos[:3])
others = ClassImages("portrait of a man", tuple(photos_of(5).images[:2]), 96)
model = pl.load_model("mini", device="cpu")
"""

# Trains, and prints as JSON what became of each process that was killed. All are forks of one
# process, which has loaded model and libraries and trained already.
KILLED = (
    WHAT
    + """
from processes import PROOF_SYNCS, attempt, kill_by_plan, newest_step

STEPS, EVERY = 8, 2
settings = pl.DreamBooth(
    max_train_steps=STEPS, train_batch_size=1, layers="attention", rank=4, caption_dropout=0.2,
    save_every_steps=EVERY, text_learning_rate=1e-3,
)

def train(folder):
    return pl.train_dreambooth(model, photos, settings, others, folder=folder)

def attempted(folder, **how):
    begun = newest_step(folder)
    return attempt(train, folder, **how), begun

def outcome(folder):
    return pl.Adapter.open(folder / "adapter.safetensors").hash

start_s = time.perf_counter()
train(base / "first")  # loads what is loaded late
start_s = time.perf_counter()
expected = train(base / "whole").hash
whole_s = time.perf_counter() - start_s
draw = random.Random(int(sys.argv[2]))
# In the middle of the first, second or third save; among them moments at random.
plan = [{"sync": PROOF_SYNCS + count} for count in (1, 1, 2, 2, 3)]
plan += [{"moment_s": draw.uniform(0, whole_s / 3)} for _ in range(7)]
draw.shuffle(plan)
told, ended, last = kill_by_plan(attempted, outcome, base, plan)
warnings.simplefilter("ignore")
ended.append(train(last).hash)
print(json.dumps({"told": told, "ended": ended, "whole": expected, "seconds": whole_s}))
"""
)


@POSIX
@pytest.mark.slow
def test_a_training_killed_at_twelve_moments_ends_with_the_very_weights(tmp_path):
    done = run_python(KILLED, str(tmp_path), "7")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert len(result["told"]) == 12
    assert sum(each["inside"] for each in result["told"]) == 5
    assert sum(each["halves"] for each in result["told"]) >= 3
    assert any(each["begun"] > 0 for each in result["told"])
    assert set(result["ended"]) == {result["whole"]}


# --- two processes -------------------------------------------------------------------------------

# Trains twice, with class images and without, and writes what each process saw and came to.
SHARED = (
    WHAT
    + """
from portraitlib.training import step as training_step
settings = pl.DreamBooth(max_train_steps=3, train_batch_size=2, layers="attention", rank=4)
held = replace(settings, class_prompt="portrait of a man")
rank, several = int(os.environ.get("RANK", 0)), "WORLD_SIZE" in os.environ
seen, accumulate, interrupted = [], training_step._accumulate, []

def note(trainer, batch):
    columns = (batch.times, batch.latents, batch.noise, batch.texts, batch.of_class, batch.weights)
    rows = zip(*columns, strict=True)
    seen.append([[float(value.double().sum()) for value in row] for row in rows])
    # Ctrl-C reaches one of them alone: they stop at one step, where they read the loss.
    if several and rank == 1 and not interrupted and trainer.settings.max_train_steps == 1000:
        interrupted.append(os.kill(os.getpid(), signal.SIGINT))
    return accumulate(trainer, batch)

training_step._accumulate = note
if several:
    try:
        pl.train_dreambooth(
            model, photos, replace(settings, train_batch_size=3), others, folder=base / "odd"
        )
    except pl.UsageError as problem:
        (base / f"refused{rank}.txt").write_text(str(problem))
    try:
        long = replace(settings, max_train_steps=1000)
        pl.train_dreambooth(model, photos, long, others, folder=base / "stopped")
    except KeyboardInterrupt as stop:
        (base / f"stopped{rank}.txt").write_text(str(stop))
    seen.clear()
told = []
for name, chosen, given in (("class images", settings, others), ("held", held, None)):
    seen.clear()
    adapter = pl.train_dreambooth(
        model, photos, chosen, given, folder=base / name, on_step=told.append
    )
    found = {"seen": seen, "hash": adapter.hash, "loss": adapter.recipe["loss"]}
    (base / f"{name}{rank}.json").write_text(json.dumps(found))
assert told[-1].step == 3
"""
)


def shared(base: Path, processes: int) -> None:
    """Train in so many processes; with --cpu accelerate would start one alone unless it has MPI."""
    base.mkdir()
    script = base / "train.py"
    script.write_text(SHARED)
    launcher = (str(script),)
    if processes > 1:
        launch = ("-m", "accelerate.commands.launch", "--multi_gpu", "--main_process_port", "0")
        launch += ("--num_processes", str(processes), "--num_machines", "1")
        launcher = (*launch, "--mixed_precision", "no", "--dynamo_backend", "no", str(script))
    done = run_python("", str(base), launcher=launcher)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_two_processes_see_the_samples_of_one_and_come_to_the_same(tmp_path, how_far):
    pytest.importorskip("tensorboard")
    places = ("one", "two")
    for processes, place in enumerate(places, 1):
        shared(tmp_path / place, processes)
    for name in ("class images", "held"):
        alone = json.loads((tmp_path / "one" / f"{name}0.json").read_text())
        both = [json.loads((tmp_path / "two" / f"{name}{i}.json").read_text()) for i in (0, 1)]
        assert both[0]["hash"] == both[1]["hash"]
        for step in range(3):
            assert [len(process["seen"][step]) for process in both] == [2, 2]
            together = [row for process in both for row in process["seen"][step]]
            assert sorted(together) == sorted(alone["seen"][step])
        assert both[0]["loss"] == pytest.approx(alone["loss"], rel=1e-5)
        learnt = [pl.Adapter.open(tmp_path / n / name / "adapter.safetensors") for n in places]
        assert how_far(learnt[0].tensors, learnt[1].tensors) < 0.01
        files = sorted(path.name for path in (tmp_path / "two" / name).iterdir())
        assert files == [
            ".lock",
            "adapter.safetensors",
            "logs",
            "run.json",
            "step-000003.safetensors",
        ]
        assert len(list((tmp_path / "two" / name / "logs").rglob("events*"))) == 1
    refusals = [(tmp_path / "two" / f"refused{i}.txt").read_text() for i in (0, 1)]
    said = "DreamBooth.train_batch_size: got 3 with 2 processes, expected a multiple; try 2"
    assert refusals == [said] * 2
    stops = [(tmp_path / "two" / f"stopped{i}.txt").read_text() for i in (0, 1)]
    (step,) = {text.split(" of 1000")[0].removeprefix("stopped after step ") for text in stops}
    assert int(step) % 10 == 0
    assert (tmp_path / "two" / "stopped" / f"step-{int(step):06d}.safetensors").is_file()
