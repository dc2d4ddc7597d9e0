"""Exercises of notebook 08: the interval of paired scores, the Pareto front, a network of one's own."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
import torch
import torch.nn.functional as F
from scipy import stats
from torch import Tensor, nn

from helpers.exercises.answers import explain, require_shape, tensor_from
from helpers.exercises.core import Mistake, exercise, run


def paired_interval(scores, others):
    differences = np.subtract(scores, others)
    n = len(differences)
    standard_error = differences.std(ddof=1) / np.sqrt(n)
    return differences.mean(), stats.t.ppf(0.975, n - 1) * standard_error


@exercise(
    "paired_interval",
    (
        "Both scores of a seed share its luck. Subtract them seed by seed: what is left is one difference per seed, and the interval is that of these n numbers.",
        "The mean of n differences is uncertain by their standard deviation (divided by n - 1, not n) over sqrt(n). Few seeds make even that uncertain: the factor is Student's, not 1.96.",
        "differences.std(ddof=1) / np.sqrt(n), times stats.t.ppf(0.975, n - 1): 2.5 % are left out at each end. Return the mean of scores - others, and this half width.",
    ),
    paired_interval,
)
def check_paired_interval(answer) -> str:
    cases = (
        ([0.58, 0.64, 0.53, 0.78, 0.62], [0.52, 0.61, 0.55, 0.70, 0.58]),
        ([0.41, 0.60, 0.47], [0.45, 0.83, 0.52]),
        ([0.30, 0.75, 0.52], [0.50, 0.48, 0.55]),
    )
    names = [f"scores {scores}, others {others}" for scores, others in cases]
    got = []
    for case, (scores, others) in zip(names, cases, strict=True):
        try:
            pair = tensor_from(answer, [*scores], [*others])
        except TypeError as error:
            if "'list' and 'list'" not in str(error):
                raise
            raise Mistake(
                "Python subtracts no lists. np.subtract(scores, others) does it number by number."
            ) from error
        rule = "Return two numbers, (mean, half width)."
        require_shape(pair, (2,), case, {(): f"That is one number. {rule}"}, rule)
        got.append(pair)
    means, halves = torch.stack(got).T
    want_means, want_halves = torch.tensor([paired_interval(*case) for case in cases]).double().T
    if torch.allclose(means, want_halves) and torch.allclose(halves, want_means):
        raise Mistake("The two are swapped: return (mean, half width).")
    if torch.allclose((means + halves) / 2, want_means):
        raise Mistake(
            "These are the ends of an interval. Return its middle, the mean, and half of its width."
        )
    wrong = _by_message([_wrong_means(*case) for case in cases])
    explain(means, want_means, wrong, [f"Mean for {name}" for name in names])
    wrong = _by_message([_wrong_halves(*case) for case in cases])
    explain(halves, want_halves, wrong, [f"Half width for {name}" for name in names])
    return "With three seeds Student's factor is 4.30, with five 2.78, with ten 2.26: the third seed helps more than the tenth."


def _by_message(wrong: list[dict[str, float]]) -> dict[str, Tensor]:
    return {say: torch.tensor([case[say] for case in wrong]).double() for say in wrong[0]}


def _wrong_means(scores: list, others: list) -> dict[str, float]:
    d = np.subtract(scores, others)
    return {
        "The sign is wrong: scores - others is positive where the change helps.": -d.mean(),
        "You dropped the signs of the differences. A seed that got worse must count against the change.": abs(
            d
        ).mean(),
        "You dropped the sign of the mean: whether the change helps or hurts is the question.": abs(
            d.mean()
        ),
        "That is the median of the differences. Take their mean.": np.median(d),
        "That is the sum of the differences. Divide by their number.": d.sum(),
        "That is the mean of scores. Subtract others first.": np.mean(scores),
    }


def _wrong_halves(scores: list, others: list) -> dict[str, float]:
    """Half widths with at most two of the usual mistakes."""
    n, d = len(scores), np.subtract(scores, others)
    one, other = np.var(scores, ddof=1), np.var(others, ddof=1)
    few = "With so few take Student's, stats.t.ppf(0.975, n - 1)."
    unpaired = "You compare two separate groups. Scores of one seed belong together: subtract first, then take the spread of the differences."
    factors = {
        "": stats.t.ppf(0.975, n - 1),
        f"1.96 is the factor for many runs. {few}": 1.96,
        f"Your factor is that of the normal curve, for many runs. {few}": stats.norm.ppf(0.975),
        f"2 is a rule of thumb for many runs. {few}": 2,
        f"2.78 is the factor of five values. {few}": 2.78,
        "stats.t.ppf(0.025, ...) is the lower end, which is negative: take 0.975.": stats.t.ppf(0.025, n - 1),
        "One degree of freedom goes to the mean: n - 1, not n.": stats.t.ppf(0.975, n),
        "The quantile 0.95 leaves out 5 % at either end. For 95 % in all take 0.975.": stats.t.ppf(0.95, n - 1),
        "Student's factor is missing: stats.t.ppf(0.975, n - 1).": 1,
    }  # fmt: skip
    spreads = {
        "": d.std(ddof=1),
        "That is the variance. The standard deviation is its root.": d.var(ddof=1),
        "Your standard deviation divides by n, as np.std does. These are a few runs of many possible ones: ddof=1.": d.std(),
        unpaired: (one + other) ** 0.5,
        "You take the spread of the differences without their signs. Keep the signs.": abs(d).std(ddof=1),
        "That is the spread of scores. Take that of the differences.": one**0.5,
        "That is the spread of others. Take that of the differences.": other**0.5,
    }  # fmt: skip
    divisors = {
        "": n**0.5,
        "A mean of n is less uncertain than one of them: divide the standard deviation by sqrt(n).": 1,
        "Divide the standard deviation by sqrt(n), not by n.": n,
        "n - 1 is in ddof=1 already: divide by sqrt(n).": (n - 1) ** 0.5,
    }
    widths = {"": 1, "That is the whole width of the interval. Return half of it.": 2}
    wrong = {}
    for parts in product(*(table.items() for table in (factors, spreads, divisors, widths))):
        mistakes = [say for say, _ in parts if say]
        if len(mistakes) <= 2:
            factor, spread, divisor, width = (number for _, number in parts)
            wrong[" ".join(mistakes)] = factor * spread / divisor * width
    error = ((one + other) / n) ** 0.5
    welch = (n - 1) * (one + other) ** 2 / (one**2 + other**2)
    return wrong | {
        f"{unpaired} n pairs have n - 1 degrees of freedom, not 2n - 2.": stats.t.ppf(0.975, 2 * n - 2) * error,
        f"{unpaired} Welch's formula is for groups, too.": stats.t.ppf(0.975, welch) * error,
        "You add the half widths of both. Subtract first: what a seed does to both scores cancels.": factors[""] * (one**0.5 + other**0.5) / n**0.5,
    }  # fmt: skip


def pareto_front(costs, scores):
    front = []
    for i in range(len(costs)):
        beaten = False
        for j in range(len(costs)):
            no_worse = costs[j] <= costs[i] and scores[j] >= scores[i]
            better = costs[j] < costs[i] or scores[j] > scores[i]
            beaten = beaten or (no_worse and better)
        if not beaten:
            front.append(i)
    return sorted(front, key=lambda i: costs[i])


@exercise(
    "pareto_front",
    (
        "Ask of each point whether any other one beats it. Those that none beats are the front.",
        "Point j beats i when costs[j] <= costs[i] and scores[j] >= scores[i], and one of the two is strict. The strict part keeps a point from beating itself or its double.",
        "Two loops: append i to a list unless some j beats it. At the end sorted(front, key=lambda i: costs[i]).",
    ),
    pareto_front,
)
def check_pareto_front(answer) -> str:
    # No ties; ties in cost or in score; doubles on the front and off it; nobody to compare with.
    cases = (
        ([5, 1, 8, 3, 9, 4, 2, 4.5], [0.60, 0.30, 0.75, 0.55, 0.70, 0.50, 0.20, 0.52]),
        ([2, 2, 6, 7, 4], [0.3, 0.4, 0.7, 0.7, 0.5]),
        ([3, 1, 3, 6, 5, 6, 1], [0.6, 0.2, 0.6, 0.5, 0.7, 0.5, 0.2]),
        ([3], [0.5]),
    )
    got = []
    for costs, scores in cases:
        given = [*costs], [*scores]
        indices = tensor_from(answer, *given)
        if given != (costs, scores):
            raise Mistake("You changed a list that you got; others need it. Sort a copy: sorted().")
        if indices.ndim != 1:
            say = "These are pairs." if indices.ndim == 2 else "That is one number."
            raise Mistake(f"{say} Return a list of indices, even where it holds only one.")
        got.append(indices.tolist())
    off = [_off(front, *case) for front, case in zip(got, cases, strict=True)]
    if any(off):
        wrong = [_wrong_fronts(*case) for case in cases]
        for message in wrong[0]:
            if all(_same(front, case[message]) for front, case in zip(got, wrong, strict=True)):
                raise Mistake(message)
        raise Mistake(next(filter(None, off)))
    for front, (costs, _) in zip(got, cases, strict=True):
        along = [costs[int(i)] for i in front]
        if along != sorted(along):
            kept = " You keep the order of the lists." if front == sorted(front) else ""
            raise Mistake(
                f"The right points, but in the order of costs {along}.{kept} Sort them, the cheapest first."
            )
    return "Along the front the score rises with the cost: a point that costs more for less is not on it."


def _same(got: list, want: list) -> bool:
    """The same numbers, in whatever order."""
    return len(got) == len(want) and np.allclose(sorted(got), sorted(want))


def _unbeaten(costs: list, scores: list, beats: Callable[..., bool]) -> list[int]:
    """The points that no other beats: ``beats(its cost, its score, my cost, my score)``."""
    points = list(zip(costs, scores, strict=True))
    return [
        i
        for i, mine in enumerate(points)
        if not any(beats(*its, *mine) for j, its in enumerate(points) if j != i)
    ]


def _wrong_fronts(costs: list, scores: list) -> dict[str, list[float]]:
    every = range(len(costs))
    want = pareto_front(costs, scores)
    order = sorted(every, key=lambda i: costs[i])
    steps = zip(order, [None, *order], strict=False)

    def front(beats):
        return _unbeaten(costs, scores, beats)

    return {
        "A dear point beats a cheap one, as you have it. High scores are good, high costs are not.": front(lambda c, s, d, t: c >= d and s >= t and (c, s) != (d, t)),
        "A low score beats a high one, as you have it. Low costs are good, low scores are not.": front(lambda c, s, d, t: c <= d and s <= t and (c, s) != (d, t)),
        "You look from the wrong side: your points are dear and score low.": front(lambda c, s, d, t: c >= d and s <= t and (c, s) != (d, t)),
        "You call a point beaten only if another one is cheaper and better. At the same cost a better score is enough, at the same score a lower cost.": front(lambda c, s, d, t: c < d and s > t),
        "Of two points at the same cost the lower score is beaten: compare costs with <=, not <.": front(lambda c, s, d, t: c < d and s >= t),
        "Of two points with the same score the dearer is beaten: compare scores with >=, not >.": front(lambda c, s, d, t: c <= d and s > t),
        "Doubles throw each other out. To beat, a point must be better in at least one of the two.": front(lambda c, s, d, t: c <= d and s >= t),
        "Your front is empty: each point beats itself. To beat, a point must be better in at least one of the two.": [],
        "You call a point beaten if another one is cheaper or better. It must be no worse in the other, too.": front(lambda c, s, d, t: c < d or s > t),
        "You compare each point only with the next cheaper one. An even cheaper one may beat it.": [i for i, last in steps if last is None or scores[i] > scores[last]],
        "You return costs. Return the indices of the points.": [costs[i] for i in want],
        "You return scores. Return the indices of the points.": [scores[i] for i in want],
        "These are 0 and 1 for each point. Return the indices where it is 1.": [i in want for i in every],
        "You count the points from 1. In Python the first index is 0.": [i + 1 for i in want],
        "You return places in the sorted lists. Return the indices of the lists as they came.": [order.index(i) for i in want],
        "You return only the point with the best score. Cheaper ones that nothing beats belong to the front, too.": [int(np.argmax(scores))],
        "You return only the cheapest point. Better ones that nothing beats belong to the front, too.": [int(np.argmin(costs))],
        "You return all points. Leave out those that another one beats.": list(every),
    }  # fmt: skip


def _off(front: list[float], costs: list, scores: list) -> str:
    """What is wrong with one front; nothing where it has the right points."""
    want = pareto_front(costs, scores)
    case = f"Costs {costs}, scores {scores}"
    if len(set(front) & set(range(len(costs)))) < len(front):
        return f"{case}: you return {front}, and not different indices from 0 to {len(costs) - 1}."
    for i in (int(i) for i in front if i not in want):
        j = next(j for j in want if costs[j] <= costs[i] and scores[j] >= scores[i])
        return (
            f"{case}: point {i} is on your front, yet point {j} costs no more and scores no less."
        )
    for i in (i for i in want if i not in front):
        doubles = [j for j in front if (costs[int(j)], scores[int(j)]) == (costs[i], scores[i])]
        why = "it is as good as its double: both stay" if doubles else "none beats it"
        return f"{case}: point {i} is missing, yet {why}."
    return ""


def my_network(num_classes):
    def layer(channels, stride=1, rate=1):
        return nn.Sequential(
            nn.Conv2d(channels, 32, 3, stride, padding=rate, dilation=rate, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(),
        )

    return nn.Sequential(
        layer(3, stride=2),
        *(layer(32, rate=rate) for rate in (1, 2, 4)),
        nn.Conv2d(32, num_classes, 1),
        nn.Upsample(scale_factor=2, mode="bilinear"),
    )


@exercise(
    "my_network",
    (
        "Three parts: layers that make a smaller map of features, a 1x1 convolution from the features to one score per class, and a way back to the size of the image.",
        "3x3 convolutions with padding=rate and dilation=rate keep the size of the map and see far. nn.BatchNorm2d and nn.ReLU go after each, but nothing after the scores.",
        "nn.Sequential(a convolution with stride 2, three with rates 1, 2 and 4, nn.Conv2d(width, num_classes, 1), nn.Upsample(scale_factor=2, mode='bilinear')).",
    ),
    my_network,
)
def check_my_network(answer) -> str:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for num_classes in (8, 3):
            network = run(answer, num_classes)
            _require_module(network)
            _require_trainable(network.train(), num_classes)
            _require_steady(network.eval(), num_classes)
        count = sum(parameter.numel() for parameter in network.parameters())
        alone = _sees_single_pixels(network)
    note = " It sees single pixels only, like `colour`." if alone else ""
    return f"{count:,} parameters for 3 classes.{note} How good it is, training will tell."


def _require_module(network) -> None:
    if isinstance(network, type):
        name = network.__name__
        raise Mistake(f"You return the class {name}. Return a network that it makes: {name}(...).")
    if not isinstance(network, nn.Module):
        raise Mistake(f"Return a network, an nn.Module, not a {type(network).__name__}.")
    found = set(network.modules())
    for module in found:
        for name, value in vars(module).items():
            parts = value if isinstance(value, list | tuple) else ()
            if any(isinstance(part, nn.Module) and part not in found for part in parts):
                raise Mistake(
                    f"In a plain {type(value).__name__} nobody finds the layers of {name} to train them: use nn.ModuleList or nn.Sequential."
                )


def _require_trainable(network: nn.Module, num_classes: int) -> None:
    """As in training: two images, cross entropy, a gradient for every parameter."""
    logits = _logits(network, torch.rand(2, 3, 96, 128), num_classes)
    if not any(True for _ in network.parameters()):
        raise Mistake("It has no parameters, so there is nothing to train.")
    if logits.requires_grad:
        masks = torch.randint(num_classes, (2, 96, 128))
        F.cross_entropy(logits, masks).backward()
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            raise Mistake(f"{name} is frozen (requires_grad=False): it would stay random.")
        if parameter.grad is None:
            raise Mistake(
                f"No gradient reaches {name}: forward does not use it, or detach, no_grad or the like cuts the way."
            )


def _require_steady(network: nn.Module, num_classes: int) -> None:
    """As in use: one image, and the same logits whenever it comes."""
    image = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        first, again = (_logits(network, image, num_classes) for _ in range(2))
    if not torch.allclose(first, again, atol=1e-5):
        raise Mistake(
            "In eval the same image gets other logits each time. Make layers outside of forward, and take nn.Dropout, which eval turns off."
        )
    with torch.no_grad():
        loud = network(1e4 * image)
    if 0 <= loud.min() < loud.max() <= 1:
        raise Mistake(
            "However bright the image, all your numbers lie between 0 and 1. Leave out the last sigmoid or softmax: a logit may be any number."
        )


def _logits(network: nn.Module, images: Tensor, num_classes: int) -> Tensor:
    """What `network` gives for `images`; `Mistake` unless they are logits, one per class and pixel."""
    n, _, h, w = images.shape
    case = f"{num_classes} classes, images {tuple(images.shape)}"
    before = images.clone()
    try:
        logits = network(images)
    except (RuntimeError, ValueError) as error:
        raise Mistake(f"{case}: forward raised {type(error).__name__}: {error}") from error
    if not torch.equal(images, before):
        raise Mistake("It changes the images that it gets; others need them: nothing in place.")
    if not torch.is_tensor(logits):
        kind = type(logits).__name__
        raise Mistake(f"{case}: it gives a {kind}. Return the logits alone, one tensor.")
    labels = "These are labels. Return the scores of all classes: argmax has no gradient."
    why = {
        (n, h, w): labels,
        (n, 1, h, w): labels,
        (n, num_classes): "That is one answer per image. Every pixel needs its own: no flatten, no pooling of the whole map.",
        (n, h, w, num_classes): "The class axis is last. It comes second.",
        (num_classes, h, w): "The batch axis is lost, as by squeeze() or [0].",
        (n, num_classes + 1, h, w): "One class too many. Void (255) needs none: the loss leaves it out.",
        (n, 8, h, w): "You always give 8 classes: use the argument num_classes.",
    }  # fmt: skip
    otherwise = "Logits are (N, num_classes, H, W), as large as the image: pad convolutions, and undo every stride by nn.Upsample or F.interpolate."
    require_shape(logits, (n, num_classes, h, w), case, why, otherwise)
    low, high, sums = logits.min(), logits.max(), logits.float().sum(1)
    ones = torch.ones_like(sums)
    for wrong, say in (
        (not logits.is_floating_point(), f"Logits are floats, yours are {logits.dtype}."),
        (not logits.isfinite().all(), "Some logits are inf or nan."),
        (torch.allclose(sums, ones, atol=1e-4), "Your numbers add up to 1 over the classes. Leave the softmax out: cross entropy takes logits and applies it itself."),
        (low == 0 and high > 0, "No logit is below 0. Leave out the last ReLU: a score may be negative."),
    ):  # fmt: skip
        if wrong:
            raise Mistake(f"{case}: {say}")
    return logits


def _sees_single_pixels(network: nn.Module) -> bool:
    """Whether the logits of a pixel follow its own colour and that of no other pixel."""
    place = (..., 30, 40)
    image, other = torch.rand(2, 1, 3, 64, 96)
    own, surroundings = image.clone(), other.clone()
    own[place], surroundings[place] = other[place], image[place]
    with torch.no_grad():
        before, by_own, by_others = (network(x)[place] for x in (image, own, surroundings))
    return torch.allclose(before, by_others) and not torch.allclose(before, by_own)
