"""Exercises of notebook 07: a mean-field update, the signs of pydensecrf, sigma from a picture."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from helpers.exercises.answers import compare, explain, require_shape, tensor_from
from helpers.exercises.core import Mistake, NotTried, exercise


def potts_update(unary, kernel, q):
    messages = q @ kernel
    return torch.softmax(messages - unary, dim=0)


@exercise(
    "potts_update",
    (
        "For each label of each pixel: what does it cost? Its unary energy, and kernel[i, j] for every pixel j that has another label. j has another label than l with probability 1 - q[l, j].",
        "sum_j kernel[i, j] * (1 - q[l, j]) is a number that is the same for all labels, less the message sum_j kernel[i, j] * q[l, j]. So the message lowers the energy. As one matrix product it has shape (C, N).",
        "The kernel is symmetric, so element (l, i) of q @ kernel is that message. The energies are unary - messages; the softmax of minus the energies runs over the labels, axis 0.",
    ),
    potts_update,
)
def check_potts_update(answer) -> str:
    for c, n in ((3, 5), (2, 4)):
        unary, kernel = _numbers(1.5, c, n), _numbers(1.7, n, n) / 2
        q = (_numbers(1.3, c, n) * 2).softmax(0)
        kernel = (kernel + kernel.T) / 2
        case = f"{c} labels, {n} pixels"
        try:
            got = tensor_from(answer, unary, kernel, q)
        except RuntimeError as error:
            if "must match" not in str(error) and "cannot be multiplied" not in str(error):
                raise
            raise Mistake(
                f"{case}: torch says: {error}. Perhaps * stands where @ should, or the factors have changed places: (C, N) @ (N, N) is (C, N)."
            ) from error
        why = {
            (n, c): "Labels and pixels have changed places: return the transpose.",
            (n,): "That is one number per pixel. Return the probabilities of all its labels.",
            (c, n, n): "That is one number per pair of pixels: add up over j.",
        }
        require_shape(got, (c, n), case, why, "The result has the shape of q, (C, N).")
        want = potts_update(unary, kernel, q)
        compare(got, want, _wrong_updates(unary, kernel, q), case, axes=("label", "pixel"))
    return "crf.refine and crf.mean_field repeat it. The cost of unequal labels and minus the message differ by the sum of the kernel's row: the same for all labels, so softmax drops it."


def _numbers(power: float, *shape: int) -> Tensor:
    """Numbers in [0, 2) without a pattern."""
    count = torch.Size(shape).numel()
    return ((torch.arange(1, count + 1).double() ** power) % 2).reshape(shape)


def _wrong_updates(unary: Tensor, kernel: Tensor, q: Tensor) -> dict[str, Tensor]:
    messages, pulls = q @ kernel, kernel.sum(1)
    scores, probabilities = messages - unary, (-unary).exp()
    right = scores.softmax(0)
    likeliest = F.one_hot(q.argmax(0), len(q)).T.double()
    in_turn = q.clone()
    for i in range(q.shape[1]):
        in_turn[:, i] = (in_turn @ kernel[i] - unary[:, i]).softmax(0)
    no_softmax = "The probabilities of a pixel must add up to 1: "
    energy = "unary is an energy already, minus the log of a probability. You turn it into a probability and"
    return {
        "Equal labels cost something, as you have it, so pixels repel each other. Unequal ones cost: messages lower the energy.": (-messages - unary).softmax(0),
        "unary is an energy: the likely label has the lowest. It enters the softmax with a minus.": (messages + unary).softmax(0),
        "You took the softmax of the energies. The lower the energy, the likelier: of minus the energies.": (unary - messages).softmax(0),
        "Your softmax runs over the pixels. Those of one pixel's labels must add up to 1: axis 0.": scores.softmax(1),
        "Your softmax runs over labels and pixels together. Each pixel has one of its own: axis 0.": scores.flatten().softmax(0).reshape(q.shape),
        "These are energies. The softmax over the labels of minus them is missing.": -scores,
        "These are energies, and what unequal labels cost is in. The softmax of minus them is missing.": pulls - scores,
        f"{no_softmax}the softmax over the labels is missing.": scores,
        f"{no_softmax}divide exp(...) by its sum over the labels.": scores.exp(),
        f"{no_softmax}divide exp(-energy) by its sum over the labels.": (scores - pulls).exp(),
        "These are logs of probabilities: softmax, not log_softmax.": right.log(),
        "The unary energies are forgotten: what the network saw counts in every update.": messages.softmax(0),
        "The messages are forgotten: each pixel decides alone.": (-unary).softmax(0),
        "A pixel's q is multiplied by its whole row of the kernel: it listens to itself only. Multiply kernel[i, j] by q of j: a matrix product.": (q * pulls - unary).softmax(0),
        "A pixel hears only itself, by the diagonal of the kernel. Add up over all j.": (q * kernel.diagonal() - unary).softmax(0),
        "You multiply by q at the end. It enters through the messages only: the update replaces it.": (q.log() + scores).softmax(0),
        "You add log q in place of -unary. The unary energies stay what they are in all updates, q changes.": (q.log() + messages).softmax(0),
        "The messages come from softmax(-unary), as if it were the first update. Take q.": ((-unary).softmax(0) @ kernel.T - unary).softmax(0),
        f"{energy} subtract it.": (messages - probabilities).softmax(0),
        f"{energy} add it.": (messages + probabilities).softmax(0),
        "You add the messages to probabilities, and divide. They are energies: they belong under the exp.": (probabilities + messages) / (probabilities + messages).sum(0),
        "You update one pixel after the other, and the later ones see new values. All of them are updated at once, from q.": in_turn,
        "You halve the messages. Only the energy of the whole picture, where each pair comes twice, has 1/2.": (messages / 2 - unary).softmax(0),
        "You took the mean over j. The messages are added up.": (messages / q.shape[1] - unary).softmax(0),
        "You divide by the sums of the kernel's rows. Use the kernel as it is: it may be normalised already.": (messages / pulls - unary).softmax(0),
        "You leave out what a pixel tells itself. The paper does, pydensecrf does not: use the kernel as it is, with its diagonal.": (scores - q * kernel.diagonal()).softmax(0),
        "You return the likeliest label as 1, the others as 0. Return the probabilities: the next update needs them.": F.one_hot(right.argmax(0), len(q)).T.double(),
        "You count only the likeliest label of each neighbour. Its probabilities count, q as it is.": (likeliest @ kernel.T - unary).softmax(0),
        "You return q as it came.": q,
        "The kernel is forgotten: multiply 1 - q of j by kernel[i, j], and add up over j.": (q - unary).softmax(0),
        "q stands where -unary should: the energies of the network stay in every update.": (q + messages).softmax(0),
    }  # fmt: skip


def as_penalty(compat, num_classes):
    if np.ndim(compat) == 0:
        return -compat * np.eye(num_classes)
    if np.ndim(compat) == 1:
        return np.diag(compat)
    return (compat + compat.T) / 2


@exercise(
    "as_penalty",
    (
        "Row l of M says what label l pays: M[l, k] times the message of label k. A positive number on the diagonal is a price for having neighbours of one's own label.",
        "A number w attracts: label l saves w times its own message. Of a vector v, label l pays v[l] times its own message. Of a matrix, pydensecrf takes the mean of it and its transpose.",
        "np.ndim(compat) is 0, 1 or 2. Minus w times np.eye(num_classes); np.diag, with no minus; half of the matrix plus its .T.",
    ),
    as_penalty,
)
def check_as_penalty(answer) -> str:
    matrix = np.float32([[1, 2, 4], [5, -1, 3], [0.5, 7, 2]])
    cases = {
        "compat=10": (10, 3),
        "compat=2.5": (2.5, 4),
        "compat=np.array([3, 1, -2])": (np.float32([3, 1, -2]), 3),
        "compat=np.array([3, 3, 3, 3])": (np.float32([3, 3, 3, 3]), 4),
        f"compat=np.array({matrix.tolist()})": (matrix, 3),
    }
    for case, (compat, c) in cases.items():
        try:
            got = tensor_from(answer, compat, c)
        except NotTried:
            if np.ndim(compat) == 0:
                raise
            raise Mistake(f"{case}: your function returns nothing.") from None
        except (AttributeError, TypeError, ValueError) as error:
            if np.ndim(compat):
                raise
            raise Mistake(
                f"{case}: Python says: {error}. Perhaps you treat the number as an array: np.ndim(compat) is 0 for it."
            ) from error
        why = {
            (): "That is one number: put it on the diagonal.",
            (c,): "That is one number per label: put them on the diagonal, with np.diag.",
        }
        require_shape(got, (c, c), case, why, "M has a row and a column for each label.")
        want = torch.as_tensor(as_penalty(compat, c)).double()
        off = got - want
        if torch.allclose(off, off[:1].expand(c, c), atol=1e-5):
            continue  # as w * (1 - I): the same for all labels, which softmax drops
        if torch.allclose(got, got[:1].expand(c, c)):
            raise Mistake(
                f"{case}: all rows of your matrix are equal. All labels pay the same, so no probability changes."
            )
        compare(got, want, _wrong_penalties(compat, c), case)
    return "So compat=3, a vector of -3 and the matrix 3 * (1 - I) do the same; the vector np.array([3, 3, 3]) does the opposite, it repels."


def _wrong_penalties(compat, c: int) -> dict[str, Tensor]:
    given, eye = torch.as_tensor(compat).double(), torch.eye(c).double()
    others = 1 - eye
    if given.ndim == 0:
        return {
            "A number attracts: a label pays less where its neighbours have it. You make it pay more.": given * eye,
            "You make it cheaper to differ. The price of unequal labels is positive, or that of equal ones negative.": -given * others,
            "The number itself is forgotten: -w on the diagonal, not -1.": -eye,
            "The number itself is forgotten: it is w that unequal labels cost, not 1.": others,
        }  # fmt: skip
    if given.ndim == 1:
        return {
            "You turn the sign, as for a number. pydensecrf adds a vector as it is, which is why positive numbers repel.": -given.diag(),
            "You read the vector as the price of unequal labels. It is that of equal ones, which is why positive numbers repel.": given * others,
            "You read the vector as the price of unequal labels, row by row. It is that of equal ones, which is why positive numbers repel.": given[:, None] * others,
            "Row l is v[l] throughout: label l pays for the messages of all labels. Only its own counts: the diagonal.": given[:, None].expand(c, c),
        }  # fmt: skip
    mean = (given + given.T) / 2
    return {
        "You take the matrix as it is. pydensecrf makes it symmetric: the mean of it and its transpose.": given,
        "You transpose the matrix. pydensecrf takes the mean of it and its transpose.": given.T,
        "That is the sum of the matrix and its transpose. Take half of it.": given + given.T,
        "You turn the sign, as for a number. A matrix is added as it is: it holds prices.": -mean,
        "You turn the sign, as for a number, and the matrix is not made symmetric.": -given,
        "The diagonal is lost. pydensecrf keeps it: what equal labels cost.": mean * others,
        "Only the diagonal is left. A matrix says what each pair of labels costs.": given.diagonal().diag(),
    }  # fmt: skip


def choose_srgb(inside, across, candidates):
    def likeness(differences, sigma):
        return np.exp(-(differences**2) / (2 * sigma**2)).mean()

    return max(candidates, key=lambda sigma: likeness(inside, sigma) - likeness(across, sigma))


@exercise(
    "choose_srgb",
    (
        "At a good sigma the kernel is near 1 inside an object and near 0 across an edge. Compare both means, for each candidate.",
        "The kernel of a difference d is exp(-d**2 / (2 * sigma**2)). Of all `inside` take the mean of the kernel, of all `across`, too; the gap is the first less the second.",
        "Return the candidate with the largest gap: keep the best so far in a loop, or max(candidates, key=...). It is sigma that is asked for, not its gap or its place.",
    ),
    choose_srgb,
)
def check_choose_srgb(answer) -> str:
    # Textured objects and faint edges: some differences inside are large, some across are small.
    cases = (
        ([2, 3, 4, 5, 6, 36], [10, 15, 20], np.arange(1.0, 80)),
        ([3, 150, 160, 170, 180], [25, 25, 30, 70, 90, 95], np.arange(5.0, 120)[::-1]),
        ([10, 15, 20], [5, 50, 80, 120, 140, 160], np.arange(5.0, 120, 0.5)),
    )
    names = [f"Picture {k}" for k in (1, 2, 3)]
    got, want, wrong = [], [], []
    for case, (inside, across, sigmas) in zip(names, cases, strict=True):
        inside, across = np.float64(inside), np.float64(across)
        sigma = tensor_from(answer, inside, across, sigmas.tolist()).squeeze()
        why = {sigmas.shape: "That is a number for each candidate."}
        require_shape(sigma, (), case, why, "Return one of the candidates.")
        got.append(sigma)
        want.append(choose_srgb(inside, across, sigmas))
        wrong.append(_wrong_choices(inside, across, sigmas))
    wrong = {say: torch.tensor([case[say] for case in wrong]).double() for say in wrong[0]}
    explain(torch.stack(got), torch.tensor(want).double(), wrong, names)
    return "Of 10 inside and 40 across it makes 16.4, sqrt((40**2 - 10**2) / (4 ln(40 / 10))): nearer to the small one."


def _wrong_choices(inside: np.ndarray, across: np.ndarray, sigmas: np.ndarray) -> dict[str, float]:
    column = sigmas[:, None]

    def kernel(d, s=column):
        return np.exp(-(d**2) / (2 * s**2))

    def gaps(kernel=kernel, average=np.mean):
        return average(kernel(inside, column), axis=1) - average(kernel(across, column), axis=1)

    def best(scores):
        return sigmas[scores.argmax()]

    gap, alike, joined = gaps(), kernel(inside).mean(1), kernel(across).mean(1)
    return {
        "You return the sigma with the smallest gap: the kernel tells least there. Inside less across, and the largest.": best(-gap),
        "You take the gap without its sign. Where the kernel is larger across than inside, it is the wrong way round.": best(abs(gap)),
        "You return the place of the sigma in candidates. Return the sigma.": gap.argmax(),
        "You return the largest gap. Return the sigma that has it.": gap.max(),
        "You always return the largest candidate, at which every kernel is near 1. Edges have to count, too: subtract the mean across.": sigmas.max(),
        "You always return the smallest candidate, at which every kernel is near 0. What lies inside has to count, too: it shall stay near 1.": sigmas.min(),
        "The difference is not squared: d**2.": best(gaps(lambda d, s: np.exp(-d / (2 * s**2)))),
        "sigma is not squared: 2 * sigma**2.": best(gaps(lambda d, s: np.exp(-(d**2) / (2 * s)))),
        "Neither the difference nor sigma is squared: d**2 and 2 * sigma**2.": best(gaps(lambda d, s: np.exp(-d / (2 * s)))),
        "Neither is squared, and the 2 is missing: exp(-d**2 / (2 * sigma**2)).": best(gaps(lambda d, s: np.exp(-d / s))),
        "The 2 is missing: 2 * sigma**2.": best(gaps(lambda d, s: np.exp(-(d**2) / s**2))),
        "The 2 is squared, too: 2 * sigma**2, not (2 * sigma)**2.": best(gaps(lambda d, s: kernel(d, s * 2**0.5))),
        "The minus in the exponent is missing: pixels of one colour are joined most.": best(gaps(lambda d, s: 1 / kernel(d, s))),
        "The exp is missing: you compare squares of differences.": best(gaps(lambda d, s: -(d**2) / (2 * s**2))),
        "You divide by sigma, so that the curve has area 1. The kernel of the CRF is 1 at d = 0, for every sigma.": best(gaps(lambda d, s: kernel(d, s) / s)),
        "You compare sums. There are more differences of one kind than of the other: take means.": best(gaps(average=np.sum)),
        "You compare medians, which overlook the few differences that are unlike the rest: take means.": best(gaps(average=np.median)),
        "You take the kernel of the mean difference. Take the mean of the kernels.": best(kernel(inside.mean(), sigmas) - kernel(across.mean(), sigmas)),
        "You divide the means. At a small sigma both are near 0, and still one is many times the other: subtract.": best(alike / joined),
        "You return the mean difference inside, where the kernel is 0.6. Compare the candidates by their kernels.": inside.mean(),
        "You return the mean difference across. The kernel would be 0.6 there, far from 0. Compare the candidates by their kernels.": across.mean(),
        "/ 2 * sigma**2 multiplies by sigma**2. Write / (2 * sigma**2).": best(gaps(lambda d, s: np.exp(-(d**2) / 2 * s**2))),
        "You return the last candidate. Is the line that keeps the best one inside the if?": sigmas[-1],
        "You return the middle between both medians. Compare the candidates by their kernels.": (np.median(inside) + np.median(across)) / 2,
        "You return the middle between both means. Compare the candidates by their kernels.": (inside.mean() + across.mean()) / 2,
    }  # fmt: skip
