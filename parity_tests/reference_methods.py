"""The PyTorch side of the newer methods: their published programs' formulas, written anew in plain
PyTorch, as `reference` has the others'.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F


def influence_balanced(logits, labels, features, *, alpha, epsilon, class_weights):
    distance = (torch.softmax(logits, dim=1) - F.one_hot(labels, logits.shape[1])).abs().sum(1)
    influence = distance * features.abs().sum(1)
    losses = F.cross_entropy(logits, labels, weight=class_weights, reduction="none")
    return losses * (alpha / (influence + epsilon))


def balanced_experts(expert_logits, labels, counts, taus):
    prior = (counts / counts.sum()).log()
    losses = [
        F.cross_entropy(logits + tau * prior, labels, reduction="none")
        for logits, tau in zip(expert_logits, taus, strict=True)
    ]
    return torch.stack(losses).mean(0)


def sade(expert_logits, labels, counts, tau):
    prior = counts / counts.sum()
    rank = torch.sort(torch.sort(prior, stable=True).indices).indices
    reversed_prior = torch.sort(prior).values[len(prior) - 1 - rank]
    first, second, third = expert_logits
    return (
        F.cross_entropy(first, labels, reduction="none")
        + F.cross_entropy(second + prior.log(), labels, reduction="none")
        + F.cross_entropy(
            third + prior.log() - tau * reversed_prior.log(), labels, reduction="none"
        )
    )


def balanced_contrastive(features, labels, prototypes, temperature):
    """By the definition, anchor by anchor."""
    size, views, _ = features.shape
    members = [(features[i, v], int(labels[i])) for v in range(views) for i in range(size)]
    members += [(prototype, c) for c, prototype in enumerate(prototypes)]
    count = [sum(c == k for _, k in members) for c in range(len(prototypes))]
    losses = []
    for i in range(size * views):
        anchor, own = members[i]
        others = [j for j in range(len(members)) if j != i]
        scores = {j: anchor @ members[j][0] / temperature for j in others}
        denominator = sum(
            scores[j].exp() / (count[members[j][1]] - (members[j][1] == own)) for j in others
        )
        positive = [j for j in others if members[j][1] == own]
        losses.append(torch.stack([denominator.log() - scores[j] for j in positive]).mean())
    return torch.stack(losses).mean()


def glmc(
    logits, balanced, predictions, projections, labels, partners, lam, weights, progress, similarity
):
    own, other = (F.one_hot(ids, logits.shape[2]).to(logits.dtype) for ids in (labels, partners))
    plain = lam * own + (1 - lam) * other
    weighted = lam * (weights * own) + (1 - lam) * (weights * other)
    balance = sum(-(F.log_softmax(z, 1) * plain).sum(1).mean() for z in logits)
    rebalance = sum(-(F.log_softmax(z, 1) * weighted).sum(1).mean() for z in balanced)
    apart = -F.cosine_similarity(predictions[0], projections[1].detach(), dim=-1).mean()
    apart = apart - F.cosine_similarity(predictions[1], projections[0].detach(), dim=-1).mean()
    alpha = 1 - progress**2
    return alpha * balance + (1 - alpha) * rebalance + similarity * apart
