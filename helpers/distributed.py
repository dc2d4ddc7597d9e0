"""Several processes that train one network together, as ``torchrun`` starts them.

Each process holds the whole network and works on its share of every batch. What one process sums
over the batch, they add up among themselves: the loss, the statistics of batch normalisation, the
gradients. With one process, every function here hands back what it was given.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import TypeVar

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

from helpers.classes import IGNORE_INDEX

T = TypeVar("T")

TIMEOUT = timedelta(minutes=10)
"""How long a process waits for the others before it takes one of them for lost."""


@contextmanager
def group() -> Iterator[None]:
    """Within the ``with`` block, the processes that ``torchrun`` started work together.

    They talk through gloo, or on CUDA, where each takes a GPU of its own, through nccl; on the CPU
    each has one thread, unless ``OMP_NUM_THREADS`` gives it more. Without ``torchrun`` this does
    nothing. When one process fails or is interrupted, ``torchrun`` ends all; when one falls silent,
    the others fail after ``TIMEOUT``. Raises ``ValueError`` on a machine with fewer GPUs than
    processes.
    """
    if not (dist.is_available() and dist.is_torchelastic_launched()):
        yield
        return
    cuda = torch.cuda.is_available()
    if cuda:
        gpus, processes = torch.cuda.device_count(), int(os.environ["LOCAL_WORLD_SIZE"])
        if processes > gpus:
            raise ValueError(
                f"--nproc-per-node must be at most {gpus}, one process per GPU; got {processes}"
            )
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if cuda else "gloo", timeout=TIMEOUT)
    yield
    # Not after an error: leaving in good order may wait for processes that wait for this one.
    dist.destroy_process_group()


def world_size() -> int:
    """How many processes work together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """The number of this process; process 0 is the one that prints and saves."""
    return dist.get_rank() if world_size() > 1 else 0


def own_seed(seed: int) -> int:
    """`seed` in process 0, another in every other: augmentation and dropout must not be alike."""
    return seed + 1_000_003 * rank()


def of_first(value: T) -> T:
    """The `value` of process 0, in every process; anything that can be pickled."""
    if world_size() == 1:
        return value
    values = [value]
    _together(dist.broadcast_object_list, values)
    return values[0]


@contextmanager
def first_alone() -> Iterator[None]:
    """Process 0 runs the ``with`` block before the others, which then find what it has cached."""
    if rank() > 0:
        of_first(None)
    yield
    if rank() == 0:
        of_first(None)


def total(values: Tensor) -> Tensor:
    """`values` added up over the processes, the same in each; differentiable."""
    return values if world_size() == 1 else _Total.apply(values)


class _Total(torch.autograd.Function):
    @staticmethod
    def forward(ctx, values: Tensor) -> Tensor:
        result = values.clone(memory_format=torch.contiguous_format)
        _together(dist.all_reduce, result)
        return result

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        # The loss is the sum of the parts that the processes hold, and each uses the total.
        return total(gradient)


def shares(loader: DataLoader) -> DataLoader:
    """A loader of this process's share of every batch of `loader`, in the order of process 0.

    The images of a batch are dealt out in turn: shares differ by one image at most. Raises
    ``ValueError`` when a batch, such as a short last one, has fewer images than there are processes.
    """
    processes, images, size = world_size(), len(loader.dataset), loader.batch_size
    if processes == 1:
        return loader
    last = size if loader.drop_last else images % size or size
    if last < processes:
        raise ValueError(
            f"batch_size must give each of {processes} processes an image of every batch; "
            f"got {size}, which leaves {last} of {images} images to the last batch"
        )
    return DataLoader(loader.dataset, batch_sampler=_Shares(loader.batch_sampler))


class _Shares:
    """Batches of indices in, of each batch the indices of this process out."""

    def __init__(self, batches) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[int]]:
        # Random states drift apart as soon as shares of unequal size are augmented.
        for batch in of_first(list(self.batches)):
            yield batch[rank() :: world_size()]


def cross_entropy(logits: Tensor, masks: Tensor, class_weights: Tensor | None) -> Tensor:
    """This share's part of the mean cross entropy over the labelled pixels of the whole batch.

    The sum over the processes is the mean: one share may hold more void (255) than another, so the
    mean of their means would be another number. `logits` float (N, C, H, W), `masks` int64
    (N, H, W), `class_weights` ``(C,)``.
    """
    if world_size() == 1:
        return F.cross_entropy(logits, masks, weight=class_weights, ignore_index=IGNORE_INDEX)
    part = F.cross_entropy(logits, masks, class_weights, ignore_index=IGNORE_INDEX, reduction="sum")
    labels = masks[masks != IGNORE_INDEX]
    weights = torch.ones_like(labels) if class_weights is None else class_weights[labels]
    return part / total(weights.sum().to(part.dtype))


def add_gradients(model: nn.Module) -> None:
    """Add to the gradients of `model` those of its copies in the other processes."""
    if world_size() == 1:
        return
    # DistributedDataParallel would do it while the backward pass still runs; but it wraps the model
    # and takes means, where parts of one loss need the sum.
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    sums = total(torch.cat([gradient.flatten() for gradient in gradients]))
    parts = sums.split([gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))


@contextmanager
def in_step(model: nn.Module) -> Iterator[None]:
    """Within the ``with`` block, copies of `model` train as one.

    All start from the weights of process 0, and every ``nn.BatchNorm2d`` normalises by the
    statistics of the whole batch. Afterwards it normalises as it did before.
    """
    if world_size() == 1:
        yield
        return
    model.load_state_dict(of_first({key: v.cpu() for key, v in model.state_dict().items()}))
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.forward = partial(_batch_norm, norm)
    try:
        yield
    finally:
        for norm in norms:
            del norm.forward


def _batch_norm(norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    """`norm` on a share ``(N, C, H, W)``, mean and variance taken over all shares.

    Ioffe and Szegedy, "Batch normalization", arXiv 1502.03167, algorithm 1.
    ``nn.SyncBatchNorm`` does the same, on GPUs only.
    """
    if not norm.training:
        return nn.BatchNorm2d.forward(norm, x)
    values = x.to(torch.promote_types(x.dtype, torch.float32))
    count = total(values.new_tensor(x.numel() / x.shape[1]))
    mean = total(values.sum((0, 2, 3))) / count
    # Not mean(x²) − mean(x)²: where the mean is large, the difference is mostly rounding.
    centred = values - mean[:, None, None]
    variance = total(centred.square().sum((0, 2, 3))) / count
    if norm.track_running_stats:
        with torch.no_grad():
            norm.num_batches_tracked += 1
            cumulative = norm.momentum is None
            momentum = 1 / norm.num_batches_tracked.item() if cumulative else norm.momentum
            norm.running_mean.lerp_(mean, momentum)
            norm.running_var.lerp_(variance * count / (count - 1), momentum)
    result = centred * (variance + norm.eps).rsqrt()[:, None, None]
    if norm.affine:
        result = result * norm.weight[:, None, None] + norm.bias[:, None, None]
    return result.to(x.dtype)


def _together(operation: Callable, values: Tensor | list) -> None:
    """An operation that all processes take part in, with a plain word on those that do not."""
    try:
        operation(values)
    except RuntimeError as error:
        raise RuntimeError(
            f"process {rank()} of {world_size()} waited in vain for the others: one of them failed, "
            f"was ended, or was silent for {TIMEOUT.total_seconds():.0f} s"
        ) from error
