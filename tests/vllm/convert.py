"""A packaged GGUF as a Hugging Face folder that vLLM can serve: convert.py GGUF FOLDER (in the lane's own environment)."""

import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

source, folder = Path(sys.argv[1]), sys.argv[2]
tokenizer = AutoTokenizer.from_pretrained(str(source.parent), gguf_file=source.name)
model = AutoModelForCausalLM.from_pretrained(
    str(source.parent),
    gguf_file=source.name,
    dtype=torch.bfloat16,
    quantization_config=GgufConfig(dequantize=True),
)
if hasattr(model.config, "quantization_config"):
    del model.config.quantization_config
model.save_pretrained(folder)
tokenizer.save_pretrained(folder)
