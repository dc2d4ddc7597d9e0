"""Training by several processes: real ones under torchrun must agree with one process.

The file is also what they run: ``torchrun tests/test_distributed.py TASK FOLDER``. Starting
processes takes far longer than what they train, so each run serves many tests.
"""

from __future__ import annotations

import functools
import math
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from helpers import distributed, training
from helpers.classes import ClassSet
from helpers.models.encoder import conv_bn_relu

ROOT = Path(__file__).resolve().parents[1]
CLASSES = ClassSet(("dark", "middle", "bright"), ("#000000", "#777777", "#FFFFFF"))
CLASS_WEIGHTS = torch.tensor([0.3, 1.0, 4.0])
ROUNDING = {"float32": 1e-5, "bfloat16": 5e-3}  # relative, of the loss after some steps


class Patches(TensorDataset):
    """Noisy patches 16 x 16 whose classes are brightness; void takes 0, 5, 10 or all 16 columns."""

    classes = CLASSES

    def __init__(self, count: int):
        generator = torch.Generator().manual_seed(count)
        masks = torch.randint(3, (count, 4, 4), generator=generator)
        masks = masks.repeat_interleave(4, 1).repeat_interleave(4, 2)
        noise = torch.rand(count, 3, 16, 16, generator=generator)
        images = 0.3 * masks[:, None] + 0.4 * noise
        for i, mask in enumerate(masks):
            mask[:, : (0, 5, 10, 16)[i % 4]] = 255
        super().__init__(images, masks)


class Drawing(Patches):
    """Writes down what is asked for, and draws a number for it as augmentation would."""

    def __init__(self, count: int):
        super().__init__(count)
        self.seen: list[tuple[int, float]] = []

    def __getitem__(self, i: int):
        self.seen.append((i, torch.rand(()).item()))
        return super().__getitem__(i)


class TinyUNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.fine, self.coarse = conv_bn_relu(3, 6), conv_bn_relu(6, 8)
        self.score = nn.Conv2d(14, 3, 1)

    def forward(self, images):
        fine = self.fine(images)
        coarse = self.coarse(F.max_pool2d(fine, 2))
        grown = F.interpolate(coarse, scale_factor=2, mode="bilinear", align_corners=False)
        return self.score(torch.cat([fine, grown], 1))


FITS = {
    "plain": {},
    "class weights": {"class_weights": CLASS_WEIGHTS},
    "last batch of one left out": {"batch_size": 4},
    "bfloat16": {"precision": "bfloat16"},
}


def tiny_unet(seed: int = 0) -> TinyUNet:
    torch.manual_seed(seed)
    return TinyUNet()


def fit(train: TensorDataset, network: nn.Module | None = None, **options):
    """13 images in batches of 5, 5 and 3, unless `options` say otherwise."""
    model = network or tiny_unet()
    settings = {"epochs": 3, "learning_rate": 0.02, "batch_size": 5, "precision": "float32"}
    with pytest.MonkeyPatch.context() as patch:  # slow where bfloat16 is emulated, but the same
        patch.setattr(training, "choose_precision", lambda _: "bfloat16")
        patch.setattr(training, "choose_device", lambda: torch.device("cpu"))
        history = training.fit(
            model, train, Patches(6), progress=False, seed=3, **settings | options
        )
    return model, history


NORMS = {
    "usual": {},
    "cumulative": {"momentum": None},
    "no parameters": {"affine": False},
    "no running statistics": {"track_running_stats": False},
}


def norm_and_input(name: str) -> tuple[nn.BatchNorm2d, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    norm = nn.BatchNorm2d(3, **NORMS[name]).double()
    for parameter in norm.parameters():
        nn.init.normal_(parameter, generator=generator)
    x, slope = torch.randn(2, 5, 3, 4, 6, generator=generator, dtype=torch.float64)
    return norm, 3 * x + torch.arange(5)[:, None, None, None], slope


def pass_through(norm: nn.BatchNorm2d, x: torch.Tensor, slope: torch.Tensor) -> dict:
    """Two passes: output, gradients of a loss that is not linear, and the statistics kept."""
    x = x.clone().requires_grad_()
    norm(x)
    output = norm(x)
    (output.square() * slope).sum().backward()
    gradients = {key: parameter.grad for key, parameter in norm.named_parameters()}
    return {
        "output": output.detach(),
        "x": x.grad,
        "gradients": gradients,
        "kept": norm.state_dict(),
    }


# what the processes do


def fit_all() -> dict:
    """Everything that needs no launch of its own; process 1 starts from other weights."""
    rank, results = distributed.rank(), {"fits": {}, "norms": {}, "errors": {}}
    for name, options in FITS.items():
        model, history = fit(Patches(13), tiny_unet(rank), **options)
        results["fits"][name] = {
            "epochs": history.epochs,
            "weights": model.state_dict(),
            "as before": [type(m).__name__ for m in model.modules() if "forward" not in vars(m)],
        }
    share = slice(rank, None, distributed.world_size())
    for name in NORMS:
        norm, x, slope = norm_and_input(name)
        with distributed.in_step(norm):
            results["norms"][name] = pass_through(norm, x[share], slope[share])
    norm = nn.BatchNorm2d(3)
    with distributed.in_step(norm):
        results["far from zero"] = norm(1000 + norm_and_input("usual")[1].float()[share]).detach()
        results["half"] = norm(torch.rand(2, 3, 4, 4, dtype=torch.bfloat16)).dtype
    drawing = Drawing(13)
    fit(drawing)
    results["seen"] = drawing.seen
    broken = Patches(13)
    broken.tensors[0][4, 0, 0, 0] = math.inf
    for key, train, options in (
        ("loss", broken, {"network": nn.Conv2d(3, 3, 1)}),  # nothing tells the other shares
        ("batch", Patches(13), {"batch_size": 1}),
        ("last batch", Patches(12), {"batch_size": 10}),
    ):
        try:
            fit(train, **options)
        except (FloatingPointError, ValueError) as error:
            results["errors"][key] = f"{type(error).__name__}: {error}"
    return results


def fit_until_one_is_interrupted(folder: Path) -> None:
    class Interrupted(Patches):
        def __getitem__(self, i):
            asked.append(i)
            if distributed.rank() == 1 and len(asked) > 6:
                raise KeyboardInterrupt
            return super().__getitem__(i)

    asked: list[int] = []
    with distributed.group():
        torch.save(fit_all(), folder / f"{distributed.rank()}.pt")
        fit(Interrupted(13))
        (folder / "went on").touch()


def fit_until_one_is_silent(folder: Path) -> None:
    distributed.TIMEOUT = timedelta(seconds=30)
    with distributed.group():
        torch.save(fit_all(), folder / f"{distributed.rank()}.pt")
        if distributed.rank() == 1:
            time.sleep(300)
        distributed.total(torch.ones(1))


def small_course(folder: Path, patch: pytest.MonkeyPatch):
    """``helpers.checkpoints`` with one network that trains in a second, keeping all in `folder`."""
    from helpers import checkpoints, datasets  # slow to import, which most processes need not

    recipe = checkpoints.Recipe(
        "colour", size=(32, 32), train_count=9, epochs=2, batch_size=5, precision="float32"
    )
    patch.setitem(checkpoints.RECIPES, "small", recipe)
    patch.setattr(checkpoints, "SHIPPED_NETWORKS", ("small",))
    patch.setattr(checkpoints, "LOCAL", folder / "local")
    patch.setattr(checkpoints, "SHIPPED", folder / "shipped")
    patch.setattr(datasets, "STREETS_COUNT", {"train": 9, "val": 4, "test": 4})
    patch.setenv("PIXELWISE_CACHE", str(folder / "cache"))
    patch.setenv("PIXELWISE_RETRAIN", "0")
    return checkpoints


def train_by_command(folder: Path) -> None:
    checkpoints = small_course(folder, pytest.MonkeyPatch())

    def logged(event: str, work: Callable) -> Callable:
        def run(*arguments):
            with open(folder / "log", "a") as file:
                file.write(f"{event} by {os.environ['RANK']}\n")
            return work(*arguments)

        return run

    scenes = checkpoints.datasets.scenes
    scenes.render = logged("rendered", scenes.render)
    checkpoints.save_file = logged("saved", checkpoints.save_file)
    checkpoints.main(["small", "--seed", "1"])


def launch(task: str, folder: Path, processes: int = 2, *options: str):
    """Run `task` of this file by several processes, which talk on the loopback alone."""
    own = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--local-addr=127.0.0.1", f"--nproc-per-node={processes}", *options]
    return subprocess.run(
        [*command, __file__, task, str(folder)],
        env=os.environ | own, capture_output=True, text=True, timeout=240,
    )  # fmt: skip


# the tests


class Run(NamedTuple):
    returncode: int
    stderr: str
    folder: Path


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """``runs(2)`` and ``runs(3)``: what so many processes did, started when first asked for."""
    tasks = {2: "fit_until_one_is_interrupted", 3: "fit_until_one_is_silent"}

    @functools.cache
    def run(processes: int) -> Run:
        folder = tmp_path_factory.mktemp("run")
        done = launch(tasks[processes], folder, processes)
        return Run(done.returncode, done.stderr, folder)

    return run


@pytest.fixture(params=[pytest.param(n, marks=pytest.mark.slow) for n in (2, 3)])
def ranks(request, runs) -> list[dict]:
    """The results of each of two, then three processes."""
    run = runs(request.param)
    files = [run.folder / f"{rank}.pt" for rank in range(request.param)]
    assert all(file.exists() for file in files), run.stderr
    return [torch.load(file) for file in files]


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch):
    monkeypatch.setattr(training, "choose_device", lambda: torch.device("cpu"))


@pytest.mark.parametrize("name", FITS)
def test_several_processes_train_as_one(ranks, name):
    model, history = fit(Patches(13), **FITS[name])
    rounding = ROUNDING[FITS[name].get("precision", "float32")]
    for result in (rank["fits"][name] for rank in ranks):
        losses = [epoch["loss"] for epoch in result["epochs"]]
        assert losses == pytest.approx(history.column("loss"), rel=rounding)
        miou = [epoch["val_miou"] for epoch in result["epochs"]]
        assert miou == pytest.approx(history.column("val_miou"), abs=rounding)
        assert result["weights"].keys() == model.state_dict().keys()
        for key, value in model.state_dict().items():
            torch.testing.assert_close(
                result["weights"][key], value, rtol=0, atol=10 * rounding, msg=key
            )


def test_all_processes_end_alike(ranks):
    for name in FITS:
        first, *others = (rank["fits"][name] for rank in ranks)
        for other in others:
            assert other["epochs"] == first["epochs"], "seconds, too"
            for key, value in first["weights"].items():
                assert torch.equal(other["weights"][key], value)


def test_the_model_is_left_as_it_was(ranks):
    want = [type(module).__name__ for module in TinyUNet().modules()]
    assert all(rank["fits"][name]["as before"] == want for rank in ranks for name in FITS)


@pytest.mark.parametrize("name", NORMS)
def test_batch_norm_is_that_of_the_whole_batch(ranks, name):
    norm, *arguments = norm_and_input(name)
    whole = pass_through(norm, *arguments)
    for rank, result in enumerate(r["norms"][name] for r in ranks):
        share = slice(rank, None, len(ranks))
        torch.testing.assert_close(result["output"], whole["output"][share])
        torch.testing.assert_close(result["x"], whole["x"][share])
        torch.testing.assert_close(dict(result["kept"]), dict(whole["kept"]))
    for key, gradient in whole["gradients"].items():
        parts = [rank["norms"][name]["gradients"][key] for rank in ranks]
        torch.testing.assert_close(sum(parts), gradient)


def test_batch_norm_is_exact_far_from_zero(ranks):
    norm = nn.BatchNorm2d(3).double()
    want = norm((1000 + norm_and_input("usual")[1].float()).double()).detach()
    for rank, result in enumerate(ranks):
        got = result["far from zero"].double()
        torch.testing.assert_close(got, want[rank :: len(ranks)], rtol=0, atol=1e-4)


def test_batch_norm_answers_in_the_type_it_was_asked(ranks):
    assert {rank["half"] for rank in ranks} == {torch.bfloat16}


def test_every_image_is_dealt_out_once_in_the_order_of_process_0(ranks):
    alone = Drawing(13)
    fit(alone, epochs=1)
    shares = [[i for i, _ in rank["seen"]] for rank in ranks]
    for epoch in range(3):
        dealt = []
        for size in (5, 5, 3):
            counts = [len(range(rank, size, len(ranks))) for rank in range(len(ranks))]
            parts = [
                [share.pop(0) for _ in range(n)] for share, n in zip(shares, counts, strict=True)
            ]
            dealt += [parts[k % len(ranks)][k // len(ranks)] for k in range(size)]
        assert sorted(dealt) == list(range(13))
        if epoch == 0:
            assert dealt == [i for i, _ in alone.seen]


def test_every_process_draws_for_itself(ranks):
    draws = [draw for rank in ranks for _, draw in rank["seen"]]
    assert len(set(draws)) == len(draws)


def test_errors_that_all_processes_see(ranks):
    for errors in (rank["errors"] for rank in ranks):
        assert errors["loss"].startswith("FloatingPointError: loss became")
        text = f"batch_size must give each of {len(ranks)} processes an image of every batch; got 1"
        assert errors["batch"].startswith(f"ValueError: {text}")
        if len(ranks) == 3:
            text = "got 10, which leaves 2 of 12 images to the last batch"
            assert text in errors["last batch"]
        else:
            assert "last batch" not in errors


@pytest.mark.slow
def test_the_command_trains_with_several_processes_and_saves_once(tmp_path, monkeypatch):
    """Weights are those of the same command without torchrun."""
    logs = tmp_path / "logs"
    done = launch("train_by_command", tmp_path, 2, "--redirects=3", f"--log-dir={logs}")
    assert done.returncode == 0, done.stderr
    name = "small-streets-seed1.safetensors"
    assert [path.name for path in tmp_path.glob("local/*")] == [name]
    assert not (tmp_path / "shipped").exists()
    events = (tmp_path / "log").read_text().splitlines()
    assert events == ["rendered by 0"] * 13 + ["saved by 0"]
    said = {path.parent.name: path.read_text() for path in logs.rglob("stdout.log")}
    bars = {path.parent.name: path.read_text() for path in logs.rglob("stderr.log")}
    assert said["0"].startswith("small: ")
    assert "small" in bars["0"]
    assert said["1"] == ""
    assert "small" not in bars["1"]

    small_course(tmp_path / "alone", monkeypatch).main(["small", "--seed", "1"])
    assert not dist.is_initialized()
    got, want = (load_file(place / "local" / name) for place in (tmp_path, tmp_path / "alone"))
    assert got.keys() == want.keys()
    for key in want:
        torch.testing.assert_close(got[key].double(), want[key].double(), rtol=0, atol=2e-3)


def test_the_command_without_names_trains_what_is_shipped(tmp_path, monkeypatch):
    small_course(tmp_path, monkeypatch).main([])
    files = [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.safetensors")]
    assert files == ["shipped/small-streets-seed0.safetensors"]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["vgg"], "names must be among colour,.*got 'vgg'"),
        (["--seed", "1"], "--seed goes with names"),
    ],
)
def test_the_command_refuses(arguments, error, tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit):
        small_course(tmp_path, monkeypatch).main(arguments)
    assert re.search(error, capsys.readouterr().err)


@pytest.mark.slow
def test_ctrl_c_in_one_process_ends_all(runs):
    run = runs(2)
    assert run.returncode != 0
    assert "KeyboardInterrupt" in run.stderr
    assert not (run.folder / "went on").exists()


@pytest.mark.slow
def test_a_silent_process_is_given_up_and_the_run_ends(runs):
    run = runs(3)
    assert run.returncode != 0
    assert "of 3 waited in vain for the others" in run.stderr
    assert "was silent for 30 s" in run.stderr


def test_one_process_makes_no_group_and_hands_back_what_it_got():
    values, loader, norm = torch.ones(2), DataLoader(Patches(3), 2), nn.BatchNorm2d(3)
    with distributed.group(), distributed.first_alone(), distributed.in_step(norm):
        assert not dist.is_initialized()
        assert distributed.total(values) is values
        assert distributed.of_first(values) is values
        assert distributed.shares(loader) is loader
        assert distributed.own_seed(5) == 5
        assert "forward" not in vars(norm)


def test_one_process_trains_by_the_plain_loop():
    """Bit for bit what PyTorch's own loss and batch normalisation give."""
    model, history = fit(Patches(13), class_weights=CLASS_WEIGHTS)
    plain, losses = tiny_unet().to(memory_format=torch.channels_last), []
    torch.manual_seed(3)
    loader, val = DataLoader(Patches(13), 5, shuffle=True), DataLoader(Patches(6), 50)
    optimizer = torch.optim.AdamW(plain.parameters(), weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.02, total_steps=9, pct_start=0.2)
    for _ in range(3):
        for images, masks in loader:
            images = images.to(memory_format=torch.channels_last)
            loss = F.cross_entropy(plain(images), masks, CLASS_WEIGHTS, ignore_index=255)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        next(iter(val))  # a loader draws a seed
    assert history.column("loss") == [sum(losses[k : k + 3]) / 3 for k in (0, 3, 6)]
    for key, value in plain.state_dict().items():
        assert torch.equal(model.state_dict()[key], value)


@pytest.fixture
def four_gpus(monkeypatch):
    """As process 1 of `torchrun` would find a machine with four GPUs; what it calls is noted."""
    calls = []
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(dist, "is_torchelastic_launched", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "set_device", calls.append)
    monkeypatch.setattr(dist, "init_process_group", lambda backend, **_: calls.append(backend))
    monkeypatch.setattr(dist, "destroy_process_group", lambda: calls.append("left"))
    return calls


def test_each_process_takes_its_own_gpu(four_gpus, monkeypatch):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    with distributed.group():
        assert four_gpus == [1, "nccl"]
    assert four_gpus == [1, "nccl", "left"]


def test_more_processes_than_gpus(four_gpus, monkeypatch):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "5")
    with (
        pytest.raises(ValueError, match="--nproc-per-node must be at most 4.*got 5"),
        distributed.group(),
    ):
        pass


if __name__ == "__main__":
    globals()[sys.argv[1]](Path(sys.argv[2]))
