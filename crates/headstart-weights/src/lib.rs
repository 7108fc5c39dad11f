//! State dicts from safetensors and PyTorch files.
