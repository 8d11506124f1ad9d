"""The network that is trained: a plain Llama decoder, written out so that only what is needed is computed.

The weights are saved in Hugging Face's Llama layout; tests/engines/test_vllm.py holds that vLLM, which runs
its own Llama on these files, gives the same answers. Written out for two reasons: dropout on embeddings and
blocks (Llama has none, small data needs it), and a last layer that is evaluated at the answer's positions alone.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class Shape:
    """Size of the network. Head size is `hidden / heads`; embeddings and output are tied."""

    vocab: int
    hidden: int = 256
    intermediate: int = 704
    layers: int = 3
    heads: int = 4
    window: int = 512
    rope_theta: float = 10_000.0
    rms_eps: float = 1e-5


def rope_tables(positions: int, head_size: int, theta: float) -> tuple[Tensor, Tensor]:
    """Cosines and sines of rotary embeddings (Su et al. 2021, arXiv:2104.09864), each (positions, head_size)."""
    inverse = theta ** (-torch.arange(0, head_size, 2, dtype=torch.float64) / head_size)
    angles = torch.outer(torch.arange(positions, dtype=torch.float64), inverse)
    both = torch.cat((angles, angles), dim=-1)
    return both.cos().float(), both.sin().float()


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    half = x.shape[-1] // 2
    return x * cos + torch.cat((-x[..., half:], x[..., :half]), dim=-1) * sin


class Block(nn.Module):
    """One decoder layer: attention, then a gated feed-forward, each on a normalized input and added back."""

    def __init__(self, shape: Shape, dropout: float) -> None:
        super().__init__()
        self.heads = shape.heads
        self.input_layernorm = nn.RMSNorm(shape.hidden, eps=shape.rms_eps)
        self.qkv = nn.Linear(shape.hidden, 3 * shape.hidden, bias=False)
        self.o_proj = nn.Linear(shape.hidden, shape.hidden, bias=False)
        self.post_attention_layernorm = nn.RMSNorm(shape.hidden, eps=shape.rms_eps)
        self.gate_up = nn.Linear(shape.hidden, 2 * shape.intermediate, bias=False)
        self.down_proj = nn.Linear(shape.intermediate, shape.hidden, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, read: Tensor | None = None) -> Tensor:
        """x: (batch, length, hidden). With `read`, (batch, n) positions, only those are computed and returned."""
        batch, length, hidden = x.shape
        normed = self.input_layernorm(x)
        q, k, v = (
            part.view(batch, length, self.heads, -1).transpose(1, 2) for part in self.qkv(normed).chunk(3, dim=-1)
        )
        q, k = _rotate(q, cos[:length], sin[:length]), _rotate(k, cos[:length], sin[:length])
        place = torch.arange(length, device=x.device)
        if read is None:
            hidden_from = place[None, :] > place[:, None]
        else:
            q = q.gather(2, read[:, None, :, None].expand(-1, self.heads, -1, q.shape[-1]))
            hidden_from = place[None, None, None, :] > read[:, None, :, None]
            x = x.gather(1, read[:, :, None].expand(-1, -1, hidden))
        # Written out: for short texts on a CPU in bf16, torch's fused attention takes four times as long.
        scores = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).float().masked_fill(hidden_from, -torch.inf)
        mixed = scores.softmax(dim=-1).to(v.dtype) @ v
        x = x + self.dropout(self.o_proj(mixed.transpose(1, 2).reshape(batch, -1, hidden)))
        gate, up = self.gate_up(self.post_attention_layernorm(x)).chunk(2, dim=-1)
        out: Tensor = x + self.dropout(self.down_proj(functional.silu(gate) * up))
        return out


class Decoder(nn.Module):
    """Token ids to logits."""

    def __init__(self, shape: Shape, dropout: float = 0.0) -> None:
        super().__init__()
        self.shape = shape
        self.embed_tokens = nn.Embedding(shape.vocab, shape.hidden)
        self.layers = nn.ModuleList(Block(shape, dropout) for _ in range(shape.layers))
        self.norm = nn.RMSNorm(shape.hidden, eps=shape.rms_eps)
        self.dropout = nn.Dropout(dropout)
        cos, sin = rope_tables(shape.window, shape.hidden // shape.heads, shape.rope_theta)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        # Wide embeddings let the words through from the first step; with 0.02 throughout, as large models begin,
        # two epochs reached 38 % of families instead of 77 % (docs/log.md, 2026-11-21).
        for name, parameter in self.named_parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, std=0.2 if name.startswith("embed") else 0.05)

    def forward(self, ids: Tensor, read: Tensor | None = None) -> Tensor:
        """Logits (batch, n, vocab) at the positions `read` (batch, n), or at every position.

        Right padding needs no mask: attention is causal, and nobody reads a padded position.
        """
        x = self.dropout(self.embed_tokens(ids))
        for layer in self.layers[:-1]:
            x = layer(x, self.cos, self.sin)
        x = self.layers[-1](x, self.cos, self.sin, read)
        logits: Tensor = functional.linear(self.norm(x), self.embed_tokens.weight)
        return logits

    def to_llama(self) -> dict[str, Tensor]:
        """The weights under the names of `transformers.LlamaForCausalLM`."""
        weights = {"model.embed_tokens.weight": self.embed_tokens.weight, "model.norm.weight": self.norm.weight}
        for number, layer in enumerate(self.layers):
            assert isinstance(layer, Block)
            prefix = f"model.layers.{number}."
            q, k, v = layer.qkv.weight.chunk(3)
            gate, up = layer.gate_up.weight.chunk(2)
            weights |= {
                prefix + "input_layernorm.weight": layer.input_layernorm.weight,
                prefix + "self_attn.q_proj.weight": q,
                prefix + "self_attn.k_proj.weight": k,
                prefix + "self_attn.v_proj.weight": v,
                prefix + "self_attn.o_proj.weight": layer.o_proj.weight,
                prefix + "post_attention_layernorm.weight": layer.post_attention_layernorm.weight,
                prefix + "mlp.gate_proj.weight": gate,
                prefix + "mlp.up_proj.weight": up,
                prefix + "mlp.down_proj.weight": layer.down_proj.weight,
            }
        return {name: tensor.detach().contiguous().clone() for name, tensor in weights.items()}
