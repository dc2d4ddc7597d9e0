"""Exercises of notebook 09: frames of one sequence, weights for rare classes, labels of another set."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
import torch
from torch import Tensor

from helpers.classes import CAMVID, IGNORE_INDEX, STREETS, ClassSet
from helpers.exercises.answers import compare, explain, require_shape, tensor_from
from helpers.exercises.core import Mistake, exercise, run
from helpers.public import CAMVID_AS_STREETS


def shared_sequences(train_names, val_names):
    known = {name.split("_")[0] for name in train_names}
    shared = [name for name in val_names if name.split("_")[0] in known]
    return len(shared) / len(val_names)


@exercise(
    "shared_sequences",
    (
        "First a small step: from one name to its sequence. Then collect the sequences of train, each once.",
        "name.split('_')[0] is the sequence. For each frame of val ask whether its sequence is among those of train, and count.",
        "A set of the sequences of train, a count over val_names of those whose sequence is in it, divided by len(val_names).",
    ),
    shared_sequences,
)
def check_shared_sequences(answer) -> str:
    cases = {
        "Two of three sequences shared": (
            "0016E5_00690 0016E5_00720 0001TP_006690 0001TP_006720 0006R0_f00930",
            "0016E5_07959 0016E5_07961 0016E5_07963 0001TP_009000 Seq05VD_f00000 Seq05VD_f00030 Seq05VD_f00060",
        ),
        "Sequences that begin alike": (
            "0016E5_00690 Seq05VD_f00000 0001TP_006690 0006R0_f00930",
            "0016TP_00720 Seq05VE_f00030 Seq05VE_f00060 0001AB_006720 0001AB_006750 0001AB_006780 0001AB_006810 0006R0_f00960 0006R0_f00990 0007TP_006900",
        ),
        "Frames numbered alike": ("0001TP_006690 0001TP_006720", "0006R0_006690 0001TP_006750 0016E5_006720"),
        "A sequence inside another name": ("0016E5_00690", "A0016E5_07959 0016E5b_00001 0016E5_07961"),
        "All shared": ("0001TP_006690 0006R0_f00930", "0001TP_006720"),
    }  # fmt: skip
    got, want, wrong = [], [], []
    for case, names in cases.items():
        train, val = ([f"{name}.png" for name in text.split()] for text in names)
        number = tensor_from(answer, [*train], [*val]).squeeze()
        why = {
            (len(val),): "That is a yes or no for each frame of val. Return the share of the yes."
        }
        require_shape(number, (), case, why, "Return one number, the share.")
        got.append(number)
        want.append(shared_sequences(train, val))
        wrong.append(_wrong_shares(train, val))
    wrong = {say: torch.tensor([case[say] for case in wrong]).double() for say in wrong[0]}
    explain(torch.stack(got), torch.tensor(want).double(), wrong, [*cases])
    return "In CamVid it is 1: each frame of val comes from a drive that train has seen, too. So val says little on other streets."


def _wrong_shares(train: list[str], val: list[str]) -> dict[str, float]:
    def share(key: Callable[[str], str], of: list[str] = val, among: list[str] = train) -> float:
        return np.mean([key(name) in set(map(key, among)) for name in of])

    def sequence(name: str) -> str:
        return name.split("_")[0]

    known, asked = set(map(sequence, train)), set(map(sequence, val))
    right, both = share(sequence), len(known & asked)
    return {
        "You compare whole names, with or without .png. No frame is in both; take the part before the underscore.": share(str),
        "That is the share of the sequences. Count frames: a long sequence counts more.": both / len(asked),
        "That is the share of the sequences in train. Count frames of val.": both / len(known),
        "That is the share of all sequences, of train and val. Count frames of val.": both / len(known | asked),
        "You count sequences. Count frames of val, and divide by their number.": both,
        "You divide by the number of train frames. The share is one of val: len(val_names).": right * len(val) / len(train),
        "Train and val are swapped: that is the share of the train frames.": share(sequence, train, val),
        "You divide by all frames, of train and val. The share is one of val: len(val_names).": right * len(val) / (len(train) + len(val)),
        "That is per cent. Return the share, from 0 to 1.": 100 * right,
        "That is the number of frames. Divide by len(val_names).": right * len(val),
        "That is the share of the frames whose sequence is new. Return that of the others.": 1 - right,
        "You compare what stands after the underscore: the number of the frame. The sequence is before it.": share(lambda name: name.split("_")[1]),
        "You compare the digits at the beginning only. Letters belong to the sequence, too: 0016E5 is not 0016TP.": share(lambda name: name[:4]),
        "You compare the digits of the sequence only. Letters belong to it, too.": share(lambda name: "".join(filter(str.isdigit, sequence(name)))),
        "You cut the names after six characters. Sequences differ in length: cut at the underscore.": share(lambda name: name[:6]),
        "You look for the sequence anywhere in the name. Compare all that stands before the underscore.": np.mean([any(q in name for q in known) for name in val]),
        "You look for names that begin with a sequence. Compare all that stands before the underscore.": np.mean([name.startswith(tuple(known)) for name in val]),
        "You rounded the share. Return it as it is.": round(right, 2),
        "You say whether any frame is shared. How many of them are?": float(right > 0),
        "You say whether all frames are shared, or // rounded the share down. How many of them are?": float(right == 1),
    }  # fmt: skip


def class_weights(masks, num_classes):
    frequencies = torch.zeros(num_classes)
    for c in range(num_classes):
        images = masks[(masks == c).any(dim=2).any(dim=1)]
        frequencies[c] = (images == c).sum() / (images != 255).sum()
    occurs = frequencies > 0  # without images it is 0 / 0, nan, which is not
    weights = torch.zeros(num_classes)
    weights[occurs] = frequencies[occurs].quantile(0.5) / frequencies[occurs]
    return weights


@exercise(
    "class_weights",
    (
        "One class at a time. Which images have it? Of their pixels that are not void, which share does it have? That is its frequency.",
        "images = masks[(masks == c).flatten(1).any(1)] are those where class c occurs. Its frequency is (images == c).sum() / (images != 255).sum().",
        "Take the median of the frequencies above 0 and divide it by each of them. A class that never occurs keeps weight 0: start from torch.zeros(num_classes).",
    ),
    class_weights,
)
def check_class_weights(answer) -> str:
    """Median frequency balancing: Eigen and Fergus, arXiv 1411.4734; SegNet, arXiv 1511.00561."""
    from helpers import public  # here, as its function has the name of the solution

    for case, num_classes, labels in (
        ("3 masks of 5 classes", 5, ((0, 0, 0, 1, 1, 4, 255), (0, 1, 2, 2, 255, 255, 255), (0, 0, 3, 4, 2, 2, 2))),
        ("3 masks without classes 1 and 4 of 7", 7, ((0, 0, 2, 2, 2, 5, 255), (0, 6, 6, 6, 6, 255, 255), (3, 0, 0, 0, 2, 2, 6))),
        ("3 masks of 4 classes", 4, ((0, 0, 0, 1, 1, 3, 255), (0, 1, 2, 2, 255, 255, 255), (0, 0, 3, 3, 2, 2, 2))),
    ):  # fmt: skip
        # Each image is one row of labels, and the same again from right to left.
        masks = torch.tensor([[row, row[::-1]] for row in labels])
        got = _weights(answer, masks, num_classes, case)
        want = public.class_weights(masks, num_classes).double()
        absent = want == 0
        if not got[~absent].isfinite().all():
            raise Mistake(
                f"{case}: a class that occurs has weight inf or nan. Take the median of the classes that occur only."
            )
        wrong = _wrong_weights(masks, num_classes)
        compare(torch.where(absent, 0, got), want, wrong, case, axes=("class",))
        if got[absent].any():
            raise Mistake(
                f"{case}: you give a class that never occurs the weight {got[absent][0]:.3g}. There is nothing to weigh: 0."
            )
    return "On CamVid's train split a bicyclist's pixel weighs 59 times as much as one of the road."


def _weights(answer, masks: Tensor, num_classes: int, case: str) -> Tensor:
    result = _unless_void_breaks(answer, masks, num_classes, case=case)
    got = tensor_from(lambda: result)
    why = {
        (256,): "Void (255) is counted as a class. Leave its pixels out before you count.",
        (int((masks.unique() < 255).sum()),): "Classes that never occur have a weight, too: 0.",
        (): "That is one number. Each class has a weight.",
    }
    require_shape(got, (num_classes,), case, why, "There is one weight per class.")
    return got


def _unless_void_breaks(answer, masks: Tensor, *rest: int, case: str):
    """What `answer` returns, as it is; a changed argument is a mistake, and void that breaks it."""
    given = masks.clone()
    try:
        result = run(answer, given, *rest)
    except (RuntimeError, LookupError) as error:
        # Raises again if void is not to blame.
        run(answer, masks.where(masks != IGNORE_INDEX, 0), *rest)
        raise Mistake(
            f"{case}: void (255) broke it: {error}. It is no class: deal with it apart."
        ) from error
    if not torch.equal(given, masks):
        raise Mistake("You changed the mask that you got; others need it. Work on a copy.")
    return result


def _wrong_weights(masks: Tensor, num_classes: int) -> dict[str, Tensor]:
    """Weights with the usual mistakes, also two at once; 0 for classes that never occur."""
    counts = (masks[..., None] == torch.arange(num_classes)).sum((1, 2)).double()
    occurs, labelled, size = counts > 0, (masks != 255).sum((1, 2)), masks[0].numel()
    pixels, present = counts.sum(0), counts.any(0)
    shares = counts / labelled[:, None]
    frequencies = {
        "": pixels / (occurs * labelled[:, None]).sum(0),
        "You divide by the pixels of all images. Only those count in which the class occurs.": pixels / labelled.sum(),
        "Void pixels (255) are counted as labelled. Leave them out.": pixels / (occurs.sum(0) * size),
        "You divide by all pixels there are. Those of images without the class do not count, nor does void (255).": pixels / masks.numel(),
        "You average the shares of single images. Add up pixels over the images first, then divide.": shares.sum(0) / occurs.sum(0),
    }  # fmt: skip
    middles = {
        "": lambda f: f[present].quantile(0.5),
        "That is the mean frequency over each. Take the median, which the large classes do not pull up.": lambda f: f[present].mean(),
        "The zeros of classes that never occur pull the median down. Take it over the classes that occur.": lambda f: f.nan_to_num().quantile(0.5),
        "torch.median takes the lower of two middle values. The median is the mean of both: quantile(0.5).": lambda f: f[present].median(),
        "The median is missing: you have plain 1 / frequency.": lambda f: 1,
    }  # fmt: skip
    wrong = {}
    for (say_frequency, f), (say_middle, middle) in product(frequencies.items(), middles.items()):
        wrong[f"{say_frequency} {say_middle}".strip()] = torch.where(present, middle(f) / f, 0)
    right = wrong.pop("")
    return wrong | {
        "The ratio is upside down: rare classes need the large weights, median / frequency.": torch.where(present, 1 / right, 0),
        "These are the frequencies. The weight is their median divided by each.": frequencies[""].nan_to_num(),
        "Your weights add up to 1. Leave them as they are: a class of median frequency has weight 1.": right / right.sum(),
        "Your weights have mean 1. Leave them as they are: a class of median frequency has weight 1.": right / right[present].mean(),
    }  # fmt: skip


def to_streets(mask):
    table = torch.full((256,), 255)
    for label, name in enumerate(CAMVID):
        table[label] = STREETS.index(CAMVID_AS_STREETS[name])
    return table[mask]


@exercise(
    "to_streets",
    (
        "Labels are places in a list of names: CAMVID[2] is 'pole', and STREETS.index('pole') is 7. Which label of Streets does each of CamVid's eleven get?",
        "Write the answers into a table: at place 2 stands 7. Then table[mask] looks up all pixels at once, and none of them twice.",
        "table = torch.full((256,), 255) holds every label and keeps 255 as 255. Fill table[label] = STREETS.index(CAMVID_AS_STREETS[name]) for label, name in enumerate(CAMVID), and return table[mask].",
    ),
    to_streets,
)
def check_to_streets(answer) -> str:
    every = torch.tensor([5, 0, 255, 10, 2, 7, 1, 9, 3, 6, 8, 4])
    for mask in (every.reshape(3, 4), every.repeat(5, 1)[:, 2:]):
        case = f"Mask {mask.shape[0]} x {mask.shape[1]}"
        got = _unless_void_breaks(answer, mask, case=case)
        if not torch.is_tensor(got):
            raise Mistake(f"{case}: return a tensor, not a {type(got).__name__}.")
        require_shape(got, mask.shape, case, {}, "The result has the shape of the mask.")
        if got.dtype != torch.int64:
            raise Mistake(f"{case}: labels are int64, as they came; yours are {got.dtype}.")
        want, void = to_streets(mask), mask == IGNORE_INDEX
        if torch.equal(got, want):
            continue
        if (got[void] != IGNORE_INDEX).any():
            raise Mistake(
                f"{case}: void (255) became {_named(STREETS, got[void][0])}. It stays 255."
            )
        low = mask < len(STREETS)
        if torch.equal(got[low], mask[low]):
            raise Mistake(
                f"{case}: you go by position: 2 is the pole in CamVid, the road in Streets. Go by names."
            )
        for message, wrong in _wrong_labels(mask, want).items():
            if torch.equal(got, wrong):
                raise Mistake(f"{case}: {message}")
        k = tuple((got != want).nonzero()[0].tolist())
        raise Mistake(
            f"{case}: {_named(CAMVID, mask[k])} becomes {_named(STREETS, got[k])}, expected {_named(STREETS, want[k])}."
        )
    return "Each pixel is looked up once, so the order of the table does not matter."


def _named(classes: ClassSet, label: Tensor) -> str:
    return f"{int(label)} ({classes[label] if label in range(len(classes)) else 'no class'})"


def _wrong_labels(mask: Tensor, want: Tensor) -> dict[str, Tensor]:
    def in_turn(labels) -> Tensor:
        replaced = mask.clone()
        for label in labels:
            replaced[replaced == label] = to_streets(torch.tensor(label))
        return replaced

    twice = "You replace one label after the other, and some pixels twice: {}. Look each pixel up once, in a table."
    known = [label for label, name in enumerate(CAMVID) if name in tuple(STREETS)]
    return {
        twice.format("2 becomes 7, then every 7 becomes 1"): in_turn(range(len(CAMVID))),
        twice.format("10 becomes 6, then every 6 becomes 7"): in_turn(range(len(CAMVID))[::-1]),
        "Only names that both sets have are left. The others have a place, too: CAMVID_AS_STREETS.": torch.where(torch.isin(mask, torch.tensor(known)), want, IGNORE_INDEX),
    }  # fmt: skip
