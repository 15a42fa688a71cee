"""Entries that need a GPU, on a machine that has none."""

import dataclasses
import math
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import __main__ as command
from benchmarks import gpu, machine, peaks, runner, table
from benchmarks.entries import Entry, Variant
from benchmarks.work import Work, cifar_epoch, counts, detect, on_gpu

HERE = "tests.benchmarks.test_benchmarks_gpu"
H100 = "NVIDIA H100 80GB HBM3"
# Of one call to cuDNN: two arguments, a result and a workspace; and of one to a sort.
PROGRAM = """
ENTRY %main.2 (x.1: bf16[8,32,32,16], k.1: f32[3,3,16,16]) -> f32[3,3,16,16] {
  %x.1 = bf16[8,32,32,16]{3,2,1,0} parameter(0), metadata={op_name="x"}
  %k.1 = bf16[3,3,16,16]{3,2,1,0} parameter(1), metadata={op_name="k"}
  %fusion.1 = bf16[8,32,32,16]{3,2,1,0} fusion(%x.1), kind=kLoop, calls=%fused_computation
  %conv.1 = (bf16[8,32,32,16]{3,2,1,0}, u8[4096]{0}) custom-call(%fusion.1, %k.1), window={size=3x3}
  ROOT %sort.2 = (s32[10]{0}, f32[10]{0}, u8[7]{0}) custom-call(%places, %k.1)
}
"""


def told(shared, scale, device="none"):
    """Work that says what its process was told."""
    facts = {"device": device, "flops": 1e9, "bytes": 1e6}
    for name in ("JAX_PLATFORMS", "CUDA_VISIBLE_DEVICES"):
        facts[name] = os.environ.get(name)
    return Work(
        lambda: {"wall": scale, "cpu": 1.0},
        100,
        facts=facts,
        ending=lambda: {"device_peak_bytes": 5},
    )


def entry(**more):
    both = {
        "ours": Variant(f"{HERE}:told", settings={"scale": 0.5}),
        "peer": Variant(f"{HERE}:told", settings={"scale": 2.0}),
    }
    return Entry("GPU work", "images", both, **more)


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.setattr(table, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(machine, "gpus", tuple)
    return tmp_path / "results"


def test_without_a_gpu_entries_are_left_out_with_a_line(results, monkeypatch, capsys):
    both = [entry(gpus=1), dataclasses.replace(entry(gpus=2), name="GPU scaling")]
    monkeypatch.setattr(command, "ALL", both)
    assert command.main(["gpu"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[-2:] == [
        "GPU work is left out: it needs a GPU, and there is none",
        "GPU scaling is left out: it needs 2 GPUs, and there is none",
    ]
    assert not results.exists()
    monkeypatch.setattr(machine, "gpus", lambda: (H100,))
    assert runner.missing(both[0], machine.gpus()) is None
    assert runner.missing(both[1], machine.gpus()).endswith("needs 2 GPUs, and there is 1")
    with pytest.raises(ValueError, match="it needs a GPU"):
        runner.measure(both[0], 1, False, print)


def test_the_list_says_what_needs_a_gpu(capsys):
    assert command.main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(command.ALL)
    assert "GPU ResNet-50 training step, 256×224, bf16 (needs a GPU)" in lines
    assert "ResNet-50 training step, 8×224" in lines
    assert sum("(needs 8 GPUs)" in line for line in lines) == 1
    assert all("needs" in line for line in lines if line.startswith("GPU"))


def test_bars_are_against_the_compiled_peer():
    bars = {entry.name.split(" training")[0]: entry.bar for entry in gpu.ENTRIES if entry.bar}
    assert bars == {"GPU ResNet-50": 1.1, "GPU SSD300": 1.3, "GPU Faster R-CNN R50-FPN": 1.5}
    for found in gpu.ENTRIES:
        assert found.gpus and "GPU" in found.name
        if found.bar:
            assert list(found.variants)[:3] == ["ours", "torch.compile, AMP", "torch, AMP"]


def test_quick_runs_a_gpus_work_on_the_cpu(results, monkeypatch, capsys):
    monkeypatch.setattr(command, "ALL", [entry(gpus=1)])
    assert command.main(["--quick"]) == 0
    said = capsys.readouterr().out
    assert "GPU work, on the CPU, since there is no GPU for it" in said and "MFU" not in said
    record = runner.measure(entry(gpus=1), 0, True, print)["variants"]["ours"]
    assert (record["device"], record["JAX_PLATFORMS"]) == ("cpu", "cpu")
    assert record["CUDA_VISIBLE_DEVICES"] == "" and "mfu" not in record
    assert record["device_peak_bytes"] == 5


def test_cpu_work_stays_on_the_cpu_beside_a_gpu(monkeypatch):
    monkeypatch.delenv("JAX_PLATFORMS")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    record = runner.measure(entry(), 1, False, print, (H100,))["variants"]["peer"]
    assert (record["JAX_PLATFORMS"], record["CUDA_VISIBLE_DEVICES"]) == ("cpu", "")
    assert record["device"] == "none" and "mfu" not in record
    record = runner.measure(entry(gpus=1), 1, False, print, (H100,))["variants"]["ours"]
    assert (record["JAX_PLATFORMS"], record["CUDA_VISIBLE_DEVICES"]) == ("cuda,cpu", None)
    assert record["device"] == "cuda"


def test_shares_of_the_gpu_are_of_rate_times_work():
    # 200 images/s of 1e9 operations and 1e6 bytes; the peer 50. H100: 989e12 and 3.35e12.
    found = runner.measure(entry(gpus=1), 1, False, print, (H100,))
    ours, peer = found["variants"]["ours"], found["variants"]["peer"]
    assert ours["mfu"] == pytest.approx(2e11 / 989e12)
    assert ours["bandwidth"] == pytest.approx(2e8 / 3.35e12)
    assert peer["mfu"] == pytest.approx(ours["mfu"] / 4)
    assert peer["bandwidth"] == pytest.approx(ours["bandwidth"] / 4)
    ours |= {"mfu": 0.4125, "bandwidth": 0.333}
    assert table.rate(ours, found) == "200 images/s, 41.2% MFU, 33.3% of bandwidth"
    unknown = runner.measure(entry(gpus=1), 1, False, print, ("NVIDIA Nobody Knows",))
    assert "mfu" not in unknown["variants"]["ours"] and unknown["variants"]["ours"]["flops"] == 1e9


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        (H100, 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("Tesla T4", 65e12),
        ("NVIDIA L4", 121e12),
        ("NVIDIA L40", None),
        ("NVIDIA T400", None),
    ],
)
def test_gpus_are_known_by_their_names_words(name, peak):
    found = peaks.shares(1.0, 1e12, 1.0, name)
    assert found.get("mfu") == (peak and 1e12 / peak)


def test_machines_with_several_gpus_say_how_many(monkeypatch):
    monkeypatch.setattr(machine, "gpus", lambda: (H100,) * 8)
    found = machine.describe()
    assert found["accelerator"] == f"8× {H100}"
    assert machine.name(found).startswith("8-nvidia-h100-80gb-hbm3-")


def test_operations_are_those_of_convolutions_and_products_on_a_gpu():
    x, w = jnp.ones((4, 5)), jnp.ones((5, 6))
    assert counts.flops(jnp.matmul, x, w) == 2 * 4 * 5 * 6
    # Gradients of both arguments are a product each.
    both = counts.flops(lambda x, w: jax.vjp(jnp.matmul, x, w)[1](jnp.ones((4, 6))), x, w)
    assert both == 2 * 2 * 4 * 5 * 6
    from vision_jax.ops.conv import conv2d

    image, kernel = jnp.ones((2, 8, 8, 3)), jnp.ones((3, 3, 3, 16))
    assert counts.flops(conv2d, image, kernel) == 2 * (2 * 6 * 6 * 16) * (3 * 3 * 3)


def test_traffic_of_calls_is_added():
    image, kernel = 2 * 8 * 32 * 32 * 16, 2 * 3 * 3 * 16 * 16
    convolution = image + kernel + image  # its workspace is not counted
    assert counts.calls_traffic(PROGRAM) == convolution + kernel + 4 * 10 + 4 * 10
    compiled = jax.jit(lambda x: 2 * x).lower(jnp.ones((100, 10))).compile()
    assert counts.traffic(compiled) == 2 * 4000


def test_determinism_is_a_flag_and_a_form(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "")
    on_gpu.start("cpu")
    assert os.environ["XLA_FLAGS"] == ""
    on_gpu.start("cpu", deterministic=True)
    assert "deterministic" in os.environ["XLA_FLAGS"]
    assert detect.make("faster_rcnn", deterministic=True).head.pool.deterministic
    assert not detect.make("faster_rcnn").head.pool.deterministic
    with pytest.raises(RuntimeError, match="JAX runs on cpu, not on cuda"):
        on_gpu.start("cuda")


def test_several_steps_per_dispatch_are_the_same_steps(tmp_path):
    one, two = (
        on_gpu.classifier(tmp_path, "lenet", 2, 28, steps=5, device="cpu", dispatch=dispatch)
        for dispatch in (1, 2)
    )
    np.testing.assert_allclose(two.outputs["loss"], one.outputs["loss"], rtol=1e-6)
    assert one.outputs["loss"][0] != one.outputs["loss"][1]
    assert (one.units, two.units) == (10, 8)  # what does not fill a program is not done
    two.run()
    assert one.facts["flops"] == two.facts["flops"] > 1e6  # 0.4 million products, thrice
    assert one.facts["bytes"] > 0 and one.ending() == {}


def test_an_epoch_runs_from_the_device(tmp_path):
    work = cifar_epoch.ours(tmp_path, images=7, batch_size=2, device="cpu", dispatch=2)
    assert work.run() is None and work.units == 4  # of three batches one program takes two
    assert math.isclose(work.facts["flops"], 2.3e8, rel_tol=0.1)


def test_the_peers_crops_are_those_of_the_definition():
    torch = pytest.importorskip("torch")
    from benchmarks.work.cifar_epoch_torch import augment

    image = torch.arange(2 * 3 * 6 * 5).reshape(2, 3, 6, 5) + 1
    corner, flipped = torch.tensor([[0, 7], [8, 3]]), torch.tensor([True, False])
    found = augment(image, corner, flipped)
    assert found.is_contiguous(memory_format=torch.channels_last)
    for number in range(2):
        for row in range(6):
            for column in range(5):
                across = 4 - column if flipped[number] else column
                y, x = row + corner[0, number] - 4, across + corner[1, number] - 4
                inside = 0 <= y < 6 and 0 <= x < 5
                expected = image[number, :, y, x] if inside else torch.zeros(3)
                assert (found[number, :, row, column] == expected).all()
