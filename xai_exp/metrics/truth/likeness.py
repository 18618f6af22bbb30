"""How alike two rows of numbers of an image's parts are: what is shown of them, what is true."""

from xai_exp.types import Effects, Keep, Scores


def spearman(first: Effects, second: Effects, present: Keep) -> Scores:
    """Each row's rank correlation over its present parts, ties at mean ranks; NaN if undefined."""
    one, other = (_centred_ranks(values, present) for values in (first, second))
    spread = (one.square().sum(1) * other.square().sum(1)).sqrt()
    return (one * other).sum(1) / spread


def _centred_ranks(values: Effects, present: Keep) -> Effects:
    pairs = present[:, :, None] & present[:, None, :]
    above = (values[:, :, None] - values[:, None, :]).sign()
    return (above * pairs).sum(2) / 2


def sign_agreement(first: Effects, second: Effects, present: Keep) -> Scores:
    """The share of |second| on parts where both have one sign."""
    weight = second.abs() * present
    agree = first.sign() == second.sign()
    return (weight * agree).sum(1) / weight.sum(1)


def concordance(first: Effects, second: Effects, present: Keep) -> Scores:
    """(Agreeing - opposed) / pairs, over the pairs of present parts that differ in `second`."""
    pairs = (present[:, :, None] & present[:, None, :]).triu(1)
    one, other = ((v[:, :, None] - v[:, None, :]).sign() for v in (first, second))
    differ = pairs & (other != 0)
    return (one * other * differ).sum((1, 2)) / differ.sum((1, 2))
