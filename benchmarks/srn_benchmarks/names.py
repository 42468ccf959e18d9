"""The names of tables, rows and passes in results files, shared by the code that measures and the code that shows."""

from __future__ import annotations

FUSION, CELL, STREAMING, PACKED, MEMORY = "fusion", "cell", "streaming", "packed", "memory"
SWEEP = "sweep"
GPU_SMOKE, GPU_CELL, GPU_STEP, GPU_PACKED, GPU_SWEEP = "gpu_smoke", "gpu_cell", "gpu_step", "gpu_packed", "gpu_sweep"
GPU_PARTS = "gpu_parts"
GPU_TABLES = (GPU_SMOKE, GPU_CELL, GPU_STEP, GPU_PARTS, GPU_PACKED, GPU_SWEEP)

BARS = "bars"
"""Not a table of cases: what was to be reached on a GPU, and the notes on a whole run there."""

LSTM, LSTM_CELL = "nn.LSTM", "nn.LSTMCell"
LATE = "late"
"""Like ``nn.LSTM``, a row that others are measured against."""

TRUNK, BATCHED, ONE_BY_ONE = "trunk alone", "early, batched", "early, one object pass at a time"
PACKED_FUSION = "packed"

FORWARD, BACKWARD, TRAINING = "forward", "backward", "forward+backward"

CEILING, FLOAT32 = "ceiling", "float32"
"""What a row on a CPU is measured beside: the processor's multiply-adds, and the same in float32."""

WEIGHTS = "weights"
"""What sets a bound on a row of the sweep: reading its weights."""

PAPER_BATCH, PAPER_HIDDEN = 32, 300
"""The sizes that the bars of a GPU are about; a sweep of one of them keeps the other."""

SHORT_PRODUCTS, LONG, LONG_PRODUCTS = "products of the steps", "twice the steps", "products of twice the steps"
"""What a pass over some steps is measured beside, to tell what one step takes."""
