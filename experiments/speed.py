"""What our form of the network gains over a literal build of the same graph, and the CPU settings over plain ones.

    python -m experiments.speed

Both sides of a ratio run in this process, in turns, on the same inputs; times are CPU time of one thread, medians of
the paired ratios with their lowest and highest. The literal build has the same weights: attention as matmul, softmax,
matmul, patches by one 6-D permutation, NCHW. Its largest difference from ours is printed beside the speed.
"""

import argparse
import copy
import statistics
import time
from collections.abc import Callable

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor, nn

from dotcom.models import Classifier, DoTCoM
from dotcom.models.dot import Attention, DoTBlock


class LiteralAttention(nn.Module):
    """The same attention, spelled out."""

    def __init__(self, attention: Attention) -> None:
        super().__init__()
        self.heads, self.norm, self.qkv, self.out = attention.heads, attention.norm, attention.qkv, attention.out

    def forward(self, x: Tensor) -> Tensor:
        groups, tokens, _ = x.shape
        qkv = self.qkv(self.norm(x)).reshape(groups, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        q, k, v = qkv[0], qkv[1], qkv[2]
        weights = (torch.matmul(q, k.transpose(-1, -2)) * q.shape[-1] ** -0.5).softmax(dim=-1)
        return self.out(torch.matmul(weights, v).transpose(1, 2).reshape(groups, tokens, -1))


class LiteralDoT(nn.Module):
    """The same DoT block, its patches made by one permutation of six axes each way."""

    def __init__(self, block: DoTBlock) -> None:
        super().__init__()
        self.local, self.bias_in, self.mlp = block.local, block.bias_in, block.mlp
        self.project, self.bias_out, self.fuse = block.project, block.bias_out, block.fuse
        self.attention = nn.ModuleList(LiteralAttention(attention) for attention in block.attention)

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        local = self.local(x)
        tokens = self.bias_in(local).reshape(b, c, h // 2, 2, w // 2, 2).permute(0, 3, 5, 2, 4, 1)
        tokens = tokens.reshape(b * 4, -1, c)
        for attention, mlp in zip(self.attention, self.mlp, strict=True):
            tokens = tokens + attention(tokens)
            tokens = tokens + mlp(tokens)
        world = tokens.reshape(b, 2, 2, h // 2, w // 2, c).permute(0, 5, 3, 1, 4, 2).reshape(b, c, h, w)
        return x + self.fuse(self.bias_out(torch.cat([self.project(world), local], dim=1)))


def literal(network: nn.Module) -> nn.Module:
    """A copy of ``network`` in which every DoT block is the literal one."""
    network = copy.deepcopy(network).to(memory_format=torch.contiguous_format)
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if isinstance(child, DoTBlock):
                setattr(parent, name, LiteralDoT(child))
    return network


def ratios(sides: tuple[Callable[[], object], Callable[[], object]], rounds: int, repeats: int) -> list[float]:
    """CPU time of the first side over that of the second, one value per round, sorted."""
    for side in sides:
        side()
    values = []
    for _ in track(range(rounds), "measuring", transient=True):
        spent = []
        for side in sides:
            started = time.process_time()
            for _ in range(repeats):
                side()
            spent.append(time.process_time() - started)
        values.append(spent[0] / spent[1])
    return sorted(values)


def inference(variant: str, rounds: int) -> tuple[list[float], float]:
    """Literal over ours, batch 1, 256x256, float32; and the largest difference of the logits, relative."""
    fast = Classifier(DoTCoM.from_variant(variant), 1000).eval()
    slow = literal(fast)
    fast = fast.to(memory_format=torch.channels_last)
    images = torch.randn(1, 3, 256, 256)
    with torch.inference_mode():
        expected = slow(images)
        difference = ((fast(images) - expected).abs().max() / expected.std()).item()
        return ratios((lambda: slow(images), lambda: fast(images)), rounds, repeats=3), difference


def training(image_size: int, precise: bool, rounds: int) -> list[float]:
    """Plain float32 NCHW over channels_last (with bf16 unless ``precise``): DoTCoM-Tiny, batch 32, one AdamW step."""

    def step(channels_last: bool, bf16: bool) -> Callable[[], None]:
        torch.manual_seed(0)
        layout = torch.channels_last if channels_last else torch.contiguous_format
        network = Classifier(DoTCoM.from_variant("tiny"), 10).to(memory_format=layout)
        optimizer = torch.optim.AdamW(network.parameters(), fused=True)
        images, labels = torch.randn(32, 3, image_size, image_size), torch.randint(10, (32,))

        def run() -> None:
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                loss = nn.functional.cross_entropy(network(images), labels)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()

        return run

    return ratios((step(False, False), step(True, not precise)), rounds, repeats=1)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m experiments.speed", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    table = Table(title=f"torch {torch.__version__}, 1 thread, {rounds} rounds")
    for heading in ("what", "ratio", "lowest to highest", "difference"):
        table.add_column(heading, justify="right")
    for variant in ("tiny", "base"):
        values, difference = inference(variant, rounds)
        add(table, f"inference, {variant}, 256: literal / ours", values, f"{difference:.0e}")
    for size in (64, 128):
        for precise, name in ((True, "channels_last"), (False, "channels_last + bf16")):
            add(table, f"training, tiny, {size}: float32 NCHW / {name}", training(size, precise, rounds), "")
    Console().print(table)


def add(table: Table, what: str, values: list[float], difference: str) -> None:
    """One row."""
    table.add_row(what, f"{statistics.median(values):.2f}", f"{values[0]:.2f} to {values[-1]:.2f}", difference)


if __name__ == "__main__":
    main()
