"""What two runs must share for one to go on from the other's state."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

# Ids of a config that may differ: places, what is only watched or kept, speed, how a run is started, and what
# the bundle's metadata say of it.
# All else is compared; of datalist and init_checkpoint the content, by its hash.
MAY_DIFFER = {
    *("bundle_root", "dataset_dir", "datalist", "ckpt_dir", "output_dir", "checkpoint"),
    *("init_checkpoint", "device", "first_process", "keep_states", "val_interval", "images", "half"),
    *("slice_batch", "slice_store", "num_workers", "activation_checkpointing", "timeout_minutes"),
    *("imports", "initialize", "finalize", "run", "training", "evaluating", "network"),
    *("tracking_uri", "experiment_name", "run_name", "save_execute_config", "is_not_rank0"),
    *("_meta_", "train#handlers", "validate#handlers", "network_def#text_bank"),
}


def compared(config: Mapping[str, Any]) -> dict[str, str]:
    """{id: value as JSON} of all that two runs of a config must share, such as {"epochs": "60"}."""
    return {
        name: json.dumps(value, default=str)
        for name, value in _leaves(config, "")
        if not any(name == free or name.startswith(f"{free}#") for free in MAY_DIFFER)
    }


def _leaves(content: Any, name: str) -> Iterator[tuple[str, Any]]:
    parts = content.items() if isinstance(content, Mapping) else enumerate(content)
    for key, value in parts:
        where = f"{name}#{key}" if name else str(key)
        if isinstance(value, Mapping | list | tuple) and value:
            yield from _leaves(value, where)
        else:
            yield where, value
