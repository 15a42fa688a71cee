"""What a GPU could do at best, and the share of it that a rate of work uses."""

import re

# Dense bfloat16 (V100, T4: float16) operations and bytes per second, by makers' data sheets; the
# first whose words the device's name contains.
PEAKS = {
    "B200": (2250e12, 8.0e12),
    "H200": (989e12, 4.8e12),
    "H100 PCIe": (756e12, 2.0e12),
    "H100 NVL": (835e12, 3.9e12),
    "H100": (989e12, 3.35e12),
    "A100-SXM4-40GB": (312e12, 1.555e12),
    "A100-PCIE-40GB": (312e12, 1.555e12),
    "A100": (312e12, 2.04e12),
    "L40S": (362e12, 0.864e12),
    "L4": (121e12, 0.3e12),
    "V100": (125e12, 0.9e12),
    "T4": (65e12, 0.32e12),
}


def shares(rate: float, flops: float, traffic: float, gpu: str) -> dict[str, float]:
    """Of the GPU's operations ('mfu') and of its memory's bandwidth ('bandwidth'), from 0 to 1.

    Args:
      rate: units per second.
      flops, traffic: operations, and bytes between memory and processor, of one unit.
      gpu: its name; empty shares for one whose peaks are not known.
    """
    for name, (operations, bandwidth) in PEAKS.items():
        if re.search(rf"\b{re.escape(name)}\b", gpu, re.IGNORECASE):
            return {"mfu": rate * flops / operations, "bandwidth": rate * traffic / bandwidth}
    return {}
