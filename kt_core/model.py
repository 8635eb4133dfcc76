"""GainAKT2: a dual-stream causal encoder, and what is read from it as mastery.

The mathematics of sections 2 and 3 of the design, in one file. B learners in a batch, T steps,
C skills, D = d_model, H heads. Steps count from 0 here: `skills[:, t]`, `responses[:, t]`.

- `Encoder` turns (skill, response) pairs into context states c_t and value states v_t. Both are
  causal: the state at step t has seen the answers 0..t and nothing later.
- `GainAKT2.forward` predicts the next response from the states. It builds no [B, T, C] tensor.
- `GainAKT2.forward_with_states` adds the mastery and the gains of every skill at every step.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from kt_core.config import ModelConfig
from kt_core.errors import KTError

GAIN_STEP = 0.1  # how much mastery one unit of gain adds (design, section 3)


@dataclass
class States:
    """What one forward pass knows; every field is dated.

    Attributes
    ----------
    logits : [B, P], P = T-1; ``logits[:, t]`` predicts the response of step t+1 from steps 0..t.
    context, value : [B, T, D], the two streams; step t has seen answers 0..t.
    filtered : [B, T, C], mastery at step t on the evidence up to t. Shifted by one step it is
        pre-response: the only field that a *pre* measure may read.
    trajectory : [B, T, C], mastery at step t as believed at the last step. In `projection` and
        `cumulative` belief is not revised, so it is `filtered`.
    gains : [B, T, C], the learning gain credited at step t.
    """

    logits: Float[Tensor, "B P"]
    context: Float[Tensor, "B T D"]
    value: Float[Tensor, "B T D"]
    filtered: Float[Tensor, "B T C"]
    trajectory: Float[Tensor, "B T C"]
    gains: Float[Tensor, "B T C"]


def cumulative_mastery(
    start: Float[Tensor, "B C"], gains: Float[Tensor, "B T C"], carried: bool = False
) -> Float[Tensor, "B T C"]:
    """Mastery as a bounded accumulation of non-negative gains (design, section 3, mode 2).

    ``m_0 = start`` and ``m_t = min(1, m_{t-1} + 0.1 g_t)``: since gains are non-negative this is
    ``min(1, start + 0.1 (g_1 + ... + g_t))``, one cumulative sum and no loop over time.

    Parameters
    ----------
    start : mastery at the first step, in [0, 1].
    gains : non-negative.
    carried : whether `start` is the mastery in which an earlier chunk of the same learner ended;
        the gain of step 0 then counts too.

    Returns
    -------
    Mastery in [0, 1], in the dtype of `gains`, never falling along T: not by one rounding unit.
    """
    dtype = gains.dtype
    if dtype in (torch.float16, torch.bfloat16):
        start, gains = start.float(), gains.float()
    if not carried:
        gains = torch.cat([torch.zeros_like(gains[:, :1]), gains[:, 1:]], dim=1)
    mastery = (start.unsqueeze(1) + GAIN_STEP * gains.cumsum(dim=1)).clamp(0.0, 1.0)
    # A parallel cumulative sum may step down by a rounding unit; the running maximum may not.
    return mastery.cummax(dim=1).values.to(dtype)


class DecayAttention(nn.Module):
    """Causal multi-head attention: queries and keys from context, values from the value stream.

    With `decay`, head h adds ``-slope_h * (t - s)`` to the score of step s seen from step t, with
    a learnable slope (ALiBi with learnable slopes). Softmax ignores what is constant over s, so
    only ``+ slope_h * s`` matters, and that is one more dimension of queries and keys. The score
    stays a plain inner product, and the fused causal kernels stay available.
    """

    def __init__(self, d_model: int, heads: int, decay: bool):
        super().__init__()
        self.heads = heads
        self.query_key = nn.Linear(d_model, 2 * d_model)
        self.values = nn.Linear(d_model, d_model)
        self.out = nn.Linear(d_model, d_model)
        slopes = 2.0 ** (-8.0 * (torch.arange(heads) + 1) / heads)
        self.raw_slopes = nn.Parameter(torch.log(torch.expm1(slopes))) if decay else None

    def forward(
        self, context: Float[Tensor, "B T D"], value: Float[Tensor, "B T D"]
    ) -> Float[Tensor, "B T D"]:
        q, k = (self._split(x) for x in self.query_key(context).chunk(2, dim=-1))
        v = self._split(self.values(value))
        width = v.shape[-1]
        if self.raw_slopes is not None:
            q, k, v = self._append_distance(q, k, v)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=width**-0.5)
        return self.out(mixed[..., :width].transpose(1, 2).flatten(2))

    def _split(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B H T W"]:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def _append_distance(self, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        B, H, T, width = q.shape
        slopes = F.softplus(self.raw_slopes).to(q.dtype) * width**0.5
        steps = torch.arange(T, device=q.device, dtype=q.dtype)
        q = torch.cat([q, slopes.view(1, H, 1, 1).expand(B, H, T, 1)], dim=-1)
        k = torch.cat([k, steps.view(1, 1, T, 1).expand(B, H, T, 1)], dim=-1)
        return q, k, F.pad(v, (0, 1))


class SequenceDropout(nn.Module):
    """Dropout with one mask per sequence and feature, the same at every step (Gal and Ghahramani
    2016): steps of a learner stay comparable, and T times fewer random numbers are drawn."""

    def __init__(self, p: float):
        super().__init__()
        self.p = p

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        if not self.training or self.p == 0:
            return x
        drawn = torch.rand(x.shape[0], 1, x.shape[-1], device=x.device)
        return x * ((drawn >= self.p) / (1 - self.p)).to(x.dtype)


class Block(nn.Module):
    """One encoder block: attention, then residual and norm on both streams, then feed-forward."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        D = config.d_model
        self.attention = DecayAttention(D, config.heads, decay=config.position == "decay")
        self.norm_context = nn.LayerNorm(D)
        self.norm_value = nn.LayerNorm(D)
        self.norm_out = nn.LayerNorm(D)
        self.feed_forward = nn.Sequential(
            nn.Linear(D, config.d_ff),
            nn.GELU(),
            SequenceDropout(config.dropout),
            nn.Linear(config.d_ff, D),
        )
        self.dropout = SequenceDropout(config.dropout)

    def forward(
        self, context: Float[Tensor, "B T D"], value: Float[Tensor, "B T D"]
    ) -> tuple[Float[Tensor, "B T D"], Float[Tensor, "B T D"]]:
        mixed = self.dropout(self.attention(context, value))
        context = self.norm_context(context + mixed)
        value = self.norm_value(value + mixed)
        context = self.norm_out(context + self.dropout(self.feed_forward(context)))
        return context, value


class Recent(nn.Module):
    """Adds learnable shares of the last few inputs, feature by feature (a causal convolution).

    Attention averages; a streak of right answers on one skill is easier to read off directly.
    """

    def __init__(self, d_model: int, steps: int):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(steps, d_model))

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        out = x
        for lag, weight in enumerate(self.weight, start=1):
            out = out + weight * F.pad(x, (0, 0, lag, 0))[:, : x.shape[1]]
        return out


class Stream(nn.Module):
    """What enters the blocks: the interactions x_t = q_t + C r_t, embedded, after a start token.

    The start token attracts attention that finds nothing to attend to. With softmax weights that
    sum to 1, its share tells how much evidence there was: without it attention cannot count.
    """

    def __init__(self, config: ModelConfig, n_skills: int):
        super().__init__()
        D = config.d_model
        self.embed = nn.Embedding(2 * n_skills, D)
        self.recent = Recent(D, config.recent)
        absolute = config.position == "absolute"
        self.positions = nn.Embedding(config.max_steps, D) if absolute else None
        self.start = nn.Parameter(0.1 * torch.randn(1, 1, D)) if config.start_token else None
        self.dropout = SequenceDropout(config.dropout)

    def forward(self, token: Int[Tensor, "B T"]) -> Float[Tensor, "B S D"]:
        x = self.recent(self.embed(token))
        if self.positions is not None:
            x = x + self.positions.weight[: token.shape[1]]
        if self.start is not None:
            x = torch.cat([self.start.expand(len(x), 1, -1), x], dim=1)
        return self.dropout(x)


class Encoder(nn.Module):
    """The dual stream, each with its own embedding, through the blocks."""

    def __init__(self, config: ModelConfig, n_skills: int):
        super().__init__()
        self.n_skills, self.start = n_skills, int(config.start_token)
        self.context, self.value = Stream(config, n_skills), Stream(config, n_skills)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.blocks))

    def forward(
        self, skills: Int[Tensor, "B T"], responses: Int[Tensor, "B T"]
    ) -> tuple[Float[Tensor, "B T D"], Float[Tensor, "B T D"]]:
        token = skills + self.n_skills * responses
        context, value = self.context(token), self.value(token)
        for block in self.blocks:
            context, value = block(context, value)
        return context[:, self.start :], value[:, self.start :]


class GainAKT2(nn.Module):
    """Dual-stream knowledge tracing with a mastery that is read off, or accumulated.

    Parameters
    ----------
    config : shape and mode.
    n_skills : C; skill ids run from 0 to C-1.
    """

    def __init__(self, config: ModelConfig, n_skills: int):
        super().__init__()
        if n_skills < 1:
            raise KTError(f"n_skills = {n_skills}: a model needs at least one skill")
        D = config.d_model
        self.config, self.n_skills = config, n_skills
        self.encoder = Encoder(config, n_skills)
        self.embed_skill = nn.Embedding(n_skills, D)
        self.head = nn.Sequential(
            nn.Linear(3 * D, config.d_ff),
            nn.ReLU(),
            SequenceDropout(config.dropout),
            nn.Linear(config.d_ff, 1),
        )
        self.mastery_head = nn.Linear(D, n_skills)
        self.gain_head = nn.Linear(D, n_skills)
        self.apply(_initialise)

    @property
    def guaranteed(self) -> bool:
        """Whether bounds, monotonicity and non-negative gains hold whatever the weights."""
        return self.config.mode == "cumulative"

    def forward(
        self, skills: Int[Tensor, "B T"], responses: Int[Tensor, "B T"]
    ) -> Float[Tensor, "B T-1"]:
        """Logits of the next response; column t predicts step t+1 from steps 0..t.

        Raises
        ------
        KTError
            For ids outside 0..C-1, responses other than 0 and 1, or too many steps.
        """
        self.check(skills, responses)
        context, value = self.encoder(skills, responses)
        return self.predict_next(context, value, skills)

    def forward_with_states(
        self,
        skills: Int[Tensor, "B T"],
        responses: Int[Tensor, "B T"],
        start: Float[Tensor, "B C"] | None = None,
    ) -> States:
        """`forward`, with the states behind it.

        Parameters
        ----------
        start : mastery in which each learner's previous chunk ended; None for a first chunk.
            Only `cumulative` accumulates, so only there does it matter.
        """
        self.check(skills, responses)
        context, value = self.encoder(skills, responses)
        logits = self.predict_next(context, value, skills)
        mastery, gains = self.read_mastery(context, value, start)
        return States(logits, context, value, mastery, mastery, gains)

    def predict_next(
        self,
        context: Float[Tensor, "B T D"],
        value: Float[Tensor, "B T D"],
        skills: Int[Tensor, "B T"],
    ) -> Float[Tensor, "B T-1"]:
        """The prediction head on [c_t, v_t, e(q_{t+1})]."""
        asked_next = self.embed_skill(skills[:, 1:])
        return self.head(torch.cat([context[:, :-1], value[:, :-1], asked_next], -1)).squeeze(-1)

    def read_mastery(
        self,
        context: Float[Tensor, "B T D"],
        value: Float[Tensor, "B T D"],
        start: Float[Tensor, "B C"] | None = None,
    ) -> tuple[Float[Tensor, "B T C"], Float[Tensor, "B T C"]]:
        """Mastery and gains of every skill at every step, by the model's mode."""
        if self.config.mode == "projection":
            return self.mastery_head(context), self.gain_head(value)
        # Weights so large that states overflow must not break the guarantee: an infinite gain
        # becomes the largest number, and what is no number adds nothing. The prediction is no
        # number then either, and that is an error in training and evaluation.
        gains = self.gain_head(value).relu().nan_to_num(nan=0.0)
        carried = start is not None
        if start is None:
            start = self.mastery_head(context[:, 0]).sigmoid().nan_to_num(nan=0.0)
        return cumulative_mastery(start.to(gains.dtype), gains, carried), gains

    def check(self, skills: Int[Tensor, "B T"], responses: Int[Tensor, "B T"]) -> None:
        """Raise a KTError for input that the embeddings have no place for."""
        if skills.shape != responses.shape or skills.ndim != 2:
            shapes = f"{tuple(skills.shape)} and {tuple(responses.shape)}"
            raise KTError(f"skills and responses must both be [B, T]; got {shapes}")
        if skills.numel() == 0:
            raise KTError(f"nothing to read: skills has shape {tuple(skills.shape)}")
        low, high = (int(x) for x in torch.aminmax(skills))
        if low < 0 or high >= self.n_skills:
            bad = low if low < 0 else high
            raise KTError(f"skill id {bad} is out of range: the model knows 0..{self.n_skills - 1}")
        low, high = (int(x) for x in torch.aminmax(responses))
        if low < 0 or high > 1:
            raise KTError(f"response {low if low < 0 else high} is not 0 or 1")
        limit = self.config.max_steps
        if self.config.position == "absolute" and skills.shape[1] > limit:
            raise KTError(
                f"{skills.shape[1]} steps, but absolute positions end at {limit}: "
                "raise model.max_steps or cut the sequence"
            )


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Embedding):
        nn.init.normal_(module.weight, std=0.1)
